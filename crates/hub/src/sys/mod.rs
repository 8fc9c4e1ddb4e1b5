//! What differs from platform to platform: the poller's system calls, eventfd, counting threads.
//!
//! Together with the files that ARCHITECTURE.md names, the only place of the crate with `unsafe` code.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::*;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use other::*;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use std::time::Duration;

use crate::patching::Inside;

/// What a registration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Both directions, told once each time something new happens.
    Edge,
    /// The given directions, told once and then no more until it is asked again.
    Once { read: bool, write: bool },
}

/// What the poller has seen of one descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// There is more to read behind what is in the buffer, and no event of its own will tell: the end of file or an error that
    /// came together with data, or what follows urgent data, at which a read stops.
    pub(crate) more: bool,
}

/// The key that is not a descriptor's: the hub's own eventfd.
pub(crate) const WAKE_KEY: u64 = u64::MAX >> 1;

/// Where it is told whether the process has one thread: the C library's byte, or until that is found (and where there is none)
/// one that says no.
static ONE_THREAD: AtomicPtr<AtomicU8> = AtomicPtr::new((&raw const MAYBE_MORE).cast_mut());
static MAYBE_MORE: AtomicU8 = AtomicU8::new(0);

/// Whether no second thread has ever been started. Nobody but the calling thread can change that.
#[inline(always)]
pub(crate) fn single_threaded() -> bool {
    let told = ONE_THREAD.load(Ordering::Relaxed);
    // SAFETY: either our own byte or the C library's, which live as long as the process; only pthread_create writes to the latter,
    // in the thread that is the only one.
    unsafe { &*told }.load(Ordering::Relaxed) != 0
}

/// Looks for the byte. glibc has it from 2.32 on.
pub(crate) fn find_single_threaded() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: a name that ends in zero, looked up in what is loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
        if !found.is_null() {
            ONE_THREAD.store(found.cast(), Ordering::Relaxed);
        }
    }
}

/// How many cores are online, whether this process may use them or not: what comes to a hub may come from another process.
pub(crate) fn count_cores() -> usize {
    // SAFETY: `sysconf` has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
}

/// Asks the kernel whether the descriptor is ready now, without waiting.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, write: bool) -> io::Result<bool> {
    let events = if write { libc::POLLOUT } else { libc::POLLIN };
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let _inside = Inside::enter();
    // SAFETY: one valid entry.
    let res = unsafe { libc::poll(&raw mut entry, 1, 0) };
    check(res).map(|ready| ready > 0)
}

/// Makes the descriptor's calls return `WouldBlock` instead of blocking the thread.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: a call with plain integers on a descriptor that is borrowed, hence open.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(())
}

fn check(res: libc::c_int) -> io::Result<libc::c_int> {
    if res == -1 { Err(io::Error::last_os_error()) } else { Ok(res) }
}

/// Milliseconds for the calls that know nothing finer, rounded up, so that no timer fires early.
fn round_up_to_millis(timeout: Duration) -> libc::c_int {
    timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX)
}
