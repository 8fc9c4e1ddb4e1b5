//! `timeout`: whose it is, and what it leaves alone.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Elapsed, JoinError, Reason, WaitList, current, joinall, sleep, sleep_until, spawn, timeout, timeout_at, yield_now,
};

use crate::support::{HANG, OnDrop, Trace, timed, work};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn it_ends_a_wait_within_bounds_and_runs_destructors() {
    let cleaned = Cell::new(false);
    let (took, result) = timed(|| {
        timeout(10 * MS, || {
            let _cleanup = OnDrop(|| cleaned.set(true));
            sleep(LONG);
        })
    });
    assert_eq!(result, Err(Elapsed));
    assert!(cleaned.get() && took >= 10 * MS && took < HANG, "{took:?}");
}

#[test]
fn what_is_in_time_gives_its_value_and_leaves_nothing_behind() {
    assert_eq!(timeout(LONG, || 7), Ok(7));
    assert_eq!(timeout(HANG, || sleep(MS)), Ok(()));
    for _ in 0..1000 {
        let _ = timeout(Duration::from_micros(1), || ());
    }
    // A timer that was left would interrupt this.
    sleep(5 * MS);
    yield_now();
}

#[test]
fn a_body_that_never_waits_is_never_ended() {
    let ended = timeout(Duration::ZERO, || {
        work(3 * MS);
        7
    });
    assert_eq!(ended, Ok(7));
    // Expired in the look of another's wait, and not asked since.
    let greenlet = spawn(|| {
        timeout(MS, || {
            yield_now();
            work(5 * MS);
            7
        })
    });
    assert_eq!(greenlet.join().unwrap(), Ok(7));
    sleep(MS);
}

#[test]
fn zero_ends_the_first_wait() {
    let (took, result) = timed(|| timeout(Duration::ZERO, || sleep(LONG)));
    assert_eq!(result, Err(Elapsed));
    assert!(took < HANG);
    assert_eq!(timeout_at(Instant::now() - MS, || sleep(LONG)), Err(Elapsed));
}

#[test]
fn each_of_nested_ones_catches_its_own() {
    let trace = Trace::default();
    let outer = timeout(200 * MS, || {
        let inner = timeout(2 * MS, || sleep(LONG));
        trace.note(inner.is_err());
        let inner = timeout(LONG, || sleep(LONG));
        trace.note(inner.is_err());
    });
    assert_eq!(outer, Err(Elapsed));
    assert_eq!(trace.take(), "true");
    // Three deep, the middle one first.
    let result = timeout(LONG, || {
        let middle = timeout(2 * MS, || timeout(LONG, || sleep(LONG)));
        (middle, timeout(2 * MS, || sleep(LONG)))
    });
    assert_eq!(result, Ok((Err(Elapsed), Err(Elapsed))));
}

#[test]
fn an_outer_one_is_not_lost_inside_a_call_with_a_time_of_its_own() {
    let list = WaitList::new();
    let sleeper = spawn(|| sleep(LONG));
    let calls: [&dyn Fn(); 4] = [
        &|| {
            list.wait(Reason::new("nothing"), Some(Instant::now() + LONG), || false);
        },
        &|| {
            sleeper.wait_timeout(LONG);
        },
        &|| {
            greenlet_hub::wait(&[&sleeper], None, Some(LONG));
        },
        &|| {
            let _ = timeout(LONG, || sleep(LONG));
        },
    ];
    for call in calls {
        let (took, result) = timed(|| timeout(5 * MS, call));
        assert_eq!(result, Err(Elapsed));
        assert!(took >= 5 * MS && took < HANG);
    }
    // And the call's own goes first if it is the shorter.
    let result = timeout(LONG, || list.wait(Reason::new("nothing"), Some(Instant::now() + MS), || false));
    assert_eq!(result, Ok(false));
    sleeper.kill().unwrap();
}

#[test]
fn of_two_that_have_expired_the_outer_one_is_raised() {
    let after_inner = Cell::new(false);
    let result = timeout(MS, || {
        let inner = timeout(MS, || {
            work(5 * MS);
            sleep(LONG);
        });
        after_inner.set(true);
        inner
    });
    assert_eq!(result, Err(Elapsed));
    assert!(!after_inner.get());
    // The inner one is under way, when the outer one expires in a destructor that waits.
    let then = Instant::now() + 200 * MS;
    let result = timeout_at(then, || {
        let inner = timeout(MS, || {
            let _slow = OnDrop(|| sleep_until(then + 5 * MS));
            sleep(LONG);
        });
        after_inner.set(true);
        assert_eq!(inner, Err(Elapsed));
        sleep(LONG);
    });
    assert_eq!(result, Err(Elapsed));
    assert!(after_inner.get());
}

