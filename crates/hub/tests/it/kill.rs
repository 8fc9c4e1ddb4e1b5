//! Killing greenlets: what they run, when it is over, and what is never lost by it.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use greenlet_hub::{
    Builder, Greenlet, JoinError, KillError, Outcome, Reason, Wait, WaitList, Waiter, current, joinall, killall, local,
    no_switch, sleep, spawn, spawn_later, timeout, yield_now,
};

use crate::child::in_child;
use crate::support::{HANG, OnDrop, Trace, timed};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

fn is_killed<T>(joined: Result<T, JoinError>) -> bool {
    matches!(joined, Err(JoinError::Killed))
}

#[test]
fn a_kill_waits_until_the_cleanup_is_over_even_when_that_sleeps() {
    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || {
            let _cleanup = OnDrop(|| {
                trace.note("cleanup");
                sleep(10 * MS);
                yield_now();
                trace.note("over");
            });
            sleep(LONG);
        }
    });
    yield_now();
    let (took, killed) = timed(|| greenlet.kill());
    killed.unwrap();
    trace.note("killed");
    assert!(took >= 10 * MS && took < HANG);
    assert_eq!(trace.take(), "cleanup over killed");
    assert!(greenlet.is_finished() && greenlet.is_started() && !greenlet.is_successful());
    assert!(is_killed(greenlet.join()));
}

#[test]
fn one_that_has_not_run_never_does() {
    let ran = Rc::new(Cell::new(false));
    let run = |ran: &Rc<Cell<bool>>| {
        let ran = Rc::clone(ran);
        move || ran.set(true)
    };
    let (ready, later) = (spawn(run(&ran)), spawn_later(500 * MS, run(&ran)));
    let far = spawn_later(LONG, run(&ran));
    ready.kill().unwrap();
    later.kill().unwrap();
    // Nobody waits until it would have started.
    far.kill().unwrap();
    for greenlet in [ready, later, far] {
        assert!(greenlet.is_finished() && !greenlet.is_started());
        assert!(is_killed(greenlet.join()));
    }
    sleep(10 * MS);
    assert!(!ran.get());
    // What they had captured is dropped.
    assert_eq!(Rc::strong_count(&ran), 1);
}

#[test]
fn what_one_that_never_runs_has_captured_may_wait_in_its_destructor() {
    // A kill used to cut it off at the wait.
    let trace = Trace::default();
    let cleanup = |text: &'static str| {
        let trace = trace.clone();
        OnDrop(move || {
            sleep(MS);
            yield_now();
            trace.note(text);
        })
    };
    let held = cleanup("never ran");
    let greenlet = spawn(move || drop(held));
    greenlet.kill().unwrap();
    assert_eq!(trace.take(), "never ran");
    // The same for locals, and for a result that nobody takes.
    type Anything = RefCell<Option<Box<dyn std::any::Any>>>;
    local! { static HELD: Anything = RefCell::new(None); }
    let (in_local, in_result) = (cleanup("local"), cleanup("result"));
    let greenlet = spawn(move || {
        HELD.with(|held| held.replace(Some(Box::new(in_local))).is_some());
        let swallowed = catch_unwind(|| sleep(LONG)).is_err();
        (swallowed, in_result)
    });
    yield_now();
    let handle = greenlet.greenlet().clone();
    drop(greenlet);
    handle.kill().unwrap();
    assert_eq!(trace.take(), "local result");
}

#[test]
fn killing_the_dead_or_killing_often_does_nothing_more() {
    let done = spawn(|| 7);
    yield_now();
    done.kill().unwrap();
    done.kill_nowait().unwrap();
    assert!(done.kill_timeout(Duration::ZERO).unwrap());
    assert_eq!(done.join().unwrap(), 7);

    let drops = Rc::new(Cell::new(0));
    let greenlet = spawn({
        let drops = Rc::clone(&drops);
        move || {
            let _cleanup = OnDrop(|| drops.set(drops.get() + 1));
            sleep(LONG);
        }
    });
    yield_now();
    for _ in 0..5 {
        greenlet.kill_nowait().unwrap();
    }
    assert_eq!(drops.get(), 0);
    greenlet.kill().unwrap();
    greenlet.kill().unwrap();
    assert_eq!(drops.get(), 1);
}

