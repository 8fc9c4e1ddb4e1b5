//! Many operations at once, each in a greenlet of its own, all on this thread.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use greenlet::{joinall, patch_all, spawn};

/// So many operations overlap.
pub(crate) const CONCURRENT: usize = 50;
/// So long each of them waits at its server.
pub(crate) const WAIT: Duration = Duration::from_millis(200);

/// Performs the operation [`CONCURRENT`] times at once under the patch, and returns what each returned, in order.
///
/// # Panics
///
/// If one of them panics, or runs on another OS thread.
pub(crate) fn at_once<T: 'static>(operation: impl Fn(usize) -> T + 'static) -> Vec<T> {
    patch_all();
    let (operation, here) = (Rc::new(operation), os_thread());
    let spawn = |number| {
        let operation = Rc::clone(&operation);
        spawn(move || (os_thread(), operation(number), os_thread()))
    };
    let ends = joinall((0..CONCURRENT).map(spawn)).into_iter();
    let results = ends.map(|end| {
        let (begun_on, result, ended_on) = end.expect("the operation panicked");
        assert_eq!((&begun_on, &ended_on), (&here, &here), "it was made by another OS thread");
        result
    });
    results.collect()
}

/// As the kernel knows it: what std says of the current thread is its own affair.
fn os_thread() -> PathBuf {
    fs::read_link("/proc/thread-self").expect("/proc is mounted")
}
