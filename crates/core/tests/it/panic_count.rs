//! Taking the count of panics off a thread, and putting it back.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread::{self, panicking};

use greenlet_core::{Coroutine, CoroutinePool, DEFAULT_STACK_SIZE, Resumed, Suspender, take_panic_count};

#[cfg(target_os = "linux")]
use crate::child::in_child;
use crate::support::suspend;

/// Runs `body` inside a `Drop` in the middle of an unwind, and catches it.
fn while_unwinding<R>(body: impl FnOnce() -> R) -> R {
    struct OnDrop<'a, R, F: FnOnce() -> R>(Option<F>, &'a Cell<Option<R>>);
    impl<R, F: FnOnce() -> R> Drop for OnDrop<'_, R, F> {
        fn drop(&mut self) {
            if let Some(body) = self.0.take() {
                self.1.set(Some(body()));
            }
        }
    }
    let result = Cell::new(None);
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        let _on_drop = OnDrop(Some(body), &result);
        panic::resume_unwind(Box::new("the outer one"));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"the outer one"));
    result.take().unwrap()
}

/// What every code may expect that is not unwinding itself.
fn assert_that_nobody_panics() {
    assert!(!panicking());
    let mutex = Mutex::new(0);
    *mutex.lock().unwrap() += 1;
    assert!(!mutex.is_poisoned());
    let caught = panic::catch_unwind(|| panic::resume_unwind(Box::new(7)));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7));
    assert!(!panicking());
    // A panic with the hook, in the middle of which a mutex is locked and unlocked.
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        let _guard = mutex.lock().unwrap();
        panic!("expected");
    }));
    assert!(caught.is_err() && mutex.is_poisoned());
    assert!(!panicking());
}

#[test]
fn without_a_panic_nothing_is_taken() {
    let taken = take_panic_count().unwrap();
    assert_eq!(taken.count(), 0);
    assert_eq!(format!("{taken:?}"), "TakenPanicCount(0)");
    taken.restore();
    drop(take_panic_count());
    assert_that_nobody_panics();
}

#[test]
fn what_unwinds_is_not_panicking_while_its_count_is_taken() {
    while_unwinding(|| {
        assert!(panicking());
        let taken = take_panic_count().unwrap();
        assert_eq!(taken.count(), 1);
        assert_that_nobody_panics();
        taken.restore();
        assert!(panicking());
    });
    assert_that_nobody_panics();
}

#[test]
fn mutexes_are_poisoned_by_the_panics_that_begin_while_they_are_held() {
    let (outer, before, between, after) = (Mutex::new(()), Mutex::new(()), Mutex::new(()), Mutex::new(()));
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        let _outer = outer.lock().unwrap();
        while_unwinding(|| {
            let locked_before = before.lock().unwrap();
            let taken = take_panic_count().unwrap();
            drop(locked_before);
            let locked_between = between.lock().unwrap();
            taken.restore();
            drop(locked_between);
            drop(after.lock().unwrap());
        });
        assert!(!panicking());
        panic::resume_unwind(Box::new(()));
    }));
    assert!(caught.is_err());
    assert!(outer.is_poisoned());
    assert!(!before.is_poisoned());
    // As std has it: it was locked in peace, and unlocked during a panic.
    assert!(between.is_poisoned());
    assert!(!after.is_poisoned());
}

#[test]
fn panics_within_panics_are_all_taken() {
    while_unwinding(|| {
        while_unwinding(|| {
            while_unwinding(|| {
                let taken = take_panic_count().unwrap();
                assert_eq!(taken.count(), 3);
                assert_that_nobody_panics();
                taken.restore();
                assert!(panicking());
            });
            // The inner panic has been caught: two are left.
            let taken = take_panic_count().unwrap();
            assert_eq!(taken.count(), 2);
            taken.restore();
        });
        assert!(panicking());
        let taken = take_panic_count().unwrap();
        assert_eq!(taken.count(), 1);
        while_unwinding(|| {
            let inner = take_panic_count().unwrap();
            assert_eq!(inner.count(), 1);
            assert_that_nobody_panics();
            inner.restore();
        });
        assert_that_nobody_panics();
        taken.restore();
    });
    assert_that_nobody_panics();
}

