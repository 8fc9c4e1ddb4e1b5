//! A TCP echo server on several threads: one greenlet accepts, and hands each connection to the hub that has the fewest.
//!
//!     cargo run --release --example acceptor -- [--listen ADDR] [--hubs N]          ADDR: 127.0.0.1:7778, N: one for each core
//!
//! See it serve N clients of its own, and how busy the hubs were:
//!
//!     cargo run --release --example acceptor -- --demo [N] [--hubs N]               N: 1000
//!
//! A connection stays with its hub. Where the kernel's choice is good enough, each hub may as well accept for itself, as `echo_server --hubs` does.

use std::io;

use greenlet::hub::Handle;
use greenlet::net::{TcpListener, TcpStream};
use greenlet::{HubPool, spawn};

mod common;

fn main() -> io::Result<()> {
    let mut args = common::arguments(include_str!("acceptor.rs"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = HubPool::new(common::flag(&mut args, "--hubs", cores, "hubs"))?;
    let (addr, demo_clients) = common::server_of(args, "127.0.0.1:7778", 1000);
    let listener = common::listen(&addr);
    let Some(clients) = demo_clients else {
        accept(&listener, pool.handles());
        return Ok(());
    };

    let (addr, hubs) = (listener.local_addr()?, pool.clone());
    spawn(move || accept(&listener, hubs.handles()));
    let connected = spawn(move || common::echo_demo(addr, clients));
    connected.join().expect("a demo does not panic").unwrap_or_else(|err| common::fail(1, err));
    for (number, hub) in pool.metrics().hubs.iter().enumerate() {
        println!("hub {number} was busy for {:.0} % of its time", 100.0 * hub.busy_share);
    }
    Ok(())
}

fn accept(listener: &TcpListener, hubs: &[Handle]) {
    for (stream, _) in common::connections(listener) {
        let idlest = hubs.iter().min_by_key(|hub| hub.load()).expect("a pool has hubs");
        idlest.spawn(move || echo(&stream));
    }
}

fn echo(stream: &TcpStream) {
    // A client that breaks off is no news to the others.
    let _ = io::copy(&mut &*stream, &mut &*stream);
}
