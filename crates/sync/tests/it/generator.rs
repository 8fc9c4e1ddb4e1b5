//! `generator`: lazily, one value at a time, in a greenlet.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{Greenlet, JoinError, current, shield, sleep, spawn, timeout, yield_now};
use greenlet_sync::{Generator, generator};

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

#[test]
fn a_generator_is_an_iterator() {
    let mut seen = Vec::new();
    for x in generator(|y| {
        y.put(1);
        y.put(2);
    }) {
        seen.push(x);
    }
    assert_eq!(seen, [1, 2]);
    assert_eq!(generator::<u32, ()>(|_| ()).next(), None);
}

#[test]
fn it_runs_only_when_asked_and_only_to_the_next_put() {
    let trace = Rc::new(RefCell::new(Vec::new()));
    let mut numbers = generator({
        let trace = Rc::clone(&trace);
        move |y| {
            for i in 0..3 {
                trace.borrow_mut().push(i);
                y.put(i);
            }
        }
    });
    yield_now();
    assert!(trace.borrow().is_empty(), "it is started by the first call");
    for i in 0..3 {
        assert_eq!(numbers.next(), Some(i));
        for _ in 0..3 {
            yield_now();
        }
        assert_eq!(*trace.borrow(), (0..=i).collect::<Vec<_>>());
    }
    assert_eq!((numbers.next(), numbers.next()), (None, None));
}

#[test]
fn its_body_is_a_greenlet_of_its_own_that_may_wait() {
    let here = current().id();
    let others = Rc::new(Cell::new(0));
    spawn({
        let others = Rc::clone(&others);
        move || {
            for _ in 0..3 {
                others.set(others.get() + 1);
                yield_now();
            }
        }
    });
    let ids: Vec<u64> = generator(|y| {
        for _ in 0..3 {
            sleep(MS);
            y.put(current().id());
        }
    })
    .collect();
    assert!(ids[0] != here && ids.iter().all(|id| *id == ids[0]));
    assert_eq!(others.get(), 3);
}

#[test]
fn generators_are_nested_without_nesting_stacks() {
    fn walk(depth: u32) -> impl Iterator<Item = u32> {
        generator(move |y| {
            if depth > 0 {
                for below in walk(depth - 1) {
                    y.put(below);
                }
                y.put(depth);
                for below in walk(depth - 1) {
                    y.put(below);
                }
            }
        })
    }
    assert_eq!(walk(3).collect::<Vec<_>>(), [1, 2, 1, 3, 1, 2, 1]);
}

#[test]
fn what_is_sent_is_what_put_returns() {
    let mut totals = generator(|y| {
        let mut total = 0;
        while total < 10 {
            total += y.put(total);
        }
    });
    assert_eq!(totals.start(), Some(0));
    assert_eq!(totals.send(4), Some(4));
    assert_eq!(totals.send(5), Some(9));
    assert_eq!(totals.send(1), None);
    assert_eq!(totals.send(1), None);
}

#[test]
fn sending_to_what_has_not_started_panics() {
    let mut echo = generator(|y| {
        let mut heard = 0;
        loop {
            heard = y.put(heard);
        }
    });
    assert!(catch_unwind(AssertUnwindSafe(|| echo.send(1))).is_err());
    assert_eq!(echo.start(), Some(0));
    assert!(catch_unwind(AssertUnwindSafe(|| echo.start())).is_err());
    assert_eq!(echo.send(2), Some(2));
}

#[test]
fn a_panic_comes_out_of_next() {
    let mut failing = generator(|y| {
        y.put(1);
        panic!("no second");
    });
    assert_eq!(failing.next(), Some(1));
    let payload = catch_unwind(AssertUnwindSafe(|| failing.next())).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"no second"));
    assert_eq!(failing.next(), None);
}

#[test]
fn dropping_it_kills_the_greenlet() {
    struct Note(Rc<Cell<bool>>);
    impl Drop for Note {
        fn drop(&mut self) {
            yield_now();
            self.0.set(true);
        }
    }
    let cleaned = Rc::new(Cell::new(false));
    let note = Note(Rc::clone(&cleaned));
    let mut endless = generator(move |y| {
        let _note = note;
        loop {
            y.put(current());
        }
    });
    let greenlet = endless.next().unwrap();
    drop(endless);
    assert!(!cleaned.get(), "dropping does not wait");
    greenlet.wait();
    assert!(cleaned.get());

    // One that never ran drops its closure.
    let cleaned = Rc::new(Cell::new(false));
    let note = Note(Rc::clone(&cleaned));
    let unused: Generator<_> = generator(move |y| {
        let _note = &note;
        y.put(1);
    });
    drop(unused);
    assert!(cleaned.get());
}

