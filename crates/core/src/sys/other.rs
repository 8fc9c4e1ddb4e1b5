//! Other Unix systems: no guard markers, no huge pages to keep away.

use std::io;
use std::ptr::NonNull;

/// These systems commit memory when it is touched, without being asked to. OpenBSD wants to know of stacks.
pub(super) const MAP_STACKS: libc::c_int = if cfg!(target_os = "openbsd") { 0x4000 } else { 0 };

/// Fails: there are no markers here.
///
/// # Errors
///
/// Always.
///
/// # Safety
///
/// None, but for being called as on Linux.
pub(crate) unsafe fn install_guard_markers(_start: NonNull<u8>, _len: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Does nothing.
pub(super) fn forbid_huge_pages(_start: NonNull<u8>, _len: usize) {}

/// The least size of a signal stack, in bytes.
pub(crate) fn minimum_signal_stack() -> usize {
    libc::MINSIGSTKSZ
}

/// Sets this thread's `errno`. Async-signal-safe.
pub(crate) fn set_errno(errno: i32) {
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    // SAFETY: the function has no preconditions.
    let place = unsafe { libc::__error() };
    #[cfg(any(target_os = "openbsd", target_os = "netbsd", target_os = "android"))]
    // SAFETY: the function has no preconditions.
    let place = unsafe { libc::__errno() };
    #[cfg(any(target_os = "illumos", target_os = "solaris"))]
    // SAFETY: the function has no preconditions.
    let place = unsafe { libc::___errno() };
    // SAFETY: the place is this thread's own and lives as long as the thread.
    unsafe { place.write(errno) };
}
