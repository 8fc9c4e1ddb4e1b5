//! Every call that waits, in every way in which a wait can end: gevent's generic timeout tests, as a table.
//!
//! The rows are descriptions of the calls, in `matrix/`; the columns are the tests in here. Each is one body for all rows: a new
//! primitive is one row. Bounds of time only tell waiting from not waiting.

mod groups;
mod hub;
mod locks;
mod net;
mod queues;
mod row;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use greenlet::hub::Builder;
use greenlet::{Elapsed, JoinError, JoinHandle, no_switch, sleep_until, spawn, timeout, yield_now};

use row::{Call, Scene};

/// A time that passes.
const SHORT: Duration = Duration::from_millis(20);
/// A time that does not.
const LONG: Duration = Duration::from_secs(600);
/// So long nothing takes, unless it hangs.
const HANG: Duration = Duration::from_secs(30);

fn rows() -> Vec<Call> {
    [hub::rows(), locks::rows(), queues::rows(), groups::rows(), net::rows()].concat()
}

// ---- the columns ----

#[test]
fn what_is_ready_returns_at_once() {
    each_alone(|call| {
        let Some(gives) = call.gives.filter(|_| !call.traits.is_never_ready_before) else { return };
        let at_once = |f: &dyn Fn() -> String| if call.traits.switches { in_time(f) } else { no_switch(f) };
        let scene = call.scene();
        scene.make_ready();
        settle();
        assert_eq!(at_once(&|| scene.call()), gives);
        if call.gives_up.is_some() {
            for limit in [LONG, SHORT] {
                let scene = call.scene();
                scene.make_ready();
                settle();
                assert_eq!(at_once(&|| scene.timed(limit)), gives, "within {limit:?}");
            }
        }
    });
}

#[test]
fn what_is_not_ready_is_waited_for() {
    each_at_once(|call| {
        let forms = if call.gives_up.is_some() { 2 } else { 1 };
        for timed in [false, true].into_iter().take(forms) {
            let scene = call.scene();
            let waiting = if timed { spawn_timed(&scene, LONG) } else { spawn_call(&scene) };
            settle();
            assert!(!waiting.is_finished(), "it does not wait");
            if let Some(gives) = call.gives {
                scene.make_ready();
                assert_eq!(finish(waiting).unwrap(), gives);
            } else {
                kill(waiting);
            }
        }
    });
}

#[test]
fn a_threads_own_stack_waits_as_well() {
    each_alone(|call| {
        let Some(gives) = call.gives else { return };
        let scene = call.scene();
        let readier = spawn({
            let scene = Rc::clone(&scene);
            move || {
                settle();
                scene.make_ready();
            }
        });
        assert_eq!(in_time(|| scene.call()), gives);
        readier.join().unwrap();
    });
}

#[test]
fn its_own_timeout_ends_it_in_time_and_takes_nothing() {
    each_at_once(|call| {
        let Some(gives_up) = call.gives_up else { return };
        let scene = call.scene();
        for limit in [SHORT, Duration::ZERO] {
            assert_eq!(lasting(limit, || scene.timed(limit)), gives_up);
        }
        is_as_before(call, &scene);
    });
}

#[test]
fn a_kill_ends_it_and_it_takes_nothing() {
    each_at_once(|call| {
        let scene = call.scene();
        let waiting = spawn_call(&scene);
        settle();
        kill(waiting);
        is_as_before(call, &scene);
    });
}

#[test]
fn a_kill_by_another_thread_ends_it() {
    each_at_once(|call| {
        let scene = call.scene();
        let waiting = spawn_call(&scene);
        settle();
        let greenlet = waiting.greenlet().clone();
        let killer = thread::spawn(move || greenlet.kill_timeout(HANG).unwrap());
        assert!(matches!(finish(waiting), Err(JoinError::Killed)));
        assert!(killer.join().unwrap());
        is_as_before(call, &scene);
    });
}

#[test]
fn a_shorter_timeout_around_it_ends_it() {
    each_at_once(|call| {
        let scene = call.scene();
        assert_eq!(lasting(SHORT, || timeout(SHORT, || scene.call())), Err(Elapsed));
        is_as_before(call, &scene);
        if call.gives_up.is_some() {
            let scene = call.scene();
            assert_eq!(lasting(SHORT, || timeout(SHORT, || scene.timed(LONG))), Err(Elapsed));
            is_as_before(call, &scene);
        }
    });
}

