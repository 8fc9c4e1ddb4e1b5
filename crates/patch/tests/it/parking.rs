//! Waits by which threads are told from threads: they block, and say so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{Builder, no_switch, spawn, yield_now};
use greenlet_patch::patch_all;

use crate::child::in_child;
use crate::support::wait_until_it_sleeps;

const MS: Duration = Duration::from_millis(1);

/// Does something from another thread when this one sleeps in a futex wait.
fn when_this_sleeps(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    // SAFETY: it has no preconditions.
    let id = unsafe { libc::gettid() };
    thread::spawn(move || {
        wait_until_it_sleeps(id);
        f();
    })
}

#[test]
fn a_greenlet_that_parks_says_so_once_and_blocks() {
    let ended = in_child("parking::a_greenlet_that_parks_says_so_once_and_blocks", || {
        patch_all();
        for _ in 0..2 {
            let ran = Arc::new(AtomicBool::new(false));
            let parked = Builder::new().name("parker").spawn({
                let ran = Arc::clone(&ran);
                move || {
                    let thread = thread::current();
                    let unparker = when_this_sleeps(move || thread.unpark());
                    thread::park();
                    assert!(!ran.load(Ordering::Relaxed));
                    unparker.join().unwrap();
                }
            });
            let other = spawn(move || ran.store(true, Ordering::Relaxed));
            parked.join().unwrap();
            other.join().unwrap();
        }
    });
    assert_eq!(ended.count("'parker'"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("greenlet: "), 1, "{}", ended.stderr);
    assert_eq!(ended.count("thread::park"), 1);
    assert_eq!(ended.count("parking.rs"), 1);
}

#[test]
fn a_channel_of_std_says_that_it_parks() {
    let ended = in_child("parking::a_channel_of_std_says_that_it_parks", || {
        patch_all();
        let (sender, receiver) = mpsc::channel();
        let greenlet = spawn(move || {
            let sending = when_this_sleeps(move || sender.send(5).unwrap());
            assert_eq!(receiver.recv(), Ok(5));
            sending.join().unwrap();
        });
        greenlet.join().unwrap();
    });
    assert_eq!(ended.count("greenlet: "), 1, "{}", ended.stderr);
    assert_eq!(ended.count("mpsc"), 1);
}

#[test]
fn a_lock_of_parking_lot_says_that_it_waits_in_a_thread_local() {
    let ended = in_child("parking::a_lock_of_parking_lot_says_that_it_waits_in_a_thread_local", || {
        patch_all();
        let mutex = Arc::new(parking_lot::Mutex::new(0));
        let greenlet = Builder::new().name("visitor").spawn(move || {
            let held = Arc::new(AtomicBool::new(false));
            // SAFETY: it has no preconditions.
            let id = unsafe { libc::gettid() };
            let holder = thread::spawn({
                let (mutex, held) = (Arc::clone(&mutex), Arc::clone(&held));
                move || {
                    let mut guard = mutex.lock();
                    held.store(true, Ordering::Release);
                    wait_until_it_sleeps(id);
                    *guard += 1;
                }
            });
            while !held.load(Ordering::Acquire) {
                yield_now();
            }
            assert_eq!(*mutex.lock(), 1);
            holder.join().unwrap();
        });
        greenlet.join().unwrap();
    });
    assert_eq!(ended.count("greenlet: "), 1, "{}", ended.stderr);
    assert_eq!(ended.count("'visitor'"), 1);
    assert_eq!(ended.count("parking_lot"), 1);
}

#[test]
fn a_main_greenlet_without_others_parks_in_silence() {
    let ended = in_child("parking::a_main_greenlet_without_others_parks_in_silence", || {
        patch_all();
        yield_now();
        let thread = thread::current();
        let unparker = when_this_sleeps(move || thread.unpark());
        thread::park();
        unparker.join().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| thread::sleep(20 * MS));
        });
    });
    assert_eq!(ended.count("greenlet: "), 0, "{}", ended.stderr);
}

#[test]
fn the_search_for_the_parker_takes_nobodys_token() {
    let ended = in_child("parking::the_search_for_the_parker_takes_nobodys_token", || {
        let begin = Instant::now();
        thread::current().unpark();
        patch_all();
        thread::park_timeout(Duration::from_secs(50));
        assert!(begin.elapsed() < Duration::from_secs(40));
        // And leaves none.
        let begin = Instant::now();
        thread::park_timeout(20 * MS);
        assert!(begin.elapsed() >= 20 * MS);
    });
    assert_eq!(ended.count("greenlet: "), 0, "{}", ended.stderr);
}

#[test]
fn the_parker_of_another_thread_than_the_one_that_patched_is_known_as_well() {
    let ended = in_child("parking::the_parker_of_another_thread_than_the_one_that_patched_is_known_as_well", || {
        patch_all();
        let other = thread::spawn(|| {
            let greenlet = spawn(|| {
                let thread = thread::current();
                let unparker = when_this_sleeps(move || thread.unpark());
                thread::park();
                unparker.join().unwrap();
            });
            greenlet.join().unwrap();
        });
        other.join().unwrap();
    });
    assert_eq!(ended.count("thread::park"), 1, "{}", ended.stderr);
}

#[test]
#[ignore = "takes 12 s: .ci/run asks for it"]
fn a_lock_waited_for_where_nothing_may_switch_says_so() {
    let ended = in_child("parking::a_lock_waited_for_where_nothing_may_switch_says_so", || {
        patch_all();
        yield_now();
        let mutex = Arc::new(std::sync::Mutex::new(()));
        let held = Arc::clone(&mutex);
        let (sender, receiver) = mpsc::channel();
        let holder = thread::spawn(move || {
            let _guard = held.lock().unwrap();
            sender.send(()).unwrap();
            thread::sleep(Duration::from_secs(12));
        });
        receiver.recv().unwrap();
        no_switch(|| drop(mutex.lock().unwrap()));
        holder.join().unwrap();
    });
    assert_eq!(ended.count("greenlet: for 10 s a lock"), 1, "{}", ended.stderr);
}
