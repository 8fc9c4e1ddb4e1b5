//! Permits without a name: what semaphores and locks have in common.

use std::fmt;
use std::time::{Duration, Instant};

use greenlet_hub::{Claim, Outcome, Reason, ShortGuard, ShortLock, Wait, Waiter};

use crate::const_fn::const_unless_loom;
use crate::grants::{Grants, Turn};
use crate::time::deadline_after;

/// How long one who wants something waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// Not at all.
    Try,
    /// As long as it takes.
    Wait,
    /// So long at the most.
    For(Duration),
}

/// A number of permits, and who waits for them.
pub(crate) struct Permits {
    state: ShortLock<State>,
    /// There are never more free ones.
    bound: usize,
}

struct State {
    free: usize,
    grants: Grants,
}

impl State {
    #[inline]
    fn sees(&mut self, turn: Turn) -> bool {
        self.grants.admits(self.free, turn)
    }

    #[inline]
    fn take(&mut self, turn: Turn) -> bool {
        let admitted = self.sees(turn);
        if admitted {
            self.free -= 1;
        }
        admitted
    }

    #[inline]
    fn grant(&mut self) -> Option<Claim> {
        self.grants.grant(self.free)
    }

    fn decline(&mut self, turn: Turn) -> Option<Claim> {
        self.grants.decline(self.free, turn)
    }
}

impl Permits {
    const_unless_loom! {
        /// So many that are free.
        pub(crate) fn new(free: usize, bound: usize) -> Permits {
            Permits { state: ShortLock::new(State { free, grants: Grants::new() }), bound }
        }
    }

    /// Takes one, if that succeeds.
    #[inline(always)]
    pub(crate) fn acquire(&self, reason: &'static str, how: How) -> bool {
        let mut state = self.state.lock();
        if state.take(Turn::First) {
            return true;
        }
        match how {
            How::Try => false,
            How::Wait => self.acquire_later(state, reason, None),
            How::For(timeout) => self.acquire_later(state, reason, Some(timeout)),
        }
    }

    /// Waits for one, where there was none to take.
    ///
    /// Inlined all the same, for a frame between a greenlet and its switch is a mispredicted return: a hand-over between two greenlets
    /// takes 56 ns so, and 70 with a frame.
    #[inline(always)]
    fn acquire_later<'a>(
        &'a self,
        mut state: ShortGuard<'a, State>,
        reason: &'static str,
        mut timeout: Option<Duration>,
    ) -> bool {
        let mut turn = Turn::First;
        let mut deadline = None;
        loop {
            // Begun under the lock, so that no wake-up is missed.
            let wait = Wait::begin(Reason::new(reason));
            state.grants.push(wait.waiter(), turn);
            drop(state);
            if let Some(timeout) = timeout.take() {
                deadline = deadline_after(timeout);
            }
            match wait.until(deadline) {
                Outcome::Notified => turn = turn.notified(),
                // Released in the same turn of the loop as the time came: it is there.
                Outcome::TimedOut => return self.state.lock().take(Turn::First),
                Outcome::Interrupted(interrupted) => {
                    if interrupted.was_notified() {
                        self.decline(turn.notified());
                    }
                    interrupted.raise()
                }
            }
            state = self.state.lock();
            if state.take(turn) {
                return true;
            }
        }
    }

    /// Waits until one could be taken, and takes none.
    pub(crate) fn wait(&self, reason: &'static str, deadline: impl FnOnce() -> Option<Instant>) -> bool {
        if self.is_available() {
            return true;
        }
        let deadline = deadline();
        let mut turn = Turn::First;
        loop {
            let wait = {
                let mut state = self.state.lock();
                if state.sees(turn) {
                    // For the next one, who may want it.
                    let claim = state.grant();
                    drop(state);
                    drop(claim);
                    return true;
                }
                let wait = Wait::begin(Reason::new(reason));
                state.grants.push(wait.waiter(), turn);
                wait
            };
            match wait.until(deadline) {
                Outcome::Notified => turn = turn.notified(),
                Outcome::TimedOut => return self.is_available(),
                Outcome::Interrupted(interrupted) => {
                    if interrupted.was_notified() {
                        self.decline(turn.notified());
                    }
                    interrupted.raise()
                }
            }
        }
    }

    #[cold]
    fn decline(&self, turn: Turn) {
        let claim = self.state.lock().decline(turn);
        drop(claim);
    }

    /// Gives one back, and wakes whom it is for; false, and does nothing, if all are free that there may be.
    #[inline(always)]
    pub(crate) fn release(&self) -> bool {
        let mut state = self.state.lock();
        if state.free == self.bound {
            return false;
        }
        state.free += 1;
        if !state.grants.is_empty() {
            hand_over(state);
        }
        true
    }

    /// How many can be taken now.
    #[inline]
    pub(crate) fn available(&self) -> usize {
        let state = self.state.lock();
        state.grants.available(state.free)
    }

    #[inline]
    pub(crate) fn is_available(&self) -> bool {
        self.available() > 0
    }

    /// Takes the waiter of one who waits for several things; he asks afterwards. `again`: he was woken in vain.
    pub(crate) fn subscribe(&self, waiter: &Waiter, again: bool) {
        self.state.lock().grants.push_select(waiter.clone(), again);
    }

    /// Ends that: what he may have been woken for goes to the next.
    pub(crate) fn unsubscribe(&self) {
        self.decline(Turn::Woken);
    }

    /// What the `Debug` of a semaphore prints.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let (available, waiting) = {
            let state = self.state.lock();
            (state.grants.available(state.free), state.grants.count_waiting())
        };
        f.debug_struct(name).field("available", &available).field("waiting", &waiting).finish()
    }
}

#[inline(never)]
fn hand_over(mut state: ShortGuard<'_, State>) {
    let claim = state.grant();
    // Made ready without the lock, since that may have to wake another thread.
    drop(state);
    drop(claim);
}
