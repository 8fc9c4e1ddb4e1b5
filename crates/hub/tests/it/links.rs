//! Links: what runs when a greenlet has ended, where, and in which order.

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use greenlet_hub::{Greenlet, JoinError, LinkId, current, joinall, sleep, spawn, spawn_later, yield_now};

use crate::child::in_child;
use crate::support::{Bound, HANG, Trace};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

fn noting(trace: &Trace, what: &'static str) -> impl FnOnce(&Greenlet) + 'static {
    let trace = trace.clone();
    move |_| trace.note(what)
}

#[test]
fn links_run_in_the_order_in_which_they_were_made_before_a_join_returns() {
    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || trace.note("ends")
    });
    for what in ["a", "b", "c"] {
        greenlet.link(noting(&trace, what));
    }
    assert_eq!(trace.take(), "");
    greenlet.join().unwrap();
    trace.note("joined");
    assert_eq!(trace.take(), "ends a b c joined");
}

#[test]
fn a_link_to_what_has_ended_starts_at_once_and_never_switches() {
    let trace = Trace::default();
    let greenlet = spawn(|| ());
    yield_now();
    greenlet.link(noting(&trace, "late"));
    assert_eq!(trace.take(), "");
    yield_now();
    assert_eq!(trace.take(), "late");
    // Before those that have waited for a look only.
    greenlet.link(noting(&trace, "later"));
    greenlet.wait();
    yield_now();
    assert_eq!(trace.take(), "later");
}

#[test]
fn a_link_runs_in_a_greenlet_of_its_own_where_it_may_wait_and_panic() {
    let name = "links::a_link_runs_in_a_greenlet_of_its_own_where_it_may_wait_and_panic";
    let ended = in_child(name, || {
        let trace = Trace::default();
        let greenlet = spawn(|| ());
        let main = current();
        greenlet.link({
            let (trace, id) = (trace.clone(), greenlet.id());
            move |linked| {
                assert!(linked.id() == id && linked.is_finished());
                assert!(current() != *linked && current() != main);
                sleep(2 * MS);
                trace.note("slept");
            }
        });
        greenlet.link(|_| panic!("one fails"));
        greenlet.link(noting(&trace, "next"));
        greenlet.join().unwrap();
        sleep(20 * MS);
        assert_eq!(trace.take(), "next slept");
    });
    ended.check();
    // Reported with the place where the link was made.
    assert!(ended.stderr.contains("tests/it/links.rs:"), "{}", ended.stderr);
    assert_eq!(ended.count("one fails"), 1, "{}", ended.stderr);
}

#[test]
fn a_link_of_value_or_panic_is_called_for_its_end_only() {
    let trace = Trace::default();
    let ends: [fn(); 3] = [|| (), || resume_unwind(Box::new(())), || current().kill().unwrap()];
    for end in ends {
        let greenlet = spawn(end);
        greenlet.link_value(noting(&trace, "value"));
        greenlet.link_panic(noting(&trace, "panic"));
        greenlet.link(noting(&trace, "end"));
        let _ = greenlet.join();
        trace.note(";");
    }
    assert_eq!(trace.take(), "value end ; panic end ; end ;");
}

#[test]
fn a_link_that_is_taken_back_never_runs_and_drops_its_function() {
    let trace = Trace::default();
    let held = Rc::new(());
    let (greenlet, other) = (spawn(|| ()), spawn(|| ()));
    let link = greenlet.link({
        let (trace, held) = (trace.clone(), Rc::clone(&held));
        move |_| {
            drop(held);
            trace.note("never");
        }
    });
    greenlet.link(noting(&trace, "other"));
    assert!(!other.unlink(link), "it is not that one's");
    assert_eq!(Rc::strong_count(&held), 2);
    assert!(greenlet.unlink(link));
    assert_eq!(Rc::strong_count(&held), 1);
    assert!(!greenlet.unlink(link));
    greenlet.join().unwrap();
    assert_eq!(trace.take(), "other");
    assert!(!other.unlink(link));
    other.join().unwrap();
}

#[test]
fn a_link_takes_back_the_next_and_links_anew() {
    let trace = Trace::default();
    let greenlet = spawn(|| ());
    let next: Rc<Cell<Option<LinkId>>> = Rc::default();
    greenlet.link({
        let (trace, next) = (trace.clone(), Rc::clone(&next));
        move |greenlet| {
            // That one stands in the queue by now.
            trace.note(greenlet.unlink(next.get().unwrap()));
            let again = trace.clone();
            greenlet.link(move |_| again.note("again"));
        }
    });
    next.set(Some(greenlet.link(noting(&trace, "next"))));
    greenlet.join().unwrap();
    yield_now();
    assert_eq!(trace.take(), "false next again");
}

#[test]
fn links_fire_when_one_is_killed_before_it_starts() {
    let trace = Trace::default();
    for greenlet in [spawn(|| ()), spawn_later(LONG, || ())] {
        greenlet.link(noting(&trace, "link"));
        greenlet.kill().unwrap();
        assert_eq!(trace.take(), "link");
    }
}

#[test]
fn a_link_that_is_killed_before_it_runs_is_dropped() {
    // Links are greenlets like others: shutdown finds them.
    thread::spawn(|| {
        let trace = Trace::default();
        let greenlet = spawn(|| ());
        greenlet.link({
            let trace = trace.clone();
            move |_| {
                trace.note("begun");
                sleep(LONG);
            }
        });
        greenlet.join().unwrap();
        assert!(greenlet_hub::shutdown(Duration::ZERO).is_empty());
        assert_eq!(trace.take(), "begun");
    })
    .join()
    .unwrap();
}

