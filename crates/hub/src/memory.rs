//! Memory for control blocks: slabs that are handed out block by block, and by size what a hub has freed, for its next spawns.
//!
//! A spawn allocates once, and a server spawns at the rate at which its connections come. Freed blocks go to a list of their hub's
//! thread, linked through their own memory, and the next spawn takes the last one, which is still in the cache. Where the list
//! is empty, or full, the slabs come in:
//!
//! ```text
//!   Class of a hub                          Slab: 64 KiB, aligned to that
//!   kept ────► block ─► block ─► …          ┌────────┬───────┬───────┬────┬───────────────┐
//!   fresh ───────────────────────────┐      │ header │ block │ block │ …  │ never used    │
//!   leaving ─► blocks of one slab ─┐ │      └────────┴───────┴───────┴────┴───────────────┘
//!                                  │ └────────────────────────────────────► next
//!                                  └────────► returned: how many are back, and the first of them
//! ```
//!
//! * `kept` is what the hub has freed, up to a bound.
//! * `fresh` is the part of a slab that nobody has used yet; it is bumped.
//! * What finds `kept` full goes back to its slab, which is found by masking its address. Neighbours mostly die together, so blocks of one slab
//!   are collected (`leaving`) and go back in one step. A thread without a hub does so with each block.
//! * A slab belongs to nobody. It has a count of the blocks that are back. When that reaches an eighth, the slab is put into the [`Depot`], where
//!   any hub that needs blocks takes all that are back; and when all are, the slab is used for another size, or freed.
//!
//! So a hub that ends has nothing to hand over: what it keeps goes back, and what lives on elsewhere keeps its slab. Threads without a hub take blocks
//! from a memory that they share under a lock. Blocks of more than fifteen cache lines are the allocator's business; that is decided by
//! the type, so it is known on either way.
//!
//! # What must hold
//!
//! 1. A block is in one place: out, in one hub's `kept` or `leaving`, or back in its slab. The never used part of a slab has one owner as well, a hub's
//!    `fresh` or the slab.
//! 2. The word `returned` counts what is back. Without the depot's lock only a holder of blocks changes it, and never so that it reaches the
//!    eighth or the whole; so under the lock a slab is in the depot's list if and only if it has passed the eighth. Taking what is back empties the
//!    word, under the lock.
//! 3. Who puts blocks back touches the slab no more once the word says so, unless it has the lock and has not brought the count to the
//!    whole: the blocks that it holds until then are what keeps the slab.
//! 4. Each change of the word is a read-modify-write that releases what was done with the blocks, and links them; who takes what is back, or finds that all are,
//!    acquires that from all of them, since nothing but such changes is between. The head in the word may be taken and come back
//!    meanwhile (ABA): then it is the head of the list again, with as many behind it as the word says, which is all that a push relies on.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::atomics::{AtomicU64, exchange_if};
use crate::hub::Hub;

/// Sizes are rounded up to this, a cache line.
const GRAIN: usize = 64;
/// Larger blocks (closures of more than about 800 bytes) are the allocator's business.
const CLASSES: usize = 16;
/// What a slab is aligned to.
const SLAB: usize = 64 << 10;
/// A slab leaves the allocator some bytes for what it notes beside each, so that the next slab fits right behind.
const SLAB_LAYOUT: Layout = match Layout::from_size_align(SLAB - GRAIN, SLAB) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};
/// So many bytes of each size are kept by a hub. More than are alive in most programs, and a bound for the rest.
const KEPT: usize = 4 << 20;
/// So many slabs of which no block is out are kept by the process: 4 MiB.
const KEPT_SLABS: usize = 64;

/// What stands in a freed block.
struct Free {
    next: *mut Free,
}

/// The class of a layout, which is its size in cache lines.
const fn class(layout: Layout) -> Option<usize> {
    let class = layout.size().div_ceil(GRAIN);
    if class < CLASSES && layout.align() <= GRAIN { Some(class) } else { None }
}

// ---- a hub's part ----

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
    left: u32,
}

/// Freed blocks of one slab, linked.
#[derive(Clone, Copy)]
struct Chain {
    slab: NonNull<Slab>,
    first: NonNull<Free>,
    last: NonNull<Free>,
    count: u16,
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
        // SAFETY: what stands in the list is freed memory of this class, written by `keep`.
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

