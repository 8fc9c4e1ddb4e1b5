//! `Condition`: a notification is for one who uses it.

use std::sync::Arc;

use super::{SOON, Strike, expire, join, kill, model, two_wait};
use crate::{Condition, Greenlet, Lock, shield};

#[derive(Default)]
struct Pot {
    coins: Lock<u32>,
    filled: Condition,
}

impl Pot {
    fn put(&self) {
        *self.coins.lock() += 1;
        self.filled.notify_one();
    }

    fn take(&self) {
        let mut coins = self.filled.wait_for(self.coins.lock(), |coins| *coins > 0);
        *coins -= 1;
    }
}

fn a_notification_is_not_lost(strike: Strike, take: fn(&Pot) -> bool, put: fn(&Pot)) {
    model(move || {
        let pot = Arc::new(Pot::default());
        let (first, second) = (Arc::clone(&pot), Arc::clone(&pot));
        let take_and_put = move || {
            if take(&first) {
                shield(|| first.put());
            }
        };
        two_wait(strike, take_and_put, move || second.take(), || put(&pot));
        assert!(!pot.coins.is_locked());
        assert_eq!(*pot.coins.lock(), 0);
    });
}

#[test]
fn a_notification_for_one_who_is_killed_goes_to_the_next() {
    let take = |pot: &Pot| {
        pot.take();
        true
    };
    a_notification_is_not_lost(kill, take, Pot::put);
}

#[test]
fn a_notification_for_one_who_is_killed_when_he_waits_for_the_lock_goes_to_the_next() {
    let take = |pot: &Pot| {
        pot.take();
        true
    };
    let put = |pot: &Pot| {
        let mut coins = pot.coins.lock();
        *coins += 1;
        pot.filled.notify_one();
    };
    a_notification_is_not_lost(kill, take, put);
}

#[test]
fn a_notification_for_one_whose_time_has_come_goes_to_the_next() {
    let take = |pot: &Pot| {
        let (mut coins, filled) = pot.filled.wait_for_timeout(pot.coins.lock(), |coins| *coins > 0, SOON);
        if filled {
            *coins -= 1;
        }
        filled
    };
    a_notification_is_not_lost(expire, take, Pot::put);
}

#[test]
fn all_who_wait_are_notified() {
    model(|| {
        let gate = Arc::new((Lock::new(false), Condition::new()));
        let waiting = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            Greenlet::spawn(move || drop(gate.1.wait_for(gate.0.lock(), |open| *open)))
        });
        *gate.0.lock() = true;
        gate.1.notify_all();
        join(waiting);
    });
}