#[test]
fn one_that_kills_itself_unwinds_at_the_call_or_at_its_next_wait() {
    let trace = Trace::default();
    let at_once = spawn({
        let trace = trace.clone();
        move || {
            trace.note("a");
            current().kill().unwrap();
            trace.note("never");
        }
    });
    assert!(is_killed(at_once.join()));
    let later = spawn({
        let trace = trace.clone();
        move || {
            current().kill_nowait().unwrap();
            trace.note("b");
            sleep(Duration::ZERO);
            trace.note("never");
        }
    });
    assert!(is_killed(later.join()));
    let returns = spawn(|| {
        current().kill_nowait().unwrap();
        7
    });
    assert_eq!(returns.join().unwrap(), 7);
    assert_eq!(trace.take(), "a b");
}

#[test]
fn a_kill_with_a_time_says_whether_it_has_ended() {
    let greenlet = spawn(|| {
        let _slow = OnDrop(|| sleep(20 * MS));
        sleep(LONG);
    });
    yield_now();
    let (took, ended) = timed(|| greenlet.kill_timeout(2 * MS).unwrap());
    assert!(!ended && took >= 2 * MS);
    assert!(greenlet.kill_timeout(HANG).unwrap());
}

#[test]
fn the_parent_s_death_leaves_the_children_alone() {
    let done = Rc::new(Cell::new(false));
    let parent = spawn({
        let done = Rc::clone(&done);
        move || {
            spawn(move || {
                sleep(2 * MS);
                done.set(true);
            });
            sleep(LONG);
        }
    });
    yield_now();
    parent.kill().unwrap();
    assert!(!done.get());
    sleep(10 * MS);
    assert!(done.get());
}

#[test]
fn what_swallows_its_kill_meets_it_again_at_each_wait_and_may_return() {
    let greenlet = spawn(|| {
        let mut swallowed = 0;
        for _ in 0..3 {
            swallowed += u32::from(catch_unwind(|| sleep(LONG)).is_err());
            swallowed += u32::from(catch_unwind(yield_now).is_err());
        }
        swallowed
    });
    yield_now();
    greenlet.kill().unwrap();
    assert!(greenlet.is_successful());
    assert_eq!(greenlet.join().unwrap(), 6);
}

#[test]
fn what_swallows_everything_does_not_hold_the_hub() {
    // Each wait raised at once, and nobody else ever ran again.
    let enough = Rc::new(Cell::new(false));
    let server = spawn({
        let enough = Rc::clone(&enough);
        move || {
            while !enough.get() {
                let _ = catch_unwind(|| sleep(LONG));
            }
        }
    });
    yield_now();
    assert!(!server.kill_timeout(5 * MS).unwrap());
    let others = (0..3).map(|_| spawn(|| sleep(MS)));
    assert!(joinall(others).iter().all(Result::is_ok));
    enough.set(true);
    server.kill().unwrap();
    // The same for a time-out, of the main greenlet too.
    let mut rounds = 0;
    let result = timeout(MS, || {
        let other = spawn(|| sleep(5 * MS));
        while !other.is_finished() {
            let _ = catch_unwind(|| sleep(LONG));
            rounds += 1;
        }
        rounds
    });
    assert!(result.unwrap() > 1);
}

#[test]
fn a_kill_is_not_reported_and_a_panic_in_the_cleanup_is_what_is_joined() {
    let name = "kill::a_kill_is_not_reported_and_a_panic_in_the_cleanup_is_what_is_joined";
    let ended = in_child(name, || {
        let greenlet = Builder::new().name("quiet").spawn(|| sleep(LONG));
        yield_now();
        greenlet.kill().unwrap();
        drop(greenlet);
    });
    ended.check();
    assert_eq!(ended.stderr, "");
    let greenlet = spawn(|| {
        let caught = catch_unwind(|| sleep(LONG));
        assert!(caught.is_err());
        resume_unwind(Box::new("instead"));
    });
    yield_now();
    greenlet.kill().unwrap();
    let Err(JoinError::Panicked(payload)) = greenlet.join() else { panic!("it panicked") };
    assert_eq!(*payload.downcast::<&str>().unwrap(), "instead");
}

