//! `echo_spin`: a server that polls for a moment before it sleeps.

use super::{Case, Run, echo};

/// One message of 64 bytes in flight on one connection, server and load on a core each: each has to be woken for each message.
/// `greenlet` polls for 50 µs before it sleeps, so that it is not asleep when the answer to its answer comes; `greenlet-nospin`
/// sleeps at once, as hubs do unless they are told otherwise. With `+polled` the load does not sleep either: what is left in the round
/// trip is the server's own waking up, or none.
pub(super) const CASE: Case = Case {
    name: "echo_spin",
    about: "round trip of a message on one connection, SIZExCONNECTIONS, with a server that polls 50 µs before it sleeps; +polled: so does the load, always",
    params: &["64x1", "64x1+polled"],
    quick: &["64x1", "64x1+polled"],
    units: &["p50_us", "p99_us", "cpu_us"],
    seconds: 2.0,
    has: |column, _| column.serve_spinning.is_some(),
    run: Run::Load(|server, param, seconds| match echo::run(server, param, seconds)?[..] {
        [cpu, _user, _messages, p50, p99, _p999] => Ok(vec![p50, p99, cpu]),
        _ => unreachable!("echo has six figures"),
    }),
};
