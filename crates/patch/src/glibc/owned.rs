//! A descriptor of our own, made and closed past the shells: what is known of descriptors is of the user's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use super::fds;
use super::raw;

/// A descriptor that is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Owned(RawFd);

impl Owned {
    /// Takes over what a system call returned that has made a descriptor.
    pub(crate) fn made(result: isize) -> io::Result<Owned> {
        let owned = raw::check(result).map(|fd| Owned(fd as RawFd))?;
        // The one before it may have been closed past the shells.
        fds::forget(owned.0);
        Ok(owned)
    }

    pub(crate) fn number(&self) -> RawFd {
        self.0
    }
}

impl AsFd for Owned {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as this lives.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: nobody else has it. What the call returns changes nothing: it is closed.
        unsafe { raw::syscall!(libc::SYS_close, self.0) };
    }
}

/// Somebody else's descriptor by its number, to be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign(pub(crate) RawFd);

impl AsFd for Foreign {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is handed to the kernel only, where a number that is closed is an error. The caller has seen that it is not negative.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}
