//! The table in which greenlets wait for the locks of others.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};

use super::{SOON, Strike, expire, join, kill, model, two_wait};
use crate::hub::deadline_after;
use crate::table::{self, ANY, Ended, Key, Kind, Options, Who};
use crate::{Greenlet, Reason};

fn options(key: Key) -> Options {
    Options::new(key, None, Reason::new("a model"))
}

/// A key for each number; those of odd numbers share a bucket, or do not, as it comes.
fn key(number: usize) -> Key {
    Key::new(Kind::Futex, std::ptr::without_provenance::<u32>(number * 4))
}

/// std's mutex.
struct Mutex {
    /// Free, locked, or locked and waited for.
    state: AtomicUsize,
    value: UnsafeCell<u32>,
}

impl Mutex {
    const KEY: usize = 1;

    fn new() -> Mutex {
        Mutex { state: AtomicUsize::new(0), value: UnsafeCell::new(0) }
    }

    fn add(&self) {
        if self.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.state.swap(2, Ordering::Acquire) != 0 {
                let check = |_: &table::List| self.state.load(Ordering::SeqCst) == 2;
                let _ = table::wait(Who::Greenlet, options(key(Mutex::KEY)), check, || true);
            }
        }
        // SAFETY: it is locked; if another thread had it too, loom would say so.
        self.value.with_mut(|value| unsafe { *value += 1 });
        if self.state.swap(0, Ordering::Release) == 2 {
            table::wake(key(Mutex::KEY), 1, ANY);
        }
    }
}

#[test]
fn one_at_a_time_has_a_mutex_and_nobody_waits_for_one_that_is_free() {
    model(|| {
        let mutex = Arc::new(Mutex::new());
        let others = [(); 2].map(|()| {
            let mutex = Arc::clone(&mutex);
            Greenlet::spawn(move || mutex.add())
        });
        mutex.add();
        join(others);
        // SAFETY: the others have ended.
        assert_eq!(mutex.value.with(|value| unsafe { *value }), 3);
    });
}

/// A semaphore, as C's stands on the table.
struct Permits(AtomicUsize);

impl Permits {
    const KEY: usize = 2;

    fn try_acquire(&self) -> bool {
        self.0.compare_exchange(1, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn acquire(&self, is_timed: bool) -> bool {
        let mut was_woken = false;
        loop {
            let options = Options {
                deadline: is_timed.then(|| deadline_after(SOON)),
                first: was_woken,
                ..options(key(Permits::KEY))
            };
            match table::wait(Who::Greenlet, options, |_| !self.try_acquire(), || true) {
                Ended::Refused => return true,
                Ended::Woken => was_woken = true,
                Ended::TimedOut => return false,
            }
        }
    }

    fn release(&self) {
        self.0.swap(1, Ordering::SeqCst);
        table::wake(key(Permits::KEY), 1, ANY);
    }
}

fn a_permit_is_not_lost(strike: Strike, first_is_timed: bool, second_gives_back: bool) {
    model(move || {
        let permits = Arc::new(Permits(AtomicUsize::new(0)));
        let (first, second) = (Arc::clone(&permits), Arc::clone(&permits));
        let take_and_give = move || {
            if first.acquire(first_is_timed) {
                first.release();
            }
        };
        let take = move || {
            assert!(second.acquire(false));
            if second_gives_back {
                second.release();
            }
        };
        two_wait(strike, take_and_give, take, || permits.release());
    });
}

#[test]
fn a_wake_up_for_one_whose_time_has_come_goes_to_the_next() {
    a_permit_is_not_lost(expire, true, false);
}

#[test]
fn a_kill_ends_no_wait_and_takes_no_wake_up_along() {
    a_permit_is_not_lost(kill, false, true);
}

fn who_is_moved_is_woken_where_he_is(to: usize) {
    model(move || {
        let changed = Arc::new(AtomicUsize::new(0));
        let waiters = [(); 2].map(|()| {
            let changed = Arc::clone(&changed);
            Greenlet::spawn(move || {
                let check = |_: &table::List| changed.load(Ordering::SeqCst) == 0;
                assert_ne!(table::wait(Who::Greenlet, options(key(3)), check, || true), Ended::TimedOut);
            })
        });
        changed.swap(1, Ordering::SeqCst);
        let moved = table::requeue(key(3), key(to), 1, usize::MAX, || true).unwrap();
        assert_eq!(table::wake(key(to), usize::MAX, ANY), moved.moved);
        join(waiters);
    });
}

#[test]
fn who_is_moved_to_another_bucket_is_woken_there() {
    // One of these has the other bucket.
    who_is_moved_is_woken_where_he_is(4);
    who_is_moved_is_woken_where_he_is(5);
    who_is_moved_is_woken_where_he_is(6);
}

#[test]
fn who_times_out_while_he_is_moved_is_out() {
    model(|| {
        let waiter = Greenlet::new();
        let waiting = waiter.start(|| {
            let options = Options { deadline: Some(deadline_after(SOON)), ..options(key(3)) };
            table::wait(Who::Greenlet, options, |_| true, || true)
        });
        let time = expire(&waiter);
        let moved = [4, 5, 6].map(|to| table::requeue(key(3), key(to), 0, 1, || true).unwrap().moved);
        assert!(moved.iter().sum::<usize>() <= 1);
        assert_eq!(waiting.join().unwrap(), Some(Ended::TimedOut));
        time.join().unwrap();
        assert!([3, 4, 5, 6].iter().all(|number| table::is_empty(key(*number))));
    });
}

#[test]
fn a_condition_is_not_missed_by_one_who_unlocks_before_he_sleeps() {
    model(|| {
        let told = Arc::new(AtomicUsize::new(0));
        let (condition, unlocked) = (key(7), Arc::clone(&told));
        // A thread's wait, and a greenlet's.
        let waiters = [Who::Thread, Who::Greenlet].map(|who| {
            let unlocked = Arc::clone(&unlocked);
            Greenlet::spawn(move || {
                let then = || {
                    unlocked.fetch_add(1, Ordering::SeqCst);
                    true
                };
                assert_eq!(table::wait(who, options(condition), |_| true, then), Ended::Woken);
            })
        });
        // As many are woken as have unlocked, each a time.
        let mut woken = 0;
        while woken < 2 {
            if told.load(Ordering::SeqCst) > woken {
                assert_eq!(table::wake(condition, 1, ANY), 1);
                woken += 1;
            } else {
                loom::thread::yield_now();
            }
        }
        join(waiters);
    });
}

#[test]
fn a_barrier_gathers_each_round_by_itself() {
    model(|| {
        let other = Greenlet::spawn(|| {
            let leads = [(); 2].map(|()| table::gather(Who::Greenlet, options(key(8)), 2).is_none());
            leads.iter().filter(|leads| **leads).count()
        });
        let leads = [(); 2].map(|()| table::gather(Who::Thread, options(key(8)), 2).is_none());
        let ours = leads.iter().filter(|leads| **leads).count();
        assert_eq!(ours + other.join().unwrap().unwrap(), 2);
    });
}
