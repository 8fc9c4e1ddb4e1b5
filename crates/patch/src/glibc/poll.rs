//! Shells of `poll` and `ppoll`.

use std::slice;
use std::time::Duration;

use libc::{c_int, nfds_t, pollfd, sigset_t, timespec};

use super::mask::{self, Mask};
use super::raw;
use super::readiness::Interest;
use super::sleep::duration_of;
use crate::gate::{self, Call};

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    if !gate::may_wait(Call::poll) {
        // SAFETY: the caller's promise.
        return raw::give(unsafe { real_poll(fds, count, timeout) }) as c_int;
    }
    let timeout = u64::try_from(timeout).ok().map(Duration::from_millis);
    // SAFETY: the caller's promise.
    let found = unsafe { wait_for(fds, count, timeout, Mask::Same) };
    raw::give(found) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int {
    // SAFETY: the caller's promise, if it is not null. The kernel writes into it what is left, which the C library keeps from its callers.
    let timeout = unsafe { timeout.as_ref() }.copied();
    if !gate::may_wait(Call::ppoll) {
        // SAFETY: the caller's promise.
        return raw::give(unsafe { real_ppoll(fds, count, timeout, mask) }) as c_int;
    }
    let timeout = match timeout.map(duration_of) {
        None => None,
        Some(Some(timeout)) => Some(timeout),
        Some(None) => return raw::give(-(libc::EINVAL as isize)) as c_int,
    };
    // SAFETY: the caller's promise.
    let mask = unsafe { Mask::of(mask) };
    // SAFETY: the caller's promise.
    let found = unsafe { wait_for(fds, count, timeout, mask) };
    raw::give(found) as c_int
}

/// Fortified callers of `poll` come by this name; the C library checks that `len` bytes suffice, and aborts.
#[unsafe(no_mangle)]
unsafe extern "C" fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, len: usize) -> c_int {
    check_room(count, len);
    // SAFETY: the caller's promise.
    unsafe { poll(fds, count, timeout) }
}

/// As `__poll_chk`, of `ppoll`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    len: usize,
) -> c_int {
    check_room(count, len);
    // SAFETY: the caller's promise.
    unsafe { ppoll(fds, count, timeout, mask) }
}

fn check_room(count: nfds_t, len: usize) {
    if len / size_of::<pollfd>() < count as usize {
        super::report::fatal(format_args!("poll: more descriptors than the array has"));
    }
}

/// # Safety
///
/// That of `poll`.
unsafe fn wait_for(fds: *mut pollfd, count: nfds_t, timeout: Option<Duration>, mask: Mask) -> isize {
    let look = || match mask {
        // SAFETY: the caller's promise.
        Mask::Same => unsafe { real_poll(fds, count, 0) },
        // SAFETY: the caller's promise; the mask outlives the call.
        Mask::Other(ref mask) => unsafe { real_ppoll(fds, count, Some(NO_TIME), mask.set()) },
    };
    let interests = Interests { fds, count: count as usize, index: 0 };
    mask.wait(timeout, interests, look)
}

const NO_TIME: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// What the call's array asks for. It is read only after the kernel has read it, and has found it whole.
#[derive(Clone)]
struct Interests {
    fds: *mut pollfd,
    count: usize,
    index: usize,
}

impl Iterator for Interests {
    type Item = Interest;

    fn next(&mut self) -> Option<Interest> {
        // SAFETY: the shell's caller promises so many; the kernel has read them.
        let fds = if self.count == 0 { &[] } else { unsafe { slice::from_raw_parts(self.fds, self.count) } };
        loop {
            let asked = fds.get(self.index)?;
            self.index += 1;
            if asked.fd >= 0 {
                return Some(Interest { fd: asked.fd, events: u32::from(asked.events as u16) });
            }
        }
    }
}

/// # Safety
///
/// That of `poll`.
unsafe fn real_poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> isize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    unsafe {
        raw::syscall!(libc::SYS_poll, fds, count, timeout)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let timeout =
            u64::try_from(timeout).ok().map(|millis| super::sleep::timespec_of(Duration::from_millis(millis)));
        // SAFETY: the caller's promise.
        unsafe { real_ppoll(fds, count, timeout, std::ptr::null()) }
    }
}

/// # Safety
///
/// That of `ppoll`.
unsafe fn real_ppoll(fds: *mut pollfd, count: nfds_t, timeout: Option<timespec>, mask: *const sigset_t) -> isize {
    let mut timeout = timeout;
    let timeout = timeout.as_mut().map_or(std::ptr::null_mut(), |timeout| &raw mut *timeout);
    // SAFETY: the caller's promise; the time outlives the call.
    unsafe { raw::syscall!(libc::SYS_ppoll, fds, count, timeout, mask, mask::BYTES) }
}
