//! Who gets a unit of something that many wait for: permits, items, room.
//!
//! The units themselves, and how many are free, are the primitive's. This says who may take one, and who is to be woken:
//!
//! * Who comes newly takes what is free, even if somebody has been woken for it (*barging*): a release and an acquisition by one
//!   greenlet that does not wait in between cost no switch.
//! * One who was woken and found nothing has been *passed over*. He waits in a queue of his own that is served first, and the
//!   unit that he is woken for is *promised*: no newcomer takes it. So nobody is passed over twice.
//!
//! ```text
//!  First ── waits in `newcomers` ──► Woken ── waits in `passed_over` ──► Promised ─┐
//!    └─ takes ≤ free − promised       └─ takes ≤ free − promised   ▲   └─ takes ≤ free
//!                                                                  └───────────────┘ (units were withdrawn)
//! ```

use greenlet_hub::{Claim, WaitQueue, Waiter};

/// Who waits for units, and how many of the free ones are promised. Part of a primitive's state, under its lock.
///
/// # Invariants
///
/// Between two calls, with *free* units of the primitive's:
///
/// 1. `promised` is the number of those who were claimed out of `passed_over` and have neither asked ([`admits`](Grants::admits)) nor
///    [`decline`](Grants::decline)d since.
/// 2. If somebody waits in `passed_over`, then free ≤ `promised`: what is free is somebody's already. (He came when it was so; a
///    unit that comes later is promised at once, and newcomers take from free − `promised` only.)
/// 3. If somebody waits in `newcomers`, then free − `promised` ≤ the number of those who were claimed out of `newcomers` and have neither
///    asked nor declined since: for each free unit somebody is on his way, so no wake-up is lost. (Those who
///    [`push`](Grants::push) without having asked, through `Waitable::subscribe`, ask afterwards.)
///
/// Who was claimed and is interrupted declines, which hands on what he was woken for; whose deadline came was not claimed.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    passed_over: WaitQueue,
    newcomers: WaitQueue,
    promised: usize,
}

/// How far one who asks for a unit has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// He asks for the first time.
    First,
    /// He has been woken, for a unit that others may have taken.
    Woken,
    /// He was passed over, and has been woken for a unit that was promised to him.
    Promised,
}

impl Turn {
    /// His turn when he has been notified of a wait that he began in this one.
    #[inline]
    pub(crate) fn notified(self) -> Turn {
        match self {
            Turn::First => Turn::Woken,
            Turn::Woken | Turn::Promised => Turn::Promised,
        }
    }
}

impl Grants {
    /// Nobody waits.
    pub(crate) const fn new() -> Grants {
        Grants { passed_over: WaitQueue::new(), newcomers: WaitQueue::new(), promised: 0 }
    }

    /// How many of the `free` units a newcomer may take.
    #[inline]
    pub(crate) fn available(&self, free: usize) -> usize {
        free.saturating_sub(self.promised)
    }

    /// Whether one whose turn this is may take one of the `free` units; it is for the caller to take it.
    ///
    /// To be asked once after each wake-up: a promise is kept, or void, with it.
    #[inline]
    pub(crate) fn admits(&mut self, free: usize, turn: Turn) -> bool {
        if turn == Turn::Promised {
            self.promised -= 1;
            return free > 0;
        }
        free > self.promised
    }

    /// Puts one into a queue who was not admitted in this turn.
    #[inline]
    pub(crate) fn push(&mut self, waiter: Waiter, turn: Turn) {
        match turn {
            Turn::First => self.newcomers.push_back(waiter),
            Turn::Woken | Turn::Promised => self.passed_over.push_back(waiter),
        }
    }

    /// One more unit is free, which makes `free`: ends the wait of the one who is to look for it.
    ///
    /// The claim is to be dropped after the lock is.
    #[inline]
    pub(crate) fn grant(&mut self, free: usize) -> Option<Claim> {
        if self.is_empty() { None } else { self.grant_to_first(free) }
    }

    #[inline(always)]
    fn grant_to_first(&mut self, free: usize) -> Option<Claim> {
        if self.available(free) == 0 {
            // Those who are on their way with promises outnumber what there is; they take it.
            return None;
        }
        let passed_over = self.passed_over.claim_first();
        if passed_over.is_some() {
            self.promised += 1;
            return passed_over;
        }
        self.newcomers.claim_first()
    }

    /// One who was notified takes nothing, because he unwinds or only wanted to know: hands on what is free.
    ///
    /// `turn` is that after the notification. With [`Turn::Woken`] it is harmless if he was not notified.
    pub(crate) fn decline(&mut self, free: usize, turn: Turn) -> Option<Claim> {
        if turn == Turn::Promised {
            self.promised -= 1;
        }
        self.grant(free)
    }

    /// Ends the waits of all, who will find out why, such as a queue that was shut down.
    pub(crate) fn wake_all(&mut self) -> Vec<Claim> {
        let mut claims = Vec::new();
        while let Some(claim) = self.passed_over.claim_first() {
            // There may be no unit for it; then it is void when he asks.
            self.promised += 1;
            claims.push(claim);
        }
        while let Some(claim) = self.newcomers.claim_first() {
            claims.push(claim);
        }
        claims
    }

    /// Whether nobody waits. May count waits that have just ended.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.passed_over.is_empty() && self.newcomers.is_empty()
    }

    /// How many wait now.
    pub(crate) fn count_waiting(&self) -> usize {
        self.passed_over.count_waiting() + self.newcomers.count_waiting()
    }
}

/// For those who wait for several things.
impl Grants {
    /// Puts one into the queue of the newcomers; before the others, if he was woken in vain.
    ///
    /// Nothing is promised to him, since he could not tell that it was this that has woken him.
    pub(crate) fn push_select(&mut self, waiter: Waiter, again: bool) {
        if again { self.newcomers.push_front(waiter) } else { self.newcomers.push_back(waiter) }
    }

    /// As [`grant`](Grants::grant), but to nobody whose wait is `own`.
    pub(crate) fn grant_other_than(&mut self, free: usize, own: &Waiter) -> Option<Claim> {
        let mut set_aside = Vec::new();
        let mut claim = None;
        if self.available(free) > 0 {
            claim = self.passed_over.claim_first();
            self.promised += usize::from(claim.is_some());
        }
        while claim.is_none()
            && self.available(free) > 0
            && let Some(waiter) = self.newcomers.pop_front()
        {
            if waiter == *own { set_aside.push(waiter) } else { claim = waiter.claim() }
        }
        set_aside.into_iter().rev().for_each(|waiter| self.newcomers.push_front(waiter));
        claim
    }
}
