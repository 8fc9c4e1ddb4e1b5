//! `echo`: a server under a closed loop of messages.

use std::io;
use std::time::Duration;

use super::{Case, Run, number};
use crate::load::Load;
use crate::process::Server;

pub(super) const CASE: Case = Case {
    name: "echo",
    about: "CPU of the server for one echoed message, SIZExCONNECTIONS, one in flight on each connection; round trips",
    params: &["64x1", "64x50", "64x1000", "64x10000", "16384x50", "16384x1000"],
    quick: &["64x50", "16384x50"],
    units: &["cpu_us", "user_us", "msgs_s", "p50_us", "p99_us", "p999_us"],
    seconds: 2.0,
    has: |column, _| column.serve.is_some(),
    run: Run::Load(run),
};

/// At the end of a parameter: the load never sleeps.
const POLLED: &str = "+polled";

/// Measures what [`CASE`] tells.
pub(super) fn run(server: &mut Server, param: &str, seconds: f64) -> io::Result<Vec<f64>> {
    let (param, polls) = match param.strip_suffix(POLLED) {
        Some(param) => (param, true),
        None => (param, false),
    };
    let Some((size, connections)) = param.split_once('x') else {
        return Err(io::Error::other(format!("{param:?} is not SIZExCONNECTIONS")));
    };
    let mut load = Load::connect(server.address(), number(connections)?, number(size)?)?;
    if polls {
        load.poll();
    }
    load.run(Duration::from_secs_f64(seconds / 5.0))?;

    let before = server.usage()?;
    let phase = load.run(Duration::from_secs_f64(seconds))?;
    let after = server.usage()?;

    let each = |time: Duration| time.as_secs_f64() * 1e6 / phase.count as f64;
    let percentile = |share| phase.latency.value_at_quantile(share) as f64 / 1e3;
    Ok(vec![
        each(after.cpu - before.cpu),
        // The kernel keeps the sum exact and moves the split to what it sampled last.
        each(after.user.saturating_sub(before.user)),
        phase.count as f64 / phase.elapsed.as_secs_f64(),
        percentile(0.5),
        percentile(0.99),
        percentile(0.999),
    ])
}
