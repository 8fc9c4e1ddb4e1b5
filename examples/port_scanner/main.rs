//! Finds the open TCP ports of a host: tries all 65,535 of them, 500 at a time.
//!
//!     cargo run --release --example port_scanner -- HOST [--timeout MS]     MS: 3000, for each port
//!     cargo run --release --example port_scanner -- --demo [HOST]           HOST, an address of this machine: 127.0.0.2
//!
//! The demo listens on some ports and compares what is found with what the kernel says of all ports.

use std::{error::Error, io, time::Duration};

use greenlet::net::lookup_host;

#[path = "../common/mod.rs"]
mod common;
mod demo;
mod scan;

fn main() {
    let mut args = common::arguments(include_str!("main.rs"));
    let is_demo = args.contains("--demo");
    let timeout = args.opt_value_from_str("--timeout").unwrap_or_else(|err| common::fail(2, err)).unwrap_or(3000);
    let [host] = common::operands(args);
    let Some(host) = host.or(is_demo.then(|| "127.0.0.2".to_owned())) else {
        common::fail(2, "missing argument: HOST (see --help)")
    };
    common::descriptors(scan::AT_ONCE);
    run(&host, Duration::from_millis(timeout), is_demo)
        .unwrap_or_else(|err| common::fail(1, format_args!("cannot scan {host}: {err}")));
}

fn run(host: &str, timeout: Duration, is_demo: bool) -> Result<(), Box<dyn Error>> {
    let addr = lookup_host((host, 0))?.next().ok_or_else(|| io::Error::other("it has no address"))?;
    if is_demo {
        return demo::run(addr.ip(), timeout);
    }
    for port in scan::open_ports(addr.ip(), timeout)? {
        println!("{port}");
    }
    Ok(())
}
