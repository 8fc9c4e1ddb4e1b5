//! 100 clients of the `mysql` crate, which blocks and knows nothing of greenlets, on one OS thread: each has a query that
//! takes 200 ms, and the server counts them.
//!
//!     cargo run --release --example patched_sql --features patch -- URL [N]         e.g. mysql://user@127.0.0.1/, N: 100
//!     cargo run --release --example patched_sql --features patch -- --demo [N]
//!
//! The demo starts a `mariadbd` of its own, if one is installed.

use std::{error::Error, time::Instant};

use greenlet::{joinall, patch_all, spawn};
use mysql::{Conn, Opts, OptsBuilder, prelude::Queryable};

mod common;
#[path = "common/servers.rs"]
mod servers;

fn main() {
    patch_all();
    let (url, clients) = common::clients(include_str!("patched_sql.rs"), 100);
    let server = if url.is_none() { servers::mariadb() } else { None };
    let url = url.or_else(|| server.as_ref().map(|server| format!("mysql://root@127.0.0.1:{}/", server.port)));
    let done = url.map_or(Ok(()), |url| run(&url, clients));
    drop(server); // `fail` would leave it behind
    done.unwrap_or_else(|err| common::fail(1, err));
}

fn run(url: &str, clients: usize) -> Result<(), Box<dyn Error>> {
    const THEY: &str = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(0.2)'";
    // Else it would look for a Unix socket.
    let opts: Opts = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false).into();
    let (mut connection, start, mut most) = (Conn::new(opts.clone())?, Instant::now(), 0);
    let ask = |number| {
        let opts = opts.clone();
        spawn(move || Conn::new(opts)?.query_first(format!("SELECT {number} * 3, SLEEP(0.2)")))
    };
    let asking: Vec<_> = (0..clients).map(ask).collect();
    while !asking.iter().all(|asking| asking.is_finished()) {
        most = most.max(connection.query_first(THEY)?.unwrap_or(0));
    }
    for (number, answer) in joinall(asking).into_iter().enumerate() {
        let answer: mysql::Result<Option<(usize, u8)>> = answer?;
        if answer?.is_none_or(|(product, _)| product != number * 3) {
            return Err(format!("client {number} got the answer of another one").into());
        }
    }
    println!("{clients} queries of 200 ms in {:.2?}, by one thread", start.elapsed());
    println!("the server saw up to {most} of them at once");
    Ok(())
}
