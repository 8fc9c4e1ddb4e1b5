//! `sem_*`: a greenlet that finds no unit waits in the table.
//!
//! The count stays the C library's own: to wait is its `sem_trywait`, to post is its `sem_post`, which wakes a thread in the kernel, and then one in the table. Those that are shared between processes, named ones among them, are the C
//! library's altogether. The waits never end with EINTR.
//!
//! `sem_post` may be called in a signal's handler, which can have come in the middle of the hub's own work, or of an allocation: there it only adds the unit, and wakes threads. So a greenlet that waits for a
//! unit looks again each second; and no deadlock is reported of one that does, which is right, since a signal may end its wait.

use std::time::Duration;

use greenlet_hub::Reason;
use libc::{c_int, clockid_t, sem_t, timespec};

use super::acquire::Taken;
use super::clock::Deadline;
use super::layout::SEMAPHORE_IS_SHARED;
use super::raw;
use super::signal;
use super::table::{self, ANY, Key, Kind};
use crate::gate::{self, Call};

pub(crate) mod real {
    use libc::{c_int, clockid_t, sem_t, timespec};

    crate::glibc::real::real! {
        /// Takes a unit.
        fn sem_wait(semaphore: *mut sem_t) -> c_int;
        /// Takes a unit, if there is one.
        fn sem_trywait(semaphore: *mut sem_t) -> c_int;
        /// Takes a unit, until a time of the real-time clock.
        fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int;
        /// Takes a unit, until a time of some clock.
        fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int;
        /// Adds a unit.
        fn sem_post(semaphore: *mut sem_t) -> c_int;
    }
}

/// How long a unit that a handler has added may lie there unseen.
const LOOK: Duration = Duration::from_secs(1);

/// Takes a unit; `plain` is the call that blocks the thread.
///
/// # Safety
///
/// That of `sem_wait`.
unsafe fn wait(
    call: Call,
    semaphore: *mut sem_t,
    deadline: impl FnOnce() -> Option<Deadline>,
    plain: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    if !gate::may_wait(call) || unsafe { SEMAPHORE_IS_SHARED.is_set(semaphore) } {
        return plain();
    }
    // The error number, which the C library leaves alone where there is none.
    let errno = raw::errno();
    let attempt = || {
        // SAFETY: the caller's promise.
        if unsafe { real::sem_trywait(semaphore) } == 0 { 0 } else { raw::errno() }
    };
    let result = match attempt() {
        libc::EAGAIN => match deadline() {
            None => libc::EINVAL,
            Some(deadline) => {
                let reason = Reason::new("a semaphore (sem_wait)");
                Taken { key: key(semaphore), reason, error: libc::EAGAIN, look: Some(LOOK), keeps_place: true }
                    .wait(deadline, attempt)
            }
        },
        result => result,
    };
    raw::set_errno(if result == 0 { errno } else { result });
    if result == 0 { 0 } else { -1 }
}

fn key(semaphore: *const sem_t) -> Key {
    Key::new(Kind::Semaphore, semaphore)
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_wait(semaphore: *mut sem_t) -> c_int {
    // SAFETY: the caller's promise.
    let plain = || unsafe { real::sem_wait(semaphore) };
    // SAFETY: the caller's promise.
    unsafe { wait(Call::sem_wait, semaphore, || Some(Deadline::NEVER), plain) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_trywait(semaphore: *mut sem_t) -> c_int {
    // For the probe: there is nothing to do.
    gate::is_watched(Call::sem_trywait);
    // SAFETY: the caller's promise.
    unsafe { real::sem_trywait(semaphore) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int {
    // SAFETY: the caller promises a time there.
    let deadline = || Deadline::at(libc::CLOCK_REALTIME, unsafe { *time });
    // SAFETY: the caller's promise.
    let plain = || unsafe { real::sem_timedwait(semaphore, time) };
    // SAFETY: the caller's promise.
    unsafe { wait(Call::sem_timedwait, semaphore, deadline, plain) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    let plain = || unsafe { real::sem_clockwait(semaphore, clock, time) };
    if !Deadline::knows(clock) {
        return plain();
    }
    // SAFETY: the caller promises a time there.
    let deadline = || Deadline::at(clock, unsafe { *time });
    // SAFETY: the caller's promise.
    unsafe { wait(Call::sem_clockwait, semaphore, deadline, plain) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn sem_post(semaphore: *mut sem_t) -> c_int {
    // SAFETY: the caller's promise. From here on it may be gone: its address serves as a name only.
    let result = unsafe { real::sem_post(semaphore) };
    if result == 0 && gate::is_watched(Call::sem_post) && !signal::in_handler() {
        table::wake(key(semaphore), 1, ANY);
    }
    result
}
