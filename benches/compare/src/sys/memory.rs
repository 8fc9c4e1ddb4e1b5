//! Address space for stacks: one reservation, odd stride, guards, and memory touched before it is measured.

use std::io;
use std::ptr::NonNull;

const PAGE: usize = 4_096;
/// Guard and stack of a slot together: 65 pages, an odd number, so that equal depths of different stacks spread over the cache sets.
const STRIDE: usize = 260 * 1_024;
const GUARD: usize = 16 * 1_024;
/// `MADV_GUARD_INSTALL` of Linux 6.13, which libc does not name yet.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// Room for stacks, reserved in one piece and never given back.
pub(crate) struct Slab {
    base: NonNull<u8>,
    slots: usize,
}

impl Slab {
    /// Reserves address space for `slots` stacks; no memory is used until it is touched.
    ///
    /// # Errors
    ///
    /// What `mmap` and `madvise` report.
    pub(crate) fn reserve(slots: usize) -> io::Result<Self> {
        let len = slots * STRIDE;
        let base = map(len, libc::MAP_NORESERVE)?;
        // SAFETY: the range has just been mapped; the advice changes no contents.
        let res = unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_NOHUGEPAGE) };
        if res != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base, slots })
    }

    /// Returns how many stacks there is room for.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Makes the lowest pages of a slot inaccessible.
    ///
    /// # Errors
    ///
    /// The kernel offers neither guard regions nor another mapping.
    pub(crate) fn guard(&self, slot: usize) -> io::Result<()> {
        let start = self.start(slot).as_ptr().cast();
        // SAFETY: the range lies inside the slot, below what its stack may use.
        if unsafe { libc::madvise(start, GUARD, MADV_GUARD_INSTALL) } == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        if unsafe { libc::mprotect(start, GUARD, libc::PROT_NONE) } == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    /// Writes to the highest page of a slot, as the first frame of a stack does.
    pub(crate) fn touch(&self, slot: usize) {
        // SAFETY: the offset stays inside the slot.
        let top = unsafe { self.start(slot).as_ptr().add(STRIDE - size_of::<usize>()) };
        // SAFETY: the address is mapped, writable, aligned, and nobody has a reference into the slab.
        unsafe { top.cast::<usize>().write_volatile(slot) };
    }

    /// Returns the lowest and the highest address of a slot.
    pub(super) fn bounds(&self, slot: usize) -> (usize, usize) {
        let start = self.start(slot).as_ptr() as usize;
        (start, start + STRIDE)
    }

    fn start(&self, slot: usize) -> NonNull<u8> {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        // SAFETY: the assertion keeps the offset inside the mapping.
        unsafe { self.base.add(slot * STRIDE) }
    }
}

/// Touches `bytes` of fresh memory and gives them back to the kernel.
///
/// On a virtual machine the first touch of a page may cost a multiple while the host finds memory for it; after this the
/// guest has the memory, and what is measured next pays for its own page faults only.
///
/// # Errors
///
/// What `mmap` reports.
pub(crate) fn touch_and_give_back(bytes: usize) -> io::Result<()> {
    let bytes = bytes.next_multiple_of(PAGE);
    let base = map(bytes, 0)?;
    for offset in (0..bytes).step_by(PAGE) {
        // SAFETY: the offset stays inside the mapping.
        let page = unsafe { base.as_ptr().add(offset) };
        // SAFETY: the page is mapped and writable, and nobody else knows of it.
        unsafe { page.write_volatile(1) };
    }
    // SAFETY: exactly the mapping made above, and no reference into it was ever made.
    let res = unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn map(len: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(base.cast()).expect("mmap does not return null"))
}
