//! A TCP echo server in plain blocking style: a greenlet for each connection, on one thread or on several.
//!
//!     cargo run --release --example echo_server -- [--listen ADDR] [--hubs N]          ADDR: 127.0.0.1:7777, N: 1
//!
//! Talk to it with the example `echo_client`, or with `nc`. Or see it serve N clients of its own, which check every byte:
//!
//!     cargo run --release --example echo_server -- --demo [N] [--hubs N]               N: 1000
//!
//! Each of several hubs has a listener of its own on the same address (`SO_REUSEPORT`), and the kernel spreads the connections. The example
//! `acceptor` is the other shape: one listener, which hands connections over.

use std::io;

use greenlet::net::TcpListener;
use greenlet::{Builder, HubPool, joinall, spawn};

mod common;

fn main() -> io::Result<()> {
    let mut args = common::arguments(include_str!("echo_server.rs"));
    let hubs = common::flag(&mut args, "--hubs", 1, "hubs");
    let (addr, demo_clients) = common::server_of(args, "127.0.0.1:7777", 1000);
    let listeners = match hubs {
        1 => vec![common::listen(&addr)],
        hubs => common::listen_together(&addr, hubs),
    };
    let addr = listeners[0].local_addr()?;
    let servers = start(listeners)?;
    match demo_clients {
        None => drop(joinall(servers)), // they never end
        Some(clients) => common::echo_demo(addr, clients).unwrap_or_else(|err| common::fail(1, err)),
    }
    Ok(())
}

/// Starts a server for each listener: the only one on this thread's hub, several on one of a pool's each.
fn start(mut listeners: Vec<TcpListener>) -> io::Result<Vec<greenlet::JoinHandle<()>>> {
    if listeners.len() == 1 {
        return Ok(listeners.drain(..).map(|listener| spawn(move || serve(&listener))).collect());
    }
    let pool = HubPool::new(listeners.len())?;
    let hubs = pool.handles().iter().zip(listeners);
    Ok(hubs.map(|(hub, listener)| hub.spawn(move || serve(&listener))).collect())
}

fn serve(listener: &TcpListener) {
    for (stream, peer) in common::connections(listener) {
        // Nobody joins it: when the client has gone it ends by itself, and the stream is closed.
        Builder::new().name(format!("client {peer}")).spawn(move || io::copy(&mut &stream, &mut &stream));
    }
}
