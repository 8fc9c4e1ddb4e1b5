//! `AsyncResult`: set once or more, got by many.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, joinall, no_switch, sleep_until, spawn, timeout, wait, yield_now};
use greenlet_sync::{AsyncResult, Failure};

type Answer = AsyncResult<u32, String>;

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

#[test]
fn a_result_that_is_ready_does_not_switch() {
    let answer = Answer::new();
    assert_eq!(answer.try_get(), None);
    answer.set(1);
    assert_eq!(no_switch(|| answer.get()), Ok(1));
    assert_eq!(no_switch(|| answer.get_timeout(MS)), Some(Ok(1)));
    no_switch(|| answer.wait());
    answer.set_error("late".into());
    assert_eq!(answer.try_get(), Some(Err("late".into())), "a second set overwrites");
}

#[test]
fn all_getters_get_it_in_the_order_in_which_they_came() {
    let (answer, trace) = (Answer::new(), Rc::new(RefCell::new(Vec::new())));
    let getters: Vec<_> = (0..3)
        .map(|i| {
            let (answer, trace) = (answer.clone(), Rc::clone(&trace));
            spawn(move || {
                let value = answer.get().unwrap();
                trace.borrow_mut().push((i, value));
            })
        })
        .collect();
    yield_now();
    answer.set(7);
    assert!(trace.borrow().is_empty());
    joinall(getters);
    assert_eq!(*trace.borrow(), [(0, 7), (1, 7), (2, 7)]);
}

#[test]
fn a_getter_times_out_or_is_killed_and_the_others_get_it() {
    let answer = Answer::new();
    assert_eq!(answer.get_timeout(MS), None);
    assert!(!answer.wait_timeout(MS));
    assert!(timeout(MS, || answer.get()).is_err());
    let mut getters: Vec<_> = (0..3)
        .map(|_| {
            spawn({
                let answer = answer.clone();
                move || answer.get()
            })
        })
        .collect();
    yield_now();
    getters.remove(1).kill().unwrap();
    answer.set(1);
    // In the same tick: the kill wins.
    getters[0].kill_nowait().unwrap();
    let mut ends = joinall(getters).into_iter();
    assert!(matches!(ends.next(), Some(Err(JoinError::Killed))));
    assert!(matches!(ends.next(), Some(Ok(Ok(1)))));
}

#[test]
fn a_result_that_is_set_in_the_tick_of_the_timeout_is_got() {
    let answer = Answer::new();
    let deadline = Instant::now() + 3 * MS;
    let setter = spawn({
        let answer = answer.clone();
        move || {
            sleep_until(deadline);
            answer.set(1);
        }
    });
    let getter = spawn({
        let answer = answer.clone();
        move || answer.get_timeout(deadline - Instant::now())
    });
    // The getter's deadline is later by some nanoseconds; it must not be much later.
    assert_eq!(getter.join().unwrap(), Some(Ok(1)));
    setter.join().unwrap();
}

#[test]
fn a_result_without_clone_is_shared() {
    struct Plain(u32);
    let answer = AsyncResult::<Plain, ()>::new();
    assert!(answer.try_get_shared().is_none());
    let (one, other) = (answer.clone(), answer.clone());
    let getter = spawn(move || match &*one.get_shared() {
        Ok(plain) => plain.0,
        Err(()) => 0,
    });
    other.set(Plain(3));
    assert_eq!(getter.join().unwrap(), 3);
}

#[test]
fn what_is_done_then_is_called_in_order_each_in_a_greenlet_of_its_own() {
    let (answer, trace) = (Answer::new(), Rc::new(RefCell::new(Vec::new())));
    let calls: Vec<_> = (0..4)
        .map(|i| {
            let trace = Rc::clone(&trace);
            answer.on_done(move |result| {
                assert_ne!(i, 1, "one that fails");
                trace.borrow_mut().push((i, result.clone()));
                // It may wait, and does not hold up the next.
                yield_now();
            })
        })
        .collect();
    yield_now();
    calls[2].kill_nowait().unwrap();
    answer.set(5);
    let late = answer.on_done({
        let trace = Rc::clone(&trace);
        move |result| trace.borrow_mut().push((9, result.clone()))
    });
    let ends: Vec<_> = joinall(calls).into_iter().map(|end| end.is_ok()).collect();
    late.join().unwrap();
    assert_eq!(ends, [true, false, false, true]);
    assert_eq!(*trace.borrow(), [(0, Ok(5)), (3, Ok(5)), (9, Ok(5))]);
}

#[test]
fn on_done_runs_on_the_callers_hub() {
    let answer = Answer::new();
    let here = std::thread::current().id();
    let ran_on = Rc::new(Cell::new(None));
    let call = answer.on_done({
        let ran_on = Rc::clone(&ran_on);
        move |_| ran_on.set(Some(std::thread::current().id()))
    });
    yield_now();
    std::thread::spawn(move || answer.set(1)).join().unwrap();
    call.join().unwrap();
    assert_eq!(ran_on.get(), Some(here));
}

#[test]
fn a_greenlets_end_becomes_a_result() {
    let value = AsyncResult::of(spawn(|| {
        yield_now();
        1
    }));
    let panicked = AsyncResult::of(spawn(|| {
        if true {
            panic!("in the greenlet")
        }
    }));
    let getters: Vec<_> = (0..2)
        .map(|_| {
            spawn({
                let value = value.clone();
                move || value.get().unwrap()
            })
        })
        .collect();
    assert!(joinall(getters).into_iter().all(|value| value.unwrap() == 1));
    assert!(matches!(panicked.get(), Err(Failure::Panicked(message)) if &*message == "in the greenlet"));
}

#[test]
fn results_are_waited_for_with_other_things() {
    let (slow, quick) = (Answer::new(), Answer::new());
    spawn({
        let quick = quick.clone();
        move || quick.set(1)
    });
    assert_eq!(wait(&[&slow, &quick], Some(1), Some(HANG)), [1]);
}

#[test]
fn a_result_crosses_threads() {
    let answer = Answer::new();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let answer = answer.clone();
            std::thread::spawn(move || answer.get_timeout(HANG))
        })
        .collect();
    answer.set(4);
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Some(Ok(4))));
}

#[test]
fn the_users_clone_and_drop_may_use_the_result() {
    #[derive(Debug)]
    struct Nosy(AsyncResult<Nosy, ()>);
    impl Clone for Nosy {
        fn clone(&self) -> Nosy {
            assert!(self.0.is_ready());
            Nosy(self.0.clone())
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.0.is_ready();
        }
    }
    let answer = AsyncResult::new();
    answer.set(Nosy(answer.clone()));
    drop(answer.get());
    answer.set_error(());
}

#[test]
fn a_result_goes_where_its_value_may() {
    fn check<T: Send + Sync>() {}
    check::<Answer>();
    check::<AsyncResult<u32>>();
    let local = AsyncResult::<Rc<u32>, ()>::default();
    local.set(Rc::new(1));
    assert_eq!(format!("{local:?}"), "AsyncResult(Some(Ok(1)))");
}
