//! `Condition`: who is woken by which notification, and that none is lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, JoinHandle, joinall, no_switch, spawn, timeout, yield_now};
use greenlet_sync::{Condition, Lock};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Board {
    lock: Rc<Lock<()>>,
    changed: Rc<Condition>,
    trace: Rc<RefCell<Vec<&'static str>>>,
}

impl Board {
    /// A greenlet that waits for one notification, and writes it down.
    fn waiter(&self, name: &'static str) -> JoinHandle<()> {
        let board = self.clone();
        spawn(move || {
            let _guard = board.changed.wait(board.lock.lock());
            assert!(board.lock.is_locked());
            board.trace.borrow_mut().push(name);
        })
    }

    fn trace(&self) -> String {
        self.trace.take().join(" ")
    }
}

fn work(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[test]
fn a_notification_wakes_the_one_who_has_waited_longest() {
    let board = Board::default();
    let waiters = ["a", "b", "c", "d"].map(|name| board.waiter(name));
    yield_now();
    assert!(board.changed.notify_one());
    yield_now();
    assert_eq!(board.trace(), "a");
    assert_eq!(board.changed.notify_n(2), 2);
    yield_now();
    assert_eq!(board.trace(), "b c");
    assert_eq!(board.changed.notify_n(usize::MAX), 1);
    joinall(waiters);
    assert_eq!(board.trace(), "d");
    assert!(!board.changed.notify_one());
}

#[test]
fn all_are_woken_and_get_the_lock_in_order() {
    let board = Board::default();
    let waiters = ["a", "b", "c"].map(|name| board.waiter(name));
    yield_now();
    let guard = board.lock.lock();
    assert_eq!(board.changed.notify_all(), 3);
    yield_now();
    assert_eq!(board.trace(), "", "the lock is not free");
    drop(guard);
    joinall(waiters);
    assert_eq!(board.trace(), "a b c");
}

#[test]
fn a_notification_that_nobody_waits_for_is_gone() {
    let (lock, changed) = (Lock::new(()), Condition::new());
    assert_eq!(changed.notify_all(), 0);
    assert!(!changed.wait_timeout(lock.lock(), MS).1);
}

#[test]
fn a_wait_leaves_the_lock_to_others_and_comes_back_with_it() {
    let (lock, changed) = (Lock::new(1), Condition::new());
    let (mut guard, notified) = changed.wait_timeout(lock.lock(), MS);
    assert!(!notified && lock.is_locked());
    *guard += 1;
    drop(guard);
    assert_eq!(*lock.lock(), 2);
}

#[test]
fn a_predicate_that_is_true_is_not_waited_for() {
    let (lock, changed) = (Lock::new(1), Condition::new());
    no_switch(|| {
        assert_eq!(*changed.wait_for(lock.lock(), |value| *value == 1), 1);
        assert!(changed.wait_for_timeout(lock.lock(), |value| *value == 1, MS).1);
    });
    assert!(!changed.wait_for_timeout(lock.lock(), |value| *value == 2, MS).1);
}

#[test]
fn a_predicate_is_asked_again_after_each_notification() {
    static LOCK: Lock<u32> = Lock::new(0);
    static CHANGED: Condition = Condition::new();
    let asked = Rc::new(RefCell::new(Vec::new()));
    let waiting = spawn({
        let asked = Rc::clone(&asked);
        move || {
            let ask = |value: &mut u32| {
                asked.borrow_mut().push(*value);
                *value == 2
            };
            CHANGED.wait_for_timeout(LOCK.lock(), ask, HANG).1
        }
    });
    for _ in 0..2 {
        yield_now();
        *LOCK.lock() += 1;
        CHANGED.notify_one();
    }
    assert!(waiting.join().unwrap());
    assert_eq!(*asked.borrow(), [0, 1, 2]);
}

#[test]
fn a_notification_in_the_tick_of_a_kill_goes_to_the_next() {
    let board = Board::default();
    let (first, second) = (board.waiter("first"), board.waiter("second"));
    yield_now();
    board.changed.notify_one();
    first.kill_nowait().unwrap();
    second.join().unwrap();
    assert!(matches!(first.join(), Err(JoinError::Killed)));
    assert_eq!(board.trace(), "second");
}

#[test]
fn a_notification_whose_receiver_is_killed_while_he_waits_for_the_lock_goes_to_the_next() {
    let board = Board::default();
    let (first, second) = (board.waiter("first"), board.waiter("second"));
    yield_now();
    let guard = board.lock.lock();
    board.changed.notify_one();
    yield_now();
    first.kill().unwrap();
    drop(guard);
    second.join().unwrap();
    assert_eq!(board.trace(), "second");
    assert!(!board.lock.is_locked());
}

#[test]
fn a_notification_in_the_tick_of_an_outer_timeout_goes_to_the_next() {
    let board = Board::default();
    let first = spawn({
        let board = board.clone();
        move || timeout(MS, || drop(board.changed.wait(board.lock.lock()))).is_err()
    });
    let second = board.waiter("second");
    yield_now();
    work(2 * MS);
    // So many run before the first that the hub looks at its timers when he is ready already.
    let others: Vec<_> = (0..200).map(|_| spawn(|| ())).collect();
    board.changed.notify_one();
    joinall(others);
    assert!(first.join().unwrap());
    second.join().unwrap();
}

#[test]
fn a_notification_after_the_deadline_goes_to_the_next() {
    let board = Board::default();
    let (lock, changed) = (Rc::clone(&board.lock), Rc::clone(&board.changed));
    let first = spawn(move || changed.wait_timeout(lock.lock(), MS).1);
    let second = board.waiter("second");
    assert!(!first.join().unwrap());
    assert!(board.changed.notify_one());
    second.join().unwrap();
}

#[test]
fn a_killed_waiter_leaves_the_lock_alone() {
    let board = Board::default();
    let waiter = board.waiter("a");
    yield_now();
    let guard = board.lock.lock();
    waiter.kill().unwrap();
    assert!(board.lock.is_locked());
    drop(guard);
    assert!(!board.lock.is_locked());
    assert!(!board.changed.notify_one());
}

#[test]
fn the_lock_is_waited_for_after_the_time_has_passed() {
    let board = Board::default();
    let waiting = spawn({
        let board = board.clone();
        move || board.changed.wait_timeout(board.lock.lock(), MS).1
    });
    yield_now();
    let guard = board.lock.lock();
    assert!(!waiting.wait_timeout(20 * MS));
    drop(guard);
    assert!(!waiting.join().unwrap());
}

#[test]
fn an_outer_timeout_that_is_shorter_ends_it() {
    let (lock, changed) = (Lock::new(()), Condition::new());
    assert!(timeout(MS, || drop(changed.wait(lock.lock()))).is_err());
    assert!(timeout(MS, || changed.wait_timeout(lock.lock(), HANG).1).is_err());
    assert!(!lock.is_locked());
}

#[test]
#[should_panic = "a wait inside no_switch"]
fn waiting_inside_no_switch_panics() {
    let (lock, changed) = (Lock::new(()), Condition::new());
    no_switch(|| drop(changed.wait(lock.lock())));
}

#[test]
fn stale_waiters_do_not_pile_up() {
    let (lock, changed) = (Lock::new(()), Condition::new());
    for _ in 0..1_000 {
        assert!(!changed.wait_timeout(lock.lock(), Duration::ZERO).1);
    }
    assert_eq!(format!("{changed:?}"), "Condition { waiting: 0 }");
}

#[test]
fn threads_and_greenlets_hand_things_over_through_it() {
    const ITEMS: u32 = 5_000;
    let shared = Arc::new((Lock::new(VecDeque::new()), Condition::new()));
    let producers = [(); 2].map(|()| {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            for item in 1..=ITEMS {
                shared.0.lock().push_back(item);
                shared.1.notify_one();
            }
        })
    });
    let consumers = [(); 2].map(|()| {
        let shared = Arc::clone(&shared);
        spawn(move || {
            let mut sum = 0;
            for _ in 0..ITEMS {
                let mut items = shared.1.wait_for(shared.0.lock(), |items| !items.is_empty());
                sum += u64::from(items.pop_front().unwrap());
            }
            sum
        })
    });
    let sum: u64 = joinall(consumers).into_iter().map(Result::unwrap).sum();
    assert_eq!(sum, u64::from(ITEMS) * u64::from(ITEMS + 1));
    for producer in producers {
        producer.join().unwrap();
    }
}

#[test]
fn it_crosses_threads() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<Condition>();
}
