//! `lock`: taking what is free, and giving it back.

use super::{Case, Run, has_step, measure_step};

pub(super) const CASE: Case = Case {
    name: "lock",
    about: "one acquisition and release that nobody contends for; lock: around a counter",
    params: &["semaphore", "lock", "semaphore+thread", "lock+thread"],
    quick: &["semaphore", "lock"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, param| has_step(column, "lock", param),
    run: Run::Child(|column, param, seconds| measure_step(column, "lock", param, seconds)),
};
