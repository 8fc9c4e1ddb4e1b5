//! The arms of one `select!`, as nested pairs, and the choice between them.

#![allow(missing_docs, reason = "only the macro uses it")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use greenlet_hub::{Outcome, Reason, Wait, Waiter};

use super::Arm;

/// `(first, (second, ()))`.
pub trait Arms {
    /// `Chosen<First, Chosen<Second, Infallible>>`.
    type Chosen;
    const COUNT: usize;

    fn take(&mut self, index: usize) -> Option<Self::Chosen>;
    fn committed(&self) -> Option<usize>;
    fn is_ready(&self) -> bool;
    /// Counts in `subscribed`.
    fn subscribe(&self, waiter: &Waiter, subscribed: &mut usize);
    /// Of the first so many.
    fn unsubscribe(&self, waiter: &Waiter, subscribed: usize);
    fn deadline(&self) -> Option<Instant>;
}

/// What the first arm gave, or one of the rest.
#[derive(Debug)]
pub enum Chosen<T, R> {
    This(T),
    Other(R),
}

impl Arms for () {
    type Chosen = Infallible;
    const COUNT: usize = 0;

    #[inline]
    fn take(&mut self, _: usize) -> Option<Infallible> {
        None
    }
    #[inline]
    fn committed(&self) -> Option<usize> {
        None
    }
    #[inline]
    fn is_ready(&self) -> bool {
        false
    }
    #[inline]
    fn subscribe(&self, _: &Waiter, _: &mut usize) {}
    #[inline]
    fn unsubscribe(&self, _: &Waiter, _: usize) {}
    #[inline]
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl<A: Arm, R: Arms> Arms for (A, R) {
    type Chosen = Chosen<A::Output, R::Chosen>;
    const COUNT: usize = 1 + R::COUNT;

    #[inline]
    fn take(&mut self, index: usize) -> Option<Self::Chosen> {
        match index.checked_sub(1) {
            None => self.0.take().map(Chosen::This),
            Some(index) => self.1.take(index).map(Chosen::Other),
        }
    }

    #[inline]
    fn committed(&self) -> Option<usize> {
        if self.0.is_committed() { Some(0) } else { self.1.committed().map(|index| index + 1) }
    }

    #[inline]
    fn is_ready(&self) -> bool {
        self.0.is_ready() || self.1.is_ready()
    }

    #[inline]
    fn subscribe(&self, waiter: &Waiter, subscribed: &mut usize) {
        self.0.subscribe(waiter);
        *subscribed += 1;
        self.1.subscribe(waiter, subscribed);
    }

    #[inline]
    fn unsubscribe(&self, waiter: &Waiter, subscribed: usize) {
        if let Some(rest) = subscribed.checked_sub(1) {
            self.0.unsubscribe(waiter);
            self.1.unsubscribe(waiter, rest);
        }
    }

    #[inline]
    fn deadline(&self) -> Option<Instant> {
        match (self.0.deadline(), self.1.deadline()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

/// The arms that have the waiter; all are told when the wait is over, also if one of them panics.
struct Subscribed<'a, L: Arms> {
    arms: &'a L,
    waiter: Waiter,
    count: usize,
}

impl<L: Arms> Drop for Subscribed<'_, L> {
    fn drop(&mut self) {
        self.arms.unsubscribe(&self.waiter, self.count);
    }
}

/// Waits until one of the arms can be taken, and takes it.
pub fn choose<L: Arms>(mut arms: L) -> L::Chosen {
    let start = start(L::COUNT);
    loop {
        if let Some(chosen) = take_one(&mut arms, start) {
            return chosen;
        }
        let wait = Wait::begin(const { Reason::new("one of several") });
        let mut subscribed = Subscribed { arms: &arms, waiter: wait.waiter(), count: 0 };
        // Declared after, so over before they are told, also if one of them panics: what is notified later has to find nobody.
        let wait = wait;
        arms.subscribe(&subscribed.waiter, &mut subscribed.count);
        // What has become ready before it was subscribed to has notified nobody. The wait ends before anybody is unsubscribed.
        let outcome = if arms.is_ready() {
            drop(wait);
            Outcome::Notified
        } else {
            wait.until(arms.deadline())
        };
        drop(subscribed);
        if let Outcome::Interrupted(interrupted) = outcome {
            interrupted.raise();
        }
    }
}

/// Takes one of the arms if that need not wait.
pub fn choose_now<L: Arms>(mut arms: L) -> Option<L::Chosen> {
    let start = start(L::COUNT);
    take_one(&mut arms, start)
}

#[inline]
fn take_one<L: Arms>(arms: &mut L, start: usize) -> Option<L::Chosen> {
    if let Some(index) = arms.committed() {
        return arms.take(index);
    }
    (start..L::COUNT).chain(0..start).find_map(|index| arms.take(index))
}

/// With which arm a look begins.
///
/// Scrambled, for with one more each time two loops that take turns would each begin with the same arm for ever. But not at random: the same
/// program makes the same choices. Lost updates between threads do no harm.
#[inline]
fn start(count: usize) -> usize {
    static TURN: AtomicU32 = AtomicU32::new(0);

    // Loom repeats what it has found: every run has to choose in the same way.
    if cfg!(greenlet_loom) || count < 2 {
        return 0;
    }
    let turn = TURN.load(Ordering::Relaxed).wrapping_add(0x9E37_79B9);
    TURN.store(turn, Ordering::Relaxed);
    let mut mixed = turn;
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x7FEB_352D);
    mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x846C_A68B);
    mixed ^= mixed >> 16;
    ((u64::from(mixed) * count as u64) >> 32) as usize
}
