//! Slabs of address space, and the slots that stacks live in.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

use corosensei::stack::valgrind::ValgrindStackRegistration;
use corosensei::stack::{Stack, StackPointer};

use crate::coroutine::Header;
use crate::guard::{self, GuardKind};
use crate::layout::{HEADER_SIZE, SlotLayout};
use crate::sys;

/// One mapping, handed out slot by slot in address order, each slot once.
///
/// Every slot refers to its slab, which is unmapped when the last reference goes. A leaked slot therefore
/// keeps its slab mapped for ever.
pub(crate) struct Slab {
    start: NonNull<u8>,
    layout: SlotLayout,
    slots: usize,
    carved: Cell<usize>,
    // Of the slots that were carved, in order. Deregisters them when the slab is unmapped.
    registrations: RefCell<Vec<ValgrindStackRegistration>>,
}

impl Slab {
    /// Maps a slab, a smaller one if the address space is short (`RLIMIT_AS`).
    ///
    /// # Errors
    ///
    /// Those of `mmap`, when there is no room for a single slot.
    pub(crate) fn map(layout: SlotLayout) -> io::Result<Rc<Self>> {
        let mut slots = layout.slots_per_slab();
        let start = loop {
            match sys::reserve(slots * layout.stride()) {
                Ok(start) => break start,
                Err(_) if slots > 1 => slots /= 2,
                Err(err) => return Err(err),
            }
        };
        Ok(Rc::new(Self { start, layout, slots, carved: Cell::new(0), registrations: RefCell::new(Vec::new()) }))
    }

    /// Says whether all slots have been handed out.
    pub(crate) fn is_used_up(&self) -> bool {
        self.carved.get() == self.slots
    }

    pub(crate) fn size(&self) -> usize {
        self.slots * self.layout.stride()
    }

    /// Hands out the next slot, guarded, with its stack top `colour` bytes below its end.
    ///
    /// # Errors
    ///
    /// When the guard cannot be installed; the slot is the next one again.
    ///
    /// # Panics
    ///
    /// When the slab is used up.
    pub(crate) fn carve(self: &Rc<Self>, colour: usize, kind: GuardKind) -> io::Result<Slot> {
        assert!(!self.is_used_up());
        let stride = self.layout.stride();
        // SAFETY: fewer slots than the mapping has were carved before, so the offset lies within it.
        let start = unsafe { self.start.add(self.carved.get() * stride) };
        // SAFETY: page-aligned, at the start of a slot of this mapping that nobody uses yet.
        unsafe { guard::install(start, self.layout.guard_size(), kind)? };
        self.carved.set(self.carved.get() + 1);
        // SAFETY: the guard is smaller than the slot.
        let stack = unsafe { start.add(self.layout.guard_size()) };
        let registration = ValgrindStackRegistration::new(stack.as_ptr(), self.layout.stack_size());
        self.registrations.borrow_mut().push(registration);
        // SAFETY: colour and header take less than a page, the slot has several.
        let header = unsafe { start.add(stride - colour - HEADER_SIZE) };
        Ok(Slot { header: header.cast(), slab: Rc::clone(self) })
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        self.registrations.get_mut().clear();
        // SAFETY: the mapping is this slab's own, and no slot is left, neither lent nor leaked, or it
        // would hold a reference to the slab.
        unsafe { sys::release(self.start, self.size()) };
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("start", &self.start)
            .field("layout", &self.layout)
            .field("slots", &self.slots)
            .field("carved", &self.carved)
            .finish_non_exhaustive()
    }
}

/// A guarded stack that nobody runs on, or the one inside a coroutine.
#[derive(Debug)]
pub(crate) struct Slot {
    // Where the colour begins, minus the header: the stack's base.
    header: NonNull<Header>,
    slab: Rc<Slab>,
}

impl Slot {
    pub(crate) fn layout(&self) -> SlotLayout {
        self.slab.layout
    }

    /// The place for the header of the coroutine on this stack, [`HEADER_SIZE`] bytes.
    pub(crate) fn header(&self) -> NonNull<Header> {
        self.header
    }

    /// The lowest address, that of the guard.
    pub(crate) fn start(&self) -> usize {
        self.slab.start.addr().get() + self.offset()
    }

    /// Gives the memory of the stack back to the kernel. The guard stays.
    pub(crate) fn discard(&mut self) {
        let guard_size = self.slab.layout.guard_size();
        // SAFETY: the offset is that of a slot of this mapping, which is larger than its guard.
        let stack = unsafe { self.slab.start.add(self.offset() + guard_size) };
        // SAFETY: these pages are this slot's own, and with `&mut self` at hand no coroutine runs on them.
        unsafe { sys::discard(stack, self.slab.layout.stack_size()) };
    }

    /// The distance from the start of the slab.
    fn offset(&self) -> usize {
        let stride = self.slab.layout.stride();
        (self.header.addr().get() - self.slab.start.addr().get()) / stride * stride
    }
}

// SAFETY: `base` is a multiple of 16, less than a page below the end of a slot; between it and `limit` lie
// the guard and at least `MIN_STACK_SIZE` minus a page of memory, mapped for as long as the slot exists and
// used by nobody else.
unsafe impl Stack for Slot {
    #[inline]
    fn base(&self) -> StackPointer {
        self.header.addr()
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.slab.start.addr().saturating_add(self.offset())
    }
}
