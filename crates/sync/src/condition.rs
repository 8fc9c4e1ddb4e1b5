//! `Condition`: waiting for something that a `Lock` guards.

use std::fmt;
use std::time::{Duration, Instant};

use greenlet_hub::{Outcome, Reason, ShortLock, Wait, WaitQueue};

use crate::const_fn::const_unless_loom;
use crate::lock::LockGuard;
use crate::payload::Payload;
use crate::permits::How;
use crate::time::deadline_after;

/// Waits for a change of what a [`Lock`](crate::Lock) guards. Like std's `Condvar` and gevent's and Python's `Condition`.
///
/// A wait gives the guard back, sleeps until it is notified, and comes back with the lock. It is notified by `notify_one` and its
/// kin only, never by itself; but others may have changed the value again until it has the lock.
///
/// Notifications are not lost: one that meets a kill or an outer `timeout` goes to the next who waits, also if the greenlet is
/// interrupted while it waits for the lock again. A greenlet that unwinds does so without the lock: it has given its guard away.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_sync::{Condition, Lock};
///
/// static ORDERS: Lock<Vec<u32>> = Lock::new(Vec::new());
/// static CHANGED: Condition = Condition::new();
///
/// let cook = spawn(|| CHANGED.wait_for(ORDERS.lock(), |orders| !orders.is_empty()).pop());
/// spawn(|| {
///     ORDERS.lock().push(7);
///     CHANGED.notify_one();
/// });
/// assert_eq!(cook.join().unwrap(), Some(7));
/// ```
#[doc(alias = "Condvar")]
#[derive(Default)]
pub struct Condition {
    waiters: ShortLock<WaitQueue>,
}

impl Condition {
    const_unless_loom! {
        /// A condition that nobody waits for.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::Condition;
        ///
        /// static CHANGED: Condition = Condition::new();
        /// assert_eq!(CHANGED.notify_all(), 0);
        /// ```
        pub fn new() -> Condition {
            Condition { waiters: ShortLock::new(WaitQueue::new()) }
        }
    }

