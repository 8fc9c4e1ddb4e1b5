//! Linux: epoll by hand on the descriptor of the poller that `polling` owns, since `Poller::wait` makes five system
//! calls where one does, and its registrations cannot ask for `EPOLLRDHUP`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use polling::Poller;

use super::{Event, Interest, WAKE_KEY, check, round_up_to_millis};

/// Whether a short read tells that the socket's buffer is empty: only where an event says that the peer has hung
/// up (`EPOLLRDHUP`); otherwise the end of file that came together with the data would never be seen.
pub(crate) const HANG_UP_IS_TOLD: bool = true;

/// As many events as one system call brings. A larger batch saves nothing that could be measured (the call costs as much as one
/// event more), and all of a batch runs before timers are looked at.
const BATCH: usize = 64;

/// The clock of `Instant`, in nanoseconds since some time.
#[inline]
pub(crate) fn nanos_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the answer. The call does not fail for a clock that every kernel has.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The operating system's poller, with room for the events of one look.
pub(crate) struct Poll {
    poller: Poller,
    events: Box<[libc::epoll_event; BATCH]>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let poller = Poller::new()?;
        Ok(Poll { poller, events: Box::new([libc::epoll_event { events: 0, u64: 0 }; BATCH]) })
    }

    /// Closes a forked child's copies of the parent's poller, of which `polling` would take registrations back: those are the parent's as well.
    pub(crate) fn close_in_child(self) {
        // So another one is put in its place first.
        // SAFETY: a call with plain integers.
        let Ok(fd) = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }) else {
            // Better to keep them open.
            return std::mem::forget(self.poller);
        };
        // SAFETY: the kernel has just made it for us alone.
        let empty = unsafe { OwnedFd::from_raw_fd(fd) };
        let epoll = self.poller.as_fd().as_raw_fd();
        // SAFETY: both are open; what the second number referred to is the parent's.
        if check(unsafe { libc::dup3(empty.as_raw_fd(), epoll, libc::O_CLOEXEC) }).is_err() {
            std::mem::forget(self.poller);
        }
    }

    /// Makes what others wake a sleeping hub with.
    pub(crate) fn make_waker(&self) -> io::Result<Waker> {
        // SAFETY: a call with plain integers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel has just made it for us alone.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Edge-triggered: each write is an event of its own, so that nobody ever has to read it.
        self.control(libc::EPOLL_CTL_ADD, eventfd.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET, WAKE_KEY)?;
        Ok(Waker { eventfd })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        let is = |result: &io::Result<()>, errno| result.as_ref().is_err_and(|err| err.raw_os_error() == Some(errno));
        loop {
            let added = self.control(libc::EPOLL_CTL_ADD, fd, flags(interest), key);
            if !is(&added, libc::EEXIST) {
                return added;
            }
            // Of the same number and file: shared with another owner, or left behind by one that was closed while a
            // duplicate stayed open.
            let modified = self.control(libc::EPOLL_CTL_MOD, fd, flags(interest), key);
            // Where calls are patched, the number may be another file's by now.
            if !is(&modified, libc::ENOENT) {
                return modified;
            }
        }
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, key: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), flags(interest), key)
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0)
    }

    fn control(&self, operation: i32, fd: RawFd, flags: i32, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags as u32, u64: key };
        let epoll = self.poller.as_fd().as_raw_fd();
        // SAFETY: the poller is open, and `event` outlives the call; a bad `fd` is an error, not undefined.
        check(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) }).map(drop)
    }

    /// Waits for events, at the most for `timeout`; returns how many there are for [`event`](Poll::event).
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        static NO_PWAIT2: AtomicBool = AtomicBool::new(false);
        if !NO_PWAIT2.load(Ordering::Relaxed) {
            match self.pwait2(timeout) {
                // Not known to the kernel, or (EPERM) to an older list of system calls that a container may make.
                Err(err) if matches!(err.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    NO_PWAIT2.store(true, Ordering::Relaxed);
                }
                result => return interrupted_is_empty(result),
            }
        }
        let timeout = timeout.map_or(-1, round_up_to_millis);
        let (epoll, events) = (self.poller.as_fd().as_raw_fd(), self.events.as_mut_ptr());
        // SAFETY: `events` has room for `BATCH` events.
        let count = check(unsafe { libc::epoll_wait(epoll, events, BATCH as i32, timeout) });
        interrupted_is_empty(count.map(|count| count as usize))
    }

    /// `epoll_pwait2`: nanoseconds, since Linux 5.11.
    fn pwait2(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (epoll, events) = (self.poller.as_fd().as_raw_fd(), self.events.as_mut_ptr());
        let no_mask = std::ptr::null::<libc::sigset_t>();
        // SAFETY: `events` has room for `BATCH` events, `timeout` is null or outlives the call, a null mask is allowed.
        let count =
            unsafe { libc::syscall(libc::SYS_epoll_pwait2, epoll, events, BATCH as i32, timeout, no_mask, 8_usize) };
        check(count as i32).map(|count| count as usize)
    }

    /// One of the events of the last wait.
    #[inline]
    pub(crate) fn event(&self, index: usize) -> Event {
        let libc::epoll_event { events, u64: key } = self.events[index];
        let has = |flags: i32| events & flags as u32 != 0;
        Event {
            key,
            readable: has(libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
            writable: has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR),
            more: has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI),
        }
    }
}

fn flags(interest: Interest) -> i32 {
    let directions = |read, write| {
        let read = if read { libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI } else { 0 };
        read | if write { libc::EPOLLOUT } else { 0 }
    };
    match interest {
        Interest::Edge => directions(true, true) | libc::EPOLLET,
        Interest::Once { read, write } => directions(read, write) | libc::EPOLLONESHOT,
    }
}

/// A signal is no event: the hub looks again by itself.
fn interrupted_is_empty(result: io::Result<usize>) -> io::Result<usize> {
    result.or_else(|err| if err.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(err) })
}

/// Wakes a hub that sleeps in its poller.
pub(crate) struct Waker {
    eventfd: OwnedFd,
}

impl Waker {
    pub(crate) fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight readable bytes. It fails only at 2^64 - 1 rings, which no machine lives to see.
        unsafe { libc::write(self.eventfd.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}

/// How many threads the process has; `None` if that cannot be told.
pub(crate) fn count_threads() -> Option<usize> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may contain anything; the 20th is the count.
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(17)?.parse().ok()
}
