//! Shells of `epoll_wait` and its kin: an event loop that runs in a greenlet waits for its instance's descriptor as for any other.
//!
//! Only the real call takes events out of the instance, so one-shot and edge-triggered descriptors are told exactly once.

use std::iter;
use std::time::Duration;

use libc::{c_int, epoll_event, sigset_t, timespec};

use super::mask::{self, Mask};
use super::raw;
use super::readiness::Interest;
use super::sleep::duration_of;
use crate::gate::{self, Call};

/// What an epoll instance can be asked for: room, and how much there is.
#[derive(Clone, Copy)]
struct Room {
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int) -> c_int {
    let room = Room { epoll, events, count };
    if !gate::may_wait(Call::epoll_wait) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise.
        let found = unsafe { raw::syscall!(libc::SYS_epoll_wait, epoll, events, count, timeout) };
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: the caller's promise.
        let found = unsafe { room.real(timeout, std::ptr::null()) };
        return raw::give(found) as c_int;
    }
    // SAFETY: the caller's promise.
    raw::give(unsafe { room.wait(of_millis(timeout), Mask::Same) }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    let room = Room { epoll, events, count };
    if !gate::may_wait(Call::epoll_pwait) {
        // SAFETY: the caller's promise.
        return raw::give(unsafe { room.real(timeout, mask) }) as c_int;
    }
    // SAFETY: the caller's promise.
    let mask = unsafe { Mask::of(mask) };
    // SAFETY: the caller's promise.
    raw::give(unsafe { room.wait(of_millis(timeout), mask) }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait2(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    if !gate::may_wait(Call::epoll_pwait2) {
        // SAFETY: the caller's promise.
        let found = unsafe { raw::syscall!(libc::SYS_epoll_pwait2, epoll, events, count, timeout, mask, mask::BYTES) };
        return raw::give(found) as c_int;
    }
    // SAFETY: the caller's promise, if it is not null.
    let timeout = match unsafe { timeout.as_ref() }.copied().map(duration_of) {
        None => None,
        Some(Some(timeout)) => Some(timeout),
        Some(None) => return raw::give(-(libc::EINVAL as isize)) as c_int,
    };
    // SAFETY: the caller's promise.
    let mask = unsafe { Mask::of(mask) };
    // SAFETY: the caller's promise.
    raw::give(unsafe { Room { epoll, events, count }.wait(timeout, mask) }) as c_int
}

fn of_millis(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

impl Room {
    /// # Safety
    ///
    /// That of `epoll_pwait`.
    unsafe fn wait(self, timeout: Option<Duration>, mask: Mask) -> isize {
        let look = || match &mask {
            Mask::Other(other) if other.is_due() => {
                // With no time at all this call tells of no signal; with some it is ended by the one that is due.
                // SAFETY: the caller's promise; the mask outlives the call.
                unsafe { self.real(1, other.set()) }
            }
            // SAFETY: the caller's promise.
            _ => unsafe { self.real(0, std::ptr::null()) },
        };
        mask.wait(timeout, iter::once(Interest::readable(self.epoll)), look)
    }

    /// # Safety
    ///
    /// That of `epoll_pwait`.
    unsafe fn real(self, timeout: c_int, mask: *const sigset_t) -> isize {
        let Room { epoll, events, count } = self;
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_epoll_pwait, epoll, events, count, timeout, mask, mask::BYTES) }
    }
}
