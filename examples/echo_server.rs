//! A TCP echo server in plain blocking style: a greenlet for each connection, all of them on one thread.
//!
//!     cargo run --release --example echo_server -- [--listen ADDR]          ADDR: 127.0.0.1:7777
//!
//! Talk to it with the example `echo_client`, or with `nc`. Or see it serve N clients of its own, which check every byte:
//!
//!     cargo run --release --example echo_server -- --demo [N]               N: 1000

use std::io::{self, Read, Write};
use std::time::Instant;

use greenlet::net::{TcpListener, TcpStream};
use greenlet::{Builder, spawn};

mod common;

const MESSAGES: usize = 50;

fn main() {
    let (addr, demo_clients) = common::server(include_str!("echo_server.rs"), "127.0.0.1:7777", 1000);
    let listener = common::listen(&addr);
    match demo_clients {
        None => serve(&listener),
        Some(clients) => demo(listener, clients).unwrap_or_else(|err| common::fail(1, err)),
    }
}

fn serve(listener: &TcpListener) {
    for (stream, peer) in common::connections(listener) {
        // Nobody joins it: when the client has gone it ends by itself, and the stream is closed.
        Builder::new().name(format!("client {peer}")).spawn(move || io::copy(&mut &stream, &mut &stream));
    }
}

fn demo(listener: TcpListener, clients: usize) -> io::Result<()> {
    let addr = listener.local_addr()?;
    spawn(move || serve(&listener));
    // All of them are connected before the first one speaks.
    let streams = (0..clients).map(|_| TcpStream::connect(addr)).collect::<io::Result<Vec<_>>>()?;
    common::demo(clients, MESSAGES, move |client, meter| talk(&streams[client], client, meter));
    Ok(())
}

fn talk(mut stream: &TcpStream, client: usize, meter: &common::Meter) -> io::Result<()> {
    for message in 0..MESSAGES {
        let (sent, mut echoed, start) = (format!("{client:32}{message:32}"), [0; 64], Instant::now());
        stream.write_all(sent.as_bytes())?;
        stream.read_exact(&mut echoed)?;
        meter.round_trip(start.elapsed());
        if echoed != *sent.as_bytes() {
            return Err(io::Error::other("this is not what was sent"));
        }
    }
    Ok(())
}
