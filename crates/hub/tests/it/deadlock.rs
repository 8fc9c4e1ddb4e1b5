//! The report of a wait that nothing can end, and when there is none.

use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use greenlet_hub::{Builder, JoinHandle, Reason, Wait, WaitList, joinall, sleep, spawn, wait_readable, yield_now};

use crate::child::{alone_in_child, in_child};

/// Waits for what never comes; what the wait panicked with.
fn wait_in_vain(text: &'static str) -> Option<String> {
    let waited = catch_unwind(|| Wait::begin(Reason::new(text)).notified(None));
    waited.err().map(|payload| *payload.downcast::<String>().expect("a message"))
}

#[test]
fn a_wait_that_nobody_ends_panics_and_says_what_it_waits_for() {
    let ended = alone_in_child("deadlock::a_wait_that_nobody_ends_panics_and_says_what_it_waits_for", || {
        let report = wait_in_vain("Godot").expect("a report");
        assert!(report.contains("deadlock"), "{report}");
        assert!(report.contains("main greenlet of thread 'deadlock::"), "{report}");
        assert!(report.contains("waits for Godot"), "{report}");
        // The main greenlet goes on, and so does its hub.
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
        sleep(Duration::from_millis(1));
        assert!(wait_in_vain("Godot again").expect("a report").contains("Godot again"));
    });
    ended.check();
    assert!(ended.stderr.contains("waits for Godot"), "{}", ended.stderr);
}

#[test]
fn greenlets_that_wait_for_each_other_are_listed_with_their_places() {
    let name = "deadlock::greenlets_that_wait_for_each_other_are_listed_with_their_places";
    let ended = alone_in_child(name, || {
        let (list, fork) = (Rc::new(WaitList::new()), Rc::new(WaitList::new()));
        let wait_for = |name: &str, text, list: &Rc<WaitList>| {
            let list = Rc::clone(list);
            Builder::new().name(name).spawn(move || list.wait(Reason::new(text), None, || false))
        };
        let philosophers = [wait_for("Plato", "the fork", &fork), wait_for("Zeno", "the tortoise", &list)];
        let ended = spawn(|| ());
        drop(philosophers.map(JoinHandle::join));
        drop(ended);
    });
    assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
    let line = |text: &str| ended.stderr.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
    assert!(line("Plato").contains("waits for the fork"), "{}", ended.stderr);
    assert!(line("Plato").contains("tests/it/deadlock.rs:"), "{}", ended.stderr);
    assert!(line("Zeno").contains("waits for the tortoise"), "{}", ended.stderr);
    assert!(line("main greenlet").contains("the end of greenlet"), "{}", ended.stderr);
    assert_eq!(ended.count("waits for"), 3, "{}", ended.stderr);
}

#[test]
fn at_most_a_hundred_greenlets_are_listed() {
    let ended = alone_in_child("deadlock::at_most_a_hundred_greenlets_are_listed", || {
        let list = Rc::new(WaitList::new());
        let wait = |_| {
            let list = Rc::clone(&list);
            spawn(move || list.wait(Reason::new("nothing"), None, || false))
        };
        drop(joinall((0..250).map(wait)));
    });
    assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
    assert_eq!(ended.count("waits for nothing"), 100, "{}", ended.stderr);
    assert_eq!(ended.count("and 150 more"), 1, "{}", ended.stderr);
}

#[test]
fn of_two_hubs_each_main_greenlet_is_told_of_its_own() {
    let ended = alone_in_child("deadlock::of_two_hubs_each_main_greenlet_is_told_of_its_own", || {
        let (send, receive) = mpsc::channel();
        let other = thread::Builder::new().name("the other".into()).spawn(move || {
            let greenlet = spawn(|| Wait::begin(Reason::new("the Messiah")).notified(None));
            send.send(greenlet.greenlet().clone()).unwrap();
            let report = wait_in_vain("Judgement Day").expect("a report");
            assert!(report.contains("Judgement Day") && report.contains("the Messiah"), "{report}");
            assert!(report.contains("'the other'") && !report.contains("Godot"), "{report}");
            drop(greenlet);
        });
        let greenlet = receive.recv().unwrap();
        // Through a greenlet that waits for one of the other hub.
        let joins = spawn(move || greenlet.wait());
        let report = wait_in_vain("Godot").expect("a report");
        assert!(report.contains("Godot") && !report.contains("Judgement"), "{report}");
        other.unwrap().join().unwrap();
        // With the other hub, what this waited for has ended.
        joins.join().unwrap();
    });
    ended.check();
}

