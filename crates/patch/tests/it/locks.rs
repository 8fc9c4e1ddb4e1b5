//! std's locks, between greenlets, hubs and threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{HubPool, JoinError, joinall, sleep, spawn, timeout, yield_now};
use greenlet_patch::patch_all;

use crate::child::in_child;

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
fn greenlets_of_two_hubs_and_threads_share_a_mutex_and_a_condition_that_each_holds_over_a_wait() {
    patch_all();
    const GREENLETS: usize = 50;
    const THREADS: usize = 4;
    const ROUNDS: usize = 100_000_usize.div_ceil(GREENLETS + THREADS);
    const PERMITS: usize = 5;

    /// A semaphore, and how often it was taken.
    struct Shared {
        state: Mutex<(usize, usize)>,
        released: Condvar,
    }

    fn work(shared: &Shared, wait: fn()) {
        for _ in 0..ROUNDS {
            let guard = shared.state.lock().unwrap();
            let mut state = shared.released.wait_while(guard, |(permits, _)| *permits == 0).unwrap();
            let before = *state;
            wait();
            assert_eq!(*state, before);
            *state = (before.0 - 1, before.1 + 1);
            drop(state);
            wait();
            shared.state.lock().unwrap().0 += 1;
            shared.released.notify_one();
        }
    }

    let shared = Arc::new(Shared { state: Mutex::new((PERMITS, 0)), released: Condvar::new() });
    let worker = |wait: fn()| {
        let shared = Arc::clone(&shared);
        move || work(&shared, wait)
    };
    let pool = HubPool::builder().hubs(1).build().unwrap();
    let threads = Vec::from_iter((0..THREADS).map(|_| thread::spawn(worker(thread::yield_now))));
    let elsewhere = Vec::from_iter((0..GREENLETS / 2).map(|_| pool.spawn(worker(yield_now))));
    let here = Vec::from_iter((0..GREENLETS / 2).map(|_| spawn(worker(yield_now))));
    assert!(joinall(here).iter().all(Result::is_ok));
    assert!(joinall(elsewhere).iter().all(Result::is_ok));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*shared.state.lock().unwrap(), (PERMITS, (GREENLETS + THREADS) * ROUNDS));
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

#[test]
fn a_kill_waits_until_the_lock_was_had_and_comes_at_the_next_native_wait() {
    patch_all();
    let mutex = Rc::new(Mutex::new(()));
    let trace = Rc::new(RefCell::new(String::new()));
    let guard = mutex.lock().unwrap();
    let locker = spawn({
        let (mutex, trace) = (Rc::clone(&mutex), Rc::clone(&trace));
        move || {
            let _guard = mutex.lock().unwrap();
            trace.borrow_mut().push('l');
            yield_now();
            unreachable!("it was killed");
        }
    });
    yield_now();
    locker.greenlet().kill_nowait().unwrap();
    for _ in 0..3 {
        trace.borrow_mut().push('.');
        yield_now();
    }
    assert!(!locker.greenlet().is_finished());
    drop(guard);
    assert!(matches!(locker.join(), Err(JoinError::Killed)));
    assert_eq!(*trace.borrow(), "...l");
    // Its unwind has unlocked it; a kill is a panic to std, which poisons.
    assert!(mutex.is_poisoned());
    assert!(mutex.try_lock().is_err());
}

#[test]
fn a_killed_greenlet_waits_on_for_its_condition_and_its_timeout_too() {
    patch_all();
    let shared = Rc::new((Mutex::new(false), Condvar::new()));
    let waiter = spawn({
        let shared = Rc::clone(&shared);
        move || {
            let result = timeout(Duration::from_millis(1), || {
                let guard = shared.0.lock().unwrap();
                let guard = shared.1.wait_while(guard, |told| !*told).unwrap();
                assert!(*guard);
                drop(guard);
                yield_now();
            });
            assert!(result.is_err());
            *shared.0.lock().unwrap() = false;
            sleep(LONG);
        }
    });
    sleep(Duration::from_millis(20));
    waiter.greenlet().kill_nowait().unwrap();
    yield_now();
    assert!(!waiter.greenlet().is_finished());
    *shared.0.lock().unwrap() = true;
    shared.1.notify_all();
    assert!(matches!(waiter.join(), Err(JoinError::Killed)));
    // The kill is the first that is raised: nothing after the `timeout` was run.
    assert!(*shared.0.lock().unwrap());
}

#[test]
fn a_lock_is_waited_for_in_the_middle_of_an_unwind() {
    struct Locks(Arc<Mutex<usize>>);

    impl Drop for Locks {
        fn drop(&mut self) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }

    patch_all();
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let killed = spawn({
        let locks = Locks(Arc::clone(&mutex));
        move || {
            let _locks = locks;
            sleep(LONG);
        }
    });
    yield_now();
    killed.greenlet().kill_nowait().unwrap();
    yield_now();
    // It waits in its unwind, and nobody else notices.
    assert!(!killed.greenlet().is_finished() && !thread::panicking());
    drop(guard);
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn a_hub_that_ends_takes_its_waits_along_and_no_wake_up() {
    patch_all();
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let theirs = Arc::clone(&shared);
    let ended = thread::spawn(move || {
        for _ in 0..3 {
            let theirs = Arc::clone(&theirs);
            spawn(move || {
                let guard = theirs.0.lock().unwrap();
                drop(theirs.1.wait(guard));
                unreachable!("its hub has ended");
            });
        }
        yield_now();
    });
    ended.join().unwrap();
    let waiter = spawn({
        let shared = Arc::clone(&shared);
        move || drop(shared.1.wait(shared.0.lock().unwrap()).unwrap())
    });
    yield_now();
    // The three before it can take nothing.
    shared.1.notify_one();
    waiter.join().unwrap();
}

#[test]
fn a_deadlock_among_locks_is_reported_and_ends_the_process() {
    let ended = in_child("locks::a_deadlock_among_locks_is_reported_and_ends_the_process", || {
        patch_all();
        // The harness's thread waits for this one, and is no hub: so in a child of one thread.
        // SAFETY: the other thread holds nothing that is needed here.
        if unsafe { libc::fork() } == 0 {
            yield_now();
            let mutex = &*Box::leak(Box::new(Mutex::new(())));
            let _guard = mutex.lock().unwrap();
            let waits = spawn(|| drop(mutex.lock()));
            yield_now();
            waits.join().unwrap();
            std::process::exit(0);
        }
        let mut status = 0;
        // SAFETY: room for the answer.
        unsafe { libc::wait(&raw mut status) };
        std::process::exit(0);
    });
    assert_eq!(ended.count("waits for a lock (futex)"), 1, "{}", ended.stderr);
}
