//! `RLock`: the greenlet that has it may take it again, and nobody else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_hub::{JoinError, joinall, no_switch, spawn, timeout, yield_now};
use greenlet_sync::{Event, NotOwner, RLock, RLockGuard};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

#[test]
fn its_owner_takes_it_again_without_a_switch() {
    let mut lock = RLock::new(Cell::new(0));
    no_switch(|| {
        let (one, two, three) = (lock.lock(), lock.try_lock().unwrap(), lock.lock_timeout(MS).unwrap());
        one.set(two.get() + three.get() + 1);
    });
    assert!(!lock.is_locked());
    *lock.get_mut().get_mut() += 1;
    assert_eq!(lock.into_inner().get(), 2);
}

#[test]
fn it_is_free_when_the_last_guard_is_dropped_in_whatever_order() {
    let lock = Rc::new(RLock::new(()));
    let (outer, inner) = (lock.lock(), lock.lock());
    let other = spawn({
        let lock = Rc::clone(&lock);
        move || drop(lock.lock())
    });
    yield_now();
    drop(outer);
    yield_now();
    assert!(!other.is_finished());
    drop(inner);
    other.join().unwrap();
}

#[test]
fn another_greenlet_of_the_thread_is_not_its_owner() {
    let lock = Rc::new(RLock::new(1));
    let _guard = lock.lock();
    let other = spawn({
        let lock = Rc::clone(&lock);
        move || {
            assert_eq!(format!("{lock:?}"), "RLock { value: <locked> }");
            lock.try_lock().is_none() && lock.lock_timeout(MS).is_none()
        }
    });
    assert!(other.join().unwrap());
    assert_eq!(format!("{lock:?}"), "RLock { value: 1 }");
}

#[test]
fn what_was_acquired_is_released_by_its_owner_alone() {
    let lock = Rc::new(RLock::new(()));
    assert_eq!(lock.release(), Err(NotOwner));
    lock.acquire();
    lock.acquire();
    let other = spawn({
        let lock = Rc::clone(&lock);
        move || lock.release()
    });
    assert_eq!(other.join().unwrap(), Err(NotOwner));
    assert_eq!(lock.release(), Ok(()));
    assert!(lock.is_locked());
    assert_eq!(lock.release(), Ok(()));
    assert!(!lock.is_locked());
    assert_eq!(lock.release(), Err(NotOwner));
}

#[test]
fn release_does_not_take_what_a_guard_holds() {
    let lock = Rc::new(RLock::new(()));
    let guard = lock.lock();
    assert_eq!(lock.release(), Err(NotOwner));
    lock.acquire();
    assert_eq!(lock.release(), Ok(()));
    assert_eq!(lock.release(), Err(NotOwner));
    assert!(lock.is_locked());
    drop(guard);
    assert!(!lock.is_locked());
}

#[test]
fn those_who_wait_get_it_in_the_order_in_which_they_came() {
    let (lock, trace) = (Rc::new(RLock::new(())), Rc::new(RefCell::new(Vec::new())));
    let guard = lock.lock();
    let greenlets = [1, 2, 3].map(|number| {
        let (lock, trace) = (Rc::clone(&lock), Rc::clone(&trace));
        spawn(move || {
            let _outer = lock.lock();
            let _inner = lock.lock();
            trace.borrow_mut().push(number);
        })
    });
    yield_now();
    drop(guard);
    joinall(greenlets);
    assert_eq!(*trace.borrow(), [1, 2, 3]);
}

#[test]
fn a_killed_owner_unlocks_as_often_as_it_has_locked() {
    let lock = Rc::new(RLock::new(()));
    let owner = spawn({
        let lock = Rc::clone(&lock);
        move || {
            let _guards = (lock.lock(), lock.lock());
            Event::new().wait();
        }
    });
    yield_now();
    assert!(lock.is_locked());
    owner.kill().unwrap();
    assert!(!lock.is_locked());
}

#[test]
fn a_lock_handed_over_in_the_tick_of_a_kill_goes_to_the_next() {
    let lock = Rc::new(RLock::new(()));
    let guard = lock.lock();
    let [first, second] = [(); 2].map(|()| {
        let lock = Rc::clone(&lock);
        spawn(move || drop(lock.lock()))
    });
    yield_now();
    drop(guard);
    first.kill_nowait().unwrap();
    second.join().unwrap();
    assert!(matches!(first.join(), Err(JoinError::Killed)));
}

#[test]
fn the_shorter_of_two_timeouts_ends_it() {
    static LOCK: RLock = RLock::new(());
    let _guard = LOCK.lock();
    let other = spawn(|| {
        assert!(timeout(MS, || LOCK.lock_timeout(HANG).is_some()).is_err());
        assert_eq!(timeout(HANG, || LOCK.lock_timeout(MS).is_some()), Ok(false));
    });
    other.join().unwrap();
}

#[test]
fn a_guard_that_went_to_another_greenlet_unlocks_there() {
    static LOCK: RLock = RLock::new(());
    let guard = LOCK.lock();
    spawn(move || drop(guard)).join().unwrap();
    assert!(!LOCK.is_locked());
    spawn(|| drop(LOCK.lock())).join().unwrap();
}

#[test]
fn threads_and_greenlets_share_it() {
    let count = Arc::new(RLock::new(Cell::new(0)));
    let work = || {
        let count = Arc::clone(&count);
        move || {
            for round in 0..5_000 {
                let outer = count.lock();
                let before = outer.get();
                if round % 64 == 0 {
                    yield_now();
                }
                count.lock().set(before + 1);
            }
        }
    };
    let thread = std::thread::spawn({
        let works = [work(), work()];
        move || joinall(works.map(spawn)).iter().all(Result::is_ok)
    });
    assert!(joinall([work(), work()].map(spawn)).iter().all(Result::is_ok));
    assert!(thread.join().unwrap());
    assert_eq!(count.lock().get(), 20_000);
}

#[test]
fn it_crosses_threads_when_its_payload_may() {
    fn assert_send_sync<T: Send + Sync>() {}
    fn assert_sync<T: Sync>() {}
    assert_send_sync::<RLock<RefCell<i32>>>();
    assert_sync::<RLockGuard<'static, i32>>();
}
