//! The system calls of stacks: reserve, guard, discard, release.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

use std::io;
use std::ptr::{self, NonNull};

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use other as platform;

pub(crate) use platform::{install_guard_markers, minimum_signal_stack, set_errno};

/// Asks the processor to bring a cache line near, without waiting for it. Any address will do.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch faults at no address and changes nothing but the cache.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Returns where the stack of the calling function ends now: exactly on x86-64, about there elsewhere.
#[inline(always)]
pub fn stack_pointer() -> *const u8 {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: *const u8;
        // SAFETY: copies one register to another.
        unsafe { std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
        pointer
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let here = 0_u8;
        &raw const here
    }
}

/// Returns the size of a page in bytes.
pub(crate) fn page_size() -> usize {
    // SAFETY: `sysconf` has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // No supported system lacks the answer.
    usize::try_from(size).unwrap_or(4096)
}

/// Maps `len` bytes of readable and writable memory that take up address space only, until touched.
///
/// # Errors
///
/// Those of `mmap`, `ENOMEM` above all.
pub(crate) fn reserve(len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new anonymous mapping, wherever the kernel likes, touches nothing that exists.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | platform::MAP_STACKS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    platform::forbid_huge_pages(start, len);
    Ok(start)
}

/// Unmaps memory; where the kernel refuses (to split a mapping when there are too many), it stays mapped.
///
/// # Safety
///
/// The pages come from [`reserve`], and nothing uses them any more.
pub(crate) unsafe fn release(start: NonNull<u8>, len: usize) {
    // SAFETY: as promised by the caller.
    unsafe { libc::munmap(start.as_ptr().cast(), len) };
}

/// Makes every access to the pages fault, by taking all rights away.
///
/// # Errors
///
/// Those of `mprotect`.
///
/// # Safety
///
/// The pages come from [`reserve`], and nothing is stored there.
pub(crate) unsafe fn protect(start: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: as promised by the caller.
    let res = unsafe { libc::mprotect(start.as_ptr().cast(), len, libc::PROT_NONE) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the memory behind the pages back to the kernel; they stay mapped, and guards stay guards.
///
/// # Safety
///
/// The pages come from [`reserve`], and nobody relies on what is stored there.
pub(crate) unsafe fn discard(start: NonNull<u8>, len: usize) {
    // Advice: if it is refused, the memory is merely kept.
    // SAFETY: as promised by the caller.
    unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_DONTNEED) };
}

/// Writes to stderr with `write(2)` alone. Async-signal-safe.
pub(crate) fn write_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the pointer and the length are those of a slice.
        let written = unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
