//! What a C library locks with, between greenlets and threads.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{HubPool, joinall, sleep, spawn, yield_now};
use greenlet_patch::{is_patched, patch_all};

use crate::c_library::functions;

functions! { "locks": Locks {
    c_mutex_new(i32) -> usize;
    c_mutex_lock(usize) -> i32;
    c_mutex_trylock(usize) -> i32;
    c_mutex_timedlock(usize, i64) -> i32;
    c_mutex_badlock(usize) -> i32;
    c_mutex_unlock(usize) -> i32;
    c_cond_new(i32) -> usize;
    c_cond_wait(usize, usize) -> i32;
    c_cond_timedwait(usize, usize, i32, i64) -> i32;
    c_cond_signal(usize) -> i32;
    c_cond_broadcast(usize) -> i32;
    c_cond_destroy(usize) -> i32;
    c_rwlock_new() -> usize;
    c_rwlock_rdlock(usize) -> i32;
    c_rwlock_wrlock(usize) -> i32;
    c_rwlock_timedwrlock(usize, i64) -> i32;
    c_rwlock_unlock(usize) -> i32;
    c_once_new() -> usize;
    c_once(usize, unsafe extern "C-unwind" fn()) -> i32;
    c_barrier_new(u32) -> usize;
    c_barrier_wait(usize) -> i32;
    c_barrier_destroy(usize) -> i32;
    c_sem_new(u32) -> usize;
    c_sem_wait(usize) -> i32;
    c_sem_timedwait(usize, i64) -> i32;
    c_sem_post(usize) -> i32;
    c_sem_post_by(usize, i32) -> i32;
} }

/// Calls one of them; the objects are made by the library and never freed.
macro_rules! c {
    ($locks:ident.$name:ident($($argument:expr),*)) => {{
        let function = $locks.$name;
        // SAFETY: an object that the library has made, and that lives for good.
        unsafe { function($($argument),*) }
    }};
}

fn locks() -> Option<Locks> {
    let patched = patch_all();
    assert!(is_patched("pthread_mutex_lock"), "{patched}");
    Locks::load()
}

#[test]
fn a_c_mutex_is_held_over_a_wait_by_greenlets_of_two_hubs_and_threads() {
    const ROUNDS: usize = 200;
    let Some(locks) = locks() else { return };
    for kind in [libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK] {
        let mutex = c!(locks.c_mutex_new(kind));
        let (inside, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let work = {
            let rounds = Arc::clone(&rounds);
            move |wait: fn()| {
                for _ in 0..ROUNDS {
                    assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
                    assert!(!inside.swap(true, Ordering::Relaxed));
                    wait();
                    assert!(inside.swap(false, Ordering::Relaxed));
                    rounds.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
                }
            }
        };
        let pool = HubPool::builder().hubs(1).build().unwrap();
        let threads = Vec::from_iter((0..2).map(|_| {
            let work = work.clone();
            thread::spawn(move || work(thread::yield_now))
        }));
        let elsewhere = Vec::from_iter((0..10).map(|_| {
            let work = work.clone();
            pool.spawn(move || work(yield_now))
        }));
        let here = Vec::from_iter((0..10).map(|_| {
            let work = work.clone();
            spawn(move || work(yield_now))
        }));
        assert!(joinall(here).iter().all(Result::is_ok));
        assert!(joinall(elsewhere).iter().all(Result::is_ok));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(rounds.load(Ordering::Relaxed), 22 * ROUNDS);
    }
}

#[test]
fn locks_leave_the_error_number_alone() {
    let Some(locks) = locks() else { return };
    let mutex = c!(locks.c_mutex_new(0));
    let set = |number| {
        // SAFETY: it has no preconditions.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: the thread's own number.
        unsafe { *place = number };
    };
    assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
    let waiter = spawn(move || {
        set(libc::EXDEV);
        assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EXDEV));
        assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
    });
    yield_now();
    set(libc::ENOENT);
    assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
    waiter.join().unwrap();
}

