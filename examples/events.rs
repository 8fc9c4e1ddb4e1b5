//! Waiting for something to happen: an `Event` for many, whoever waits and wherever; an `AsyncResult`, which brings a value along.
//!
//!     cargo run --release --example events
//!
//! Runners wait for the start, three of them greenlets and one a plain thread. The winner's name is a result that all of them get.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenlet::sync::{AsyncResult, Event};
use greenlet::{joinall, sleep, spawn};

mod common;

static READY: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);
static START: Event = Event::new();

fn main() {
    common::no_arguments(include_str!("events.rs"));
    let winner = AsyncResult::new();
    let runners = [("Ann", 30), ("Ben", 10), ("Cid", 20)].map(|(name, millis)| {
        let winner = winner.clone();
        spawn(move || run(name, Duration::from_millis(millis), &winner))
    });
    let thread = thread::spawn({
        let winner = winner.clone();
        move || run("a thread", Duration::from_millis(60), &winner)
    });
    while READY.load(Ordering::SeqCst) < 4 {
        sleep(Duration::from_millis(1));
    }
    let too_early = START.wait_timeout(Duration::from_millis(5));
    println!("everybody is ready; has it started? {too_early}");
    common::check(!too_early && winner.try_get().is_none(), "nobody runs before the start");
    START.set();
    let seen: Vec<_> = joinall(runners).into_iter().flatten().chain(thread.join()).collect();
    println!("all have seen who won: {seen:?}");
    common::check(seen == [winner.get().expect("as below"); 4], "all four have seen the same one win");
}

/// What a runner does: who won, as he sees it.
fn run(name: &'static str, takes: Duration, winner: &AsyncResult<&'static str>) -> &'static str {
    READY.fetch_add(1, Ordering::SeqCst);
    START.wait();
    println!("{name} runs");
    sleep(takes);
    if !IS_OVER.swap(true, Ordering::SeqCst) {
        winner.set(name);
    }
    println!("{name} has arrived");
    winner.get().expect("it is set once, to a name")
}