#[test]
fn a_longer_timeout_around_it_leaves_it_its_own() {
    each_at_once(|call| {
        if let Some(gives_up) = call.gives_up {
            let scene = call.scene();
            let given = lasting(SHORT, || timeout(LONG, || timeout(LONG, || scene.timed(SHORT))));
            assert_eq!(given, Ok(Ok(gives_up.to_owned())));
        }
        let Some(gives) = call.gives else { return };
        let scene = call.scene();
        let waiting = spawn({
            let scene = Rc::clone(&scene);
            move || timeout(LONG, || scene.call())
        });
        settle();
        scene.make_ready();
        assert_eq!(finish(waiting).unwrap(), Ok(gives.to_owned()));
    });
}

#[test]
fn whoever_would_end_it_dies() {
    each_at_once(|call| {
        for (death, &(how, gives)) in call.deaths.iter().enumerate() {
            let scene = call.scene();
            let mut waiting = vec![spawn_call(&scene)];
            if call.gives_up.is_some() && !call.traits.is_once && !call.traits.is_for_one {
                waiting.push(spawn_timed(&scene, LONG));
            }
            settle();
            scene.die(death);
            // Only the first, where a stream is for one at a time.
            assert_eq!(finish(waiting.remove(0)).unwrap(), gives, "{how}");
            drop(waiting.into_iter().map(|waiting| waiting.greenlet().kill()).collect::<Vec<_>>());
        }
    });
}

#[test]
fn it_refuses_to_wait_where_nobody_may_switch() {
    each_alone(|call| {
        let scene = call.scene();
        let panicked = catch_unwind(AssertUnwindSafe(|| no_switch(|| scene.call())));
        let message = panicked.map_err(message).expect_err("it waits");
        assert!(message.contains("no_switch"), "{message}");
        is_as_before(call, &scene);
    });
}

// ---- the columns of one tick: what is granted there is not lost ----

/// What happens to the first of those who wait.
type End = dyn Fn(&Rc<dyn Scene>, &JoinHandle<String>);

/// Three wait; one thing comes in the tick in which `end` ends the first wait. It goes to the first or the second, and to nobody else.
fn one_of_three(call: &Call, first: fn(&Rc<dyn Scene>) -> JoinHandle<String>, end: &End) {
    let Some(gives) = call.gives.filter(|_| call.traits.is_for_one) else { return };
    let scene = call.scene();
    let first = first(&scene);
    settle();
    let (second, third) = (spawn_call(&scene), spawn_call(&scene));
    settle();
    end(&scene, &first);
    let given = finish(first);
    let got = match given.as_deref() {
        Ok(given) if given == gives => true,
        Ok(given) => {
            assert!(given == "elapsed" || Some(given) == call.gives_up, "the first got {given}");
            false
        }
        Err(JoinError::Killed) => false,
        Err(err) => panic!("{err}"),
    };
    if got {
        settle();
        assert!(!second.is_finished(), "it was doubled");
        kill(second);
    } else if call.traits.is_final {
        settle();
        kill_or_expect(second, gives);
    } else {
        assert_eq!(finish(second).unwrap(), gives);
    }
    settle();
    assert!(!third.is_finished(), "it was doubled");
    kill(third);
}

#[test]
fn a_grant_and_then_a_kill_in_one_tick_lose_nothing() {
    each_alone(|call| {
        one_of_three(call, spawn_call, &|scene, first| {
            scene.make_ready();
            first.greenlet().kill_nowait().unwrap();
        });
        // Where it comes by a greenlet that has to run first: after that one.
        one_of_three(call, spawn_call, &|scene, first| {
            scene.make_ready();
            let first = first.greenlet().clone();
            spawn(move || first.kill_nowait());
        });
    });
}

#[test]
fn a_kill_and_then_a_grant_in_one_tick_lose_nothing() {
    each_alone(|call| {
        one_of_three(call, spawn_call, &|scene, first| {
            first.greenlet().kill_nowait().unwrap();
            scene.make_ready();
        });
    });
}

#[test]
fn a_grant_and_a_timeout_in_one_tick_lose_nothing() {
    each_alone(|call| {
        // The time is up when it is granted, but nobody has looked at the timers.
        let grant_late = |scene: &Rc<dyn Scene>, _: &JoinHandle<String>| {
            work(2 * SHORT);
            scene.make_ready();
        };
        one_of_three(call, spawn_elapsing, &grant_late);
        if call.gives_up.is_some() {
            one_of_three(call, |scene| spawn_timed(scene, SHORT), &grant_late);
        }
    });
}

