//! The shells of locks take no memory: those who wait bring their places along.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::{Condvar, Mutex, RwLock};

use greenlet_hub::{spawn, yield_now};
use greenlet_patch::patch_all;

/// Counts what this thread takes.
struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: it is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn waits_for_locks_and_wake_ups_of_this_hubs_greenlets_take_no_memory() {
    const ROUNDS: usize = 1000;
    patch_all();
    let mutex = &*Box::leak(Box::new((Mutex::new(0), Condvar::new(), RwLock::new(0))));
    let other = spawn(move || {
        for _ in 0..2 * ROUNDS {
            let mut turn = mutex.1.wait_while(mutex.0.lock().unwrap(), |turn| *turn % 2 == 0).unwrap();
            // Held over a switch, so that the main greenlet finds it taken.
            yield_now();
            *turn += 1;
            drop(turn);
            mutex.1.notify_one();
            let written = mutex.2.write().unwrap();
            yield_now();
            drop(written);
        }
    });
    let play = || {
        for _ in 0..ROUNDS {
            *mutex.0.lock().unwrap() += 1;
            mutex.1.notify_one();
            yield_now();
            black_box(*mutex.2.read().unwrap());
            drop(mutex.1.wait_while(mutex.0.lock().unwrap(), |turn| *turn % 2 == 1).unwrap());
        }
    };
    // The first time a hub makes some room.
    play();
    let before = TAKEN.get();
    play();
    assert_eq!(TAKEN.get() - before, 0);
    other.join().unwrap();
}
