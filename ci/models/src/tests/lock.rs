//! `Lock`, `RLock` and `RwLock`.

use std::sync::Arc;

use super::{SOON, Strike, expire, join, kill, model, two_wait};
use crate::{Greenlet, Lock, RLock, RwLock};

fn a_lock_is_not_lost(strike: Strike, lock: fn(&Lock<u32>)) {
    model(move || {
        let shared = Arc::new(Lock::new(0));
        let guard = shared.lock();
        let (first, second) = (Arc::clone(&shared), Arc::clone(&shared));
        two_wait(strike, move || lock(&first), move || *second.lock() += 1, move || drop(guard));
        assert!(!shared.is_locked());
        assert!(*shared.lock() >= 1);
    });
}

#[test]
fn a_lock_for_one_who_is_killed_goes_to_the_next() {
    a_lock_is_not_lost(kill, |lock| *lock.lock() += 1);
}

#[test]
fn a_lock_for_one_whose_time_has_come_goes_to_the_next() {
    a_lock_is_not_lost(expire, |lock| drop(lock.lock_timeout(SOON)));
}

#[test]
fn one_at_a_time_has_a_lock() {
    model(|| {
        let lock = Arc::new(Lock::new(0));
        let others = [(); 2].map(|()| {
            let lock = Arc::clone(&lock);
            Greenlet::spawn(move || *lock.lock() += 1)
        });
        *lock.lock() += 1;
        join(others);
        assert_eq!(*lock.lock(), 3);
    });
}

#[test]
fn a_reentrant_lock_for_one_who_is_killed_goes_to_the_next() {
    model(|| {
        let lock = Arc::new(RLock::new(()));
        let guard = lock.lock();
        let (first, second) = (Arc::clone(&lock), Arc::clone(&lock));
        let twice = |lock: &RLock| {
            let _outer = lock.lock();
            let _inner = lock.lock();
        };
        two_wait(kill, move || twice(&first), move || twice(&second), move || drop(guard));
        assert!(!lock.is_locked());
    });
}

fn a_read_write_lock_is_not_lost(strike: Strike, first: fn(&RwLock<()>), second: fn(&RwLock<()>), reading: bool) {
    model(move || {
        let lock = Arc::new(RwLock::new(()));
        let (one, other) = (Arc::clone(&lock), Arc::clone(&lock));
        let (read, write) = if reading { (Some(lock.read()), None) } else { (None, Some(lock.write())) };
        two_wait(strike, move || first(&one), move || second(&other), move || drop((read, write)));
        assert!(!lock.is_locked());
    });
}

#[test]
fn what_a_killed_writer_waited_for_goes_to_a_reader() {
    a_read_write_lock_is_not_lost(kill, |lock| drop(lock.write()), |lock| drop(lock.read()), false);
}

#[test]
fn what_a_killed_reader_waited_for_goes_to_a_writer() {
    a_read_write_lock_is_not_lost(kill, |lock| drop(lock.read()), |lock| drop(lock.write()), false);
}

#[test]
fn what_a_killed_writer_waited_for_goes_to_a_writer() {
    a_read_write_lock_is_not_lost(kill, |lock| drop(lock.write()), |lock| drop(lock.write()), true);
}

#[test]
fn what_a_writer_without_time_waited_for_goes_to_a_reader() {
    a_read_write_lock_is_not_lost(expire, |lock| drop(lock.write_timeout(SOON)), |lock| drop(lock.read()), false);
}

#[test]
fn what_a_reader_without_time_waited_for_goes_to_a_writer() {
    a_read_write_lock_is_not_lost(expire, |lock| drop(lock.read_timeout(SOON)), |lock| drop(lock.write()), false);
}

fn a_reader_goes_on_beside_another(strike: Strike, write: fn(&RwLock<()>)) {
    model(move || {
        let lock = Arc::new(RwLock::new(()));
        let guard = lock.read();
        let writer = Greenlet::new();
        let writing = writer.start({
            let lock = Arc::clone(&lock);
            move || write(&lock)
        });
        let reading = Greenlet::spawn({
            let lock = Arc::clone(&lock);
            move || drop(lock.read())
        });
        strike(&writer).join().unwrap();
        // The writer cannot have come in, so he has left, and so nobody stands before the reader.
        writing.join().unwrap();
        reading.join().unwrap();
        drop(guard);
        assert!(!lock.is_locked());
    });
}

#[test]
fn a_killed_writer_leaves_the_readers_behind_him_to_the_others() {
    a_reader_goes_on_beside_another(kill, |lock| drop(lock.write()));
}

#[test]
fn a_writer_without_time_leaves_the_readers_behind_him_to_the_others() {
    a_reader_goes_on_beside_another(expire, |lock| drop(lock.write_timeout(SOON)));
}
