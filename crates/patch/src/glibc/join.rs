//! `pthread_join`: a greenlet that joins a thread lets the others run.
//!
//! The kernel tells by a descriptor when a thread has ended (`pidfd_open` with `PIDFD_THREAD`, Linux 6.9); that is waited for, and then the C library's own call need not wait. Where the kernel does not know that, a thread of the pool
//! for blocking code makes the call.
//!
//! A std `JoinHandle` expects no failure, so the wait is not interruptible.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use greenlet_hub::{offload, shield, wait_readable};
use libc::{c_int, c_void, pthread_t};

use super::native::KeptErrno;
use super::{layout, raw};
use crate::gate::{self, Call};

pub(crate) mod real {
    use libc::{c_int, c_void, pthread_t};

    crate::glibc::real::real! {
        /// Waits for the end of a thread.
        fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int;
        /// Joins a thread that has ended.
        fn pthread_tryjoin_np(thread: pthread_t, value: *mut *mut c_void) -> c_int;
    }
}

/// A descriptor of a thread, and not of a process.
const PIDFD_THREAD: c_int = libc::O_EXCL;

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    // SAFETY: it has no preconditions.
    let is_self = || thread == unsafe { libc::pthread_self() };
    // Of oneself that is an error.
    if !gate::may_wait(Call::pthread_join) || is_self() {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_join(thread, value) };
    }
    let _errno = KeptErrno::keep();
    // SAFETY: the caller's promise.
    match unsafe { real::pthread_tryjoin_np(thread, value) } {
        libc::EBUSY => {}
        result => return result,
    }
    // SAFETY: the caller's promise: so it is not joined by anybody else meanwhile.
    if unsafe { wait_for_end(thread) } {
        // Its number is cleared before its descriptor says that it has ended, so this does not wait.
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_join(thread, value) };
    }
    // SAFETY: the caller's promise.
    let (result, returned) = shield(|| offload(move || unsafe { join(thread) }));
    if result == 0 && !value.is_null() {
        // SAFETY: the caller promises a place for it.
        unsafe { *value = ptr::with_exposed_provenance_mut(returned) };
    }
    result
}

/// Joins a thread, and blocks this one.
///
/// # Safety
///
/// That of `pthread_join`.
unsafe fn join(thread: pthread_t) -> (c_int, usize) {
    let mut value = ptr::null_mut();
    // SAFETY: the caller's promise.
    let result = unsafe { real::pthread_join(thread, &raw mut value) };
    (result, value.expose_provenance())
}

/// Waits until the thread has ended; false if that cannot be waited for here.
///
/// # Safety
///
/// The thread has not been joined.
unsafe fn wait_for_end(thread: pthread_t) -> bool {
    if layout::find_thread_id().is_none() {
        return false;
    }
    // SAFETY: the caller's promise.
    let id = unsafe { layout::thread_id(thread) };
    if id <= 0 {
        return id == 0;
    }
    // SAFETY: it has no preconditions.
    let fd = match unsafe { raw::syscall!(libc::SYS_pidfd_open, id, PIDFD_THREAD) } {
        // It has ended meanwhile. Should its number be another's by now, that one is of this process, and is waited for in vain: not before the
        // kernel has given out all other numbers.
        error if error == -(libc::ESRCH as isize) => return true,
        error if error < 0 => return false,
        fd => fd as RawFd,
    };
    // SAFETY: the kernel has just made it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    shield(|| wait_readable(&fd)).is_ok()
}
