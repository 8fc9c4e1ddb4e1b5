//! What a hub does before it goes to sleep: it polls for as long as it was told to, and takes a short look at the inbox where that pays.
//!
//! **Told to** by [`Config::spin`](crate::Config::spin), it looks at descriptors and messages before each sleep. That is for those who have a core to spare,
//! and nobody else: who is woken every 40 µs and polls for 50 uses its whole core.
//!
//! **By itself** it looks only at the inbox, and not where descriptors are watched.
//! Being woken takes a thread some 45 µs here, and waking it a system call. Two hubs that hand things to and fro would do nothing
//! else. So a hub whose last sleep was ended by a message almost at once watches its inbox for about as long as a wake-up takes, before it
//! sleeps the next time. If nothing comes, it has lost that time, and has to see more short sleeps before it tries again: twice as many after
//! each try in vain. So a hub that is idle sleeps after one try, and the worst that a steady stream of messages that come just too late can cost is a
//! few percent of a core.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// About what a wake-up takes: a message that is answered by one who has to wake first comes in this time.
const SPIN: Duration = Duration::from_micros(80);
/// A sleep that a message has ended so soon was hardly more than two wake-ups, the other one's and its own.
const SHORT: Duration = Duration::from_micros(250);
/// The most short sleeps in a row that a try takes.
const MOST_PATIENT: u32 = 64;
/// Looks at the inbox between two looks at the clock.
const LOOKS: u32 = 32;

/// How long a hub was told to poll.
pub(crate) struct Polling {
    told: Duration,
}

impl Polling {
    pub(crate) fn new(told: Duration) -> Polling {
        // With one core, whoever could bring something waits for this one to sleep.
        Polling { told: if has_other_cores() { told } else { Duration::ZERO } }
    }

    /// Calls `look` for as long as it was told to, until that says that something has come.
    pub(crate) fn poll(&self, until: Option<Instant>, mut look: impl FnMut() -> bool) -> bool {
        if self.told.is_zero() {
            return false;
        }
        let end = Instant::now() + self.told;
        let end = until.map_or(end, |until| until.min(end));
        loop {
            if look() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            // Whoever could bring something may be waiting for this core.
            std::thread::yield_now();
        }
    }
}

/// What a hub has learned of its sleeps.
pub(crate) struct Spin {
    /// Short sleeps since the last try.
    short_sleeps: Cell<u32>,
    /// So many make it try again.
    needed: Cell<u32>,
}

impl Spin {
    pub(crate) fn new() -> Spin {
        Spin { short_sleeps: Cell::new(0), needed: Cell::new(1) }
    }

    /// Watches for a message if that is worth a try; true if there is one.
    pub(crate) fn watch(&self, until: Option<Instant>, has_messages: impl Fn() -> bool) -> bool {
        if self.short_sleeps.get() < self.needed.get() || !has_other_cores() {
            return false;
        }
        let start = Instant::now();
        let end = until.map_or(start + SPIN, |until| until.min(start + SPIN));
        while Instant::now() < end {
            for _ in 0..LOOKS {
                if has_messages() {
                    self.needed.set(1);
                    return true;
                }
                std::hint::spin_loop();
            }
            // It may be that the other one waits for this core.
            std::thread::yield_now();
        }
        self.short_sleeps.set(0);
        self.needed.set((2 * self.needed.get()).min(MOST_PATIENT));
        false
    }

    /// Notes a sleep that a message has ended.
    pub(crate) fn slept(&self, slept: Duration) {
        if slept <= SHORT {
            self.short_sleeps.set(self.short_sleeps.get().saturating_add(1));
        } else {
            self.short_sleeps.set(0);
        }
    }
}

/// Whether a message, or a packet, can come from another core while this one spins. Where threads are pinned is not asked: those that share a core
/// learn from their tries.
fn has_other_cores() -> bool {
    // Not something that is initialised once: a forked child would wait for a thread that is in the middle of it.
    static CORES: AtomicUsize = AtomicUsize::new(0);
    let mut cores = CORES.load(Ordering::Relaxed);
    if cores == 0 {
        cores = crate::sys::count_cores();
        CORES.store(cores, Ordering::Relaxed);
    }
    cores > 1
}
