//! Waiting in the middle of an unwind: nobody else notices.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::thread::panicking;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, joinall, sleep, spawn, yield_now};

/// Calls its function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Sees no panic, poisons nothing, panics by itself and is caught.
fn live_a_normal_life(mutex: &Mutex<u32>) {
    assert!(!panicking());
    *mutex.lock().unwrap() += 1;
    let caught = catch_unwind(|| std::panic::resume_unwind(Box::new("its own")));
    assert!(caught.is_err());
    assert!(!panicking());
    *mutex.lock().unwrap() += 1;
    assert!(!mutex.is_poisoned());
}

#[test]
fn a_killed_greenlet_that_waits_while_it_unwinds_is_noticed_by_no_other() {
    let mutex = Rc::new(Mutex::new(0));
    let cleaned = Rc::new(Cell::new(false));
    let killed = spawn({
        let cleaned = Rc::clone(&cleaned);
        move || {
            let _cleanup = OnDrop(move || {
                assert!(panicking());
                sleep(Duration::from_millis(50));
                assert!(panicking());
                cleaned.set(true);
            });
            sleep(Duration::from_secs(60));
        }
    });
    yield_now();
    let other = spawn({
        let (mutex, cleaned) = (Rc::clone(&mutex), Rc::clone(&cleaned));
        move || {
            let mut rounds = 0;
            while !cleaned.get() {
                live_a_normal_life(&mutex);
                rounds += 1;
                yield_now();
            }
            rounds
        }
    });
    let start = Instant::now();
    killed.kill().unwrap();
    // Its cleanup is over when the kill returns.
    assert!(start.elapsed() >= Duration::from_millis(50) && cleaned.get());
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    assert!(other.join().unwrap() > 1);
    assert!(!panicking());
}

#[test]
fn many_greenlets_and_main_unwind_and_wait_at_once() {
    let mutex = Rc::new(Mutex::new(0));
    let unwinding = (0..50).map(|index| {
        let mutex = Rc::clone(&mutex);
        spawn(move || {
            let _cleanup = OnDrop(move || {
                for _ in 0..index % 4 {
                    yield_now();
                }
                sleep(Duration::from_millis(index % 7));
                assert!(panicking());
                // A panic within the unwind that is caught there; and a wait in it.
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _inner = OnDrop(|| sleep(Duration::from_millis(1)));
                    std::panic::resume_unwind(Box::new("inner"));
                }));
                assert!(caught.is_err() && panicking());
            });
            let _waits = mutex.lock().is_ok();
            sleep(Duration::from_secs(60));
        })
    });
    let unwinding: Vec<_> = unwinding.collect();
    yield_now();
    let normal: Vec<_> = (0..50)
        .map(|_| {
            let mutex = Rc::clone(&mutex);
            spawn(move || {
                for _ in 0..20 {
                    live_a_normal_life(&mutex);
                    sleep(Duration::from_micros(500));
                }
            })
        })
        .collect();
    // Main unwinds as well, and waits for all of them in a destructor.
    let joined = Rc::new(Cell::new(0));
    let handles = Cell::new(Some((unwinding, normal)));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _joins = OnDrop(|| {
            let (unwinding, normal) = handles.take().unwrap();
            for greenlet in &unwinding {
                greenlet.kill_nowait().unwrap();
            }
            assert!(panicking());
            joined.set(joinall(unwinding).iter().filter(|result| matches!(result, Err(JoinError::Killed))).count());
            joined.set(joined.get() + joinall(normal).iter().filter(|result| result.is_ok()).count());
            assert!(panicking());
        });
        std::panic::resume_unwind(Box::new("main"));
    }));
    assert!(caught.is_err() && !panicking());
    assert_eq!(joined.get(), 100);
    assert!(!mutex.is_poisoned());
}

#[test]
fn a_kill_that_comes_while_a_greenlet_waits_in_its_unwind_raises_nothing_there() {
    let cleaned = Rc::new(Cell::new(0));
    let greenlet = spawn({
        let cleaned = Rc::clone(&cleaned);
        move || {
            let _cleanup = OnDrop(move || {
                sleep(Duration::from_millis(5));
                yield_now();
                cleaned.set(cleaned.get() + 1);
            });
            sleep(Duration::from_secs(60));
        }
    });
    yield_now();
    greenlet.kill_nowait().unwrap();
    yield_now();
    // In its cleanup by now, where a second unwind would abort.
    greenlet.kill_nowait().unwrap();
    greenlet.kill().unwrap();
    assert_eq!(cleaned.get(), 1);
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
}
