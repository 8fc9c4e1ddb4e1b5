//! The behaviour of the primitives.

mod barrier;
mod condition;
mod event;
mod lock;
mod once;
mod rlock;
mod rwlock;
mod semaphore;
