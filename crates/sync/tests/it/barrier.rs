//! `Barrier`: who goes on with whom.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_hub::{JoinHandle, joinall, no_switch, spawn, timeout, yield_now};
use greenlet_sync::{Barrier, BarrierWaitResult};

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

fn waiting(barrier: &Rc<Barrier>) -> JoinHandle<BarrierWaitResult> {
    let barrier = Rc::clone(barrier);
    spawn(move || barrier.wait())
}

#[test]
fn the_last_to_come_leads_and_does_not_switch() {
    let barrier = Rc::new(Barrier::new(3));
    let others = [waiting(&barrier), waiting(&barrier)];
    yield_now();
    assert_eq!(barrier.n_waiting(), 2);
    assert!(no_switch(|| barrier.wait()).is_leader());
    assert_eq!(barrier.n_waiting(), 0);
    assert!(joinall(others).into_iter().all(|result| !result.unwrap().is_leader()));
}

#[test]
fn a_barrier_for_one_or_none_holds_up_nobody() {
    for n in [0, 1] {
        let barrier = Barrier::new(n);
        assert!(no_switch(|| barrier.wait()).is_leader());
        assert!(no_switch(|| barrier.wait_timeout(MS)).unwrap().is_leader());
    }
}

#[test]
fn a_barrier_is_used_again() {
    let (barrier, trace) = (Rc::new(Barrier::new(2)), Rc::new(RefCell::new(Vec::new())));
    let runners = ["a", "b"].map(|name| {
        let (barrier, trace) = (Rc::clone(&barrier), Rc::clone(&trace));
        spawn(move || {
            for round in 0..3 {
                trace.borrow_mut().push(format!("{name}{round}"));
                barrier.wait();
            }
        })
    });
    joinall(runners);
    let trace = trace.borrow();
    for (round, pair) in trace.chunks(2).enumerate() {
        assert!(pair.iter().all(|entry| entry.ends_with(&round.to_string())), "{trace:?}");
    }
}

#[test]
fn one_who_times_out_leaves_and_the_others_wait_on() {
    let barrier = Rc::new(Barrier::new(3));
    let other = waiting(&barrier);
    yield_now();
    assert_eq!(barrier.wait_timeout(MS), None);
    assert!(timeout(MS, || barrier.wait()).is_err());
    assert_eq!(barrier.n_waiting(), 1);
    assert!(!other.is_finished());
    let third = waiting(&barrier);
    yield_now();
    assert!(barrier.wait_timeout(HANG).unwrap().is_leader());
    joinall([other, third]);
}

#[test]
fn one_who_is_killed_leaves_and_the_others_wait_on() {
    let barrier = Rc::new(Barrier::new(2));
    let killed = waiting(&barrier);
    yield_now();
    killed.kill().unwrap();
    assert_eq!(barrier.n_waiting(), 0);
    let other = waiting(&barrier);
    yield_now();
    assert!(!other.is_finished());
    barrier.wait();
    other.join().unwrap();
}

#[test]
fn a_kill_in_the_tick_in_which_they_go_on_takes_nobody_elses_place() {
    let barrier = Rc::new(Barrier::new(2));
    let killed = waiting(&barrier);
    yield_now();
    barrier.wait();
    killed.kill().unwrap();
    assert_eq!(barrier.n_waiting(), 0);
    let other = waiting(&barrier);
    yield_now();
    assert_eq!(barrier.n_waiting(), 1);
    assert!(barrier.wait().is_leader());
    assert!(!other.join().unwrap().is_leader());
}

#[test]
fn threads_go_on_together() {
    const ROUNDS: usize = 200;
    let (barrier, leaders) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (barrier, leaders) = (Arc::clone(&barrier), Arc::clone(&leaders));
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    if barrier.wait().is_leader() {
                        leaders.fetch_add(1, Ordering::Relaxed);
                    }
                    barrier.wait();
                    assert_eq!(leaders.load(Ordering::Relaxed), round + 1);
                    barrier.wait();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_barrier_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Barrier>();
    assert_eq!(format!("{:?}", Barrier::new(2)), "Barrier { n: 2, n_waiting: 0, .. }");
}
