//! Deadlines, which come when a test says so.

use std::time::{Duration, Instant};

pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    Instant::now() + timeout
}
