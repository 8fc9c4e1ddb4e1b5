//! In which order greenlets run: little programs, the traces that they leave, and what the documentation promises.
//!
//!     cargo run --example ordering
//!
//! Ends with exit code 1 if a trace is not the promised one. (`--demo` changes nothing.)

use std::time::{Duration, Instant};

use greenlet::{joinall, sleep, sleep_until, yield_now};

use crate::trace::{Trace, show};

#[path = "../common/mod.rs"]
mod common;
mod trace;

fn main() {
    let mut args = common::arguments(include_str!("main.rs"));
    args.contains("--demo");
    let [] = common::operands(args);
    show("nothing runs before its spawner waits", "main 0 1 2 3 4", |trace| {
        let greenlets = trace.spawn(0..5, |trace, number| trace.note(number));
        trace.note("main");
        joinall(greenlets);
    });
    show("yielding goes to the end of the queue", "a0 b0 c0 a1 b1 c1 a2 b2 c2", |trace| {
        joinall(trace.spawn('a'..='c', |trace, name| {
            for round in 0..3 {
                trace.note(format!("{name}{round}"));
                yield_now();
            }
        }));
    });
    show("a child goes there too", "a b a's b's", |trace| {
        joinall(trace.spawn('a'..='b', |trace, name| {
            trace.note(name);
            joinall(trace.spawn([format!("{name}'s")], Trace::note));
        }));
    });
    show("sleepers wake in the order of their deadlines", "10 20 30", |trace| {
        joinall(trace.spawn([30, 10, 20], |trace, millis| {
            sleep(Duration::from_millis(millis));
            trace.note(millis);
        }));
    });
    show("and if these are equal, in the order in which they fell asleep", "c a b", |trace| {
        let deadline = Instant::now() + Duration::from_millis(10);
        joinall(trace.spawn(['c', 'a', 'b'], move |trace, name| {
            sleep_until(deadline);
            trace.note(name);
        }));
    });
}