#[test]
fn the_main_greenlet_cannot_be_killed() {
    assert_eq!(current().kill(), Err(KillError::Main));
    assert_eq!(current().kill_nowait(), Err(KillError::Main));
    assert_eq!(current().kill_timeout(MS), Err(KillError::Main));
    let main = current();
    assert_eq!(spawn(move || main.kill()).join().unwrap(), Err(KillError::Main));
    let main = current();
    assert_eq!(thread::spawn(move || main.kill()).join().unwrap(), Err(KillError::Main));
    yield_now();
    // The others are killed all the same.
    let other = spawn(|| sleep(LONG));
    assert_eq!(killall([current(), other.greenlet().clone()], None), Err(KillError::Main));
    assert!(is_killed(other.join()));
}

#[test]
fn all_are_killed_before_any_is_waited_for() {
    let cleanup = || {
        spawn(|| {
            let _slow = OnDrop(|| sleep(200 * MS));
            sleep(LONG);
        })
    };
    let greenlets: Vec<_> = (0..50).map(|_| cleanup()).collect();
    yield_now();
    let (took, ended) = timed(|| killall(&greenlets, None).unwrap());
    // One after the other they would take ten seconds.
    assert!(ended && took >= 200 * MS && took < 5_000 * MS, "{took:?}");
    let stubborn = cleanup();
    yield_now();
    assert!(!killall([&stubborn], Some(2 * MS)).unwrap());
    assert!(killall([&stubborn], Some(HANG)).unwrap());
    assert!(killall(Vec::<Greenlet>::new(), None).unwrap());
    // One among them kills itself as well, last.
    let other = spawn(|| sleep(LONG));
    let handle = other.greenlet().clone();
    let own = spawn(move || killall([current(), handle], None));
    assert!(is_killed(own.join()));
    assert!(is_killed(other.join()));
}

#[test]
fn a_kill_in_no_switch_or_the_like_is_raised_later() {
    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || {
            no_switch(|| current().kill()).unwrap();
            trace.note("a");
            let _cleanup = OnDrop(|| trace.note("c"));
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _unwinds = OnDrop(|| {
                    current().kill().unwrap();
                    trace.note("b");
                });
                resume_unwind(Box::new(()));
            }));
            assert!(caught.is_err());
            sleep(LONG);
        }
    });
    assert!(is_killed(greenlet.join()));
    assert_eq!(trace.take(), "a b c");
}

#[test]
fn a_killed_waiter_passes_its_grant_on() {
    // Notified and killed in one tick, in both orders.
    for kill_first in [false, true] {
        let list = Rc::new(WaitList::new());
        let wait = || {
            let list = Rc::clone(&list);
            spawn(move || list.wait(Reason::new("a grant"), None, || false))
        };
        let (first, second) = (wait(), wait());
        yield_now();
        if kill_first {
            first.kill_nowait().unwrap();
        }
        assert!(list.notify_one());
        if !kill_first {
            first.kill_nowait().unwrap();
        }
        assert!(second.join().unwrap());
        assert!(is_killed(first.join()));
    }
}

#[test]
fn a_kill_wins_over_a_notification_that_comes_before_the_wait_sleeps() {
    let list = Rc::new(WaitList::new());
    let greenlet = spawn({
        let list = Rc::clone(&list);
        move || {
            current().kill_nowait().unwrap();
            let wait = Wait::begin(Reason::new("the test"));
            list.push(wait.waiter());
            list.notify_one();
            match wait.until(None) {
                Outcome::Interrupted(interrupted) => interrupted.was_notified(),
                _ => unreachable!("it was killed"),
            }
        }
    });
    assert!(greenlet.join().unwrap());
}

