//! The behaviour of the primitives.

mod barrier;
mod event;
mod once;
mod semaphore;
