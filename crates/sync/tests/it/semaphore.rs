//! Semaphores: who gets which permit, and that none is lost.

use std::cell::{Cell, RefCell};
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, JoinHandle, Waitable, iwait, joinall, no_switch, spawn, timeout, wait, yield_now};
use greenlet_sync::{BoundedSemaphore, Event, OverRelease, OwnedPermit, Permit, Semaphore};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

type Trace = Rc<RefCell<Vec<&'static str>>>;

/// A greenlet that takes a permit for good, and writes it down.
fn taker(semaphore: &Rc<Semaphore>, trace: &Trace, name: &'static str) -> JoinHandle<()> {
    let (semaphore, trace) = (Rc::clone(semaphore), Rc::clone(trace));
    spawn(move || {
        semaphore.acquire().forget();
        trace.borrow_mut().push(name);
    })
}

#[test]
fn what_is_free_is_taken_without_a_switch() {
    let semaphore = Semaphore::new(3);
    no_switch(|| {
        semaphore.acquire().forget();
        assert!(semaphore.acquire_timeout(MS).is_some());
        semaphore.wait();
        assert!(semaphore.wait_timeout(MS));
    });
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn a_guard_gives_its_permit_back() {
    let semaphore = Semaphore::new(1);
    let permit = semaphore.acquire();
    assert!(semaphore.try_acquire().is_none());
    drop(permit);
    assert!(semaphore.try_acquire().is_some());
    let shared = Arc::new(Semaphore::new(1));
    let owned = shared.try_acquire_owned().unwrap();
    assert_eq!(owned.semaphore().available(), 0);
    assert!(shared.try_acquire_owned().is_none());
    assert!(shared.acquire_owned_timeout(MS).is_none());
    drop(owned);
    shared.acquire_owned().forget();
    assert_eq!((shared.available(), Arc::strong_count(&shared)), (0, 1));
}

#[test]
fn permits_go_to_those_who_wait_in_the_order_in_which_they_came() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let takers: Vec<_> = ["a", "b", "c"].map(|name| taker(&semaphore, &trace, name)).into();
    yield_now();
    for _ in 0..3 {
        semaphore.release();
    }
    assert!(trace.borrow().is_empty(), "release never switches");
    joinall(takers);
    assert_eq!(*trace.borrow(), ["a", "b", "c"]);
}

#[test]
fn a_newcomer_may_take_what_was_released_before_a_waiter_does() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let waiting = taker(&semaphore, &trace, "waiter");
    yield_now();
    semaphore.release();
    assert!(no_switch(|| semaphore.try_acquire()).map(Permit::forget).is_some());
    yield_now();
    assert!(!waiting.is_finished());
    semaphore.release();
    waiting.join().unwrap();
}

#[test]
fn who_was_passed_over_is_handed_the_next_one() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let takers = vec![taker(&semaphore, &trace, "a"), taker(&semaphore, &trace, "b")];
    yield_now();
    semaphore.release();
    semaphore.try_acquire().unwrap().forget();
    yield_now();
    // "a" has found nothing. The next one is his, before "b" and before any newcomer.
    semaphore.release();
    assert_eq!(semaphore.available(), 0);
    assert!(semaphore.try_acquire().is_none());
    semaphore.release();
    assert_eq!(semaphore.available(), 1);
    joinall(takers);
    assert_eq!(*trace.borrow(), ["a", "b"]);
}

#[test]
fn nobody_starves_beside_one_who_never_waits() {
    let semaphore = Rc::new(Semaphore::new(1));
    let got = Rc::new(Cell::new(0));
    let polite: Vec<_> = (0..3)
        .map(|_| {
            let (semaphore, got) = (Rc::clone(&semaphore), Rc::clone(&got));
            spawn(move || {
                for _ in 0..10 {
                    let _permit = semaphore.acquire();
                    got.set(got.get() + 1);
                }
            })
        })
        .collect();
    // Holds it whenever others run, but for the moments between.
    let mut rounds = 0;
    while got.get() < 30 {
        let _permit = semaphore.acquire();
        yield_now();
        rounds += 1;
        assert!(rounds < 1000, "starved at {}", got.get());
    }
    joinall(polite);
}

