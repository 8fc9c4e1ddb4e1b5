//! `Semaphore`, and the slots of a `Pool`, which are its permits: nothing is lost, nobody starves.

use std::sync::Arc;

use super::{SOON, Strike, expire, join, kill, model, model_with, two_wait};
use crate::{Greenlet, Semaphore};

fn a_permit_is_not_lost(strike: Strike, take: fn(&Semaphore)) {
    model(move || {
        let semaphore = Arc::new(Semaphore::new(0));
        let (first, second) = (Arc::clone(&semaphore), Arc::clone(&semaphore));
        two_wait(strike, move || take(&first), move || drop(second.acquire()), || semaphore.release());
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_permit_for_one_who_is_killed_goes_to_the_next() {
    a_permit_is_not_lost(kill, |semaphore| drop(semaphore.acquire()));
}

#[test]
fn a_permit_for_one_whose_time_has_come_goes_to_the_next() {
    a_permit_is_not_lost(expire, |semaphore| drop(semaphore.acquire_timeout(SOON)));
}

#[test]
fn a_permit_that_one_only_looks_at_goes_to_the_next() {
    a_permit_is_not_lost(kill, Semaphore::wait);
}

#[test]
fn a_permit_that_one_with_a_time_only_looks_at_goes_to_the_next() {
    a_permit_is_not_lost(expire, |semaphore| _ = semaphore.wait_timeout(SOON));
}

/// What `Pool::spawn` does: a slot is an owned permit, which goes with the member.
#[test]
fn a_slot_of_a_pool_for_one_who_is_killed_goes_to_the_next() {
    model(|| {
        let slots = Arc::new(Semaphore::new(1));
        let member = slots.acquire_owned();
        let (first, second) = (Arc::clone(&slots), Arc::clone(&slots));
        two_wait(kill, move || drop(first.acquire_owned()), move || drop(second.acquire_owned()), || drop(member));
        assert_eq!(slots.available(), 1);
    });
}

#[test]
fn nobody_sleeps_while_a_permit_is_free() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let others = [(); 2].map(|()| {
            let semaphore = Arc::clone(&semaphore);
            Greenlet::spawn(move || drop(semaphore.acquire()))
        });
        drop(semaphore.acquire());
        join(others);
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn two_permits_at_once_wake_two() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiting = [(); 2].map(|()| {
            let semaphore = Arc::clone(&semaphore);
            Greenlet::spawn(move || semaphore.acquire().forget())
        });
        let releasing = loom::thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.release()
        });
        semaphore.release();
        releasing.join().unwrap();
        join(waiting);
        assert_eq!(semaphore.available(), 0);
    });
}

#[test]
fn one_who_was_passed_over_is_handed_the_next_permit() {
    model_with(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiter = Greenlet::new();
        let waiting = waiter.start({
            let semaphore = Arc::clone(&semaphore);
            move || drop(semaphore.acquire())
        });
        let barge = |semaphore: &Semaphore| drop(semaphore.try_acquire());
        let barging = loom::thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || {
                barge(&semaphore);
                barge(&semaphore);
            }
        });
        semaphore.release();
        barge(&semaphore);
        barge(&semaphore);
        waiting.join().unwrap();
        barging.join().unwrap();
        assert!(waiter.waits() <= 2, "it was passed over twice");
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_promised_permit_for_one_who_is_killed_goes_to_the_next() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let (first, second) = (Arc::clone(&semaphore), Arc::clone(&semaphore));
        let give = || {
            semaphore.release();
            // Whoever was woken is passed over.
            drop(semaphore.try_acquire());
        };
        two_wait(kill, move || drop(first.acquire()), move || drop(second.acquire()), give);
        assert_eq!(semaphore.available(), 1);
    });
}
