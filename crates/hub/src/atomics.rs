//! The atomics that the lock-free parts use: std's, or loom's while loom checks them.

#[cfg(not(greenlet_loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

#[cfg(greenlet_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
