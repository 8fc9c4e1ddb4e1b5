//! What a runtime must bring to be a column of the table.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::gauge::{Alarm, Gauge, Sleepers};
use crate::pings::Pings;
use crate::sys::Calls;

mod corosensei;
mod floor;
mod frames;
mod greenlet;
mod libc;
mod may;
mod patched;
mod raw_epoll;
mod raw_eventfd;
mod rayon;
mod threads;
mod tokio;
mod unwind;

/// The columns in the order in which they are printed.
pub(crate) const ALL: &[Column] = &[
    patched::COLUMN,
    patched::INERT,
    greenlet::COLUMN,
    greenlet::HANDOFF,
    greenlet::NO_SPIN,
    corosensei::COLUMN,
    raw_epoll::COLUMN,
    raw_epoll::SHARED,
    raw_eventfd::COLUMN,
    unwind::COLUMN,
    tokio::COLUMN,
    tokio::MULTI_THREAD,
    may::COLUMN,
    rayon::COLUMN,
    rayon::SCOPE,
    threads::COLUMN,
    threads::STD,
    floor::COLUMN,
    libc::COLUMN,
];

/// The buffer that each connection of a runtime's echo server has, in bytes; on the heap, as a user would write it.
const BUFFER: usize = 16 * 1_024;

/// Yields of each task before the clock starts.
const WARM_UP: usize = 100;

/// One runtime: for each case the function that runs it, or nothing.
///
/// All of them run in a process of their own, pinned to one core.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// The most tasks that it is tried with: known to run out of mappings or threads beyond, after minutes.
    pub(crate) limit: usize,
    /// Runs so many tasks, each yielding so often, and returns the time from the first to the last of those yields.
    /// Where a runtime knows several ways to yield, all of them: the best counts.
    pub(crate) yields: &'static [fn(usize, usize) -> Duration],
    /// Spawns so many tasks and joins them all, so often, and returns the time of all but a first round to warm up.
    pub(crate) spawns: &'static [fn(usize, usize) -> Duration],
    /// Brings so many tasks to their first wait; calls [`Gauge::begin`] when the runtime stands and
    /// [`Gauge::all_wait`], which ends the process, when they wait.
    pub(crate) hold: Option<fn(usize, Gauge)>,
    /// Lets tasks sleep as [`Sleepers`] says, once to warm up and once to be measured.
    pub(crate) sleep: Option<fn(&Sleepers)>,
    /// What is done over and over in a case that is about one operation.
    pub(crate) steps: &'static [&'static [Step]],
    /// Lets a thread on the second core sleep, and wakes it.
    pub(crate) wakes: &'static [Wake],
    /// Wakes so many tasks at once, that wait for one event.
    pub(crate) fan_out: Option<fn(usize) -> FanOut>,
    /// Listens on a free port of 127.0.0.1, tells which, and echoes what every connection sends, for ever.
    pub(crate) serve: Option<Serve>,
    /// The same with two hubs, workers or threads.
    pub(crate) serve_on_two: Option<Serve>,
    /// The same as `serve`, in the case that is about a server that polls for a while before it sleeps.
    pub(crate) serve_spinning: Option<Serve>,
    /// The same as `serve`, in the case that is about a server written with std's sockets.
    pub(crate) serve_patched: Option<Serve>,
    /// Keeps so many connections to a redis-server, each sending the next command when it has its answer, as [`Pings`] says.
    pub(crate) ping: Option<fn(&Pings)>,
    /// The functions whose calls are counted, made ready as a program would.
    pub(crate) calls: Option<fn() -> Calls>,
}

/// One operation that a case is about, for one of its parameters. Of several for the same the best counts.
pub(crate) struct Step {
    case: &'static str,
    param: &'static str,
    /// Does it so often, and returns the time that this took.
    run: fn(usize) -> Duration,
}

impl Step {
    const fn of(case: &'static str, param: &'static str, run: fn(usize) -> Duration) -> Self {
        Self { case, param, run }
    }
}

/// One way to wake a thread that sleeps. Of several for the same parameter the best counts.
pub(crate) struct Wake {
    param: &'static str,
    /// Makes the sleeper, lets [`Alarm::ring`] wake it, and returns what that took each time.
    run: fn(&'static Alarm) -> Vec<Duration>,
}

impl Wake {
    const fn of(param: &'static str, run: fn(&'static Alarm) -> Vec<Duration>) -> Self {
        Self { param, run }
    }
}

/// What it took to wake a crowd.
pub(crate) struct FanOut {
    /// From the call that wakes all until all of them have run; the least of some rounds.
    pub(crate) all: Duration,
    /// The longest time in further rounds from a write to a socket until the task had the bytes that waited for them; nothing
    /// where there is no such thing.
    pub(crate) longest_delay: Duration,
}

/// So many tasks wait to be killed at a time: a clock around each would cost too much.
const KILLED: usize = 32;

/// The room of the queue that items are pumped through from one core to the other.
const PIPE: usize = 1_024;

/// Does it once to warm up, and returns the time of the second round.
fn second(round: impl Fn()) -> Duration {
    round();
    let start = Instant::now();
    round();
    start.elapsed()
}

/// The sum of the numbers that so many jobs have, from 0 on.
fn sum_below(jobs: usize) -> u64 {
    let jobs = jobs as u64;
    jobs * jobs.saturating_sub(1) / 2
}

/// Rounds of a fan-out after the first, which is to warm up.
const FAN_OUTS: usize = 5;

/// A server: given what to tell its address to, it does not return.
pub(crate) type Serve = fn(&dyn Fn(SocketAddr));

impl Column {
    /// A column without any case.
    const EMPTY: Self = Self {
        name: "",
        limit: usize::MAX,
        yields: &[],
        spawns: &[],
        hold: None,
        sleep: None,
        steps: &[],
        wakes: &[],
        fan_out: None,
        serve: None,
        serve_on_two: None,
        serve_spinning: None,
        serve_patched: None,
        ping: None,
        calls: None,
    };

    /// Finds a column by its name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|column| column.name == name)
    }

    /// Finds what it does for this parameter of a case.
    pub(crate) fn steps_of(&self, case: &str, param: &str) -> impl Iterator<Item = fn(usize) -> Duration> {
        self.steps
            .iter()
            .copied()
            .flatten()
            .filter(move |step| step.case == case && step.param == param)
            .map(|step| step.run)
    }

    /// Finds how it wakes for this parameter.
    pub(crate) fn wakes_of(&self, param: &str) -> impl Iterator<Item = fn(&'static Alarm) -> Vec<Duration>> {
        self.wakes.iter().filter(move |wake| wake.param == param).map(|wake| wake.run)
    }

    /// Returns the server that a case is about.
    pub(crate) fn server_of(&self, case: &str) -> Option<Serve> {
        match case {
            "echo_mt" => self.serve_on_two,
            "echo_spin" => self.serve_spinning,
            "patched_echo" => self.serve_patched,
            _ => self.serve,
        }
    }
}

/// The clock of the yield case: the first task starts it after its warm-up, the joiner of all reads it.
///
/// With a FIFO run queue every task has warmed up by then to within one round.
struct Stopwatch(OnceLock<Instant>);

impl Stopwatch {
    const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn start(&self) {
        self.0.get_or_init(Instant::now);
    }

    fn elapsed(&self) -> Duration {
        self.0.get().expect("the first task started the clock").elapsed()
    }
}
