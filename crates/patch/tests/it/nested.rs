//! Calls that are made between the beginning of a wait and its sleep: did they wait as greenlets do, that would be another wait, and end the first.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use greenlet_hub::patching::may_wait;
use greenlet_hub::{Outcome, Reason, Wait, WaitList, Waitable, Waiter, sleep, spawn, yield_now};

use crate::support::{MS, patched, wait_until_it_sleeps};

/// What keeps its waiters under a mutex of std's, as a user may have written it.
#[derive(Default)]
struct Told {
    state: Mutex<(bool, Vec<Waiter>)>,
}

impl Told {
    fn tell(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        let waiters = std::mem::take(&mut state.1);
        drop(state);
        for waiter in waiters {
            waiter.notify();
        }
    }
}

impl Waitable for Told {
    fn is_ready(&self) -> bool {
        self.state.lock().unwrap().0
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.state.lock().unwrap().1.push(waiter.clone());
    }
}

/// Has a thread hold the mutex until the calling one sleeps for it.
fn hold_until_wanted<T: Send + 'static>(
    mutex: Arc<impl AsRef<Mutex<T>> + Send + Sync + 'static>,
) -> thread::JoinHandle<()> {
    // SAFETY: a call without arguments.
    let own = unsafe { libc::gettid() };
    let (sender, receiver) = mpsc::channel();
    let holder = thread::spawn(move || {
        let held = (*mutex).as_ref().lock().unwrap();
        sender.send(()).unwrap();
        wait_until_it_sleeps(own);
        drop(held);
    });
    receiver.recv().unwrap();
    holder
}

impl AsRef<Mutex<(bool, Vec<Waiter>)>> for Told {
    fn as_ref(&self) -> &Mutex<(bool, Vec<Waiter>)> {
        &self.state
    }
}

#[test]
fn a_taken_lock_does_not_end_the_wait_that_was_begun_before() {
    patched(|| {
        let told = Arc::new(Told::default());
        let waiting = spawn({
            let told = Arc::clone(&told);
            move || {
                let wait = Wait::begin(Reason::new("to be told"));
                let holder = hold_until_wanted(Arc::clone(&told));
                told.subscribe(&wait.waiter());
                let outcome = wait.until(None);
                assert!(may_wait());
                holder.join().unwrap();
                outcome
            }
        });
        yield_now();
        told.tell();
        assert_eq!(waiting.join().unwrap(), Outcome::Notified);
    });
}

#[test]
fn a_wait_that_was_ended_early_is_still_the_last() {
    patched(|| {
        spawn(|| {
            let wait = Wait::begin(Reason::new("what has come"));
            assert!(wait.waiter().notify());
            assert!(!may_wait());
            thread::sleep(MS);
            assert_eq!(wait.until(None), Outcome::Notified);
            assert!(may_wait());
        })
        .join()
        .unwrap();
    });
}

#[test]
fn who_takes_a_wait_back_may_wait_again() {
    patched(|| {
        drop(Wait::begin(Reason::new("nothing")));
        assert!(may_wait());
        assert_eq!(Wait::begin(Reason::new("time")).until(Some(std::time::Instant::now())), Outcome::TimedOut);
        assert!(may_wait());
        let list = WaitList::new();
        assert!(list.wait(Reason::new("what is there"), None, || true));
        assert!(may_wait());
        let killed = spawn(|| {
            let caught = std::panic::catch_unwind(|| sleep(Duration::from_secs(60)));
            assert!(may_wait());
            drop(caught);
        });
        yield_now();
        killed.kill().unwrap();
    });
}
