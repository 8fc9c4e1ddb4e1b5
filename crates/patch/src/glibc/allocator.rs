//! Whether memory is allocated under the C library's locks.
//!
//! An allocator that locks by `pthread_mutex_lock`, as jemalloc does, keeps things in thread-locals while it waits: were that wait a switch, another greenlet of the
//! thread could come into the middle of it. So before the C library's locks are patched memory is taken and given back in all sizes, and the calls that come from this
//! thread meanwhile are counted. If there are any, those locks stay as they are.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::native::thread_pointer;

/// The thread whose calls are counted; 0: nobody's.
static COUNTED: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Notes a call that locks, while nothing is patched.
#[inline(always)]
pub(crate) fn note() {
    if COUNTED.load(Ordering::Relaxed) != 0 {
        count();
    }
}

#[cold]
fn count() {
    if COUNTED.load(Ordering::Relaxed) == thread_pointer() {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether Rust's allocator, or C's, locks by the C library's mutexes. To be asked before those are patched.
pub(crate) fn locks_by_pthread() -> bool {
    /// So many of a size that is small: more than an allocator keeps at hand.
    const MANY: usize = 300;
    const SMALL: usize = 4096;

    CALLS.store(0, Ordering::Relaxed);
    COUNTED.store(thread_pointer(), Ordering::Relaxed);
    let mut taken = [std::ptr::null_mut(); MANY];
    for bits in 3..=24 {
        let size = 1 << bits;
        let count = if size <= SMALL { MANY } else { 4 };
        let Ok(layout) = Layout::from_size_align(size, 8) else { continue };
        for place in &mut taken[..count] {
            // SAFETY: the size is not 0.
            *place = black_box(unsafe { alloc(layout) });
        }
        for place in taken[..count].iter().filter(|place| !place.is_null()) {
            // SAFETY: it was taken above, with the same layout.
            unsafe { dealloc(*place, layout) };
        }
        for place in &mut taken[..count] {
            // SAFETY: it has no preconditions.
            *place = black_box(unsafe { libc::malloc(size) }).cast();
        }
        for place in &taken[..count] {
            // SAFETY: it was taken above.
            unsafe { libc::free(place.cast()) };
        }
    }
    COUNTED.store(0, Ordering::Relaxed);
    CALLS.load(Ordering::Relaxed) != 0
}
