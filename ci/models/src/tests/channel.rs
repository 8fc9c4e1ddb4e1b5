//! `Channel`: an item is delivered once, or given back once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{SOON, Strike, expire, join, kill, model, model_with, two_wait};
use crate::{Channel, Greenlet, ShutDown, Shutdown, TryGetError, TryPutError, current, shield};

#[test]
fn putters_and_getters_meet() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let putting = [1, 2].map(|item| {
            let channel = Arc::clone(&channel);
            Greenlet::spawn(move || channel.put(item))
        });
        let sum = channel.get().unwrap() + channel.get().unwrap();
        assert_eq!(sum, 3);
        for putting in putting {
            assert_eq!(putting.join().unwrap(), Some(Ok(())));
        }
    });
}

fn an_item_is_not_lost(strike: Strike, get: fn(&Channel<u32>) -> Option<u32>) {
    model(move || {
        let channel = Arc::new(Channel::new());
        let (first, second) = (Arc::clone(&channel), Arc::clone(&channel));
        let get_and_put = move || {
            if let Some(item) = get(&first) {
                shield(|| first.put(item)).unwrap();
            }
        };
        two_wait(strike, get_and_put, move || assert_eq!(second.get(), Ok(7)), || channel.put(7).unwrap());
    });
}

#[test]
fn an_item_for_one_who_is_killed_goes_to_the_next() {
    an_item_is_not_lost(kill, |channel| channel.get().ok());
}

#[test]
fn an_item_for_one_whose_time_has_come_goes_to_the_next() {
    an_item_is_not_lost(expire, |channel| channel.get_timeout(SOON).ok());
}

/// Counts where it ends.
struct Item {
    name: u32,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_item_of_one_who_is_killed_is_delivered_or_dropped() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let dropped = Arc::new(AtomicUsize::new(0));
        let killed = Greenlet::new();
        let putting = killed.start({
            let channel = Arc::clone(&channel);
            let item = Item { name: 1, dropped: Arc::clone(&dropped) };
            move || assert!(channel.put(item).is_ok())
        });
        let getter = current();
        let killer = loom::thread::spawn(move || {
            killed.kill();
            getter.expire();
        });
        let got = channel.get_timeout(SOON).ok();
        let put = putting.join().unwrap();
        // That the item was taken he may not have heard any more.
        assert!(put.is_none() || got.is_some());
        assert_eq!(dropped.load(Ordering::Relaxed), usize::from(got.is_none()));
        killer.join().unwrap();
        drop(got);
        assert!(channel.try_get().is_err());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_getter_goes_past_one_who_is_killed() {
    model_with(1, || {
        let channel = Arc::new(Channel::new());
        let killed = Greenlet::new();
        let putting = [killed.clone(), Greenlet::new()].map(|greenlet| {
            let channel = Arc::clone(&channel);
            let name = greenlet.id();
            greenlet.start(move || channel.put(name).unwrap())
        });
        let killer = kill(&killed);
        let got = channel.get().unwrap();
        let [first, second] = putting;
        if got == killed.id() {
            assert_ne!(channel.get().unwrap(), got);
            first.join().unwrap();
        } else {
            assert_eq!(first.join().unwrap(), None);
        }
        join([second]);
        killer.join().unwrap();
        assert!(channel.try_get().is_err());
    });
}

#[test]
fn an_item_of_one_whose_time_has_come_is_delivered_or_given_back() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let hasty = Greenlet::new();
        let putting = hasty.start({
            let channel = Arc::clone(&channel);
            move || channel.put_timeout(1, SOON)
        });
        let getter = current();
        let clock = loom::thread::spawn(move || {
            hasty.expire();
            getter.expire();
        });
        let got = channel.get_timeout(SOON);
        let put = putting.join().unwrap().unwrap();
        clock.join().unwrap();
        let at_last = channel.try_get();
        match put {
            // At the last moment it is left for one who was on his way, and who may have given up.
            Ok(()) => assert!(got == Ok(1) || at_last == Ok(1)),
            Err(err) => assert_eq!(
                (err, got, at_last),
                (TryPutError::Full(1), Err(TryGetError::Empty), Err(TryGetError::Empty))
            ),
        }
    });
}

#[test]
fn an_item_that_was_put_without_waiting_for_one_who_is_killed_is_for_the_next() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let (first, second) = (Arc::clone(&channel), Arc::clone(&channel));
        let get_and_put = move || {
            let item = first.get().unwrap();
            shield(|| first.put(item)).unwrap();
        };
        let put = || match channel.try_put(7) {
            Ok(()) => {}
            // Nobody waits yet.
            Err(TryPutError::Full(item)) => channel.put(item).unwrap(),
            Err(TryPutError::ShutDown(_)) => unreachable!("it was not shut down"),
        };
        two_wait(kill, get_and_put, move || assert_eq!(second.get(), Ok(7)), put);
        assert!(channel.try_get().is_err());
    });
}

#[test]
fn a_shutdown_ends_all_waits_and_gives_items_back() {
    model(|| {
        let channel = Arc::new(Channel::new());
        let getting = Greenlet::spawn({
            let channel = Arc::clone(&channel);
            move || channel.get()
        });
        let putting = [1, 2].map(|item| {
            let channel = Arc::clone(&channel);
            Greenlet::spawn(move || (item, channel.put(item)))
        });
        channel.shutdown(Shutdown::Graceful);
        let got = getting.join().unwrap().unwrap();
        for putting in putting {
            let (item, put) = putting.join().unwrap().unwrap();
            assert_eq!(put, if got == Ok(item) { Ok(()) } else { Err(ShutDown(item)) });
        }
    });
}
