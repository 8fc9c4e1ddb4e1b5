//! A producer and a consumer with a queue between them, which holds two items: neither gets far ahead of the other.
//!
//!     cargo run --release --example producer_consumer
//!
//! The producer's column is on the left, the consumer's on the right. When the last item is in the queue it is shut down, and
//! that ends the consumer's loop when it has got the last one.

use std::cell::Cell;

use greenlet::sync::{Queue, ShutDown, Shutdown};
use greenlet::{scope, sleep, yield_now};

use std::time::Duration;

mod common;

const ITEMS: u32 = 8;
const ROOM: usize = 2;

fn main() {
    common::no_arguments(include_str!("producer_consumer.rs"));
    let queue = Queue::bounded(ROOM);
    let (put, got) = (Cell::new(0), Cell::new(0));
    // Greenlets of a scope may borrow what lies on the stack here. They run on one thread, so a `Cell` will do.
    let sum = scope(|s| {
        let producer = s.spawn(|| produce(&queue, &put));
        let consumer = s.spawn(|| {
            let mut sum = 0;
            for item in &queue {
                got.set(got.get() + 1);
                println!("{:20}got {item}", "");
                common::check(put.get() <= got.get() + ROOM, "the producer is at most two items ahead");
                sum += item;
                sleep(Duration::from_millis(2)); // deals with it
            }
            sum
        });
        common::check(matches!(producer.join(), Ok(Ok(()))), "nobody shuts the queue down before the producer does");
        consumer.join().unwrap_or_else(|err| common::fail(1, err))
    });
    println!("the sum of all items is {sum}");
    common::check(sum == (1..=ITEMS).sum(), "each item has come once");
}

/// Waits whenever the queue is full. Gives up when somebody else has shut it down: the error gives the item back.
fn produce(queue: &Queue<u32>, put: &Cell<usize>) -> Result<(), ShutDown<u32>> {
    for item in 1..=ITEMS {
        queue.put(item)?;
        put.set(put.get() + 1);
        println!("put {item}");
        yield_now();
    }
    queue.shutdown(Shutdown::Graceful);
    println!("shut down");
    Ok(())
}
