//! How what runs gives way: waits, yields, and where it may do neither.
//!
//! All of this is inlined into the public calls, since each frame between a greenlet's code and its suspension is a mispredicted return
//! when it runs again. See ARCHITECTURE.md.

use std::cell::Cell;
use std::panic::Location;
use std::time::Instant;

use crate::block::{Block, BlockRef, HubRef};
use crate::greenlet::JoinError;
use crate::hub::{BUDGET, Hub};
use crate::waiter::{Interrupted, Outcome, Reason, Timed};
use crate::word::State;

/// What a wait does where the hub cannot simply run others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switching {
    Allowed,
    /// In `no_switch`.
    Panics,
    /// In the panic hook, and while the hub itself drops a user's value: the wait blocks the thread.
    Blocks,
}

impl Hub {
    /// Begins a wait of what runs now.
    #[inline(always)]
    pub(crate) fn begin_wait(&self, reason: Reason) -> Timed {
        // Where it must not sleep this is no place to panic: waits are begun under locks, and the panic hook is a user's code.
        let block = self.current();
        block.local().reason.set(reason);
        block.local().waits_soon.set(true);
        Timed { block, number: block.word.begin() }
    }

    /// Waits for the end of the wait with that number, the last that the running greenlet has begun.
    #[inline(always)]
    pub(crate) fn wait(&self, number: u64, deadline: Option<Instant>) -> Outcome {
        let block = self.current();
        block.local().waits_soon.set(false);
        let switching = self.switching.get();
        if switching == Switching::Panics {
            return self.over_before(block, number);
        }
        let deaf = switching != Switching::Allowed || block.is_deaf();
        if !deaf && block.word.is_interrupted() {
            return self.interrupted_before(block, number);
        }
        let timer = deadline.map(|deadline| self.arm(deadline, Timed { block, number }));
        block.local().resume_point.set(greenlet_core::stack_pointer());
        if block.word.suspend(number, deaf) {
            if deaf {
                self.switch_with_care(block);
            } else {
                self.switch(block);
            }
        }
        let state = block.word.state(number);
        if let Some(timer) = timer {
            // Whatever the state: the timer has a plain pointer to this block. One that has fired is not found.
            self.timers.borrow_mut().cancel(timer);
        }
        match state {
            State::Interrupted => Outcome::Interrupted(Interrupted::new(false)),
            _ if !deaf && block.word.is_interrupted() => {
                Outcome::Interrupted(Interrupted::new(state == State::Notified))
            }
            State::TimedOut => Outcome::TimedOut,
            _ => Outcome::Notified,
        }
    }

    /// Ends a wait that its greenlet is not to sleep in.
    #[cold]
    #[inline(never)]
    fn interrupted_before(&self, block: HubRef, number: u64) -> Outcome {
        if block.was_unwound() {
            // What was raised last was swallowed. Who swallows everything must not keep the others from running.
            self.ready.push(block);
            self.switch(block);
        }
        self.over_before(block, number)
    }

    /// As above, where nothing may switch: `raise` then panics.
    #[cold]
    #[inline(never)]
    fn over_before(&self, block: HubRef, number: u64) -> Outcome {
        // If the wait has been ended already, its notification is for another.
        let notified = !block.word.cancel(number) && block.word.state(number) == State::Notified;
        Outcome::Interrupted(Interrupted::new(notified))
    }

    /// Switches to the others and comes back when all that are ready now have run.
    #[inline(always)]
    pub(crate) fn yield_now(&self) {
        let block = self.current();
        match self.switching.get() {
            Switching::Allowed => {}
            Switching::Panics => no_switch_here("yield_now"),
            Switching::Blocks => return std::thread::yield_now(),
        }
        self.ready.push(block);
        if std::thread::panicking() {
            self.switch_while_unwinding(block);
        } else {
            self.switch(block);
        }
        // An interrupt that came before is raised here as well, after one trip through the queue.
        if block.word.is_interrupted() {
            self.raise_pending();
        }
    }

    /// What a wait does first, for a call that begins something which is to be waited for: where the wait could only unwind, nothing is begun.
    pub(crate) fn before_wait(&self, reason: Reason) {
        match self.switching.get() {
            Switching::Panics => {
                self.current().local().reason.set(reason);
                self.raise();
            }
            // Through the run queue, so that who swallows everything does not keep the others from running.
            Switching::Allowed if self.current().must_unwind() => self.yield_now(),
            Switching::Allowed | Switching::Blocks => {}
        }
    }

    pub(crate) fn switching_allowed(&self) -> bool {
        self.switching.get() == Switching::Allowed
    }

    /// Panics where nothing may switch: for calls that could not keep their promises there.
    pub(crate) fn assert_may_switch(&self, what: &str) {
        match self.switching.get() {
            Switching::Allowed => {}
            Switching::Panics => no_switch_here(what),
            Switching::Blocks => panic!("{what} in the panic hook"),
        }
    }

