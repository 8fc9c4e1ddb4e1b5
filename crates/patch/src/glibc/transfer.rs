//! How a call on a descriptor waits: the loop of `hub::Io` around a real call that does not.
//!
//! A descriptor stays blocking for the kernel, since that flag belongs to the file, which other processes may share. Sockets are told by `MSG_DONTWAIT`, pipes by
//! `RWF_NOWAIT`; terminals and the rest are asked by `poll` first; and what knows no such thing (`accept`, `connect`, `sendfile`) is called with the descriptor made
//! non-blocking for the few microseconds of the call.
//!
//! A call on a descriptor of which nothing is known is tried first: one that need not wait costs no system call more. Only if it would have to wait, the kernel is
//! asked for the facts (see `fds`); if the user has made the descriptor non-blocking, what the call said is the answer.

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use greenlet_hub::patching;

use super::fds::{self, Descriptor, Direction, Facts};
use super::raw;
use super::sockets;
use super::wait;

/// A wait that has lasted so long looks whether the descriptor is still of the file that was registered.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The shortest and the longest pause between two tries, where no event tells when the next one is worth while.
pub(crate) const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(16)];

/// What a real call that does not wait said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The call is over: what it returned, a negated error number included.
    Done(isize),
    /// It would have to wait.
    WouldBlock,
}

impl Tried {
    /// What a call returned that was told not to wait.
    #[inline(always)]
    pub(crate) fn of(result: isize) -> Tried {
        if result == -(libc::EAGAIN as isize) { Tried::WouldBlock } else { Tried::Done(result) }
    }
}

/// One call, or a part of one, which waits as greenlets do.
pub(crate) struct Transfer {
    pub(crate) direction: Direction,
    /// So many bytes there is room for; 0 if a short count says nothing.
    pub(crate) len: usize,
    /// Of the descriptor that the call began with: what has its number later is none of its business.
    pub(crate) generation: u32,
    /// Some of it is done: so it cannot be for another descriptor.
    pub(crate) is_rest: bool,
    /// How much of the socket's time-out the parts before this one have taken.
    pub(crate) spent: Duration,
}

/// What happened in a transfer.
pub(crate) enum Ended {
    /// What the call returned, a negated error number included.
    With(isize),
    /// The descriptor is one whose calls are to be made as they are.
    Plain,
}

impl Transfer {
    /// A call that is about to begin.
    pub(crate) fn new(entry: &Descriptor, direction: Direction) -> Transfer {
        Transfer { direction, len: 0, generation: entry.generation(), is_rest: false, spent: Duration::ZERO }
    }

    /// Calls `attempt`, which does not wait, until it says something; waits in between. `facts`: what is known already.
    #[inline]
    pub(crate) fn run(&self, entry: &'static Descriptor, mut attempt: impl FnMut(Facts) -> Tried) -> io::Result<Ended> {
        let mut generation = self.generation;
        let mut spent = self.spent;
        let mut rechecks = true;
        loop {
            let facts = match entry.facts_of(generation) {
                Ok(facts) => facts,
                Err(err) => match entry.generation_after(generation) {
                    Some(found) if !self.is_rest => {
                        generation = found;
                        continue;
                    }
                    _ => return Err(err),
                },
            };
            if facts.is_plain() {
                return Ok(Ended::Plain);
            }
            let timeout = entry.timeout(self.direction).map(|timeout| timeout.saturating_sub(spent));
            // A wait without an end, or a long one, is interrupted once.
            let recheck = rechecks && !facts.was_born_here() && timeout.is_none_or(|timeout| timeout > LOOK_AGAIN);
            let bounded = if recheck { Some(LOOK_AGAIN) } else { timeout };
            let mut ended = None;
            let op = |_: &fds::Number| {
                if entry.generation() != generation {
                    return Err(raw::error(libc::EBADF));
                }
                match attempt(facts) {
                    Tried::Done(result) => {
                        ended = Some(result);
                        Ok(usize::try_from(result).unwrap_or(0))
                    }
                    Tried::WouldBlock => Err(raw::error(libc::EAGAIN)),
                }
            };
            let result = match self.direction {
                Direction::Read => entry.io().read_some_with(self.len, bounded, op),
                Direction::Write => entry.io().write_some_with(self.len, bounded, op),
            };
            match (ended, result) {
                (Some(result), _) => return Ok(Ended::With(result)),
                (None, Err(_)) if !self.is_rest && entry.generation_after(generation).is_some() => {}
                // The poller's words for a number that is another's meanwhile.
                (None, Err(err)) if entry.generation() != generation || err.raw_os_error() == Some(libc::ENOENT) => {
                    return Err(raw::error(libc::EBADF));
                }
                (None, Err(err)) if err.kind() == io::ErrorKind::WouldBlock && recheck => {
                    rechecks = false;
                    spent += LOOK_AGAIN;
                    entry.look_again();
                }
                (None, Err(err)) => return Err(err),
                (None, Ok(_)) => unreachable!("an attempt that succeeds says so"),
            }
        }
    }
}

impl Transfer {
    /// As [`run`](Transfer::run), where no event tells when there is room: tries again after pauses.
    #[cold]
    fn run_with_pauses(
        &self,
        entry: &'static Descriptor,
        mut attempt: impl FnMut(Facts) -> Tried,
    ) -> io::Result<Ended> {
        let mut pause = PAUSES[0];
        let mut spent = self.spent;
        loop {
            let facts = entry.facts_of(self.generation)?;
            if facts.is_plain() {
                return Ok(Ended::Plain);
            }
            if let Tried::Done(result) = attempt(facts) {
                return Ok(Ended::With(result));
            }
            let left = entry.timeout(self.direction).map(|timeout| timeout.saturating_sub(spent));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(raw::error(libc::EAGAIN));
            }
            let time = left.map_or(pause, |left| left.min(pause));
            greenlet_hub::sleep(time);
            spent += time;
            pause = (2 * pause).min(PAUSES[1]);
        }
    }
}

