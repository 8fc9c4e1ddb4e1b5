//! Memory for control blocks: what a hub has freed is kept by size, for its next spawns; behind that are slabs.
//!
//! A spawn allocates once, and a server spawns at the rate at which its connections come. Freed blocks go to a list of their
//! hub's thread, linked through their own memory, and the next spawn takes the last one, which is still in the cache. Where that
//! list is empty, or full, the slabs come in:
//!
//! ```text
//!   Class of a hub                           Slab: 64 KiB, aligned to that
//!   kept ────► block ─► block ─► …           ┌────────┬───────┬───────┬───┬───────────────┐
//!   fresh ──────────────────────────┐        │ header │ block │ block │ … │ never used    │
//!   leaving ─► blocks of one slab   │        └────────┴───────┴───────┴───┴───────────────┘
//!               └─► their header    └───────────────────────────────────────► the next of these
//! ```
//!
//! * `kept` is what the hub has freed, up to a bound.
//! * `fresh` is the part of a slab that nobody has used yet; blocks come off it in order of address.
//! * What finds `kept` full goes back to its slab. Neighbours mostly die together, so blocks of one slab are collected (`leaving`) and go back
//!   in one step. On a thread without a hub each goes back by itself.
//! * A slab belongs to nobody. Hubs that need blocks take those that are back in some slab; a slab in which all are back is used for
//!   another size, or freed. `slab.rs` has that part.
//!
//! So it does not matter where a block is freed, and a hub that ends only puts back what it has; what lives on elsewhere keeps its slab.
//! Threads without a hub take blocks from a memory that they share under a lock. Blocks of more than fifteen cache lines are the
//! allocator's business; the type decides that, so it is known both ways.
//!
//! # Candidates
//!
//! CPU time in ns for a spawn and its join, and what stays resident; glibc, 2 cores. Medians of runs side by side; only ratios travel.
//!
//! | | 1,000 | 20,000 | 20,000, joined at random | 1 M | 1 M at random | 1 M within a pool | 1 M into a pool | MiB that stay after 1 M: alone, in a pool |
//! |---|---|---|---|---|---|---|---|---|
//! | 16,384 kept, the others `malloc`'s, aligned to 64 | 50 | 91 | 123 | 317 | 534 | 342 | 602 | 22, 316 |
//! | the same, aligned to 16 | 51 | 62 | 90 | 135 | 333 | 201 | 441 | 215, – |
//! | the same, aligned to 64, all kept for ever | 50 | 59 | 86 | 158 | 730 | – | – | 322, – |
//! | slabs of 64 KiB, as it is | 49 | 56 | 79 | 167 | 284 | 155 | 257 | 23, 199 |
//! | slabs that wait at the hub until another is collected | 49 | 56 | 79 | 123 | 300 | – | – | 202, 199 |
//!
//! glibc's `malloc` cuts an aligned chunk out of a larger one, and merges what it has cut. Aligned to 16 it is good, but then the line of a block that a
//! wake-up touches is two, and the memory of a burst stays. What slabs lose at 1 M to what keeps everything is that they give it
//! back, if nothing lies behind it: half of their time is the system's, for fresh pages.
//!
//! Slabs of 16 or 256 KiB were no better. Slabs that belong to hubs (with a list of each, and a second one for blocks that other threads have freed, as mimalloc has it) were not
//! built: what is freed elsewhere comes back only when the owner looks, who may sleep, and his end needs a protocol.

mod slab;
#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard};

use self::slab::{Chain, Depot, Free, Lists};
use crate::hub::Hub;

/// Sizes are rounded up to this, a cache line.
const GRAIN: usize = 64;
/// Larger blocks (closures of more than about 800 bytes) are the allocator's business.
const CLASSES: usize = 16;
/// So many bytes of each size are kept by a hub.
const KEPT: usize = 1 << 20;

/// The class of a layout, which is its size in cache lines.
const fn class(layout: Layout) -> Option<usize> {
    let class = layout.size().div_ceil(GRAIN);
    if class < CLASSES && layout.align() <= GRAIN { Some(class) } else { None }
}

