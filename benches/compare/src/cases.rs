//! The cases: what is run, with which parameters, and what is counted.

use std::io;
use std::thread;
use std::time::Duration;

use crate::columns::Column;
use crate::process::Server;

mod channel;
mod churn;
mod cross;
mod echo;
mod echo_mt;
mod echo_spin;
mod event_fanout;
mod idle;
mod kill;
mod lock;
mod offload;
mod patched_echo;
mod patched_mutex;
mod pool_spawn;
mod queue;
mod redis;
mod shell;
mod skynet;
mod spawns;
mod timeout;
mod timers;
mod waiting;
mod wake;
mod yields;

/// The cases in the order in which they are run.
pub(crate) const ALL: &[Case] = &[
    yields::CASE,
    spawns::CASE,
    waiting::CASE,
    idle::CASE,
    timers::CASE,
    channel::CASE,
    queue::CASE,
    lock::CASE,
    cross::CASE,
    event_fanout::CASE,
    timeout::CASE,
    kill::CASE,
    echo::CASE,
    churn::CASE,
    skynet::CASE,
    pool_spawn::CASE,
    wake::CASE,
    offload::CASE,
    echo_mt::CASE,
    echo_spin::CASE,
    patched_echo::CASE,
    patched_mutex::CASE,
    redis::CASE,
    shell::CASE,
];

pub(crate) use shell::make_calls;

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What it does, for the head of its table.
    pub(crate) about: &'static str,
    pub(crate) params: &'static [&'static str],
    /// What is run instead in the shortest form.
    pub(crate) quick: &'static [&'static str],
    /// What the figures of a run are, in this order.
    pub(crate) units: &'static [&'static str],
    /// How long a run measures, in seconds, unless the work itself decides it.
    pub(crate) seconds: f64,
    /// Tells whether a column takes part, with this parameter.
    pub(crate) has: fn(&Column, &str) -> bool,
    pub(crate) run: Run,
}

/// How a case is run.
pub(crate) enum Run {
    /// All of it in a child, which prints a figure a line; given the parameter and the seconds.
    Child(fn(&Column, &str, f64) -> io::Result<()>),
    /// As [`Run::Child`], but with a thread on each of both cores: the child begins on the first.
    Pair(fn(&Column, &str, f64) -> io::Result<()>),
    /// As [`Run::Child`], but all of its threads are free to use both cores.
    Both(fn(&Column, &str, f64) -> io::Result<()>),
    /// Against a server in a child, by this process.
    Load(fn(&mut Server, &str, f64) -> io::Result<Vec<f64>>),
    /// As [`Run::Load`], but server and load share both cores.
    LoadBeside(fn(&mut Server, &str, f64) -> io::Result<Vec<f64>>),
    /// As [`Run::Child`], beside a redis-server on the other core: `PARAM@PORT` is what the child is given.
    BesideRedis(fn(&Column, &str, f64) -> io::Result<()>),
    /// As [`Run::Child`], and the child runs itself again under valgrind, to count instructions.
    Counted(fn(&Column, &str, f64) -> io::Result<()>),
}

impl Case {
    /// Finds a case by its name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|case| case.name == name)
    }

    /// Returns the program that it cannot be run without.
    pub(crate) fn needs(&self) -> Option<&'static str> {
        match self.run {
            Run::BesideRedis(_) => Some("redis-server"),
            Run::Counted(_) => Some("valgrind"),
            _ => None,
        }
    }
}

/// Reads a parameter that is a number.
fn number(param: &str) -> io::Result<usize> {
    match param.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(io::Error::other(format!("{param:?} is no number of tasks"))),
    }
}

/// At the end of a parameter: in a process that has a second thread, asleep all the time. Reference counts and locks are cheaper
/// in a process that never had one, and more than one runtime knows that.
const BESIDE_A_THREAD: &str = "+thread";

/// Tells whether a column has a step for this.
fn has_step(column: &Column, case: &str, param: &str) -> bool {
    let param = param.strip_suffix(BESIDE_A_THREAD).unwrap_or(param);
    column.steps_of(case, param).next().is_some()
}

/// Starts the second thread that a parameter asks for, and returns the rest of it.
fn without_a_thread(param: &str) -> &str {
    let Some(alone) = param.strip_suffix(BESIDE_A_THREAD) else {
        return param;
    };
    thread::spawn(|| {
        loop {
            thread::park();
        }
    });
    alone
}

/// Runs a step of a column for about so many seconds, and prints the nanoseconds of one.
fn measure_step(column: &Column, case: &str, param: &str, seconds: f64) -> io::Result<()> {
    let name = without_a_thread(param);
    println!("{}", best(column.steps_of(case, name).map(|run| time_of_one(seconds, run))));
    Ok(())
}

/// Finds how much work fills about so many seconds, and returns the time of one unit of it in nanoseconds.
fn time_of_one(seconds: f64, work: impl Fn(usize) -> Duration) -> f64 {
    let mut units = 1;
    loop {
        let time = work(units).as_secs_f64();
        if time >= seconds / 2.0 {
            return time * 1e9 / units as f64;
        }
        // A first guess from very little work may be far off: no more than a hundredfold at a time.
        let factor = (seconds / time).clamp(2.0, 100.0);
        units = (units as f64 * factor) as usize;
    }
}

/// The least of the times of several ways to do the same.
fn best(times: impl Iterator<Item = f64>) -> f64 {
    times.fold(f64::INFINITY, f64::min)
}
