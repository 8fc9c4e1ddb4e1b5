//! Waiting for greenlets to end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenlet_hub::{JoinHandle, Reason, WaitList, joinall, sleep, spawn, yield_now};

use crate::support::{HANG, Trace, timed};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_join_gives_the_value() {
    assert_eq!(spawn(|| String::from("value")).join().unwrap(), "value");
    let outer = spawn(|| spawn(|| 1).join().unwrap() + 1);
    assert_eq!(outer.join().unwrap(), 2);
}

#[test]
fn the_result_of_one_that_ended_long_ago_is_still_there() {
    let greenlet = spawn(|| vec![1, 2, 3]);
    yield_now();
    sleep(MS);
    assert_eq!(greenlet.join().unwrap(), [1, 2, 3]);
}

#[test]
fn a_join_that_gives_up_gives_the_handle_back() {
    let list = Rc::new(WaitList::new());
    let greenlet = spawn({
        let list = Rc::clone(&list);
        move || list.wait(Reason::new("the test"), None, || false)
    });
    let (took, greenlet) = timed(|| greenlet.join_timeout(5 * MS).expect_err("it waits"));
    assert!(took >= 5 * MS);
    let greenlet = greenlet.join_timeout(Duration::ZERO).expect_err("it waits");
    list.notify_one();
    assert!(greenlet.join_timeout(HANG).expect("it ends").unwrap());
}

#[test]
fn a_join_with_a_timeout_ends_when_the_greenlet_does() {
    let greenlet = spawn(|| {
        sleep(2 * MS);
        7
    });
    let (took, joined) = timed(|| greenlet.join_timeout(HANG));
    assert_eq!(joined.expect("in time").unwrap(), 7);
    assert!(took < HANG / 2);
}

#[test]
fn many_wait_for_one_and_one_takes_the_value() {
    let trace = Trace::default();
    let target = spawn(|| {
        sleep(3 * MS);
        "value"
    });
    let wait_as = |number: usize| {
        let (target, trace) = (target.greenlet().clone(), trace.clone());
        spawn(move || {
            target.wait();
            trace.note(number);
            target.is_successful()
        })
    };
    let waiters: Vec<JoinHandle<bool>> = (0..5).map(wait_as).collect();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let target = target.greenlet().clone();
            thread::spawn(move || {
                target.wait();
                target.is_successful()
            })
        })
        .collect();
    let other_hub = thread::spawn({
        let target = target.greenlet().clone();
        move || spawn(move || target.wait_timeout(HANG)).join().unwrap()
    });
    assert!(joinall(waiters).into_iter().all(Result::unwrap));
    assert_eq!(trace.take(), "0 1 2 3 4");
    assert_eq!(target.join().unwrap(), "value");
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    assert!(other_hub.join().unwrap());
}

#[test]
fn a_value_is_taken_on_another_thread() {
    let (send, receive) = mpsc::channel::<JoinHandle<Vec<u8>>>();
    let joiner = thread::spawn(move || receive.recv().unwrap().join().unwrap());
    let greenlet = spawn(|| {
        sleep(MS);
        vec![1, 2]
    });
    let end = greenlet.greenlet().clone();
    send.send(greenlet).unwrap();
    end.wait();
    assert_eq!(joiner.join().unwrap(), [1, 2]);
}

#[test]
fn joinall_collects_before_it_waits_and_keeps_the_order() {
    let trace = Trace::default();
    let lazily = [5, 1, 3].into_iter().map(|ms| {
        trace.note(format!("spawn{ms}"));
        let trace = trace.clone();
        spawn(move || {
            trace.note(format!("run{ms}"));
            sleep(ms * MS);
            ms
        })
    });
    let results: Vec<u32> = joinall(lazily).into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [5, 1, 3]);
    assert_eq!(trace.take(), "spawn5 spawn1 spawn3 run5 run1 run3");
    assert!(joinall(Vec::<JoinHandle<()>>::new()).is_empty());
}

#[test]
fn joinall_gives_errors_in_their_places() {
    let results = joinall((0..4).map(|number| {
        spawn(move || {
            if number == 2 {
                std::panic::resume_unwind(Box::new("two"));
            }
            number
        })
    }));
    let good: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, true, false, true]);
}

#[test]
fn a_chain_of_joins_ends_however_long_it_is() {
    let mut last = spawn(|| 0);
    for _ in 0..5_000 {
        last = spawn(move || last.join().unwrap() + 1);
    }
    assert_eq!(last.join().unwrap(), 5_000);
}

#[test]
fn those_who_join_run_after_those_who_were_ready_before() {
    let (trace, done) = (Trace::default(), Rc::new(Cell::new(false)));
    let target = spawn({
        let (trace, done) = (trace.clone(), Rc::clone(&done));
        move || {
            let trace2 = trace.clone();
            spawn(move || trace2.note("child"));
            trace.note("target");
            done.set(true);
        }
    });
    target.join().unwrap();
    trace.note("joiner");
    assert_eq!(trace.take(), "target child joiner");
}
