//! A report when a coroutine's stack overflows.
//!
//! An overflow runs into the guard and raises `SIGSEGV` (`SIGBUS` on some systems). std's handler knows
//! the guards of threads only, so the process would die without a word. [`install`] puts a handler in front
//! of the one that was there: it asks who runs on the stack whose guard was hit, writes one line, and
//! aborts. All other faults go on to the handler before it, std's own in general, which still reports the
//! overflow of an ordinary thread.
//!
//! The handler needs a stack of its own, since the one that overflowed has no room: std gives one to each
//! of its threads, [`AltStack::ensure`] to all others.

mod alt_stack;
mod handler;
mod line;

pub use alt_stack::AltStack;
pub use handler::install;

/// Whose stack overflowed.
#[derive(Clone, Copy, Debug)]
pub struct Overflow<'a> {
    /// The name of the greenlet. In the report control characters are replaced, and long names are cut.
    pub name: &'a str,
    /// The usable size of its stack, in bytes.
    pub stack_size: usize,
}