#[test]
fn a_waiter_gives_up_at_its_deadline_and_takes_nothing() {
    let semaphore = Semaphore::new(0);
    assert!(semaphore.acquire_timeout(MS).is_none());
    assert!(!semaphore.wait_timeout(MS));
    semaphore.release();
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn a_timed_out_waiter_does_not_swallow_a_permit() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    assert!(semaphore.acquire_timeout(Duration::ZERO).is_none());
    let second = taker(&semaphore, &trace, "second");
    yield_now();
    semaphore.release();
    second.join().unwrap();
}

#[test]
fn a_permit_that_comes_in_the_tick_of_the_deadline_is_taken() {
    let semaphore = Rc::new(Semaphore::new(0));
    let waiting = spawn({
        let semaphore = Rc::clone(&semaphore);
        move || semaphore.acquire_timeout(MS).is_some()
    });
    yield_now();
    // Its time is up, but the hub has not looked.
    let start = Instant::now();
    while start.elapsed() < 2 * MS {
        std::hint::spin_loop();
    }
    semaphore.release();
    assert!(waiting.join().unwrap());
}

#[test]
fn a_permit_that_comes_between_the_deadline_and_the_waiter_is_taken() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (semaphore, trace) = (Rc::clone(&semaphore), Rc::clone(&trace));
            spawn(move || {
                // Both are woken by one look at the timers, and the first does it before the second runs.
                let permit = semaphore.acquire_timeout(MS);
                trace.borrow_mut().push(if permit.is_some() { "taken" } else { "timed out" });
                std::mem::forget(permit);
                if trace.borrow().len() == 1 {
                    semaphore.release();
                }
            })
        })
        .collect();
    yield_now();
    let start = Instant::now();
    while start.elapsed() < 2 * MS {
        std::hint::spin_loop();
    }
    joinall(waiting);
    assert_eq!(*trace.borrow(), ["timed out", "taken"]);
}

#[test]
fn a_killed_waiter_takes_nothing() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let first = taker(&semaphore, &trace, "first");
    let second = taker(&semaphore, &trace, "second");
    yield_now();
    first.kill().unwrap();
    semaphore.release();
    second.join().unwrap();
    assert!(matches!(first.join(), Err(JoinError::Killed)));
    assert_eq!(semaphore.available(), 0);
}

#[test]
fn a_permit_granted_in_the_tick_of_a_kill_goes_to_the_next() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let first = taker(&semaphore, &trace, "first");
    let second = taker(&semaphore, &trace, "second");
    yield_now();
    semaphore.release();
    first.kill_nowait().unwrap();
    second.join().unwrap();
    assert!(matches!(first.join(), Err(JoinError::Killed)));
    assert_eq!(*trace.borrow(), ["second"]);
}

#[test]
fn a_promised_permit_whose_owner_is_killed_goes_to_the_next() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let first = taker(&semaphore, &trace, "first");
    let second = taker(&semaphore, &trace, "second");
    yield_now();
    semaphore.release();
    semaphore.try_acquire().unwrap().forget();
    yield_now();
    semaphore.release();
    assert_eq!(semaphore.available(), 0, "it is promised");
    first.kill().unwrap();
    second.join().unwrap();
    assert_eq!(*trace.borrow(), ["second"]);
    assert_eq!(semaphore.available(), 0);
    semaphore.release();
    assert_eq!(semaphore.available(), 1, "no promise is left");
}

#[test]
fn a_promised_permit_that_nobody_else_wants_is_free_after_a_kill() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let first = taker(&semaphore, &trace, "first");
    yield_now();
    semaphore.release();
    semaphore.try_acquire().unwrap().forget();
    yield_now();
    semaphore.release();
    first.kill().unwrap();
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn a_passed_over_waiter_that_times_out_leaves_no_promise() {
    let semaphore = Rc::new(Semaphore::new(0));
    let waiting = spawn({
        let semaphore = Rc::clone(&semaphore);
        move || semaphore.acquire_timeout(5 * MS).is_some()
    });
    yield_now();
    semaphore.release();
    semaphore.try_acquire().unwrap().forget();
    assert!(!waiting.join().unwrap());
    semaphore.release();
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn a_permit_granted_in_the_tick_of_an_outer_timeout_goes_to_the_next() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let first = spawn({
        let semaphore = Rc::clone(&semaphore);
        move || timeout(MS, || semaphore.acquire().forget()).is_err()
    });
    let second = taker(&semaphore, &trace, "second");
    yield_now();
    let start = Instant::now();
    while start.elapsed() < 2 * MS {
        std::hint::spin_loop();
    }
    // So many run before the first that the hub looks at its timers when he is ready already.
    let others: Vec<_> = (0..200).map(|_| spawn(|| ())).collect();
    semaphore.release();
    joinall(others);
    assert!(first.join().unwrap());
    second.join().unwrap();
}

