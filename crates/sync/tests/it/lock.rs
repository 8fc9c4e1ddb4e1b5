//! `Lock`: one at a time, in order, and nothing is lost when somebody gives up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, JoinHandle, joinall, no_switch, spawn, timeout, yield_now};
use greenlet_sync::{Event, Lock, LockGuard};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

/// Names of those who have had the lock, in order.
type Names = Rc<Lock<Vec<&'static str>>>;

fn writer(names: &Names, name: &'static str) -> JoinHandle<()> {
    let names = Rc::clone(names);
    spawn(move || names.lock().push(name))
}

#[test]
fn a_free_lock_is_taken_without_a_switch() {
    let mut lock = Lock::new(1);
    no_switch(|| {
        *lock.lock() += 1;
        *lock.try_lock().unwrap() += 1;
        *lock.lock_timeout(MS).unwrap() += 1;
    });
    *lock.get_mut() += 1;
    assert_eq!(lock.into_inner(), 5);
}

#[test]
fn it_is_locked_as_long_as_its_guard_lives() {
    let lock = Lock::new("value");
    let guard = lock.lock();
    assert!(lock.is_locked());
    assert!(lock.try_lock().is_none());
    assert!(lock.lock_timeout(MS).is_none());
    assert_eq!(format!("{lock:?}, {guard:?}, {guard}"), "Lock { value: <locked> }, \"value\", value");
    drop(guard);
    assert!(!lock.is_locked());
    assert_eq!(format!("{lock:?}"), "Lock { value: \"value\" }");
}

#[test]
fn those_who_wait_get_it_in_the_order_in_which_they_came() {
    let names = Names::default();
    let guard = names.lock();
    let writers = ["a", "b", "c"].map(|name| writer(&names, name));
    yield_now();
    drop(guard);
    assert!(names.lock().is_empty(), "unlocking never switches");
    joinall(writers);
    assert_eq!(*names.lock(), ["a", "b", "c"]);
}

#[test]
fn it_is_held_over_waits() {
    let (lock, inside) = (Rc::new(Lock::new(())), Rc::new(Cell::new(false)));
    let greenlets = (0..5).map(|_| {
        let (lock, inside) = (Rc::clone(&lock), Rc::clone(&inside));
        spawn(move || {
            for _ in 0..10 {
                let _guard = lock.lock();
                assert!(!inside.replace(true));
                yield_now();
                inside.set(false);
            }
        })
    });
    assert!(joinall(greenlets).iter().all(Result::is_ok));
}

#[test]
fn a_hog_cannot_keep_the_others_out() {
    let names = Names::default();
    let other = writer(&names, "other");
    let mut rounds = 0;
    while !other.is_finished() {
        let _guard = names.lock();
        yield_now();
        rounds += 1;
        assert!(rounds < 10, "starved");
    }
}

#[test]
fn a_killed_holder_unlocks_its_own_lock() {
    let (one, other) = (Rc::new(Lock::new(())), Lock::new(()));
    let _held = other.lock();
    let holder = spawn({
        let one = Rc::clone(&one);
        move || {
            let _guard = one.lock();
            Event::new().wait();
        }
    });
    yield_now();
    assert!(one.is_locked());
    holder.kill().unwrap();
    assert!(!one.is_locked());
    assert!(other.is_locked());
}

