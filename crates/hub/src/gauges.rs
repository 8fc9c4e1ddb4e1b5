//! What a hub tells of itself: counts that it alone writes and anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys::nanos_now;

/// The counts of one hub.
// On cache lines of their own: the hub writes at each start and end of a greenlet, and others read what stands beside them.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Gauges {
    /// Greenlets that have a stack: they have started and not ended.
    pub(crate) greenlets: Gauge,
    /// Looks at descriptors, timers and other threads.
    pub(crate) turns: Gauge,
    /// Nanoseconds that it has slept, up to its last wake-up.
    slept: Gauge,
    /// When it was made, and when it went to sleep (0: it is awake), by the bare clock.
    made: Gauge,
    asleep_since: Gauge,
}

/// A number that one thread writes.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// By the one thread that writes it.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// By the one thread that writes it.
    #[inline]
    pub(crate) fn subtract(&self, less: u64) {
        self.set(self.get().wrapping_sub(less));
    }
}

impl Gauges {
    /// For the next hub.
    pub(crate) fn reset(&self) {
        for gauge in [&self.greenlets, &self.turns, &self.slept, &self.asleep_since] {
            gauge.set(0);
        }
        self.made.set(nanos_now());
    }

    /// Notes that the hub goes to sleep.
    pub(crate) fn fall_asleep(&self, now: u64) {
        self.asleep_since.set(now);
    }

    /// Notes that it is awake again; how long it has slept.
    pub(crate) fn wake_up(&self, now: u64) -> Duration {
        let slept = now.saturating_sub(self.asleep_since.get());
        self.slept.add(slept);
        self.asleep_since.set(0);
        Duration::from_nanos(slept)
    }

    /// How long the hub exists, and how much of that it has not slept.
    pub(crate) fn lived_and_busy(&self) -> (Duration, Duration) {
        let now = nanos_now();
        let since = match self.asleep_since.get() {
            0 => 0,
            since => now.saturating_sub(since),
        };
        let lived = now.saturating_sub(self.made.get());
        // The two are not read at one moment.
        let busy = lived.saturating_sub(self.slept.get() + since);
        (Duration::from_nanos(lived), Duration::from_nanos(busy))
    }
}
