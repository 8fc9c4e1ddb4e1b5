//! The wait under `poll`, `select` and `epoll_wait`: look; if there is nothing, wait until there may be; look again.
//!
//! A *look* is the real call with no time to wait. It alone says what the call returns: what is here decides only when it is worth another.
//!
//! * One descriptor that is to be readable or writable is waited for through the hub: a socket or a pipe by the registration that its other calls use, anything else for this one wait.
//! * Several, or what the hub does not wait for (urgent data, errors alone), are put into an epoll instance of this call's own, and the hub waits for that.
//!   It is edge-triggered, and emptied before each look, for it tells more than was asked: a hang-up that the look does not count must not make a loop of it.
//!   Descriptors that epoll does not take (regular files) are always ready or never.
//! * If there are no more descriptors for that, or instances are nested too deep, the look is repeated from time to time.
//!
//! A signal's handler that runs meanwhile does not end the wait, as if it had been installed to restart it. There are two exceptions: a call that hands a signal mask over
//! (`mask.rs`), and one that waits for nothing and for ever, since only a signal can end that.

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use greenlet_hub::{Reason, Wait, patching};
use greenlet_hub::{wait_readable, wait_readable_timeout, wait_writable, wait_writable_timeout};

use super::fds::{self, Direction};
use super::owned::{Foreign, Owned};
use super::raw;
use super::signal::Bell;
use super::sleep;
use super::wait;

/// The least and the longest pause between two looks, where nothing else can be done.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// A descriptor that may have been closed past the shells is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After so many vain wake-ups by one descriptor it is waited for as several are.
const VAIN: u32 = 2;

/// A descriptor and what is waited for, in epoll's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) fd: RawFd,
    pub(crate) events: u32,
}

impl Interest {
    pub(crate) const READ: u32 = (libc::EPOLLIN | libc::EPOLLRDNORM) as u32;
    pub(crate) const WRITE: u32 = (libc::EPOLLOUT | libc::EPOLLWRNORM) as u32;

    pub(crate) fn readable(fd: RawFd) -> Interest {
        Interest { fd, events: Interest::READ }
    }

    /// What a wait for reading is ended by besides; the look sorts it out, and if that is in vain again and again, it is waited for in another way.
    const BESIDES_READ: u32 = (libc::EPOLLPRI | libc::EPOLLRDBAND | libc::EPOLLRDHUP) as u32;
    /// What is always told, whether it was asked for or not; libpq asks.
    const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP | libc::POLLNVAL as i32) as u32;

    fn is_to_read(self) -> bool {
        let others = !(Interest::READ | Interest::BESIDES_READ | Interest::ALWAYS);
        self.events & Interest::READ != 0 && self.events & others == 0
    }

    fn is_to_write(self) -> bool {
        self.events & Interest::WRITE != 0 && self.events & !(Interest::WRITE | Interest::ALWAYS) == 0
    }
}

/// Waits until `look`, the real call with no time to wait, returns something else than 0 (negated error numbers included), at the most for `timeout` (`None`: for ever).
/// What it returns; 0 is what its last look did. Interrupted: `-ECANCELED`, `-ETIMEDOUT`.
pub(crate) fn look_until(
    timeout: Option<Duration>,
    interests: impl Iterator<Item = Interest> + Clone,
    mut look: impl FnMut() -> isize,
) -> isize {
    let found = look();
    if found < 0 {
        return found;
    }
    if found != 0 || timeout == Some(Duration::ZERO) {
        // Who polls without waiting must not keep the others from running for ever.
        return match wait::interruptible(|| {
            patching::spend_budget();
            Ok(())
        }) {
            Err(err) if found == 0 => -(raw::errno_of(&err) as isize),
            // What was found is told first.
            _ => found,
        };
    }
    let deadline = sleep::deadline_after(timeout);
    let mut way = Way::choose(interests.clone(), deadline, false);
    let mut vain = 0;
    loop {
        let waited = wait::interruptible(|| way.wait(deadline));
        // A deadline that has passed is looked at last: what has come in the same turn wins.
        let found = match waited {
            Err(err) if err.raw_os_error().is_some_and(ends) => return -(raw::errno_of(&err) as isize),
            waited => (look(), waited),
        };
        match found {
            (0, Ok(true)) => {}
            // The hub cannot wait for it: closed meanwhile, or no more memory for its registration. The next look says which.
            (0, Err(_)) => way = Way::Pauses(PAUSES[0]),
            (found, _) => return found,
        }
        vain += 1;
        if vain >= VAIN && matches!(way, Way::One(..)) {
            way = Way::choose(interests.clone(), deadline, true);
        }
    }
}

/// Whether an error is the call's: an interrupt, a signal.
fn ends(errno: i32) -> bool {
    matches!(errno, libc::ECANCELED | libc::ETIMEDOUT | libc::EINTR)
}

