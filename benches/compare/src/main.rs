//! Runs greenlet and its peers in turn and prints medians and ratios; `--help` tells how.
//!
//! Every measurement happens in a fresh process of this binary on core 0: a column never inherits the memory of another. In
//! `cross` and `wake` it has a second thread, on core 1; in `pool_spawn` and `offload` its threads move between both cores as the kernel
//! likes. In the cases with sockets that process is an echo server, and this one is the load, on core 1; in `echo_mt` both of them use
//! both cores. Columns take turns inside a round, so that a machine that changes its speed changes it for all. All servers set `TCP_NODELAY` on each accepted stream;
//! those of the runtimes read into a buffer of 16 KiB for each connection. Everybody uses the default allocator.
//!
//! In `redis` the process is the clients, and a redis-server has core 1. `patch_all` is called in the processes of the column `greenlet-patched` only; but all
//! columns are of one binary, so std's and libc's calls of the others go through our shells, which do nothing there: what that costs, a
//! few instructions, the column `greenlet-inert` of `shell` tells.
//!
//! A number in brackets is the first column's figure, mostly greenlet's, divided by that column's, the median of the ratios inside the rounds. Before and
//! after each run a fixed piece of work tells whether the machine is as fast as it was at its best; when it is more than 8 % off, the run
//! is repeated, and stderr says so.
//!
//! `cpu_us` comes from `getrusage` in the server, exact to the microsecond, over messages counted exactly: the server is quiet
//! at both ends. `user_us` is the part of it that the kernel's tick, 250 times a second on many machines, happened to see in user
//! code: at 0.3 µs of 4 a run of 2 s tells it to within a sixth or so, one of 20 s to within a twentieth.

#![deny(unsafe_code)]

use std::io;
use std::process::ExitCode;

use pico_args::Arguments;

use crate::cases::{Case, Run};
use crate::columns::Column;
use crate::options::Options;

mod calibration;
mod cases;
mod columns;
mod gauge;
mod harness;
mod load;
mod options;
mod pings;
mod process;
mod redis_server;
mod report;
#[expect(unsafe_code, reason = "libc's calls, each argued where it stands")]
mod sys;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let res = match args[..] {
        [process::SERVE, case, column] => serve(case, column),
        [process::MEASURE, case, column, param, seconds] => measure(case, column, param, seconds),
        [process::CALLS, column, param, count] => calls(column, param, count),
        _ => return compare(),
    };
    match res {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("compare: {err}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> ExitCode {
    let mut args = Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        print!("{}", options::HELP);
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(err) => {
            eprintln!("compare: {err}");
            return ExitCode::from(2);
        }
    };
    if let Err(err) = sys::raise_descriptor_limit() {
        eprintln!("compare: the limit of descriptors stays where it is: {err}");
    }
    process::pin(process::LOAD_CORE);
    match harness::run(&options) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn serve(case: &str, column: &str) -> io::Result<()> {
    match Case::named(case) {
        Some(case) => process::serve(case, column_named(column)?),
        None => Err(io::Error::other("no such case to serve")),
    }
}

fn measure(case: &str, column: &str, param: &str, seconds: &str) -> io::Result<()> {
    let column = column_named(column)?;
    let seconds: f64 = seconds.parse().map_err(io::Error::other)?;
    match Case::named(case).map(|case| &case.run) {
        Some(Run::Child(run) | Run::Pair(run) | Run::BesideRedis(run) | Run::Counted(run)) => {
            process::pin(process::SERVER_CORE);
            run(column, param, seconds)
        }
        Some(Run::Both(run)) => {
            process::use_both_cores();
            run(column, param, seconds)
        }
        _ => Err(io::Error::other("no such case to measure in a child")),
    }
}

fn calls(column: &str, param: &str, count: &str) -> io::Result<()> {
    let column = column_named(column)?;
    cases::make_calls(column, param, count.parse().map_err(io::Error::other)?)
}

fn column_named(name: &str) -> io::Result<&'static Column> {
    Column::named(name).ok_or_else(|| io::Error::other(format!("no column {name:?}")))
}
