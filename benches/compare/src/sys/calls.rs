//! Functions of libc's to be called through pointers: those that this program was linked with, or glibc's own.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::{mem, ptr};

use libc::{c_char, c_int, c_long, c_void, clockid_t, pthread_mutex_t, size_t, ssize_t, timespec};

type Recv = unsafe extern "C" fn(c_int, *mut c_void, size_t, c_int) -> ssize_t;
type WriteCall = unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t;
type ClockNanosleep = unsafe extern "C" fn(clockid_t, c_int, *const timespec, *mut timespec) -> c_int;
type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;
type OfMutex = unsafe extern "C" fn(*mut pthread_mutex_t) -> c_int;

/// The functions that are called.
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    recv: Recv,
    write: WriteCall,
    clock_nanosleep: ClockNanosleep,
    syscall: Syscall,
    lock: OfMutex,
    unlock: OfMutex,
}

impl Calls {
    /// Those that any call in this program goes to.
    pub(crate) fn linked() -> Self {
        Self {
            recv: libc::recv,
            write: libc::write,
            clock_nanosleep: libc::clock_nanosleep,
            syscall: libc::syscall,
            lock: libc::pthread_mutex_lock,
            unlock: libc::pthread_mutex_unlock,
        }
    }

    /// glibc's.
    ///
    /// # Panics
    ///
    /// This program runs on another libc.
    pub(crate) fn of_libc() -> Self {
        Self {
            // SAFETY: glibc's function of this name has this type, and is never unloaded.
            recv: unsafe { mem::transmute::<*mut c_void, Recv>(glibc(c"recv")) },
            // SAFETY: glibc's function of this name has this type, and is never unloaded.
            write: unsafe { mem::transmute::<*mut c_void, WriteCall>(glibc(c"write")) },
            // SAFETY: glibc's function of this name has this type, and is never unloaded.
            clock_nanosleep: unsafe { mem::transmute::<*mut c_void, ClockNanosleep>(glibc(c"clock_nanosleep")) },
            // SAFETY: glibc's function of this name has this type, and is never unloaded.
            syscall: unsafe { mem::transmute::<*mut c_void, Syscall>(glibc(c"syscall")) },
            // SAFETY: glibc's function of this name has this type, and is never unloaded.
            lock: unsafe { mem::transmute::<*mut c_void, OfMutex>(glibc(c"pthread_mutex_lock")) },
            // SAFETY: glibc's function of this name has this type, and is never unloaded.
            unlock: unsafe { mem::transmute::<*mut c_void, OfMutex>(glibc(c"pthread_mutex_unlock")) },
        }
    }

    /// Makes everything that a call needs, and returns the call; it panics if it fails.
    ///
    /// # Errors
    ///
    /// No call is named so, or what it needs cannot be had.
    pub(crate) fn prepared(self, name: &str) -> io::Result<Box<dyn Fn()>> {
        match name {
            "recv" => {
                let (mut left, right) = UnixStream::pair()?;
                left.write_all(&[7])?;
                Ok(Box::new(move || {
                    let _open = &left;
                    let mut byte = 0_u8;
                    // SAFETY: the socket is open, the buffer one byte.
                    let res = unsafe { (self.recv)(right.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_PEEK) };
                    assert!(res == 1);
                }))
            }
            "write" => {
                let null = File::options().write(true).open("/dev/null")?;
                Ok(Box::new(move || {
                    // SAFETY: the file is open, the buffer one byte.
                    let res = unsafe { (self.write)(null.as_raw_fd(), c"x".as_ptr().cast(), 1) };
                    assert!(res == 1);
                }))
            }
            "sleep" => Ok(Box::new(move || {
                let past = timespec { tv_sec: 0, tv_nsec: 0 };
                // SAFETY: the time lives through the call; what remains is not asked for.
                let res = unsafe {
                    (self.clock_nanosleep)(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &past, ptr::null_mut())
                };
                assert!(res == 0);
            })),
            "futex" => Ok(Box::new(move || {
                let word = 0_u32;
                let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
                // SAFETY: FUTEX_WAKE takes an address, a command and a number, and only looks at who waits there.
                let res = unsafe { (self.syscall)(libc::SYS_futex, &raw const word, wake, 1) };
                assert!(res == 0);
            })),
            "mutex" => {
                // In a place of its own that does not move, as pthread's mutexes want it.
                let mutex = Box::into_raw(Box::new(libc::PTHREAD_MUTEX_INITIALIZER));
                Ok(Box::new(move || {
                    // SAFETY: the mutex is initialised, and leaked; this thread does not hold it.
                    let res = unsafe { (self.lock)(mutex) };
                    assert!(res == 0);
                    // SAFETY: this thread has just locked it.
                    let res = unsafe { (self.unlock)(mutex) };
                    assert!(res == 0);
                }))
            }
            _ => Err(io::Error::other(format!("no call {name:?}"))),
        }
    }
}

/// Finds a function in glibc itself.
fn glibc(name: &CStr) -> *mut c_void {
    let library: *const c_char = c"libc.so.6".as_ptr();
    // SAFETY: the name is a string, and a library that is loaded already runs no code when it is opened.
    let library = unsafe { libc::dlopen(library, libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    assert!(!library.is_null(), "this program runs on glibc");
    // SAFETY: the handle is open, and the name a string.
    let function = unsafe { libc::dlsym(library, name.as_ptr()) };
    assert!(!function.is_null(), "glibc has {name:?}");
    function
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_succeeds_as_linked_and_in_glibc_itself() {
        for calls in [Calls::linked(), Calls::of_libc()] {
            for name in ["recv", "write", "sleep", "futex", "mutex"] {
                let call = calls.prepared(name).unwrap();
                call();
                call();
            }
            assert!(calls.prepared("none").is_err());
        }
    }
}
