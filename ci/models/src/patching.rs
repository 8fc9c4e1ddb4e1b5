//! What the hub has for the patching crate: here nothing that runs is the hub's own.

use std::sync::PoisonError;

use loom::sync::{Mutex, MutexGuard};

pub struct Inside;

impl Inside {
    pub fn enter() -> Inside {
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {}
}

/// No hub ends with greenlets that wait.
pub fn on_end(_: fn(usize)) {}
pub fn waits() -> usize {
    0
}
pub fn set_waits(_: usize) {}

/// Locks one of the hub's own mutexes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
