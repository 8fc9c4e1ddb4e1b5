//! Where there is no epoll: all through `polling`.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use polling::{Events, PollMode, Poller};

use super::{Event, Interest, WAKE_KEY};

/// `polling` does not tell that the peer has hung up, so only `WouldBlock` says that a socket is empty.
pub(crate) const HANG_UP_IS_TOLD: bool = false;

/// The operating system's poller, with room for the events of one look.
pub(crate) struct Poll {
    poller: Poller,
    events: Events,
    seen: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let events = Events::with_capacity(NonZeroUsize::new(1024).expect("not zero"));
        Ok(Poll { poller: Poller::new()?, events, seen: Vec::new() })
    }

    /// Makes the descriptor through which others wake a sleeping hub (a socket pair's end), and watches the other end.
    pub(crate) fn make_eventfd(&self) -> io::Result<OwnedFd> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let ours = OwnedFd::from(ours);
        let event = polling::Event::readable(WAKE_KEY as usize);
        // SAFETY: the descriptor is leaked on the next line, so it stays open as long as the poller.
        unsafe { self.poller.add_with_mode(ours.as_raw_fd(), event, PollMode::Edge) }?;
        std::mem::forget(ours);
        Ok(theirs.into())
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        let (event, mode) = convert(key, interest);
        // SAFETY: the hub deletes a registration before it lets go of the descriptor.
        unsafe { self.poller.add_with_mode(fd.as_raw_fd(), event, mode) }
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        let (event, mode) = convert(key, interest);
        self.poller.modify_with_mode(fd, event, mode)
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.poller.delete(fd)
    }

    /// Waits for events, at the most for `timeout`; returns how many there are for [`event`](Poll::event).
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.events.clear();
        self.seen.clear();
        match self.poller.wait(&mut self.events, timeout) {
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
        self.seen.extend(self.events.iter().map(|event| Event {
            key: event.key as u64,
            readable: event.readable,
            writable: event.writable,
            more: event.is_interrupt() || event.is_priority(),
        }));
        Ok(self.seen.len())
    }

    /// One of the events of the last wait.
    pub(crate) fn event(&self, index: usize) -> Event {
        self.seen[index]
    }
}

fn convert(key: u64, interest: Interest) -> (polling::Event, PollMode) {
    let key = key as usize;
    match interest {
        Interest::Edge => (polling::Event::all(key), PollMode::Edge),
        Interest::Once { read, write } => (polling::Event::new(key, read, write), PollMode::Oneshot),
    }
}

/// Wakes whoever polls the other end.
pub(crate) fn ring_eventfd(eventfd: &OwnedFd) {
    let byte = [1_u8];
    // SAFETY: one readable byte. It fails only when the buffer is full of rings, and then the event is pending already.
    unsafe { libc::write(eventfd.as_raw_fd(), byte.as_ptr().cast(), 1) };
}

/// How many threads the process has; it cannot be told here, so no deadlock is ever raised.
pub(crate) fn count_threads() -> Option<usize> {
    None
}
