//! Where there is no epoll: all through `polling`.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Events, PollMode, Poller};

use super::{Event, Interest};

/// `polling` does not tell that the peer has hung up, so only `WouldBlock` says that a socket is empty.
pub(crate) const HANG_UP_IS_TOLD: bool = false;

/// The clock of `Instant`, in nanoseconds since its first use.
pub(crate) fn nanos_now() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
}

/// The operating system's poller, with room for the events of one look.
pub(crate) struct Poll {
    poller: Arc<Poller>,
    events: Events,
    seen: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let events = Events::with_capacity(NonZeroUsize::new(64).expect("not zero"));
        Ok(Poll { poller: Arc::new(Poller::new()?), events, seen: Vec::new() })
    }

    /// Lets go of what a forked child has of its parent's poller. A kqueue is not inherited, so there is nothing to close.
    pub(crate) fn close_in_child(self) {
        std::mem::forget(self.poller);
    }

    /// Makes what others wake a sleeping hub with.
    pub(crate) fn make_waker(&self) -> io::Result<Waker> {
        Ok(Waker { poller: Arc::clone(&self.poller) })
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

/// Wakes a hub that sleeps in its poller.
pub(crate) struct Waker {
    poller: Arc<Poller>,
}

impl Waker {
    pub(crate) fn ring(&self) {
        // It fails only when a wake-up is pending already.
        let _ = self.poller.notify();
    }
}

/// How many threads the process has; it cannot be told here, so no deadlock is ever raised.
pub(crate) fn count_threads() -> Option<usize> {
    None
}
