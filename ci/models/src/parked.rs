//! Jobs that start when they are notified, which the models do not have: `wait` and `iwait` are of one hub's run queue.

use crate::waiter::Waiter;

pub(crate) struct Parked;

impl Parked {
    pub(crate) fn new(_: impl FnOnce() + 'static) -> Parked {
        unreachable!("the models have no run queue, and wait for several things by `wait_until_any` alone")
    }

    pub(crate) fn waiter(&self) -> Waiter {
        unreachable!("the models have no run queue, and wait for several things by `wait_until_any` alone")
    }
}