#[test]
fn a_body_that_resists_finds_nobody_to_put_for() {
    let ended = Rc::new(Cell::new(false));
    let mut stubborn = generator({
        let ended = Rc::clone(&ended);
        move |y| {
            let put = catch_unwind(AssertUnwindSafe(|| shield(|| y.put(current()))));
            ended.set(put.is_err());
        }
    });
    let greenlet = stubborn.next().unwrap();
    drop(stubborn);
    greenlet.wait();
    assert!(ended.get());
}

#[test]
fn a_value_that_was_put_after_the_consumer_gave_up_is_the_next_one() {
    let mut slow = generator(|y| {
        for i in 0..3 {
            sleep(10 * MS);
            y.put(i);
        }
    });
    assert!(timeout(MS, || slow.next()).is_err());
    sleep(20 * MS);
    assert_eq!((slow.next(), slow.next()), (Some(0), Some(1)));
    assert!(timeout(MS, || slow.next()).is_err());
    assert_eq!((slow.next(), slow.next()), (Some(2), None));
}

#[test]
fn a_body_that_gives_up_takes_its_value_back() {
    let mut numbers = generator(|y| {
        y.put(1);
        // Nobody asks for it in time.
        assert!(timeout(MS, || y.put(2)).is_err());
        y.put(3);
    });
    assert_eq!(numbers.next(), Some(1));
    // The body stands at the first put until it is asked again, and then at the second until the time has passed.
    assert_eq!(numbers.next(), Some(2));
    sleep(20 * MS);
    assert_eq!((numbers.next(), numbers.next()), (Some(3), None));
}

#[test]
fn two_greenlets_that_consume_in_turn_get_all_values() {
    let numbers = Rc::new(RefCell::new(generator(|y| (0..10).for_each(|i| y.put(i)))));
    let takers = [(); 2].map(|()| {
        let numbers = Rc::clone(&numbers);
        spawn(move || {
            let mut taken = 0;
            loop {
                let Ok(mut numbers) = numbers.try_borrow_mut() else {
                    yield_now();
                    continue;
                };
                if numbers.next().is_none() {
                    return taken;
                }
                taken += 1;
            }
        })
    });
    assert_eq!(takers.into_iter().map(|taker| taker.join().unwrap()).sum::<u32>(), 10);
}

#[test]
fn a_consumer_that_is_killed_in_the_tick_of_the_value_leaves_it_to_the_next() {
    let numbers = Rc::new(RefCell::new(generator(|y| {
        for i in 0..3 {
            yield_now();
            let consumer: Option<Greenlet> = y.put(i);
            if let Some(consumer) = consumer {
                y.put(10 + i);
                consumer.kill_nowait().unwrap();
            }
        }
    })));
    assert_eq!(numbers.borrow_mut().start(), Some(0));
    let killed = spawn({
        let numbers = Rc::clone(&numbers);
        move || {
            let mut numbers = numbers.borrow_mut();
            assert_eq!(numbers.send(Some(current())), Some(10));
            // The body kills the greenlet that asks, and then puts the value.
            numbers.send(None)
        }
    });
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    // That value is passed over: nothing was sent for it.
    assert_eq!(numbers.borrow_mut().send(None), Some(2));
    assert_eq!(numbers.borrow_mut().send(None), None);

    // An ordinary iterator gives it next.
    let consumer = Rc::new(Cell::new(None::<Greenlet>));
    let numbers = Rc::new(RefCell::new(generator({
        let consumer = Rc::clone(&consumer);
        move |y| {
            y.put(0);
            consumer.take().unwrap().kill_nowait().unwrap();
            y.put(1);
            y.put(2);
        }
    })));
    assert_eq!(numbers.borrow_mut().next(), Some(0));
    let killed = spawn({
        let numbers = Rc::clone(&numbers);
        move || {
            consumer.set(Some(current()));
            numbers.borrow_mut().next()
        }
    });
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    assert_eq!(numbers.borrow_mut().by_ref().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn it_says_how_far_it_is() {
    let mut one = generator(|y| y.put(1));
    assert_eq!(format!("{one:?}"), "Generator { is_started: false, has_ended: false, .. }");
    assert_eq!(one.by_ref().count(), 1);
    assert_eq!(format!("{one:?}"), "Generator { is_started: true, has_ended: true, .. }");
    assert!(timeout(HANG, || one.next()).is_ok_and(|value| value.is_none()));
}
