//! Giving up in time: for one call, for a whole piece of code, one within another; and what is cleaned up then.
//!
//!     cargo run --release --example timeouts
//!
//! Each line says what was tried, and what came of it.

use std::{cell::RefCell, fmt::Debug, time::Duration};

use greenlet::sync::{Event, Queue, Semaphore, TryGetError};
use greenlet::{Elapsed, shield, sleep, timeout};

mod common;

const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(60);

fn main() {
    common::no_arguments(include_str!("timeouts.rs"));
    // Every call that waits has a form that gives up. It says so in its own way, and has taken nothing then.
    show("an item, for so long", Queue::<u32>::unbounded().get_timeout(SHORT), Err(TryGetError::Empty));
    show("an event, for so long", Event::new().wait_timeout(SHORT), false);
    show("a permit, for so long", Semaphore::new(0).acquire_timeout(SHORT).is_some(), false);

    // `timeout` ends any code, out of whatever it waits for.
    show("quick enough", timeout(LONG, || 6 * 7), Ok(42));
    show("not quick enough", timeout(SHORT, || sleep(LONG)), Err(Elapsed));

    // They nest, and each catches its own only.
    show("the outer one is shorter", timeout(SHORT, || timeout(LONG, || sleep(LONG))), Err(Elapsed));
    show("the inner one is shorter", timeout(LONG, || timeout(SHORT, || sleep(LONG))), Ok(Err(Elapsed)));
    let queue = Queue::<u32>::unbounded();
    show("shorter than a call's own", timeout(SHORT, || queue.get_timeout(LONG)), Err(Elapsed));

    // It is an unwind: what was made in there is dropped, the last first, and a `drop` may wait as well.
    let log = RefCell::new(Vec::new());
    let cleaned = timeout(SHORT, || {
        let (_first, _second) = (Cleanup("the first", &log), Cleanup("the second", &log));
        shield(|| sleep(2 * SHORT)); // cannot be interrupted
        log.borrow_mut().push("shielded");
        sleep(LONG);
    });
    show("with cleanup", (cleaned, log.take()), (Err(Elapsed), vec!["shielded", "the second", "the first"]));
}

struct Cleanup<'a>(&'static str, &'a RefCell<Vec<&'static str>>);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        sleep(Duration::from_millis(1)); // says goodbye to somebody, and waits for the answer
        self.1.borrow_mut().push(self.0);
    }
}

fn show<T: PartialEq + Debug>(what: &str, came: T, promised: T) {
    println!("{what:<28}{came:?}");
    common::check(came == promised, format_args!("{what}: {promised:?}"));
}