#[test]
fn a_timeout_and_a_grant_found_by_one_look_at_the_timers_lose_nothing() {
    each_alone(|call| {
        // Both timers are ripe when the hub looks: that of the wait before, or after, that of the one who grants.
        for grants_first in [false, true] {
            let grant = move |scene: &Rc<dyn Scene>, _: &JoinHandle<String>| {
                let scene = Rc::clone(scene);
                let due = Instant::now() + if grants_first { Duration::ZERO } else { SHORT };
                spawn(move || {
                    sleep_until(due);
                    scene.make_ready();
                });
                settle_without_timers();
                work(2 * SHORT);
            };
            one_of_three(call, spawn_elapsing, &grant);
            if call.gives_up.is_some() {
                one_of_three(call, |scene| spawn_timed(scene, SHORT), &grant);
            }
        }
    });
}

// ---- how they are run ----

/// The rows one after the other, each with the hub for itself.
fn each_alone(body: impl Fn(&Call)) {
    let mut failures = Vec::new();
    for call in rows() {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(&call))) {
            failures.push(format!("{}: {}", call.name, message(payload)));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// All rows at once, each in a greenlet: for what takes time.
fn each_at_once(body: impl Fn(&Call) + 'static) {
    let body = Rc::new(body);
    let running = rows().into_iter().map(|call| {
        let (name, body) = (call.name, Rc::clone(&body));
        (name, Builder::new().name(name).spawn(move || body(&call)))
    });
    let mut failures = Vec::new();
    for (name, running) in running.collect::<Vec<_>>() {
        match running.join_timeout(HANG) {
            Ok(Ok(())) => {}
            Ok(Err(JoinError::Panicked(payload))) => failures.push(format!("{name}: {}", message(payload))),
            Ok(Err(err)) => failures.push(format!("{name}: {err}")),
            Err(_) => failures.push(format!("{name}: hangs")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn spawn_call(scene: &Rc<dyn Scene>) -> JoinHandle<String> {
    let scene = Rc::clone(scene);
    spawn(move || scene.call())
}

fn spawn_timed(scene: &Rc<dyn Scene>, limit: Duration) -> JoinHandle<String> {
    let scene = Rc::clone(scene);
    spawn(move || scene.timed(limit))
}

fn spawn_elapsing(scene: &Rc<dyn Scene>) -> JoinHandle<String> {
    let scene = Rc::clone(scene);
    spawn(move || timeout(SHORT, || scene.call()).unwrap_or_else(|Elapsed| "elapsed".into()))
}

/// Nothing was consumed: the next one gets what comes.
fn is_as_before(call: &Call, scene: &Rc<dyn Scene>) {
    let Some(gives) = call.gives.filter(|_| !call.traits.is_once) else { return };
    let next = spawn_call(scene);
    settle();
    assert!(!next.is_finished(), "the next does not wait");
    scene.make_ready();
    assert_eq!(finish(next).unwrap(), gives);
}

/// Lets everybody run who can without the outside world.
fn settle() {
    (0..20).for_each(|_| yield_now());
}

/// The same, in fewer steps than there are between two looks at the timers.
fn settle_without_timers() {
    (0..3).for_each(|_| yield_now());
}

/// Holds the hub for so long.
fn work(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

fn finish<T>(waiting: JoinHandle<T>) -> Result<T, JoinError> {
    waiting.join_timeout(HANG).unwrap_or_else(|_| panic!("it hangs"))
}

fn kill(waiting: JoinHandle<String>) {
    assert!(waiting.greenlet().kill_timeout(HANG).unwrap(), "it resists");
    match waiting.join() {
        Err(JoinError::Killed) => {}
        other => panic!("it was killed, and gave {other:?}"),
    }
}

/// Kills it, unless it has got it.
fn kill_or_expect(waiting: JoinHandle<String>, gives: &str) {
    if waiting.is_finished() { assert_eq!(finish(waiting).unwrap(), gives) } else { kill(waiting) }
}

/// Fails if it hangs.
fn in_time<T>(f: impl FnOnce() -> T) -> T {
    timeout(HANG, f).expect("it hangs")
}

/// Fails unless it takes as long, and not for ever.
fn lasting<T>(duration: Duration, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = in_time(f);
    assert!(start.elapsed() >= duration, "it returned after {:?}", start.elapsed());
    value
}

fn message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}
