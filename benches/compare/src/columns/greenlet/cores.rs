//! Hubs on two cores, and a tree of greenlets on one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet::net::{ListenOptions, TcpListener};
use greenlet::sync::Event;
use greenlet::{JoinHandle, spawn};

use super::accept;
use super::sync::{on_the_other_core, wait_for_a_descriptor};
use crate::columns::{Step, Wake, sum_below};
use crate::gauge::Alarm;

pub(super) const STEPS: &[Step] = &[Step::of("skynet", "tree", skynet)];

pub(super) const WAKES: &[Wake] =
    &[Wake::of("polling", |alarm| wakes(alarm, true)), Wake::of("parked", |alarm| wakes(alarm, false))];

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
                event.clear();
                alarm.woke();
            }
        })
    };
    let took = alarm.ring(|| event.set());
    sleeper.join().expect("the thread does not panic");
    took
}

/// A listener of its own on each of two hubs, on the same port.
pub(super) fn serve(ready: &dyn Fn(SocketAddr)) {
    let options = ListenOptions::new().backlog(1_024).reuse_port(true);
    let first = TcpListener::bind_with(("127.0.0.1", 0), &options).expect("a free port");
    let address = first.local_addr().expect("a bound listener has an address");
    let second = TcpListener::bind_with(address, &options).expect("the same port once more");
    let other = std::thread::spawn(move || accept(&second));
    ready(address);
    accept(&first);
    other.join().expect("the thread does not panic");
}
