//! `channel`: items go from a producer to a consumer that waits for them.

use super::{Case, Run, has_step, measure_step};

pub(super) const CASE: Case = Case {
    name: "channel",
    about: "one item from a producer to a consumer on the same thread; 1: hand in hand, slot: a queue with room for one",
    params: &["1", "slot", "1+thread", "slot+thread"],
    quick: &["1", "slot"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, param| has_step(column, "channel", param),
    run: Run::Child(|column, param, seconds| measure_step(column, "channel", param, seconds)),
};
