//! `std::sync` and `std::thread`: what waits there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::Instant;

use crate::at_once::{CONCURRENT, WAIT, at_once};
use crate::gate::{self, Gate};

#[test]
fn sleeps_of_std_overlap() {
    let start = Instant::now();
    let slept = at_once(|_| {
        let start = Instant::now();
        thread::sleep(WAIT);
        start.elapsed()
    });
    assert!(slept.iter().all(|&slept| slept >= WAIT), "{slept:?}");
    // One after the other they would take ten seconds.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn all_meet_at_a_barrier() {
    let barrier = Barrier::new(CONCURRENT);
    let leaders = at_once(move |_| barrier.wait().is_leader());
    assert_eq!(leaders.iter().filter(|&&is_leader| is_leader).count(), 1);
}

/// The gate is a `Mutex` and a `Condvar` with a time-out.
#[test]
fn readers_hold_a_lock_together_and_a_writer_waits_for_all() {
    let (gate, lock) = (Gate::new(), Arc::new(RwLock::new(7)));
    let writer = {
        let (gate, lock) = (Arc::clone(&gate), Arc::clone(&lock));
        gate::watch(|| (), move |()| gate.peak(), move |()| *lock.write().unwrap() += 1)
    };
    let read = {
        let (gate, lock) = (Arc::clone(&gate), Arc::clone(&lock));
        at_once(move |_| {
            let value = lock.read().unwrap();
            gate.pass();
            *value
        })
    };
    assert_eq!(read, [7; CONCURRENT]);
    assert_eq!(writer.join().unwrap(), CONCURRENT, "readers at once");
    assert_eq!(*lock.read().unwrap(), 8);
}

#[test]
fn a_mutex_is_held_over_waits_by_one_at_a_time() {
    const ROUNDS: usize = 4;
    let (inside, sum) = (AtomicUsize::new(0), Arc::new(Mutex::new(0)));
    let total = Arc::clone(&sum);
    at_once(move |number| {
        for _ in 0..ROUNDS {
            let mut sum = sum.lock().unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "somebody else is inside");
            thread::yield_now();
            *sum += number;
            inside.fetch_sub(1, Ordering::Relaxed);
        }
    });
    assert_eq!(*total.lock().unwrap(), ROUNDS * CONCURRENT * (CONCURRENT - 1) / 2);
}

#[test]
fn a_plain_thread_notifies_all_who_wait_for_a_condition() {
    let state = Arc::new((Mutex::new((0, false)), Condvar::new()));
    let watcher = {
        let (count, let_go) = (Arc::clone(&state), Arc::clone(&state));
        let let_go = move |_: &mut ()| {
            let_go.0.lock().unwrap().1 = true;
            let_go.1.notify_all();
        };
        gate::watch(|| (), move |()| count.0.lock().unwrap().0, let_go)
    };
    at_once(move |_| {
        let mut waiting = state.0.lock().unwrap();
        waiting.0 += 1;
        drop(state.1.wait_while(waiting, |(_, may_go)| !*may_go).unwrap());
    });
    assert_eq!(watcher.join().unwrap(), CONCURRENT, "waiting at once");
}

#[test]
fn all_wait_for_the_one_that_initializes() {
    let (come, runs, once, cell) = (AtomicUsize::new(0), AtomicUsize::new(0), Once::new(), OnceLock::new());
    let numbers = at_once(move |number| {
        let wait_for_all = || {
            while come.load(Ordering::Relaxed) < CONCURRENT {
                thread::yield_now();
            }
            thread::sleep(WAIT);
        };
        come.fetch_add(1, Ordering::Relaxed);
        once.call_once(|| {
            wait_for_all();
            runs.fetch_add(1, Ordering::Relaxed);
        });
        let first = *cell.get_or_init(|| {
            thread::sleep(WAIT);
            number
        });
        (runs.load(Ordering::Relaxed), first)
    });
    assert_eq!(numbers, [(1, numbers[0].1); CONCURRENT]);
}
