//! The floor: what the kernel alone takes for a stack, one fresh page and one guard each.

use super::Column;
use crate::gauge::Gauge;
use crate::sys::Slab;

pub(super) const COLUMN: Column = Column { name: "floor", hold: Some(hold), ..Column::EMPTY };

fn hold(tasks: usize, mut gauge: Gauge) {
    gauge.begin();
    let slab = Slab::reserve(tasks).expect("address space for the stacks");
    for slot in 0..tasks {
        slab.guard(slot).expect("a guard for each stack");
        slab.touch(slot);
    }
    gauge.all_wait()
}
