//! `shield`: what comes in it waits until it has ended.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use greenlet_hub::{Elapsed, JoinError, current, shield, sleep, spawn, timeout, yield_now};

use crate::support::{OnDrop, Trace};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_kill_waits_for_the_shield_and_is_raised_by_the_next_wait() {
    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || {
            let value = shield(|| {
                yield_now();
                sleep(2 * MS);
                trace.note("in");
                7
            });
            trace.note(value);
            sleep(LONG);
            trace.note("never");
        }
    });
    yield_now();
    greenlet.kill().unwrap();
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    assert_eq!(trace.take(), "in 7");
}

#[test]
fn a_kill_from_another_thread_waits_as_well() {
    let greenlet = spawn(|| {
        shield(|| sleep(20 * MS));
        // Without another wait it is simply late.
        7
    });
    yield_now();
    let handle = greenlet.greenlet().clone();
    let killer = thread::spawn(move || handle.kill().unwrap());
    assert_eq!(greenlet.join().unwrap(), 7);
    killer.join().unwrap();
}

#[test]
fn shields_nest() {
    let trace = Trace::default();
    let result = timeout(MS, || {
        shield(|| {
            shield(|| sleep(5 * MS));
            sleep(MS);
            trace.note("both");
        });
        sleep(LONG);
    });
    assert_eq!(result, Err(Elapsed));
    assert_eq!(trace.take(), "both");
}

#[test]
fn a_panic_lowers_it() {
    let caught = catch_unwind(|| shield(|| resume_unwind(Box::new(()))));
    assert!(caught.is_err());
    assert_eq!(timeout(MS, || sleep(LONG)), Err(Elapsed));
}

#[test]
fn one_that_kills_itself_in_it_goes_on_to_its_end() {
    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || {
            shield(|| {
                current().kill().unwrap();
                yield_now();
                trace.note("a");
            });
            let _cleanup = OnDrop(|| trace.note("b"));
            current().kill().unwrap();
            trace.note("never");
        }
    });
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    assert_eq!(trace.take(), "a b");
}

#[test]
fn it_is_the_greenlet_s_own() {
    let shielded = spawn(|| shield(|| sleep(5 * MS)));
    yield_now();
    let other = spawn(|| sleep(LONG));
    yield_now();
    other.kill().unwrap();
    assert!(!shielded.is_finished());
    shielded.join().unwrap();
}

#[test]
fn it_holds_through_a_caught_unwind_in_it() {
    let result = timeout(MS, || {
        shield(|| {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _waits = OnDrop(|| sleep(3 * MS));
                resume_unwind(Box::new(()));
            }));
            assert!(caught.is_err());
            sleep(MS);
            7
        })
    });
    assert_eq!(result, Ok(7));
}
