//! `waiting`: all tasks are spawned and run until they wait for something that never comes.

use super::{Case, Run, number};
use crate::gauge::Gauge;
use crate::sys;

/// What a waiting task may touch: a page of stack, page tables, and more than what a runtime adds to it.
const MEMORY_OF_ONE: usize = 6 * 1_024;

pub(super) const CASE: Case = Case {
    name: "waiting",
    about: "one task from its spawn to its first wait, on fresh stacks; floor: a fresh page and a guard each",
    params: &["1000000"],
    quick: &["10000"],
    units: &["ns"],
    seconds: 0.0,
    has: |column, _| column.hold.is_some(),
    run: Run::Child(|column, param, _seconds| {
        let tasks = number(param)?;
        sys::touch_and_give_back(tasks * MEMORY_OF_ONE)?;
        if let Some(hold) = column.hold {
            hold(tasks, Gauge::time(tasks));
        }
        Ok(())
    }),
};
