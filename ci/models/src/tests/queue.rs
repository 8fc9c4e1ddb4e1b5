//! `Queue` and `PriorityQueue`: items and room.

use std::sync::Arc;

use super::{SOON, Strike, expire, join, kill, model, model_with, two_wait};
use crate::{Greenlet, PriorityQueue, Queue, ShutDown, Shutdown, TryPutError, shield};

fn an_item_is_not_lost(strike: Strike, get: fn(&Queue<u32>) -> Option<u32>) {
    model(move || {
        let queue = Arc::new(Queue::unbounded());
        let (first, second) = (Arc::clone(&queue), Arc::clone(&queue));
        let get_and_put = move || {
            if let Some(item) = get(&first) {
                shield(|| first.put(item)).unwrap();
            }
        };
        two_wait(strike, get_and_put, move || assert_eq!(second.get(), Ok(7)), || queue.put(7).unwrap());
        assert!(queue.is_empty());
    });
}

#[test]
fn an_item_for_one_who_is_killed_goes_to_the_next() {
    an_item_is_not_lost(kill, |queue| queue.get().ok());
}

#[test]
fn an_item_for_one_whose_time_has_come_goes_to_the_next() {
    an_item_is_not_lost(expire, |queue| queue.get_timeout(SOON).ok());
}

#[test]
fn an_item_that_one_only_looks_at_goes_to_the_next() {
    an_item_is_not_lost(kill, |queue| {
        queue.peek().unwrap();
        None
    });
}

fn room_is_not_lost(strike: Strike, put: fn(&Queue<u32>) -> bool) {
    model(move || {
        let queue = Arc::new(Queue::bounded(1));
        queue.put(0).unwrap();
        let (first, second) = (Arc::clone(&queue), Arc::clone(&queue));
        let put_and_get = move || {
            // Whichever item comes back: there is room again.
            let stands_in = put(&first);
            stands_in.then(|| shield(|| first.get().unwrap()))
        };
        let outcome = two_wait(strike, put_and_get, move || second.put(2).unwrap(), || assert_eq!(queue.get(), Ok(0)));
        // Of one and two, what the first has not got himself.
        match outcome.flatten() {
            Some(2) => assert_eq!(queue.try_get(), Ok(1)),
            _ => assert_eq!(queue.try_get(), Ok(2)),
        }
        assert!(queue.is_empty());
    });
}

#[test]
fn room_for_one_who_is_killed_goes_to_the_next() {
    room_is_not_lost(kill, |queue| queue.put(1).is_ok());
}

#[test]
fn room_for_one_whose_time_has_come_goes_to_the_next() {
    room_is_not_lost(expire, |queue| match queue.put_timeout(1, SOON) {
        Ok(()) => true,
        Err(TryPutError::Full(1)) => false,
        Err(err) => panic!("{err}: the item comes back"),
    });
}

#[test]
fn nobody_sleeps_while_there_is_an_item_or_room() {
    model(|| {
        let queue = Arc::new(Queue::bounded(1));
        let putting = [1, 2].map(|item| {
            let queue = Arc::clone(&queue);
            Greenlet::spawn(move || queue.put(item).unwrap())
        });
        let sum = queue.get().unwrap() + queue.get().unwrap();
        join(putting);
        assert_eq!(sum, 3);
        assert!(queue.is_empty());
    });
}

#[test]
fn one_who_was_passed_over_is_handed_the_next_item() {
    model_with(3, || {
        let queue = Arc::new(Queue::unbounded());
        let getter = Greenlet::new();
        let getting = getter.start({
            let queue = Arc::clone(&queue);
            move || queue.get().unwrap()
        });
        let barge = |queue: &Queue<u32>| {
            if let Ok(item) = queue.try_get() {
                queue.put(item).unwrap();
            }
        };
        let barging = loom::thread::spawn({
            let queue = Arc::clone(&queue);
            move || barge(&queue)
        });
        queue.put(7).unwrap();
        barge(&queue);
        assert_eq!(getting.join().unwrap(), Some(7));
        barging.join().unwrap();
        assert!(getter.waits() <= 2, "it was passed over twice");
    });
}

#[test]
fn whoever_waits_hears_of_the_shutdown() {
    model(|| {
        let queue = Arc::new(Queue::bounded(1));
        let getting = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            Greenlet::spawn(move || queue.get())
        });
        let put = queue.try_put(7);
        queue.shutdown(Shutdown::Graceful);
        let got = getting.map(|getting| getting.join().unwrap().unwrap());
        assert_eq!(put, Ok(()));
        assert!(got == [Ok(7), Err(ShutDown(()))] || got == [Err(ShutDown(())), Ok(7)]);
    });
}

#[test]
fn a_shutdown_gives_the_item_of_a_putter_back() {
    model(|| {
        let queue = Arc::new(Queue::bounded(1));
        queue.put(1).unwrap();
        let putting = Greenlet::spawn({
            let queue = Arc::clone(&queue);
            move || queue.put(2)
        });
        let shutting = loom::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.shutdown(Shutdown::Graceful)
        });
        assert_eq!(queue.get(), Ok(1));
        let rest = match putting.join().unwrap().unwrap() {
            Ok(()) => Ok(2),
            Err(ShutDown(item)) => {
                assert_eq!(item, 2);
                Err(ShutDown(()))
            }
        };
        shutting.join().unwrap();
        assert_eq!(queue.get(), rest);
    });
}

#[test]
fn an_item_of_an_order_that_is_being_compared_is_not_lost() {
    model(|| {
        let queue = Arc::new(PriorityQueue::unbounded());
        let (first, second) = (Arc::clone(&queue), Arc::clone(&queue));
        let get_and_put = move || {
            let item = first.get().unwrap();
            shield(|| first.put(item)).unwrap();
        };
        two_wait(kill, get_and_put, move || assert_eq!(second.get(), Ok(7)), || queue.put(7).unwrap());
        assert!(queue.is_empty());
    });
}

#[test]
fn joiners_see_that_all_is_done() {
    model(|| {
        let queue = Arc::new(Queue::unbounded());
        queue.put(7).unwrap();
        let worker = Greenlet::spawn({
            let queue = Arc::clone(&queue);
            move || {
                queue.get().unwrap();
                queue.task_done().unwrap();
            }
        });
        queue.join();
        worker.join().unwrap();
        assert!(queue.is_empty());
    });
}
