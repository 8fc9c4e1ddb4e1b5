//! `echo_mt`: an echo server on two hubs.

use super::{Case, Run, echo};

/// Server and load both use both cores as the kernel likes: three busy threads on two cores. So the CPU time of the server is what
/// counts, and round trips are only reported.
///
/// `greenlet` has a listener with `SO_REUSEPORT` on each hub: the kernel deals connections out by a hash, and unequal shares are
/// part of it. `greenlet-handoff` has one acceptor, which gives each connection to the hub with the fewest. tokio and may each have one
/// listener and two workers, tasks may move; `threads` has one for each connection.
pub(super) const CASE: Case = Case {
    name: "echo_mt",
    about: "CPU of a server on two hubs for one echoed message, SIZExCONNECTIONS, one in flight on each; load and server share the cores",
    params: &["64x50", "64x1000"],
    quick: &["64x50"],
    units: &["cpu_us", "user_us", "msgs_s", "p50_us", "p99_us"],
    seconds: 2.0,
    has: |column, _| column.serve_on_two.is_some(),
    run: Run::LoadBeside(|server, param, seconds| {
        let mut figures = echo::run(server, param, seconds)?;
        // The highest percentile tells of the kernel's scheduler alone.
        figures.truncate(5);
        Ok(figures)
    }),
};
