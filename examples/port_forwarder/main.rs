//! Forwards a TCP port: whoever connects to LISTEN talks to TARGET. Each direction is one `io::copy` in its own greenlet.
//!
//!     cargo run --release --example port_forwarder -- LISTEN TARGET         e.g. 127.0.0.1:8080 example.org:80
//!     cargo run --release --example port_forwarder -- --demo
//!
//! The demo sends 64 clients through it to a server that answers with what it got, in capitals.

use std::{io, rc::Rc};

use greenlet::net::{Shutdown, TcpListener, TcpStream};
use greenlet::{Builder, spawn};

#[path = "../common/mod.rs"]
mod common;
mod demo;

fn main() {
    let mut args = common::arguments(include_str!("main.rs"));
    if args.contains("--demo") {
        let [] = common::operands(args);
        common::descriptors(4 * demo::CLIENTS);
        return demo::run().unwrap_or_else(|err| common::fail(1, err));
    }
    let [Some(listen), Some(target)] = common::operands(args) else {
        common::fail(2, "missing argument: LISTEN and TARGET are needed (see --help)")
    };
    common::descriptors(0);
    serve(&common::listen(&listen), &target);
}

fn serve(listener: &TcpListener, target: &str) {
    for (client, peer) in common::connections(listener) {
        let target = target.to_owned();
        Builder::new().name(format!("client {peer}")).spawn(move || {
            forward(client, &target).unwrap_or_else(|err| eprintln!("{peer} and {target}: {err}"));
        });
    }
}

fn forward(client: TcpStream, target: &str) -> io::Result<()> {
    let (client, server) = (Rc::new(client), Rc::new(TcpStream::connect(target)?));
    let upwards = spawn({
        let (client, server) = (Rc::clone(&client), Rc::clone(&server));
        move || pump(&client, &server)
    });
    let downwards = pump(&server, &client);
    upwards.join().map_err(|err| io::Error::other(err.to_string()))?.and(downwards)
}

/// Copies one direction to its end and passes that on. If it fails, the other direction ends as well.
fn pump(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    if copied.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    let _ = to.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both });
    copied.map(drop)
}