#[test]
fn a_recursive_mutex_is_owned_by_a_greenlet_and_not_by_its_thread() {
    let Some(locks) = locks() else { return };
    let mutex = c!(locks.c_mutex_new(libc::PTHREAD_MUTEX_RECURSIVE));
    let trace = Rc::new(std::cell::RefCell::new(String::new()));
    let owner = spawn({
        let trace = Rc::clone(&trace);
        move || {
            for _ in 0..3 {
                assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
            }
            for _ in 0..3 {
                yield_now();
                trace.borrow_mut().push('o');
                assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
            }
        }
    });
    let other = spawn({
        let trace = Rc::clone(&trace);
        move || {
            assert_eq!(c!(locks.c_mutex_trylock(mutex)), libc::EBUSY);
            assert_eq!(c!(locks.c_mutex_unlock(mutex)), libc::EPERM);
            assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
            trace.borrow_mut().push('t');
            assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
        }
    });
    yield_now();
    assert_eq!(c!(locks.c_mutex_trylock(mutex)), libc::EBUSY);
    owner.join().unwrap();
    other.join().unwrap();
    assert_eq!(*trace.borrow(), "ooot");
    // And the thread's own stack is an owner as well.
    assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
    let other = spawn(move || c!(locks.c_mutex_timedlock(mutex, 5)));
    assert_eq!(other.join().unwrap(), libc::ETIMEDOUT);
    assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
}

#[test]
fn a_mutex_that_checks_errors_finds_them() {
    let Some(locks) = locks() else { return };
    let mutex = c!(locks.c_mutex_new(libc::PTHREAD_MUTEX_ERRORCHECK));
    spawn(move || {
        assert_eq!(c!(locks.c_mutex_unlock(mutex)), libc::EPERM);
        assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
        assert_eq!(c!(locks.c_mutex_lock(mutex)), libc::EDEADLK);
        let other = spawn(move || {
            assert_eq!(c!(locks.c_mutex_unlock(mutex)), libc::EPERM);
            assert_eq!(c!(locks.c_mutex_badlock(mutex)), libc::EINVAL);
            c!(locks.c_mutex_timedlock(mutex, 5))
        });
        assert_eq!(other.join().unwrap(), libc::ETIMEDOUT);
        assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
    })
    .join()
    .unwrap();
}

#[test]
fn a_c_condition_wakes_in_the_order_of_waiting() {
    let Some(locks) = locks() else { return };
    let (mutex, condition) = (c!(locks.c_mutex_new(0)), c!(locks.c_cond_new(0)));
    let order = Rc::new(std::cell::RefCell::new(Vec::new()));
    let waiters = Vec::from_iter((0..5).map(|i| {
        let order = Rc::clone(&order);
        spawn(move || {
            assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
            assert_eq!(c!(locks.c_cond_wait(condition, mutex)), 0);
            order.borrow_mut().push(i);
            yield_now();
            assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
        })
    }));
    yield_now();
    assert_eq!(c!(locks.c_cond_signal(condition)), 0);
    assert_eq!(c!(locks.c_cond_signal(condition)), 0);
    assert_eq!(c!(locks.c_cond_broadcast(condition)), 0);
    joinall(waiters);
    assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
    assert_eq!(c!(locks.c_cond_destroy(condition)), 0);
}

#[test]
fn a_c_condition_passes_between_threads_and_greenlets() {
    const ROUNDS: usize = 2000;
    let Some(locks) = locks() else { return };
    let (mutex, condition) = (c!(locks.c_mutex_new(0)), c!(locks.c_cond_new(0)));
    let turn = Arc::new(AtomicUsize::new(0));
    const PLAYERS: usize = 6;
    let play = move |me: usize, turn: &AtomicUsize| {
        for _ in 0..ROUNDS {
            assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
            while turn.load(Ordering::Relaxed) % PLAYERS != me {
                assert_eq!(c!(locks.c_cond_wait(condition, mutex)), 0);
            }
            turn.fetch_add(1, Ordering::Relaxed);
            assert_eq!(c!(locks.c_cond_broadcast(condition)), 0);
            assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
        }
    };
    let threads = Vec::from_iter((0..2).map(|i| {
        let turn = Arc::clone(&turn);
        thread::spawn(move || play(i, &turn))
    }));
    let greenlets = Vec::from_iter((2..PLAYERS).map(|i| {
        let turn = Arc::clone(&turn);
        spawn(move || play(i, &turn))
    }));
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(turn.load(Ordering::Relaxed), ROUNDS * PLAYERS);
}

