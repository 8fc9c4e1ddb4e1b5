//! Panics of greenlets: told once, and nobody else's business.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greenlet_hub::{Builder, JoinError, Outcome, Reason, Wait, Waiter, current, joinall, sleep, spawn, yield_now};

use crate::child::in_child;
use crate::support::HANG;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_panic_is_told_once_with_name_and_place() {
    let ended = in_child("panics::a_panic_is_told_once_with_name_and_place", || {
        let named = Builder::new().name("the worker").spawn(|| panic!("first words"));
        let unnamed = spawn(|| panic_any(7));
        assert!(matches!(named.join(), Err(JoinError::Panicked(_))));
        let id = unnamed.id();
        assert!(matches!(unnamed.join(), Err(JoinError::Panicked(_))));
        drop(spawn(|| panic!("of a detached one")));
        yield_now();
        eprintln!("the second was {id}");
    });
    ended.check();
    assert_eq!(ended.count("first words"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("greenlet 'the worker'"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("of a detached one"), 1, "{}", ended.stderr);
    assert_eq!(ended.count(" panicked:"), 3, "{}", ended.stderr);
    let line = |text: &str| ended.stderr.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
    assert!(line("the worker").contains("tests/it/panics.rs:"), "{}", ended.stderr);
    let second = line("the second was");
    let id = second.rsplit(' ').next().unwrap();
    assert!(ended.stderr.contains(&format!("greenlet {id} (spawned at")), "{}", ended.stderr);
}

#[test]
fn a_panic_on_a_plain_thread_is_told_as_ever() {
    let ended = in_child("panics::a_panic_on_a_plain_thread_is_told_as_ever", || {
        yield_now();
        assert!(catch_unwind(|| panic!("on the main greenlet")).is_err());
        assert!(thread::spawn(|| panic!("on a thread")).join().is_err());
    });
    ended.check();
    assert_eq!(ended.count("on the main greenlet"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("on a thread"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("greenlet "), 0, "{}", ended.stderr);
}

#[test]
fn a_panic_disturbs_nobody_else() {
    let results = joinall((0..30).map(|number| {
        spawn(move || {
            for _ in 0..3 {
                yield_now();
                if number % 3 == 0 {
                    std::panic::resume_unwind(Box::new(number));
                }
                sleep(MS);
            }
            assert!(!thread::panicking());
            number
        })
    }));
    for (number, result) in results.into_iter().enumerate() {
        assert_eq!(result.is_err(), number % 3 == 0, "{number}");
    }
}

#[test]
fn a_panic_unwinds_the_greenlets_own_frames_first() {
    struct Notes(Arc<Mutex<Vec<&'static str>>>);
    impl Drop for Notes {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(if thread::panicking() { "unwound" } else { "dropped" });
        }
    }
    let notes = Arc::new(Mutex::new(Vec::new()));
    let greenlet = spawn({
        let notes = Notes(Arc::clone(&notes));
        move || {
            let _notes = notes;
            yield_now();
            std::panic::resume_unwind(Box::new(()));
        }
    });
    let failed: Result<(), JoinError> = greenlet.join();
    assert!(failed.is_err());
    assert_eq!(*notes.lock().unwrap(), ["unwound"]);
}

#[test]
fn a_caught_panic_is_over() {
    let greenlet = spawn(|| {
        for _ in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                yield_now();
                std::panic::resume_unwind(Box::new(1));
            }));
            assert!(caught.is_err() && !thread::panicking());
            sleep(MS);
        }
        5
    });
    assert_eq!(greenlet.join().unwrap(), 5);
}

#[test]
fn waits_in_the_panic_hook_block_the_thread() {
    let ended = in_child("panics::waits_in_the_panic_hook_block_the_thread", || {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let before = current();
            sleep(5 * MS);
            yield_now();
            let wait = Wait::begin(Reason::new("another thread"));
            let waiter = wait.waiter();
            let notifier = thread::spawn(move || waiter.notify());
            assert_eq!(wait.until(None), Outcome::Notified);
            assert!(notifier.join().unwrap());
            assert_eq!(current(), before);
            eprintln!("the hook has waited");
            hook(info);
        }));
        let other = spawn(|| eprintln!("the other runs"));
        let panics = spawn(|| panic!("a word"));
        let third = spawn(|| eprintln!("the third runs"));
        let failed: Result<(), JoinError> = panics.join();
        assert!(failed.is_err());
        assert!(catch_unwind(|| panic!("of main")).is_err());
        joinall([other, third]);
    });
    ended.check();
    let place = |text| ended.stderr.find(text).unwrap_or_else(|| panic!("{text}: {}", ended.stderr));
    assert!(place("the other runs") < place("the hook has waited"));
    assert!(place("a word") < place("the third runs"));
    assert_eq!(ended.count("the hook has waited"), 2);
}

/// A notifier ends the wait first and leaves its message then; a blocked thread may see the one without the other.
#[test]
fn a_wait_in_the_hook_leaves_no_late_wake_up_behind() {
    let ended = in_child("panics::a_wait_in_the_hook_leaves_no_late_wake_up_behind", || {
        let place: Arc<Mutex<Option<Waiter>>> = Arc::default();
        let done = Arc::new(AtomicBool::new(false));
        let notifier = thread::spawn({
            let (place, done) = (Arc::clone(&place), Arc::clone(&done));
            move || {
                while !done.load(Ordering::Relaxed) {
                    let waiter = place.lock().unwrap().take();
                    if let Some(waiter) = waiter {
                        waiter.notify();
                    };
                }
            }
        });
        let spins = AtomicU32::new(0);
        std::panic::set_hook(Box::new(move |_| {
            let wait = Wait::begin(Reason::new("another thread"));
            *place.lock().unwrap() = Some(wait.waiter());
            // So that the notification comes at every point of the wait.
            for _ in 0..spins.fetch_add(1, Ordering::Relaxed) % 200 {
                std::hint::spin_loop();
            }
            assert_eq!(wait.until(None), Outcome::Notified);
        }));
        for round in 0..20_000_u32 {
            let greenlet = spawn(move || {
                if round < u32::MAX {
                    panic!("round {round}")
                }
            });
            assert!(greenlet.join_timeout(HANG).expect("it ends").is_err());
        }
        done.store(true, Ordering::Relaxed);
        notifier.join().unwrap();
    });
    ended.check();
}
