//! A tokio program that uses greenlets: their results, queues and events are futures.
//!
//!     cargo run --release --example from_tokio
//!
//! The greenlets run on the hubs of a pool, whose threads are its own: a tokio thread waits in tokio, where greenlets of its own would not run.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet::sync::{AsyncResult, Queue, Shutdown};
use greenlet::{HubPool, joinall, sleep};
use tokio::time::timeout;

mod common;

const TAKES: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> io::Result<()> {
    common::no_arguments(include_str!("from_tokio.rs"));
    let (hubs, start) = (HubPool::new(2)?, Instant::now());

    // A handle is awaited; what it is the handle of is code in blocking style.
    let answer = hubs.spawn(|| sleep(TAKES)).await.map(|()| 6 * 7);
    println!("the answer is {}", answer.expect("it does not panic"));

    // What greenlets put into a queue, a task gets.
    let squares = Arc::new(Queue::bounded(4));
    let workers: Vec<_> = (1..=10_u32)
        .map(|n| (n, Arc::clone(&squares)))
        .map(|(n, squares)| hubs.spawn(move || squares.put_timeout(n * n, 100 * TAKES)))
        .collect();
    hubs.spawn({
        let squares = Arc::clone(&squares);
        move || (joinall(workers), squares.shutdown(Shutdown::Graceful))
    });
    let mut sum = 0;
    while let Ok(square) = squares.get_async().await {
        sum += square;
    }
    println!("the sum of ten squares is {sum}");

    // A future that is dropped, as by a time-out, has taken nothing: the item is for the next.
    let items = Queue::unbounded();
    common::check(timeout(TAKES, items.get_async()).await.is_err(), "there is nothing yet");
    items.put_async("an item").await.expect("it is not shut down");
    println!("left in the queue: {}", items.get_async().await.expect("it is there"));

    // What one greenlet says, any number of tasks hear.
    let said = AsyncResult::<&str>::new();
    let hear = |said: AsyncResult<_>| tokio::spawn(async move { said.get_async().await });
    let hearing = [(); 10].map(|()| hear(said.clone()));
    hubs.spawn(move || said.set("done"));
    for heard in hearing {
        common::check(heard.await?.is_ok_and(|it| it == "done"), "each has heard it");
    }
    println!("one greenlet said it to ten tasks: done, after {:.0?}", start.elapsed());
    Ok(())
}