#[test]
fn waits_for_c_conditions_and_semaphores_end_at_their_time_by_either_clock() {
    let Some(locks) = locks() else { return };
    let ticks = Rc::new(Cell::new(0));
    let waits = Vec::from_iter((0..2).map(|monotonic| {
        spawn(move || {
            let (mutex, condition) = (c!(locks.c_mutex_new(0)), c!(locks.c_cond_new(monotonic)));
            let begin = Instant::now();
            assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
            assert_eq!(c!(locks.c_cond_timedwait(condition, mutex, monotonic, 20)), libc::ETIMEDOUT);
            assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
            assert!(begin.elapsed() >= Duration::from_millis(19));
            let semaphore = c!(locks.c_sem_new(0));
            assert_eq!(c!(locks.c_sem_timedwait(semaphore, 5)), -1);
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ETIMEDOUT));
            let rwlock = c!(locks.c_rwlock_new());
            assert_eq!(c!(locks.c_rwlock_rdlock(rwlock)), 0);
            assert_eq!(c!(locks.c_rwlock_timedwrlock(rwlock, 5)), libc::ETIMEDOUT);
            begin.elapsed()
        })
    }));
    while !waits.iter().all(|wait| wait.greenlet().is_finished()) {
        ticks.set(ticks.get() + 1);
        yield_now();
    }
    assert!(joinall(waits).iter().all(Result::is_ok));
    assert!(ticks.get() > 2);
}

#[test]
fn c_readers_share_and_c_writers_do_not() {
    let Some(locks) = locks() else { return };
    let lock = c!(locks.c_rwlock_new());
    let (readers, most, writers) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let greenlets = Vec::from_iter((0..30).map(|i| {
        let (readers, most, writers) = (Rc::clone(&readers), Rc::clone(&most), Rc::clone(&writers));
        spawn(move || {
            if i % 3 == 0 {
                assert_eq!(c!(locks.c_rwlock_wrlock(lock)), 0);
                assert_eq!((readers.get(), writers.replace(1)), (0, 0));
                yield_now();
                assert_eq!((readers.get(), writers.replace(0)), (0, 1));
            } else {
                assert_eq!(c!(locks.c_rwlock_rdlock(lock)), 0);
                readers.set(readers.get() + 1);
                most.set(most.get().max(readers.get()));
                yield_now();
                assert_eq!(writers.get(), 0);
                readers.set(readers.get() - 1);
            }
            assert_eq!(c!(locks.c_rwlock_unlock(lock)), 0);
        })
    }));
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    assert!(most.get() > 1);
}

static RUNS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C-unwind" fn slow_routine() {
    sleep(Duration::from_millis(5));
    RUNS.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C-unwind" fn failing_routine() {
    yield_now();
    if RUNS.fetch_add(1, Ordering::Relaxed) == 0 {
        panic!("on purpose");
    }
}

#[test]
fn a_c_routine_runs_once_and_again_only_if_it_has_unwound() {
    let Some(locks) = locks() else { return };
    let once = c!(locks.c_once_new());
    let work = move || {
        assert_eq!(c!(locks.c_once(once, slow_routine)), 0);
        assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    };
    let thread = thread::spawn(work);
    let greenlets = Vec::from_iter((0..10).map(|_| spawn(work)));
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    thread.join().unwrap();

    RUNS.store(0, Ordering::Relaxed);
    let once = c!(locks.c_once_new());
    let work = move || catch_unwind(AssertUnwindSafe(|| c!(locks.c_once(once, failing_routine)))).is_err();
    let failed = joinall(Vec::from_iter((0..5).map(|_| spawn(work))));
    assert_eq!(failed.into_iter().filter(|failed| *failed.as_ref().unwrap()).count(), 1);
    assert_eq!(RUNS.load(Ordering::Relaxed), 2);
}

