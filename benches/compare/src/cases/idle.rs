//! `idle`: what a waiting task keeps.

use super::{Case, Run, number};
use crate::gauge::Gauge;

pub(super) const CASE: Case = Case {
    name: "idle",
    about: "memory of one waiting task: resident bytes, and bytes of page tables",
    params: &["10000", "1000000"],
    quick: &["1000"],
    units: &["rss_bytes", "pte_bytes"],
    seconds: 0.0,
    has: |column, _| column.hold.is_some(),
    run: Run::Child(|column, param, _seconds| {
        let tasks = number(param)?;
        if let Some(hold) = column.hold {
            hold(tasks, Gauge::memory(tasks));
        }
        Ok(())
    }),
};
