//! `churn`: connections that live for one message.

use std::io;
use std::time::Duration;

use super::{Case, Run, number};
use crate::load;
use crate::process::Server;

const SIZE: usize = 64;

pub(super) const CASE: Case = Case {
    name: "churn",
    about: "CPU of the server for one connection: accepted, one message of 64 bytes echoed, closed by the client; so many at once",
    params: &["50"],
    quick: &["50"],
    units: &["cpu_us"],
    seconds: 2.0,
    has: |column, _| column.serve.is_some(),
    run: Run::Load(run),
};

fn run(server: &mut Server, param: &str, seconds: f64) -> io::Result<Vec<f64>> {
    let at_once = number(param)?;
    let address = server.address();
    let load = |seconds| load::churn(address, at_once, SIZE, Duration::from_secs_f64(seconds));
    load(seconds / 5.0)?;

    let before = server.usage()?;
    let phase = load(seconds)?;
    let after = server.usage()?;
    Ok(vec![(after.cpu - before.cpu).as_secs_f64() * 1e6 / phase.count as f64])
}
