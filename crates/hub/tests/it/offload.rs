//! Blocking code on the threads that all hubs share.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{Elapsed, JoinError, ThreadPool, joinall, offload, sleep, spawn, timeout, yield_now};

use crate::child::in_child;
use crate::support::{HANG, status};

const MS: Duration = Duration::from_millis(1);

#[test]
fn it_runs_elsewhere_and_gives_the_result() {
    let here = thread::current().id();
    assert_ne!(offload(|| thread::current().id()), here);
    assert_eq!(spawn(|| offload(|| 6 * 7)).join().unwrap(), 42);
    assert_eq!(thread::spawn(|| offload(|| 5)).join().unwrap(), 5);
}

#[test]
fn greenlets_of_the_hub_run_meanwhile() {
    let (send, receive) = mpsc::channel();
    let other = spawn(move || {
        sleep(MS);
        send.send("from the hub that waits").unwrap();
    });
    assert_eq!(offload(move || receive.recv()), Ok("from the hub that waits"));
    other.join().unwrap();
}

#[test]
fn a_loop_of_quick_calls_does_not_keep_others_from_running() {
    let other = spawn(|| ());
    let start = Instant::now();
    while !other.is_finished() {
        offload(|| ());
        assert!(start.elapsed() < HANG, "the other has not run");
    }
}

#[test]
fn a_panic_is_reported_once_and_comes_back() {
    let ended = in_child("offload::a_panic_is_reported_once_and_comes_back", || {
        let greenlet = spawn(|| {
            offload(|| {
                if HANG > MS {
                    panic!("a word")
                }
            })
        });
        let Err(JoinError::Panicked(payload)) = greenlet.join() else { panic!("it should have failed") };
        assert_eq!(*payload.downcast::<&str>().unwrap(), "a word");
        let caught: Result<(), _> = catch_unwind(|| offload(|| std::panic::resume_unwind(Box::new(()))));
        assert!(caught.is_err());
    });
    ended.check();
    assert_eq!(ended.count("panicked"), 1, "{}", ended.stderr);
}

#[test]
fn kills_and_time_outs_do_not_wait_for_the_thread() {
    let (send, receive) = mpsc::channel();
    let receive = Arc::new(Mutex::new(receive));
    let wait_for = |receive: &Arc<Mutex<mpsc::Receiver<u32>>>| {
        let receive = Arc::clone(receive);
        move || receive.lock().unwrap().recv().unwrap()
    };
    assert_eq!(timeout(MS, || offload(wait_for(&receive))), Err(Elapsed));
    let blocked = wait_for(&receive);
    let greenlet = spawn(move || offload(blocked));
    yield_now();
    assert!(greenlet.kill_timeout(HANG).unwrap());
    // The threads still wait, and take what comes.
    (1..=3).for_each(|number| send.send(number).unwrap());
    assert!(offload(wait_for(&receive)) <= 3);
}

#[test]
fn inside_of_itself_it_is_a_plain_call() {
    let (outer, inner) = offload(|| (thread::current().id(), offload(|| thread::current().id())));
    assert_eq!(outer, inner);
    // More of them than there are threads.
    let nested = |number: u32| spawn(move || offload(move || offload(move || offload(move || number))));
    let sum: u32 = joinall((0..200).map(nested)).into_iter().map(Result::unwrap).sum();
    assert_eq!(sum, 199 * 100);
}

#[test]
fn sixty_four_threads_serve_all_hubs_and_the_rest_waits() {
    let ended = in_child("offload::sixty_four_threads_serve_all_hubs_and_the_rest_waits", || {
        const JOBS: usize = 50;
        let (running, receive) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
        let gate = Arc::new(Mutex::new(receive.1));
        let block = {
            let (running, gate) = (Arc::clone(&running), Arc::clone(&gate));
            move || {
                let (running, gate) = (Arc::clone(&running), Arc::clone(&gate));
                offload(move || {
                    running.fetch_add(1, Ordering::Relaxed);
                    assert!(gate.lock().unwrap().recv().is_err());
                })
            }
        };
        let before = status("Threads");
        let crowd = {
            let block = block.clone();
            move || joinall((0..JOBS).map(|_| spawn(block.clone()))).into_iter().for_each(Result::unwrap)
        };
        let other_hub = thread::spawn(crowd.clone());
        let own = spawn(crowd);
        let metrics = || ThreadPool::global().metrics();
        while running.load(Ordering::Relaxed) < 64 || metrics().queued < 2 * JOBS - 64 {
            sleep(MS);
        }
        assert_eq!((metrics().threads, metrics().idle, metrics().completed), (64, 0, 0));
        assert_eq!(running.load(Ordering::Relaxed), 64);
        assert_eq!(status("Threads"), before + 64 + 1);
        drop(receive.0);
        own.join().unwrap();
        other_hub.join().unwrap();
        assert_eq!(running.load(Ordering::Relaxed), 2 * JOBS);
    });
    ended.check();
}
