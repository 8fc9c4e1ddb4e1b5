//! Where operations wait until all of them are there: the count of those that overlap.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::at_once::{CONCURRENT, WAIT};

/// Nobody waits longer for the others: if they are not there by then they come one after the other.
const LIMIT: Duration = Duration::from_secs(30);

/// The gate of a server of ours.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    all_are_here: Condvar,
}

#[derive(Debug, Default)]
struct State {
    here: usize,
    /// The most that were there at once.
    peak: usize,
    /// Somebody has waited for too long: nobody needs to wait any more.
    given_up: bool,
}

impl Gate {
    pub(crate) fn new() -> Arc<Gate> {
        Arc::default()
    }

    /// Returns [`WAIT`] after all operations have come.
    pub(crate) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.here += 1;
        state.peak = state.peak.max(state.here);
        self.all_are_here.notify_all();
        let waits = |state: &mut State| state.peak < CONCURRENT && !state.given_up;
        let (mut state, waited) = self.all_are_here.wait_timeout_while(state, LIMIT, waits).unwrap();
        state.given_up |= waited.timed_out();
        drop(state);
        thread::sleep(WAIT);
        self.state.lock().unwrap().here -= 1;
    }

    /// So many operations overlapped.
    pub(crate) fn peak(&self) -> usize {
        self.state.lock().unwrap().peak
    }
}

/// The gate of a server of others. On an OS thread of its own it asks the server how many operations `wait` there until
/// all do, or until it is clear that they never will; lets them go on after [`WAIT`]; and returns the most that it saw.
pub(crate) fn watch<C>(
    connect: impl FnOnce() -> C,
    mut wait: impl FnMut(&mut C) -> usize + Send + 'static,
    let_go: impl FnOnce(&mut C) + Send + 'static,
) -> JoinHandle<usize>
where
    C: Send + 'static,
{
    let mut server = connect();
    thread::spawn(move || {
        let (start, mut peak) = (Instant::now(), 0);
        while peak < CONCURRENT && start.elapsed() < LIMIT {
            peak = peak.max(wait(&mut server));
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(WAIT);
        let_go(&mut server);
        peak
    })
}
