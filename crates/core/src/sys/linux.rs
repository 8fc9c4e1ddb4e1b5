//! What only Linux has: guard markers, and huge pages to keep away.

use std::io;
use std::ptr::NonNull;

/// No memory is promised for stacks that are mostly never touched.
pub(super) const MAP_STACKS: libc::c_int = libc::MAP_NORESERVE | libc::MAP_STACK;

/// `MADV_GUARD_INSTALL` of Linux 6.13; the `libc` crate does not name it yet.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// Makes every access to the pages fault, without splitting their mapping.
///
/// # Errors
///
/// `EINVAL` before Linux 6.13 and on locked memory.
///
/// # Safety
///
/// The pages come from [`reserve`](super::reserve), and nothing is stored there.
pub(crate) unsafe fn install_guard_markers(start: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: as promised by the caller.
    let res = unsafe { libc::madvise(start.as_ptr().cast(), len, MADV_GUARD_INSTALL) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps transparent huge pages away: one of them would make eight stacks resident.
pub(super) fn forbid_huge_pages(start: NonNull<u8>, len: usize) {
    // A kernel without huge pages refuses the advice, and needs none.
    // SAFETY: changes how the mapping may be backed, not what it holds.
    unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_NOHUGEPAGE) };
}

/// The least size of a signal stack on this processor, in bytes.
pub(crate) fn minimum_signal_stack() -> usize {
    // SAFETY: `getauxval` has no preconditions; 0 means that the kernel does not say.
    let from_kernel = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
    libc::MINSIGSTKSZ.max(from_kernel as usize)
}

/// Sets this thread's `errno`. Async-signal-safe.
pub(crate) fn set_errno(errno: i32) {
    // SAFETY: the function has no preconditions.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the place is this thread's own and lives as long as the thread.
    unsafe { place.write(errno) };
}