#[test]
fn others_threads_kill_what_runs_waits_and_has_not_started() {
    let (waiting, later) = (spawn(|| sleep(LONG)), spawn_later(LONG, || ()));
    let ready = spawn(|| ());
    let busy = spawn(|| {
        loop {
            yield_now();
        }
    });
    sleep(MS);
    let ready_again = spawn(|| ());
    let all = [&waiting, &later, &ready, &ready_again].map(|handle| handle.greenlet().clone());
    let busy_too = busy.greenlet().clone();
    let killer = thread::spawn(move || {
        busy_too.kill().unwrap();
        killall(all, None).unwrap()
    });
    assert!(is_killed(waiting.join()));
    assert!(is_killed(later.join()));
    assert!(killer.join().unwrap());
    let joined = [ready_again.join(), ready.join()];
    assert!(joined.iter().all(|joined| matches!(joined, Ok(()) | Err(JoinError::Killed))));
    assert!(is_killed(busy.join().map(|never: ()| never)));
}

#[test]
fn a_late_start_and_a_kill_from_another_thread_race_and_one_wins() {
    let (send, receive) = mpsc::channel::<Greenlet>();
    let killer = thread::spawn(move || receive.iter().map(|greenlet| greenlet.kill().unwrap()).count());
    let mut ran = 0;
    for round in 0..2000_u32 {
        let greenlet = spawn_later(Duration::from_micros(u64::from(round % 100)), || 7);
        send.send(greenlet.greenlet().clone()).unwrap();
        match greenlet.join() {
            Ok(value) => ran += value / 7,
            Err(JoinError::Killed) => {}
            Err(err) => panic!("{err}"),
        }
    }
    drop(send);
    assert_eq!(killer.join().unwrap(), 2000);
    assert!(ran <= 2000);
}

/// Kills from other threads against notifications, time-outs and ends, where each greenlet waits once for a permit that it returns.
#[test]
fn ten_thousand_kills_from_other_threads_lose_no_grant_and_no_end() {
    const ROUNDS: u32 = 10_000;
    const KILLERS: usize = 2;
    let senders: Vec<_> = (0..KILLERS)
        .map(|_| {
            let (send, receive) = mpsc::channel::<Greenlet>();
            let thread = thread::spawn(move || {
                for (round, greenlet) in receive.iter().enumerate() {
                    if round % 2 == 0 { greenlet.kill_nowait().unwrap() } else { greenlet.kill().unwrap() }
                }
            });
            (send, thread)
        })
        .collect();
    // Waiters stand in the list; a thread of its own notifies, and counts those that took it.
    let list = Arc::new(WaitList::new());
    let (stop, given) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let notifier = thread::spawn({
        let (list, stop, given) = (Arc::clone(&list), Arc::clone(&stop), Arc::clone(&given));
        move || {
            while !stop.load(Ordering::Acquire) {
                if list.notify_one() {
                    given.fetch_add(1, Ordering::Relaxed);
                } else {
                    thread::yield_now();
                }
            }
        }
    });
    let (mut dropped, mut got, mut killed, mut timed_out) = (Rc::new(Cell::new(0)), 0, 0, 0);
    let mut alive = Vec::new();
    for round in 0..ROUNDS {
        let (list, counted) = (
            Arc::clone(&list),
            OnDrop({
                let dropped = Rc::clone(&dropped);
                move || dropped.set(dropped.get() + 1)
            }),
        );
        let greenlet = spawn(move || {
            let _counted = counted;
            // Kept by nobody: it is taken or passed on.
            let micros = 50 * (1 + u64::from(round % 7));
            timeout(Duration::from_micros(micros), || list.wait(Reason::new("a grant"), None, || false)).is_ok()
        });
        senders[round as usize % KILLERS].0.send(greenlet.greenlet().clone()).unwrap();
        alive.push(greenlet);
        if alive.len() == 16 {
            for greenlet in alive.drain(..) {
                match greenlet.join() {
                    Ok(true) => got += 1,
                    Ok(false) => timed_out += 1,
                    Err(JoinError::Killed) => killed += 1,
                    Err(err) => panic!("{err}"),
                }
            }
        }
    }
    assert_eq!(got + killed + timed_out, ROUNDS);
    for (send, thread) in senders {
        drop(send);
        thread.join().unwrap();
    }
    stop.store(true, Ordering::Release);
    notifier.join().unwrap();
    assert_eq!(Rc::get_mut(&mut dropped).map(|dropped| dropped.get()), Some(ROUNDS));
    // Each that got one was given it; the rest was passed on till nobody waited.
    assert!(got <= given.load(Ordering::Relaxed), "{got} of {given:?}");
}

