//! `queue`: putting and getting where neither has to wait.

use super::{Case, Run, has_step, measure_step};

pub(super) const CASE: Case = Case {
    name: "queue",
    about: "one put into an unbounded queue and one get of it again, by the same task, which never waits",
    params: &["ready", "ready+thread"],
    quick: &["ready"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, param| has_step(column, "queue", param),
    run: Run::Child(|column, param, seconds| measure_step(column, "queue", param, seconds)),
};
