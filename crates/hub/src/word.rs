//! The word in which a wait ends: its number, its state and a pending interrupt in one atomic.
//!
//! ```text
//!          63                                      4   3    2     0
//!         ┌─────────────────────────────────────────┬─────┬───────┐
//!         │ number of the wait, counted by greenlet │ int │ state │
//!         └─────────────────────────────────────────┴─────┴───────┘
//!
//!                    ┌── end ──► Notified ─┐
//!  Idle ── begin ──► Begun                 ├─► (the next begin)
//!                    │  ├─ suspend ─► Suspended ── end ──► Notified, TimedOut, Interrupted
//!                    │  └─ suspend ─► Deaf ─────── end ──► Notified, TimedOut
//!                    └── cancel ──► Idle
//! ```
//!
//! Only the owner begins, suspends and cancels; anybody who knows the number may end. Ending is one
//! compare-and-swap from *this number, not ended*, so exactly one of all those who try succeeds, and one
//! who comes late, even thousands of waits later, fails and changes nothing. 60 bits of numbers do not wrap:
//! at one wait a nanosecond they last 36 years.
//!
//! Why `Begun` and `Suspended` are two states: a wait may be ended between its beginning and its switch (by
//! another thread, or by the owner itself, say `event.set()` after it has put itself into the list). Then
//! nobody must put the greenlet into a run queue, for it is running. So [`end`](WaitWord::end) tells whether
//! the owner had gone to sleep, and the owner's [`suspend`](WaitWord::suspend) fails if the wait is over.
//!
//! An interrupt is for whatever the greenlet waits for next, so it is a bit that stays as long as one is pending. It shares the word, because
//! then there is nothing to order: either the owner sees the bit before it sleeps, or the one who set it sees it asleep. One who sleeps
//! where nothing may be raised (in a shield, while he unwinds) is `Deaf`: the bit is set, and that is all.

use crate::atomics::{AtomicU64, Ordering, add, exchange_if, set_bits};

const STATE_MASK: u64 = 0b111;
const INTERRUPTED: u64 = 0b1000;
const NUMBER_SHIFT: u32 = 4;

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
    /// As `Suspended`, where no interrupt may be raised.
    Deaf = 6,
}

impl State {
    fn of(word: u64) -> State {
        match word & STATE_MASK {
            0 => State::Idle,
            1 => State::Begun,
            2 => State::Suspended,
            3 => State::Notified,
            4 => State::TimedOut,
            5 => State::Interrupted,
            _ => State::Deaf,
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

/// The number and the state of a greenlet's wait, and whether the greenlet is to unwind.
#[derive(Debug)]
pub(crate) struct WaitWord(AtomicU64);

fn pack(number: u64, state: State) -> u64 {
    (number << NUMBER_SHIFT) | state as u64
}

fn with_state(word: u64, state: State) -> u64 {
    word & !STATE_MASK | state as u64
}

fn is_open(word: u64) -> bool {
    matches!(State::of(word), State::Begun | State::Suspended | State::Deaf)
}

impl WaitWord {
    pub(crate) fn new() -> WaitWord {
        WaitWord(AtomicU64::new(0))
    }

    /// Begins the owner's next wait and returns its number.
    #[inline]
    pub(crate) fn begin(&self) -> u64 {
        // Of a wait that is over nobody else changes number and state; of one that is not, which ends here, somebody may.
        let word = self.close();
        let number = (word >> NUMBER_SHIFT) + 1;
        // Added, since the bit between them may be set meanwhile.
        let change = pack(number, State::Begun).wrapping_sub(word & !INTERRUPTED);
        add(&self.0, change);
        number
    }

    /// Says that the owner is about to switch away; false if the wait is over, or if there is an interrupt, which ends it.
    ///
    /// `deaf`: no interrupt may be raised now.
    #[inline(always)]
    pub(crate) fn suspend(&self, number: u64, deaf: bool) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & !INTERRUPTED != pack(number, State::Begun) {
                return false;
            }
            let state = match (deaf, word & INTERRUPTED != 0) {
                (true, _) => State::Deaf,
                (false, false) => State::Suspended,
                (false, true) => State::Interrupted,
            };
            match self.swap(word, with_state(word, state)) {
                Ok(_) => return state != State::Interrupted,
                // Ended, or interrupted meanwhile.
                Err(now) => word = now,
            }
        }
    }

    /// Takes the wait back before the owner has switched; false if somebody has ended it.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        self.end(number, State::Idle) != Ended::Stale
    }