    /// Takes what is back in some slab, or a new slab. Called when there is nothing.
    #[cold]
    fn refill(&self, class: usize) {
        let (slab, back) = self.depot.take(class).unwrap_or_else(|| Slab::allocate(class));
        let own = &self.classes[class];
        own.kept.set(Kept { first: back.first(slab), count: back.linked.into() });
        own.fresh.set(Fresh { next: back.fresh(slab, class), left: back.fresh.into() });
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
        let mut chain = unsafe { Chain::new(block) };
        match leaving.take() {
            Some(before) if before.slab == chain.slab => {
                // SAFETY: the block is the caller's.
                unsafe { block.write(Free { next: before.first.as_ptr() }) };
                chain = Chain { first: block, count: before.count + 1, ..before };
            }
            Some(before) => self.depot.put_chain(before),
            None => {}
        }
        leaving.set(Some(chain));
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
                self.depot.put_chain(chain);
            }
            let Fresh { next, left } = class.fresh.get();
            if let Some(next) = NonNull::new(next)
                && left > 0
            {
                // SAFETY: blocks are left, so this points to one; and they are this memory's.
                unsafe { self.depot.put(Slab::of(next), None, Back { first: 0, linked: 0, fresh: left as u16 }) };
            }
        }
    }
}

impl Class {
    const fn new() -> Class {
        Class {
            kept: Cell::new(Kept { first: ptr::null_mut(), count: 0 }),
            fresh: Cell::new(Fresh { next: ptr::null_mut(), left: 0 }),
            leaving: Cell::new(None),
        }
    }
}

impl Chain {
    /// A chain of one.
    ///
    /// # Safety
    ///
    /// The block came out of a `take_block` and is the caller's.
    unsafe fn new(block: NonNull<Free>) -> Chain {
        // SAFETY: the memory is the caller's, aligned to 64 bytes and as large at the least.
        unsafe { block.write(Free { next: ptr::null_mut() }) };
        Chain { slab: Slab::of(block), first: block, last: block, count: 1 }
    }
}

/// What threads without a hub take their blocks from.
static SHARED: Mutex<BlockMemory> = Mutex::new(BlockMemory::new());

/// Calls `f` with the memory of threads that have no hub. It must not call this.
pub(crate) fn with_shared<R>(f: impl FnOnce(&BlockMemory) -> R) -> R {
    f(&SHARED.lock().unwrap_or_else(PoisonError::into_inner))
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
    DEPOT.put_chain(unsafe { Chain::new(block) });
}

// ---- slabs ----

/// The header of a slab. Blocks of one class follow it.
#[repr(C, align(64))]
struct Slab {
    /// A [`Back`].
    returned: AtomicU64,
    class: u16,
    /// How many blocks it has.
    capacity: u16,
    /// Where it stands in the depot's list; under the depot's lock.
    place: Cell<u32>,
}

const NOWHERE: u32 = u32::MAX;

/// What is back in a slab.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Back {
    /// The first of those that are linked, by its distance from the slab's start in cache lines.
    first: u16,
    linked: u16,
    /// So many at the slab's end were never used, and are not linked.
    fresh: u16,
}

impl Back {
    fn pack(self) -> u64 {
        u64::from(self.first) | u64::from(self.linked) << 16 | u64::from(self.fresh) << 32
    }

    fn unpack(word: u64) -> Back {
        Back { first: word as u16, linked: (word >> 16) as u16, fresh: (word >> 32) as u16 }
    }

    fn count(self) -> u16 {
        self.linked + self.fresh
    }

    /// The linked blocks.
    fn first(self, slab: NonNull<Slab>) -> *mut Free {
        match self.linked {
            0 => ptr::null_mut(),
            _ => slab.as_ptr().wrapping_byte_add(usize::from(self.first) * GRAIN).cast(),
        }
    }

    /// The blocks that were never used.
    fn fresh(self, slab: NonNull<Slab>, class: usize) -> *mut Free {
        let used = Slab::capacity(class) - self.fresh;
        slab.as_ptr().wrapping_byte_add(size_of::<Slab>() + usize::from(used) * class * GRAIN).cast()
    }
}

impl Slab {
    const fn capacity(class: usize) -> u16 {
        ((SLAB_LAYOUT.size() - size_of::<Slab>()) / (class * GRAIN)) as u16
    }

    /// The slab that a block is in.
    fn of(block: NonNull<Free>) -> NonNull<Slab> {
        let slab = block.as_ptr().map_addr(|address| address & !(SLAB - 1));
        NonNull::new(slab.cast()).expect("nothing is allocated at null")
    }

