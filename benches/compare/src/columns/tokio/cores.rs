//! tokio on two workers, and a tree of tasks on one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{self, JoinHandle, LocalSet};

use super::{accept, listen, runtime};
use crate::columns::{Step, WARM_UP, Wake, sum_below};
use crate::gauge::Alarm;
use crate::process::{self, LOAD_CORE};

pub(super) const STEPS: &[Step] = &[
    Step::of("offload", "1", |calls| runtime().block_on(offloads(calls, 1))),
    Step::of("offload", "50", |calls| runtime().block_on(offloads(calls, 50))),
    Step::of("skynet", "tree", |leaves| runtime().block_on(skynet(leaves, tree))),
    Step::of("skynet", "tree", |leaves| LocalSet::new().block_on(&runtime(), skynet(leaves, local_tree))),
];

pub(super) const MULTI_THREAD_STEPS: &[Step] = &[
    Step::of("offload", "1", |calls| workers(2, || ()).block_on(offloads(calls, 1))),
    Step::of("offload", "50", |calls| workers(2, || ()).block_on(offloads(calls, 50))),
    Step::of("pool_spawn", "inside", |jobs| {
        workers(2, || ())
            .block_on(async move { task::spawn(pool_spawns(jobs)).await.expect("the task does not panic") })
    }),
    Step::of("pool_spawn", "outside", |jobs| workers(2, || ()).block_on(pool_spawns(jobs))),
];

/// The current-thread runtime, blocked on the task that is woken, on a thread of its own.
pub(super) const WAKES: &[Wake] = &[
    Wake::of("polling", |alarm| {
        let event = Arc::new(Notify::new());
        let sleeper = {
            let event = Arc::clone(&event);
            thread::spawn(move || {
                process::pin(LOAD_CORE);
                runtime().block_on(sleep(alarm, &event));
            })
        };
        let took = alarm.ring(|| event.notify_one());
        sleeper.join().expect("the thread does not panic");
        took
    }),
    Wake::of("spawn", |alarm| {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let end = Arc::new(Notify::new());
        let sleeper = {
            let end = Arc::clone(&end);
            thread::spawn(move || {
                process::pin(LOAD_CORE);
                runtime.block_on(end.notified());
            })
        };
        let took = alarm.ring(|| drop(handle.spawn(async { alarm.woke() })));
        end.notify_one();
        sleeper.join().expect("the thread does not panic");
        took
    }),
];

/// One worker, which sleeps in the driver.
pub(super) const MULTI_THREAD_WAKES: &[Wake] = &[
    Wake::of("polling", |alarm| {
        let runtime = workers(1, || process::pin(LOAD_CORE));
        let event = Arc::new(Notify::new());
        let sleeper = {
            let event = Arc::clone(&event);
            runtime.spawn(async move { sleep(alarm, &event).await })
        };
        let took = alarm.ring(|| event.notify_one());
        runtime.block_on(sleeper).expect("the task does not panic");
        took
    }),
    Wake::of("pool", |alarm| {
        let runtime = workers(1, || process::pin(LOAD_CORE));
        alarm.ring(|| drop(runtime.spawn(async { alarm.woke() })))
    }),
];

fn workers(count: usize, begin: fn()) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(count).on_thread_start(begin).enable_all().build().expect("a runtime")
}

async fn sleep(alarm: &Alarm, event: &Notify) {
    for _ in 0..alarm.times() {
        event.notified().await;
        alarm.woke();
    }
}

/// The tasks run on the runtime's workers, where it has any.
async fn offloads(calls: usize, at_once: usize) -> Duration {
    let round = async |calls: usize| {
        let tasks: Vec<JoinHandle<()>> = (0..at_once)
            .map(|_| {
                task::spawn(async move {
                    for _ in 0..calls.div_ceil(at_once) {
                        task::spawn_blocking(|| ()).await.expect("an empty closure does not panic");
                    }
                })
            })
            .collect();
        super::join(tasks).await;
    };
    round(WARM_UP).await;
    let start = Instant::now();
    round(calls).await;
    start.elapsed()
}

async fn pool_spawns(jobs: usize) -> Duration {
    let round = async || {
        let handles: Vec<JoinHandle<u64>> = (0..jobs as u64).map(|number| task::spawn(async move { number })).collect();
        assert_eq!(sum(handles).await, sum_below(jobs));
    };
    round().await;
    let start = Instant::now();
    round().await;
    start.elapsed()
}

async fn sum(handles: Vec<JoinHandle<u64>>) -> u64 {
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.expect("the task does not panic");
    }
    sum
}

async fn skynet(leaves: usize, tree: fn(u64, u64) -> JoinHandle<u64>) -> Duration {
    let start = Instant::now();
    let sum = tree(0, leaves as u64).await.expect("the task does not panic");
    assert_eq!(sum, sum_below(leaves));
    start.elapsed()
}

/// A function that returns the handle, so that no future contains itself and none has to be boxed.
macro_rules! tree {
    ($name:ident, $spawn:path) => {
        fn $name(first: u64, leaves: u64) -> JoinHandle<u64> {
            $spawn(async move {
                if leaves == 1 {
                    return first;
                }
                let each = leaves / 10;
                sum((0..10).map(|child| $name(first + child * each, each)).collect()).await
            })
        }
    };
}

tree!(tree, task::spawn);
tree!(local_tree, task::spawn_local);

pub(super) fn serve(ready: &dyn Fn(SocketAddr)) {
    workers(2, || ()).block_on(async {
        let listener = listen(ready).await;
        // On a worker, not on this thread, which is none of the two.
        task::spawn(async move { accept(&listener).await }).await.expect("the task does not panic")
    })
}
