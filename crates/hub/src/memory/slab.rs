//! Slabs, which are handed out block by block, and the depot of those of which blocks are back.
//!
//! A slab is found by masking the address of any of its blocks. Its header has a word that counts how many are back, and where the first
//! of them is. When an eighth is back, the slab comes into the [`Depot`], where whoever needs blocks takes all that are back in it. When all are, the slab
//! is empty: it waits for its next use, of whichever class, or is freed. An eighth, so that a visit to the depot pays off.
//!
//! # What must hold
//!
//! 1. A block is in one place: out (a job, or kept by a hub), or back. So is the part that was never used: one hub's `fresh`, or back.
//! 2. Whoever puts blocks back changes the word without the depot's lock, unless that brings the count to the eighth or to the whole; and blocks are
//!    taken, which makes the count zero, under the lock only. So, under the lock, a slab is in the list of its class if and only if
//!    an eighth is back and not the whole.
//! 3. The blocks that somebody has keep their slab. Once the word says that they are back, he does not touch it any more, except under the lock, where
//!    nobody else can bring the count to the whole; or if he has done that himself: then nobody has any block of it.
//! 4. Every change of the word is a read-modify-write that releases what its thread did with the blocks and the header, and acquires what
//!    was released before: nothing else ever writes to it while any block is out. So who takes blocks, or makes the slab another's, comes after
//!    all uses of them.
//!
//! The first block that the word tells of may be taken and be back again between a look at the word and its exchange (ABA). Then it is again the first of all that
//! are back, and there are as many as the word says, or the exchange fails. A push relies on nothing else.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::{CLASSES, GRAIN, Mutex, MutexGuard};
use crate::atomics::{AtomicU64, Ordering, exchange_if};

/// What a slab is aligned to.
pub(super) const SLAB: usize = 64 << 10;
/// A slab leaves the allocator some bytes for what it notes beside each, so that the next one fits right behind.
pub(super) const SLAB_LAYOUT: Layout = match Layout::from_size_align(SLAB - GRAIN, SLAB) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};
/// So many empty slabs are kept by the process: 4 MiB.
pub(super) const KEPT_SLABS: usize = 64;

/// What stands in a freed block.
pub(super) struct Free {
    pub(super) next: *mut Free,
}

/// Freed blocks of one slab, linked: the chain's own.
pub(super) struct Chain {
    slab: NonNull<Slab>,
    first: NonNull<Free>,
    last: NonNull<Free>,
    count: u16,
}

/// Blocks of one class, for whoever needed some.
pub(super) struct Blocks {
    /// Those that are linked.
    pub(super) first: *mut Free,
    pub(super) linked: u16,
    /// Those that were never used, side by side.
    pub(super) next: *mut Free,
    pub(super) fresh: u16,
}

/// The header of a slab. Blocks of one class follow it.
#[repr(C, align(64))]
pub(super) struct Slab {
    /// A [`Back`].
    back: AtomicU64,
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

    /// Where the linked blocks begin.
    fn first(self, slab: NonNull<Slab>) -> *mut Free {
        match self.linked {
            0 => ptr::null_mut(),
            _ => slab.as_ptr().wrapping_byte_add(usize::from(self.first) * GRAIN).cast(),
        }
    }

    /// The blocks themselves.
    fn of(self, slab: NonNull<Slab>, class: usize) -> Blocks {
        let used = usize::from(Slab::capacity(class) - self.fresh);
        let next = slab.as_ptr().wrapping_byte_add(size_of::<Slab>() + used * class * GRAIN).cast();
        Blocks { first: self.first(slab), linked: self.linked, next, fresh: self.fresh }
    }
}

impl Slab {
    pub(super) const fn capacity(class: usize) -> u16 {
        ((SLAB_LAYOUT.size() - size_of::<Slab>()) / (class * GRAIN)) as u16
    }

    /// The slab that a block is in.
    pub(super) fn of(block: NonNull<Free>) -> NonNull<Slab> {
        let slab = block.as_ptr().map_addr(|address| address & !(SLAB - 1));
        NonNull::new(slab.cast()).expect("nothing is allocated at null")
    }

    fn allocate() -> NonNull<Slab> {
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc(SLAB_LAYOUT) };
        NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(SLAB_LAYOUT))
    }

    /// Makes memory a slab of that class, of which nothing is back: all its blocks are the caller's.
    ///
    /// # Safety
    ///
    /// The memory is a slab's, of which nobody has any block, nor will others than the caller.
    unsafe fn begin(slab: NonNull<Slab>, class: usize) -> Blocks {
        let capacity = Slab::capacity(class);
        let header = Slab { back: AtomicU64::new(0), class: class as u16, capacity, place: Cell::new(NOWHERE) };
        // SAFETY: by the contract of this function.
        unsafe { slab.write(header) };
        Back { first: 0, linked: 0, fresh: capacity }.of(slab, class)
    }
}

impl Chain {
    /// A chain of one.
    ///
    /// # Safety
    ///
    /// The block came out of a slab and is the caller's; now it is the chain's.
    pub(super) unsafe fn new(block: NonNull<Free>) -> Chain {
        // SAFETY: the memory is the caller's, aligned to 64 bytes and as large at the least.
        unsafe { block.write(Free { next: ptr::null_mut() }) };
        Chain { slab: Slab::of(block), first: block, last: block, count: 1 }
    }

