//! The report of a wait that nothing can end, and when there is none.

use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use greenlet_hub::{
    Builder, Greenlet, HubPool, JoinError, JoinHandle, Reason, ThreadPool, Wait, WaitList, joinall, sleep, spawn,
    wait_readable, yield_now,
};

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

// ---- with pools ----

/// A greenlet on the hub with that number, which waits for what is sent to it.
fn waits_for_another(pool: &HubPool, hub: usize, name: &str) -> (JoinHandle<()>, mpsc::Sender<Greenlet>) {
    let (send, receive) = mpsc::channel::<Greenlet>();
    let greenlet = Builder::new().name(name).spawn_on(&pool.handles()[hub], move || {
        while receive.try_recv().map(|other| other.wait()).is_err() {
            yield_now();
        }
    });
    (greenlet, send)
}

#[test]
fn greenlets_of_a_pools_hubs_that_wait_for_each_other_are_in_the_mains_report() {
    let name = "deadlock::greenlets_of_a_pools_hubs_that_wait_for_each_other_are_in_the_mains_report";
    let ended = alone_in_child(name, || {
        let pool = HubPool::builder().hubs(2).name("pool").build().unwrap();
        let (cat, to_cat) = waits_for_another(&pool, 0, "cat");
        let (dog, to_dog) = waits_for_another(&pool, 1, "dog");
        to_cat.send(dog.greenlet().clone()).unwrap();
        to_dog.send(cat.greenlet().clone()).unwrap();
        let (cat_id, dog_id) = (cat.id(), dog.id());
        let joined = catch_unwind(|| cat.join()).map(drop);
        let report = *joined.expect_err("a deadlock").downcast::<String>().expect("a message");
        let line = |text: &str| report.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
        assert!(report.contains("deadlock"), "{report}");
        assert!(line("main greenlet").contains(&format!("the end of greenlet {cat_id}")), "{report}");
        assert!(line("'cat'").contains(&format!("waits for the end of greenlet {dog_id}")), "{report}");
        assert!(line("'dog'").contains(&format!("waits for the end of greenlet {cat_id}")), "{report}");
        assert!(line("'cat'").contains("tests/it/deadlock.rs:"), "{report}");
        assert!(report.contains("'pool-0'") && report.contains("'pool-1'"), "{report}");
        // The pool's own mains wait for its end, which is nobody's concern.
        assert!(!report.contains("end of its pool"), "{report}");
        assert_eq!(report.matches("waits for").count(), 3, "{report}");
        // Main goes on, and may end them; `shutdown` has a deadline, so it is not one more deadlock.
        assert_eq!(pool.spawn(|| 7).join().unwrap(), 7);
        assert!(pool.shutdown(Duration::from_millis(10)).is_empty());
        // By the kill, or since the other one has ended by it.
        assert!(matches!(dog.join(), Ok(()) | Err(JoinError::Killed)));
    });
    ended.check();
}

#[test]
fn of_a_pool_and_main_at_most_a_hundred_greenlets_are_listed_of_each() {
    let ended = alone_in_child("deadlock::of_a_pool_and_main_at_most_a_hundred_greenlets_are_listed_of_each", || {
        let pool = HubPool::new(2).unwrap();
        let list = Arc::new(WaitList::new());
        let wait = |n: usize| {
            let list = Arc::clone(&list);
            pool.handles()[n % 2].spawn(move || list.wait(Reason::new("nothing"), None, || false))
        };
        drop(joinall((0..260).map(wait)));
    });
    assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
    assert_eq!(ended.count("waits for nothing"), 100, "{}", ended.stderr);
    let more = ended.stderr.lines().filter_map(|line| line.strip_prefix("  and ")?.strip_suffix(" more"));
    assert_eq!(more.map(|more| more.parse::<usize>().unwrap()).sum::<usize>(), 160, "{}", ended.stderr);
}

