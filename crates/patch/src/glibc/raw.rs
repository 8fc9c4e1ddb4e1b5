//! The real calls: system calls made by hand, since libc's wrappers are what is replaced.

use std::io;

use libc::{c_int, c_long};

/// A system call with up to six arguments; returns what the kernel does, a negated error number included.
///
/// # Safety
///
/// That of the call.
#[inline(always)]
pub(crate) unsafe fn call(number: c_long, args: [usize; 6]) -> isize {
    let result: isize;
    let [a, b, c, d, e, f] = args;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the call. The kernel changes rcx, r11 and rax alone, and what the arguments point to.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the kernel changes x0 alone.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number as isize,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// What a system call returned, as std has it.
#[inline(always)]
pub(crate) fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result as c_int)) } else { Ok(result as usize) }
}

/// What a system call returned, as a libc function does: -1 and `errno`.
#[inline(always)]
pub(crate) fn give(result: isize) -> isize {
    if result < 0 { failed(result) } else { result }
}

/// Out of line: a call in the middle of a shell would make it save registers, also when nothing fails. And a C function, which unwinds no more than the
/// shell does, so that the shell can end with it.
#[cold]
#[inline(never)]
extern "C" fn failed(result: isize) -> isize {
    set_errno(-result as c_int);
    -1
}

/// A result, as a libc function returns it.
#[inline]
pub(crate) fn give_result(result: io::Result<usize>) -> isize {
    match result {
        Ok(value) => value as isize,
        Err(err) => {
            set_errno(errno_of(&err));
            -1
        }
    }
}

/// The number of an error; one that the operating system has not made is EIO.
pub(crate) fn errno_of(err: &io::Error) -> c_int {
    err.raw_os_error().unwrap_or(libc::EIO)
}

pub(crate) fn error(errno: c_int) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Where libc keeps the thread's last error number.
#[inline]
fn place() -> *mut c_int {
    // SAFETY: it has no preconditions.
    unsafe { libc::__errno_location() }
}

pub(crate) fn errno() -> c_int {
    // SAFETY: it points to the thread's own number.
    unsafe { *place() }
}

#[inline]
pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: it points to the thread's own number.
    unsafe { *place() = errno };
}

/// A system call with its arguments, each as it is; unsafe, as the call is. Returns what the kernel does.
macro_rules! syscall {
    ($number:expr $(, $arg:expr)* $(,)?) => {
        $crate::glibc::raw::call($number, $crate::glibc::raw::pad([$($arg as usize),*]))
    };
}
pub(crate) use syscall;

/// Fills the arguments up with zeros.
#[inline(always)]
pub(crate) const fn pad<const N: usize>(args: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    let mut index = 0;
    while index < N {
        all[index] = args[index];
        index += 1;
    }
    all
}