    /// Puts one more in front. If it is of another slab, it begins a chain, and the old one is returned as the second.
    pub(super) fn join(self, front: Chain) -> (Chain, Option<Chain>) {
        if front.slab != self.slab {
            return (front, Some(self));
        }
        // SAFETY: a chain's blocks are its own.
        unsafe { front.last.write(Free { next: self.first.as_ptr() }) };
        (Chain { first: front.first, count: self.count + front.count, ..self }, None)
    }

    /// How many blocks of the slab are not in it.
    pub(super) fn missing(&self) -> u16 {
        // SAFETY: the chain's blocks keep their slab.
        unsafe { self.slab.as_ref() }.capacity - self.count
    }

    /// Whether it is of the same slab as that block.
    pub(super) fn is_beside(&self, block: *mut Free) -> bool {
        block.addr() & !(SLAB - 1) == self.slab.addr().get()
    }
}

/// Slabs of which blocks are back, for whoever needs some.
pub(super) struct Depot {
    lists: Mutex<Lists>,
}

pub(super) struct Lists {
    /// Those of which an eighth is back, by class.
    pub(super) partial: [Vec<NonNull<Slab>>; CLASSES],
    /// Those of which everything is.
    pub(super) empty: Vec<NonNull<Slab>>,
}

// SAFETY: what stands in the lists is used under the lock.
unsafe impl Send for Lists {}

impl Depot {
    pub(super) const fn new(lists: Mutex<Lists>) -> Depot {
        Depot { lists }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Lists> {
        crate::patching::lock(&self.lists)
    }

    /// Takes what is back in some slab, or else all of one that is empty or new.
    pub(super) fn take(&self, class: usize) -> Blocks {
        let mut lists = self.lock();
        if let Some(slab) = lists.partial[class].pop() {
            // SAFETY: a slab in the list is not empty, and under the lock it does not become so.
            let header = unsafe { slab.as_ref() };
            header.place.set(NOWHERE);
            return Back::unpack(header.back.swap(0, Ordering::AcqRel)).of(slab, class);
        }
        let empty = lists.empty.pop();
        drop(lists);
        let slab = empty.unwrap_or_else(Slab::allocate);
        // SAFETY: it is new, or was empty; and it is in no list.
        unsafe { Slab::begin(slab, class) }
    }

    /// Puts a chain's blocks back.
    pub(super) fn put(&self, chain: Chain) {
        let Chain { slab, first, last, count } = chain;
        let first = (first.addr().get() - slab.addr().get()) / GRAIN;
        // SAFETY: a chain's blocks are its own, and of that slab.
        unsafe { self.put_back(slab, Some(last), Back { first: first as u16, linked: count, fresh: 0 }) };
    }

    /// Puts blocks back that were not used.
    ///
    /// # Safety
    ///
    /// `next` is the first of so many at the end of their slab, and all are the caller's.
    pub(super) unsafe fn put_fresh(&self, next: NonNull<Free>, left: u16) {
        // SAFETY: by the contract of this function.
        unsafe { self.put_back(Slab::of(next), None, Back { first: 0, linked: 0, fresh: left }) };
    }

    /// Puts blocks back. Those that are linked begin and end with `more.first` and `last`.
    ///
    /// # Safety
    ///
    /// They are the caller's, and of that slab; one at the least.
    unsafe fn put_back(&self, slab: NonNull<Slab>, last: Option<NonNull<Free>>, more: Back) {
        // SAFETY: the caller's blocks keep the slab.
        let header = unsafe { slab.as_ref() };
        let (whole, some) = (header.capacity, header.capacity / 8);
        let mut lists = None;
        let mut word = header.back.load(Ordering::Relaxed);
        let count = loop {
            let before = Back::unpack(word);
            let mut after = Back { linked: before.linked + more.linked, fresh: before.fresh + more.fresh, ..before };
            let count = after.count();
            if lists.is_none() && (count == whole || before.count() < some && count >= some) {
                lists = Some(self.lock());
                word = header.back.load(Ordering::Relaxed);
                continue;
            }
            if let Some(last) = last {
                after.first = more.first;
                // SAFETY: it is the caller's until the word is exchanged.
                unsafe { last.write(Free { next: before.first(slab) }) };
            }
            match exchange_if(&header.back, word, after.pack()) {
                Ok(_) => break count,
                Err(now) => word = now,
            }
        };
        // The slab may be gone by now, unless this has the lock.
        let Some(mut lists) = lists else { return };
        if count == whole {
            // Nobody has any block of it: it is this thread's.
            lists.unlist(header);
            if lists.empty.len() < KEPT_SLABS {
                lists.empty.push(slab);
                return;
            }
            drop(lists);
            // SAFETY: it was allocated with this layout, and is in no list.
            unsafe { dealloc(slab.as_ptr().cast(), SLAB_LAYOUT) };
        } else if count >= some {
            lists.list(slab, header);
        }
    }
}

impl Lists {
    pub(super) const fn new() -> Lists {
        Lists { partial: [const { Vec::new() }; CLASSES], empty: Vec::new() }
    }

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
