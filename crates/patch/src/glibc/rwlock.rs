//! `pthread_rwlock_*`: a greenlet that finds one taken waits in the table.
//!
//! The state stays the C library's own, as with a mutex: to lock is its `tryrdlock` or `trywrlock`. An unlocking wakes all who wait for that lock, and they try in the order in which they came. Whom the lock prefers, its own functions decide: they let
//! readers past waiting writers, unless the lock was made otherwise, and then know of waiting *threads* only.
//!
//! Those that are shared between processes are the C library's altogether.

use greenlet_hub::Reason;
use libc::{c_int, clockid_t, pthread_rwlock_t, timespec};

use super::acquire::Taken;
use super::clock::Deadline;
use super::layout::RWLOCK_IS_SHARED;
use super::table::{self, ANY, Key, Kind};
use crate::gate::{self, Call};

pub(crate) mod real {
    use libc::{c_int, clockid_t, pthread_rwlock_t, timespec};

    crate::glibc::real::real! {
        /// Locks for reading.
        fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int;
        /// Locks for reading, if that need not wait.
        fn pthread_rwlock_tryrdlock(lock: *mut pthread_rwlock_t) -> c_int;
        /// Locks for reading, until a time of the real-time clock.
        fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
        /// Locks for reading, until a time of some clock.
        fn pthread_rwlock_clockrdlock(lock: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec) -> c_int;
        /// Locks for writing.
        fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int;
        /// Locks for writing, if that need not wait.
        fn pthread_rwlock_trywrlock(lock: *mut pthread_rwlock_t) -> c_int;
        /// Locks for writing, until a time of the real-time clock.
        fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, time: *const timespec) -> c_int;
        /// Locks for writing, until a time of some clock.
        fn pthread_rwlock_clockwrlock(lock: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec) -> c_int;
        /// Unlocks.
        fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int;
    }
}

type Attempt = unsafe fn(*mut pthread_rwlock_t) -> c_int;

/// Locks by that attempt; `plain` is the call that blocks the thread.
///
/// # Safety
///
/// That of both.
unsafe fn lock(
    call: Call,
    lock: *mut pthread_rwlock_t,
    attempt: Attempt,
    deadline: impl FnOnce() -> Option<Deadline>,
    plain: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    if !gate::may_wait(call) || unsafe { RWLOCK_IS_SHARED.is_set(lock) } {
        return plain();
    }
    // SAFETY: the caller's promise.
    let attempt = || unsafe { attempt(lock) };
    match attempt() {
        libc::EBUSY => {}
        result => return result,
    }
    let Some(deadline) = deadline() else { return libc::EINVAL };
    let reason = Reason::new("a lock (pthread_rwlock)");
    Taken { key: key(lock), reason, error: libc::EBUSY, look: None, keeps_place: false }.wait(deadline, attempt)
}

fn key(lock: *const pthread_rwlock_t) -> Key {
    Key::new(Kind::RwLock, lock)
}

/// The shells of one way to lock.
macro_rules! shells {
    ($lock:ident, $try:ident, $timed:ident, $clock:ident) => {
        /// # Safety
        ///
        /// That of the C library's function.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $lock(rwlock: *mut pthread_rwlock_t) -> c_int {
            // SAFETY: the caller's promise.
            let plain = || unsafe { real::$lock(rwlock) };
            // SAFETY: the caller's promise.
            unsafe { lock(Call::$lock, rwlock, real::$try, || Some(Deadline::NEVER), plain) }
        }

        /// # Safety
        ///
        /// That of the C library's function.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $try(rwlock: *mut pthread_rwlock_t) -> c_int {
            // For the probe: there is nothing to do.
            gate::is_watched(Call::$try);
            // SAFETY: the caller's promise.
            unsafe { real::$try(rwlock) }
        }

        /// # Safety
        ///
        /// That of the C library's function.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $timed(rwlock: *mut pthread_rwlock_t, time: *const timespec) -> c_int {
            // SAFETY: the caller promises a time there.
            let deadline = || Deadline::at(libc::CLOCK_REALTIME, unsafe { *time });
            // SAFETY: the caller's promise.
            let plain = || unsafe { real::$timed(rwlock, time) };
            // SAFETY: the caller's promise.
            unsafe { lock(Call::$timed, rwlock, real::$try, deadline, plain) }
        }

        /// # Safety
        ///
        /// That of the C library's function.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $clock(rwlock: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec) -> c_int {
            // SAFETY: the caller's promise.
            let plain = || unsafe { real::$clock(rwlock, clock, time) };
            if !Deadline::knows(clock) {
                return plain();
            }
            // SAFETY: the caller promises a time there.
            let deadline = || Deadline::at(clock, unsafe { *time });
            // SAFETY: the caller's promise.
            unsafe { lock(Call::$clock, rwlock, real::$try, deadline, plain) }
        }
    };
}

shells!(pthread_rwlock_rdlock, pthread_rwlock_tryrdlock, pthread_rwlock_timedrdlock, pthread_rwlock_clockrdlock);
shells!(pthread_rwlock_wrlock, pthread_rwlock_trywrlock, pthread_rwlock_timedwrlock, pthread_rwlock_clockwrlock);

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's promise. From here on it may be gone: its address serves as a name only.
    let result = unsafe { real::pthread_rwlock_unlock(lock) };
    if result == 0 && gate::is_watched(Call::pthread_rwlock_unlock) {
        table::wake(key(lock), usize::MAX, ANY);
    }
    result
}
