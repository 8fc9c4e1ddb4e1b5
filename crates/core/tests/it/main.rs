//! The behaviour of coroutines, their pool, their guards and the overflow report.

mod child;
mod coroutine;
mod limits;
mod memory;
mod overflow;
mod panic_count;
mod pool;
mod support;
