//! `timeout`: so much time for something that needs none of it.

use super::{Case, Run, has_step, measure_step};

pub(super) const CASE: Case = Case {
    name: "timeout",
    about: "one time-out of 1 s around what is over before; ready: what never waits (tokio then sets no timer), \
            yield: what gives way once",
    params: &["ready", "yield"],
    quick: &["ready", "yield"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, param| has_step(column, "timeout", param),
    run: Run::Child(|column, param, seconds| measure_step(column, "timeout", param, seconds)),
};