#[test]
fn the_shorter_of_two_timeouts_ends_it() {
    let semaphore = Semaphore::new(0);
    assert!(timeout(MS, || semaphore.acquire_timeout(HANG).is_some()).is_err());
    assert_eq!(timeout(HANG, || semaphore.acquire_timeout(MS).is_some()), Ok(false));
    assert!(timeout(MS, || semaphore.wait()).is_err());
}

#[test]
fn one_permit_lets_all_go_on_who_only_wait_for_it() {
    let semaphore = Rc::new(Semaphore::new(0));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let semaphore = Rc::clone(&semaphore);
            spawn(move || semaphore.wait())
        })
        .collect();
    yield_now();
    semaphore.release();
    joinall(waiting);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn one_who_only_waits_leaves_the_permit_to_the_next() {
    let (semaphore, trace) = (Rc::new(Semaphore::new(0)), Trace::default());
    let waiting = spawn({
        let semaphore = Rc::clone(&semaphore);
        move || semaphore.wait()
    });
    let next = taker(&semaphore, &trace, "next");
    yield_now();
    semaphore.release();
    joinall([waiting, next]);
    assert_eq!(semaphore.available(), 0);
}

#[test]
fn it_can_be_waited_for_together_with_others() {
    let (semaphore, event) = (Rc::new(Semaphore::new(0)), Event::new());
    spawn({
        let semaphore = Rc::clone(&semaphore);
        move || semaphore.release()
    });
    assert_eq!(iwait(&[&event, &*semaphore], None, Some(HANG)).next(), Some(1));
    assert_eq!(semaphore.available(), 1, "waiting takes nothing");
    assert_eq!(wait(&[&*semaphore], None, None), [0]);
    let bounded = BoundedSemaphore::new(1);
    assert!(bounded.is_ready());
}

#[test]
fn one_who_waits_for_several_things_passes_the_permit_on() {
    let (semaphore, event, trace) = (Rc::new(Semaphore::new(0)), Rc::new(Event::new()), Trace::default());
    let several = spawn({
        let (semaphore, event) = (Rc::clone(&semaphore), Rc::clone(&event));
        move || wait(&[&*semaphore, &*event], Some(1), Some(HANG))
    });
    let next = taker(&semaphore, &trace, "next");
    yield_now();
    semaphore.release();
    event.set();
    next.join().unwrap();
    several.join().unwrap();
}

#[test]
fn a_kill_of_one_who_waits_for_several_things_passes_the_permit_on() {
    let (semaphore, event, trace) = (Rc::new(Semaphore::new(0)), Event::new(), Trace::default());
    let several = spawn({
        let semaphore = Rc::clone(&semaphore);
        move || wait(&[&*semaphore, &event], Some(1), Some(HANG))
    });
    let next = taker(&semaphore, &trace, "next");
    yield_now();
    semaphore.release();
    several.kill_nowait().unwrap();
    next.join().unwrap();
}

