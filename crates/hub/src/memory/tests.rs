use std::array;
use std::sync::mpsc;
use std::thread;

use super::slab::{KEPT_SLABS, SLAB, SLAB_LAYOUT, Slab};
use super::*;

fn depot() -> &'static Depot {
    Box::leak(Box::new(Depot::new(Mutex::new(Lists::new()))))
}

/// How many slabs are in the depot with blocks out, and with none.
fn slabs(depot: &Depot) -> (usize, usize) {
    let lists = depot.lock();
    (lists.partial.iter().map(Vec::len).sum(), lists.empty.len())
}

/// Frees the slabs that a test has left in its depot, so that whatever looks for leaks finds none.
fn free(depot: &Depot) {
    let mut lists = depot.lock();
    assert!(lists.partial.iter().all(Vec::is_empty), "blocks are out");
    for slab in lists.empty.drain(..) {
        // SAFETY: it was allocated with this layout, and no block of it is out.
        unsafe { dealloc(slab.as_ptr().cast(), SLAB_LAYOUT) };
    }
}

fn take(memory: &BlockMemory, class: usize, count: usize) -> Vec<NonNull<Free>> {
    (0..count).map(|_| memory.take_block(class)).collect()
}

fn give(memory: &BlockMemory, class: usize, blocks: impl IntoIterator<Item = NonNull<Free>>) {
    for block in blocks {
        // SAFETY: the tests take blocks of this class, and give them once.
        unsafe { memory.give(block, class) };
    }
}

/// As `give` does when enough is kept.
fn let_go(memory: &BlockMemory, class: usize, blocks: impl IntoIterator<Item = NonNull<Free>>) {
    for block in blocks {
        // SAFETY: as in `give`.
        unsafe { memory.let_go(block, class) };
    }
}

/// As a thread without a hub does.
fn put(depot: &Depot, blocks: impl IntoIterator<Item = NonNull<Free>>) {
    for block in blocks {
        // SAFETY: as in `give`.
        depot.put(unsafe { Chain::new(block) });
    }
}

fn address(block: NonNull<Free>) -> usize {
    block.addr().get()
}

#[test]
fn classes_are_counted_in_cache_lines() {
    let of = |size, align| class(Layout::from_size_align(size, align).unwrap());
    assert_eq!([of(1, 1), of(64, 8), of(65, 8), of(960, 64)], [Some(1), Some(1), Some(2), Some(15)]);
    assert_eq!([of(961, 8), of(128, 128)], [None, None]);
}

#[test]
fn blocks_are_aligned_and_do_not_overlap() {
    let depot = depot();
    for class in 1..CLASSES {
        let memory = BlockMemory::of(depot);
        let mut blocks = take(&memory, class, 2 * usize::from(Slab::capacity(class)) + 1);
        blocks.sort();
        for pair in blocks.windows(2) {
            assert!(address(pair[1]) - address(pair[0]) >= class * GRAIN);
        }
        for &block in &blocks {
            let place = address(block) % SLAB;
            assert!(place.is_multiple_of(GRAIN) && place >= size_of::<Slab>());
            assert!(place + class * GRAIN <= SLAB_LAYOUT.size());
        }
        give(&memory, class, blocks);
    }
    free(depot);
}

#[test]
fn what_was_freed_last_is_taken_first() {
    let depot = depot();
    let memory = BlockMemory::of(depot);
    let blocks = take(&memory, 3, 4);
    give(&memory, 3, blocks.iter().copied());
    assert_eq!(take(&memory, 3, 4), blocks.iter().copied().rev().collect::<Vec<_>>());
    give(&memory, 3, blocks);
    drop(memory);
    free(depot);
}

#[test]
fn a_slab_of_which_all_is_back_is_used_for_another_size() {
    let depot = depot();
    let memory = BlockMemory::of(depot);
    let blocks = take(&memory, 3, Slab::capacity(3).into());
    let slab = Slab::of(blocks[0]);
    put(depot, blocks);
    assert_eq!(slabs(depot), (0, 1));
    let block = memory.take_block(5);
    assert_eq!((Slab::of(block), slabs(depot)), (slab, (0, 0)));
    give(&memory, 5, [block]);
    drop(memory);
    free(depot);
}

#[test]
fn what_is_back_in_a_slab_is_taken_by_whoever_needs_it() {
    let depot = depot();
    let (first, second) = (BlockMemory::of(depot), BlockMemory::of(depot));
    let mut blocks = take(&first, 3, Slab::capacity(3).into());
    let some = usize::from(Slab::capacity(3) / 8);
    let mut back: Vec<_> = blocks.drain(..some).collect();
    let last = back.pop().unwrap();
    put(depot, back.iter().copied());
    assert_eq!(slabs(depot), (0, 0), "less than an eighth");
    put(depot, [last]);
    assert_eq!(slabs(depot), (1, 0));
    back.push(last);
    back.reverse();
    assert_eq!(take(&second, 3, some), back);
    assert_eq!(slabs(depot), (0, 0));
    give(&second, 3, back);
    give(&first, 3, blocks);
    drop((first, second));
    free(depot);
}

#[test]
fn a_hub_keeps_so_much_of_a_size_and_the_process_so_many_slabs() {
    let depot = depot();
    let memory = BlockMemory::of(depot);
    let class = CLASSES - 1;
    let kept = KEPT / (class * GRAIN);
    let per_slab = usize::from(Slab::capacity(class));
    let total = kept + (KEPT_SLABS + 10) * per_slab;
    let blocks = take(&memory, class, total);
    give(&memory, class, blocks);
    assert_eq!(memory.classes[class].kept.get().count as usize, kept);
    assert_eq!(slabs(depot).1, KEPT_SLABS);
    drop(memory);
    assert_eq!(slabs(depot), (0, KEPT_SLABS));
    free(depot);
}

