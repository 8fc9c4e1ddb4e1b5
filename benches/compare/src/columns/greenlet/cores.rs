//! Hubs on two cores, and a tree of greenlets on one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet::hub::HubPool;
use greenlet::net::{ListenOptions, TcpListener};
use greenlet::sync::Event;
use greenlet::{Config, JoinHandle, joinall, offload, spawn};

use super::sync::{on_the_other_core, wait_for_a_descriptor};
use super::{accept, echo};
use crate::columns::{Step, WARM_UP, Wake, second, sum_below};
use crate::gauge::Alarm;
use crate::process::{self, LOAD_CORE};

pub(super) const STEPS: &[Step] = &[
    Step::of("offload", "1", |calls| offloads(calls, 1)),
    Step::of("offload", "50", |calls| offloads(calls, 50)),
    Step::of("pool_spawn", "inside", |jobs| {
        let pool = pool(2);
        let inside = pool.clone();
        pool.spawn(move || pool_spawns(&inside, jobs)).join().expect("the greenlet does not panic")
    }),
    Step::of("pool_spawn", "outside", |jobs| pool_spawns(&pool(2), jobs)),
    Step::of("skynet", "tree", skynet),
];

pub(super) const WAKES: &[Wake] = &[
    Wake::of("polling", |alarm| wakes(alarm, true)),
    Wake::of("parked", |alarm| wakes(alarm, false)),
    Wake::of("spawn", |alarm| {
        let pool = pool_on_the_other_core();
        let hub = &pool.handles()[0];
        alarm.ring(|| drop(hub.spawn(|| alarm.woke())))
    }),
    Wake::of("pool", |alarm| {
        let pool = pool_on_the_other_core();
        alarm.ring(|| drop(pool.spawn(|| alarm.woke())))
    }),
];

fn offloads(calls: usize, at_once: usize) -> Duration {
    let round = |calls: usize| {
        let greenlets = (0..at_once).map(|_| {
            spawn(move || {
                for _ in 0..calls.div_ceil(at_once) {
                    offload(|| ());
                }
            })
        });
        super::join(greenlets.collect());
    };
    round(WARM_UP);
    let start = Instant::now();
    round(calls);
    start.elapsed()
}

fn pool(hubs: usize) -> HubPool {
    HubPool::new(hubs).expect("some threads")
}

fn pool_spawns(pool: &HubPool, jobs: usize) -> Duration {
    second(|| {
        let handles: Vec<JoinHandle<u64>> = (0..jobs as u64).map(|number| pool.spawn(move || number)).collect();
        let sum: u64 = handles.into_iter().map(|handle| handle.join().expect("the greenlet does not panic")).sum();
        assert_eq!(sum, sum_below(jobs));
    })
}

fn skynet(leaves: usize) -> Duration {
    let start = Instant::now();
    let root = spawn(move || tree(0, leaves as u64));
    assert_eq!(root.join().expect("the greenlet does not panic"), sum_below(leaves));
    start.elapsed()
}

fn tree(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let each = leaves / 10;
    let children: Vec<JoinHandle<u64>> = (0..10).map(|child| spawn(move || tree(first + child * each, each))).collect();
    children.into_iter().map(|child| child.join().expect("the greenlet does not panic")).sum()
}

/// The one who wakes is a thread that never had a hub.
fn wakes(alarm: &'static Alarm, polling: bool) -> Vec<Duration> {
    let event = Arc::new(Event::new());
    let sleeper = {
        let event = Arc::clone(&event);
        on_the_other_core(move || {
            if polling {
                wait_for_a_descriptor();
            }
            for _ in 0..alarm.times() {
                event.wait();
                alarm.woke();
                event.clear();
            }
        })
    };
    let took = alarm.ring(|| event.set());
    sleeper.join().expect("the thread does not panic");
    took
}

/// A pool of one hub on the other core, which watches descriptors as well.
fn pool_on_the_other_core() -> HubPool {
    let pool = pool(1);
    let begun = pool.each(|| {
        process::pin(LOAD_CORE);
        wait_for_a_descriptor();
    });
    joinall(begun).into_iter().for_each(|res| res.expect("the greenlet does not panic"));
    pool
}

/// A listener of its own on each of two hubs, on the same port.
pub(super) fn serve(ready: &dyn Fn(SocketAddr)) {
    let options = ListenOptions::new().backlog(1_024).reuse_port(true);
    let first = TcpListener::bind_with(("127.0.0.1", 0), &options).expect("a free port");
    let address = first.local_addr().expect("a bound listener has an address");
    let second = TcpListener::bind_with(address, &options).expect("the same port once more");
    let pool = pool(2);
    let serving = pool.handles().iter().zip([first, second]);
    let serving: Vec<_> = serving.map(|(hub, listener)| hub.spawn(move || accept(&listener))).collect();
    ready(address);
    joinall(serving);
}

/// One listener on this thread's hub, which gives each connection to that of two hubs that has fewer.
pub(super) fn serve_by_handing_off(ready: &dyn Fn(SocketAddr)) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let pool = pool(2);
    ready(listener.local_addr().expect("a bound listener has an address"));
    for stream in listener.incoming().flatten() {
        let idlest = pool.handles().iter().min_by_key(|hub| hub.load()).expect("the pool has hubs");
        idlest.spawn(move || echo(stream));
    }
}

/// What the case is about.
const SPIN: Duration = Duration::from_micros(50);

pub(super) fn serve_spinning(ready: &dyn Fn(SocketAddr)) {
    Config::new().spin(SPIN).install().expect("nothing has used the library before");
    super::serve(ready);
}
