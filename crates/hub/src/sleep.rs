//! Waiting for time, for one's turn, and not at all.

use std::time::{Duration, Instant};

use crate::hub::{Hub, deadline_after};
use crate::switch::Switching;
use crate::waiter::{Reason, Wait};

/// Waits until all that are ready now have run: goes to the end of the run queue. Always switches.
///
/// # Panics
///
/// Inside [`no_switch`].
///
/// # Examples
///
/// ```
/// use greenlet_hub::{spawn, yield_now};
/// use std::{cell::Cell, rc::Rc};
///
/// let ran = Rc::new(Cell::new(false));
/// spawn({ let ran = Rc::clone(&ran); move || ran.set(true) });
/// assert!(!ran.get());
/// yield_now();
/// assert!(ran.get());
/// ```
// Always inlined: a frame between the caller and the switch costs more than the switch. See ARCHITECTURE.md.
#[inline(always)]
pub fn yield_now() {
    Hub::here().yield_now();
}

/// Waits for so long, at the least; the others run meanwhile. Always switches; a zero sleep is [`yield_now`].
///
/// # Panics
///
/// Inside [`no_switch`].
///
/// # Examples
///
/// ```
/// use greenlet_hub::{joinall, sleep, spawn};
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// joinall((0..100).map(|_| spawn(|| sleep(Duration::from_millis(10)))));
/// assert!(start.elapsed() < Duration::from_millis(500)); // not 100 × 10 ms
/// ```
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return yield_now();
    }
    Wait::begin(Reason::new("the end of a sleep")).notified(Some(deadline_after(duration)));
}

/// Waits until that time. Always switches; for a time that has passed, until the hub next looks at its timers.
///
/// # Panics
///
/// Inside [`no_switch`].
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let then = Instant::now() + Duration::from_millis(2);
/// greenlet_hub::sleep_until(then);
/// assert!(Instant::now() >= then);
/// ```
pub fn sleep_until(deadline: Instant) {
    Wait::begin(Reason::new("the end of a sleep")).notified(Some(deadline));
}

/// Calls `f`, in which a wait panics instead of switching.
///
/// For code that keeps the whole thread in mind, such as a crate that leaves a pointer in a thread-local for the length of
/// a closure: another greenlet would find it. Calls that need not wait are fine in it, and no budget makes them yield.
///
/// # Panics
///
/// If `f` panics, or waits.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{no_switch, spawn, yield_now};
///
/// assert_eq!(no_switch(|| 6 * 7), 42);
/// assert!(spawn(|| no_switch(yield_now)).join().is_err());
/// ```
pub fn no_switch<R>(f: impl FnOnce() -> R) -> R {
    Hub::here().with_switching(Switching::Panics, f)
}
