//! Greenlet locals: one value a greenlet, dropped when it ends.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenlet_hub::{AccessError, Greenlet, inherited_local, joinall, local, sleep, spawn, spawn_later, yield_now};

use crate::support::{Bound, OnDrop, Trace};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

type Anything = RefCell<Vec<Box<dyn Any>>>;

local! {
    static COUNT: Cell<u32> = Cell::new(7);
    static FIRST: Anything = RefCell::default();
    static SECOND: Anything = RefCell::default();
}

fn hold(key: &'static greenlet_hub::LocalKey<Anything>, value: impl Any) {
    key.with_borrow_mut(|held| held.push(Box::new(value)));
}

#[test]
fn each_greenlet_has_its_own() {
    COUNT.set(1);
    let counts = (0..100).map(|n| {
        spawn(move || {
            let initial = COUNT.get();
            COUNT.set(n);
            yield_now();
            (initial, COUNT.replace(0), COUNT.take())
        })
    });
    for (n, joined) in joinall(counts).into_iter().enumerate() {
        assert_eq!(joined.unwrap(), (7, n as u32, 0));
    }
    assert_eq!(COUNT.get(), 1);
    assert_eq!(thread::spawn(|| COUNT.get()).join().unwrap(), 7);
}

#[test]
fn a_greenlet_on_a_used_stack_and_in_a_used_block_begins_anew() {
    for _ in 0..100 {
        assert_eq!(spawn(|| COUNT.replace(9)).join().unwrap(), 7);
    }
}

#[test]
fn they_are_dropped_when_it_ends_the_last_made_first_before_a_join_returns() {
    let trace = Trace::default();
    let note = |what: &'static str| {
        let trace = trace.clone();
        OnDrop(move || trace.note(what))
    };
    let (first, second, result) = (note("first"), note("second"), note("result"));
    let greenlet = spawn(move || {
        hold(&FIRST, first);
        hold(&SECOND, second);
        result
    });
    let result = greenlet.join();
    trace.note("joined");
    drop(result);
    assert_eq!(trace.take(), "second first joined result");
}

#[test]
fn however_it_ends() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ends: [fn(); 4] = [|| (), || resume_unwind(Box::new(())), || sleep(LONG), || sleep(LONG)];
    let greenlets = ends.map(|end| {
        let bound = Bound::new(&drops);
        spawn(move || {
            hold(&FIRST, bound);
            end();
        })
    });
    yield_now();
    let [.., here, elsewhere] = &greenlets;
    here.kill().unwrap();
    let handle = elsewhere.greenlet().clone();
    let killer = thread::spawn(move || handle.kill().unwrap());
    elsewhere.wait();
    killer.join().unwrap();
    joinall(greenlets);
    assert_eq!(drops.load(Ordering::Relaxed), 4);
}

#[test]
fn they_stay_home_though_the_last_handle_does_not() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (send, receive) = mpsc::channel::<Greenlet>();
    let elsewhere = thread::spawn(move || receive.iter().for_each(|greenlet| greenlet.kill_nowait().unwrap()));
    for round in 0..500 {
        let bound = Bound::new(&drops);
        let delay = Duration::from_micros(round % 50);
        let greenlet = spawn_later(delay, move || {
            hold(&FIRST, bound);
            yield_now();
        });
        send.send(greenlet.greenlet().clone()).unwrap();
        drop(greenlet);
        yield_now();
    }
    drop(send);
    elsewhere.join().unwrap();
    sleep(2 * MS);
    greenlet_hub::shutdown(Duration::ZERO);
    assert_eq!(drops.load(Ordering::Relaxed), 500);
}

#[test]
fn one_that_is_dropped_is_not_made_again_but_another_may_be() {
    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || {
            let made_late = trace.clone();
            hold(
                &SECOND,
                OnDrop(move || {
                    trace.note(format_args!("{:?}", SECOND.try_with(|_| ())));
                    trace.note(catch_unwind(|| SECOND.with(|_| ())).is_err());
                    let late = made_late.clone();
                    // FIRST has not been made by now; COUNT neither.
                    hold(&FIRST, OnDrop(move || late.note(format_args!("late {}", COUNT.get()))));
                }),
            );
        }
    });
    greenlet.join().unwrap();
    assert_eq!(trace.take(), format!("{:?} true late 7", Err::<(), _>(AccessError)));
    assert_eq!(AccessError.to_string(), "this greenlet's value has been dropped");
}

