//! Coloured stacks for raw corosensei, cut from a slab.

use std::io;

use corosensei::stack::{Stack, StackPointer};

use super::memory::Slab;

/// The distance between the colours of neighbouring stacks: two cache lines.
const COLOUR: usize = 128;
/// Half a page of colours, so that a small frame still fits into the highest page.
const COLOURS: usize = 16;

/// One slot of a slab, as a stack.
pub(crate) struct SlotStack {
    limit: StackPointer,
    base: StackPointer,
}

// SAFETY: `stacks` hands out each slot of a slab that is never unmapped once, its lowest 16 KiB guarded; what remains below
// the colour's offset is far more than MIN_STACK_SIZE; slots and colours are multiples of 16 bytes.
unsafe impl Stack for SlotStack {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}

/// Makes `count` stacks in a slab of their own; each is guarded when the iterator comes to it.
///
/// # Errors
///
/// The address space cannot be had; inside the iterator, a guard cannot be set.
pub(crate) fn stacks(count: usize) -> io::Result<impl Iterator<Item = io::Result<SlotStack>>> {
    let slab = Slab::reserve(count)?;
    Ok((0..slab.slots()).map(move |slot| {
        slab.guard(slot)?;
        let (lowest, highest) = slab.bounds(slot);
        let base = highest - (slot % COLOURS) * COLOUR;
        Ok(SlotStack {
            limit: StackPointer::new(lowest).expect("a mapping does not begin at 0"),
            base: StackPointer::new(base).expect("a mapping does not begin at 0"),
        })
    }))
}
