//! What a greenlet tells of itself, from its spawn to its end.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenlet_hub::{
    Builder, Greenlet, Handle, JoinError, JoinHandle, Reason, WaitList, current, joinall, spawn, spawn_later, yield_now,
};

use crate::support::HANG;

#[test]
fn a_greenlet_is_started_by_its_first_run_and_finished_by_its_return() {
    let greenlet = spawn(yield_now);
    let state = || (greenlet.is_started(), greenlet.is_finished(), greenlet.is_successful());
    assert_eq!(state(), (false, false, false));
    yield_now();
    assert_eq!(state(), (true, false, false));
    yield_now();
    assert_eq!(state(), (true, true, true));
}

#[test]
fn a_greenlet_that_panicked_is_finished_but_not_successful() {
    let greenlet = spawn(|| std::panic::resume_unwind(Box::new(7)));
    let greenlet: JoinHandle<()> = greenlet;
    yield_now();
    assert!(greenlet.is_finished() && !greenlet.is_successful());
    let Err(JoinError::Panicked(payload)) = greenlet.join() else { panic!("it panicked") };
    assert_eq!(payload.downcast_ref(), Some(&7));
}

#[test]
fn the_main_greenlet_is_started_and_has_its_threads_name() {
    let named = thread::Builder::new().name("a thread".into());
    let joined = named.spawn(|| {
        let main = current();
        assert_eq!(main.name(), Some("a thread"));
        (main.is_started(), main.is_finished())
    });
    assert_eq!(joined.unwrap().join().unwrap(), (true, false));
}

#[test]
fn names_are_what_the_builder_was_told() {
    let inside = || current().name().map(str::to_owned);
    assert_eq!(spawn(inside).join().unwrap(), None);
    let named = Builder::new().name("worker").spawn(inside);
    assert_eq!(named.name(), Some("worker"));
    assert!(format!("{named:?}").contains("worker"));
    assert_eq!(named.join().unwrap().as_deref(), Some("worker"));
    assert_eq!(Builder::new().name(String::new()).spawn(inside).join().unwrap().as_deref(), Some(""));
}

#[test]
fn a_greenlet_knows_where_it_was_spawned_however_that_was_done() {
    #[track_caller]
    fn helper() -> JoinHandle<()> {
        spawn(|| ())
    }
    let line = Location::caller().line();
    let greenlets = [
        spawn(|| ()),
        spawn_later(Duration::ZERO, || ()),
        Builder::new().spawn(|| ()),
        Builder::new().spawn_later(Duration::ZERO, || ()),
        helper(),
    ];
    for (greenlet, expected) in greenlets.iter().zip(line + 2..) {
        let place = greenlet.spawned_at();
        assert_eq!((place.file(), place.line()), (Location::caller().file(), expected));
    }
    joinall(greenlets);
}

#[test]
fn ids_are_never_shared_not_even_by_greenlets_of_other_threads() {
    let ids = || {
        let ids = (0..3000).map(|_| spawn(|| ()).id()).chain([current().id()]);
        ids.collect::<Vec<u64>>()
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(ids)).collect();
    let all: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn current_is_who_runs() {
    let main = current();
    let greenlet = spawn(|| {
        let before = current();
        yield_now();
        assert_eq!(before, current());
        before
    });
    yield_now();
    assert_eq!(current(), main);
    assert_eq!(current().id(), main.id());
    assert_ne!(*greenlet, main);
    let handle = greenlet.greenlet().clone();
    assert_eq!(greenlet.join().unwrap(), handle);
}

#[test]
fn handles_go_to_other_threads_and_greenlets_do_not() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Greenlet>();
    is_send_and_sync::<Handle>();
    is_send_and_sync::<WaitList>();
    is_send_and_sync::<JoinHandle<Vec<u8>>>();
    is_send_and_sync::<greenlet_hub::Waiter>();
    is_send_and_sync::<greenlet_hub::Io<std::net::TcpStream>>();
}

#[test]
fn a_detached_greenlet_goes_on() {
    let ran = Rc::new(Cell::new(false));
    drop(spawn({
        let ran = Rc::clone(&ran);
        move || {
            yield_now();
            ran.set(true);
        }
    }));
    yield_now();
    assert!(!ran.get());
    yield_now();
    assert!(ran.get());
    assert_eq!(Rc::strong_count(&ran), 1);
}