/// A call that reads or writes once: `call` makes it, true: it is not to wait; false: as it is.
#[inline(always)]
pub(crate) fn once(fd: RawFd, direction: Direction, len: usize, mut call: impl FnMut(bool) -> isize) -> isize {
    let Some(entry) = fds::entry(fd) else { return raw::give(call(false)) };
    let ended = wait::interruptible(|| {
        let transfer = Transfer { len, ..Transfer::new(entry, direction) };
        if entry.known().is_none() {
            // Most calls end here, on a descriptor of which nobody ever has to know anything.
            patching::spend_budget();
            match Tried::of(call(true)) {
                Tried::Done(result) => return Ok(Ended::With(result)),
                Tried::WouldBlock => {}
            }
        }
        transfer.run(entry, |_| match Tried::of(call(true)) {
            // It returns at once, and what it returns differs.
            Tried::WouldBlock if direction == Direction::Read && is_shut(entry, fd) => Tried::Done(call(false)),
            tried => tried,
        })
    });
    match ended {
        Ok(Ended::With(result)) => raw::give(result),
        Ok(Ended::Plain) => raw::give(call(false)),
        Err(err) => raw::give_result(Err(err)),
    }
}

#[cold]
fn has_failed(fd: RawFd) -> bool {
    sockets::readiness_of(fd, 0) & libc::POLLERR != 0
}

fn is_shut(entry: &Descriptor, fd: RawFd) -> bool {
    // As it is now: it may have been shut down since the call began.
    let may_be = entry.class().is_some_and(Facts::may_be_shut);
    may_be && sockets::readiness_of(fd, libc::POLLRDHUP) & libc::POLLRDHUP != 0
}

/// A call that writes all of `len` bytes to a stream that blocks, as the kernel does: `call` makes it from an offset on, true: it is not to wait. `addressed`: it
/// says whom it is for.
#[inline(always)]
pub(crate) fn all(
    fd: RawFd,
    direction: Direction,
    len: usize,
    addressed: bool,
    mut call: impl FnMut(usize, bool) -> isize,
) -> isize {
    let Some(entry) = fds::entry(fd) else { return raw::give(call(0, false)) };
    let mut moved = 0;
    let ended = wait::interruptible(|| {
        let mut rest = Transfer::new(entry, direction);
        if entry.known().is_none() {
            patching::spend_budget();
            match Tried::of(call(0, true)) {
                Tried::Done(result) if result <= 0 || result as usize == len => return Ok(Ended::With(result)),
                Tried::Done(result) => {
                    // Whether the rest is to be waited for, the facts say.
                    moved = result as usize;
                    let facts = entry.facts_of(rest.generation)?;
                    if facts.is_plain() || !facts.is_stream() && !facts.is_pipe() {
                        return Ok(Ended::With(result));
                    }
                }
                Tried::WouldBlock => {}
            }
        }
        // The time-out is of the whole call.
        let mut start = None;
        loop {
            rest.len = len - moved;
            rest.is_rest = moved > 0;
            match start {
                None if entry.timeout(direction).is_some() => start = Some(Instant::now()),
                None => {}
                Some(start) => rest.spent = start.elapsed(),
            }
            let mut is_stream = false;
            let attempt = |facts: Facts| {
                is_stream = facts.is_stream() || facts.is_pipe();
                if moved > 0 && has_failed(fd) {
                    // It is told by the next call. This one would tell it and lose it, since it has something else to tell.
                    return Tried::Done(0);
                }
                Tried::of(call(moved, true))
            };
            let ended = if addressed && entry.facts_of(rest.generation)?.is_unix_datagram() {
                rest.run_with_pauses(entry, attempt)?
            } else {
                rest.run(entry, attempt)?
            };
            match ended {
                Ended::With(result) if result > 0 => {
                    moved += result as usize;
                    if moved == len || !is_stream {
                        return Ok(Ended::With(moved as isize));
                    }
                }
                ended => return Ok(ended),
            }
        }
    });
    match ended {
        // What has gone cannot be taken back: the error comes with the next call.
        Ok(Ended::With(result)) if result <= 0 && moved > 0 => moved as isize,
        Ok(Ended::With(result)) => raw::give(result),
        Ok(Ended::Plain) if moved == 0 => raw::give(call(0, false)),
        Err(err) if moved == 0 => raw::give_result(Err(err)),
        Ok(Ended::Plain) | Err(_) => moved as isize,
    }
}

/// A plain call on a thread that does not wait as greenlets do. Should it say "would block" on a descriptor that blocks, another thread has made it non-blocking for the
/// length of a call of its own: it is made again.
#[inline(always)]
pub(crate) fn plain(fd: RawFd, mut call: impl FnMut() -> isize) -> isize {
    let result = call();
    plain_from(fd, result, call)
}

/// The rest of a [`plain`] call, which has said `result` at first: for shells that leave it to a function of its own if that is an error.
#[inline(always)]
pub(crate) fn plain_from(fd: RawFd, mut result: isize, mut call: impl FnMut() -> isize) -> isize {
    while result == -(libc::EAGAIN as isize) && was_toggled(fd) {
        result = call();
    }
    raw::give(result)
}

#[cold]
#[inline(never)]
fn was_toggled(fd: RawFd) -> bool {
    fds::known_entry(fd).is_some_and(Descriptor::was_toggled)
}
