//! `patched_echo`: an echo server written with std's sockets.

use super::{Case, Run, echo};

/// `greenlet-patched` is the very code of `threads`, a listener and a loop for each stream, in greenlets of a process that has called
/// `patch_all`. `greenlet` is the same loop on our own sockets.
pub(super) const CASE: Case = Case {
    name: "patched_echo",
    about: "CPU of a server on std's sockets, patched, for one echoed message, SIZExCONNECTIONS; greenlet: on our own sockets",
    params: &["64x50", "64x1", "64x1000"],
    quick: &["64x50"],
    units: &["cpu_us", "user_us", "msgs_s", "p50_us", "p99_us", "p999_us"],
    seconds: 2.0,
    has: |column, _| column.serve_patched.is_some(),
    run: Run::Load(echo::run),
};
