//! The models. Most have one form: two greenlets wait for the same, there is something for one of them, and the first is killed or its time
//! comes at that very moment. Whatever the order, the second has it in the end; if he had not, he would wait for ever, and loom would report that.
//!
//! The first gives back what he has got, in a shield, so that the second has not to wait for a grant that never was.

mod channel;
mod condition;
mod event;
mod join;
mod lock;
mod once;
mod queue;
mod select;
mod semaphore;
mod table;
mod task;
mod wait_list;

use std::time::Duration;

use loom::model::Builder;
use loom::thread::JoinHandle;

use crate::Greenlet;

/// The time of those whose time comes when a test says so.
const SOON: Duration = Duration::ZERO;

/// Tries all interleavings with as many preemptions as `LOOM_MAX_PREEMPTIONS` says.
fn model(f: impl Fn() + Send + Sync + 'static) {
    loom::model(f);
}

/// Tries those with so many preemptions, where more take too long, or fewer do not lead where it matters.
fn model_with(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// Kills it, from another thread.
fn kill(greenlet: &Greenlet) -> JoinHandle<()> {
    let greenlet = greenlet.clone();
    loom::thread::spawn(move || greenlet.kill())
}

/// Lets its time come, from another thread.
fn expire(greenlet: &Greenlet) -> JoinHandle<()> {
    let greenlet = greenlet.clone();
    loom::thread::spawn(move || greenlet.expire())
}

/// Waits for the end of greenlets that nobody has killed.
fn join<T>(greenlets: impl IntoIterator<Item = JoinHandle<Option<T>>>) {
    for greenlet in greenlets {
        assert!(greenlet.join().unwrap().is_some(), "nobody has killed it");
    }
}

/// What happens to a greenlet.
type Strike = fn(&Greenlet) -> JoinHandle<()>;

/// Two greenlets wait for the same; `grant` gives what one of them needs, and something happens to the first.
///
/// `first` gives back what he has got. Returns what became of him.
fn two_wait<T: 'static>(
    strike: Strike,
    first: impl FnOnce() -> T + 'static,
    second: impl FnOnce() + 'static,
    grant: impl FnOnce(),
) -> Option<T> {
    let struck = Greenlet::new();
    let first = struck.start(first);
    let second = Greenlet::spawn(second);
    let strike = strike(&struck);
    grant();
    let outcome = first.join().unwrap();
    assert_eq!(second.join().unwrap(), Some(()), "nobody has killed the second");
    strike.join().unwrap();
    outcome
}
