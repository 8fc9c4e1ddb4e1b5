//! First-in-first-out queues of waiters: what lies under every primitive.

use std::collections::VecDeque;
use std::time::Instant;

use crate::hub::Hub;
use crate::short_lock::{ShortGuard, ShortLock};
use crate::waiter::{Claim, Outcome, Reason, Wait, Waiter};
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
    queue: ShortLock<WaitQueue>,
}

impl WaitList {
    /// An empty list. Allocates nothing.
    #[cfg(not(greenlet_loom))]
    pub const fn new() -> WaitList {
        WaitList { queue: ShortLock::new(WaitQueue::new()) }
    }

    /// An empty list.
    #[cfg(greenlet_loom)]
    pub fn new() -> WaitList {
        WaitList::default()
    }

    /// Puts a waiter at the end.
    pub fn push(&self, waiter: Waiter) {
        self.lock().push_back(waiter);
    }

    /// Ends the wait of the first who still waits; false if nobody does. Never switches.
    pub fn notify_one(&self) -> bool {
        // Made ready without the lock, since that may have to wake another thread.
        let claimed = self.lock().claim_first();
        claimed.is_some()
    }

    /// Ends the waits of all who are in the list now; says of how many. Never switches.
    ///
    /// Those who come while this runs stay: they wait for the next time.
    pub fn notify_all(&self) -> usize {
        let waiters = self.lock().take();
        waiters.notify_all()
    }

    /// As [`notify_all`](WaitList::notify_all), unless the list is locked: in a forked child, perhaps by a thread that this does not have.
    pub(crate) fn try_notify_all(&self) {
        let waiters = self.queue.try_lock().map(|mut queue| queue.take());
        if let Some(waiters) = waiters {
            waiters.notify_all();
        }
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

    #[inline]
    fn lock(&self) -> ShortGuard<'_, WaitQueue> {
        self.queue.lock()
    }
}

/// Waiters in the order in which they came, for a primitive that has a lock of its own: its state and its waiters change together.
///
/// Stale entries are treated as [`WaitList`] treats them.
///
/// # Examples
///
/// A gate that opens once. The state and the queue are under one lock, and greenlets are made ready without it:
///
/// ```
/// use greenlet_hub::{Reason, ShortLock, Wait, WaitQueue, spawn, yield_now};
/// use std::rc::Rc;
///
/// #[derive(Default)]
/// struct Gate(ShortLock<(bool, WaitQueue)>);
///
/// impl Gate {
///     fn wait(&self) {
///         let wait = {
///             let mut state = self.0.lock();
///             if state.0 {
///                 return;
///             }
///             let wait = Wait::begin(Reason::new("the gate"));
///             state.1.push_back(wait.waiter());
///             wait
///         };
///         wait.notified(None);
///     }
///     fn open(&self) {
///         let waiters = {
///             let mut state = self.0.lock();
///             state.0 = true;
///             state.1.take()
///         };
///         waiters.notify_all();
///     }
/// }
///
/// let gate = Rc::new(Gate::default());
/// let waiting = spawn({ let gate = Rc::clone(&gate); move || gate.wait() });
/// yield_now();
/// gate.open();
/// waiting.join().unwrap();
/// ```
#[derive(Debug, Default)]
pub struct WaitQueue {
    waiters: VecDeque<Waiter>,
    /// At this length the stale entries are swept out; 0: at the smallest.
    sweep_at: usize,
}

/// So many waiters tell whether a queue is worth sweeping.
const SAMPLES: usize = 16;
/// Spreads them over the queue: the golden ratio of 2^64.
const SCATTER: usize = 0x9e37_79b9_7f4a_7c15_u64 as usize;

impl WaitQueue {
    const SMALLEST_SWEEP: usize = 16;

    /// An empty queue. Allocates nothing.
    pub const fn new() -> WaitQueue {
        WaitQueue { waiters: VecDeque::new(), sweep_at: 0 }
    }

    /// Puts a waiter at the end.
    #[inline]
    pub fn push_back(&mut self, waiter: Waiter) {
        self.make_room();
        self.waiters.push_back(waiter);
    }

    /// Puts a waiter at the front: it was woken for nothing, and keeps its place.
    pub fn push_front(&mut self, waiter: Waiter) {
        // Who is woken for nothing again and again leaves a stale entry each time.
        self.make_room();
        self.waiters.push_front(waiter);
    }

    #[inline]
    fn make_room(&mut self) {
        if self.waiters.len() >= self.sweep_at.max(Self::SMALLEST_SWEEP) {
            self.sweep();
        }
    }

    #[cold]
    fn sweep(&mut self) {
        // Looking at every waiter is a cache miss each, and in most lists none is stale. So a few tell whether it pays: of a list that
        // is half stale some of them are.
        let len = self.waiters.len();
        let stale = |sample: usize| !self.waiters[sample.wrapping_mul(SCATTER) % len].is_waiting();
        if len > SAMPLES && !(len..len + SAMPLES).any(stale) {
            self.sweep_at = 2 * len;
            return;
        }
        self.waiters.retain(Waiter::is_waiting);
        self.sweep_at = 2 * self.waiters.len();
    }

    /// Takes the first, who may not wait any more.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Waiter> {
        self.waiters.pop_front()
    }

    /// Ends the wait of the first who still waits, and takes him out; `None` if nobody does. See [`Waiter::claim`].
    #[inline]
    pub fn claim_first(&mut self) -> Option<Claim> {
        // A claim that failed is passed on.
        while let Some(waiter) = self.waiters.pop_front() {
            if let Some(claim) = waiter.claim() {
                return Some(claim);
            }
        }
        None
    }

    /// Takes all of them.
    pub fn take(&mut self) -> WaitQueue {
        std::mem::take(self)
    }

    /// Ends the waits of all of them; says of how many. Not to be called with a lock held. Never switches.
    pub fn notify_all(mut self) -> usize {
        self.notify_each()
    }

    /// As [`notify_all`](WaitQueue::notify_all), and leaves the queue empty, with its memory; see [`keep`](WaitQueue::keep).
    pub fn notify_each(&mut self) -> usize {
        Hub::try_with(|hub| hub.expect_crowd(self.waiters.len()));
        self.sweep_at = 0;
        self.waiters.drain(..).filter_map(Waiter::claim).count()
    }

    /// Takes the memory of an empty queue, if this has less: a megabyte at the most, for those who come again.
    ///
    /// The queue that has been taken out and notified comes back in this way, so that not each round allocates it anew.
    pub fn keep(&mut self, emptied: WaitQueue) {
        const MOST: usize = 1 << 16;
        let room = emptied.waiters.capacity();
        if self.waiters.is_empty() && emptied.waiters.is_empty() && room <= MOST && room > self.waiters.capacity() {
            self.waiters = emptied.waiters;
        }
    }

    /// Whether nobody waits. May count waits that have just ended.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// How many wait now.
    pub fn count_waiting(&self) -> usize {
        self.waiters.iter().filter(|waiter| waiter.is_waiting()).count()
    }
}
