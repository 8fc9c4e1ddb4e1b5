//! The atomics that the lock-free parts use: std's, or loom's while loom checks them; and without the bus lock while the process
//! has one thread.
//!
//! A locked instruction costs some 8 ns, a plain one less than 1, and a hand-over between two greenlets takes a dozen of
//! them. The C library knows whether a second thread has ever been started (`__libc_single_threaded`); before that, a load and a store
//! are as atomic as it takes. libstdc++ counts its shared pointers in the same way.

#[cfg(not(greenlet_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(greenlet_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(not(greenlet_loom))]
pub(crate) use crate::sys::single_threaded;

#[cfg(greenlet_loom)]
pub(crate) fn single_threaded() -> bool {
    false
}

/// Adds, with release and acquire order; returns what was there.
#[inline(always)]
pub(crate) fn add(atomic: &AtomicU64, value: u64) -> u64 {
    if single_threaded() {
        let before = atomic.load(Ordering::Relaxed);
        atomic.store(before.wrapping_add(value), Ordering::Relaxed);
        return before;
    }
    atomic.fetch_add(value, Ordering::AcqRel)
}

/// Sets bits, with release and acquire order; returns what was there.
#[inline(always)]
pub(crate) fn set_bits(atomic: &AtomicU64, bits: u64) -> u64 {
    if single_threaded() {
        let before = atomic.load(Ordering::Relaxed);
        atomic.store(before | bits, Ordering::Relaxed);
        return before;
    }
    atomic.fetch_or(bits, Ordering::AcqRel)
}

/// Exchanges the value if it is the expected one, with release and acquire order; otherwise returns what it is.
#[inline(always)]
pub(crate) fn exchange_if(atomic: &AtomicU64, expected: u64, value: u64) -> Result<u64, u64> {
    if single_threaded() {
        let before = atomic.load(Ordering::Relaxed);
        if before != expected {
            return Err(before);
        }
        atomic.store(value, Ordering::Relaxed);
        return Ok(before);
    }
    atomic.compare_exchange(expected, value, Ordering::AcqRel, Ordering::Relaxed)
}

/// One reference more.
#[inline(always)]
pub(crate) fn count_up(references: &AtomicUsize) {
    let before = if single_threaded() {
        let before = references.load(Ordering::Relaxed);
        references.store(before.wrapping_add(1), Ordering::Relaxed);
        before
    } else {
        references.fetch_add(1, Ordering::Relaxed)
    };
    // Clones that are forgotten could wrap it, and what is counted be freed under the rest. 64 bits take centuries for that.
    if cfg!(not(target_pointer_width = "64")) && before > usize::MAX / 2 {
        std::process::abort();
    }
}

/// One reference less; true if it was the last one, and all that others did with theirs is seen.
#[inline(always)]
pub(crate) fn count_down(references: &AtomicUsize) -> bool {
    // A sole owner needs no read-modify-write: nobody else can make a second count.
    let left = references.load(Ordering::Acquire) - 1;
    if left == 0 {
        return true;
    }
    if single_threaded() {
        references.store(left, Ordering::Relaxed);
        return false;
    }
    if references.fetch_sub(1, Ordering::Release) != 1 {
        return false;
    }
    references.load(Ordering::Acquire);
    true
}