/// Freed blocks of one hub, and what it takes new ones from.
pub(crate) struct BlockMemory {
    classes: [Class; CLASSES],
    depot: &'static Depot,
}

/// What a hub has of one size.
struct Class {
    kept: Cell<Kept>,
    fresh: Cell<Fresh>,
    leaving: Cell<Option<Chain>>,
}

/// Freed blocks, the last one first.
#[derive(Clone, Copy)]
struct Kept {
    first: *mut Free,
    count: u32,
}

/// So many blocks that nobody has used, side by side in a slab.
#[derive(Clone, Copy)]
struct Fresh {
    next: *mut Free,
    left: u16,
}

// SAFETY: nobody else has what it holds, and what it shares with others, slabs and the depot, is made for that.
unsafe impl Send for BlockMemory {}

impl BlockMemory {
    pub(crate) const fn new() -> BlockMemory {
        BlockMemory::of(&DEPOT)
    }

    const fn of(depot: &'static Depot) -> BlockMemory {
        BlockMemory { classes: [const { Class::new() }; CLASSES], depot }
    }

    /// Room for a `T`, uninitialised; to be given back by [`release`].
    #[inline]
    pub(crate) fn take<T>(&self) -> NonNull<T> {
        if let Some(class) = const { class(Layout::new::<T>()) } {
            return self.take_block(class).cast();
        }
        let layout = Layout::new::<T>();
        // SAFETY: what is too large for the classes has a size.
        let memory = unsafe { alloc(layout) };
        NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout))
    }

    #[inline]
    fn take_block(&self, class: usize) -> NonNull<Free> {
        let kept = self.classes[class].kept.get();
        let Some(first) = NonNull::new(kept.first) else {
            return self.take_fresh(class);
        };
        // SAFETY: what stands in the list is freed memory of this class, written by `give`.
        let next = unsafe { first.as_ref() }.next;
        self.classes[class].kept.set(Kept { first: next, count: kept.count - 1 });
        first
    }

    #[inline(never)]
    fn take_fresh(&self, class: usize) -> NonNull<Free> {
        let Fresh { next, left } = self.classes[class].fresh.get();
        match NonNull::new(next) {
            Some(block) if left > 0 => {
                let next = next.wrapping_byte_add(class * GRAIN);
                self.classes[class].fresh.set(Fresh { next, left: left - 1 });
                block
            }
            _ => {
                self.refill(class);
                self.take_block(class)
            }
        }
    }

    /// Takes blocks out of a slab, when there are none.
    #[cold]
    fn refill(&self, class: usize) {
        let blocks = self.depot.take(class);
        self.classes[class].kept.set(Kept { first: blocks.first, count: blocks.linked.into() });
        self.classes[class].fresh.set(Fresh { next: blocks.next, left: blocks.fresh });
    }

    /// Takes a freed block back, on the hub's thread.
    ///
    /// # Safety
    ///
    /// The block came out of a `take_block` of that class and is the caller's.
    #[inline]
    unsafe fn give(&self, block: NonNull<Free>, class: usize) {
        let kept = self.classes[class].kept.get();
        if kept.count as usize >= KEPT / (class * GRAIN) {
            // SAFETY: by the contract of this function.
            return unsafe { self.let_go(block, class) };
        }
        // SAFETY: the memory is the caller's, aligned to 64 bytes and as large at the least.
        unsafe { block.write(Free { next: kept.first }) };
        self.classes[class].kept.set(Kept { first: block.as_ptr(), count: kept.count + 1 });
    }

    /// Has a block go back to its slab, together with others.
    ///
    /// # Safety
    ///
    /// As for [`give`](BlockMemory::give).
    #[inline(never)]
    unsafe fn let_go(&self, block: NonNull<Free>, class: usize) {
        let leaving = &self.classes[class].leaving;
        // SAFETY: by the contract of this function.
        let block = unsafe { Chain::new(block) };
        let Some(chain) = leaving.take() else {
            return leaving.set(Some(block));
        };
        let (chain, done) = chain.join(block);
        if let Some(done) = done {
            self.depot.put(done);
        }
        let Fresh { next, left } = self.classes[class].fresh.get();
        // The whole newest slab does not stay here until there is another one to collect: as long as it stands at the end of
        // the heap, an allocator like glibc's gives nothing of that back to the system.
        let whole = match chain.missing() {
            0 => true,
            missing if missing == left && chain.is_beside(next) => {
                self.give_up_fresh(class);
                true
            }
            _ => false,
        };
        if whole {
            self.depot.put(chain);
        } else {
            leaving.set(Some(chain));
        }
    }

    /// Puts what was never used back.
    fn give_up_fresh(&self, class: usize) {
        let Fresh { next, left } = self.classes[class].fresh.replace(Fresh::NONE);
        if let Some(next) = NonNull::new(next)
            && left > 0
        {
            // SAFETY: so many are left from there to the end of the slab, and they are this memory's own.
            unsafe { self.depot.put_fresh(next, left) };
        }
    }
}