    /// A slab that the caller has with all its blocks.
    fn allocate(class: usize) -> (NonNull<Slab>, Back) {
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc(SLAB_LAYOUT) };
        let slab = NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(SLAB_LAYOUT));
        // SAFETY: it has just been allocated.
        (slab, unsafe { Slab::begin(slab, class) })
    }

    /// Makes memory a slab of that class, with all its blocks out: the caller's.
    ///
    /// # Safety
    ///
    /// The memory is a slab's, and the caller's.
    unsafe fn begin(slab: NonNull<Slab>, class: usize) -> Back {
        let capacity = Slab::capacity(class);
        let header = Slab { returned: AtomicU64::new(0), class: class as u16, capacity, place: Cell::new(NOWHERE) };
        // SAFETY: by the contract of this function.
        unsafe { slab.write(header) };
        Back { first: 0, linked: 0, fresh: capacity }
    }
}

// ---- the depot ----

/// Slabs of which blocks are back, for whoever needs some.
struct Depot {
    lists: Mutex<Lists>,
}

struct Lists {
    /// Those of which an eighth is back, by class.
    partial: [Vec<NonNull<Slab>>; CLASSES],
    /// Those of which everything is.
    empty: Vec<NonNull<Slab>>,
}

// SAFETY: what stands in the lists is used under the lock.
unsafe impl Send for Lists {}

static DEPOT: Depot = Depot::new();

impl Depot {
    const fn new() -> Depot {
        let partial = [const { Vec::new() }; CLASSES];
        Depot { lists: Mutex::new(Lists { partial, empty: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is back in one slab.
    fn take(&self, class: usize) -> Option<(NonNull<Slab>, Back)> {
        let mut lists = self.lock();
        if let Some(slab) = lists.partial[class].pop() {
            // SAFETY: what is in the list is not all back, or it would not be there; so it is alive.
            let header = unsafe { slab.as_ref() };
            header.place.set(NOWHERE);
            return Some((slab, Back::unpack(header.returned.swap(0, Ordering::AcqRel))));
        }
        let slab = lists.empty.pop()?;
        // SAFETY: nobody has any block of it, and it is in no list any more.
        Some((slab, unsafe { Slab::begin(slab, class) }))
    }

    fn put_chain(&self, chain: Chain) {
        let Chain { slab, first, last, count } = chain;
        let offset = (first.addr().get() - slab.addr().get()) / GRAIN;
        // SAFETY: these blocks are the chain's.
        unsafe { self.put(slab, Some(last), Back { first: offset as u16, linked: count, fresh: 0 }) };
    }

    /// Puts blocks back, of which the last is given if they are linked.
    ///
    /// # Safety
    ///
    /// They are blocks of that slab, and the caller's.
    unsafe fn put(&self, slab: NonNull<Slab>, last: Option<NonNull<Free>>, more: Back) {
        // SAFETY: the caller's blocks keep the slab.
        let header = unsafe { slab.as_ref() };
        let (whole, some) = (header.capacity, header.capacity / 8);
        let mut lists = None;
        let mut word = header.returned.load(Ordering::Relaxed);
        let count = loop {
            let before = Back::unpack(word);
            let mut after = Back { linked: before.linked + more.linked, fresh: before.fresh + more.fresh, ..before };
            let count = after.count();
            if lists.is_none() && (count == whole || before.count() < some && count >= some) {
                lists = Some(self.lock());
                word = header.returned.load(Ordering::Relaxed);
                continue;
            }
            if let Some(last) = last {
                after.first = more.first;
                // SAFETY: the block is the caller's until the word is exchanged.
                unsafe { last.write(Free { next: before.first(slab) }) };
            }
            match exchange_if(&header.returned, word, after.pack()) {
                Ok(_) => break count,
                Err(now) => word = now,
            }
        };
        let Some(mut lists) = lists else { return };
        if count == whole {
            lists.unlist(header);
            if lists.empty.len() < KEPT_SLABS {
                lists.empty.push(slab);
                return;
            }
            drop(lists);
            // SAFETY: it was allocated with this layout, nobody has any block of it, and it is in no list.
            unsafe { dealloc(slab.as_ptr().cast(), SLAB_LAYOUT) };
        } else if count >= some {
            lists.list(slab, header);
        }
    }
}

impl Lists {
    /// Puts a slab into the list of its class, unless it is there.
    fn list(&mut self, slab: NonNull<Slab>, header: &Slab) {
        if header.place.get() == NOWHERE {
            let list = &mut self.partial[usize::from(header.class)];
            header.place.set(list.len() as u32);
            list.push(slab);
        }
    }

    /// Takes a slab out of the list of its class, if it is there.
    fn unlist(&mut self, header: &Slab) {
        let place = header.place.replace(NOWHERE);
        if place != NOWHERE {
            let list = &mut self.partial[usize::from(header.class)];
            list.swap_remove(place as usize);
            if let Some(moved) = list.get(place as usize) {
                // SAFETY: what is in the list is alive.
                unsafe { moved.as_ref() }.place.set(place);
            }
        }
    }
}
