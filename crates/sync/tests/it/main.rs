//! The behaviour of the primitives.

mod actor;
mod as_completed;
mod async_result;
mod barrier;
mod event;
mod generator;
mod group;
mod once;
mod pool;
mod semaphore;
