//! `select!` and `wait_until_any`: several things at once.

use std::sync::Arc;

use super::{join, kill, model, model_with, two_wait};
use crate::select::{Chosen, SelectGet, SelectPut, choose};
use crate::{Channel, Greenlet, Queue, Semaphore, Waitable, shield, wait_until_any};

#[test]
fn two_who_select_from_each_other_exchange_one_item() {
    model(|| {
        let channels = Arc::new((Channel::new(), Channel::new()));
        let other = Greenlet::spawn({
            let channels = Arc::clone(&channels);
            move || match choose((channels.0.select_put(1), (channels.1.select_get(), ()))) {
                Chosen::This(put) => (put, None),
                Chosen::Other(Chosen::This(got)) => (Ok(()), Some(got.unwrap())),
                Chosen::Other(Chosen::Other(never)) => match never {},
            }
        });
        let got = match choose((channels.0.select_get(), (channels.1.select_put(2), ()))) {
            Chosen::This(got) => Some(got.unwrap()),
            Chosen::Other(Chosen::This(put)) => {
                put.unwrap();
                None
            }
            Chosen::Other(Chosen::Other(never)) => match never {},
        };
        let (put, got_by_other) = other.join().unwrap().unwrap();
        put.unwrap();
        assert!((got, got_by_other) == (Some(1), None) || (got, got_by_other) == (None, Some(2)));
    });
}

#[test]
fn an_item_for_one_who_selects_and_is_killed_goes_to_the_next() {
    model(|| {
        let queues = Arc::new((Queue::unbounded(), Queue::unbounded()));
        let (first, second) = (Arc::clone(&queues), Arc::clone(&queues));
        let select_and_put = move || match choose((first.0.select_get(), (first.1.select_get(), ()))) {
            Chosen::This(item) => shield(|| first.0.put(item.unwrap())).unwrap(),
            Chosen::Other(Chosen::This(item)) => shield(|| first.1.put(item.unwrap())).unwrap(),
            Chosen::Other(Chosen::Other(never)) => match never {},
        };
        two_wait(
            kill,
            select_and_put,
            move || assert_eq!(second.0.get(), Ok(7)),
            || {
                queues.1.put(8).unwrap();
                queues.0.put(7).unwrap();
            },
        );
        assert_eq!(queues.1.try_get(), Ok(8));
    });
}

#[test]
fn a_permit_that_one_waits_for_among_others_goes_to_the_next() {
    model(|| {
        let semaphores = Arc::new((Semaphore::new(0), Semaphore::new(0)));
        let (first, second) = (Arc::clone(&semaphores), Arc::clone(&semaphores));
        let wait_for_any = move || {
            let objects: [&dyn Waitable; 2] = [&first.0, &first.1];
            let is_ready = || objects.iter().any(|object| object.is_ready());
            while !is_ready() {
                wait_until_any(objects.iter().copied(), is_ready, None);
            }
        };
        two_wait(
            kill,
            wait_for_any,
            move || drop(second.0.acquire()),
            || {
                semaphores.1.release();
                semaphores.0.release();
            },
        );
    });
}

#[test]
fn one_who_finds_something_ready_takes_no_later_notification() {
    model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let acquiring = [(); 2].map(|()| {
            let semaphore = Arc::clone(&semaphore);
            Greenlet::spawn(move || semaphore.acquire().forget())
        });
        let releasing = loom::thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || {
                semaphore.release();
                semaphore.release();
            }
        });
        let object: &dyn Waitable = &*semaphore;
        wait_until_any([object].into_iter(), || true, None);
        join(acquiring);
        releasing.join().unwrap();
    });
}

#[test]
fn one_who_selects_and_finds_something_ready_takes_no_later_notification() {
    model_with(3, || {
        let queues = Arc::new((Queue::unbounded(), Queue::unbounded()));
        let getting = Greenlet::spawn({
            let queues = Arc::clone(&queues);
            move || queues.0.get().unwrap()
        });
        let putting = loom::thread::spawn({
            let queues = Arc::clone(&queues);
            move || {
                queues.1.put(8).unwrap();
                queues.0.put(7).unwrap();
            }
        });
        match choose((queues.0.select_get(), (queues.1.select_get(), ()))) {
            Chosen::This(item) => queues.0.put(item.unwrap()).unwrap(),
            Chosen::Other(Chosen::This(item)) => assert_eq!(item, Ok(8)),
            Chosen::Other(Chosen::Other(never)) => match never {},
        }
        putting.join().unwrap();
        assert_eq!(getting.join().unwrap(), Some(7));
    });
}