#[test]
fn links_run_and_are_dropped_on_the_hub_that_made_them() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (send, receive) = mpsc::channel::<Greenlet>();
    let (go, started) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        let greenlets: Vec<_> = (0..100).map(|_| spawn(yield_now)).collect();
        for greenlet in &greenlets {
            send.send(greenlet.greenlet().clone()).unwrap();
        }
        drop(send);
        started.recv().unwrap();
        joinall(greenlets);
    });
    let home = thread::current().id();
    let ran = Rc::new(Cell::new(0));
    let linked: Vec<Greenlet> = receive.iter().collect();
    let mut taken_back = 0;
    for (index, greenlet) in linked.iter().enumerate() {
        let (bound, ran) = (Bound::new(&drops), Rc::clone(&ran));
        let link = greenlet.link(move |_| {
            assert_eq!(thread::current().id(), home);
            let _bound = bound;
            ran.set(ran.get() + 1);
        });
        if index == 50 {
            go.send(()).unwrap();
        }
        if index % 10 == 3 && greenlet.unlink(link) {
            taken_back += 1;
        }
    }
    for greenlet in &linked {
        greenlet.wait();
    }
    // All have begun when the wait returns, and those that do not wait have ended.
    yield_now();
    assert_eq!(ran.get() + taken_back, 100);
    assert_eq!(drops.load(Ordering::Relaxed), 100);
    other.join().unwrap();
}

#[test]
fn a_join_with_a_time_sees_the_links_of_another_hub_s_greenlet() {
    // It looked at the end only, if that had come.
    for _ in 0..200 {
        let (send, receive) = mpsc::channel::<Greenlet>();
        let (linked, wait) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let greenlet = spawn(|| ());
            send.send(greenlet.greenlet().clone()).unwrap();
            wait.recv().unwrap();
            greenlet.join().unwrap();
        });
        let greenlet = receive.recv().unwrap();
        let ran = Rc::new(Cell::new(false));
        greenlet.link({
            let ran = Rc::clone(&ran);
            move |_| ran.set(true)
        });
        linked.send(()).unwrap();
        while !greenlet.is_finished() {
            thread::yield_now();
        }
        assert!(greenlet.wait_timeout(HANG) && ran.get());
        other.join().unwrap();
    }
}

#[test]
fn links_race_with_the_end_on_another_thread_and_run_once() {
    let (send, receive) = mpsc::channel::<Greenlet>();
    let other = thread::spawn(move || {
        for _ in 0..3000 {
            let greenlet = spawn(|| ());
            send.send(greenlet.greenlet().clone()).unwrap();
            yield_now();
        }
    });
    let ran = Rc::new(RefCell::new(Vec::new()));
    let mut count = 0;
    for greenlet in receive {
        for part in 0..2 {
            let (ran, number) = (Rc::clone(&ran), 2 * count + part);
            greenlet.link(move |_| ran.borrow_mut().push(number));
        }
        greenlet.wait();
        count += 1;
        yield_now();
        assert_eq!(ran.borrow().len(), 2 * count);
    }
    other.join().unwrap();
    assert_eq!(*ran.borrow(), (0..2 * count).collect::<Vec<_>>());
}

#[test]
fn a_hub_that_ends_fires_the_links_of_others_and_never_drops_its_own_elsewhere() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (send, receive) = mpsc::channel::<Greenlet>();
    let (linked, wait) = mpsc::channel::<()>();
    let here = spawn(|| sleep(LONG));
    yield_now();
    let other = thread::spawn({
        let (drops, here) = (Arc::clone(&drops), here.greenlet().clone());
        move || {
            let waiting = spawn(|| sleep(LONG));
            yield_now();
            // A link from a hub that ends to a greenlet that goes on.
            let bound = Bound::new(&drops);
            here.link(move |_| drop(bound));
            send.send(waiting.greenlet().clone()).unwrap();
            wait.recv().unwrap();
        }
    });
    let waiting = receive.recv().unwrap();
    let ran = Rc::new(Cell::new(false));
    waiting.link({
        let ran = Rc::clone(&ran);
        move |greenlet| ran.set(!greenlet.is_successful())
    });
    linked.send(()).unwrap();
    other.join().unwrap();
    waiting.wait();
    assert!(ran.get());
    // Leaked with its hub; `Bound` would abort if it were dropped here.
    here.kill().unwrap();
    assert!(matches!(here.join(), Err(JoinError::Killed)));
    assert_eq!(drops.load(Ordering::Relaxed), 0);
}

#[test]
fn a_main_greenlet_s_end_is_linked_to_as_well() {
    let ran = Rc::new(Cell::new(false));
    let other = thread::spawn(current).join().unwrap();
    other.link({
        let ran = Rc::clone(&ran);
        move |_| ran.set(true)
    });
    other.wait();
    yield_now();
    assert!(ran.get());
}

#[test]
fn a_link_that_links_itself_lets_the_others_run() {
    fn again(rounds: Rc<Cell<u32>>, stop: Rc<Cell<bool>>) {
        if !stop.get() {
            rounds.set(rounds.get() + 1);
            current().link(move |_| again(rounds, stop));
        }
    }
    let (rounds, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    spawn(|| ()).link({
        let (rounds, stop) = (Rc::clone(&rounds), Rc::clone(&stop));
        move |_| again(rounds, stop)
    });
    // It used to come ahead of everything that was ready, and of timers, for ever.
    sleep(MS);
    yield_now();
    stop.set(true);
    yield_now();
    assert!(rounds.get() > 0);
}