#[test]
fn a_job_that_waits_for_main_s_own_greenlet_is_part_of_the_circle() {
    let ended = alone_in_child("deadlock::a_job_that_waits_for_main_s_own_greenlet_is_part_of_the_circle", || {
        let pools = [HubPool::new(1).unwrap(), HubPool::new(1).unwrap()];
        let here = Builder::new().name("here").spawn(|| Wait::begin(Reason::new("Godot")).notified(None));
        let one = pools[0].spawn({
            let here = here.greenlet().clone();
            move || here.wait()
        });
        let one_greenlet = one.greenlet().clone();
        let two = pools[1].spawn(move || one_greenlet.wait());
        drop((one, two.join(), here));
    });
    assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
    assert_eq!(ended.count("waits for"), 4, "{}", ended.stderr);
    assert_eq!(ended.count("'here'"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("serves a pool"), 2, "{}", ended.stderr);
}

#[test]
fn each_of_several_mains_is_told_what_the_pools_greenlets_wait_for() {
    let ended = alone_in_child("deadlock::each_of_several_mains_is_told_what_the_pools_greenlets_wait_for", || {
        let pool = HubPool::new(1).unwrap();
        let stuck = Builder::new().name("stuck").spawn_in(&pool, || Wait::begin(Reason::new("Godot")).notified(None));
        let main_waits = |greenlet: Greenlet| {
            let report = catch_unwind(|| greenlet.wait()).expect_err("a deadlock");
            let report = *report.downcast::<String>().expect("a message");
            assert!(report.contains("'stuck'") && report.contains("waits for Godot"), "{report}");
            assert_eq!(report.matches("main greenlet").count(), 1, "{report}");
        };
        let other = thread::spawn({
            let stuck = stuck.greenlet().clone();
            move || main_waits(stuck)
        });
        main_waits(stuck.greenlet().clone());
        // Not through its hub, which would be one more.
        other.join().unwrap();
    });
    ended.check();
}

#[test]
fn a_pool_beside_a_main_that_sleeps_or_computes_says_nothing() {
    let ended = alone_in_child("deadlock::a_pool_beside_a_main_that_sleeps_or_computes_says_nothing", || {
        let (idle, waits) = (HubPool::new(2).unwrap(), HubPool::new(2).unwrap());
        joinall(idle.each(|| ()));
        let list = Arc::new(WaitList::new());
        let waiting = waits.each({
            let list = Arc::clone(&list);
            move || list.wait(Reason::new("main"), None, || false)
        });
        // Main has a timer.
        sleep(Duration::from_millis(2200));
        // Main is not in its hub at all, and its hub does not sleep.
        thread::sleep(Duration::from_millis(2200));
        assert_eq!(list.notify_all(), 2);
        assert!(joinall(waiting).into_iter().all(|waited| waited.unwrap()));
    });
    ended.check();
    assert_eq!(ended.stderr, "");
}

#[test]
fn as_long_as_a_pools_hub_can_end_a_wait_no_line_is_printed() {
    let name = "deadlock::as_long_as_a_pools_hub_can_end_a_wait_no_line_is_printed";
    let ended = in_child(name, || {
        // There is another thread, the harness's, so after ten seconds a line might be due.
        let pool = HubPool::new(2).unwrap();
        let late = pool.handles()[0].spawn(|| {
            sleep(Duration::from_millis(12_500));
            7
        });
        let passes_on = pool.handles()[1].spawn(move || late.join().unwrap());
        assert_eq!(passes_on.join().unwrap(), 7);
    });
    ended.check();
    assert_eq!(ended.stderr, "");
}

/// Main waits for what a job should do that ends after more than ten seconds and has not done it.
fn forgotten_by_one_who_takes_long(job: impl FnOnce()) {
    job();
    let report = catch_unwind(|| Wait::begin(Reason::new("Godot")).notified(None));
    let report = *report.map(drop).expect_err("a deadlock").downcast::<String>().expect("a message");
    assert!(report.contains("waits for Godot"), "{report}");
}

// Main had looked ten times by then and never looked again, and a hub of a pool on which nobody waits does not look.
#[test]
fn a_main_that_a_job_forgets_after_a_long_time_is_told() {
    let ended = alone_in_child("deadlock::a_main_that_a_job_forgets_after_a_long_time_is_told", || {
        let pool = HubPool::new(2).unwrap();
        forgotten_by_one_who_takes_long(|| drop(pool.spawn(|| sleep(Duration::from_millis(12_500)))));
    });
    ended.check();
}

#[test]
fn a_main_that_a_thread_forgets_after_a_long_time_is_told() {
    let ended = alone_in_child("deadlock::a_main_that_a_thread_forgets_after_a_long_time_is_told", || {
        forgotten_by_one_who_takes_long(|| drop(thread::spawn(|| sleep(Duration::from_millis(12_500)))));
    });
    ended.check();
}

#[test]
fn pools_that_come_and_go_are_no_false_alarm() {
    let ended = alone_in_child("deadlock::pools_that_come_and_go_are_no_false_alarm", || {
        let start = std::time::Instant::now();
        let others = spawn(move || {
            while start.elapsed() < Duration::from_millis(2500) {
                let pool = HubPool::new(2).unwrap();
                let job = pool.spawn(|| HubPool::current().unwrap().spawn(yield_now).join().unwrap());
                job.join().unwrap();
                assert!(pool.shutdown(Duration::from_secs(60)).is_empty());
            }
        });
        others.join().unwrap();
    });
    ended.check();
    assert_eq!(ended.stderr, "");
}

/// How long a job takes that ends after the last look.
const LONG: Duration = Duration::from_millis(10_800);

#[test]
fn jobs_that_end_after_the_last_look_are_no_hope_any_more() {
    let name = "deadlock::jobs_that_end_after_the_last_look_are_no_hope_any_more";
    let ended = alone_in_child(name, || {
        // Nobody waits for it, and its thread sleeps afterwards.
        let pool = ThreadPool::builder().size(1).idle_timeout(Duration::MAX).build();
        drop(pool.spawn(|| thread::sleep(LONG)));
        assert!(wait_in_vain("Godot").expect("a report").contains("waits for Godot"));
        // Its thread ends with it.
        let passing = ThreadPool::new(1);
        drop(passing.spawn(|| thread::sleep(LONG)));
        drop(passing);
        assert!(wait_in_vain("Lucky").expect("a report").contains("waits for Lucky"));
        assert_eq!(pool.metrics().idle, 1);
    });
    ended.check();
    assert_eq!(ended.count("only a thread that is not a hub"), 0, "{}", ended.stderr);
}

#[test]
fn hubs_that_end_or_fall_asleep_after_the_last_look_are_no_hope_any_more() {
    let name = "deadlock::hubs_that_end_or_fall_asleep_after_the_last_look_are_no_hope_any_more";
    let ended = alone_in_child(name, || {
        drop(thread::spawn(|| sleep(LONG)));
        assert!(wait_in_vain("Godot").expect("a report").contains("waits for Godot"));
        // Nobody waits on that hub then, so it does not look itself.
        let hubs = HubPool::new(1).unwrap();
        drop(hubs.spawn(|| sleep(LONG)));
        assert!(wait_in_vain("Lucky").expect("a report").contains("waits for Lucky"));
    });
    ended.check();
    assert_eq!(ended.count("only a thread that is not a hub"), 0, "{}", ended.stderr);
}
