//! `Once`, `OnceCell`: made once, whatever happens to who makes it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenlet_hub::{Greenlet, joinall, no_switch, sleep, spawn, timeout, yield_now};
use greenlet_sync::{Once, OnceCell};

const MS: Duration = Duration::from_millis(1);

#[test]
fn what_is_there_or_free_does_not_switch() {
    let cell = OnceCell::new();
    assert_eq!(no_switch(|| *cell.get_or_init(|| 1)), 1);
    assert_eq!(no_switch(|| *cell.get_or_init(|| 2)), 1);
    assert_eq!(no_switch(|| cell.set(3)), Err(3));
}

#[test]
fn the_others_wait_while_the_first_makes_it() {
    let (cell, calls) = (Rc::new(OnceCell::new()), Rc::new(Cell::new(0)));
    let readers: Vec<_> = (0..10)
        .map(|i| {
            let (cell, calls) = (Rc::clone(&cell), Rc::clone(&calls));
            spawn(move || {
                *cell.get_or_init(|| {
                    calls.set(calls.get() + 1);
                    sleep(2 * MS);
                    i
                })
            })
        })
        .collect();
    assert!(joinall(readers).into_iter().all(|value| value.unwrap() == 0));
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_panic_or_a_kill_lets_the_next_make_it() {
    let cell = Rc::new(OnceCell::new());
    let makers: Vec<_> = (0..4)
        .map(|i| {
            let cell = Rc::clone(&cell);
            spawn(move || {
                *cell.get_or_init(|| {
                    yield_now();
                    assert_ne!(i, 0, "the first fails");
                    if i == 1 {
                        sleep(Duration::from_secs(60));
                    }
                    i
                })
            })
        })
        .collect();
    while !makers[0].is_finished() {
        yield_now();
    }
    yield_now();
    yield_now();
    makers[1].kill().unwrap();
    let values: Vec<_> = joinall(makers).into_iter().map(Result::ok).collect();
    assert_eq!(values, [None, None, Some(2), Some(2)]);
}

#[test]
fn one_who_is_killed_when_his_turn_has_come_passes_it_on() {
    let cell = Rc::new(OnceCell::new());
    let waiting = Rc::new(Cell::new(None));
    let failing = spawn({
        let (cell, waiting) = (Rc::clone(&cell), Rc::clone(&waiting));
        move || {
            let failed = cell.get_or_try_init(|| {
                yield_now();
                Err::<u32, ()>(())
            });
            assert!(failed.is_err());
            let waiting: Option<Greenlet> = waiting.take();
            waiting.unwrap().kill_nowait().unwrap();
        }
    });
    yield_now();
    let killed = spawn({
        let cell = Rc::clone(&cell);
        move || *cell.get_or_init(|| 1)
    });
    let other = spawn({
        let cell = Rc::clone(&cell);
        move || *cell.get_or_init(|| 2)
    });
    waiting.set(Some(killed.greenlet().clone()));
    failing.join().unwrap();
    assert!(killed.join().is_err());
    assert_eq!(other.join().unwrap(), 2);
}

#[test]
fn an_error_leaves_it_empty() {
    let cell = OnceCell::new();
    assert_eq!(cell.get_or_try_init(|| Err("no")), Err("no"));
    assert_eq!(cell.get(), None);
    assert_eq!(cell.get_or_try_init(|| Ok::<_, ()>(1)), Ok(&1));
}

#[test]
fn an_initialiser_that_asks_for_its_own_value_panics() {
    let cell = OnceCell::new();
    let nested = catch_unwind(AssertUnwindSafe(|| cell.get_or_init(|| *cell.get_or_init(|| 1))));
    let payload = nested.unwrap_err();
    assert!(payload.downcast_ref::<&str>().unwrap().contains("asks for what it is to make"));
    assert_eq!(*cell.get_or_init(|| 2), 2);
}

#[test]
fn a_timeout_ends_the_wait_for_an_initialiser_and_the_initialiser() {
    let cell = Rc::new(OnceCell::new());
    assert!(timeout(MS, || cell.get_or_init(|| sleep(Duration::from_secs(60)))).is_err());
    let slow = spawn({
        let cell = Rc::clone(&cell);
        move || {
            cell.get_or_init(|| sleep(20 * MS));
        }
    });
    yield_now();
    assert!(timeout(MS, || cell.get_or_init(|| ())).is_err());
    slow.join().unwrap();
    assert!(cell.get().is_some());
}

#[test]
fn threads_make_it_once() {
    let (cell, calls) = (Arc::new(OnceCell::new()), Arc::new(AtomicU32::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (cell, calls) = (Arc::clone(&cell), Arc::clone(&calls));
            std::thread::spawn(move || {
                *cell.get_or_init(|| {
                    sleep(5 * MS);
                    calls.fetch_add(1, Ordering::Relaxed)
                })
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 0));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn once_runs_once_and_a_panic_does_not_poison_it() {
    let (once, calls) = (Once::new(), Cell::new(0));
    assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("not this time")))).is_err());
    assert!(!once.is_completed());
    once.call_once(|| calls.set(1));
    once.call_once(|| calls.set(2));
    assert!(once.is_completed());
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_cell_goes_where_its_value_may() {
    fn check<T: Send + Sync>() {}
    check::<OnceCell<u32>>();
    check::<Once>();
    let mut cell = OnceCell::default();
    assert_eq!(format!("{cell:?}"), "OnceCell(<none>)");
    cell.set(Rc::new(1)).unwrap();
    assert_eq!(format!("{cell:?}"), "OnceCell(1)");
    **Rc::get_mut(cell.get_mut().unwrap()).as_mut().unwrap() = 2;
    assert_eq!(cell.take().as_deref(), Some(&2));
    assert_eq!(cell.into_inner(), None);
    assert_eq!(format!("{:?}", Once::new()), "Once { is_completed: false, .. }");
}