#[test]
fn what_is_swallowed_is_raised_by_the_next_wait_until_it_is_left() {
    let mut swallowed = 0;
    let result = timeout(2 * MS, || {
        for _ in 0..3 {
            swallowed += u32::from(catch_unwind(|| sleep(LONG)).is_err());
        }
        sleep(LONG);
    });
    assert_eq!((result, swallowed), (Err(Elapsed), 3));
    let result = timeout(2 * MS, || catch_unwind(|| sleep(LONG)).is_err());
    assert_eq!(result, Ok(true));
    // Nothing is left of either.
    sleep(MS);
    yield_now();
}

#[test]
fn the_payload_of_one_is_not_another_s() {
    let mut kept = None;
    let first = timeout(MS, || kept = catch_unwind(|| sleep(LONG)).err());
    assert_eq!(first, Ok(()));
    let payload = kept.unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| timeout(LONG, || resume_unwind(payload))));
    assert!(caught.is_err());
    // Nor is one of another greenlet or thread, where the numbers may be the same.
    let payload = caught.unwrap_err();
    let greenlet = spawn(|| timeout(LONG, || resume_unwind(payload)));
    let Err(JoinError::Panicked(payload)) = greenlet.join().map(|never: Result<(), Elapsed>| never) else {
        panic!("it is nobody's")
    };
    let joined = thread::spawn(|| {
        for _ in 0..10 {
            let _ = timeout(LONG, || ());
        }
        let payload = Cell::new(Some(payload));
        let owned = catch_unwind(AssertUnwindSafe(|| {
            timeout(LONG, || timeout(LONG, || resume_unwind(payload.take().unwrap())))
        }));
        owned.is_err()
    });
    assert!(joined.join().unwrap());
}

#[test]
fn a_panic_goes_through_and_takes_the_timer_back() {
    let caught = catch_unwind(|| timeout(2 * MS, || resume_unwind(Box::new("body"))));
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "body");
    sleep(5 * MS);
}

#[test]
fn a_kill_goes_before_the_outermost_time_out() {
    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || {
            let result = timeout(MS, || {
                work(5 * MS);
                current().kill_nowait().unwrap();
                yield_now();
            });
            trace.note(format_args!("{result:?}"));
        }
    });
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    // The kill after the time-out is under way: the one is caught, the other raised by the next wait.
    let greenlet = spawn({
        let trace = trace.clone();
        move || {
            let result = timeout(MS, || {
                let _killed = OnDrop(|| current().kill_nowait().unwrap());
                sleep(LONG);
            });
            trace.note(format_args!("{result:?}"));
            yield_now();
            trace.note("never");
        }
    });
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    assert_eq!(trace.take(), "Err(Elapsed)");
}

#[test]
fn a_grant_that_comes_in_the_same_tick_goes_to_the_next() {
    let list = Rc::new(WaitList::new());
    let first = spawn({
        let list = Rc::clone(&list);
        move || timeout(5 * MS, || list.wait(Reason::new("a grant"), None, || false))
    });
    let second = spawn({
        let list = Rc::clone(&list);
        move || list.wait(Reason::new("a grant"), None, || false)
    });
    yield_now();
    // It is granted, but stands behind so many others that a look comes before it runs, and finds its time passed.
    let others: Vec<_> = (0..100).map(|_| spawn(|| ())).collect();
    assert!(list.notify_one());
    work(8 * MS);
    joinall(others);
    assert_eq!(first.join().unwrap(), Err(Elapsed), "a pending time-out wins");
    assert!(second.join_timeout(HANG).expect("the grant was lost").unwrap());
}

#[test]
fn ten_thousand_run_and_expire_together() {
    let timed = (0..10_000_u64).map(|n| {
        spawn(move || {
            let own = 1 + n % 5;
            let result = timeout(own as u32 * MS, || timeout(3 * MS, || sleep(LONG)));
            match own {
                1 | 2 => result == Err(Elapsed),
                // Equal deadlines: the outer one was armed first.
                3 => result.is_err() || result == Ok(Err(Elapsed)),
                _ => result == Ok(Err(Elapsed)),
            }
        })
    });
    let joined = joinall(timed);
    let right = joined.iter().filter(|joined| matches!(joined, Ok(true))).count();
    // When the processor is taken away for milliseconds, both have expired and the outer one counts.
    assert!(right >= 4000, "{right}");
    assert!(joined.iter().all(Result::is_ok));
}

#[test]
fn a_plain_thread_has_time_outs_too() {
    let thread = thread::spawn(|| timeout(2 * MS, || sleep(LONG)));
    assert_eq!(thread.join().unwrap(), Err(Elapsed));
    let err = std::io::Error::from(Elapsed);
    assert_eq!(err.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn durations_that_overflow_are_as_good_as_for_ever() {
    assert_eq!(timeout(Duration::MAX, || sleep(MS)), Ok(()));
}
