//! The sizes of a slot: guard, stack, stride, colour.

use std::io;

/// The usable size of a stack unless another is asked for: 244 KiB, which with its guard makes a slot of
/// 65 pages. A stack costs address space only; memory is taken page by page as it is touched.
pub const DEFAULT_STACK_SIZE: usize = 244 * 1024;

/// The least usable size of a stack; smaller wishes are rounded up to it.
///
/// In 32 KiB a panic can be formatted, printed and caught: with a backtrace that takes 23 KiB (measured,
/// x86-64, debug build), without one 7 KiB; `println!` takes 1 KiB, a look-up of a name 6 KiB.
pub const MIN_STACK_SIZE: usize = 32 * 1024;

/// The size of the guard below each stack, at least (one page where pages are larger).
///
/// Rust probes every page of a large frame, C may not: 16 KiB catch most of its frames as well.
pub const GUARD_SIZE: usize = 16 * 1024;

/// The address space of a slab of small slots: 256 of the default size.
const SLAB_SIZE: usize = 256 * (DEFAULT_STACK_SIZE + GUARD_SIZE);

/// The most slots of a slab.
const MAX_SLOTS: usize = 256;

const CACHE_LINE: usize = 64;

/// The bytes between a stack's base and its colour, for the coroutine's header.
///
/// The base lies 16 bytes above the start of a cache line then, so that the parent link just below it (on
/// x86-64) and what a resume needs of the header share that line.
pub(crate) const HEADER_SIZE: usize = 3 * CACHE_LINE - 16;

/// The number of different offsets of stack tops.
///
/// The largest, 31 lines or 1,984 bytes, and the header leave 1,936 bytes of a page of 4 KiB for the frames
/// of a waiting coroutine. More colours did not make the resumes of 1,000 or 50,000 coroutines faster.
const COLOURS: usize = 32;

/// How far below the end of its slot the `number`th stack of a pool begins.
pub(crate) fn colour(number: usize) -> usize {
    number % COLOURS * CACHE_LINE
}

/// No system has smaller pages.
const SMALLEST_PAGE: usize = 4096;

/// The largest stack: its slot can still be counted in the smallest pages in 32 bits.
#[cfg(target_pointer_width = "64")]
const MAX_STACK_SIZE: usize = 8 << 40;
#[cfg(not(target_pointer_width = "64"))]
const MAX_STACK_SIZE: usize = 1 << 30;

/// The layout of the slots of one size class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotLayout {
    // Both in the smallest pages: each coroutine has a copy.
    guard: u32,
    stride: u32,
}

impl SlotLayout {
    /// Returns the layout of the class that holds `stack_size` usable bytes.
    ///
    /// Strides are `1 + n * step` pages with eight even steps to each power of two: always odd (see the crate's
    /// page), at most an eighth too large, and few enough (about 200) that odd wishes share slabs.
    ///
    /// # Errors
    ///
    /// `InvalidInput` beyond `MAX_STACK_SIZE`.
    pub(crate) fn for_stack_size(stack_size: usize, page: usize) -> io::Result<Self> {
        if stack_size > MAX_STACK_SIZE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a stack of this size fits in no address space"));
        }
        let guard_pages = GUARD_SIZE.div_ceil(page);
        let stack_pages = stack_size.max(MIN_STACK_SIZE).div_ceil(page);
        let above_one = guard_pages + stack_pages - 1;
        let step = (1 << above_one.ilog2() >> 3).max(2);
        let stride_pages = 1 + above_one.next_multiple_of(step);
        Ok(Self {
            guard: (guard_pages * page / SMALLEST_PAGE) as u32,
            stride: (stride_pages * page / SMALLEST_PAGE) as u32,
        })
    }

    /// The class of [`DEFAULT_STACK_SIZE`].
    pub(crate) fn default_for(page: usize) -> Self {
        match Self::for_stack_size(DEFAULT_STACK_SIZE, page) {
            Ok(layout) => layout,
            Err(_) => unreachable!("244 KiB fit into every address space"),
        }
    }

    /// The distance between the starts of two slots, in bytes.
    pub(crate) fn stride(self) -> usize {
        self.stride as usize * SMALLEST_PAGE
    }

    /// The bytes of a slot that are guard.
    pub(crate) fn guard_size(self) -> usize {
        self.guard as usize * SMALLEST_PAGE
    }

    /// The bytes of a slot that are not guard.
    pub(crate) fn stack_size(self) -> usize {
        self.stride() - self.guard_size()
    }

    /// How many slots a slab of this class has, if the address space allows.
    pub(crate) fn slots_per_slab(self) -> usize {
        (SLAB_SIZE / self.stride()).clamp(1, MAX_SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

    #[test]
    fn the_default_slot_is_65_pages_of_4_kib() {
        let layout = SlotLayout::for_stack_size(DEFAULT_STACK_SIZE, 4096).unwrap();
        assert_eq!(layout.stride(), 260 << 10);
        assert_eq!(layout.stack_size(), DEFAULT_STACK_SIZE);
        assert_eq!(layout.slots_per_slab(), 256);
    }

    #[test]
    fn the_stride_is_an_odd_number_of_pages_whatever_is_asked_for() {
        for page in PAGES {
            for asked in (0..64).flat_map(|bit| [0, 1, 4095, 12_345].map(|more| (1_usize << bit) + more)) {
                let Ok(layout) = SlotLayout::for_stack_size(asked, page) else {
                    assert!(asked > MAX_STACK_SIZE);
                    continue;
                };
                assert_eq!(layout.stride() / page % 2, 1, "{asked} in pages of {page}");
                assert_eq!(layout.stride() % page, 0);
                assert!(layout.stack_size() >= asked.max(MIN_STACK_SIZE));
                assert!(layout.guard_size() >= GUARD_SIZE);
                assert!(layout.slots_per_slab().checked_mul(layout.stride()).is_some());
            }
        }
    }

    #[test]
    fn rounding_costs_at_most_an_eighth_and_two_pages() {
        for asked in (MIN_STACK_SIZE..8 << 20).step_by(1000) {
            let layout = SlotLayout::for_stack_size(asked, 4096).unwrap();
            assert!(layout.stride() <= (asked + GUARD_SIZE) / 8 * 9 + 3 * 4096, "{asked}");
        }
    }

    #[test]
    fn there_are_few_size_classes() {
        let mut strides: Vec<_> =
            (0..1 << 30).step_by(4096).map(|asked| SlotLayout::for_stack_size(asked, 4096).unwrap().stride()).collect();
        strides.dedup();
        assert!(strides.len() < 150, "{}", strides.len());
    }

    #[test]
    fn colours_are_cache_lines_and_leave_half_of_a_page_for_frames() {
        for number in 0..1000 {
            assert_eq!(colour(number) % CACHE_LINE, 0);
            assert!(colour(number) + HEADER_SIZE + 1936 <= 4096);
            assert_ne!(colour(number), colour(number + 1));
        }
    }
}
