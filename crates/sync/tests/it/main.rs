//! The behaviour of the primitives.

mod actor;
mod as_completed;
mod async_result;
mod auto_traits;
mod barrier;
mod channel;
mod condition;
mod event;
mod futures;
mod generator;
mod group;
mod home;
mod lock;
mod once;
mod pool;
mod pools;
mod programs;
mod queue;
mod rlock;
mod rwlock;
mod select;
mod semaphore;
mod stress;
