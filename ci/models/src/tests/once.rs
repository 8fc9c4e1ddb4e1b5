//! `OnceCell`: somebody does it.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};

use super::{kill, model, two_wait};
use crate::{Event, Greenlet, OnceCell};

/// A cell with a counter that all who come touch first: loom does not see that the cell asks std's `OnceLock` before
/// all, and would not try in which order they come.
struct Cell {
    arrivals: AtomicUsize,
    value: OnceCell<u32>,
}

impl Cell {
    fn new() -> Arc<Cell> {
        Arc::new(Cell { arrivals: AtomicUsize::new(0), value: OnceCell::new() })
    }

    fn get_or_try_init(&self, f: impl FnOnce() -> Result<u32, ()>) -> Result<u32, ()> {
        self.arrivals.fetch_add(1, Ordering::AcqRel);
        self.value.get_or_try_init(f).copied()
    }

    fn get_or_init(&self, f: impl FnOnce() -> u32) -> u32 {
        self.get_or_try_init(|| Ok(f())).unwrap()
    }
}

#[test]
fn what_a_killed_initialiser_leaves_undone_the_next_one_does() {
    model(|| {
        let (cell, event) = (Cell::new(), Arc::new(Event::new()));
        let (first, second, ready) = (Arc::clone(&cell), Arc::clone(&cell), Arc::clone(&event));
        let slowly = move || {
            first.get_or_init(|| {
                ready.wait();
                1
            })
        };
        let value = two_wait(kill, slowly, move || _ = second.get_or_init(|| 2), || event.set());
        assert!(value.is_none() || value == cell.value.get().copied());
    });
}

#[test]
fn a_turn_for_one_who_is_killed_goes_to_the_next() {
    model(|| {
        let cell = Cell::new();
        let (first, second) = (Arc::clone(&cell), Arc::clone(&cell));
        let failing = || _ = cell.get_or_try_init(|| Err(()));
        let value = two_wait(kill, move || first.get_or_init(|| 1), move || _ = second.get_or_init(|| 2), failing);
        assert!(value.is_none() || value == cell.value.get().copied());
    });
}

#[test]
fn one_does_it() {
    model(|| {
        let cell = Cell::new();
        let others = [1, 2].map(|value| {
            let cell = Arc::clone(&cell);
            Greenlet::spawn(move || cell.get_or_init(|| value))
        });
        let mine = cell.get_or_init(|| 3);
        for other in others {
            assert_eq!(other.join().unwrap(), Some(mine));
        }
    });
}