/// How one call waits.
enum Way {
    /// For nothing but the deadline.
    Time,
    /// For nothing, and for ever: a signal's handler.
    Signal(Bell),
    One(RawFd, Direction),
    Several(Several),
    /// Blindly, for so long the next time.
    Pauses(Duration),
}

impl Way {
    fn choose(mut interests: impl Iterator<Item = Interest> + Clone, deadline: Option<Instant>, several: bool) -> Way {
        let all = interests.clone();
        let Some(first) = interests.next() else {
            return if deadline.is_some() { Way::Time } else { Way::Signal(Bell::hang()) };
        };
        let alone = !several && interests.next().is_none();
        if alone && first.is_to_read() {
            Way::One(first.fd, Direction::Read)
        } else if alone && first.is_to_write() {
            Way::One(first.fd, Direction::Write)
        } else {
            Several::new(all).map_or(Way::Pauses(PAUSES[0]), Way::Several)
        }
    }

    /// Waits until a look is worth while; false at the deadline.
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match self {
            Way::Time => Ok(Wait::begin(Reason::new("a poll of nothing")).notified(deadline)),
            Way::Signal(bell) => bell.wait().and(Err(raw::error(libc::EINTR))),
            Way::One(fd, direction) => wait_for_one(*fd, *direction, deadline),
            Way::Several(several) => several.wait(left),
            Way::Pauses(pause) => {
                let time = left.map_or(*pause, |left| left.min(*pause));
                greenlet_hub::sleep(time);
                let over = left.is_some_and(|left| left <= *pause);
                *pause = (*pause * 2).min(PAUSES[1]);
                Ok(!over)
            }
        }
    }
}

/// Waits for one descriptor; false at the deadline.
pub(crate) fn wait_for_one(fd: RawFd, direction: Direction, deadline: Option<Instant>) -> io::Result<bool> {
    let entry = fds::entry(fd).ok_or_else(|| raw::error(libc::EBADF))?;
    loop {
        let facts = entry.facts()?;
        let is_registered = facts.is_socket() || facts.is_pipe();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
        let io = entry.io();
        let told = match direction {
            Direction::Read if is_registered => io.wait_readable(Some(slice))?,
            Direction::Write if is_registered => io.wait_writable(Some(slice))?,
            Direction::Read => wait_within(left, Foreign(fd), wait_readable, wait_readable_timeout)?,
            Direction::Write => wait_within(left, Foreign(fd), wait_writable, wait_writable_timeout)?,
        };
        if told || left.is_some_and(|left| left <= slice) {
            return Ok(told);
        }
        entry.look_again();
    }
}

fn wait_within<T>(
    timeout: Option<Duration>,
    fd: T,
    wait: fn(T) -> io::Result<()>,
    wait_timeout: fn(T, Duration) -> io::Result<bool>,
) -> io::Result<bool> {
    match timeout {
        None => wait(fd).map(|()| true),
        Some(timeout) => wait_timeout(fd, timeout),
    }
}

/// An epoll instance of one call's descriptors.
struct Several {
    epoll: Owned,
}

impl Several {
    fn new(interests: impl Iterator<Item = Interest>) -> io::Result<Several> {
        // SAFETY: a call with a plain integer.
        let epoll = Owned::made(unsafe { raw::syscall!(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC) })?;
        let several = Several { epoll };
        for interest in interests {
            several.add(interest)?;
        }
        Ok(several)
    }

    fn add(&self, Interest { fd, events }: Interest) -> io::Result<()> {
        match self.control(libc::EPOLL_CTL_ADD, fd, events, 0) {
            Err(err) => match err.raw_os_error() {
                // The look says whether it is ready, which never changes; or passes over a number that `select` has no room for.
                Some(libc::EPERM | libc::EBADF) => Ok(()),
                // It stands more than once among the call's descriptors. Told of everything, the look sorts it out.
                Some(libc::EEXIST) => {
                    let any = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI | libc::EPOLLRDHUP;
                    self.control(libc::EPOLL_CTL_MOD, fd, any as u32, 0)
                }
                _ => Err(err),
            },
            added => added,
        }
    }

    fn control(&self, operation: i32, fd: RawFd, events: u32, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events | libc::EPOLLET as u32, u64: key };
        let epoll = self.epoll.number();
        // SAFETY: `event` outlives the call; a bad `fd` is an error.
        raw::check(unsafe { raw::syscall!(libc::SYS_epoll_ctl, epoll, operation, fd, &raw mut event) }).map(drop)
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let told = wait_within(timeout, &self.epoll, wait_readable, wait_readable_timeout)?;
        if told {
            self.empty();
        }
        Ok(told)
    }

    /// Takes all that it has to tell: what comes later is told anew.
    fn empty(&self) {
        const BATCH: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        loop {
            // SAFETY: there is room for so many events.
            let taken = unsafe {
                raw::syscall!(libc::SYS_epoll_pwait, self.epoll.number(), events.as_mut_ptr(), BATCH, 0, 0, 8)
            };
            if taken < BATCH as isize {
                return;
            }
        }
    }
}
