//! Queues, channels, and waiting for several things.

use std::rc::Rc;
use std::time::Duration;

use greenlet::spawn;
use greenlet::sync::{
    Channel, Event, LifoQueue, PriorityQueue, Queue, ShutDown, Shutdown, TryGetError, TryPutError, select,
};

use super::row::{Call, done, done_or_not, row, text};

/// The two forms of a call give the same, whatever type their errors have.
fn got(item: Result<u8, ShutDown>) -> String {
    text(item.map_err(TryGetError::from))
}

fn got_in_time(item: Result<u8, TryGetError>) -> String {
    text(item)
}

fn put(result: Result<(), ShutDown<u8>>) -> String {
    put_in_time(result.map_err(TryPutError::from))
}

fn put_in_time(result: Result<(), TryPutError<u8>>) -> String {
    text(result)
}

macro_rules! queue_rows {
    ($($Queue:ident)+) => {
        [$(
            row(concat!(stringify!($Queue), "::get"), $Queue::unbounded, |queue| got(queue.get()))
                .timed(|queue, limit| got_in_time(queue.get_timeout(limit)), "Err(Empty)")
                .ready(|queue| queue.put(7).unwrap(), "Ok(7)")
                .dies("shut down", |queue| queue.shutdown(Shutdown::Graceful), "Err(ShutDown)")
                .for_one()
                .done(),
            row(concat!(stringify!($Queue), "::peek"), $Queue::unbounded, |queue| got(queue.peek()))
                .timed(|queue, limit| got_in_time(queue.peek_timeout(limit)), "Err(Empty)")
                .ready(|queue| queue.put(7).unwrap(), "Ok(7)")
                .dies("shut down", |queue| queue.shutdown(Shutdown::Graceful), "Err(ShutDown)")
                .done(),
            row(
                concat!(stringify!($Queue), "::put"),
                || {
                    let queue = $Queue::bounded(1);
                    queue.put(1).unwrap();
                    queue
                },
                |queue| put(queue.put(2)),
            )
            .timed(|queue, limit| put_in_time(queue.put_timeout(2, limit)), "Err(Full(..))")
            .ready(|queue| assert!(queue.try_get().is_ok()), "Ok(())")
            .dies("shut down", |queue| queue.shutdown(Shutdown::Immediate), "Err(ShutDown(..))")
            .for_one()
            .done(),
            row(
                concat!(stringify!($Queue), "::join"),
                || {
                    let queue = $Queue::unbounded();
                    queue.put(1).unwrap();
                    queue
                },
                |queue| done!(queue.join()),
            )
            .timed(|queue, limit| done_or_not(queue.join_timeout(limit)), "gave up")
            .ready(|queue| queue.task_done().unwrap(), "done")
            .dies("shut down with what is in it", |queue| queue.shutdown(Shutdown::Immediate), "done")
            .done(),
            row(concat!(stringify!($Queue), "::iter"), $Queue::unbounded, |queue| text(queue.iter().next()))
                .ready(|queue| queue.put(7u8).unwrap(), "Some(7)")
                .dies("shut down", |queue| queue.shutdown(Shutdown::Graceful), "None")
                .for_one()
                .done(),
        )+]
    };
}

pub(super) fn rows() -> Vec<Call> {
    let mut rows: Vec<_> = queue_rows!(Queue LifoQueue PriorityQueue).into();
    rows.extend(channel_rows());
    rows.extend(select_rows());
    rows
}

fn new_channel() -> Rc<Channel<u8>> {
    Rc::new(Channel::new())
}

/// Offers an item, in a greenlet of its own.
fn offer(channel: &Rc<Channel<u8>>) {
    let channel = Rc::clone(channel);
    drop(spawn(move || channel.put(7)));
}

/// Takes an item, in a greenlet of its own.
fn take(channel: &Rc<Channel<u8>>) {
    let channel = Rc::clone(channel);
    drop(spawn(move || channel.get()));
}

fn shut_down(channel: &Rc<Channel<u8>>) {
    channel.shutdown(Shutdown::Graceful);
}

fn channel_rows() -> [Call; 4] {
    [
        row("Channel::get", new_channel, |channel| got(channel.get()))
            .timed(|channel, limit| got_in_time(channel.get_timeout(limit)), "Err(Empty)")
            .ready(offer, "Ok(7)")
            .dies("shut down", shut_down, "Err(ShutDown)")
            .for_one()
            .done(),
        row("Channel::get of what is tried to be put", new_channel, |channel| got(channel.get()))
            .timed(|channel, limit| got_in_time(channel.get_timeout(limit)), "Err(Empty)")
            .ready(|channel| channel.try_put(7).unwrap(), "Ok(7)")
            .dies("shut down", shut_down, "Err(ShutDown)")
            .never_ready_before()
            .for_one()
            .done(),
        row("Channel::put", new_channel, |channel| put(channel.put(2)))
            .timed(|channel, limit| put_in_time(channel.put_timeout(2, limit)), "Err(Full(..))")
            .ready(take, "Ok(())")
            .dies("shut down", shut_down, "Err(ShutDown(..))")
            .switches()
            .for_one()
            .final_once_given()
            .done(),
        row("Channel::iter", new_channel, |channel| text(channel.iter().next()))
            .ready(offer, "Some(7)")
            .dies("shut down", shut_down, "None")
            .for_one()
            .done(),
    ]
}

/// Several things, of which one comes.
struct Several {
    queue: Queue<u8>,
    full: Queue<u8>,
    event: Event,
}

impl Several {
    fn new() -> Several {
        let full = Queue::bounded(1);
        full.put(1).unwrap();
        Several { queue: Queue::unbounded(), full, event: Event::new() }
    }

    fn select(&self) -> String {
        select! {
            item = self.queue.get() => got(item),
            placed = self.full.put(2) => put(placed),
            _ = self.event.wait() => "event".into(),
        }
    }

    fn select_timeout(&self, limit: Duration) -> String {
        select! {
            item = self.queue.get() => got(item),
            placed = self.full.put(2) => put(placed),
            _ = self.event.wait() => "event".into(),
            _ = sleep(limit) => "gave up".into(),
        }
    }
}

fn select_rows() -> [Call; 3] {
    [
        row("select! of a queue's item", Several::new, Several::select)
            .timed(Several::select_timeout, "gave up")
            .ready(|it| it.queue.put(7).unwrap(), "Ok(7)")
            .dies("shut down", |it| it.queue.shutdown(Shutdown::Graceful), "Err(ShutDown)")
            .for_one()
            .done(),
        row("select! of a queue's room", Several::new, Several::select)
            .timed(Several::select_timeout, "gave up")
            .ready(|it| assert!(it.full.try_get().is_ok()), "Ok(())")
            .dies("shut down", |it| it.full.shutdown(Shutdown::Graceful), "Err(ShutDown(..))")
            .for_one()
            .done(),
        row("select! of an event", Several::new, Several::select)
            .timed(Several::select_timeout, "gave up")
            .ready(|it| it.event.set(), "event")
            .done(),
    ]
}