#[test]
fn no_wake_up_is_lost_when_grants_and_kills_cross() {
    // As many permits as greenlets that are not killed: if a killed one kept its grant, one of the others would wait for ever.
    const ROUNDS: u32 = 2000;
    let list = Arc::new(WaitList::new());
    let (send, receive) = mpsc::channel::<Greenlet>();
    let killer = thread::spawn(move || receive.iter().for_each(|greenlet| greenlet.kill_nowait().unwrap()));
    let (grant, grants) = mpsc::channel::<()>();
    let notifier = thread::spawn({
        let list = Arc::clone(&list);
        move || {
            for () in grants {
                while !list.notify_one() {
                    thread::yield_now();
                }
            }
        }
    });
    for _ in 0..ROUNDS {
        let wait = || {
            let list = Arc::clone(&list);
            spawn(move || list.wait(Reason::new("a grant"), None, || false))
        };
        let (victim, survivor) = (wait(), wait());
        yield_now();
        send.send(victim.greenlet().clone()).unwrap();
        grant.send(()).unwrap();
        if victim.join().is_ok() {
            // Killed too late: it has used its grant, and the other needs one.
            grant.send(()).unwrap();
        }
        let survivor = survivor.join_timeout(HANG).expect("a grant was lost");
        assert!(survivor.unwrap());
    }
    drop((send, grant));
    killer.join().unwrap();
    notifier.join().unwrap();
}

#[test]
fn a_claim_that_is_under_way_is_passed_on_by_the_killed() {
    let list = Rc::new(WaitList::new());
    let waiters: Rc<RefCell<Vec<Waiter>>> = Rc::default();
    let greenlet = spawn({
        let waiters = Rc::clone(&waiters);
        move || {
            let wait = Wait::begin(Reason::new("the test"));
            waiters.borrow_mut().push(wait.waiter());
            match wait.until(None) {
                Outcome::Interrupted(interrupted) => interrupted.was_notified(),
                outcome => panic!("{outcome:?}"),
            }
        }
    });
    yield_now();
    let waiter = waiters.borrow_mut().pop().unwrap();
    let late = waiter.clone();
    let claim = waiter.claim().expect("it waits");
    greenlet.kill_nowait().unwrap();
    yield_now();
    // Not before the claim is dropped.
    assert!(!greenlet.is_finished() && !late.notify() && late.claim().is_none());
    drop(claim);
    assert!(greenlet.join().unwrap());
    drop(list);
}

#[test]
fn locals_links_and_joiners_of_the_killed_are_told_once() {
    let trace = Trace::default();
    let greenlet = spawn(|| sleep(LONG));
    greenlet.link({
        let trace = trace.clone();
        move |greenlet| trace.note(format_args!("link {}", greenlet.is_successful()))
    });
    let joiners: Vec<_> = (0..3)
        .map(|n| {
            let (greenlet, trace) = (greenlet.greenlet().clone(), trace.clone());
            spawn(move || {
                greenlet.wait();
                trace.note(n);
            })
        })
        .collect();
    yield_now();
    greenlet.kill().unwrap();
    joinall(joiners);
    assert_eq!(trace.take(), "link false 0 1 2");
}
