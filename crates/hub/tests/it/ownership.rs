//! On which thread closures, results and payloads are dropped: all but `Send` results on their hub's.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use greenlet_hub::{JoinError, JoinHandle, Reason, WaitList, sleep, spawn, yield_now};

use crate::support::Bound;

fn counter() -> Arc<AtomicUsize> {
    Arc::default()
}

fn count(drops: &Arc<AtomicUsize>) -> usize {
    drops.load(Ordering::Relaxed)
}

#[test]
fn closure_and_result_are_dropped_at_home_though_the_last_handle_goes_elsewhere() {
    let drops = counter();
    let (captured, result) = (Bound::new(&drops), Bound::new(&drops));
    let greenlet = spawn(move || {
        let _captured = captured;
        yield_now();
        result
    });
    let handle = greenlet.greenlet().clone();
    drop(greenlet);
    // The last reference that anybody can have is now on another thread, before and after the end.
    let (send, receive) = mpsc::channel();
    let elsewhere = thread::spawn(move || drop(receive.recv().unwrap()));
    handle.wait();
    assert_eq!(count(&drops), 2);
    send.send(handle).unwrap();
    elsewhere.join().unwrap();
    assert_eq!(count(&drops), 2);
}

#[test]
fn a_handle_that_went_elsewhere_before_the_end_changes_nothing() {
    let drops = counter();
    let bound = Bound::new(&drops);
    let greenlet = spawn(move || bound);
    let handle = greenlet.greenlet().clone();
    drop(greenlet);
    thread::spawn(move || drop(handle)).join().unwrap();
    assert_eq!(count(&drops), 0);
    yield_now();
    assert_eq!(count(&drops), 1);
}

#[test]
fn a_result_that_nobody_took_goes_with_the_join_handle() {
    let drops = counter();
    let bound = Bound::new(&drops);
    let greenlet = spawn(move || bound);
    yield_now();
    assert_eq!((greenlet.is_finished(), count(&drops)), (true, 0));
    drop(greenlet);
    assert_eq!(count(&drops), 1);
}

#[test]
fn a_taken_result_is_dropped_once_by_whoever_took_it() {
    let drops = counter();
    let bound = Bound::new(&drops);
    let result = spawn(move || bound).join();
    assert_eq!(count(&drops), 0);
    drop(result);
    assert_eq!(count(&drops), 1);
}

#[test]
fn the_payload_of_a_panic_is_dropped_once() {
    struct Payload(Arc<AtomicUsize>);
    impl Drop for Payload {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = counter();
    let panic_with =
        |payload: Payload| -> JoinHandle<()> { spawn(move || std::panic::resume_unwind(Box::new(payload))) };
    drop(panic_with(Payload(Arc::clone(&drops))));
    yield_now();
    assert_eq!(count(&drops), 1);
    let late = panic_with(Payload(Arc::clone(&drops)));
    yield_now();
    drop(late);
    assert_eq!(count(&drops), 2);
    let Err(JoinError::Panicked(payload)) = panic_with(Payload(Arc::clone(&drops))).join() else {
        panic!("it panicked")
    };
    assert_eq!(count(&drops), 2);
    drop(payload);
    assert_eq!(count(&drops), 3);
}

#[test]
fn a_send_result_is_joined_or_dropped_on_another_thread_before_or_after_the_end() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for round in 0..200 {
        let (drops, rest) = (counter(), Bound::new(&counter()));
        let value = Counted(Arc::clone(&drops));
        let greenlet = spawn(move || {
            // What was captured is dropped here, whatever happens to the result there.
            let _rest = rest;
            if round % 2 == 0 {
                yield_now();
            }
            value
        });
        let end = greenlet.greenlet().clone();
        if round % 4 < 2 {
            yield_now();
        }
        let elsewhere = thread::spawn(move || if round % 3 == 0 { drop(greenlet) } else { drop(greenlet.join()) });
        end.wait();
        elsewhere.join().unwrap();
        yield_now();
        assert_eq!(count(&drops), 1, "round {round}");
    }
}

#[test]
fn a_detached_result_may_wait_while_it_is_dropped() {
    struct Sleeps(Rc<RefCell<Vec<&'static str>>>);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            self.0.borrow_mut().push("drop begins");
            sleep(Duration::from_millis(1));
            self.0.borrow_mut().push("drop ends");
        }
    }
    let trace = Rc::default();
    let value = Sleeps(Rc::clone(&trace));
    let greenlet = spawn(move || value);
    let end = greenlet.greenlet().clone();
    drop(greenlet);
    end.wait();
    assert_eq!(*trace.borrow(), ["drop begins", "drop ends"]);
}

#[test]
fn a_panic_while_a_detached_result_is_dropped_stays_in_its_greenlet() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("in drop"));
        }
    }
    let other = spawn(yield_now);
    drop(spawn(|| Panics));
    let greenlet = spawn(|| 1);
    assert_eq!(greenlet.join().unwrap(), 1);
    other.join().unwrap();
}

#[test]
fn what_a_hub_leaves_behind_is_touched_by_nobody() {
    let drops = counter();
    let handles = thread::spawn({
        let drops = Arc::clone(&drops);
        move || {
            let (waiting, fresh, held) = (Bound::new(&drops), Bound::new(&drops), Bound::new(&drops));
            let waits = spawn(move || {
                let _waiting = waiting;
                WaitList::new().wait(Reason::new("nothing"), None, || false);
            });
            yield_now();
            let never_ran = spawn(move || drop(fresh));
            let nobody_took = spawn(move || drop(held));
            [waits, never_ran, nobody_took]
        }
    });
    for handle in handles.join().unwrap() {
        assert!(matches!(handle.join(), Err(JoinError::HubEnded)));
    }
    // In particular not dropped here, which `Bound` would have told.
    assert_eq!(count(&drops), 0);
}
