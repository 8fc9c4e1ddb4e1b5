//! `select!`: waits for the first of several things, takes that one, and leaves the others as they were.
//!
//!     cargo run --release --example select
//!
//! A waiter in a café takes orders at the counter and from the terrace, looks at the clock, and goes home when it closes.

use std::time::{Duration, Instant};

use greenlet::sync::{Event, Queue};
use greenlet::{scope, select, sleep};

mod common;

fn main() {
    common::no_arguments(include_str!("select.rs"));
    let (counter, terrace, closing) = (Queue::unbounded(), Queue::unbounded(), Event::new());
    let served = scope(|s| {
        s.spawn(|| {
            scope(|s| {
                s.spawn(|| order(&counter, "counter", 4, Duration::from_millis(7)));
                s.spawn(|| order(&terrace, "terrace", 3, Duration::from_millis(10)));
            });
            sleep(Duration::from_millis(50));
            closing.set();
        });
        work(&counter, &terrace, &closing)
    });
    println!("{served} orders served");
    common::check(served == 7, "every order is served once");
    // What was not chosen was not taken, and with `default` it does not wait.
    select! {
        order = counter.get() => common::fail(1, format_args!("{order:?} is left over")),
        order = terrace.get() => common::fail(1, format_args!("{order:?} is left over")),
        default => println!("and nothing is left over"),
    }
}

fn work(counter: &Queue<String>, terrace: &Queue<String>, closing: &Event) -> u32 {
    let (start, mut served) = (Instant::now(), 0);
    loop {
        let order = select! {
            order = counter.get() => order,
            order = terrace.get() => order,
            _ = sleep(Duration::from_millis(20)) => {
                println!("{:>4.0?}: nobody wants anything", start.elapsed());
                continue;
            }
            _ = closing.wait() => return served,
        };
        println!("{:>4.0?}: {}", start.elapsed(), order.expect("nobody shuts these queues down"));
        served += 1;
    }
}

fn order(queue: &Queue<String>, place: &str, count: u32, pace: Duration) {
    for number in 1..=count {
        sleep(pace);
        queue.put(format!("coffee {number} for the {place}")).expect("nobody shuts it down");
    }
}
