//! `pool_spawn`: tiny jobs on a pool of two.

use std::io;
use std::time::Duration;

use super::{Case, Run, best, number};
use crate::columns::Column;

/// All jobs are spawned, all handles kept, then all joined, in the order in which they were spawned; each job returns its number,
/// and their sum is checked. One round of the same goes before the one that is timed, so that memory is there. `inside`: a job that itself
/// runs on the pool spawns and joins, the other worker helps. `outside`: the main thread does, three threads share the two cores.
///
/// What the columns hand over is the same: a closure or future that holds one number, and a number back. rayon's `spawn` has no handle:
/// each job leaves its number in a place of its own and counts itself off; with a `scope` (`rayon-scope`) that counts. Its jobs never wait and
/// run in no promised order: on the worker that spawned them last come, first served. may makes a stack at each spawn and
/// hangs where more are alive than the kernel allows mappings; so there is a smaller number of jobs too.
pub(super) const CASE: Case = Case {
    name: "pool_spawn",
    about: "one tiny job on a pool of two, all spawned, then joined; WHERE:JOBS, spawned inside of the pool or outside, by main",
    params: &["inside:1000000", "outside:1000000", "inside:20000", "outside:20000"],
    quick: &["inside:2000", "outside:2000"],
    units: &["ns"],
    seconds: 0.0,
    has: |column, param| split(param).is_ok_and(|(place, _)| column.steps_of("pool_spawn", place).next().is_some()),
    run: Run::Both(run),
};

/// Fewer jobs are over so soon that their time is measured over several rounds.
const ENOUGH: usize = 1_000_000;

fn split(param: &str) -> io::Result<(&str, usize)> {
    match param.split_once(':') {
        Some((place, jobs)) => Ok((place, number(jobs)?)),
        None => Err(io::Error::other(format!("{param:?} is not WHERE:JOBS"))),
    }
}

fn run(column: &Column, param: &str, _seconds: f64) -> io::Result<()> {
    let (place, jobs) = split(param)?;
    if place == "inside" && jobs > column.limit {
        // Spawned from outside, most of them have ended while the others are spawned.
        return Err(io::Error::other(format!("not tried: fails beyond some {} tasks", column.limit)));
    }
    let rounds = (ENOUGH / jobs).clamp(1, 10);
    let times = column.steps_of("pool_spawn", place).map(|step| {
        let total: Duration = (0..rounds).map(|_| step(jobs)).sum();
        total.as_nanos() as f64 / (rounds * jobs) as f64
    });
    println!("{}", best(times));
    Ok(())
}
