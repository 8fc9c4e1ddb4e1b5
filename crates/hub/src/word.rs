//! The word in which a wait ends: its number and its state in one atomic.
//!
//! ```text
//!          63                                       3 2     0
//!         ┌──────────────────────────────────────────┬───────┐
//!         │ number of the wait, counted per greenlet │ state │
//!         └──────────────────────────────────────────┴───────┘
//!
//!                    ┌── end ──► Notified ─┐
//!  Idle ── begin ──► Begun                 ├─► (the next begin)
//!                    │  └─ suspend ─► Suspended ── end ──► Notified, TimedOut, Interrupted
//!                    └── cancel ──► Idle
//! ```
//!
//! Only the owner begins, suspends and cancels; anybody who knows the number may end. Ending is one
//! compare-and-swap from *this number, not ended*, so exactly one of all those who try succeeds, and one
//! who comes late, even thousands of waits later, fails and changes nothing. 61 bits of numbers do not wrap:
//! at one wait a nanosecond they last 73 years.
//!
//! Why `Begun` and `Suspended` are two states: a wait may be ended between its beginning and its switch (by
//! another thread, or by the owner itself, say `event.set()` after it has put itself into the list). Then
//! nobody must put the greenlet into a run queue, for it is running. So [`end`](WaitWord::end) tells whether
//! the owner had gone to sleep, and the owner's [`suspend`](WaitWord::suspend) fails if the wait is over.

use crate::atomics::{AtomicU64, Ordering};

const STATE_BITS: u32 = 3;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;

/// Where a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum State {
    /// No wait is under way.
    Idle = 0,
    /// The wait has a number and may be ended; its owner still runs.
    Begun = 1,
    /// The owner has switched away, or is about to and will not look back.
    Suspended = 2,
    /// Ended by a notification.
    Notified = 3,
    /// Ended by its deadline.
    TimedOut = 4,
    /// Ended by a kill, an outer time-out or a deadlock report.
    Interrupted = 5,
}

impl State {
    fn of(word: u64) -> State {
        match word & STATE_MASK {
            0 => State::Idle,
            1 => State::Begun,
            2 => State::Suspended,
            3 => State::Notified,
            4 => State::TimedOut,
            _ => State::Interrupted,
        }
    }
}

/// What [`WaitWord::end`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The wait was over before, or never this one: nothing was changed.
    Stale,
    /// This call ended it while the owner was still running: it will see that by itself.
    Early,
    /// This call ended it, and has to make the owner ready.
    Asleep,
}

/// The number and the state of a greenlet's wait.
#[derive(Debug)]
pub(crate) struct WaitWord(AtomicU64);

fn pack(number: u64, state: State) -> u64 {
    (number << STATE_BITS) | state as u64
}

impl WaitWord {
    pub(crate) fn new() -> WaitWord {
        WaitWord(AtomicU64::new(0))
    }

    /// Begins the owner's next wait and returns its number.
    pub(crate) fn begin(&self) -> u64 {
        // Nobody else changes the word now: an `end` needs `Begun` or `Suspended`.
        let number = (self.0.load(Ordering::Relaxed) >> STATE_BITS) + 1;
        self.0.store(pack(number, State::Begun), Ordering::Relaxed);
        number
    }

    /// Says that the owner is about to switch away; false if the wait is over already.
    pub(crate) fn suspend(&self, number: u64) -> bool {
        self.swap(number, State::Begun, State::Suspended)
    }

