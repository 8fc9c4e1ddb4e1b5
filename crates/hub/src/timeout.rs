//! `timeout`: so much time for a piece of code, whatever it waits for.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use crate::hub::Hub;
use crate::interrupt::InterruptScope;
use crate::timers::TimerKey;
use crate::waiter::Timed;

/// Calls `f`, and unwinds it out of whatever it waits for when the time has passed.
///
/// Destructors run. Time-outs nest: each catches its own unwind only, and an outer one ends the inner ones. What never waits is
/// never interrupted: a body that ends after the time without having waited returns its value, and a zero `duration` ends
/// the first wait. Like gevent's `with Timeout(…)` and trio's `move_on_after`, on the main greenlet too.
///
/// A panic of `f` goes through, as does a kill. Inside [`shield`](crate::shield) and while `f` unwinds, the time-out waits. `f` is not asked
/// to be unwind-safe: what it shares with its surroundings has to bear that it ends early, at any of its waits.
///
/// # Errors
///
/// [`Elapsed`] if `f` was ended by it.
///
/// # Panics
///
/// If `f` does; and in programs with `panic = "abort"`, where nothing can be unwound.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Elapsed, sleep, timeout};
/// use std::time::Duration;
///
/// assert_eq!(timeout(Duration::from_secs(5), || 6 * 7), Ok(42));
/// let slow = timeout(Duration::from_millis(2), || sleep(Duration::from_secs(60)));
/// assert_eq!(slow, Err(Elapsed));
/// ```
pub fn timeout<T>(duration: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    with_timer(|hub, timed| hub.arm_after(duration, timed), f)
}

/// Calls `f`, and unwinds it out of whatever it waits for at that time. See [`timeout`].
///
/// # Errors
///
/// As [`timeout`].
///
/// # Panics
///
/// As [`timeout`].
///
/// # Examples
///
/// ```
/// use greenlet_hub::{sleep, timeout_at};
/// use std::time::{Duration, Instant};
///
/// let then = Instant::now() + Duration::from_millis(2);
/// assert!(timeout_at(then, || sleep(Duration::from_secs(60))).is_err());
/// ```
pub fn timeout_at<T>(deadline: Instant, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    with_timer(|hub, timed| hub.arm(deadline, timed), f)
}

#[inline]
fn with_timer<T>(arm: impl FnOnce(&Hub, Timed) -> TimerKey, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    if cfg!(panic = "abort") {
        panic!("timeout needs unwinding, and this program is built with panic = \"abort\"");
    }
    let hub = Hub::here();
    let scope = InterruptScope::enter(hub);
    let timer = arm(hub, Timed { block: scope.greenlet, number: Timed::SCOPE | scope.number });
    let armed = Armed { scope, timer };
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Ok(value),
        Err(payload) if armed.scope.owns(&*payload) => Err(Elapsed),
        Err(payload) => {
            drop(armed);
            resume_unwind(payload)
        }
    }
}

/// A scope with its timer, taken back when dropped.
struct Armed<'a> {
    scope: InterruptScope<'a>,
    timer: TimerKey,
}

impl Drop for Armed<'_> {
    #[inline]
    fn drop(&mut self) {
        // One that has fired is not found.
        self.scope.hub.timers.borrow_mut().cancel(self.timer);
    }
}

/// The time has passed: see [`timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time has passed")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    /// An error of the kind `TimedOut`.
    fn from(elapsed: Elapsed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}
