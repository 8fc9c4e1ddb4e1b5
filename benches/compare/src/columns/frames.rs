//! Frames to be unwound through.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are in the case `kill`.
pub(super) const FRAMES: usize = 10;

/// Something with a destructor, which counts.
pub(super) struct Counted;

/// Written by one thread only.
static DROPPED: AtomicUsize = AtomicUsize::new(0);

impl Drop for Counted {
    #[inline(never)]
    fn drop(&mut self) {
        DROPPED.store(dropped() + 1, Ordering::Relaxed);
    }
}

/// Returns how many have been dropped.
pub(super) fn dropped() -> usize {
    DROPPED.load(Ordering::Relaxed)
}

/// Calls `bottom` below so many frames of this function, each with something to be dropped.
#[inline(never)]
pub(super) fn below(frames: usize, bottom: &mut dyn FnMut()) {
    let counted = Counted;
    match frames {
        1 => bottom(),
        _ => below(frames - 1, bottom),
    }
    // After the call, so that no frame is left before the one below it.
    black_box(&counted);
}
