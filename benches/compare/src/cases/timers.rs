//! `timers`: all tasks sleep for different times.

use std::time::Duration;

use super::{Case, Run, number};
use crate::gauge::Sleepers;

const LONGEST: Duration = Duration::from_secs(1);

pub(super) const CASE: Case = Case {
    name: "timers",
    about: "CPU of one task that is spawned, sleeps for 0 to 1 s and is joined, on warm stacks; how late the latest woke",
    params: &["100000", "1000000"],
    quick: &["10000"],
    units: &["cpu_ns", "late_ms"],
    seconds: 0.0,
    has: |column, _| column.sleep.is_some(),
    run: Run::Child(|column, param, _seconds| {
        if let Some(sleep) = column.sleep {
            sleep(&Sleepers::new(number(param)?, LONGEST));
        }
        Ok(())
    }),
};