    /// Counts an I/O call that need not wait; after many of them without a switch, yields.
    #[inline]
    pub(crate) fn spend_budget(&self) {
        let left = self.budget.get() - 1;
        self.budget.set(left);
        if left == 0 {
            self.budget.set(BUDGET);
            if self.switching.get() == Switching::Allowed {
                self.yield_now();
            }
        }
    }

    /// Unwinds what runs now if an interrupt is pending and may be raised.
    #[cold]
    pub(crate) fn raise_pending(&self) {
        if self.switching.get() == Switching::Allowed && self.current().must_unwind() {
            self.raise();
        }
    }

    /// Unwinds what runs now, with what it was interrupted by.
    #[cold]
    pub(crate) fn raise(&self) -> ! {
        if self.switching.get() == Switching::Panics {
            no_switch_here(self.current().local().reason.get());
        }
        if let Some(report) = self.take_deadlock() {
            panic!("{report}");
        }
        self.current().unwind()
    }

    /// Whether what runs now is the main greenlet and has a deadlock to raise.
    pub(crate) fn has_deadlock(&self) -> bool {
        self.current() == self.main.hub_ref() && self.deadlock.borrow().is_some()
    }

    /// Takes the report that what runs now is to raise. It is the main greenlet's: others run while that waits for a scope's children.
    pub(crate) fn take_deadlock(&self) -> Option<String> {
        if self.has_deadlock() { self.deadlock.take() } else { None }
    }

    /// Switches away from `block`, which runs now. Comes back when it has been taken from a queue.
    #[inline(always)]
    fn switch(&self, block: HubRef) {
        match block.local().suspender.get() {
            // SAFETY: `block` runs now, on the stack that this belongs to.
            Some(suspender) => drop(unsafe { suspender.suspend() }),
            // Only the thread's own stack has none.
            None => self.run_until_main(),
        }
    }

    /// Switches away where something is out of the ordinary: below the panic hook, in a shield, in the middle of an unwind.
    #[cold]
    fn switch_with_care(&self, block: HubRef) {
        if self.switching.get() == Switching::Blocks {
            self.block_thread(block);
        } else if std::thread::panicking() {
            self.switch_while_unwinding(block);
        } else {
            self.switch(block);
        }
    }

    /// Switches away in the middle of an unwind, and takes the thread's panic count along, so that nobody else notices.
    #[cold]
    #[inline(never)]
    fn switch_while_unwinding(&self, block: HubRef) {
        let inside = self.mark_inside();
        let count = greenlet_core::take_panic_count();
        drop(inside);
        let Ok(count) = count else {
            // Out of threads or memory. Better that the others stand still than that they find themselves panicking.
            return self.with_switching(Switching::Blocks, || self.block_thread(block));
        };
        let is_main = block == self.main.hub_ref();
        self.unwinding.set(self.unwinding.get() || is_main);
        self.switch(block);
        if is_main {
            self.unwinding.set(false);
        }
        let _inside = self.mark_inside();
        count.restore();
    }

    /// Waits without running anybody else, where no switch may happen.
    #[cold]
    fn block_thread(&self, block: HubRef) {
        // Not until the word says that the wait is over, but until the wake-up has arrived: another thread does the one a
        // moment before the other, and a wake-up that arrived later would find somebody else's wait.
        loop {
            self.drain_inbox();
            if self.ready.remove(block) || self.urgent.remove(block) {
                return;
            }
            let inside = self.mark_inside();
            self.sleep();
            drop(inside);
            self.fire_timers();
        }
    }

    /// Calls a user's `f` in the middle of something of ours, perhaps of the hub's loop: a wait in it panics, and the wait that what runs
    /// now may have begun goes on. `f` does not unwind.
    pub(crate) fn in_no_wait(&self, f: impl FnOnce()) {
        /// What runs in the name of a job that never does.
        struct StandIn<'a> {
            hub: &'a Hub,
            job: BlockRef,
            before: HubRef,
        }

        impl Drop for StandIn<'_> {
            fn drop(&mut self) {
                // With the locals that it may have got.
                self.job.hub_ref().refuse(JoinError::Killed);
                self.hub.current.set(self.before);
                self.hub.put_back_after_fork(self.job.hub_ref(), self.before);
                self.job.hub_ref().finish();
            }
        }

        self.with_switching(Switching::Panics, || {
            if self.current().word.is_idle() {
                return f();
            }
            // Even beginning a wait would end that one; or, if it has ended and its owner has not looked, hide that from him.
            let job =
                Block::allocate(|| (), &self.memory, Some(self.shared()), self.next_id(), Location::caller(), None);
            let _stand_in = StandIn { hub: self, before: self.current.replace(job.hub_ref()), job };
            f();
        });
    }

    /// Calls `f`, in which a wait does this instead of switching. What blocks goes on doing so.
    pub(crate) fn with_switching<R>(&self, switching: Switching, f: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Cell<Switching>, Switching);

        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }

        let before = self.switching.get();
        let _restore = Restore(&self.switching, before);
        self.switching.set(if before == Switching::Blocks { before } else { switching });
        f()
    }
}

#[cold]
fn no_switch_here(what: impl std::fmt::Display) -> ! {
    panic!("a wait inside no_switch: {what}")
}
