//! A job that starts when it is notified: how several things are waited for in the order in which they become ready.
//!
//! A greenlet has one wait, which the first notification ends; the others would leave no trace. So each thing gets the waiter of a job of its
//! own, which has no stack until it runs. The run queue keeps the order.

use std::marker::PhantomData;
use std::panic::Location;

use crate::block::{Block, BlockRef};
use crate::greenlet::JoinError;
use crate::hub::Hub;
use crate::waiter::Waiter;
use crate::word::{Ended, State};

/// A job that starts when its waiter is notified; it never does once this is dropped.
pub(crate) struct Parked {
    block: BlockRef,
    number: u64,
    // Not `Send`: it is dropped on its hub's thread.
    marker: PhantomData<*mut ()>,
}

impl Parked {
    pub(crate) fn new(job: impl FnOnce() + 'static) -> Parked {
        let hub = Hub::here();
        let block = Block::allocate(job, &hub.memory, Some(hub.shared()), hub.next_id(), Location::caller(), None);
        // As if it slept in a wait: whoever ends that pushes it into the run queue, which starts it.
        let number = block.word.begin();
        block.word.suspend(number, true);
        Parked { block, number, marker: PhantomData }
    }

    pub(crate) fn waiter(&self) -> Waiter {
        Waiter::new(self.block.clone(), self.number)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // If somebody has ended it, the job is on its way, or over.
        if self.block.word.end(self.number, State::Idle) != Ended::Stale {
            let job = self.block.hub_ref();
            job.refuse(JoinError::Killed);
            job.finish();
        }
    }
}
