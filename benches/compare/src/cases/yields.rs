//! `yield`: all tasks give way in turn.

use super::{Case, Run, best, number, time_of_one};

pub(super) const CASE: Case = Case {
    name: "yield",
    about: "one yield: away and back when its turn comes; so many tasks take turns",
    params: &["2", "1000"],
    quick: &["2", "1000"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, _| !column.yields.is_empty(),
    run: Run::Child(|column, param, seconds| {
        let tasks = number(param)?;
        let times = column.yields.iter().map(|yields| time_of_one(seconds, |each| yields(tasks, each)) / tasks as f64);
        println!("{}", best(times));
        Ok(())
    }),
};