    /// Waits without the lock until it is notified, and then for the lock.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](greenlet_hub::no_switch()); to unwind, without the lock, when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{spawn, yield_now};
    /// use greenlet_sync::{Condition, Lock};
    ///
    /// static LOCK: Lock<bool> = Lock::new(false);
    /// static CHANGED: Condition = Condition::new();
    ///
    /// let waiting = spawn(|| *CHANGED.wait(LOCK.lock()));
    /// yield_now();
    /// *LOCK.lock() = true;
    /// CHANGED.notify_one();
    /// assert!(waiting.join().unwrap());
    /// ```
    #[inline]
    pub fn wait<'a, T: ?Sized>(&self, guard: LockGuard<'a, T>) -> LockGuard<'a, T> {
        self.wait_deadline(guard, || None).0
    }

    /// Waits as [`wait`](Condition::wait), to be notified within `timeout`; the lock, and whether it was notified.
    ///
    /// It waits for the lock as long as it takes, after the time has passed as well.
    ///
    /// # Panics
    ///
    /// As [`wait`](Condition::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Condition, Lock};
    /// use std::time::Duration;
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// let (guard, notified) = changed.wait_timeout(lock.lock(), Duration::from_millis(1));
    /// assert_eq!((*guard, notified), (0, false));
    /// ```
    #[inline]
    pub fn wait_timeout<'a, T: ?Sized>(&self, guard: LockGuard<'a, T>, timeout: Duration) -> (LockGuard<'a, T>, bool) {
        self.wait_deadline(guard, || deadline_after(timeout))
    }

    /// Waits until `predicate` is true, asked at first and after each notification; with the lock.
    ///
    /// As Python's `wait_for`; std's `wait_while` with the opposite predicate.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind, without the lock, when the greenlet is interrupted; and if
    /// `predicate` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::{Condition, Lock};
    ///
    /// static COUNT: Lock<u32> = Lock::new(0);
    /// static CHANGED: Condition = Condition::new();
    ///
    /// for _ in 0..3 {
    ///     spawn(|| {
    ///         *COUNT.lock() += 1;
    ///         CHANGED.notify_all();
    ///     });
    /// }
    /// assert_eq!(*CHANGED.wait_for(COUNT.lock(), |count| *count == 3), 3);
    /// ```
    pub fn wait_for<'a, T: ?Sized>(
        &self,
        mut guard: LockGuard<'a, T>,
        mut predicate: impl FnMut(&mut T) -> bool,
    ) -> LockGuard<'a, T> {
        while !predicate(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// Waits as [`wait_for`](Condition::wait_for), at the most for `timeout`; the lock, and what `predicate` said at last.
    ///
    /// # Panics
    ///
    /// As [`wait_for`](Condition::wait_for).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Condition, Lock};
    /// use std::time::Duration;
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// let (guard, reached) = changed.wait_for_timeout(lock.lock(), |count| *count == 3, Duration::from_millis(1));
    /// assert_eq!((*guard, reached), (0, false));
    /// ```
    pub fn wait_for_timeout<'a, T: ?Sized>(
        &self,
        mut guard: LockGuard<'a, T>,
        mut predicate: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> (LockGuard<'a, T>, bool) {
        if predicate(&mut guard) {
            return (guard, true);
        }
        let deadline = deadline_after(timeout);
        loop {
            let notified;
            (guard, notified) = self.wait_deadline(guard, || deadline);
            let reached = predicate(&mut guard);
            if reached || !notified {
                return (guard, reached);
            }
        }
    }

    #[inline]
    fn wait_deadline<'a, T: ?Sized>(
        &self,
        guard: LockGuard<'a, T>,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> (LockGuard<'a, T>, bool) {
        /// Hands the notification on, if the greenlet unwinds while it waits for the lock.
        struct HandOn<'a>(&'a Condition);

        impl Drop for HandOn<'_> {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }

        let payload = guard.hold.payload();
        let wait = Wait::begin(Reason::new("a condition"));
        self.waiters.lock().push_back(wait.waiter());
        // Only now, so that whoever takes the lock next finds the waiter. Never switches.
        drop(guard);
        match wait.until(deadline()) {
            Outcome::Notified => {
                let hand_on = HandOn(self);
                let guard = lock_again(payload);
                std::mem::forget(hand_on);
                (guard, true)
            }
            Outcome::TimedOut => (lock_again(payload), false),
            Outcome::Interrupted(interrupted) => {
                if interrupted.was_notified() {
                    self.notify_one();
                }
                interrupted.raise()
            }
        }
    }

    /// Wakes the one who has waited longest; says whether somebody did. Never switches.
    ///
    /// It is best called with the lock held, or after it was released: the value was changed before, in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Condition;
    ///
    /// assert!(!Condition::new().notify_one());
    /// ```
    #[inline]
    pub fn notify_one(&self) -> bool {
        // Made ready without the lock, since that may have to wake another thread.
        let claimed = self.waiters.lock().claim_first();
        claimed.is_some()
    }

    /// Wakes the `count` who have waited longest, or all if there are fewer; says how many. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Condition;
    ///
    /// assert_eq!(Condition::new().notify_n(3), 0);
    /// ```
    pub fn notify_n(&self, count: usize) -> usize {
        (0..count).take_while(|_| self.notify_one()).count()
    }

    /// Wakes all who wait now; says how many. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{joinall, spawn, yield_now};
    /// use greenlet_sync::{Condition, Lock};
    ///
    /// static LOCK: Lock<()> = Lock::new(());
    /// static CHANGED: Condition = Condition::new();
    ///
    /// let waiting: Vec<_> = (0..3).map(|_| spawn(|| drop(CHANGED.wait(LOCK.lock())))).collect();
    /// yield_now();
    /// assert_eq!(CHANGED.notify_all(), 3);
    /// joinall(waiting);
    /// ```
    pub fn notify_all(&self) -> usize {
        let waiters = self.waiters.lock().take();
        waiters.notify_all()
    }
}

#[inline]
fn lock_again<'a, T: ?Sized>(payload: &'a Payload<crate::lock::Mutual, T>) -> LockGuard<'a, T> {
    match payload.lock(How::Wait) {
        Some(hold) => LockGuard { hold },
        None => unreachable!("a wait without a deadline does not time out"),
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiters.lock().count_waiting();
        f.debug_struct("Condition").field("waiting", &waiting).finish()
    }
}
