//! Who runs when: the traces of spawning and switching.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{Greenlet, JoinHandle, Reason, Wait, WaitList, joinall, sleep, spawn, spawn_later, yield_now};

use crate::support::Trace;

/// Spawns greenlets that write their numbers down and end.
fn noting(trace: &Trace, numbers: std::ops::Range<usize>) -> Vec<JoinHandle<()>> {
    let spawn_one = |number| {
        let trace = trace.clone();
        spawn(move || trace.note(number))
    };
    numbers.map(spawn_one).collect()
}

#[test]
fn nothing_spawned_runs_before_the_first_wait_and_then_all_in_order() {
    let trace = Trace::default();
    let greenlets = noting(&trace, 0..5);
    assert_eq!(trace.take(), "");
    assert!(greenlets.iter().all(|greenlet| !greenlet.is_started()));
    yield_now();
    assert_eq!(trace.take(), "0 1 2 3 4");
}

fn three_with_three_turns(turn: fn()) -> String {
    let trace = Trace::default();
    let spawn_one = |name| {
        let trace = trace.clone();
        spawn(move || {
            for i in 0..3 {
                trace.note(format!("{name}{i}"));
                turn();
            }
        })
    };
    joinall(["a", "b", "c"].map(spawn_one));
    trace.take()
}

#[test]
fn yielding_greenlets_take_turns() {
    assert_eq!(three_with_three_turns(yield_now), "a0 b0 c0 a1 b1 c1 a2 b2 c2");
}

#[test]
fn a_sleep_of_zero_is_a_yield() {
    assert_eq!(three_with_three_turns(|| sleep(Duration::ZERO)), "a0 b0 c0 a1 b1 c1 a2 b2 c2");
}

#[test]
fn a_child_of_a_running_greenlet_goes_to_the_tail() {
    let trace = Trace::default();
    let parent = spawn({
        let trace = trace.clone();
        move || {
            trace.note("parent");
            let child = noting(&trace, 7..8);
            trace.note("spawned");
            drop(child);
        }
    });
    let others = noting(&trace, 0..2);
    yield_now();
    assert_eq!(trace.take(), "parent spawned 0 1");
    yield_now();
    assert_eq!(trace.take(), "7");
    joinall(others.into_iter().chain([parent]));
}

#[test]
fn the_main_greenlet_takes_its_turn_like_the_others() {
    let trace = Trace::default();
    let yielder = spawn({
        let trace = trace.clone();
        move || {
            for i in 0..3 {
                trace.note(i);
                yield_now();
            }
        }
    });
    for name in ["x", "y", "z"] {
        trace.note(name);
        yield_now();
    }
    assert_eq!(trace.take(), "x 0 y 1 z 2");
    yielder.join().unwrap();
}

#[test]
fn a_greenlet_outlives_its_spawner() {
    let trace = Trace::default();
    let child = spawn({
        let trace = trace.clone();
        move || {
            spawn(move || {
                yield_now();
                trace.note("child");
            })
        }
    });
    let child = child.join().unwrap();
    assert!(!child.is_finished());
    child.join().unwrap();
    assert_eq!(trace.take(), "child");
}

#[test]
fn what_need_not_wait_does_not_switch() {
    let done = spawn(|| 1);
    let panicked = spawn(|| {
        if true {
            std::panic::resume_unwind(Box::new(()));
        }
    });
    let waiting = Rc::new(WaitList::new());
    let waiter = spawn({
        let waiting = Rc::clone(&waiting);
        move || waiting.wait(Reason::new("the test"), None, || false)
    });
    let greenlets: Vec<Greenlet> = [done.greenlet(), panicked.greenlet()].map(Greenlet::clone).to_vec();
    yield_now();

    let switched = Rc::new(Cell::new(false));
    let witness = spawn({
        let switched = Rc::clone(&switched);
        move || switched.set(true)
    });
    greenlets.iter().for_each(Greenlet::wait);
    assert!(greenlets.iter().all(|greenlet| greenlet.wait_timeout(Duration::ZERO)));
    assert_eq!(done.join().unwrap(), 1);
    assert!(panicked.join().is_err());
    assert!(waiting.notify_one());
    assert!(waiting.wait(Reason::new("what is there"), None, || true));
    drop(Wait::begin(Reason::new("nothing")));
    drop(spawn(|| ()));
    drop(spawn_later(Duration::ZERO, || ()));
    assert!(!switched.get());
    witness.join().unwrap();
    assert!(waiter.join().unwrap());
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_waited() {
    let (trace, list) = (Trace::default(), Rc::new(WaitList::new()));
    let spawn_one = |number: usize| {
        let (trace, list) = (trace.clone(), Rc::clone(&list));
        spawn(move || {
            list.wait(Reason::new("its turn"), None, || false);
            trace.note(number);
        })
    };
    let greenlets: Vec<_> = (0..5).map(spawn_one).collect();
    yield_now();
    assert!(list.notify_one() && list.notify_one());
    yield_now();
    assert_eq!(trace.take(), "0 1");
    assert_eq!(list.notify_all(), 3);
    joinall(greenlets);
    assert_eq!(trace.take(), "2 3 4");
}

#[test]
fn a_notified_greenlet_goes_to_the_tail() {
    let (trace, list) = (Trace::default(), Rc::new(WaitList::new()));
    let waiter = spawn({
        let (trace, list) = (trace.clone(), Rc::clone(&list));
        move || {
            list.wait(Reason::new("the test"), None, || false);
            trace.note("waiter");
        }
    });
    yield_now();
    let others = noting(&trace, 0..2);
    list.notify_one();
    let late = noting(&trace, 2..3);
    waiter.join().unwrap();
    joinall(others.into_iter().chain(late));
    assert_eq!(trace.take(), "0 1 waiter 2");
}

/// Numbers that look random, the same in every run.
fn scramble(seed: &Cell<u64>) -> u64 {
    let next = seed.get().wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    seed.set(next);
    next >> 33
}

/// Greenlets that spawn, yield, wait and notify each other by a fixed sequence of numbers.
fn a_wild_program() -> String {
    let (trace, list, seed) = (Trace::default(), Rc::new(WaitList::new()), Rc::new(Cell::new(1)));
    let run_one = |name: usize| {
        let (trace, list, seed) = (trace.clone(), Rc::clone(&list), Rc::clone(&seed));
        move || {
            for step in 0..50 {
                trace.note(format!("{name}.{step}"));
                match scramble(&seed) % 5 {
                    0 | 1 => yield_now(),
                    2 => drop(list.notify_one()),
                    3 => {
                        let trace = trace.clone();
                        spawn(move || trace.note(format!("{name}.{step} child")));
                    }
                    // Never the last one awake: somebody has to notify.
                    _ => drop(list.wait(Reason::new("anybody"), None, || list.is_empty())),
                }
            }
            while list.notify_one() {}
        }
    };
    let greenlets: Vec<_> = (0..40).map(|name| spawn(run_one(name))).collect();
    while !greenlets.iter().all(|greenlet| greenlet.is_finished()) {
        list.notify_all();
        yield_now();
    }
    yield_now();
    trace.take()
}

#[test]
fn the_same_program_has_the_same_interleaving_each_time() {
    let first = a_wild_program();
    assert!(first.len() > 5_000);
    assert_eq!(a_wild_program(), first);
    // On a fresh hub too, whatever this one has counted so far.
    assert_eq!(std::thread::spawn(a_wild_program).join().unwrap(), first);
}
