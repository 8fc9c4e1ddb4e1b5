//! `Event`: a flag that many wait for.

use std::fmt;
use std::time::{Duration, Instant};

use greenlet_hub::{Reason, ShortLock, Wait, WaitAsync, WaitQueue, Waitable, Waiter, wait_async};

use crate::const_fn::const_unless_loom;
use crate::time::deadline_after;

/// A flag that any number of greenlets and threads wait for. Like gevent's and Python's `Event`.
///
/// Setting it wakes all who wait, also if it is cleared again before any of them runs. One who then waits again waits for the next time.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{joinall, spawn};
/// use greenlet_sync::Event;
/// use std::rc::Rc;
///
/// let start = Rc::new(Event::new());
/// let runners = (0..3).map(|_| spawn({ let start = Rc::clone(&start); move || start.wait() }));
/// let runners: Vec<_> = runners.collect();
/// start.set();
/// assert_eq!(joinall(runners).len(), 3);
/// ```
#[derive(Default)]
pub struct Event {
    state: ShortLock<State>,
}

#[derive(Default)]
struct State {
    is_set: bool,
    /// How often it was set while it was not.
    sets: u64,
    waiters: WaitQueue,
}

impl Event {
    const_unless_loom! {
        /// An event that is not set.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::Event;
        ///
        /// static READY: Event = Event::new();
        /// assert!(!READY.is_set());
        /// ```
        pub fn new() -> Event {
            Event { state: ShortLock::new(State { is_set: false, sets: 0, waiters: WaitQueue::new() }) }
        }
    }

    /// Sets it, and wakes all who wait. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Event;
    ///
    /// let event = Event::new();
    /// event.set();
    /// event.wait(); // returns at once
    /// ```
    pub fn set(&self) {
        let (first, rest) = {
            let mut state = self.state.lock();
            if state.is_set {
                return;
            }
            state.is_set = true;
            state.sets += 1;
            // One alone is taken out by itself, so that the queue keeps its memory for the next time.
            let first = state.waiters.claim_first();
            (first, (!state.waiters.is_empty()).then(|| state.waiters.take()))
        };
        drop(first);
        if let Some(mut rest) = rest {
            rest.notify_each();
            self.state.lock().waiters.keep(rest);
        }
    }

    /// Clears it: whoever waits from now on waits until it is set again. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Event;
    ///
    /// let event = Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    pub fn clear(&self) {
        self.state.lock().is_set = false;
    }

    /// Whether it is set.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Event;
    ///
    /// let event = Event::new();
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    #[inline]
    pub fn is_set(&self) -> bool {
        self.state.lock().is_set
    }

    /// Waits until it is set. Returns at once if it is.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::Event;
    /// use std::rc::Rc;
    ///
    /// let event = Rc::new(Event::new());
    /// spawn({ let event = Rc::clone(&event); move || event.set() });
    /// event.wait();
    /// assert!(event.is_set());
    /// ```
    #[inline]
    pub fn wait(&self) {
        if let Some((wait, _)) = self.begin() {
            wait.notified(None);
        }
    }

    /// Waits until it is set, at the most for `timeout`; says whether it was.
    ///
    /// # Panics
    ///
    /// As [`wait`](Event::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Event;
    /// use std::time::Duration;
    ///
    /// let event = Event::new();
    /// assert!(!event.wait_timeout(Duration::from_millis(1)));
    /// ```
    #[inline]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        match self.begin() {
            None => true,
            // Set in the same turn of the loop as the time came: it was set.
            Some((wait, ticket)) => wait.notified(deadline_after(timeout)) || self.is_ready_since(ticket),
        }
    }

    /// Waits until it is set or the deadline has come; says whether it was.
    ///
    /// # Panics
    ///
    /// As [`wait`](Event::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Event;
    /// use std::time::Instant;
    ///
    /// let event = Event::new();
    /// event.set();
    /// assert!(event.wait_deadline(Instant::now()));
    /// ```
    #[inline]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        match self.begin() {
            None => true,
            Some((wait, ticket)) => wait.notified(Some(deadline)) || self.is_ready_since(ticket),
        }
    }

    /// A future that is ready when it is set, or was since this call, for async tasks of any runtime. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{block_on, spawn};
    /// use greenlet_sync::Event;
    /// use std::rc::Rc;
    ///
    /// let event = Rc::new(Event::new());
    /// spawn({ let event = Rc::clone(&event); move || { event.set(); event.clear() } });
    /// block_on(event.wait_async());
    /// ```
    pub fn wait_async(&self) -> WaitAsync<&Event> {
        wait_async(self)
    }

    /// Begins a wait, unless it is set; with how often it was set before.
    #[inline]
    fn begin(&self) -> Option<(Wait, u64)> {
        let mut state = self.state.lock();
        if state.is_set {
            return None;
        }
        let wait = Wait::begin(Reason::new("an event"));
        state.waiters.push_back(wait.waiter());
        Some((wait, state.sets))
    }
}

impl Waitable for Event {
    /// Whether it is set.
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.state.lock().waiters.push_back(waiter.clone());
    }

    /// How often it was set.
    fn ticket(&self) -> u64 {
        self.state.lock().sets
    }

    /// Whether it is set, or was since then, though it may have been cleared again.
    fn is_ready_since(&self, ticket: u64) -> bool {
        let state = self.state.lock();
        state.is_set || state.sets != ticket
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
