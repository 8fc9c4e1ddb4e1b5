//! `as_completed`: who ends first comes first.

use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, no_switch, sleep, sleep_until, spawn, timeout, yield_now};
use greenlet_sync::{Event, as_completed, as_completed_timeout};

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

#[test]
fn results_come_in_the_order_in_which_the_greenlets_end() {
    // All of them end in one turn of the loop, the last one first.
    let events: Vec<_> = (0..5).map(|_| Rc::new(Event::new())).collect();
    let handles: Vec<_> = events
        .iter()
        .cloned()
        .enumerate()
        .map(|(i, event)| {
            spawn(move || {
                event.wait();
                i
            })
        })
        .collect();
    let results = as_completed(handles);
    yield_now();
    events.iter().rev().for_each(|event| event.set());
    assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
}

#[test]
fn those_that_have_ended_come_first_without_a_switch() {
    let done = spawn(|| 1);
    done.wait();
    let slow = spawn(|| {
        sleep(MS);
        2
    });
    let mut results = as_completed([slow, done]);
    assert_eq!(results.unfinished(), 2);
    assert_eq!(no_switch(|| results.next()).unwrap().unwrap(), 1);
    assert_eq!(results.next().unwrap().unwrap(), 2);
    assert!(results.next().is_none());
}

#[test]
fn errors_come_like_results() {
    let killed = spawn(|| sleep(HANG));
    let panicked = spawn(|| {
        if true {
            panic!("one fails")
        }
    });
    killed.kill_nowait().unwrap();
    let mut results = as_completed([killed, panicked]);
    assert!(matches!(results.next(), Some(Err(JoinError::Killed))));
    assert!(matches!(results.next(), Some(Err(JoinError::Panicked(_)))));
    assert!(results.next().is_none());
}

#[test]
fn the_time_counts_from_the_call() {
    let handles = [1, 2, 20_000].map(|millis| spawn(move || sleep(millis * MS)));
    let mut results = as_completed_timeout(handles, 50 * MS);
    assert_eq!(results.by_ref().count(), 2);
    assert_eq!(results.unfinished(), 1);
    // What has ended since is given all the same.
    let results = as_completed_timeout([spawn(|| 1), spawn(|| 2)], Duration::ZERO);
    yield_now();
    yield_now();
    assert_eq!(results.count(), 2);
}

#[test]
fn one_who_is_interrupted_loses_nothing() {
    let mut results = as_completed([spawn(|| {
        sleep(5 * MS);
        1
    })]);
    assert!(timeout(MS, || results.next()).is_err());
    assert_eq!(results.next().unwrap().unwrap(), 1);
}

#[test]
fn what_ends_in_the_tick_of_the_timeout_is_given() {
    let deadline = Instant::now() + 5 * MS;
    let sleeper = spawn(move || sleep_until(deadline));
    let mut results = as_completed_timeout([sleeper], deadline - Instant::now());
    assert!(results.next().is_some());
    assert_eq!(results.unfinished(), 0);
}

#[test]
fn dropping_it_lets_the_greenlets_go_on() {
    let handle = spawn(|| sleep(2 * MS));
    let greenlet = handle.greenlet().clone();
    drop(as_completed([handle]));
    greenlet.wait();
    assert!(greenlet.is_successful());
}

#[test]
fn greenlets_of_other_threads_are_waited_for() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..3)
        .map(|i| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let handle = spawn(move || {
                    sleep(MS);
                    i
                });
                let greenlet = handle.greenlet().clone();
                sender.send(handle).unwrap();
                greenlet.wait();
            })
        })
        .collect();
    let mut values: Vec<i32> = as_completed(receiver.iter().take(3)).map(Result::unwrap).collect();
    values.sort_unstable();
    assert_eq!(values, [0, 1, 2]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