#[test]
fn a_panic_does_not_poison() {
    let lock = Rc::new(Lock::new(1));
    let panicking = spawn({
        let lock = Rc::clone(&lock);
        move || {
            let _guard = lock.lock();
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    });
    assert!(matches!(panicking.join(), Err(JoinError::Panicked(_))));
    assert_eq!(*lock.lock(), 1);
}

#[test]
fn a_lock_handed_over_in_the_tick_of_a_kill_goes_to_the_next() {
    let names = Names::default();
    let guard = names.lock();
    let (first, second) = (writer(&names, "first"), writer(&names, "second"));
    yield_now();
    drop(guard);
    first.kill_nowait().unwrap();
    second.join().unwrap();
    assert!(matches!(first.join(), Err(JoinError::Killed)));
    assert_eq!(*names.lock(), ["second"]);
}

#[test]
fn a_lock_handed_over_in_the_tick_of_a_timeout_is_taken() {
    let lock = Rc::new(Lock::new(()));
    let guard = lock.lock();
    let waiting = spawn({
        let lock = Rc::clone(&lock);
        move || lock.lock_timeout(MS).is_some()
    });
    yield_now();
    let start = Instant::now();
    while start.elapsed() < 2 * MS {
        std::hint::spin_loop();
    }
    drop(guard);
    assert!(waiting.join().unwrap());
}

#[test]
fn a_waiter_that_timed_out_leaves_the_lock_to_the_next() {
    let names = Names::default();
    let guard = names.lock();
    let first = spawn({
        let names = Rc::clone(&names);
        move || names.lock_timeout(MS).is_none()
    });
    let second = writer(&names, "second");
    assert!(first.join().unwrap());
    drop(guard);
    second.join().unwrap();
}

#[test]
fn the_shorter_of_two_timeouts_ends_it() {
    let lock = Lock::new(());
    let _guard = lock.lock();
    assert!(timeout(MS, || lock.lock_timeout(HANG).is_some()).is_err());
    assert_eq!(timeout(HANG, || lock.lock_timeout(MS).is_some()), Ok(false));
}

#[test]
#[should_panic = "a wait inside no_switch"]
fn waiting_inside_no_switch_panics() {
    let lock = Lock::new(());
    let _guard = lock.lock();
    no_switch(|| drop(lock.lock()));
}

#[test]
fn a_guard_may_go_to_another_greenlet_of_the_hub() {
    static LOCK: Lock<i32> = Lock::new(0);
    let guard = LOCK.lock();
    spawn(move || drop(guard));
    *LOCK.lock() += 1;
}

#[test]
fn it_takes_payloads_that_are_not_sized() {
    let lock: Box<Lock<[i32]>> = Box::new(Lock::new([1, 2, 3]));
    lock.lock()[1] = 5;
    assert_eq!(lock.lock().iter().sum::<i32>(), 9);
}

#[test]
fn it_takes_payloads_that_stay_on_their_thread() {
    let lock = Rc::new(Lock::new(Rc::new(RefCell::new(1))));
    let guard = lock.lock();
    let other = spawn({
        let lock = Rc::clone(&lock);
        move || *lock.lock().borrow()
    });
    yield_now();
    *guard.borrow_mut() += 1;
    drop(guard);
    assert_eq!(other.join().unwrap(), 2);
}

#[test]
fn threads_and_greenlets_share_it() {
    let count = Arc::new(Lock::new(0));
    let work = || {
        let count = Arc::clone(&count);
        move || {
            for round in 0..5_000 {
                let mut count = count.lock();
                let before = *count;
                if round % 64 == 0 {
                    yield_now();
                }
                *count = before + 1;
            }
        }
    };
    let thread = std::thread::spawn({
        let works = [work(), work()];
        move || joinall(works.map(spawn)).iter().all(Result::is_ok)
    });
    assert!(joinall([work(), work()].map(spawn)).iter().all(Result::is_ok));
    assert!(thread.join().unwrap());
    assert_eq!(*count.lock(), 20_000);
}

#[test]
fn it_crosses_threads_when_its_payload_may() {
    fn assert_send_sync<T: Send + Sync + ?Sized>() {}
    fn assert_sync<T: Sync>() {}
    // As std's: one thread at a time reaches the payload, so it need not be `Sync`.
    assert_send_sync::<Lock<Cell<i32>>>();
    assert_send_sync::<Lock<dyn Send>>();
    assert_sync::<LockGuard<'static, i32>>();
}

#[test]
fn a_value_that_is_given_out_is_dropped_once() {
    let value = Rc::new(());
    drop(Lock::new(Rc::clone(&value)));
    drop(Lock::new(Rc::clone(&value)).into_inner());
    assert_eq!(Rc::strong_count(&value), 1);
}
