//! What std's documentation shows of `std::sync` and `std::thread::sleep`, in both worlds.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::MS;
use crate::worlds::{in_both_worlds, pause};

in_both_worlds! {
    fn a_mutex_is_held_over_a_wait() {
        let data = Arc::new(Mutex::new(0));
        let all = Vec::from_iter((0..10).map(|_| {
            let data = Arc::clone(&data);
            spawn(move || {
                let mut data = data.lock().unwrap();
                let before = *data;
                thread::sleep(MS);
                *data = before + 1;
            })
        }));
        all.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(*data.lock().unwrap(), 10);
    }

    fn a_panic_poisons_and_a_try_does_not_wait() {
        let lock = Arc::new(Mutex::new(1));
        let holder = spawn({
            let lock = Arc::clone(&lock);
            move || {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _held = lock.lock().unwrap();
                    pause();
                    std::panic::resume_unwind(Box::new(()));
                }));
                assert!(caught.is_err());
            }
        });
        pause();
        holder.join().unwrap();
        assert!(lock.is_poisoned());
        assert_eq!(*lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), 1);
        lock.clear_poison();
        let held = lock.lock().unwrap();
        assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
    }

    fn a_condition_is_waited_for_with_and_without_a_time() {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let other = spawn({
            let pair = Arc::clone(&pair);
            move || {
                pause();
                *pair.0.lock().unwrap() = true;
                pair.1.notify_one();
            }
        });
        let (lock, changed) = &*pair;
        let mut ready = lock.lock().unwrap();
        while !*ready {
            ready = changed.wait(ready).unwrap();
        }
        drop(ready);
        other.join().unwrap();
        let ready = changed.wait_while(lock.lock().unwrap(), |ready| !*ready).unwrap();
        let start = Instant::now();
        let (ready, timed_out) = changed.wait_timeout_while(ready, 10 * MS, |ready| *ready).unwrap();
        assert!(timed_out.timed_out() && *ready && start.elapsed() >= 10 * MS);
    }

    fn all_are_notified() {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let all = Vec::from_iter((0..8).map(|_| {
            let pair = Arc::clone(&pair);
            spawn(move || {
                let mut there = pair.0.lock().unwrap();
                *there += 1;
                pair.1.notify_all();
                drop(pair.1.wait_while(there, |there| *there < 9).unwrap());
            })
        }));
        let there = pair.1.wait_while(pair.0.lock().unwrap(), |there| *there < 8).unwrap();
        drop(there);
        *pair.0.lock().unwrap() += 1;
        pair.1.notify_all();
        all.into_iter().for_each(|one| one.join().unwrap());
    }

    fn readers_share_and_a_writer_is_alone() {
        let lock = Arc::new(RwLock::new(0));
        let inside = Arc::new(AtomicU32::new(0));
        let readers = Vec::from_iter((0..5).map(|_| {
            let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
            spawn(move || {
                let value = lock.read().unwrap();
                inside.fetch_add(1, Ordering::SeqCst);
                // Only together.
                while inside.load(Ordering::SeqCst) < 5 {
                    thread::yield_now();
                }
                *value
            })
        }));
        readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 0));
        let writers = Vec::from_iter((0..5).map(|_| {
            let lock = Arc::clone(&lock);
            spawn(move || {
                let mut value = lock.write().unwrap();
                let before = *value;
                pause();
                *value = before + 1;
            })
        }));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(*lock.read().unwrap(), 5);
    }

    fn a_barrier_lets_all_go_when_all_are_there() {
        let barrier = Arc::new(Barrier::new(6));
        let all = Vec::from_iter((0..6).map(|n| {
            let barrier = Arc::clone(&barrier);
            spawn(move || {
                thread::sleep(MS * n);
                [barrier.wait().is_leader(), barrier.wait().is_leader()]
            })
        }));
        let leaders = Vec::from_iter(all.into_iter().map(|one| one.join().unwrap()));
        for round in 0..2 {
            assert_eq!(leaders.iter().filter(|leads| leads[round]).count(), 1);
        }
    }

    fn what_is_initialised_once_is_waited_for_by_the_others() {
        struct All {
            once: Once,
            cell: OnceLock<u32>,
            lazy: LazyLock<u32>,
            runs: AtomicU32,
        }
        thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });
        let slow = || {
            thread::sleep(5 * MS);
            RUNS.set(RUNS.get() + 1);
            7
        };
        let all = Arc::new(All {
            once: Once::new(),
            cell: OnceLock::new(),
            lazy: LazyLock::new(slow),
            runs: AtomicU32::new(0),
        });
        let tasks = Vec::from_iter((0..5).map(|_| {
            let all = Arc::clone(&all);
            spawn(move || {
                all.once.call_once(|| {
                    thread::sleep(5 * MS);
                    all.runs.fetch_add(1, Ordering::SeqCst);
                });
                assert!(all.once.is_completed());
                let seven = *all.cell.get_or_init(|| {
                    thread::sleep(5 * MS);
                    all.runs.fetch_add(1, Ordering::SeqCst);
                    7
                });
                seven + *all.lazy
            })
        }));
        tasks.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), 14));
        assert_eq!(all.runs.load(Ordering::SeqCst), 2);
    }

    fn sleeps_last_and_overlap() {
        let start = Instant::now();
        let all = Vec::from_iter((0..50).map(|_| spawn(|| thread::sleep(50 * MS))));
        all.into_iter().for_each(|one| one.join().unwrap());
        assert!(start.elapsed() >= 50 * MS && start.elapsed() < Duration::from_secs(2));
    }
}
