//! Memory for control blocks: a hub keeps what it has freed, by size, for its next spawns.
//!
//! A spawn allocates once, and a server spawns at the rate at which its connections come. glibc's malloc has a fast path for
//! seven chunks of a size; beyond, an allocation and its release cost about 280 instructions, a third of the whole spawn. So
//! freed blocks go to a list of their hub's thread, linked through their own memory, and the next spawn takes the last one,
//! which is still in the cache. What is freed on a thread without a hub goes back to the allocator.
//!
//! ```text
//!  lists[class] ─► ┌───────────┐   ┌───────────┐
//!                  │ next ─────┼─► │ next: null│     size: class × 64 bytes
//!                  └───────────┘   └───────────┘
//! ```

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::hub::Hub;

/// Sizes are rounded up to this, a cache line.
const GRAIN: usize = 64;
/// Larger blocks (closures of more than about 800 bytes) are the allocator's business.
const CLASSES: usize = 16;
/// So many blocks of a size are kept: 5 MiB at the usual size. More than are alive in most programs, and a bound for the rest.
const KEPT: u32 = 1 << 14;

/// Freed blocks of one hub.
#[derive(Default)]
pub(crate) struct BlockMemory {
    lists: [Cell<FreeList>; CLASSES],
}

#[derive(Clone, Copy)]
struct FreeList {
    first: *mut Free,
    count: u32,
}

impl Default for FreeList {
    fn default() -> FreeList {
        FreeList { first: ptr::null_mut(), count: 0 }
    }
}

/// What stands in a freed block.
struct Free {
    next: *mut Free,
}

/// The class of a layout, and the layout of everything in that class.
const fn class(layout: Layout) -> Option<(usize, Layout)> {
    let class = layout.size().div_ceil(GRAIN);
    if class >= CLASSES || layout.align() > GRAIN {
        return None;
    }
    match Layout::from_size_align(class * GRAIN, GRAIN) {
        Ok(whole) => Some((class, whole)),
        Err(_) => None,
    }
}

impl BlockMemory {
    /// Room for a `T`, uninitialised; to be given back by [`release`].
    #[inline]
    pub(crate) fn take<T>(&self) -> NonNull<T> {
        let layout = const { whole_layout::<T>() };
        if let Some((class, _)) = const { class(Layout::new::<T>()) } {
            let list = self.lists[class].get();
            if let Some(first) = NonNull::new(list.first) {
                // SAFETY: what stands in the list is freed memory of this class, written by `keep`.
                let next = unsafe { first.as_ref() }.next;
                self.lists[class].set(FreeList { first: next, count: list.count - 1 });
                return first.cast();
            }
        }
        // SAFETY: a block has fields, so the size is not zero.
        let memory = unsafe { alloc(layout) };
        NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// Keeps freed memory for the next `take`; false if there is enough.
    ///
    /// # Safety
    ///
    /// `memory` came out of a `take` of that class and is the caller's.
    #[inline]
    unsafe fn keep(&self, memory: NonNull<Free>, class: usize) -> bool {
        let list = self.lists[class].get();
        if list.count >= KEPT {
            return false;
        }
        // SAFETY: the memory is the caller's, aligned to 64 bytes and as large at the least.
        unsafe { memory.write(Free { next: list.first }) };
        self.lists[class].set(FreeList { first: memory.as_ptr(), count: list.count + 1 });
        true
    }
}

impl Drop for BlockMemory {
    fn drop(&mut self) {
        for (class, list) in self.lists.iter().enumerate() {
            let mut next = list.get().first;
            while let Some(memory) = NonNull::new(next) {
                // SAFETY: as in `take`.
                next = unsafe { memory.as_ref() }.next;
                let layout = Layout::from_size_align(class * GRAIN, GRAIN).expect("the layout it was made with");
                // SAFETY: all memory of a class was allocated with that layout.
                unsafe { dealloc(memory.as_ptr().cast(), layout) };
            }
        }
    }
}

const fn whole_layout<T>() -> Layout {
    match class(Layout::new::<T>()) {
        Some((_, whole)) => whole,
        None => Layout::new::<T>(),
    }
}

/// Gives memory back that came out of [`BlockMemory::take`], on whichever thread.
///
/// # Safety
///
/// `memory` came out of a `take::<T>`, holds nothing any more, and is the caller's.
#[inline]
pub(crate) unsafe fn release<T>(memory: NonNull<T>) {
    if let Some((class, _)) = const { class(Layout::new::<T>()) } {
        // SAFETY: by the contract of this function.
        let kept = Hub::try_with(|hub| unsafe { hub.memory.keep(memory.cast(), class) });
        if kept == Some(true) {
            return;
        }
    }
    // SAFETY: it was allocated with this layout.
    unsafe { dealloc(memory.as_ptr().cast(), const { whole_layout::<T>() }) };
}