    /// Takes the wait back before the owner has switched; false if somebody has ended it.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        self.swap(number, State::Begun, State::Idle)
    }

    /// Ends the wait with that number, if nobody has.
    pub(crate) fn end(&self, number: u64, state: State) -> Ended {
        loop {
            let word = self.0.load(Ordering::Relaxed);
            let ended = match State::of(word) {
                _ if word >> STATE_BITS != number => return Ended::Stale,
                State::Begun => Ended::Early,
                State::Suspended => Ended::Asleep,
                _ => return Ended::Stale,
            };
            // Release: what was done before the notification is seen by the greenlet that it wakes.
            // Retried once at the most: `Begun` can become `Suspended` meanwhile, nothing else can recur.
            if (self.0).compare_exchange(word, pack(number, state), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return ended;
            }
        }
    }

    /// Ends whatever wait is under way so that nobody else can; its owner will never run again.
    pub(crate) fn close(&self) {
        while let Some(number) = self.open_number() {
            self.end(number, State::Idle);
        }
    }

    /// The state of the wait with that number, which the owner asks when it runs again.
    pub(crate) fn state(&self, number: u64) -> State {
        let word = self.0.load(Ordering::Acquire);
        debug_assert_eq!(word >> STATE_BITS, number, "only the owner may ask, and only for its last wait");
        State::of(word)
    }

    /// Whether that wait can still be ended.
    pub(crate) fn is_open(&self, number: u64) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word >> STATE_BITS == number && matches!(State::of(word), State::Begun | State::Suspended)
    }

    /// The number of the wait that is under way, for those who end whatever the greenlet waits for.
    pub(crate) fn open_number(&self) -> Option<u64> {
        let word = self.0.load(Ordering::Acquire);
        matches!(State::of(word), State::Begun | State::Suspended).then_some(word >> STATE_BITS)
    }

    fn swap(&self, number: u64, from: State, to: State) -> bool {
        (self.0).compare_exchange(pack(number, from), pack(number, to), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(all(test, not(greenlet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_once() {
        let word = WaitWord::new();
        let number = word.begin();
        assert!(word.suspend(number));
        assert_eq!(word.end(number, State::TimedOut), Ended::Asleep);
        assert_eq!(word.end(number, State::Notified), Ended::Stale);
        assert_eq!(word.state(number), State::TimedOut);
    }

    #[test]
    fn a_wait_that_ended_before_the_switch_is_not_slept_through() {
        let word = WaitWord::new();
        let number = word.begin();
        assert_eq!(word.end(number, State::Notified), Ended::Early);
        assert!(!word.suspend(number));
        assert!(!word.cancel(number));
    }

    #[test]
    fn a_late_end_of_an_old_wait_changes_nothing() {
        let word = WaitWord::new();
        let old = word.begin();
        assert!(word.cancel(old));
        let number = word.begin();
        assert_eq!(word.end(old, State::Notified), Ended::Stale);
        assert!(word.is_open(number));
        assert!(!word.is_open(old));
        assert_eq!(word.open_number(), Some(number));
    }
}

/// Every interleaving of an owner and those who end its waits (`cargo test --cfg greenlet_loom`, see `ci/loom`).
#[cfg(all(test, greenlet_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn exactly_one_of_those_who_end_a_wait_succeeds() {
        loom::model(|| {
            let word = Arc::new(WaitWord::new());
            let number = word.begin();
            let others = [State::Notified, State::TimedOut, State::Interrupted].map(|state| {
                let word = Arc::clone(&word);
                move || word.end(number, state)
            });
            let [notify, time_out, interrupt] = others;
            let (first, second) = (thread::spawn(notify), thread::spawn(time_out));
            let slept = word.suspend(number);
            let ended = [interrupt(), first.join().unwrap(), second.join().unwrap()];
            let successes = ended.iter().filter(|ended| **ended != Ended::Stale).count();
            assert_eq!(successes, 1);
            // The owner is pushed to a run queue if and only if it has gone to sleep.
            let pushed = ended.contains(&Ended::Asleep);
            assert_eq!(pushed, slept);
        });
    }

    #[test]
    fn a_cancelled_wait_is_never_pushed() {
        loom::model(|| {
            let word = Arc::new(WaitWord::new());
            let number = word.begin();
            let other = thread::spawn({
                let word = Arc::clone(&word);
                move || word.end(number, State::Notified)
            });
            let cancelled = word.cancel(number);
            let ended = other.join().unwrap();
            assert_eq!(cancelled, ended == Ended::Stale);
            assert_ne!(ended, Ended::Asleep);
        });
    }

    #[test]
    fn an_end_of_the_last_wait_never_ends_the_next() {
        loom::model(|| {
            let word = Arc::new(WaitWord::new());
            let first = word.begin();
            let late = thread::spawn({
                let word = Arc::clone(&word);
                move || word.end(first, State::Notified)
            });
            let _ = word.cancel(first);
            let second = word.begin();
            assert!(word.suspend(second));
            assert!(word.is_open(second));
            late.join().unwrap();
            assert!(word.is_open(second));
        });
    }
}
