//! Deadlines, as C's calls have them: a time by some clock, past which nobody waits.

use std::time::{Duration, Instant};

use libc::{clockid_t, timespec};

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// When a wait is over; perhaps never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    clock: clockid_t,
    /// By that clock.
    nanos: Option<i128>,
}

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline { clock: libc::CLOCK_MONOTONIC, nanos: None };

    /// Whether it is a clock by which the C library's locks can be waited for.
    pub(crate) fn knows(clock: clockid_t) -> bool {
        matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC)
    }

    /// At that time of that clock; `None` if it is none.
    pub(crate) fn at(clock: clockid_t, time: timespec) -> Option<Deadline> {
        // Whoever's time is before the clock began is late, and not wrong.
        (0..NANOS_PER_SEC).contains(&time.tv_nsec).then(|| Deadline { clock, nanos: Some(nanos(time)) })
    }

    /// So long from now; `None` if it is no time.
    pub(crate) fn after(time: timespec) -> Option<Deadline> {
        let clock = libc::CLOCK_MONOTONIC;
        let is_valid = time.tv_sec >= 0 && (0..NANOS_PER_SEC).contains(&time.tv_nsec);
        is_valid.then(|| Deadline { clock, nanos: Some(now(clock).saturating_add(nanos(time))) })
    }

    /// For the hub's timers, as far as it can be told now: a clock may be set.
    pub(crate) fn instant(self) -> Option<Instant> {
        let left = u64::try_from(self.left()?).unwrap_or(u64::MAX);
        // 584 years and the end of the clock are never.
        Instant::now().checked_add(Duration::from_nanos(left))
    }

    /// Whether it has come, by its own clock.
    pub(crate) fn is_over(self) -> bool {
        self.left() == Some(0)
    }

    /// Whether it comes before the other, by what their clocks say now.
    pub(crate) fn is_before(self, other: Deadline) -> bool {
        match (self.left(), other.left()) {
            (Some(left), Some(others)) => left < others,
            (left, _) => left.is_some(),
        }
    }

    /// The time by its clock: the last that there is, if it is never.
    pub(crate) fn time(self) -> timespec {
        let nanos = self.nanos.unwrap_or(i128::MAX).max(0);
        timespec {
            tv_sec: (nanos / i128::from(NANOS_PER_SEC)).try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: (nanos % i128::from(NANOS_PER_SEC)) as i64,
        }
    }

    fn left(self) -> Option<i128> {
        self.nanos.map(|nanos| nanos.saturating_sub(now(self.clock)).max(0))
    }
}

fn nanos(time: timespec) -> i128 {
    i128::from(time.tv_sec) * i128::from(NANOS_PER_SEC) + i128::from(time.tv_nsec)
}

fn now(clock: clockid_t) -> i128 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time. A clock that there is not leaves it at 0: the callers have checked theirs.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    nanos(time)
}
