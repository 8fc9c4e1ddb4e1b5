//! `redis`: many clients of one server.

use std::io;
use std::time::Duration;

use super::{Case, Run, number};
use crate::columns::Column;
use crate::pings::Pings;

/// Each client has a connection of its own and sends `PING` when it has had the answer to the one before; all of it with the same crate.
/// `greenlet-patched` and `threads` are the same lines on its blocking connections, in greenlets and in OS threads; `tokio` is the
/// crate's own client on the current-thread runtime, without its time limit for an answer, which the others do not have either.
///
/// The clients share core 0, the server has core 1. CPU time is the client process's alone.
pub(super) const CASE: Case = Case {
    name: "redis",
    about: "CPU of so many clients of a redis-server for one PING, one in flight on each connection",
    params: &["1000"],
    quick: &["100"],
    units: &["cpu_us", "commands_s"],
    seconds: 2.0,
    has: |column, _| column.ping.is_some(),
    run: Run::BesideRedis(run),
};

fn run(column: &Column, param: &str, seconds: f64) -> io::Result<()> {
    let Some((clients, port)) = param.split_once('@') else {
        return Err(io::Error::other(format!("{param:?} is not CLIENTS@PORT")));
    };
    let port = port.parse().map_err(io::Error::other)?;
    let pings = Pings::new(number(clients)?, port, Duration::from_secs_f64(seconds));
    if let Some(ping) = column.ping {
        ping(&pings);
    }
    Ok(())
}
