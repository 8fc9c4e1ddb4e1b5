//! The shells, on the one platform that has them: Linux with glibc.

mod raw;
mod report;

mod probe;
mod real;
mod wait;

mod fds;
mod fork;
mod transfer;
mod vectors;

mod files;
mod sockets;

mod mask;
mod owned;
mod readiness;

mod epoll;
mod names;
mod poll;
mod process;
mod select;
mod signal;
mod sleep;
mod teardown;

mod clock;
mod futex;
mod native;
mod parker;
mod table;

mod acquire;
mod allocator;
mod barrier;
mod cond;
mod join;
mod layout;
mod mutex;
mod once;
mod rwlock;
mod semaphore;

use crate::gate::{self, Group};

/// Patches those groups; returns what there is to be said.
pub(crate) fn patch(groups: u32) -> Result<Vec<String>, String> {
    let mut notes = probe::run(groups)?;
    let groups = layout::prepare(groups, &mut notes);
    signal::wrap_installed();
    fork::register();
    table::pass_on_lost_wakes();
    teardown::begin();
    gate::open(groups);
    if groups & Group::Locks as u32 != 0 {
        parker::find();
    }
    Ok(notes)
}