/// A job that suspends `message` times within one `Drop`, unwinding.
fn suspends_while_unwinding(suspender: Suspender, message: usize) {
    while_unwinding(|| {
        for _ in 0..message {
            let taken = take_panic_count().unwrap();
            suspend(suspender);
            assert!(!panicking());
            taken.restore();
            assert!(panicking());
        }
    });
    assert!(!panicking());
}

/// Starts `number` coroutines that all wait in the middle of their unwinding.
fn all_unwinding(pool: &mut CoroutinePool, number: usize, times: usize) -> Vec<Coroutine> {
    let mut coroutines: Vec<_> = (0..number).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
    for coroutine in &mut coroutines {
        assert_eq!(coroutine.resume(times), Resumed::Suspended);
        assert!(!panicking());
    }
    coroutines
}

#[test]
fn a_hundred_coroutines_wait_while_they_unwind_and_nobody_notices() {
    let mut pool = CoroutinePool::new(suspends_while_unwinding);
    let mut coroutines = all_unwinding(&mut pool, 100, 3);
    for _ in 0..2 {
        for coroutine in coroutines.iter_mut().rev() {
            assert_eq!(coroutine.resume(0), Resumed::Suspended);
            assert!(!panicking());
        }
        assert_that_nobody_panics();
    }
    // This thread unwinds as well, and resumes the others meanwhile.
    while_unwinding(|| {
        let taken = take_panic_count().unwrap();
        for mut coroutine in coroutines.drain(50..) {
            assert_eq!(coroutine.resume(0), Resumed::Finished);
            assert_that_nobody_panics();
            pool.give(coroutine);
        }
        taken.restore();
        assert!(panicking());
    });
    assert_that_nobody_panics();
    for mut coroutine in coroutines {
        assert_eq!(coroutine.resume(0), Resumed::Finished);
        pool.give(coroutine);
    }
    assert_that_nobody_panics();
}

#[test]
fn a_coroutine_that_unwinds_after_others_is_not_taken_for_recovered() {
    let mut pool = CoroutinePool::new(suspends_while_unwinding);
    let mut coroutines = all_unwinding(&mut pool, 3, 1);
    let mutex = Mutex::new(());
    let held = mutex.lock().unwrap();
    // First in, first out: the panics end in another order than that of a stack.
    for coroutine in &mut coroutines {
        assert_eq!(coroutine.resume(0), Resumed::Finished);
        assert!(!panicking());
    }
    drop(held);
    assert!(!mutex.is_poisoned());
}

#[test]
fn several_threads_take_and_restore_at_the_same_time() {
    const THREADS: usize = 4;
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let barrier = &barrier;
            scope.spawn(move || {
                let mut pool = CoroutinePool::new(suspends_while_unwinding);
                let mut coroutines = all_unwinding(&mut pool, 25, 20);
                barrier.wait();
                for _ in 1..20 {
                    let half = coroutines.len() / 2;
                    coroutines.rotate_left(half + number);
                    for coroutine in &mut coroutines {
                        assert_eq!(coroutine.resume(0), Resumed::Suspended);
                    }
                    assert_that_nobody_panics();
                }
                barrier.wait();
                for coroutine in &mut coroutines {
                    assert_eq!(coroutine.resume(0), Resumed::Finished);
                }
                assert_that_nobody_panics();
            });
        }
    });
    thread::spawn(assert_that_nobody_panics).join().unwrap();
}

#[test]
fn a_count_that_nobody_restores_is_gone() {
    // The coroutine is given up in the middle of its unwinding, as by a hub that ends: with its count on its stack, or elsewhere.
    let mut pool = CoroutinePool::new(suspends_while_unwinding);
    all_unwinding(&mut pool, 5, 1).into_iter().for_each(Coroutine::leak);
    assert_that_nobody_panics();

    fn drops_its_count(suspender: Suspender, _: usize) {
        while_unwinding(|| {
            drop(take_panic_count().unwrap());
            suspend(suspender);
        });
    }
    let mut pool = CoroutinePool::new(drops_its_count);
    all_unwinding(&mut pool, 5, 1).into_iter().for_each(Coroutine::leak);
    assert_that_nobody_panics();
}