impl Drop for BlockMemory {
    fn drop(&mut self) {
        for (index, class) in self.classes.iter().enumerate() {
            let mut next = class.kept.get().first;
            while let Some(block) = NonNull::new(next) {
                // SAFETY: as in `take_block`.
                next = unsafe { block.as_ref() }.next;
                // SAFETY: it came out of the list, which ends with this.
                unsafe { self.let_go(block, index) };
            }
            if let Some(chain) = class.leaving.take() {
                self.depot.put(chain);
            }
            self.give_up_fresh(index);
        }
    }
}

impl Fresh {
    const NONE: Fresh = Fresh { next: ptr::null_mut(), left: 0 };
}

impl Class {
    const fn new() -> Class {
        Class {
            kept: Cell::new(Kept { first: ptr::null_mut(), count: 0 }),
            fresh: Cell::new(Fresh::NONE),
            leaving: Cell::new(None),
        }
    }
}

/// The one of the process.
static DEPOT: Depot = Depot::new(Mutex::new(Lists::new()));

/// What threads without a hub take their blocks from.
static SHARED: Mutex<BlockMemory> = Mutex::new(BlockMemory::new());

/// Calls `f` with the memory of threads that have no hub. It must not call this.
pub(crate) fn with_shared<R>(f: impl FnOnce(&BlockMemory) -> R) -> R {
    f(&crate::patching::lock(&SHARED))
}

/// What hubs and threads share of this, locked, for a fork.
pub(crate) struct Held {
    _shared: MutexGuard<'static, BlockMemory>,
    _depot: MutexGuard<'static, Lists>,
}

/// Keeps everybody away from what is shared as long as what it returns lives. Threads without a hub take from the depot while they have
/// the other locked, so that comes first.
pub(crate) fn hold() -> Held {
    let shared = crate::patching::lock(&SHARED);
    Held { _shared: shared, _depot: DEPOT.lock() }
}

/// Gives memory back that came out of [`BlockMemory::take`], on whichever thread.
///
/// # Safety
///
/// `memory` came out of a `take::<T>`, holds nothing any more, and is the caller's.
#[inline]
pub(crate) unsafe fn release<T>(memory: NonNull<T>) {
    if let Some(class) = const { class(Layout::new::<T>()) } {
        match Hub::try_here() {
            // SAFETY: by the contract of this function.
            Some(hub) => unsafe { hub.memory.give(memory.cast(), class) },
            // SAFETY: as above.
            None => unsafe { release_without_hub(memory.cast()) },
        }
        return;
    }
    // SAFETY: it was allocated with this layout.
    unsafe { dealloc(memory.as_ptr().cast(), Layout::new::<T>()) };
}

/// # Safety
///
/// As for [`release`], of a block of a class.
#[cold]
unsafe fn release_without_hub(block: NonNull<Free>) {
    // SAFETY: by the contract of this function.
    DEPOT.put(unsafe { Chain::new(block) });
}
