//! `Barrier`: so many go on together.

use std::fmt;
use std::time::{Duration, Instant};

use greenlet_hub::{Outcome, Reason, ShortLock, Wait, WaitQueue};

use crate::const_fn::const_unless_loom;
use crate::time::deadline_after;

/// Holds up whoever comes until there are `n` of them, then lets them all go; and again. Like [`std::sync::Barrier`].
///
/// It does not break, as Python's does: who is killed or times out while he waits *leaves*, his place is free again, and the
/// others wait on for as many as are missing.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{joinall, spawn};
/// use greenlet_sync::Barrier;
/// use std::rc::Rc;
///
/// let barrier = Rc::new(Barrier::new(3));
/// let runners = (0..3).map(|_| spawn({ let barrier = Rc::clone(&barrier); move || barrier.wait().is_leader() }));
/// let leaders = joinall(runners).into_iter().filter(|leads| matches!(leads, Ok(true))).count();
/// assert_eq!(leaders, 1);
/// ```
pub struct Barrier {
    n: usize,
    state: ShortLock<State>,
}

struct State {
    arrived: usize,
    /// How often they have gone on.
    generation: u64,
    waiters: WaitQueue,
}

/// What those who go on together get: one of them is the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BarrierWaitResult {
    is_leader: bool,
}

impl BarrierWaitResult {
    /// Whether this is the one leader of those who went on together: the last who came.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet_sync::Barrier::new(1).wait().is_leader());
    /// ```
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl Barrier {
    const_unless_loom! {
        /// A barrier for `n`; one for 0 or 1 holds up nobody.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::Barrier;
        ///
        /// static START: Barrier = Barrier::new(2);
        /// assert_eq!(START.n_waiting(), 0);
        /// ```
        pub fn new(n: usize) -> Barrier {
            Barrier { n, state: ShortLock::new(State { arrived: 0, generation: 0, waiters: WaitQueue::new() }) }
        }
    }

    /// Waits until `n` wait, this one included. The last does not wait; he leads.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Barrier;
    ///
    /// let barrier = Barrier::new(2);
    /// std::thread::scope(|s| {
    ///     let other = s.spawn(|| barrier.wait().is_leader());
    ///     assert_ne!(barrier.wait().is_leader(), other.join().unwrap());
    /// });
    /// ```
    pub fn wait(&self) -> BarrierWaitResult {
        loop {
            // Without a deadline it does not time out.
            if let Some(result) = self.wait_until(|| None) {
                return result;
            }
        }
    }

    /// Waits until `n` wait, at the most for `timeout`. `None` if it was in vain: then this one has left.
    ///
    /// # Panics
    ///
    /// As [`wait`](Barrier::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Barrier;
    /// use std::time::Duration;
    ///
    /// let barrier = Barrier::new(2);
    /// assert!(barrier.wait_timeout(Duration::from_millis(1)).is_none());
    /// assert_eq!(barrier.n_waiting(), 0);
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(|| deadline_after(timeout))
    }

    /// How many wait now.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{spawn, yield_now};
    /// use greenlet_sync::Barrier;
    /// use std::rc::Rc;
    ///
    /// let barrier = Rc::new(Barrier::new(2));
    /// let other = spawn({ let barrier = Rc::clone(&barrier); move || barrier.wait() });
    /// yield_now();
    /// assert_eq!(barrier.n_waiting(), 1);
    /// barrier.wait();
    /// other.join().unwrap();
    /// ```
    pub fn n_waiting(&self) -> usize {
        self.state.lock().arrived
    }

    #[inline]
    fn wait_until(&self, deadline: impl FnOnce() -> Option<Instant>) -> Option<BarrierWaitResult> {
        let (wait, generation) = {
            let mut state = self.state.lock();
            if state.arrived + 1 >= self.n {
                state.arrived = 0;
                state.generation += 1;
                let others = state.waiters.take();
                drop(state);
                others.notify_all();
                return Some(BarrierWaitResult { is_leader: true });
            }
            let wait = Wait::begin(Reason::new("the others at a barrier"));
            state.waiters.push_back(wait.waiter());
            state.arrived += 1;
            (wait, state.generation)
        };
        match wait.until(deadline()) {
            Outcome::Notified => Some(BarrierWaitResult { is_leader: false }),
            // The last may have come in the same turn of the loop.
            Outcome::TimedOut => (!self.leave(generation)).then_some(BarrierWaitResult { is_leader: false }),
            Outcome::Interrupted(interrupted) => {
                self.leave(generation);
                interrupted.raise()
            }
        }
    }

    /// Takes one place back; false if they have gone on already.
    fn leave(&self, generation: u64) -> bool {
        let mut state = self.state.lock();
        let left = state.generation == generation;
        if left {
            state.arrived -= 1;
        }
        left
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("n", &self.n).field("n_waiting", &self.n_waiting()).finish_non_exhaustive()
    }
}
