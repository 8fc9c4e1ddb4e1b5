//! What a forked child does not take over: those who wait in the table, what is registered, and the bells of its signals' handlers. The hub sees to itself.

use std::sync::Once;

use crate::{fds, signal, table};

/// Has it done at each fork from now on.
pub(crate) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the function lives as long as the process. That there is no memory for it cannot be helped.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

extern "C" fn in_child() {
    // SAFETY: a child has one thread, which is in `fork`.
    unsafe { table::forget_all() };
    // SAFETY: as above.
    unsafe { fds::begin_anew_in_child() };
    signal::begin_anew_in_child();
}
