//! Sleeps, delays and deadlines.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Builder, Outcome, Reason, Wait, WaitList, joinall, sleep, sleep_until, spawn, spawn_later, yield_now,
};

use crate::support::{HANG, Trace, timed, work};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_sleep_lasts_at_least_that_long() {
    for duration in [Duration::from_nanos(1), Duration::from_micros(70), MS, 12 * MS] {
        let (took, ()) = timed(|| sleep(duration));
        assert!(took >= duration && took < duration + HANG, "{took:?} for {duration:?}");
        let greenlet = spawn(move || timed(|| sleep(duration)).0);
        assert!(greenlet.join().unwrap() >= duration);
    }
}

#[test]
fn sleeps_run_at_the_same_time() {
    let (took, _) = timed(|| joinall((0..1000).map(|_| spawn(|| sleep(20 * MS)))));
    assert!(took >= 20 * MS && took < 2000 * MS, "{took:?}");
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    let (trace, start) = (Trace::default(), Instant::now());
    let spawn_one = |ms| {
        let trace = trace.clone();
        spawn(move || {
            sleep_until(start + ms * MS);
            trace.note(ms);
        })
    };
    joinall([9, 3, 27, 1, 15].map(spawn_one));
    assert_eq!(trace.take(), "1 3 9 15 27");
}

#[test]
fn equal_deadlines_fire_in_the_order_in_which_they_were_armed() {
    let (trace, deadline) = (Trace::default(), Instant::now() + 10 * MS);
    let spawn_one = |number: usize| {
        let trace = trace.clone();
        spawn(move || {
            sleep_until(deadline);
            trace.note(number);
        })
    };
    joinall((0..500).map(spawn_one));
    let expected: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(trace.take(), expected.join(" "));
}

#[test]
fn a_time_that_has_passed_is_a_yield() {
    let trace = Trace::default();
    let other = spawn({
        let trace = trace.clone();
        move || trace.note("other")
    });
    sleep_until(Instant::now());
    trace.note("main");
    assert_eq!(trace.take(), "other main");
    other.join().unwrap();
}

#[test]
fn a_deadline_counts_from_a_fresh_clock_after_long_work() {
    let greenlet = spawn(|| {
        work(30 * MS);
        timed(|| sleep(5 * MS)).0
    });
    assert!(greenlet.join().unwrap() >= 5 * MS);
}

#[test]
fn what_is_spawned_later_starts_later_and_not_before() {
    let trace = Trace::default();
    let start = Instant::now();
    let note = |name: &'static str| {
        let trace = trace.clone();
        move || {
            trace.note(name);
            start.elapsed()
        }
    };
    let late = spawn_later(20 * MS, note("late"));
    let soon = Builder::new().name("soon").spawn_later(5 * MS, note("soon"));
    let now = spawn(note("now"));
    assert_eq!(soon.name(), Some("soon"));
    yield_now();
    assert!(!late.is_started() && !soon.is_started());
    assert!(soon.join().unwrap() >= 5 * MS);
    assert!(late.join().unwrap() >= 20 * MS);
    now.join().unwrap();
    assert_eq!(trace.take(), "now soon late");
}

#[test]
fn a_delay_of_zero_is_a_timer_that_comes_after_what_is_ready() {
    let trace = Trace::default();
    let note = |name: &'static str| {
        let trace = trace.clone();
        move || trace.note(name)
    };
    let later = spawn_later(Duration::ZERO, note("later"));
    let (first, second) = (spawn(note("first")), spawn(note("second")));
    later.join().unwrap();
    assert_eq!(trace.take(), "first second later");
    joinall([first, second]);
}

#[test]
fn a_delay_of_zero_comes_after_all_of_many_that_are_ready() {
    let ran = Rc::new(Cell::new(0));
    let later = spawn_later(Duration::ZERO, {
        let ran = Rc::clone(&ran);
        move || ran.get()
    });
    for _ in 0..200 {
        let ran = Rc::clone(&ran);
        spawn(move || ran.set(ran.get() + 1));
    }
    assert_eq!(later.join().unwrap(), 200);
}

#[test]
fn the_longest_durations_are_waited_for_and_do_not_overflow() {
    let greenlets = [
        spawn(|| sleep(Duration::MAX)),
        spawn_later(Duration::MAX, || ()),
        spawn(|| sleep(Duration::from_secs(u64::MAX / 2))),
    ];
    for greenlet in greenlets {
        let greenlet = greenlet.join_timeout(2 * MS).expect_err("it sleeps");
        assert!(!greenlet.wait_timeout(MS));
    }
    let list = WaitList::new();
    let long = deadline_far_away();
    assert!(list.wait(Reason::new("nothing"), Some(long), || true));
    assert!(spawn(|| ()).join_timeout(Duration::MAX).is_ok());
}

fn deadline_far_away() -> Instant {
    Instant::now() + Duration::from_secs(200 * 365 * 24 * 60 * 60)
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let deadline = Instant::now() + 5 * MS;
    let wait = Wait::begin(Reason::new("nothing"));
    let waiter = wait.waiter();
    assert_eq!(wait.until(Some(deadline)), Outcome::TimedOut);
    assert!(Instant::now() >= deadline);
    assert!(!waiter.notify() && !waiter.is_waiting());
}

#[test]
fn a_deadline_in_the_past_ends_a_wait_after_one_trip_through_the_hub() {
    let trace = Trace::default();
    let other = spawn({
        let trace = trace.clone();
        move || trace.note("other")
    });
    let past = Instant::now();
    assert_eq!(Wait::begin(Reason::new("nothing")).until(Some(past)), Outcome::TimedOut);
    assert_eq!(trace.take(), "other");
    other.join().unwrap();
}

#[test]
fn a_wait_that_was_notified_leaves_no_timer_behind() {
    // If it did, the last sleep would be cut short by one of them, or the waits numbered like it.
    let list = Rc::new(WaitList::new());
    let waiter = spawn({
        let list = Rc::clone(&list);
        move || {
            for _ in 0..100 {
                assert!(list.wait(Reason::new("a notification"), Some(Instant::now() + 5 * MS.max(HANG)), || false));
            }
            timed(|| sleep(20 * MS)).0
        }
    });
    while !waiter.is_finished() {
        if !list.notify_one() {
            sleep(MS / 10);
        }
        yield_now();
    }
    assert!(waiter.join().unwrap() >= 20 * MS);
}
