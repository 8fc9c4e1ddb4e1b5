//! `Event` and `Barrier`.

use std::sync::Arc;

use super::{SOON, expire, kill, model, two_wait};
use crate::{Barrier, Event, Greenlet};

#[test]
fn an_event_wakes_all_of_whom_one_is_killed() {
    model(|| {
        let event = Arc::new(Event::new());
        let (first, second) = (Arc::clone(&event), Arc::clone(&event));
        two_wait(kill, move || first.wait(), move || second.wait(), || event.set());
    });
}

#[test]
fn an_event_wakes_all_of_whom_one_has_no_more_time() {
    model(|| {
        let event = Arc::new(Event::new());
        let (first, second) = (Arc::clone(&event), Arc::clone(&event));
        two_wait(expire, move || _ = first.wait_timeout(SOON), move || second.wait(), || event.set());
    });
}

#[test]
fn an_event_that_is_cleared_at_once_wakes_those_who_waited() {
    model(|| {
        let event = Arc::new(Event::new());
        let waiting = [(); 2].map(|()| {
            let event = Arc::clone(&event);
            let greenlet = Greenlet::new();
            (greenlet.clone(), greenlet.start(move || event.wait_timeout(SOON)))
        });
        event.set();
        let was_waiting = waiting.each_ref().map(|(greenlet, _)| greenlet.is_waiting());
        event.clear();
        for ((greenlet, waiting), was_waiting) in waiting.into_iter().zip(was_waiting) {
            // Whoever has come since waits for the next time.
            greenlet.expire();
            let was_set = waiting.join().unwrap().unwrap();
            assert!(!was_waiting || !was_set, "it waited while the event was set");
        }
    });
}

#[test]
fn a_barrier_lets_pairs_go_and_forgets_one_who_is_killed() {
    model(|| {
        let barrier = Arc::new(Barrier::new(2));
        let killed = Greenlet::new();
        let first = killed.start({
            let barrier = Arc::clone(&barrier);
            move || barrier.wait()
        });
        let hasty = Greenlet::new();
        let second = hasty.start({
            let barrier = Arc::clone(&barrier);
            move || barrier.wait_timeout(SOON)
        });
        let killer = kill(&killed);
        killer.join().unwrap();
        hasty.expire();
        let first = first.join().unwrap();
        let second = second.join().unwrap().expect("it was not killed");
        if let Some(first) = first {
            let second = second.expect("they went together");
            assert_ne!(first.is_leader(), second.is_leader());
        }
        assert_eq!(barrier.n_waiting(), 0);
    });
}
