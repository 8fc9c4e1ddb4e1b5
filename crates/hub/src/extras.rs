//! What few greenlets have: expired scopes, a start that is to come, locals. Made when it is first needed.

use std::cell::Cell;

use crate::timers::TimerKey;

/// Touched on the hub's thread only, as all of `Local`.
#[derive(Default)]
pub(crate) struct Extras {
    /// The outermost scope that has expired and was not left yet; 0: none.
    pub(crate) expired: Cell<u64>,
    /// The timer that is to start it.
    pub(crate) start: Cell<Option<TimerKey>>,
}

impl Extras {
    /// Ends what belongs to the greenlet's run, on its own stack.
    pub(crate) fn end(&self) {}
}