#[test]
fn a_destructor_may_wait_spawn_and_panic() {
    let trace = Trace::default();
    let note = |what: &'static str| {
        let trace = trace.clone();
        move || trace.note(what)
    };
    let (slept, spawned, after) = (note("slept"), note("spawned"), note("after"));
    let greenlet = spawn(move || {
        hold(&FIRST, OnDrop(after));
        hold(
            &SECOND,
            OnDrop(move || {
                sleep(2 * MS);
                slept();
                let spawned = spawned.clone();
                spawn(spawned).join().unwrap();
                resume_unwind(Box::new("no matter"));
            }),
        );
        "value"
    });
    assert_eq!(greenlet.join().unwrap(), "value");
    assert_eq!(trace.take(), "slept spawned after");
}

#[test]
fn the_drop_of_a_result_that_nobody_takes_may_make_some() {
    let drops = Arc::new(AtomicUsize::new(0));
    let bound = Cell::new(Some(Bound::new(&drops)));
    let greenlet = spawn(move || OnDrop(move || hold(&FIRST, bound.take().unwrap())));
    let handle = greenlet.greenlet().clone();
    drop(greenlet);
    handle.wait();
    thread::spawn(move || drop(handle)).join().unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn an_inherited_value_s_drop_leaves_no_local_behind() {
    // Two rounds of it left one in the block, which the last handle dropped on its own thread.
    struct Again(u32, Arc<AtomicUsize>);
    impl Drop for Again {
        fn drop(&mut self) {
            if self.0 > 0 {
                AGAIN.set(Some(Again(self.0 - 1, Arc::clone(&self.1))));
            } else {
                hold(&FIRST, Bound::new(&self.1));
            }
        }
    }
    inherited_local! { static AGAIN: Option<Again> = None; }

    for rounds in 0..4 {
        let drops = Arc::new(AtomicUsize::new(0));
        let again = Again(rounds, Arc::clone(&drops));
        let greenlet = spawn(move || AGAIN.set(Some(again)));
        let handle = greenlet.greenlet().clone();
        greenlet.join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        thread::spawn(move || drop(handle)).join().unwrap();
    }
}

#[test]
fn an_initial_expression_may_wait_panic_and_ask_for_others() {
    local! {
        static TWICE: u32 = {
            yield_now();
            COUNT.get() * 2
        };
        static PANICS: Cell<bool> = {
            if COUNT.get() == 7 {
                resume_unwind(Box::new(()));
            }
            Cell::new(true)
        };
    }
    let greenlet = spawn(|| {
        let panicked = catch_unwind(|| PANICS.get()).is_err();
        COUNT.set(8);
        (panicked, PANICS.get(), TWICE.with(|twice| *twice))
    });
    assert_eq!(greenlet.join().unwrap(), (true, true, 16));
}

#[test]
fn a_greenlet_that_waits_inside_with_keeps_the_value() {
    let held = Rc::new(());
    let greenlet = spawn({
        let held = Rc::clone(&held);
        move || {
            hold(&FIRST, held);
            FIRST.with(|_| sleep(LONG));
        }
    });
    yield_now();
    assert_eq!(Rc::strong_count(&held), 2);
    greenlet.kill().unwrap();
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn a_main_greenlet_s_are_dropped_with_its_thread() {
    let drops = Arc::new(AtomicUsize::new(0));
    let thread = thread::spawn({
        let drops = Arc::clone(&drops);
        move || {
            hold(&FIRST, Bound::new(&drops));
            // In a destructor that late there is another hub, and other values.
            hold(&SECOND, OnDrop(|| drop(spawn(|| COUNT.set(1)).join())));
            let waiting = spawn({
                let bound = Bound::new(&drops);
                move || {
                    hold(&FIRST, bound);
                    sleep(LONG);
                }
            });
            yield_now();
            waiting.greenlet().clone()
        }
    });
    let left = thread.join().unwrap();
    // Those of what still waited are leaked with it.
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    left.wait();
    drop(left);
}

#[test]
fn an_unwind_sees_them() {
    let greenlet = spawn(|| {
        let seen = Rc::new(Cell::new(0));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _looks = OnDrop(|| seen.set(COUNT.get()));
            COUNT.set(8);
            resume_unwind(Box::new(()));
        }));
        (caught.is_err(), seen.get())
    });
    assert_eq!(greenlet.join().unwrap(), (true, 8));
}
