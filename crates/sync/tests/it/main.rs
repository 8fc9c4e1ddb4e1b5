//! The behaviour of the primitives.

mod async_result;
mod barrier;
mod event;
mod group;
mod once;