#[test]
fn a_wait_between_hubs_that_works_is_not_reported() {
    let ended = alone_in_child("deadlock::a_wait_between_hubs_that_works_is_not_reported", || {
        let (to_other, from_main) = (Arc::new(WaitList::new()), mpsc::channel());
        let list = Arc::clone(&to_other);
        let other = thread::spawn(move || {
            from_main.0.send(()).unwrap();
            sleep(Duration::from_millis(2500));
            list.notify_all()
        });
        from_main.1.recv().unwrap();
        // For more than two looks only the other hub's timer is under way.
        assert!(to_other.wait(Reason::new("the other"), None, || false));
        assert_eq!(other.join().unwrap(), 1);
    });
    ended.check();
    assert_eq!(ended.count("nothing can wake any hub"), 0, "{}", ended.stderr);
}

#[test]
fn a_pending_timer_is_no_deadlock() {
    let ended = alone_in_child("deadlock::a_pending_timer_is_no_deadlock", || {
        let list = Rc::new(WaitList::new());
        let notifier = spawn({
            let list = Rc::clone(&list);
            move || {
                sleep(Duration::from_millis(2200));
                list.notify_one()
            }
        });
        assert!(list.wait(Reason::new("the sleeper"), None, || false));
        assert!(notifier.join().unwrap());
    });
    ended.check();
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_descriptor_that_is_waited_for_is_no_deadlock() {
    let ended = alone_in_child("deadlock::a_descriptor_that_is_waited_for_is_no_deadlock", || {
        // Another process ends the wait, so that this one has neither a timer nor another thread.
        let (near, far) = UnixStream::pair().unwrap();
        let mut command = std::process::Command::new("sleep");
        let mut sleeper = command.arg("2.2").stdin(std::os::fd::OwnedFd::from(far)).spawn().unwrap();
        drop(command);
        wait_readable(&near).unwrap();
        assert!(sleeper.wait().unwrap().success());
        // But the descriptor alone, when nobody waits for it any more, is no hope.
        assert!(wait_in_vain("Godot").is_some());
    });
    ended.check();
    assert_eq!(ended.count("nothing can wake any hub"), 1, "{}", ended.stderr);
}

#[test]
fn a_hub_that_does_not_wait_is_hope() {
    let ended = alone_in_child("deadlock::a_hub_that_does_not_wait_is_hope", || {
        let (send, receive) = mpsc::channel::<greenlet_hub::Waiter>();
        let other = thread::spawn(move || {
            yield_now();
            let waiter = receive.recv().unwrap();
            // Blocked outside of its hub, as in a lock.
            assert!(receive.recv_timeout(Duration::from_millis(2200)).is_err());
            waiter.notify()
        });
        let wait = Wait::begin(Reason::new("the other thread"));
        send.send(wait.waiter()).unwrap();
        assert!(wait.notified(None));
        assert!(other.join().unwrap());
        drop(send);
    });
    ended.check();
    assert_eq!(ended.stderr, "");
}

#[test]
fn another_thread_is_hope_and_after_ten_seconds_a_line() {
    let name = "deadlock::another_thread_is_hope_and_after_ten_seconds_a_line";
    let ended = in_child(name, || {
        let (send, receive) = mpsc::channel::<greenlet_hub::Waiter>();
        let plain = thread::spawn(move || {
            let waiter = receive.recv().unwrap();
            assert!(receive.recv_timeout(Duration::from_millis(13_500)).is_err());
            waiter.notify()
        });
        let listed = Builder::new().name("Estragon").spawn(|| Wait::begin(Reason::new("Vladimir")).notified(None));
        let wait = Wait::begin(Reason::new("the plain thread"));
        send.send(wait.waiter()).unwrap();
        assert!(wait.notified(None));
        assert!(plain.join().unwrap());
        assert!(!listed.is_finished());
        drop(send);
    });
    ended.check();
    assert_eq!(ended.count("only a thread that is not a hub"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("waits for the plain thread"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("'Estragon'"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("nothing can wake any hub"), 0, "{}", ended.stderr);
}
