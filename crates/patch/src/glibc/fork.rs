//! What a forked child does not take over: those who wait in the table, what is registered, the bells of its signals' handlers, and the threads that
//! wait for children. The hub sees to itself.

use greenlet_hub::patching;

use super::{fds, process, signal, table};

/// Has it done at each fork from now on.
pub(crate) fn register() {
    // Not by `pthread_atfork`: the hub's own handler may wake somebody, for which it looks into the table.
    patching::in_forked_child(begin_anew);
}

fn begin_anew() {
    // SAFETY: a child has one thread, which is in `fork`.
    unsafe { table::forget_all() };
    // SAFETY: as above.
    unsafe { fds::begin_anew_in_child() };
    signal::begin_anew_in_child();
    process::begin_anew_in_child();
}
