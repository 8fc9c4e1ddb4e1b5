//! `Event`: who is woken by which `set`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, Waitable, iwait, joinall, no_switch, sleep_until, spawn, timeout, wait, yield_now};
use greenlet_sync::Event;

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

#[test]
fn an_event_that_is_set_does_not_switch() {
    let event = Event::new();
    event.set();
    no_switch(|| event.wait());
    assert!(no_switch(|| event.wait_timeout(MS)));
    assert!(no_switch(|| event.wait_deadline(Instant::now())));
}

#[test]
fn those_who_wait_run_in_the_order_in_which_they_came() {
    let (event, trace) = (Rc::new(Event::new()), Rc::new(RefCell::new(Vec::new())));
    let waiting: Vec<_> = (0..5)
        .map(|i| {
            let (event, trace) = (Rc::clone(&event), Rc::clone(&trace));
            spawn(move || {
                event.wait();
                trace.borrow_mut().push(i);
            })
        })
        .collect();
    yield_now();
    event.set();
    assert!(trace.borrow().is_empty(), "set never switches");
    joinall(waiting);
    assert_eq!(*trace.borrow(), [0, 1, 2, 3, 4]);
}

#[test]
fn set_and_clear_without_a_switch_wake_everyone_who_waited() {
    let (event, woken) = (Rc::new(Event::new()), Rc::new(Cell::new(0)));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (event, woken) = (Rc::clone(&event), Rc::clone(&woken));
            spawn(move || {
                event.wait();
                woken.set(woken.get() + 1);
            })
        })
        .collect();
    yield_now();
    event.set();
    event.clear();
    joinall(waiting);
    assert_eq!(woken.get(), 3);
    assert!(!event.is_set());
}

#[test]
fn a_woken_waiter_that_waits_again_is_not_woken_by_the_same_set() {
    let (event, woken) = (Rc::new(Event::new()), Rc::new(Cell::new(0)));
    let waiting = spawn({
        let (event, woken) = (Rc::clone(&event), Rc::clone(&woken));
        move || {
            for _ in 0..2 {
                event.wait();
                woken.set(woken.get() + 1);
            }
        }
    });
    yield_now();
    event.set();
    event.clear();
    for _ in 0..5 {
        yield_now();
    }
    assert_eq!(woken.get(), 1);
    event.set();
    waiting.join().unwrap();
    assert_eq!(woken.get(), 2);
}

#[test]
fn a_wait_with_a_timeout_says_whether_it_was_set() {
    let event = Event::new();
    let start = Instant::now();
    assert!(!event.wait_timeout(5 * MS));
    assert!(start.elapsed() >= 5 * MS);
    assert!(!event.wait_timeout(Duration::ZERO));
    assert!(!event.wait_deadline(Instant::now() + MS));
    // One that overflows is for ever.
    let event = Rc::new(event);
    spawn({
        let event = Rc::clone(&event);
        move || event.set()
    });
    assert!(event.wait_timeout(Duration::MAX));
}

#[test]
fn an_event_that_is_set_in_the_tick_of_the_timeout_was_set() {
    let event = Rc::new(Event::new());
    let deadline = Instant::now() + 3 * MS;
    // Both time out in one look at the timers, this one first.
    let setter = spawn({
        let event = Rc::clone(&event);
        move || {
            sleep_until(deadline);
            event.set();
            event.clear();
        }
    });
    let waiting = spawn({
        let event = Rc::clone(&event);
        move || event.wait_deadline(deadline)
    });
    assert!(waiting.join().unwrap());
    setter.join().unwrap();
}

#[test]
fn a_killed_waiter_is_gone_and_the_others_are_woken() {
    let event = Rc::new(Event::new());
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            spawn({
                let event = Rc::clone(&event);
                move || event.wait()
            })
        })
        .collect();
    yield_now();
    let killed = waiting.remove(0);
    killed.kill().unwrap();
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    // In the same tick as the set: the kill wins.
    event.set();
    waiting[0].kill_nowait().unwrap();
    let ends: Vec<_> = joinall(waiting).into_iter().map(|end| end.is_ok()).collect();
    assert_eq!(ends, [false, true]);
}

#[test]
fn an_outer_timeout_ends_the_wait() {
    let event = Event::new();
    assert!(timeout(MS, || event.wait()).is_err());
    assert!(timeout(MS, || event.wait_timeout(HANG)).is_err());
    assert_eq!(timeout(HANG, || event.wait_timeout(MS)), Ok(false));
}

#[test]
fn events_are_waited_for_with_other_things() {
    let events: Vec<_> = (0..3).map(|_| Rc::new(Event::new())).collect();
    let objects: Vec<&dyn Waitable> = events.iter().map(|event| &**event as &dyn Waitable).collect();
    spawn({
        let events = events.clone();
        move || {
            for i in [2, 0] {
                events[i].set();
                events[i].clear();
                yield_now();
            }
        }
    });
    assert_eq!(iwait(&objects, Some(2), Some(HANG)).collect::<Vec<_>>(), [2, 0]);
    assert!(wait(&objects, None, Some(MS)).is_empty());
}

#[test]
fn stale_waiters_do_not_pile_up() {
    let event = Event::new();
    let other = Event::new();
    other.set();
    // The wait on the first never comes to anything. Bounded memory is what the sweep is for; here it must not be slow.
    for _ in 0..100_000 {
        assert_eq!(wait(&[&event, &other], Some(1), None), [1]);
    }
    for _ in 0..10_000 {
        event.wait_timeout(Duration::ZERO);
    }
}

#[test]
fn threads_and_hubs_wait_for_the_same_event() {
    let (start, ready) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (start, ready) = (Arc::clone(&start), Arc::clone(&ready));
            std::thread::spawn(move || {
                let waiting: Vec<_> = (0..10)
                    .map(|_| {
                        spawn({
                            let start = Arc::clone(&start);
                            move || start.wait_timeout(HANG)
                        })
                    })
                    .collect();
                ready.set();
                joinall(waiting).into_iter().all(|woken| matches!(woken, Ok(true)))
            })
        })
        .collect();
    assert!(ready.wait_timeout(HANG));
    start.set();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
}

#[test]
fn two_threads_that_hand_a_flag_to_and_fro_lose_no_wake_up() {
    const ROUNDS: u32 = 20_000;
    let (ping, pong) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let other = std::thread::spawn({
        let (ping, pong) = (Arc::clone(&ping), Arc::clone(&pong));
        move || {
            for _ in 0..ROUNDS {
                ping.wait();
                ping.clear();
                pong.set();
            }
        }
    });
    for _ in 0..ROUNDS {
        ping.set();
        assert!(pong.wait_timeout(HANG));
        pong.clear();
    }
    other.join().unwrap();
}

#[test]
fn fifty_thousand_are_woken_at_once() {
    let (event, woken) = (Rc::new(Event::new()), Rc::new(Cell::new(0)));
    let waiting: Vec<_> = (0..50_000)
        .map(|_| {
            let (event, woken) = (Rc::clone(&event), Rc::clone(&woken));
            spawn(move || {
                event.wait();
                woken.set(woken.get() + 1);
            })
        })
        .collect();
    yield_now();
    event.set();
    joinall(waiting);
    assert_eq!(woken.get(), 50_000);
}

#[test]
fn an_event_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Event>();
    assert_eq!(format!("{:?}", Event::default()), "Event { is_set: false, .. }");
}
