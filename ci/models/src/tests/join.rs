//! Waiting for the end of a greenlet, and links to it: the protocol of the hub's `Block`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};

use super::{kill, model};
use crate::{Greenlet, Reason, Wait};

#[test]
fn all_who_join_see_the_end() {
    model(|| {
        let greenlet = Greenlet::new();
        let runs = greenlet.start(|| ());
        let joining = Greenlet::spawn({
            let greenlet = greenlet.clone();
            move || greenlet.wait()
        });
        greenlet.wait();
        assert!(greenlet.is_finished());
        assert_eq!(joining.join().unwrap(), Some(()));
        runs.join().unwrap();
    });
}

#[test]
fn a_killed_joiner_leaves_the_end_to_the_others() {
    model(|| {
        let greenlet = Greenlet::new();
        let runs = greenlet.start(|| ());
        let killed = Greenlet::new();
        let joining = killed.start({
            let greenlet = greenlet.clone();
            move || greenlet.wait()
        });
        let killer = kill(&killed);
        greenlet.wait();
        joining.join().unwrap();
        killer.join().unwrap();
        runs.join().unwrap();
    });
}

#[test]
fn a_link_runs_once_or_is_taken_back() {
    model(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let greenlet = Greenlet::new();
        let runs = greenlet.start(|| ());
        let removed = loom::thread::spawn({
            let greenlet = greenlet.clone();
            move || greenlet.block().remove_link(1)
        });
        let call = {
            let calls = Arc::clone(&calls);
            move || _ = calls.fetch_add(1, Ordering::AcqRel)
        };
        if !greenlet.block().add_link(1, Box::new(call.clone())) {
            call();
        }
        runs.join().unwrap();
        let removed = removed.join().unwrap();
        let calls = calls.load(Ordering::Acquire);
        assert!(calls == 1 || removed && calls == 0, "{calls} calls, removed: {removed}");
    });
}

#[test]
fn links_have_run_when_a_joiner_returns() {
    model(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let greenlet = Greenlet::new();
        let call = {
            let calls = Arc::clone(&calls);
            move || _ = calls.fetch_add(1, Ordering::AcqRel)
        };
        assert!(greenlet.block().add_link(1, Box::new(call)));
        let runs = greenlet.start(|| ());
        let wait = Wait::begin(Reason::new("a test"));
        if let Some(joiners) = greenlet.block().join_list() {
            joiners.push(wait.waiter());
            // One who sees the end by himself asks his hub whether the links have run.
            if !greenlet.is_finished() {
                wait.notified(None);
                assert_eq!(calls.load(Ordering::Acquire), 1);
            }
        }
        runs.join().unwrap();
        assert_eq!(calls.load(Ordering::Acquire), 1);
    });
}
