//! std's locks, between greenlets, hubs and threads.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{HubPool, joinall, sleep, spawn, yield_now};
use greenlet_patch::patch_all;

/// Long against what a test takes, even on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_held_mutex_lets_the_other_greenlets_go_on() {
    patch_all();
    let mutex = Arc::new(Mutex::new(0));
    let holder = spawn({
        let mutex = Arc::clone(&mutex);
        move || {
            let mut held = mutex.lock().unwrap();
            yield_now();
            yield_now();
            *held += 1;
        }
    });
    let others: Vec<_> = (0..10)
        .map(|_| {
            let mutex = Arc::clone(&mutex);
            spawn(move || *mutex.lock().unwrap() += 1)
        })
        .collect();
    holder.join().unwrap();
    joinall(others);
    assert_eq!(*mutex.lock().unwrap(), 11);
}

#[test]
fn the_main_greenlet_waits_for_a_mutex_as_the_others_do() {
    patch_all();
    let mutex = Rc::new(Mutex::new(()));
    let held = Rc::new(Cell::new(false));
    let holder = spawn({
        let (mutex, held) = (Rc::clone(&mutex), Rc::clone(&held));
        move || {
            let _guard = mutex.lock().unwrap();
            held.set(true);
            sleep(Duration::from_millis(5));
            held.set(false);
        }
    });
    yield_now();
    assert!(held.get());
    let _guard = mutex.lock().unwrap();
    assert!(!held.get());
    holder.join().unwrap();
}

#[test]
fn greenlets_of_two_hubs_and_threads_share_a_mutex_that_each_holds_over_a_wait() {
    patch_all();
    const GREENLETS: usize = 50;
    const THREADS: usize = 4;
    const ROUNDS: usize = 100_000;
    let shared = Arc::new((Mutex::new((0_usize, 0_usize)), Condvar::new()));
    /// Adds one as long as there are some to add; the parity says whose turn it is, so that all wait on the condition as well.
    fn work(shared: &(Mutex<(usize, usize)>, Condvar), wait: fn()) {
        loop {
            let mut state = shared.0.lock().unwrap();
            while state.1 >= 8 && state.0 < ROUNDS {
                state = shared.1.wait(state).unwrap();
            }
            if state.0 >= ROUNDS {
                shared.1.notify_all();
                return;
            }
            let before = state.0;
            wait();
            assert_eq!(state.0, before);
            state.0 += 1;
            state.1 += 1;
            if state.1 >= 8 {
                state.1 = 0;
                shared.1.notify_all();
            } else {
                shared.1.notify_one();
            }
        }
    }
    let pool = HubPool::builder().hubs(1).build().unwrap();
    let elsewhere: Vec<_> = (0..GREENLETS / 2)
        .map(|_| {
            let shared = Arc::clone(&shared);
            pool.spawn(move || work(&shared, yield_now))
        })
        .collect();
    let here: Vec<_> = (0..GREENLETS / 2)
        .map(|_| {
            let shared = Arc::clone(&shared);
            spawn(move || work(&shared, yield_now))
        })
        .collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&shared, thread::yield_now))
        })
        .collect();
    joinall(here);
    joinall(elsewhere);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(shared.0.lock().unwrap().0, ROUNDS);
}

#[test]
fn a_wait_for_a_condition_ends_at_its_time() {
    patch_all();
    let waiter = spawn(|| {
        let (mutex, condition) = (Mutex::new(()), Condvar::new());
        let begin = Instant::now();
        let (_guard, result) = condition.wait_timeout(mutex.lock().unwrap(), Duration::from_millis(20)).unwrap();
        assert!(result.timed_out());
        begin.elapsed()
    });
    let others_went_on = Rc::new(Cell::new(0));
    while !waiter.greenlet().is_finished() {
        others_went_on.set(others_went_on.get() + 1);
        yield_now();
    }
    assert!(waiter.join().unwrap() >= Duration::from_millis(20));
    assert!(others_went_on.get() > 1);
}

#[test]
fn a_condition_is_told_by_a_thread() {
    patch_all();
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let shared = Arc::clone(&shared);
            spawn(move || {
                let guard = shared.0.lock().unwrap();
                let (_guard, result) = shared.1.wait_timeout_while(guard, LONG, |told| !*told).unwrap();
                assert!(!result.timed_out());
            })
        })
        .collect();
    yield_now();
    let teller = thread::spawn(move || {
        *shared.0.lock().unwrap() = true;
        shared.1.notify_all();
    });
    assert!(joinall(waiters).iter().all(Result::is_ok));
    teller.join().unwrap();
}

#[test]
fn readers_share_and_writers_do_not() {
    patch_all();
    let lock = Arc::new(RwLock::new(0));
    let (readers, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let greenlets: Vec<_> = (0..30)
        .map(|i| {
            let (lock, readers, most) = (Arc::clone(&lock), Rc::clone(&readers), Rc::clone(&most));
            spawn(move || {
                if i % 3 == 0 {
                    let mut value = lock.write().unwrap();
                    assert_eq!(readers.get(), 0);
                    let before = *value;
                    yield_now();
                    assert_eq!(*value, before);
                    *value += 1;
                } else {
                    let value = lock.read().unwrap();
                    readers.set(readers.get() + 1);
                    most.set(most.get().max(readers.get()));
                    let before = *value;
                    yield_now();
                    assert_eq!(*value, before);
                    readers.set(readers.get() - 1);
                }
            })
        })
        .collect();
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    assert_eq!(*lock.read().unwrap(), 10);
    assert!(most.get() > 1);
}

#[test]
fn what_is_done_once_is_done_by_one_while_the_others_wait() {
    static ONCE: Once = Once::new();
    static CELL: OnceLock<usize> = OnceLock::new();
    static LAZY: LazyLock<usize> = LazyLock::new(|| {
        sleep(Duration::from_millis(5));
        RUNS.fetch_add(1, Ordering::Relaxed)
    });
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    patch_all();
    let work = || {
        ONCE.call_once(|| {
            yield_now();
            RUNS.fetch_add(1, Ordering::Relaxed);
        });
        let cell = *CELL.get_or_init(|| {
            yield_now();
            RUNS.fetch_add(1, Ordering::Relaxed)
        });
        cell + *LAZY
    };
    let threads: Vec<_> = (0..2).map(|_| thread::spawn(work)).collect();
    let greenlets: Vec<_> = (0..20).map(|_| spawn(work)).collect();
    assert!(joinall(greenlets).into_iter().all(|sum| sum.unwrap() == 3));
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 3);
    }
    assert_eq!(RUNS.load(Ordering::Relaxed), 3);
}

#[test]
fn a_barrier_gathers_greenlets_and_threads() {
    patch_all();
    let barrier = Arc::new(Barrier::new(12));
    let leaders = Arc::new(AtomicUsize::new(0));
    let work = {
        let leaders = Arc::clone(&leaders);
        move || {
            for _ in 0..20 {
                if barrier.wait().is_leader() {
                    leaders.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    let threads: Vec<_> = (0..2).map(|_| thread::spawn(work.clone())).collect();
    let greenlets: Vec<_> = (0..10).map(|_| spawn(work.clone())).collect();
    joinall(greenlets);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(leaders.load(Ordering::Relaxed), 20);
}
