//! The one loop by which a greenlet gets a lock whose state is the C library's: try, wait in the table, try again.

use std::time::Duration;

use greenlet_hub::Reason;
use libc::c_int;

use super::clock::Deadline;
use super::table::{self, Ended, Key, List, Options, Who};

/// A lock that was found taken.
pub(crate) struct Taken {
    pub(crate) key: Key,
    pub(crate) reason: Reason,
    /// What the attempt says as long as it is.
    pub(crate) error: c_int,
    /// See [`Options::look`].
    pub(crate) look: Option<Duration>,
    /// Whether who was woken and finds it taken goes to the front. Not where all are woken: each that did would turn their order round.
    pub(crate) keeps_place: bool,
}

impl Taken {
    /// Waits until the attempt says something else, which is returned; or `ETIMEDOUT` once the deadline has come.
    ///
    /// The attempt is made under a lock of the table's: it does not wait.
    pub(crate) fn wait(self, deadline: Deadline, attempt: impl Fn() -> c_int) -> c_int {
        let mut was_woken = false;
        loop {
            let mut result = self.error;
            let options = Options::new(self.key, deadline.instant(), self.reason);
            // Who was woken, and finds it taken, is the first in line.
            let options = Options { first: was_woken && self.keeps_place, look: self.look, ..options };
            let check = |_: &List| {
                result = attempt();
                result == self.error
            };
            match table::wait(Who::Greenlet, options, check, || true) {
                Ended::Refused => return result,
                Ended::Woken => was_woken = true,
                Ended::TimedOut if deadline.is_over() => {
                    // What a handler has added may be there without anybody having been told.
                    let result = attempt();
                    return if result == self.error { libc::ETIMEDOUT } else { result };
                }
                // The clock was set back.
                Ended::TimedOut => {}
            }
        }
    }
}
