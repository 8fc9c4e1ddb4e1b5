//! Waiting for descriptors that are only borrowed: each wait is registered for itself, or shares what its owner has.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::hub::{Hub, deadline_after};
use crate::poller::{Direction, SlotKey};
use crate::sys;
use crate::waitable::Waitable;
use crate::waiter::Waiter;

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

/// A descriptor's being readable (or at its end, or in error), to be waited for together with other things. Never switches.
///
/// It lasts as long as the borrow, and is registered only while somebody waits. Regular files are always readable.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Waitable, readable, spawn, wait};
/// use std::io::Write;
///
/// let (ours, mut theirs) = std::io::pipe()?;
/// let idle = std::io::pipe()?;
/// spawn(move || theirs.write_all(b"x"));
/// let both: [&dyn Waitable; 2] = [&readable(&idle.0), &readable(&ours)];
/// assert_eq!(wait(&both, Some(1), None), [1]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn readable<Fd: AsFd + ?Sized>(fd: &Fd) -> Readiness<'_> {
    Readiness::new(fd.as_fd(), Direction::Read)
}

/// A descriptor's being writable (or in error), to be waited for together with other things. Never switches. See [`readable`].
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Waitable, writable};
///
/// let (_ours, theirs) = std::io::pipe()?;
/// assert!(writable(&theirs).is_ready());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn writable<Fd: AsFd + ?Sized>(fd: &Fd) -> Readiness<'_> {
    Readiness::new(fd.as_fd(), Direction::Write)
}

/// What [`readable`] and [`writable`] make: the readiness of a borrowed descriptor.
///
/// A waiter that it was given must be of the greenlet that runs.
pub struct Readiness<'a> {
    fd: BorrowedFd<'a>,
    direction: Direction,
    /// Waits that stand in the poller's slots, which hold plain pointers. The waiters in here keep the blocks that those point
    /// to, even if this is forgotten; dropped, it takes them out of the slots.
    entries: RefCell<Vec<Registered>>,
    failed: RefCell<Option<io::Error>>,
    // Not `Send`: the slots are those of this thread's hub.
    marker: PhantomData<*mut ()>,
}

struct Registered {
    /// Of the poller that has the slot.
    poller: u32,
    key: SlotKey,
    waiter: Waiter,
}

impl<'a> Readiness<'a> {
    fn new(fd: BorrowedFd<'a>, direction: Direction) -> Readiness<'a> {
        Readiness { fd, direction, entries: RefCell::default(), failed: RefCell::default(), marker: PhantomData }
    }

    /// The error that the operating system's poller told when the descriptor was last to be registered; it counts as ready.
    pub fn take_error(&self) -> Option<io::Error> {
        self.failed.take()
    }

    fn register(&self, hub: &Hub, waiter: &Waiter) -> io::Result<()> {
        // As in `wait_borrowed`.
        hub.drain_inbox();
        let poller = hub.poller()?;
        let (key, _owned) = match poller.borrow_mut().borrow(self.fd) {
            // A regular file: it is ready, as `is_ready` says when it is asked again.
            Err(err) if err.raw_os_error() == Some(libc::EPERM) => return Ok(()),
            borrowed => borrowed?,
        };
        // In here before in the slot.
        self.entries.borrow_mut().push(Registered { poller: hub.poller_number(), key, waiter: waiter.clone() });
        hub.watching.set(hub.watching.get() + 1);
        let pushed = poller.borrow_mut().push(key.slot, self.direction, waiter.timed(), false);
        if pushed.is_err() {
            self.unregister(hub, |entry| entry.waiter == *waiter);
        }
        pushed
    }

    fn unregister(&self, hub: &Hub, which: impl FnMut(&Registered) -> bool) {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.iter().position(which).map(|index| entries.swap_remove(index)) else { return };
        drop(entries);
        if entry.poller != hub.poller_number() {
            // The parent's, in a forked child.
            return;
        }
        hub.watching.set(hub.watching.get() - 1);
        let Some(poller) = hub.made_poller() else { return };
        poller.borrow_mut().remove(entry.key, self.direction, entry.waiter.timed());
        // It may have been woken, and an owner of the descriptor stand behind it.
        hub.pass_on(entry.key, self.direction);
        poller.borrow_mut().give_back(entry.key, self.fd);
    }
}

impl Waitable for Readiness<'_> {
    fn is_ready(&self) -> bool {
        // An error is told by whatever call comes next.
        self.failed.borrow().is_some() || sys::is_ready(self.fd, self.direction == Direction::Write).unwrap_or(true)
    }

    fn subscribe(&self, waiter: &Waiter) {
        let hub = Hub::here();
        assert!(waiter.is_of(hub), "a descriptor is waited for on the hub that runs");
        if let Err(err) = self.register(hub, waiter) {
            *self.failed.borrow_mut() = Some(err);
        }
    }

    fn unsubscribe(&self, waiter: &Waiter) {
        self.unregister(Hub::here(), |entry| entry.waiter == *waiter);
    }
}

impl Drop for Readiness<'_> {
    fn drop(&mut self) {
        while !self.entries.get_mut().is_empty() {
            self.unregister(Hub::here(), |_| true);
        }
    }
}

impl fmt::Debug for Readiness<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("fd", &self.fd).field("direction", &self.direction).finish_non_exhaustive()
    }
}
