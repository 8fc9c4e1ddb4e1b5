//! Unwinding alone: what std takes to throw through as many frames as a killed task has, and to catch it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use super::frames::{FRAMES, below, dropped};
use super::{Column, Step};

pub(super) const COLUMN: Column =
    Column { name: "unwind", steps: &[&[Step::of("kill", "10", unwinds)]], ..Column::EMPTY };

fn unwinds(count: usize) -> Duration {
    let before = dropped();
    let start = Instant::now();
    for _ in 0..count {
        let thrown = catch_unwind(AssertUnwindSafe(|| below(FRAMES, &mut || resume_unwind(Box::new(())))));
        assert!(thrown.is_err());
    }
    let elapsed = start.elapsed();
    assert_eq!(dropped() - before, FRAMES * count);
    elapsed
}
