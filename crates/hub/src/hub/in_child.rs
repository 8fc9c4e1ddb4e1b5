//! How a hub goes on in a forked child: see `fork.rs`.

use std::cell::OnceCell;
use std::mem;
use std::sync::atomic::Ordering;

use super::Hub;
use crate::block::{HubRef, Local};
use crate::current;
use crate::shared::Shared;

impl Hub {
    /// Leaves all greenlets but the one that runs behind, and whatever is the parent's. Called in the middle of `fork`: allocates nothing and makes no system call.
    ///
    /// The rest is for [`settle_in_child`](Hub::settle_in_child).
    pub(crate) fn leave_others_behind(&self) {
        let (current, main) = (self.current(), self.main.hub_ref());
        // These first, since what stands in a queue has a link that is needed.
        for queue in [&self.ready, &self.urgent] {
            while let Some(greenlet) = queue.pop() {
                self.leave_behind(greenlet);
            }
        }
        for greenlet in self.started.borrow_mut().drain(..) {
            greenlet.local().place.set(Local::NOWHERE);
            self.leave_behind(greenlet);
        }
        // The time-outs of the one that runs are still its own.
        self.timers.borrow_mut().retain(|timed| {
            if timed.number == 0 {
                self.leave_behind(timed.block);
            }
            timed.block == current
        });
        // Links belong to those who have made them.
        mem::forget(self.links.take());
        if current != main {
            self.leave_behind(main);
            self.unwinding.set(false);
            mem::forget(self.deadlock.take());
            self.lone.set(Some(current));
            current.local().place.set(Local::LONE);
        }
        // SAFETY: nobody keeps a reference to the cell's own part over code of the user's, hence over a fork; what the box holds stays, for those who may.
        mem::forget(unsafe { take_out(&self.member) });
        // SAFETY: nobody uses a reference to it after code of the user's has run, or another greenlet.
        if let Some(poller) = unsafe { take_out(&self.poller) } {
            self.left_poller.set(Some(poller.into_inner()));
        }
        let waker = self.shared.begin_anew_in_child();
        if waker.is_some() {
            self.left_waker.set(waker);
        }
        self.poller_number.set(Shared::next_number());
        self.shared.poller_number.store(self.poller_number.get(), Ordering::Relaxed);
        self.shared.gauges.greenlets.set(u64::from(current != main));
        // Guards on stacks that never run again would take these back.
        self.watching.set(0);
        self.outside.set(0);
        self.hopeless_looks.set(0);
        self.hopeless_look_at.set(None);
        self.stirred.set(true);
        self.crowd.set(0);
        // The next switch looks first.
        self.runs.set(0);
        if !self.forked.replace(true) {
            // Until then no call of libc's is anything but that.
            self.inside.set(self.inside.get() + 1);
        }
    }

    fn leave_behind(&self, greenlet: HubRef) {
        if greenlet != self.current() && greenlet.leave_behind() {
            self.left_behind.push(greenlet);
        }
    }

    /// Has `greenlet`, which runs, be the one that goes on, if the process was forked off by what ran in its place, which has ended.
    pub(crate) fn put_back_after_fork(&self, stand_in: HubRef, greenlet: HubRef) {
        if self.lone.get() != Some(stand_in) {
            return;
        }
        self.left_behind.remove(greenlet);
        greenlet.take_back_along();
        let is_main = greenlet == self.main.hub_ref();
        self.lone.set((!is_main).then_some(greenlet));
        greenlet.local().place.set(if is_main { Local::NOWHERE } else { Local::LONE });
        self.shared.gauges.greenlets.set(u64::from(!is_main));
    }

    /// What is left to do in the child's first look: nobody else runs meanwhile.
    #[cold]
    #[inline(never)]
    pub(super) fn settle_in_child(&self) {
        self.forked.set(false);
        self.inside.set(self.inside.get() - 1);
        if let Some(poller) = self.left_poller.take() {
            poller.close_in_child();
        }
        // If a thread of the parent's was about to ring, its count stays, and so does a descriptor.
        drop(self.left_waker.take());
        while let Some(greenlet) = self.left_behind.pop() {
            // Among them may be async tasks of the one that runs.
            greenlet.notify_joiners_in_child();
        }
    }

    /// The greenlet that is in the place of the main one, in a child that it has forked.
    pub(crate) fn lone(&self) -> Option<HubRef> {
        self.lone.get()
    }

    /// The end of the greenlet that was all that the process had: as the end of `main`.
    #[cold]
    #[inline(never)]
    pub(super) fn end_process(&self) -> ! {
        current::forget();
        std::process::exit(0)
    }
}

/// Takes out what was set once, so that it can be set again.
///
/// # Safety
///
/// Nobody who has borrowed what is in it uses that any more.
unsafe fn take_out<T>(cell: &OnceCell<T>) -> Option<T> {
    let place = std::ptr::from_ref(cell).cast_mut();
    // SAFETY: all of a `OnceCell` may change behind a shared reference, it is this thread's, and by the contract of this function nobody has a reference to what is in it.
    unsafe { place.replace(OnceCell::new()) }.into_inner()
}
