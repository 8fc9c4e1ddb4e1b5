//! Waiting for descriptors that are only borrowed: each wait is registered for itself, or shares what its owner has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::hub::{Hub, deadline_after};
use crate::poller::{Direction, SlotKey};
use crate::sys;

/// Waits until the descriptor is readable (or at its end, or in error). Always switches, unless it is a regular file.
///
/// The descriptor is registered for this one wait, or shares the registration that its [`Io`](crate::Io) has on this hub. Several may
/// wait for the same descriptor; all of them are woken.
///
/// # Errors
///
/// What the operating system's poller says of the descriptor.
///
/// # Panics
///
/// Inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut ours, mut theirs) = std::io::pipe()?;
/// let writer = greenlet_hub::spawn(move || theirs.write_all(b"x"));
/// greenlet_hub::wait_readable(&ours)?; // the writer runs meanwhile
/// let mut byte = [0];
/// ours.read_exact(&mut byte)?;
/// assert_eq!(&byte, b"x");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait_readable(fd: impl AsFd) -> io::Result<()> {
    wait_borrowed(fd.as_fd(), Direction::Read, None).map(drop)
}

/// Waits until the descriptor is readable, at the most for `timeout`; says whether it is.
///
/// # Errors
///
/// As [`wait_readable`].
///
/// # Panics
///
/// As [`wait_readable`].
pub fn wait_readable_timeout(fd: impl AsFd, timeout: Duration) -> io::Result<bool> {
    wait_borrowed(fd.as_fd(), Direction::Read, Some(deadline_after(timeout)))
}

/// Waits until the descriptor is writable (or in error). Always switches, unless it is a regular file. See [`wait_readable`].
///
/// # Errors
///
/// As [`wait_readable`].
///
/// # Panics
///
/// As [`wait_readable`].
pub fn wait_writable(fd: impl AsFd) -> io::Result<()> {
    wait_borrowed(fd.as_fd(), Direction::Write, None).map(drop)
}

/// Waits until the descriptor is writable, at the most for `timeout`; says whether it is.
///
/// # Errors
///
/// As [`wait_readable`].
///
/// # Panics
///
/// As [`wait_readable`].
pub fn wait_writable_timeout(fd: impl AsFd, timeout: Duration) -> io::Result<bool> {
    wait_borrowed(fd.as_fd(), Direction::Write, Some(deadline_after(timeout)))
}

fn wait_borrowed(fd: BorrowedFd<'_>, direction: Direction, deadline: Option<Instant>) -> io::Result<bool> {
    let hub = Hub::here();
    // A descriptor of that number may have been let go of on another thread: that is told before it is looked up here.
    hub.drain_inbox();
    let borrowed = hub.poller()?.borrow_mut().borrow(fd);
    let (key, owned) = match borrowed {
        Err(err) if err.raw_os_error() == Some(libc::EPERM) => return Ok(true),
        borrowed => borrowed?,
    };
    let _loan = Loan { hub, key, fd };
    // An owner's slot tells changes only, so what is ready now has to be asked.
    if owned && sys::is_ready(fd, direction == Direction::Write)? {
        hub.yield_now();
        return Ok(true);
    }
    let ready = hub.wait_for_slot(key, fd, direction, deadline, false)?;
    if ready {
        hub.pass_on(key, direction);
    }
    Ok(ready)
}

/// A slot that is used for one borrowed wait.
struct Loan<'a> {
    hub: &'a Hub,
    key: SlotKey,
    fd: BorrowedFd<'a>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(poller) = self.hub.made_poller() {
            poller.borrow_mut().give_back(self.key, self.fd);
        }
    }
}
