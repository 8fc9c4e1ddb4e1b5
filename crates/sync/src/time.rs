//! Deadlines of calls that were given a time-out.

use std::time::{Duration, Instant};

/// So long from now; `None`, for ever, if the clock does not go that far.
#[inline]
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
