//! Ending a greenlet from outside: the unwind that its next wait raises.
//!
//! An interrupt is a flag in the greenlet's block and, if it waits, the end of that wait. The wait raises it when it
//! returns, as an unwind with the private payload below, past the panic hook. What is interrupted while it
//! holds a grant (it was notified in the same tick) passes the grant on first; see [`WaitList`](crate::WaitList).

use std::panic::resume_unwind;
use std::sync::atomic::Ordering;

use crate::block::Block;

/// The payload of the unwind; the greenlet's root knows it by its type.
pub(crate) struct Interrupt(());

impl Block {
    /// Whether a wait of this greenlet has to raise something, now.
    #[inline]
    pub(crate) fn must_unwind(&self) -> bool {
        // While it unwinds already nothing is raised: a second unwind out of a `Drop` would abort.
        self.interrupted.load(Ordering::Relaxed) && !std::thread::panicking()
    }

    /// Unwinds the greenlet that calls.
    #[cold]
    pub(crate) fn unwind(&self) -> ! {
        self.interrupted.store(false, Ordering::Relaxed);
        resume_unwind(Box::new(Interrupt(())))
    }
}
