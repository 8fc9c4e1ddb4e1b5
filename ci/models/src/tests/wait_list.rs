//! `WaitList` and `WaitQueue`, which all primitives stand on.

use std::sync::Arc;
use std::time::Instant;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Strike, expire, join, kill, model, two_wait};
use crate::{Greenlet, Outcome, Reason, ShortLock, Wait, WaitList, WaitQueue, shield};

const REASON: Reason = Reason::new("a test");

#[test]
fn notify_all_misses_nobody_who_saw_it_not_ready() {
    model(|| {
        let shared = Arc::new((AtomicBool::new(false), WaitList::new()));
        let waiting = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            Greenlet::spawn(move || {
                while !shared.0.load(Ordering::Acquire) {
                    shared.1.wait(REASON, None, || shared.0.load(Ordering::Acquire));
                }
            })
        });
        shared.0.store(true, Ordering::Release);
        shared.1.notify_all();
        join(waiting);
    });
}

/// Coins that are taken by whoever looks; a notification is a hint to look.
#[derive(Default)]
struct Coins {
    count: AtomicUsize,
    list: WaitList,
}

impl Coins {
    fn put(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.list.notify_one();
    }

    fn try_take(&self) -> bool {
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1)).is_ok()
    }

    fn take(&self, deadline: Option<Instant>) -> bool {
        while !self.try_take() {
            if !self.list.wait(REASON, deadline, || self.count.load(Ordering::Acquire) > 0) {
                return self.try_take();
            }
        }
        true
    }
}

fn a_hint_is_not_lost(strike: Strike, deadline: fn() -> Option<Instant>) {
    model(move || {
        let coins = Arc::new(Coins::default());
        let (first, second) = (Arc::clone(&coins), Arc::clone(&coins));
        let take_and_put = move || {
            if first.take(deadline()) {
                shield(|| first.put());
            }
        };
        two_wait(strike, take_and_put, move || assert!(second.take(None)), || coins.put());
        assert_eq!(coins.count.load(Ordering::Acquire), 0);
    });
}

#[test]
fn a_hint_for_one_who_is_killed_goes_to_the_next() {
    a_hint_is_not_lost(kill, || None);
}

#[test]
fn a_hint_for_one_whose_time_has_come_goes_to_the_next() {
    a_hint_is_not_lost(expire, || Some(Instant::now()));
}

#[test]
fn claims_are_of_waits_that_end_as_notified_and_each_of_one() {
    model(|| {
        let queue = Arc::new(ShortLock::new(WaitQueue::new()));
        let struck = Greenlet::new();
        let wait = |queue: Arc<ShortLock<WaitQueue>>| {
            move || {
                let wait = Wait::begin(REASON);
                queue.lock().push_back(wait.waiter());
                match wait.until(Some(Instant::now())) {
                    Outcome::Notified => true,
                    Outcome::TimedOut => false,
                    Outcome::Interrupted(interrupted) => interrupted.was_notified(),
                }
            }
        };
        let other = Greenlet::new();
        let first = struck.start(wait(Arc::clone(&queue)));
        let second = other.start(wait(Arc::clone(&queue)));
        let killer = kill(&struck);
        let claim = queue.lock().claim_first();
        let claimed = usize::from(claim.is_some());
        drop(claim);
        let waiters = queue.lock().take();
        let notified = waiters.notify_all();
        // Who came later.
        other.expire();
        killer.join().unwrap();
        let told = [first, second].map(|greenlet| greenlet.join().unwrap().unwrap());
        assert_eq!(told.map(usize::from).iter().sum::<usize>(), claimed + notified);
    });
}
