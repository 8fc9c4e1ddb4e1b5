//! `kill`: ending what waits, from outside.

use super::{Case, Run, has_step, measure_step};

pub(super) const CASE: Case = Case {
    name: "kill",
    about: "one task that waits below so many frames with a destructor each, killed and joined; unwind: as many frames alone",
    params: &["10"],
    quick: &["10"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, param| has_step(column, "kill", param),
    run: Run::Child(|column, param, seconds| measure_step(column, "kill", param, seconds)),
};
