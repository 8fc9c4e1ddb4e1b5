//! `patched_mutex`: std's lock, which nobody contends for.

use super::{Case, Run, has_step, measure_step};

pub(super) const CASE: Case = Case {
    name: "patched_mutex",
    about: "one lock and unlock of a std Mutex that nobody contends for; patched: in a greenlet",
    params: &["mutex"],
    quick: &["mutex"],
    units: &["ns"],
    seconds: 0.3,
    has: |column, param| has_step(column, "patched_mutex", param),
    run: Run::Child(|column, param, seconds| measure_step(column, "patched_mutex", param, seconds)),
};
