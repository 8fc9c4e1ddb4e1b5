//! `event_fanout`: many wait for one event, and then it comes.

use super::{Case, Run, number};

pub(super) const CASE: Case = Case {
    name: "event_fanout",
    about: "one of so many tasks woken at once, until all have run and wait again; the longest that a socket's reader waited meanwhile",
    params: &["50000"],
    quick: &["1000"],
    units: &["ns", "delay_ms"],
    seconds: 0.0,
    has: |column, _| column.fan_out.is_some(),
    run: Run::Child(|column, param, _seconds| {
        let tasks = number(param)?;
        if let Some(fan_out) = column.fan_out {
            let fan_out = fan_out(tasks);
            println!("{}", fan_out.all.as_nanos() as f64 / tasks as f64);
            println!("{}", fan_out.longest_delay.as_secs_f64() * 1e3);
        }
        Ok(())
    }),
};
