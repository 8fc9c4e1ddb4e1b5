//! `shutdown`: the end of a hub's greenlets. Each test has a thread of its own, for it ends whatever else is there.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{
    Builder, JoinError, current, scope, shield, shutdown, sleep, spawn, spawn_later, timeout, yield_now,
};

use crate::child::in_child;
use crate::support::{HANG, OnDrop, Trace, timed};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn those_that_end_in_time_are_left_alone_and_the_others_killed() {
    let trace = Trace::default();
    let quick = spawn({
        let trace = trace.clone();
        move || {
            sleep(5 * MS);
            trace.note("quick");
        }
    });
    let slow = spawn({
        let trace = trace.clone();
        move || {
            let _cleanup = OnDrop(|| {
                sleep(5 * MS);
                trace.note("cleanup");
            });
            sleep(LONG);
        }
    });
    let (took, left) = timed(|| shutdown(50 * MS));
    assert!(left.is_empty() && took >= 50 * MS && took < HANG, "{took:?}");
    assert_eq!(trace.take(), "quick cleanup");
    assert!(quick.join().is_ok());
    assert!(matches!(slow.join(), Err(JoinError::Killed)));
}

#[test]
fn it_returns_as_soon_as_all_have_ended() {
    spawn(|| sleep(2 * MS));
    let (took, left) = timed(|| shutdown(LONG));
    assert!(left.is_empty() && took < HANG);
    assert!(timed(|| shutdown(LONG)).0 < HANG);
}

#[test]
fn what_a_timer_was_to_start_never_runs() {
    let ran = Rc::new(Cell::new(false));
    let later = [LONG, MS].map(|delay| {
        let ran = Rc::clone(&ran);
        spawn_later(delay, move || ran.set(true))
    });
    let (took, left) = timed(|| shutdown(LONG));
    assert!(left.is_empty() && took < HANG && !ran.get());
    assert!(later.iter().all(|later| later.is_finished()));
}

#[test]
fn those_that_are_spawned_meanwhile_are_ended_too() {
    let (begun, cleaned) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let spawn_one = {
        let (begun, cleaned) = (Rc::clone(&begun), Rc::clone(&cleaned));
        move || {
            let (begun, cleaned) = (Rc::clone(&begun), Rc::clone(&cleaned));
            drop(spawn(move || {
                begun.set(begun.get() + 1);
                let _cleanup = OnDrop(|| cleaned.set(cleaned.get() + 1));
                sleep(LONG);
            }));
        }
    };
    spawn(move || {
        let _spawns = OnDrop(|| {
            spawn_one();
            sleep(MS);
        });
        for _ in 0..3 {
            spawn_one();
            yield_now();
        }
        sleep(LONG);
    });
    assert!(shutdown(5 * MS).is_empty());
    // The one that was spawned in the cleanup may have been killed before it ran.
    assert!(begun.get() >= 1 && cleaned.get() == begun.get(), "{} {}", begun.get(), cleaned.get());
}

#[test]
fn greenlets_that_leave_successors_for_ever_do_not_keep_it() {
    // Each ended before the time-out of its wait was looked at.
    fn again() {
        spawn(again);
    }
    spawn(again);
    let (took, left) = timed(|| shutdown(5 * MS));
    assert!(left.is_empty() && took < HANG, "{took:?}");
}

#[test]
fn greenlets_that_leave_successors_even_when_killed_are_given_up() {
    let name = "shutdown::greenlets_that_leave_successors_even_when_killed_are_given_up";
    let ended = in_child(name, || {
        fn again() {
            let successor = OnDrop(again);
            Builder::new().name("hydra").spawn(move || drop(successor));
        }
        again();
        let (took, left) = timed(|| shutdown(Duration::ZERO));
        assert!(took >= Duration::from_secs(1) && took < HANG, "{took:?}");
        assert_eq!(left.iter().filter(|left| left.name() == Some("hydra")).count(), left.len());
        std::process::exit(0);
    });
    ended.check();
    assert!(ended.count("'hydra'") >= 1, "{}", ended.stderr);
}

#[test]
fn what_resists_is_reported_by_name_and_returned() {
    let name = "shutdown::what_resists_is_reported_by_name_and_returned";
    let ended = in_child(name, || {
        let shielded = Builder::new().name("shielded").spawn(|| shield(|| sleep(LONG)));
        // Swallows everything, and would have kept the hub for itself.
        let swallows = Builder::new().name("swallows").spawn(|| {
            loop {
                let _ = catch_unwind(|| sleep(LONG));
            }
        });
        let obeys = spawn(|| sleep(LONG));
        let (took, left) = timed(|| shutdown(MS));
        assert!(took >= Duration::from_secs(1) && took < HANG, "{took:?}");
        let names: Vec<_> = left.iter().map(|left| left.name().unwrap_or("?").to_owned()).collect();
        assert_eq!(names, ["shielded", "swallows"]);
        assert!(obeys.is_finished() && !shielded.is_finished());
        drop(swallows.join_timeout(MS).map(|joined| joined.map(|never: ()| never)));
    });
    ended.check();
    assert_eq!(ended.count("resists its end"), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("'shielded'") && ended.stderr.contains("'swallows'"), "{}", ended.stderr);
}

#[test]
fn one_that_is_not_main_calls_it_and_main_goes_on() {
    let other = spawn(|| sleep(LONG));
    let main = current();
    let caller = spawn(move || {
        let left = shutdown(MS);
        (left.is_empty(), main.is_finished())
    });
    assert_eq!(caller.join().unwrap(), (true, false));
    assert!(other.is_finished());
    assert_eq!(spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn in_a_scope_it_ends_the_children() {
    let cleaned = Cell::new(0);
    scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let _cleanup = OnDrop(|| cleaned.set(cleaned.get() + 1));
                sleep(LONG);
            });
        }
        assert!(shutdown(MS).is_empty());
        assert_eq!(cleaned.get(), 3);
    });
    // A child that calls it is killed with its owner's scope.
    let owner = spawn(|| {
        scope(|s| {
            s.spawn(|| shutdown(MS).len());
            s.spawn(|| sleep(LONG));
        })
    });
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
}

#[test]
fn two_that_call_it_end_each_other() {
    let first = spawn(|| shutdown(MS).len());
    let second = spawn(|| shutdown(MS).len());
    let ended = [first.join(), second.join()];
    assert!(ended.iter().any(|ended| matches!(ended, Err(JoinError::Killed))));
}

#[test]
fn a_time_out_ends_it() {
    let other = spawn(|| sleep(LONG));
    assert!(timeout(2 * MS, || shutdown(LONG)).is_err());
    assert!(!other.is_finished());
    yield_now();
    assert!(shutdown(Duration::ZERO).is_empty());
}

#[test]
fn a_thousand_that_wait_for_each_other_end() {
    let mut last = spawn(|| sleep(LONG)).greenlet().clone();
    for _ in 0..1000 {
        let before = last.clone();
        last = spawn(move || before.wait()).greenlet().clone();
    }
    let (took, left) = timed(|| shutdown(Duration::ZERO));
    assert!(left.is_empty() && last.is_finished() && took < HANG);
}
