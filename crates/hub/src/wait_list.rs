//! First-in-first-out lists of waiters: the one queue under every primitive.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::waiter::{Outcome, Reason, Wait, Waiter};
use crate::word::State;

/// Waiters in the order in which they came.
///
/// Waits that ended otherwise (by a deadline, by a kill) leave stale entries. Nobody has to take them back: they lose
/// when they are notified, and are swept out when the list has doubled since the last sweep.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Reason, WaitList, joinall, spawn, yield_now};
/// use std::{cell::Cell, rc::Rc};
///
/// let (open, list) = (Rc::new(Cell::new(false)), Rc::new(WaitList::new()));
/// let waiting = (0..3).map(|_| {
///     let (open, list) = (Rc::clone(&open), Rc::clone(&list));
///     spawn(move || while !open.get() { list.wait(Reason::new("the gate"), None, || open.get()); })
/// });
/// let waiting: Vec<_> = waiting.collect();
/// yield_now();
/// open.set(true);
/// assert_eq!(list.notify_all(), 3);
/// assert_eq!(joinall(waiting).len(), 3);
/// ```
#[derive(Debug, Default)]
pub struct WaitList {
    // Held for a few instructions, never over a switch or a user's code.
    queue: Mutex<WaitQueue>,
}

impl WaitList {
    /// An empty list. Allocates nothing.
    pub const fn new() -> WaitList {
        WaitList { queue: Mutex::new(WaitQueue::new()) }
    }

    /// Puts a waiter at the end.
    pub fn push(&self, waiter: Waiter) {
        self.lock().push_back(waiter);
    }

    /// Ends the wait of the first who still waits; false if nobody does. Never switches.
    pub fn notify_one(&self) -> bool {
        // The lock is free again before a waiter is notified, since that may have to wake another thread.
        while let Some(waiter) = self.pop() {
            if waiter.notify() {
                return true;
            }
        }
        false
    }

    /// Ends the waits of all who are in the list now; says of how many. Never switches.
    ///
    /// Those who come while this runs stay: they wait for the next time.
    pub fn notify_all(&self) -> usize {
        let waiters = std::mem::take(&mut *self.lock());
        waiters.into_iter().filter(Waiter::notify).count()
    }

    /// Whether nobody waits. May count waits that have just ended.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Waits until it is notified or the deadline has come, unless `ready()` is true once the waiter is in the list:
    /// returns whether it was notified (or found it ready), rather than timed out.
    ///
    /// A notification is a hint to look again. If the greenlet is interrupted in the same
    /// tick, the notification goes to the next waiter before this unwinds, so none is lost.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](crate::no_switch()); if `ready` panics or waits; and to unwind when it is interrupted.
    pub fn wait(&self, reason: Reason, deadline: Option<Instant>, ready: impl FnOnce() -> bool) -> bool {
        /// Takes the wait back; if it was notified meanwhile, that is for another.
        struct TakeBack<'a>(&'a WaitList, Option<Waiter>);

        impl Drop for TakeBack<'_> {
            fn drop(&mut self) {
                if self.1.take().is_some_and(|waiter| !waiter.end(State::Idle)) {
                    self.0.notify_one();
                }
            }
        }

        let wait = Wait::begin(reason);
        let waiter = wait.waiter();
        self.push(waiter.clone());
        let mut take_back = TakeBack(self, Some(waiter));
        // Only after it stands in the list: what becomes ready from here on is notified.
        if ready() {
            return true;
        }
        take_back.1 = None;
        match wait.until(deadline) {
            Outcome::Notified => true,
            Outcome::TimedOut => false,
            Outcome::Interrupted(interrupted) => {
                if interrupted.was_notified() {
                    self.notify_one();
                }
                interrupted.raise()
            }
        }
    }

    fn pop(&self) -> Option<Waiter> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue> {
        // Nothing in here panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue without a lock, for what one hub alone touches.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    waiters: VecDeque<Waiter>,
    /// At this length the stale entries are swept out; 0: at the smallest.
    sweep_at: usize,
}

impl WaitQueue {
    const SMALLEST_SWEEP: usize = 16;

    pub(crate) const fn new() -> WaitQueue {
        WaitQueue { waiters: VecDeque::new(), sweep_at: 0 }
    }

    pub(crate) fn push_back(&mut self, waiter: Waiter) {
        if self.waiters.len() >= self.sweep_at.max(Self::SMALLEST_SWEEP) {
            self.waiters.retain(Waiter::is_waiting);
            self.sweep_at = 2 * self.waiters.len();
        }
        self.waiters.push_back(waiter);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Waiter> {
        self.waiters.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}

impl IntoIterator for WaitQueue {
    type Item = Waiter;
    type IntoIter = std::collections::vec_deque::IntoIter<Waiter>;

    fn into_iter(self) -> Self::IntoIter {
        self.waiters.into_iter()
    }
}
