//! The behaviour of the primitives.

mod barrier;
mod channel;
mod event;
mod once;
mod queue;
mod select;
mod semaphore;
