//! Ending a greenlet, or a part of it, from outside: the unwind that its next wait raises.
//!
//! What is pending is a set: a kill, and every `timeout` that has expired (a failing task group counts as one). The
//! wait word's bit says that the set is not empty; a wait raises one member when it begins or when it returns, as an unwind with
//! the private payload below, past the panic hook. A kill goes first, then the *outermost* of the rest. So of those it is enough
//! to keep one number: scopes are numbered as they are entered, an outer one has the lower number, and when it is raised, all
//! inner ones are left.
//!
//! Raising does not empty the set. A kill stays for good, an expired scope until it is left: so what a user's
//! `catch_unwind` swallows is raised by the next wait; after one trip through the run queue, so that a loop that swallows everything
//! cannot hold the hub.
//!
//! Nothing is raised where the greenlet is *deaf*: while it unwinds (a second unwind out of a `Drop` would abort), in a
//! shield, in the panic hook. What is interrupted while it holds a grant (it was notified in the same tick) passes the grant on first;
//! see [`WaitList`](crate::WaitList).

use std::any::Any;
use std::panic::resume_unwind;

use crate::block::HubRef;
use crate::hub::Hub;

/// The payload of the unwind.
pub(crate) enum Interrupt {
    /// The greenlet's root catches it.
    Kill,
    /// The scope of that number catches it, on that hub.
    Scope { hub: u32, number: u64 },
}

/// Whether what [`catch_unwind`](std::panic::catch_unwind) has caught is an interrupt, a kill or the end of a `timeout`, rather than a panic.
///
/// Code that makes errors of panics lets interrupts go on, with [`resume_unwind`]; otherwise the next wait raises them again.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{is_interrupt, sleep, timeout};
/// use std::panic::{catch_unwind, resume_unwind};
/// use std::time::Duration;
///
/// assert!(!is_interrupt(&*catch_unwind(|| panic!("a panic")).unwrap_err()));
/// let ended = timeout(Duration::from_millis(1), || {
///     let payload = catch_unwind(|| sleep(Duration::from_secs(60))).unwrap_err();
///     assert!(is_interrupt(&*payload));
///     resume_unwind(payload)
/// });
/// assert!(matches!(ended, Err::<(), _>(_)));
/// ```
pub fn is_interrupt(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Interrupt>()
}

/// Whether what [`catch_unwind`](std::panic::catch_unwind) has caught is a kill.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{is_kill, sleep, spawn, yield_now};
/// use std::panic::{catch_unwind, resume_unwind};
/// use std::time::Duration;
///
/// let sleeper = spawn(|| {
///     let payload = catch_unwind(|| sleep(Duration::from_secs(60))).unwrap_err();
///     assert!(is_kill(&*payload));
///     resume_unwind(payload)
/// });
/// yield_now();
/// sleeper.kill()?;
/// # Ok::<(), greenlet_hub::KillError>(())
/// ```
pub fn is_kill(payload: &(dyn Any + Send)) -> bool {
    matches!(payload.downcast_ref(), Some(Interrupt::Kill))
}

/// A part of a greenlet's run that can be interrupted by itself; left when dropped.
pub(crate) struct InterruptScope<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) greenlet: HubRef,
    pub(crate) number: u64,
}

impl<'a> InterruptScope<'a> {
    #[inline]
    pub(crate) fn enter(hub: &'a Hub) -> InterruptScope<'a> {
        InterruptScope { hub, greenlet: hub.current(), number: hub.next_scope() }
    }

    /// Whether an unwind is this scope's.
    pub(crate) fn owns(&self, payload: &(dyn Any + Send)) -> bool {
        matches!(payload.downcast_ref(), Some(Interrupt::Scope { hub, number })
            if *hub == self.hub.id() && *number == self.number)
    }
}

impl Drop for InterruptScope<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(extras) = self.greenlet.local().extras.get() else { return };
        if extras.expired.get() == self.number {
            extras.expired.set(0);
            self.greenlet.settle_interrupt();
        }
    }
}

impl HubRef {
    /// Whether nothing may be raised now, in what runs.
    #[inline(always)]
    pub(crate) fn is_deaf(self) -> bool {
        std::thread::panicking() || self.local().shields.get() > 0
    }

    /// Whether a wait of what runs now has to raise something.
    #[inline(always)]
    pub(crate) fn must_unwind(self) -> bool {
        self.word.is_interrupted() && !self.is_deaf()
    }

    /// Notes that a scope is to be unwound; true if the greenlet has to be made ready for it.
    pub(crate) fn expire(self, number: u64) -> bool {
        let expired = &self.local().extras().expired;
        if expired.get() == 0 || number < expired.get() {
            expired.set(number);
        }
        self.word.interrupt()
    }

    /// Takes the bit out of the word, now that no scope is expired, unless a kill is pending.
    #[cold]
    fn settle_interrupt(self) {
        self.local().extras().raised.set(false);
        self.word.clear_interrupt();
        // Whoever kills it sets the mark first: either it is seen here, or the bit comes after this.
        if self.is_killed() {
            self.word.interrupt();
        }
    }

    /// Whether what is pending was raised before, and something has caught it.
    #[cold]
    pub(crate) fn was_unwound(self) -> bool {
        self.local().extras.get().is_some_and(|extras| extras.raised.get())
    }

    /// Unwinds the greenlet that runs.
    #[cold]
    pub(crate) fn unwind(self) -> ! {
        let extras = self.local().extras();
        extras.raised.set(true);
        resume_unwind(Box::new(match extras.expired.get() {
            number if number != 0 && !self.is_killed() => Interrupt::Scope { hub: self.hub(), number },
            _ => Interrupt::Kill,
        }))
    }
}
