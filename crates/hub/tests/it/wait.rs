//! The primitive: waits, waiters and lists of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{Outcome, Reason, Wait, WaitList, WaitQueue, Waiter, joinall, sleep, spawn, yield_now};

const MS: Duration = Duration::from_millis(1);

fn begin() -> (Wait, Waiter) {
    let wait = Wait::begin(Reason::new("the test"));
    let waiter = wait.waiter();
    (wait, waiter)
}

#[test]
fn a_wait_that_was_notified_before_it_slept_returns_at_once() {
    let (wait, waiter) = begin();
    assert!(waiter.is_waiting());
    assert!(waiter.notify());
    assert!(!waiter.notify() && !waiter.is_waiting());
    assert_eq!(wait.until(None), Outcome::Notified);
}

#[test]
fn a_dropped_wait_is_over() {
    let (wait, waiter) = begin();
    drop(wait);
    assert!(!waiter.is_waiting() && !waiter.notify());
}

#[test]
fn a_yield_between_begin_and_until_loses_nothing() {
    let (wait, waiter) = begin();
    spawn(move || assert!(waiter.notify()));
    yield_now();
    assert_eq!(wait.until(None), Outcome::Notified);
}

#[test]
fn a_second_wait_ends_the_first() {
    let (first, waiter) = begin();
    sleep(MS);
    assert!(!waiter.is_waiting() && !waiter.notify());
    let misused = catch_unwind(AssertUnwindSafe(|| first.until(Some(Instant::now() + MS))));
    assert!(misused.is_err());
    // Nothing of it is left.
    sleep(MS);
    let (wait, waiter) = begin();
    assert!(waiter.notify());
    assert_eq!(wait.until(None), Outcome::Notified);
}

#[test]
fn dropping_a_wait_that_is_over_leaves_the_last_one_alone() {
    let (first, _) = begin();
    let (second, waiter) = begin();
    drop(first);
    assert!(waiter.is_waiting());
    assert!(waiter.notify());
    assert_eq!(second.until(None), Outcome::Notified);
}

#[test]
fn a_wait_is_of_no_use_to_another_greenlet() {
    let (wait, waiter) = begin();
    let other = spawn(move || {
        let (own, own_waiter) = begin();
        let misused = catch_unwind(AssertUnwindSafe(|| wait.until(None)));
        assert!(own_waiter.notify());
        (misused.is_err(), own.until(None))
    });
    assert_eq!(other.join().unwrap(), (true, Outcome::Notified));
    assert!(!waiter.notify());
}

#[test]
fn an_old_waiter_does_not_end_a_later_wait() {
    let waiting = spawn(|| {
        let (wait, old) = begin();
        assert_eq!(wait.until(Some(Instant::now())), Outcome::TimedOut);
        let new = spawn(move || old.notify());
        let (wait, waiter) = begin();
        let outcome = wait.until(Some(Instant::now() + 3 * MS));
        assert!(!waiter.is_waiting());
        (outcome, new.join().unwrap())
    });
    assert_eq!(waiting.join().unwrap(), (Outcome::TimedOut, false));
}

#[test]
fn exactly_one_of_many_notifications_ends_a_wait() {
    let (wait, waiter) = begin();
    let notifiers = (0..10).map(|_| {
        let waiter = waiter.clone();
        spawn(move || waiter.notify())
    });
    let notifiers: Vec<_> = notifiers.collect();
    assert_eq!(wait.until(None), Outcome::Notified);
    let succeeded = joinall(notifiers).into_iter().filter(|notified| *notified.as_ref().unwrap()).count();
    assert_eq!(succeeded, 1);
}

#[test]
fn a_notification_passes_those_who_gave_up() {
    let list = Rc::new(WaitList::new());
    let wait_for = |deadline| {
        let list = Rc::clone(&list);
        spawn(move || list.wait(Reason::new("the test"), deadline, || false))
    };
    let gave_up: Vec<_> = (0..3).map(|_| wait_for(Some(Instant::now()))).collect();
    let stays = wait_for(None);
    assert!(joinall(gave_up).into_iter().all(|notified| !notified.unwrap()));
    assert!(list.notify_one());
    assert!(stays.join().unwrap());
    assert!(!list.notify_one());
    assert!(list.is_empty());
}

