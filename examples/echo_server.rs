//! A TCP echo server in plain blocking style: a greenlet for each connection, all of them on one thread.
//!
//!     cargo run --release --example echo_server -- [--listen ADDR]          ADDR: 127.0.0.1:7777
//!
//! Talk to it with the example `echo_client` or with `nc`. Or let it serve clients of its own, which check every byte:
//!
//!     cargo run --release --example echo_server -- --demo [N]               N: 1000

mod common;

use std::{cell::RefCell, error::Error, io, io::Read, io::Write, net::Shutdown, rc::Rc, time::Instant};

use greenlet::net::{TcpListener, TcpStream};
use greenlet::{Builder, joinall, spawn};
use hdrhistogram::Histogram;
use indicatif::{HumanCount, ProgressBar};

const MESSAGES: usize = 100;

fn main() {
    let mut args = common::arguments(include_str!("echo_server.rs"));
    let (is_demo, addr) = (args.contains("--demo"), common::option(&mut args, "--listen"));
    // As many descriptors as the system grants us.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0);
    if is_demo {
        let [clients] = common::operands(args);
        let clients = clients.map_or(Ok(1000), |clients| clients.parse::<usize>());
        let clients = clients.unwrap_or_else(|err| common::fail(2, format_args!("the number of clients: {err}")));
        let needed = (clients as u64).saturating_mul(2).saturating_add(20);
        if needed > descriptors {
            common::fail(2, format_args!("{clients} clients need {needed} descriptors, the limit is {descriptors}"));
        }
        let listener = common::listen(addr.as_deref().unwrap_or("127.0.0.1:0"));
        demo(listener, clients).unwrap_or_else(|err| common::fail(1, format_args!("the demo failed: {err}")));
    } else {
        let [] = common::operands(args);
        serve(&common::listen(addr.as_deref().unwrap_or("127.0.0.1:7777")));
    }
}

fn serve(listener: &TcpListener) {
    println!("listening on {}", listener.local_addr().expect("a listener has an address"));
    for (stream, peer) in common::connections(listener) {
        let echo = move || io::copy(&mut &stream, &mut &stream);
        Builder::new().name(format!("client {peer}")).spawn(echo); // not joined: it goes on by itself
    }
}

fn demo(listener: TcpListener, clients: usize) -> Result<(), Box<dyn Error>> {
    let addr = listener.local_addr()?;
    spawn(move || serve(&listener));
    // All are connected before the first one speaks.
    let streams: Vec<TcpStream> = (0..clients).map(|_| TcpStream::connect(addr)).collect::<io::Result<_>>()?;
    let progress = ProgressBar::new((clients * MESSAGES) as u64); // is shown on a terminal only
    todo!()
}
