//! Ending a greenlet from outside: the unwind that its next wait raises.
//!
//! An interrupt is a flag in the greenlet's block and, if it waits, the end of that wait. The wait raises it when it
//! returns, as an unwind with the private payload below, past the panic hook. What is interrupted while it
//! holds a grant (it was notified in the same tick) passes the grant on first; see [`WaitList`](crate::WaitList).

use std::panic::resume_unwind;

use crate::block::Block;
#[cfg(test)]
use crate::block::BlockRef;
#[cfg(test)]
use crate::waiter::wake;

/// The payload of the unwind; the greenlet's root knows it by its type.
pub(crate) struct Interrupt(());

impl Block {
    /// Whether a wait of this greenlet has to raise something, now.
    #[inline]
    pub(crate) fn must_unwind(&self) -> bool {
        // While it unwinds already nothing is raised: a second unwind out of a `Drop` would abort.
        self.word.is_interrupted() && !std::thread::panicking()
    }

    /// Makes the greenlet unwind: at once if it waits, else at its next wait. Usable on any thread.
    // What calls it, kill and timeout, is still to come.
    #[cfg(test)]
    pub(crate) fn interrupt(this: &BlockRef) {
        if this.word.interrupt() {
            wake(this);
        }
    }

    /// Unwinds the greenlet that calls.
    #[cold]
    pub(crate) fn unwind(&self) -> ! {
        self.word.clear_interrupt();
        resume_unwind(Box::new(Interrupt(())))
    }
}

#[cfg(all(test, not(greenlet_loom)))]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::{JoinError, JoinHandle, Reason, WaitList, sleep, spawn, yield_now};

    fn interrupt<T>(handle: &JoinHandle<T>) {
        Block::interrupt(handle.greenlet().block());
    }

    #[test]
    fn an_interrupted_greenlet_unwinds_and_its_destructors_run() {
        struct Notes(Rc<RefCell<Vec<&'static str>>>);
        impl Drop for Notes {
            fn drop(&mut self) {
                self.0.borrow_mut().push("dropped");
            }
        }
        let notes = Rc::new(RefCell::new(Vec::new()));
        let greenlet = spawn({
            let notes = Notes(Rc::clone(&notes));
            move || {
                notes.0.borrow_mut().push("waits");
                sleep(Duration::from_secs(60));
                notes.0.borrow_mut().push("not reached");
            }
        });
        yield_now();
        interrupt(&greenlet);
        assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
        assert_eq!(*notes.borrow(), ["waits", "dropped"]);
    }

    #[test]
    fn an_interrupt_that_finds_nobody_waiting_is_raised_by_the_next_wait() {
        let greenlet = spawn(|| {
            let this = Rc::new(crate::current());
            Block::interrupt(this.block());
            yield_now();
        });
        assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    }

    #[test]
    fn a_notification_that_meets_an_interrupt_in_the_same_tick_goes_to_the_next_waiter() {
        let (list, woken) = (Rc::new(WaitList::new()), Rc::new(Cell::new(0)));
        let waiter = |list: &Rc<WaitList>| {
            let (list, woken) = (Rc::clone(list), Rc::clone(&woken));
            spawn(move || {
                list.wait(Reason::new("a permit"), None, || false);
                woken.set(woken.get() + 1);
            })
        };
        // The permit comes first, or the interrupt does: either way the second waiter has it.
        for permit_first in [true, false] {
            let (first, second) = (waiter(&list), waiter(&list));
            yield_now();
            if permit_first {
                assert!(list.notify_one());
            }
            interrupt(&first);
            if !permit_first {
                assert!(list.notify_one());
            }
            assert!(matches!(first.join(), Err(JoinError::Killed)));
            second.join().unwrap();
        }
        assert_eq!(woken.get(), 2);
    }

    #[test]
    fn nothing_is_raised_while_a_greenlet_unwinds() {
        struct Waits(Rc<Cell<bool>>);
        impl Drop for Waits {
            fn drop(&mut self) {
                // A second unwind out of here would abort the process.
                yield_now();
                self.0.set(true);
            }
        }
        let cleaned = Rc::new(Cell::new(false));
        let greenlet = spawn({
            let waits = Waits(Rc::clone(&cleaned));
            move || {
                let _waits = waits;
                sleep(Duration::from_secs(60));
            }
        });
        yield_now();
        interrupt(&greenlet);
        // Let it unwind into its cleanup, and interrupt it there once more.
        yield_now();
        interrupt(&greenlet);
        assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
        assert!(cleaned.get());
    }
}
