//! The cases: what is run, with which parameters, and what is counted.

use std::io;
use std::time::Duration;

use crate::columns::Column;
use crate::process::Server;

mod churn;
mod echo;
mod idle;
mod spawns;
mod timers;
mod waiting;
mod yields;

/// The cases in the order in which they are run.
pub(crate) const ALL: &[Case] =
    &[yields::CASE, spawns::CASE, waiting::CASE, idle::CASE, timers::CASE, echo::CASE, churn::CASE];

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
    /// Tells whether a column takes part.
    pub(crate) has: fn(&Column) -> bool,
    pub(crate) run: Run,
}

/// How a case is run.
pub(crate) enum Run {
    /// All of it in a child, which prints a figure a line; given the parameter and the seconds.
    Child(fn(&Column, &str, f64) -> io::Result<()>),
    /// Against a server in a child, by this process.
    Load(fn(&mut Server, &str, f64) -> io::Result<Vec<f64>>),
}

impl Case {
    /// Finds a case by its name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|case| case.name == name)
    }
}

/// Reads a parameter that is a number.
fn number(param: &str) -> io::Result<usize> {
    match param.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(io::Error::other(format!("{param:?} is no number of tasks"))),
    }
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