    /// Ends the wait with that number, if nobody has.
    #[inline]
    pub(crate) fn end(&self, number: u64, state: State) -> Ended {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word >> NUMBER_SHIFT != number || !is_open(word) {
                return Ended::Stale;
            }
            // Release: what was done before the notification is seen by the greenlet that it wakes.
            match self.swap(word, with_state(word, state)) {
                Ok(State::Begun) => return Ended::Early,
                Ok(_) => return Ended::Asleep,
                // It has gone to sleep, was interrupted, or is over.
                Err(now) => word = now,
            }
        }
    }

    /// Interrupts the owner; true if the caller has to make it ready.
    pub(crate) fn interrupt(&self) -> bool {
        let word = set_bits(&self.0, INTERRUPTED);
        self.end_if_suspended(word | INTERRUPTED, State::Interrupted)
    }

    /// Ends the wait that is under way, unless the owner runs or is deaf; true if the caller has to make it ready.
    pub(crate) fn end_if_suspended(&self, mut word: u64, state: State) -> bool {
        // If it runs, it sees the bit before it sleeps; if another wait is under way by now, it began with the bit set.
        while State::of(word) == State::Suspended {
            match self.swap(word, with_state(word, state)) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Whether an interrupt is pending.
    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) & INTERRUPTED != 0
    }

    /// Takes the bit back: nothing is pending any more.
    pub(crate) fn clear_interrupt(&self) {
        self.0.fetch_and(!INTERRUPTED, Ordering::AcqRel);
    }

    /// Ends whatever wait is under way so that nobody else can; returns the word.
    #[inline]
    pub(crate) fn close(&self) -> u64 {
        let mut word = self.0.load(Ordering::Relaxed);
        while is_open(word) {
            word = match self.swap(word, with_state(word, State::Idle)) {
                Ok(_) => with_state(word, State::Idle),
                Err(now) => now,
            };
        }
        word
    }

    /// The state of the wait with that number, which the owner asks when it runs again.
    #[inline]
    pub(crate) fn state(&self, number: u64) -> State {
        let word = self.0.load(Ordering::Acquire);
        debug_assert_eq!(word >> NUMBER_SHIFT, number, "only the owner may ask, and only for its last wait");
        State::of(word)
    }

    /// Whether no wait was begun that has not been taken back. One that has ended is not told from one whose owner has not seen that.
    pub(crate) fn is_idle(&self) -> bool {
        State::of(self.0.load(Ordering::Relaxed)) == State::Idle
    }

    /// The number of the last wait that was begun.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> NUMBER_SHIFT
    }

    /// Whether that wait can still be ended.
    pub(crate) fn is_open(&self, number: u64) -> bool {
        self.open_number() == Some(number)
    }

    /// The number of the wait that is under way.
    pub(crate) fn open_number(&self) -> Option<u64> {
        let word = self.0.load(Ordering::Acquire);
        is_open(word).then_some(word >> NUMBER_SHIFT)
    }

    /// Exchanges the whole word; the state that it had, or what it is instead.
    #[inline]
    fn swap(&self, from: u64, to: u64) -> Result<State, u64> {
        exchange_if(&self.0, from, to).map(State::of)
    }
}

#[cfg(all(test, not(greenlet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_once() {
        let word = WaitWord::new();
        let number = word.begin();
        assert!(word.suspend(number, false));
        assert_eq!(word.end(number, State::TimedOut), Ended::Asleep);
        assert_eq!(word.end(number, State::Notified), Ended::Stale);
        assert_eq!(word.state(number), State::TimedOut);
    }

    #[test]
    fn a_wait_that_ended_before_the_switch_is_not_slept_through() {
        let word = WaitWord::new();
        let number = word.begin();
        assert_eq!(word.end(number, State::Notified), Ended::Early);
        assert!(!word.suspend(number, false));
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
            let slept = word.suspend(number, false);
            let ended = [interrupt(), first.join().unwrap(), second.join().unwrap()];
            let successes = ended.iter().filter(|ended| **ended != Ended::Stale).count();
            assert_eq!(successes, 1);
            // The owner is pushed to a run queue if and only if it has gone to sleep.
            let pushed = ended.contains(&Ended::Asleep);
            assert_eq!(pushed, slept);
        });
    }

    #[test]
    fn no_interrupt_is_slept_through() {
        loom::model(|| {
            let word = Arc::new(WaitWord::new());
            let killer = thread::spawn({
                let word = Arc::clone(&word);
                move || word.interrupt()
            });
            let notifier = thread::spawn({
                let word = Arc::clone(&word);
                move || word.end(1, State::Notified)
            });
            let number = word.begin();
            let sleeps = word.suspend(number, false);
            let (woken, ended) = (killer.join().unwrap(), notifier.join().unwrap());
            // It is pushed once if it sleeps, and never if it runs.
            assert_eq!(usize::from(woken) + usize::from(ended == Ended::Asleep), usize::from(sleeps));
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
            assert!(word.suspend(second, false));
            assert!(word.is_open(second));
            late.join().unwrap();
            assert!(word.is_open(second));
        });
    }
}
