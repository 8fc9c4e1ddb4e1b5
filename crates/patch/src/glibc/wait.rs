//! How a shell waits: nothing may unwind out of it.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use greenlet_hub::{Interrupted, is_interrupt, is_kill, shield};

use super::raw;

/// Calls `f`, which waits as greenlets do; the unwind by which it is interrupted becomes an error: `ECANCELED` for a kill, `ETIMEDOUT` for a timeout. It stays pending for
/// the next native wait. Who ignores the error and waits again makes one trip through the run queue each time: the hub sees to that.
pub(crate) fn interruptible<R>(f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(payload) => Err(error_of(payload)),
    }
}

/// The error that stands for an interrupt.
#[cold]
fn error_of(payload: Box<dyn Any + Send>) -> io::Error {
    if is_kill(&*payload) {
        raw::error(libc::ECANCELED)
    } else if is_interrupt(&*payload) {
        raw::error(libc::ETIMEDOUT)
    } else {
        // A deadlock, which the panic hook has reported; or a fault of ours. There is no way on from here: the shell aborts.
        resume_unwind(payload)
    }
}

/// Ends the process: nothing can end this wait, and its caller expects no failure. The panic hook says who waits for what.
#[cold]
pub(crate) fn give_up(interrupted: Interrupted) -> ! {
    // Caught, so that it is not told a second time that nothing unwinds out of here.
    let _ = catch_unwind(AssertUnwindSafe(|| interrupted.raise()));
    super::report::fatal(format_args!(
        "the wait is in a C function, out of which nothing can unwind: the process ends here"
    ))
}

/// One trip through the run queue, in which nothing is raised.
pub(crate) fn trip() {
    shield(greenlet_hub::yield_now);
}
