//! Async tasks: threads that poll, and give up by dropping what they polled.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::thread::{self, Thread};

use super::model;
use crate::{Channel, Event, Greenlet, Queue, Semaphore, ShutDown, Shutdown, TryGetError};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    // A new one each time: it is the last that has to be called.
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

fn run<F: Future + Unpin>(mut future: F) -> F::Output {
    loop {
        if let Poll::Ready(output) = poll(&mut future) {
            return output;
        }
        thread::park();
    }
}

/// Polls so often, and drops it.
fn give_up<F: Future + Unpin>(polls: usize, mut future: F) -> Option<F::Output> {
    (0..polls).find_map(|_| match poll(&mut future) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

#[test]
fn an_item_for_a_task_is_not_missed() {
    model(|| {
        let queue = Arc::new(Queue::unbounded());
        let task = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run(queue.get_async())
        });
        queue.put(7).unwrap();
        assert_eq!(task.join().unwrap(), Ok(7));
    });
}

#[test]
fn an_item_for_a_task_that_gives_up_goes_to_a_greenlet() {
    model(|| {
        let queue = Arc::new(Queue::unbounded());
        let task = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                if let Some(item) = give_up(1, queue.get_async()) {
                    queue.put(item.unwrap()).unwrap();
                }
            }
        });
        let greenlet = Greenlet::spawn({
            let queue = Arc::clone(&queue);
            move || assert_eq!(queue.get(), Ok(7))
        });
        queue.put(7).unwrap();
        task.join().unwrap();
        super::join([greenlet]);
        assert!(queue.is_empty());
    });
}

#[test]
fn an_item_for_a_task_that_gives_up_goes_to_a_task() {
    model(|| {
        let queue = Arc::new(Queue::unbounded());
        let other = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run(queue.get_async())
        });
        let putter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.put(7).unwrap()
        });
        if let Some(item) = give_up(2, queue.get_async()) {
            queue.put(item.unwrap()).unwrap();
        }
        assert_eq!(other.join().unwrap(), Ok(7));
        putter.join().unwrap();
        assert!(queue.is_empty());
    });
}

#[test]
fn room_for_a_task_that_gives_up_goes_to_a_task() {
    model(|| {
        let queue = Arc::new(Queue::bounded(1));
        queue.put(0).unwrap();
        let other = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run(queue.put_async(2)).unwrap()
        });
        let getter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || assert_eq!(queue.get(), Ok(0))
        });
        let put = give_up(1, queue.put_async(1)).is_some();
        let first = put.then(|| queue.get().unwrap());
        other.join().unwrap();
        getter.join().unwrap();
        let last = queue.try_get().unwrap();
        assert_eq!((first.unwrap_or(1) + last, queue.is_empty()), (3, true));
    });
}

#[test]
fn an_offer_of_a_task_that_gives_up_is_taken_once_or_taken_back() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let item = Arc::new(());
        let getter = Greenlet::spawn({
            let channel = Arc::clone(&channel);
            move || channel.get()
        });
        let put = give_up(1, channel.put_async(Arc::clone(&item)));
        channel.shutdown(Shutdown::Graceful);
        let got = getter.join().unwrap().expect("nobody has killed it");
        // Whoever says that he has put it is right; who has given up may have.
        assert!(put.is_none() || got.is_ok() || Arc::strong_count(&item) == 1);
        assert_eq!(Arc::strong_count(&item), 1 + usize::from(got.is_ok()));
        assert_eq!(channel.try_get(), Err(TryGetError::ShutDown));
    });
}

#[test]
fn tasks_meet_in_a_channel() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let getter = thread::spawn({
            let channel = Arc::clone(&channel);
            move || run(channel.get_async())
        });
        assert_eq!(run(channel.put_async(7)), Ok(()));
        assert_eq!(getter.join().unwrap(), Ok::<_, ShutDown>(7));
    });
}

#[test]
fn a_permit_for_a_task_that_gives_up_goes_to_the_next() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || run(semaphore.acquire_async()).forget()
        });
        let releaser = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.release()
        });
        drop(give_up(2, semaphore.acquire_async()));
        other.join().unwrap();
        releaser.join().unwrap();
        assert_eq!(semaphore.available(), 0);
    });
}

#[test]
fn an_event_that_is_cleared_at_once_is_seen_by_a_task() {
    model(|| {
        let event = Arc::new(Event::new());
        let mut waiting = event.wait_async();
        let first = poll(&mut waiting);
        let setter = thread::spawn({
            let event = Arc::clone(&event);
            move || {
                event.set();
                event.clear();
            }
        });
        if first.is_pending() {
            run(waiting);
        }
        setter.join().unwrap();
    });
}
