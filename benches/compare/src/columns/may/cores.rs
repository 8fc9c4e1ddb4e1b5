//! may on two workers, and a tree on one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use may::coroutine::{self, JoinHandle};
use may::{config, go};

use super::{accept, on_the_worker};
use crate::columns::{Step, Wake, second, sum_below};
use crate::gauge::Alarm;
use crate::process::{self, LOAD_CORE, SERVER_CORE};

pub(super) const STEPS: &[Step] = &[
    Step::of("pool_spawn", "inside", |jobs| {
        two_workers();
        go!(move || pool_spawns(jobs)).join().expect("the coroutine does not panic")
    }),
    Step::of("pool_spawn", "outside", |jobs| {
        two_workers();
        pool_spawns(jobs)
    }),
    Step::of("skynet", "tree", skynet),
];

pub(super) const WAKES: &[Wake] = &[Wake::of("polling", wakes_by_unpark), Wake::of("pool", wakes_by_spawn)];

/// Not pinned to a core each, as they come, but free as the other columns' are.
fn two_workers() {
    config().set_workers(2).set_worker_pin(false);
}

fn pool_spawns(jobs: usize) -> Duration {
    second(|| {
        let handles: Vec<JoinHandle<u64>> = (0..jobs as u64).map(|number| go!(move || number)).collect();
        let sum: u64 = handles.into_iter().map(|handle| handle.join().expect("the coroutine does not panic")).sum();
        assert_eq!(sum, sum_below(jobs));
    })
}

fn skynet(leaves: usize) -> Duration {
    on_the_worker(move || {
        let start = Instant::now();
        assert_eq!(tree(0, leaves as u64), sum_below(leaves));
        start.elapsed()
    })
}

fn tree(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let each = leaves / 10;
    let children: Vec<JoinHandle<u64>> = (0..10).map(|child| go!(move || tree(first + child * each, each))).collect();
    children.into_iter().map(|child| child.join().expect("the coroutine does not panic")).sum()
}

/// Starts one worker, on the other core.
fn worker_on_the_other_core() {
    config().set_workers(1).set_worker_pin(false);
    // Threads begin where the one who starts them is.
    process::pin(LOAD_CORE);
    go!(|| ()).join().expect("the coroutine does not panic");
    process::pin(SERVER_CORE);
}

fn wakes_by_unpark(alarm: &'static Alarm) -> Vec<Duration> {
    worker_on_the_other_core();
    let rung = Arc::new(AtomicBool::new(false));
    let sleeper = {
        let rung = Arc::clone(&rung);
        go!(move || {
            for _ in 0..alarm.times() {
                while !rung.swap(false, Ordering::Acquire) {
                    coroutine::park();
                }
                alarm.woke();
            }
        })
    };
    let took = alarm.ring(|| {
        rung.store(true, Ordering::Release);
        sleeper.coroutine().unpark();
    });
    sleeper.join().expect("the coroutine does not panic");
    took
}

fn wakes_by_spawn(alarm: &'static Alarm) -> Vec<Duration> {
    worker_on_the_other_core();
    alarm.ring(|| {
        go!(move || alarm.woke());
    })
}

pub(super) fn serve(ready: &dyn Fn(SocketAddr)) {
    two_workers();
    accept(ready);
}
