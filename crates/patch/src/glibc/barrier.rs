//! `pthread_barrier_wait`: all who wait, greenlets and threads, are gathered in the table.
//!
//! Nothing is kept in the barrier itself but its count, which is read: how many have come is how many wait for it in the table, and the last to come releases them. So
//! `pthread_barrier_destroy` finds it as it was made. A thread that waited in the C library before the calls were patched is not counted.
//!
//! Barriers that are shared between processes are the C library's altogether.

use greenlet_hub::Reason;
use libc::{c_int, pthread_barrier_t};

use super::layout::{self, BARRIER_IS_SHARED};
use super::table::{self, Key, Kind, Options, Who};
use crate::gate::{self, Call};

pub(crate) mod real {
    use libc::{c_int, pthread_barrier_t};

    crate::glibc::real::real! {
        /// Waits until all have come.
        fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int;
    }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int {
    // SAFETY: the caller's promise.
    if !gate::is_watched(Call::pthread_barrier_wait) || unsafe { BARRIER_IS_SHARED.is_set(barrier) } {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_barrier_wait(barrier) };
    }
    let who = if gate::may_wait(Call::pthread_barrier_wait) { Who::Greenlet } else { Who::Thread };
    let options = Options::new(Key::new(Kind::Barrier, barrier), None, Reason::new("others (pthread_barrier)"));
    // SAFETY: the caller's promise.
    let wanted = unsafe { layout::barrier_count(barrier) } as usize;
    match table::gather(who, options, wanted) {
        None => libc::PTHREAD_BARRIER_SERIAL_THREAD,
        Some(_) => 0,
    }
}