#[test]
fn a_thread_whose_count_fell_below_zero_gets_an_error_and_not_all_tokens_there_are() {
    // std looks at a thread's count only while there is a panic anywhere in the process: here this one's.
    let (end, ended) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let panics = thread::spawn(move || {
        while_unwinding(|| {
            begin.send(()).unwrap();
            ended.recv().unwrap_err();
        });
    });
    begun.recv().unwrap();
    let thread = thread::spawn(|| {
        while_unwinding(|| drop(take_panic_count().unwrap()));
        // The unwind went on although its count was given up.
        assert!(panicking());
        for _ in 0..2 {
            take_panic_count().unwrap_err();
            assert!(panicking());
        }
    });
    thread.join().unwrap();
    thread::spawn(assert_that_nobody_panics).join().unwrap();
    drop(end);
    panics.join().unwrap();
}

/// Says how large the address space and the memory of the process are, in pages.
#[cfg(target_os = "linux")]
fn pages() -> (usize, usize) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let mut numbers = statm.split(' ').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[cfg(target_os = "linux")]
mod memory {
    use super::*;

    #[test]
    fn ten_thousand_rounds_need_no_more_than_a_few() {
        let ended = in_child("panic_count::memory::ten_thousand_rounds_need_no_more_than_a_few", || {
            let mut pool = CoroutinePool::new(suspends_while_unwinding);
            let mut round = |times: usize| {
                let mut coroutines = all_unwinding(&mut pool, 4, times);
                for _ in 0..times {
                    for coroutine in &mut coroutines {
                        coroutine.resume(0);
                    }
                }
                coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
            };
            (0..10).for_each(|_| round(10));
            let (space, memory) = pages();
            (0..10).for_each(|_| round(1000));
            (0..100).for_each(|_| round(10));
            let (space_after, memory_after) = pages();
            assert_eq!(space_after, space);
            assert!(memory_after <= memory + 16, "{memory} pages became {memory_after}");
        });
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[cfg(target_os = "linux")]
mod limits {
    use std::io::ErrorKind;

    use super::*;

    /// Lets the process map so many bytes more; `None`: as many as it likes.
    fn limit_space(more: Option<usize>) {
        let rlim_cur = more.map_or(libc::RLIM_INFINITY, |more| (pages().0 * 4096 + more) as libc::rlim_t);
        let limit = libc::rlimit { rlim_cur, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the structure is valid.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    }

    #[test]
    fn without_memory_or_threads_the_count_stays_as_it_was() {
        let ended = in_child("panic_count::limits::without_memory_or_threads_the_count_stays_as_it_was", || {
            // malloc's heap has grown, and asks for nothing below.
            drop(std::hint::black_box(vec![1_u8; 100_000]));
            while_unwinding(|| {
                // Room for the stack of a token, none for that of the thread which starts it.
                limit_space(Some(100 * 1024));
                let (space, _) = pages();
                for _ in 0..10 {
                    assert_eq!(take_panic_count().unwrap_err().kind(), ErrorKind::WouldBlock);
                    assert!(panicking());
                }
                assert_eq!(pages().0, space);
                limit_space(None);
                take_panic_count().unwrap().restore();
                while_unwinding(|| {
                    // One token is there, the other one cannot be made.
                    limit_space(Some(0));
                    for _ in 0..10 {
                        assert_eq!(take_panic_count().unwrap_err().kind(), ErrorKind::OutOfMemory);
                        assert!(panicking());
                    }
                    limit_space(None);
                    let taken = take_panic_count().unwrap();
                    assert_eq!(taken.count(), 2);
                    taken.restore();
                });
            });
            assert_that_nobody_panics();
        });
        assert!(ended.status.success(), "{ended:?}");
    }
}
