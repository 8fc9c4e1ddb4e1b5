//! `pthread_cond_*`: greenlets and threads wait in one line, in the table.
//!
//! The C library's own wait unlocks the mutex by a way that this crate does not see, so a greenlet that waits for the mutex would not be woken. Hence *all* waits, those of plain
//! threads included, are the table's once the calls are patched: a node is put in, the mutex is unlocked by our shell, and who signals takes the first out. So a signal wakes somebody who waited before it, in the order in which
//! they came, and nobody is woken for nothing.
//!
//! A signal that finds nobody in the table goes to the C library: there may be a thread that has waited since before the calls were patched. A broadcast goes to both.
//!
//! A condition that is shared between processes is the C library's altogether. `pthread_cancel` does not end these waits.

use greenlet_hub::Reason;
use libc::{c_int, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};

use super::clock::Deadline;
use super::layout::{CONDITION_IS_MONOTONIC, CONDITION_IS_SHARED};
use super::mutex;
use super::table::{self, ANY, Ended, Key, Kind, Options, Who};
use crate::gate::{self, Call};

pub(crate) mod real {
    use libc::{c_int, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};

    crate::glibc::real::real! {
        /// Waits.
        fn pthread_cond_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int;
        /// Waits, until a time of the condition's clock.
        fn pthread_cond_timedwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, time: *const timespec) -> c_int;
        /// Waits, until a time of some clock.
        fn pthread_cond_clockwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, clock: clockid_t, time: *const timespec) -> c_int;
        /// Wakes one.
        fn pthread_cond_signal(condition: *mut pthread_cond_t) -> c_int;
        /// Wakes all.
        fn pthread_cond_broadcast(condition: *mut pthread_cond_t) -> c_int;
    }
}

/// Whether a wait for the condition is ours.
///
/// # Safety
///
/// It is a live condition.
unsafe fn is_ours(call: Call, condition: *const pthread_cond_t) -> bool {
    // SAFETY: the caller's promise.
    gate::is_watched(call) && !unsafe { CONDITION_IS_SHARED.is_set(condition) }
}

/// # Safety
///
/// That of `pthread_cond_wait`.
unsafe fn wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, deadline: Option<Deadline>) -> c_int {
    let Some(deadline) = deadline else { return libc::EINVAL };
    let who = if gate::may_wait(Call::pthread_cond_wait) { Who::Greenlet } else { Who::Thread };
    let mut result = 0;
    let then = || {
        // SAFETY: the caller's promise.
        result = unsafe { mutex::unlock(mutex) };
        result == 0
    };
    let reason = Reason::new("a condition (pthread_cond)");
    let ended = table::wait(who, Options::new(key(condition), deadline.instant(), reason), |_| true, then);
    if ended == Ended::Refused {
        return result;
    }
    // SAFETY: the caller's promise.
    match unsafe { mutex::lock(mutex) } {
        // If its clock was set back, it was woken for nothing.
        0 if ended == Ended::TimedOut && deadline.is_over() => libc::ETIMEDOUT,
        result => result,
    }
}

fn key(condition: *const pthread_cond_t) -> Key {
    Key::new(Kind::Condition, condition)
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    if !unsafe { is_ours(Call::pthread_cond_wait, condition) } {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_cond_wait(condition, mutex) };
    }
    // SAFETY: the caller's promise.
    unsafe { wait(condition, mutex, Some(Deadline::NEVER)) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    if !unsafe { is_ours(Call::pthread_cond_timedwait, condition) } {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_cond_timedwait(condition, mutex, time) };
    }
    // SAFETY: the caller's promise.
    let is_monotonic = unsafe { CONDITION_IS_MONOTONIC.is_set(condition) };
    let clock = if is_monotonic { libc::CLOCK_MONOTONIC } else { libc::CLOCK_REALTIME };
    // SAFETY: the caller promises a time there.
    let deadline = Deadline::at(clock, unsafe { *time });
    // SAFETY: the caller's promise.
    unsafe { wait(condition, mutex, deadline) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_clockwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    if !Deadline::knows(clock) || !unsafe { is_ours(Call::pthread_cond_clockwait, condition) } {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_cond_clockwait(condition, mutex, clock, time) };
    }
    // SAFETY: the caller promises a time there.
    let deadline = Deadline::at(clock, unsafe { *time });
    // SAFETY: the caller's promise.
    unsafe { wait(condition, mutex, deadline) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_signal(condition: *mut pthread_cond_t) -> c_int {
    if gate::is_watched(Call::pthread_cond_signal) && table::wake(key(condition), 1, ANY) == 1 {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { real::pthread_cond_signal(condition) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_cond_broadcast(condition: *mut pthread_cond_t) -> c_int {
    // The C library's first: once those in the table are awake they may free the condition, whose address serves as a name only.
    // SAFETY: the caller's promise.
    let result = unsafe { real::pthread_cond_broadcast(condition) };
    if gate::is_watched(Call::pthread_cond_broadcast) {
        table::wake(key(condition), usize::MAX, ANY);
    }
    result
}