#[test]
fn a_c_barrier_gathers_greenlets_and_threads() {
    const ROUNDS: usize = 50;
    let Some(locks) = locks() else { return };
    // More than are woken between two holds of a lock.
    let barrier = c!(locks.c_barrier_new(42));
    let leaders = Arc::new(AtomicUsize::new(0));
    let work = {
        let leaders = Arc::clone(&leaders);
        move || {
            for round in 0..ROUNDS {
                assert!(leaders.load(Ordering::SeqCst) <= round);
                match c!(locks.c_barrier_wait(barrier)) {
                    0 => {}
                    result => {
                        assert_eq!(result, libc::PTHREAD_BARRIER_SERIAL_THREAD);
                        leaders.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        }
    };
    let threads = Vec::from_iter((0..2).map(|_| thread::spawn(work.clone())));
    let greenlets = Vec::from_iter((0..40).map(|_| spawn(work.clone())));
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(leaders.load(Ordering::Relaxed), ROUNDS);
    assert_eq!(c!(locks.c_barrier_destroy(barrier)), 0);
}

#[test]
fn a_c_semaphore_is_posted_by_threads_and_greenlets() {
    const ROUNDS: usize = 500;
    let Some(locks) = locks() else { return };
    let semaphore = c!(locks.c_sem_new(2));
    let work = move |wait: fn()| {
        for _ in 0..ROUNDS {
            assert_eq!(c!(locks.c_sem_wait(semaphore)), 0);
            wait();
            assert_eq!(c!(locks.c_sem_post(semaphore)), 0);
        }
    };
    let threads = Vec::from_iter((0..2).map(|_| thread::spawn(move || work(thread::yield_now))));
    let greenlets = Vec::from_iter((0..10).map(|_| spawn(move || work(yield_now))));
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_unit_that_a_signals_handler_adds_is_found() {
    let Some(locks) = locks() else { return };
    let semaphore = c!(locks.c_sem_new(0));
    assert_eq!(c!(locks.c_sem_post_by(semaphore, libc::SIGUSR2)), 0);
    let waiters = Vec::from_iter((0..3).map(|_| spawn(move || c!(locks.c_sem_wait(semaphore)))));
    yield_now();
    for _ in 0..3 {
        // SAFETY: the signal has a handler.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
    }
    assert!(joinall(waiters).into_iter().all(|result| result.unwrap() == 0));
}

#[test]
fn a_thread_is_joined_while_others_run() {
    patch_all();
    let ticks = Rc::new(Cell::new(0));
    let joiner = spawn(|| {
        // Real sleeps, since a thread without a hub makes plain calls.
        let threads = Vec::from_iter((0..5).map(|i| {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                i
            })
        }));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>()
    });
    while !joiner.greenlet().is_finished() {
        ticks.set(ticks.get() + 1);
        yield_now();
    }
    assert_eq!(joiner.join().unwrap(), 10);
    assert!(ticks.get() > 2);
}

#[test]
fn a_unit_that_a_handler_adds_is_not_missed_at_the_deadline() {
    let Some(locks) = locks() else { return };
    let semaphore = c!(locks.c_sem_new(0));
    assert_eq!(c!(locks.c_sem_post_by(semaphore, libc::SIGALRM)), 0);
    let waiter = spawn(move || c!(locks.c_sem_timedwait(semaphore, 50)));
    yield_now();
    // SAFETY: the signal has a handler.
    assert_eq!(unsafe { libc::raise(libc::SIGALRM) }, 0);
    assert_eq!(waiter.join().unwrap(), 0);
}

#[test]
fn writers_of_a_c_lock_take_turns() {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 50;
    let Some(locks) = locks() else { return };
    let lock = c!(locks.c_rwlock_new());
    let (total, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let writers = Vec::from_iter((0..WRITERS).map(|_| {
        let (total, most) = (Rc::clone(&total), Rc::clone(&most));
        spawn(move || {
            for round in 1.. {
                assert_eq!(c!(locks.c_rwlock_wrlock(lock)), 0);
                total.set(total.get() + 1);
                most.set(most.get().max(round));
                yield_now();
                assert_eq!(c!(locks.c_rwlock_unlock(lock)), 0);
                if total.get() >= WRITERS * ROUNDS {
                    return;
                }
                yield_now();
            }
        })
    }));
    joinall(writers);
    assert!(most.get() < 2 * ROUNDS, "one had {} turns of {}", most.get(), total.get());
}

#[test]
fn a_wake_up_for_a_greenlet_whose_hub_ends_is_passed_on() {
    let Some(locks) = locks() else { return };
    let mutex = c!(locks.c_mutex_new(0));
    assert_eq!(c!(locks.c_mutex_lock(mutex)), 0);
    let (waits, is_waiting) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let ending = thread::spawn(move || {
        drop(spawn(move || c!(locks.c_mutex_lock(mutex))));
        yield_now();
        waits.send(()).unwrap();
        greenlet_hub::no_switch(|| ends.recv().unwrap());
    });
    is_waiting.recv().unwrap();
    let second = spawn(move || c!(locks.c_mutex_lock(mutex)));
    yield_now();
    assert_eq!(c!(locks.c_mutex_unlock(mutex)), 0);
    end.send(()).unwrap();
    ending.join().unwrap();
    assert_eq!(second.join().unwrap(), 0);
}
