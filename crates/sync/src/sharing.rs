//! Many readers or one writer, in the order in which they came: what keeps others out of an `RwLock`.

use std::collections::VecDeque;
use std::time::Duration;

use greenlet_hub::{Claim, Outcome, Reason, ShortGuard, ShortLock, Wait, Waiter};

use crate::const_fn::const_unless_loom;
use crate::permits::How;
use crate::time::deadline_after;

/// What somebody wants to do with the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Who has the lock, and who waits for it.
///
/// Whoever is woken has it already: it was handed to him under the lock of the state. Nobody overtakes one who waits, so it is the queue that
/// keeps readers and writers from starving each other. The price is a switch for each hand-over, which a [`Lock`](crate::Lock), where
/// newcomers may take what is free, does not pay; but there the order of readers and writers would be nobody's.
pub(crate) struct Sharing {
    state: ShortLock<State>,
}

/// # Invariant
///
/// Whoever is first in the queue and still waits cannot have the lock now; unless one before him has just given up and has not
/// run since, who then settles it.
struct State {
    /// The number of readers, or `WRITER`.
    holders: usize,
    queue: VecDeque<(Access, Waiter)>,
    /// At this length stale entries are swept out.
    sweep_at: usize,
}

const WRITER: usize = usize::MAX;
const SMALLEST_SWEEP: usize = 16;

/// Those who have been handed the lock. They become ready in order, once the state is not locked any more.
#[derive(Default)]
struct Claims {
    first: Option<Claim>,
    // So that one alone allocates nothing. Dropped after the first, in order.
    rest: Vec<Claim>,
}

impl State {
    fn has_room_for(&self, access: Access) -> bool {
        match access {
            Access::Read => self.holders < WRITER - 1,
            Access::Write => self.holders == 0,
        }
    }

    fn enter(&mut self, access: Access) {
        match access {
            Access::Read => self.holders += 1,
            Access::Write => self.holders = WRITER,
        }
    }

    /// Whether somebody waits. Lets go of those at the front who do not any more.
    fn is_awaited(&mut self) -> bool {
        while let Some((_, waiter)) = self.queue.front() {
            if waiter.is_waiting() {
                return true;
            }
            self.queue.pop_front();
        }
        false
    }

    #[inline]
    fn take(&mut self, access: Access) -> bool {
        let taken = self.has_room_for(access) && (self.queue.is_empty() || !self.is_awaited());
        if taken {
            self.enter(access);
        }
        taken
    }

    fn push(&mut self, access: Access, waiter: Waiter) {
        if self.queue.len() >= self.sweep_at.max(SMALLEST_SWEEP) {
            self.queue.retain(|(_, waiter)| waiter.is_waiting());
            self.sweep_at = 2 * self.queue.len();
        }
        self.queue.push_back((access, waiter));
    }

    /// Hands the lock to the first who can have it: a writer, or all readers up to the next writer.
    fn settle(&mut self) -> Claims {
        let mut claims = Claims::default();
        while self.is_awaited()
            && let Some((access, _)) = self.queue.front()
            && self.has_room_for(*access)
            && let Some((access, waiter)) = self.queue.pop_front()
        {
            // It may end otherwise at this very moment, on another thread.
            let Some(claim) = waiter.claim() else { continue };
            self.enter(access);
            match claims.first {
                None => claims.first = Some(claim),
                Some(_) => claims.rest.push(claim),
            }
        }
        claims
    }
}

impl Sharing {
    const_unless_loom! {
        pub(crate) fn new() -> Sharing {
            Sharing { state: ShortLock::new(State { holders: 0, queue: VecDeque::new(), sweep_at: 0 }) }
        }
    }

    #[inline(always)]
    pub(crate) fn lock(&self, access: Access, how: How) -> bool {
        let mut state = self.state.lock();
        if state.take(access) {
            return true;
        }
        match how {
            How::Try => false,
            How::Wait => self.lock_later(state, access, None),
            How::For(timeout) => self.lock_later(state, access, Some(timeout)),
        }
    }

    /// Waits for it, where it was not to be had. Inlined as [`Permits::acquire`](crate::permits::Permits::acquire) is.
    #[inline(always)]
    fn lock_later(&self, mut state: ShortGuard<'_, State>, access: Access, timeout: Option<Duration>) -> bool {
        // Begun under the lock, so that no wake-up is missed.
        let wait = Wait::begin(Reason::new(match access {
            Access::Read => "reading in a lock",
            Access::Write => "writing in a lock",
        }));
        state.push(access, wait.waiter());
        drop(state);
        match wait.until(timeout.and_then(deadline_after)) {
            Outcome::Notified => true,
            Outcome::TimedOut => self.give_up(access),
            Outcome::Interrupted(interrupted) => {
                if interrupted.was_notified() {
                    self.unlock(access);
                } else {
                    self.settle();
                }
                interrupted.raise()
            }
        }
    }

    /// One last try when the time has passed. Those who stood behind may be able to go on.
    #[cold]
    fn give_up(&self, access: Access) -> bool {
        let mut state = self.state.lock();
        let claims = state.settle();
        let taken = state.take(access);
        drop(state);
        drop(claims);
        taken
    }

    #[cold]
    fn settle(&self) {
        hand_over(self.state.lock());
    }

    #[inline(always)]
    pub(crate) fn unlock(&self, access: Access) {
        let mut state = self.state.lock();
        match access {
            Access::Read => state.holders -= 1,
            Access::Write => state.holders = 0,
        }
        if !state.queue.is_empty() {
            hand_over(state);
        }
    }

    /// Makes the writer a reader, with those readers who are next.
    pub(crate) fn downgrade(&self) {
        let mut state = self.state.lock();
        state.holders = 1;
        hand_over(state);
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.state.lock().holders != 0
    }
}

#[inline(never)]
fn hand_over(mut state: ShortGuard<'_, State>) {
    let claims = state.settle();
    // Made ready without the lock, since that may have to wake other threads.
    drop(state);
    drop(claims);
}