#[test]
fn a_permit_is_given_back_by_a_greenlet_that_is_killed() {
    let semaphore = Rc::new(Semaphore::new(1));
    let holder = spawn({
        let semaphore = Rc::clone(&semaphore);
        move || {
            let _permit = semaphore.acquire();
            Event::new().wait();
        }
    });
    yield_now();
    assert_eq!(semaphore.available(), 0);
    holder.kill().unwrap();
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn a_bounded_semaphore_refuses_what_it_never_gave() {
    let semaphore = BoundedSemaphore::new(2);
    assert_eq!(semaphore.release(), Err(OverRelease));
    let permit = semaphore.acquire();
    assert_eq!(semaphore.release(), Ok(()));
    drop(permit); // has nothing to give back
    assert_eq!(semaphore.available(), 2);
    semaphore.try_acquire().unwrap().forget();
    semaphore.acquire_timeout(MS).unwrap().forget();
    assert!(semaphore.try_acquire().is_none());
    assert!(!semaphore.wait_timeout(MS));
    assert_eq!(semaphore.release(), Ok(()));
    semaphore.wait();
}

#[test]
#[should_panic = "a wait inside no_switch"]
fn waiting_inside_no_switch_panics() {
    no_switch(|| Semaphore::new(0).acquire().forget());
}

#[test]
fn the_panic_hook_may_look_at_what_could_not_be_waited_for() {
    thread_local! {
        static LOOKED_AT: Cell<Option<&'static Semaphore>> = const { Cell::new(None) };
    }

    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match LOOKED_AT.get() {
        Some(semaphore) => semaphore.release(),
        None => hook(info),
    }));
    static SEMAPHORE: Semaphore = Semaphore::new(0);
    LOOKED_AT.set(Some(&SEMAPHORE));
    let panicked = catch_unwind(|| no_switch(|| SEMAPHORE.acquire().forget())).is_err();
    LOOKED_AT.set(None);
    assert!(panicked);
    assert_eq!(SEMAPHORE.available(), 1);
}

#[test]
fn stale_waiters_do_not_pile_up() {
    let semaphore = Semaphore::new(0);
    for _ in 0..10_000 {
        assert!(!wait(&[&semaphore], None, Some(Duration::ZERO)).contains(&0));
    }
    assert!(format!("{semaphore:?}").contains("waiting: 0"));
}

#[test]
fn threads_and_greenlets_share_the_permits() {
    let (semaphore, busy) = (Arc::new(Semaphore::new(2)), Arc::new(AtomicUsize::new(0)));
    let work = |rounds: usize| {
        let (semaphore, busy) = (Arc::clone(&semaphore), Arc::clone(&busy));
        move || {
            for round in 0..rounds {
                let permit = semaphore.acquire();
                assert!(busy.fetch_add(1, Ordering::SeqCst) < 2);
                if round % 16 == 0 {
                    yield_now();
                }
                busy.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            }
        }
    };
    let thread = std::thread::spawn({
        let works = [work(5_000), work(5_000), work(5_000)];
        move || joinall(works.map(spawn)).into_iter().all(|result| result.is_ok())
    });
    assert!(joinall([work(5_000), work(5_000)].map(spawn)).iter().all(Result::is_ok));
    assert!(thread.join().unwrap());
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn no_permit_is_lost_between_releases_kills_and_deadlines_on_two_threads() {
    const ROUNDS: usize = 500;
    let (semaphore, taken) = (Arc::new(Semaphore::new(0)), Rc::new(Cell::new(0)));
    let (send, rounds) = std::sync::mpsc::channel::<()>();
    let releaser = std::thread::spawn({
        let semaphore = Arc::clone(&semaphore);
        move || {
            for () in rounds {
                for _ in 0..3 {
                    semaphore.release();
                }
            }
        }
    });
    for round in 0..ROUNDS {
        let takers: Vec<_> = (0..6)
            .map(|number| {
                let (semaphore, taken) = (Arc::clone(&semaphore), Rc::clone(&taken));
                spawn(move || {
                    let permit = match number % 3 {
                        0 => semaphore.acquire_timeout(Duration::from_micros(20)),
                        _ => Some(semaphore.acquire()),
                    };
                    if let Some(permit) = permit {
                        permit.forget();
                        taken.set(taken.get() + 1);
                    }
                })
            })
            .collect();
        yield_now();
        send.send(()).unwrap();
        for _ in 0..round % 50 {
            yield_now();
        }
        for taker in takers.iter().step_by(2) {
            taker.kill_nowait().unwrap();
        }
        for taker in takers {
            taker.kill().unwrap();
        }
    }
    drop(send);
    releaser.join().unwrap();
    assert_eq!(taken.get() + semaphore.available(), 3 * ROUNDS);
}

#[test]
fn permits_may_cross_threads() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<(Semaphore, BoundedSemaphore, OwnedPermit, Permit<'static>)>();
}
