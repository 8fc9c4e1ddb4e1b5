//! The waits of the hub's `waiter.rs`, and what its `switch.rs` does with them, for greenlets that are threads.

use std::fmt;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use crate::greenlet::{Block, Killed, current_block};
use crate::word::{Ended, State};

/// What a greenlet waits for.
#[derive(Clone, Copy, Debug)]
pub struct Reason(&'static str);

impl Reason {
    pub const fn new(text: &'static str) -> Reason {
        Reason(text)
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a wait that was notified and does not use it has to pass it on"]
pub enum Outcome {
    Notified,
    TimedOut,
    Interrupted(Interrupted),
}

/// The duty to unwind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    notified: bool,
    marker: PhantomData<*mut ()>,
}

impl Interrupted {
    fn new(notified: bool) -> Interrupted {
        Interrupted { notified, marker: PhantomData }
    }

    pub fn was_notified(&self) -> bool {
        self.notified
    }

    pub fn raise(self) -> ! {
        resume_unwind(Box::new(Killed))
    }
}

/// One wait of the running greenlet, begun but not yet slept.
#[derive(Debug)]
#[must_use = "a wait does nothing until `until` is called"]
pub struct Wait {
    number: u64,
    greenlet: u64,
    marker: PhantomData<*mut ()>,
}

impl Wait {
    pub fn begin(_: Reason) -> Wait {
        let block = current_block();
        Wait { number: block.word.begin(), greenlet: block.id, marker: PhantomData }
    }

    pub fn waiter(&self) -> Waiter {
        let block = current_block();
        assert!(self.is_the_last_of(&block), "this wait is over");
        Waiter { block, number: self.number }
    }

    pub fn until(self, deadline: Option<Instant>) -> Outcome {
        let block = current_block();
        assert!(self.is_the_last_of(&block), "this wait is over");
        let outcome = wait(&block, self.number, deadline);
        std::mem::forget(self);
        outcome
    }

    pub fn notified(self, deadline: Option<Instant>) -> bool {
        match self.until(deadline) {
            Outcome::Notified => true,
            Outcome::TimedOut => false,
            Outcome::Interrupted(interrupted) => interrupted.raise(),
        }
    }

    fn is_the_last_of(&self, block: &Block) -> bool {
        block.id == self.greenlet && block.word.number() == self.number
    }
}

/// `Hub::wait`, line by line; a switch blocks the thread.
fn wait(block: &Block, number: u64, deadline: Option<Instant>) -> Outcome {
    let deaf = block.is_deaf();
    if !deaf && block.word.is_interrupted() {
        let notified = !block.word.cancel(number) && block.word.state(number) == State::Notified;
        return Outcome::Interrupted(Interrupted::new(notified));
    }
    if deadline.is_some() {
        block.arm(number);
    }
    if block.word.suspend(number, deaf) {
        block.sleep();
    }
    let state = block.word.state(number);
    if deadline.is_some() {
        block.disarm();
    }
    match state {
        State::Interrupted => Outcome::Interrupted(Interrupted::new(false)),
        _ if !deaf && block.word.is_interrupted() => Outcome::Interrupted(Interrupted::new(state == State::Notified)),
        State::TimedOut => Outcome::TimedOut,
        _ => Outcome::Notified,
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let block = current_block();
        if self.is_the_last_of(&block) {
            block.word.cancel(self.number);
        }
    }
}

/// A handle on one wait, with which anybody can end it.
#[derive(Clone)]
pub struct Waiter {
    block: Arc<Block>,
    number: u64,
}

impl Waiter {
    pub(crate) fn new(block: Arc<Block>, number: u64) -> Waiter {
        Waiter { block, number }
    }

    pub fn notify(&self) -> bool {
        self.end(State::Notified)
    }

    pub fn claim(self) -> Option<Claim> {
        match self.block.word.end(self.number, State::Notified) {
            Ended::Stale => None,
            Ended::Early => Some(Claim { asleep: None }),
            Ended::Asleep => Some(Claim { asleep: Some(self.block) }),
        }
    }

    pub fn is_waiting(&self) -> bool {
        self.block.word.is_open(self.number)
    }

    pub(crate) fn end(&self, state: State) -> bool {
        match self.block.word.end(self.number, state) {
            Ended::Stale => false,
            Ended::Early => true,
            Ended::Asleep => {
                self.block.wake();
                true
            }
        }
    }
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Waiter) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.block, &other.block)
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A wait that was ended by [`Waiter::claim`]. Dropping this makes its greenlet ready.
#[must_use = "the greenlet becomes ready when this is dropped"]
pub struct Claim {
    asleep: Option<Arc<Block>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(block) = self.asleep.take() {
            block.wake();
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}
