//! The slabs' own file, over loom's lock and atomics. See `tests/slab.rs`.

pub(crate) use loom::sync::{Mutex, MutexGuard};

pub(crate) const GRAIN: usize = 64;
pub(crate) const CLASSES: usize = 16;

#[path = "../../../crates/hub/src/memory/slab.rs"]
mod slab;

#[cfg(test)]
#[path = "tests/slab.rs"]
mod tests;