#[test]
fn blocks_that_outlive_their_hub_keep_its_slabs() {
    let depot = depot();
    let memory = BlockMemory::of(depot);
    let per_slab = usize::from(Slab::capacity(3));
    let mut blocks = take(&memory, 3, per_slab + 2);
    let (kept, other) = (blocks.pop().unwrap(), blocks.pop().unwrap());
    let_go(&memory, 3, blocks.drain(2..));
    give(&memory, 3, [kept]);
    drop(memory);
    assert_eq!(slabs(depot), (2, 0));
    // A hub that comes later goes on with the fresh part of the second, and gives that back too.
    let later = BlockMemory::of(depot);
    let taken = take(&later, 3, per_slab - 1);
    assert!(taken.iter().all(|block| Slab::of(*block) == Slab::of(other)));
    give(&later, 3, taken);
    drop(later);
    assert_eq!(slabs(depot), (2, 0));
    put(depot, [other]);
    assert_eq!(slabs(depot), (1, 1));
    thread::scope(|scope| {
        let blocks: Vec<usize> = blocks.iter().map(|block| block.expose_provenance().get()).collect();
        scope.spawn(move || put(depot, blocks.into_iter().map(from_address)));
    });
    assert_eq!(slabs(depot), (0, 2));
    free(depot);
}

fn from_address(address: usize) -> NonNull<Free> {
    NonNull::new(ptr::with_exposed_provenance_mut(address)).expect("a block's address")
}

#[test]
fn a_slab_goes_back_as_soon_as_a_hub_has_all_of_it() {
    let depot = depot();
    let memory = BlockMemory::of(depot);
    let whole = take(&memory, 3, Slab::capacity(3).into());
    let (first, second) = (memory.take_block(3), memory.take_block(3));
    let_go(&memory, 3, whole);
    assert_eq!(slabs(depot), (0, 1));
    let_go(&memory, 3, [first]);
    assert_eq!(slabs(depot), (0, 1));
    // The rest of this one was never used.
    let_go(&memory, 3, [second]);
    assert_eq!(slabs(depot), (0, 2));
    drop(memory);
    free(depot);
}

#[test]
fn what_is_too_large_comes_from_the_allocator() {
    let memory = BlockMemory::new();
    let large = memory.take::<[u64; 200]>();
    // SAFETY: there is room for it.
    unsafe { large.write([7; 200]) };
    // SAFETY: it came out of a `take` of that type.
    unsafe { release(large) };
    assert!(memory.classes.iter().all(|class| class.fresh.get().left == 0));
}

#[test]
fn threads_without_a_hub_share_their_slabs() {
    let take = || with_shared(|memory| memory.take::<[u64; 113]>()).expose_provenance().get();
    let blocks: Vec<usize> = (0..3).map(|_| thread::spawn(take).join().unwrap()).collect();
    let slabs: Vec<_> = blocks.iter().map(|block| Slab::of(from_address(*block))).collect();
    assert!(slabs.iter().all(|slab| *slab == slabs[0]));
    for block in blocks {
        // SAFETY: it came out of a `take` of that type.
        unsafe { release(from_address(block).cast::<[u64; 113]>()) };
    }
}

#[test]
fn a_handle_may_be_the_last_when_its_hub_has_ended() {
    let greenlet = thread::spawn(|| {
        let handles: [_; 2000] = array::from_fn(|_| crate::spawn(|| ()));
        crate::yield_now();
        let [first, ..] = handles;
        first.greenlet().clone()
    });
    let greenlet = greenlet.join().unwrap();
    assert!(greenlet.is_successful());
    drop(greenlet);
}

#[test]
fn blocks_go_to_and_fro_between_threads() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 300;
    let depot = depot();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<Vec<usize>>()).unzip();
    thread::scope(|scope| {
        for (index, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(index + 1) % THREADS].clone();
            scope.spawn(move || {
                let mut memory = BlockMemory::of(depot);
                let mut random = index as u64 + 1;
                for round in 0..ROUNDS {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let class = 3 + index % 2;
                    let blocks = take(&memory, class, (random >> 33) as usize % 1000);
                    for block in &blocks {
                        // SAFETY: the block is this thread's, and has room for two words at the least.
                        unsafe { block.cast::<[usize; 2]>().write([address(*block), class]) };
                    }
                    let addresses = blocks.iter().map(|block| block.expose_provenance().get()).collect();
                    // The last one ends first.
                    let _ = next.send(addresses);
                    let Ok(others) = receiver.try_recv() else { continue };
                    release_all(&memory, round, others);
                    if round % 64 == 0 {
                        memory = BlockMemory::of(depot);
                    }
                }
                drop(next);
                while let Ok(others) = receiver.recv() {
                    release_all(&memory, 2, others);
                }
            });
        }
        drop(senders);
    });
    free(depot);

    fn release_all(memory: &BlockMemory, round: usize, blocks: Vec<usize>) {
        for (place, block) in blocks.into_iter().enumerate() {
            let block = from_address(block);
            // SAFETY: it was written by the thread that has sent it.
            let [written, class] = unsafe { block.cast::<[usize; 2]>().read() };
            assert_eq!(written, block.addr().get(), "somebody else has written to it");
            match (round + place / 16) % 3 {
                0 => give(memory, class, [block]),
                1 => let_go(memory, class, [block]),
                _ => put(memory.depot, [block]),
            }
        }
    }
}