#[test]
fn joiners_elsewhere_are_told_when_the_hub_ends_before_the_greenlet() {
    let (send, receive) = mpsc::channel();
    let (go_on, may_end) = mpsc::channel::<()>();
    let owner = thread::spawn(move || {
        let waits = spawn(|| WaitList::new().wait(Reason::new("nothing"), None, || false));
        let sleeps = spawn(|| {
            greenlet_hub::sleep(Duration::MAX);
            true
        });
        yield_now();
        let never_ran = spawn(|| true);
        let later = spawn_later(Duration::MAX, || true);
        for handle in [waits, sleeps, never_ran, later] {
            send.send(handle).unwrap();
        }
        may_end.recv().unwrap();
    });
    let handles: Vec<JoinHandle<bool>> = receive.iter().take(4).collect();
    // One has waited since before the end, the others ask afterwards.
    let greenlet = handles[0].greenlet().clone();
    let (waits, is_waiting) = mpsc::channel();
    let early = thread::spawn(move || {
        assert!(!greenlet.wait_timeout(Duration::from_millis(1)));
        waits.send(()).unwrap();
        greenlet.wait();
        (greenlet.is_finished(), greenlet.is_successful())
    });
    is_waiting.recv().unwrap();
    go_on.send(()).unwrap();
    assert_eq!(early.join().unwrap(), (true, false));
    owner.join().unwrap();
    for handle in handles {
        let joined = handle.join_timeout(HANG).expect("told at once");
        assert!(matches!(joined, Err(JoinError::HubEnded)), "{joined:?}");
    }
}

#[test]
fn the_end_of_a_thread_is_the_end_of_its_main_greenlet() {
    let (send, receive) = mpsc::channel();
    let (go_on, may_end) = mpsc::channel::<()>();
    let owner = thread::spawn(move || {
        send.send(current()).unwrap();
        may_end.recv().unwrap();
    });
    let main: Greenlet = receive.recv().unwrap();
    assert!(!main.wait_timeout(Duration::from_millis(1)));
    let waiter = spawn({
        let main = main.clone();
        move || main.wait_timeout(HANG)
    });
    yield_now();
    go_on.send(()).unwrap();
    assert!(waiter.join().unwrap(), "nobody told that it ended");
    owner.join().unwrap();
    assert!(main.is_finished());
}

#[test]
fn handles_of_a_hub_that_ended_can_be_dropped_anywhere() {
    let dropped = Arc::new(AtomicBool::new(false));
    let handles = thread::spawn({
        let dropped = Arc::clone(&dropped);
        move || {
            let flag = DropFlag(dropped);
            let never_ran = spawn(move || drop(flag));
            let waits = spawn(|| greenlet_hub::sleep(Duration::MAX));
            let ended = spawn(|| ());
            ended.wait();
            [never_ran, waits, ended]
        }
    });
    let [never_ran, waits, ended] = handles.join().unwrap();
    // `ended.wait()` let the others run as well; both have begun.
    assert!(never_ran.is_finished() && waits.is_started());
    drop((never_ran, waits, ended));
    assert!(dropped.load(Ordering::Relaxed));
}

struct DropFlag(Arc<AtomicBool>);

impl Drop for DropFlag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_closure_that_never_ran_is_leaked_with_its_hub() {
    let dropped = Arc::new(AtomicBool::new(false));
    let handle = thread::spawn({
        let dropped = Arc::clone(&dropped);
        move || {
            let flag = DropFlag(dropped);
            spawn(move || drop(flag))
        }
    });
    let handle = handle.join().unwrap();
    assert!(!handle.is_started() && handle.is_finished());
    assert!(matches!(handle.join(), Err(JoinError::HubEnded)));
    // It belongs to a thread that is gone: there is nowhere to drop it.
    assert!(!dropped.load(Ordering::Relaxed));
}

#[test]
fn errors_say_what_happened() {
    let panicked = spawn(|| std::panic::resume_unwind(Box::new("a word"))).join();
    let err: JoinError = panicked.map(|(): ()| ()).unwrap_err();
    assert_eq!(err.to_string(), "the greenlet panicked: a word");
    let other = spawn(|| std::panic::resume_unwind(Box::new(1))).join();
    assert_eq!(other.map(|(): ()| ()).unwrap_err().to_string(), "the greenlet panicked");
    assert_eq!(JoinError::Killed.to_string(), "the greenlet was killed");
    assert_eq!(JoinError::HubEnded.to_string(), "the thread of the greenlet's hub has ended");
}

#[test]
#[cfg(target_os = "linux")]
fn greenlets_that_waited_leave_no_memory_behind() {
    let name = "lifecycle::greenlets_that_waited_leave_no_memory_behind";
    let ended = crate::child::in_child(name, || {
        let list = Rc::new(WaitList::new());
        let round = || {
            let live = |number: usize| {
                let list = Rc::clone(&list);
                spawn(move || {
                    let past = std::time::Instant::now();
                    let waits = || {
                        list.wait(Reason::new("nothing"), number.is_multiple_of(2).then_some(past), || number % 2 == 1)
                    };
                    (waits(), [0_u64; 32])
                })
            };
            let greenlets: Vec<_> = (0..1000).map(live).collect();
            let handles: Vec<Greenlet> = greenlets.iter().map(|greenlet| greenlet.greenlet().clone()).collect();
            joinall(greenlets);
            handles.iter().for_each(Greenlet::wait);
        };
        (0..20).for_each(|_| round());
        let before = crate::support::status("VmRSS");
        (0..100).for_each(|_| round());
        // A hundred thousand control blocks would be 40 MB.
        let after = crate::support::status("VmRSS");
        assert!(after < before + 4096, "{before} kB, then {after} kB");
    });
    ended.check();
}
