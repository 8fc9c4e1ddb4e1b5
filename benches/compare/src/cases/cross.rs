//! `cross`: from one thread to another, each on a core of its own.

use super::{Case, Run, has_step, measure_step};

pub(super) const CASE: Case = Case {
    name: "cross",
    about: "between two cores; pingpong: there and back through one slot each way, polling: the same while both also watch \
            descriptors, pipe: one item through a queue of 1,024",
    params: &["pingpong", "polling", "pipe"],
    quick: &["pingpong", "polling", "pipe"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, param| has_step(column, "cross", param),
    run: Run::Pair(|column, param, seconds| measure_step(column, "cross", param, seconds)),
};
