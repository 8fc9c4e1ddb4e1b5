//! `spawn`: all tasks are spawned before the first of them is joined.

use super::{Case, Run, best, number, time_of_one};

pub(super) const CASE: Case = Case {
    name: "spawn",
    about: "one spawn and join of an empty task, so many alive at once; after a first round of the same",
    params: &["1000", "20000", "1000000"],
    quick: &["1000"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, _| !column.spawns.is_empty(),
    run: Run::Child(|column, param, seconds| {
        let tasks = number(param)?;
        let times =
            column.spawns.iter().map(|spawns| time_of_one(seconds, |rounds| spawns(tasks, rounds)) / tasks as f64);
        println!("{}", best(times));
        Ok(())
    }),
};
