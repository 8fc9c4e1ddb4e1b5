//! `skynet`: a tree of tasks, each of which has ten children, and leaves that return their numbers.

use std::io;
use std::time::Duration;

use super::{Case, Run, number};
use crate::columns::Column;

/// Each task spawns its ten children, then joins them and returns the sum; the sum of all is checked. So many leaves, and a ninth as many
/// tasks that wait. Spawn and join are all that a task does: a parent keeps handles, no channel. Nobody is told the order: with
/// a queue first come, first served, all of a level are alive at once.
///
/// `first_ns` is the first tree in a fresh process, with all page faults, `ns` the best of three
/// that follow and find the memory there. Of tokio's two
/// ways, tasks of the runtime and of a `LocalSet`, the best counts in `ns`, and `first_ns` is the runtime's.
pub(super) const CASE: Case = Case {
    name: "skynet",
    about: "one leaf of a tree of tasks, ten children each, that sum their children's numbers; so many leaves",
    params: &["1000000", "10000"],
    quick: &["1000"],
    units: &["ns", "first_ns"],
    seconds: 0.0,
    has: |column, _| column.steps_of("skynet", "tree").next().is_some(),
    run: Run::Child(run),
};

/// The trees that `ns` is the best of.
const TREES: usize = 3;

fn run(column: &Column, param: &str, _seconds: f64) -> io::Result<()> {
    let leaves = number(param)?;
    let mut first = None;
    let mut warm = Duration::MAX;
    for tree in column.steps_of("skynet", "tree") {
        let cold = tree(leaves);
        first.get_or_insert(cold);
        for _ in 0..TREES {
            warm = warm.min(tree(leaves));
        }
    }
    for time in [warm, first.unwrap_or_default()] {
        println!("{}", time.as_nanos() as f64 / leaves as f64);
    }
    Ok(())
}