#[test]
fn a_list_that_is_ready_and_notified_at_once_passes_the_notification_on() {
    let list = Rc::new(WaitList::new());
    let next = spawn({
        let list = Rc::clone(&list);
        move || list.wait(Reason::new("the test"), None, || false)
    });
    let first = spawn({
        let list = Rc::clone(&list);
        move || {
            // The notifications of the next and of this one both come in here.
            list.wait(Reason::new("the test"), None, || list.notify_one() && list.notify_one())
        }
    });
    assert!(first.join().unwrap());
    assert!(next.join().unwrap());
}

#[test]
fn a_panic_of_ready_passes_the_notification_on() {
    let list = Rc::new(WaitList::new());
    let first = spawn({
        let list = Rc::clone(&list);
        move || {
            list.wait(Reason::new("the test"), None, || {
                list.notify_one();
                std::panic::resume_unwind(Box::new(()))
            })
        }
    });
    let next = spawn({
        let list = Rc::clone(&list);
        move || list.wait(Reason::new("the test"), None, || false)
    });
    // Not before the next one waits, who is then the only one.
    yield_now();
    assert!(first.join().is_err());
    let notified = list.notify_one();
    assert!(next.join().unwrap() && notified);
    assert!(!list.notify_one());
}

#[test]
fn notify_all_leaves_those_who_come_back_for_the_next_time() {
    let list = Rc::new(WaitList::new());
    let waits_twice = |list: Rc<WaitList>| {
        move || {
            let first = list.wait(Reason::new("the test"), None, || false);
            (first, list.wait(Reason::new("the test"), Some(Instant::now() + MS), || false))
        }
    };
    let greenlets: Vec<_> = (0..3).map(|_| spawn(waits_twice(Rc::clone(&list)))).collect();
    yield_now();
    assert_eq!(list.notify_all(), 3);
    for outcome in joinall(greenlets) {
        assert_eq!(outcome.unwrap(), (true, false));
    }
}

/// How many waiters, stale or not, the list keeps.
fn kept(list: &WaitList) -> usize {
    format!("{list:?}").matches("is_waiting").count()
}

#[test]
fn a_list_stays_small_through_a_million_waits_that_nobody_ends() {
    let list = WaitList::new();
    let mut most = 0;
    for round in 0..1_000_000_u32 {
        let reason = Reason::new("what never comes");
        // Nearly all are abandoned before they sleep, as those of a `select` that finds something else ready; the
        // others time out.
        let deadline = if round % 50 == 0 { Some(Instant::now()) } else { None };
        assert_eq!(list.wait(reason, deadline, || deadline.is_none()), deadline.is_none());
        if round % 10_000 == 0 {
            most = most.max(kept(&list));
        }
    }
    assert!(most.max(kept(&list)) <= 32, "{most} waiters are kept");
}

#[test]
fn a_queue_stays_small_when_its_first_is_woken_for_nothing_for_ever() {
    let mut queue = WaitQueue::new();
    for _ in 0..10_000 {
        let wait = Wait::begin(Reason::new("what another takes each time"));
        queue.push_front(wait.waiter());
        drop(wait);
    }
    assert!(format!("{queue:?}").matches("is_waiting").count() <= 32);
}

#[test]
fn a_list_keeps_those_who_wait_while_others_give_up() {
    let list = Arc::new(WaitList::new());
    let stay = |list: Arc<WaitList>| spawn(move || list.wait(Reason::new("the test"), None, || false));
    let staying: Vec<_> = (0..100).map(|_| stay(Arc::clone(&list))).collect();
    yield_now();
    for _ in 0..10_000 {
        assert!(!list.wait(Reason::new("nothing"), Some(Instant::now()), || false));
    }
    assert!(kept(&list) <= 300, "{}", kept(&list));
    assert_eq!(list.notify_all(), 100);
    assert!(joinall(staying).into_iter().all(Result::unwrap));
}
