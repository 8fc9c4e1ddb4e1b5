//! Slabs: several threads put blocks back, another takes what is back. Each block is in one place, and is its next owner's with all that the last
//! one did to it; at the end the slab is empty, and in no other list.
//!
//! The blocks themselves are no memory that loom sees, so each has a cell that whoever owns it writes to.

use std::alloc::dealloc;
use std::ptr::NonNull;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use super::slab::{Blocks, Chain, Depot, Free, Lists, SLAB, SLAB_LAYOUT, Slab};
use super::{GRAIN, Mutex};

/// The largest blocks, of which a slab has the fewest.
const CLASS: usize = 15;

struct Model {
    depot: Depot,
    cells: Vec<UnsafeCell<u32>>,
}

// SAFETY: the cells are what loom watches.
unsafe impl Sync for Model {}
// SAFETY: as above.
unsafe impl Send for Model {}

/// Blocks of one owner.
struct Owned(Vec<NonNull<Free>>);

// SAFETY: a block is memory of its owner's.
unsafe impl Send for Owned {}

impl Model {
    fn new() -> Arc<Model> {
        let cells = (0..SLAB / GRAIN).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Model { depot: Depot::new(Mutex::new(Lists::new())), cells })
    }

    fn own(&self, block: NonNull<Free>) {
        let cell = &self.cells[block.addr().get() % SLAB / GRAIN];
        // SAFETY: if somebody else had the block, loom would say so.
        cell.with_mut(|count| unsafe { *count += 1 });
    }

    /// All blocks that were taken.
    fn gather(&self, blocks: &Blocks) -> Owned {
        let mut all = Vec::new();
        let mut next = blocks.first;
        for _ in 0..blocks.linked {
            let block = NonNull::new(next).expect("as many are linked as were said to be");
            self.own(block);
            all.push(block);
            // SAFETY: it is back, so this stands in it; and it was taken.
            next = unsafe { block.as_ref() }.next;
        }
        for index in 0..usize::from(blocks.fresh) {
            let block = NonNull::new(blocks.next.wrapping_byte_add(index * CLASS * GRAIN)).expect("a block");
            self.own(block);
            all.push(block);
        }
        let mut different = all.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), all.len());
        Owned(all)
    }

    /// Takes what is back, if that is enough.
    fn take_some(&self) -> Option<Owned> {
        // Nobody else takes, so it is still there, or all of it is.
        let is_there = {
            let lists = self.depot.lock();
            lists.partial[CLASS].len() + lists.empty.len() > 0
        };
        is_there.then(|| self.gather(&self.depot.take(CLASS)))
    }

    /// Puts them back in one step.
    fn put(&self, blocks: Owned) {
        let chain = blocks.0.into_iter().fold(None::<Chain>, |chain, block| {
            self.own(block);
            // SAFETY: the block is the caller's.
            let one = unsafe { Chain::new(block) };
            Some(match chain {
                Some(chain) => chain.join(one).0,
                None => one,
            })
        });
        self.depot.put(chain.expect("one block at the least"));
    }

    fn check_and_free(&self) {
        let mut lists = self.depot.lock();
        assert!(lists.partial.iter().all(Vec::is_empty));
        assert_eq!(lists.empty.len(), 1);
        for slab in lists.empty.drain(..) {
            // SAFETY: it was allocated with this layout, and no block of it is out.
            unsafe { dealloc(slab.as_ptr().cast(), SLAB_LAYOUT) };
        }
    }
}

/// Each thread puts so many back, step by step, while this one takes what is back so many times, and puts it back in two steps.
///
/// Of a slab 68 blocks are out, and 8 are an eighth.
fn put_and_take(threads: &'static [&'static [usize]], takes: usize) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(move || {
        let model = Model::new();
        let mut out = model.gather(&model.depot.take(CLASS)).0;
        assert_eq!(out.len(), Slab::capacity(CLASS).into());
        let putting: Vec<_> = (threads.iter())
            .map(|steps| {
                let model = Arc::clone(&model);
                let steps: Vec<Owned> = steps.iter().map(|count| Owned(out.drain(..*count).collect())).collect();
                thread::spawn(move || steps.into_iter().for_each(|blocks| model.put(blocks)))
            })
            .collect();
        assert!(out.is_empty());
        for _ in 0..takes {
            if let Some(mut taken) = model.take_some() {
                let rest = Owned(taken.0.split_off(1));
                model.put(taken);
                model.put(rest);
            }
        }
        for thread in putting {
            thread.join().unwrap();
        }
        model.check_and_free();
    });
}

#[test]
fn who_takes_has_what_others_have_put_back() {
    put_and_take(&[&[8], &[60]], 1);
}

#[test]
fn two_who_together_bring_it_to_an_eighth_list_it_once() {
    put_and_take(&[&[5], &[5, 58]], 1);
}

#[test]
fn the_last_of_three_finds_it_whole() {
    put_and_take(&[&[7], &[1], &[60]], 0);
}

#[test]
fn what_was_taken_and_put_back_between_a_look_and_an_exchange_is_no_harm() {
    put_and_take(&[&[8, 1], &[59]], 2);
}
