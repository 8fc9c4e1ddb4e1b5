//! A chat: what one says, everybody reads. The room is an `Rc<RefCell<…>>`, as all its greenlets share one thread.
//!
//!     cargo run --release --example chat_server -- [--listen ADDR]          ADDR: 127.0.0.1:7777
//!     cargo run --release --example chat_server -- --demo [N]               N: 50 clients
//!
//! Join with `nc 127.0.0.1 7777` in some terminals.

use std::io::{BufRead, BufReader, Read};

use greenlet::Builder;
use greenlet::net::TcpListener;

use crate::room::Room;

#[path = "../common/mod.rs"]
mod common;
mod demo;
mod room;

/// Whoever never ends his line has it cut after so many bytes.
const LONGEST_LINE: u64 = 1000;

fn main() {
    let (addr, demo_clients) = common::server(include_str!("main.rs"), "127.0.0.1:7777", 50);
    let listener = common::listen(&addr);
    match demo_clients {
        None => serve(&listener),
        Some(clients) => demo::run(listener, clients).unwrap_or_else(|err| common::fail(1, err)),
    }
}

fn serve(listener: &TcpListener) {
    let room = Room::default();
    for (stream, peer) in common::connections(listener) {
        let room = room.clone();
        // Lines are short, and none shall wait until the one before it is acknowledged (up to 40 ms).
        let _ = stream.set_nodelay(true);
        let greenlet = Builder::new().name(format!("client {peer}"));
        greenlet.spawn(move || {
            let member = room.enter(peer, stream);
            room.tell_everybody(&format!("* {peer} has come\n"));
            let mut lines = BufReader::new(&member.stream);
            let mut line = Vec::new();
            while lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                room.tell_everybody(&format!("{peer}: {}\n", String::from_utf8_lossy(&line).trim_end()));
                line.clear();
            }
            room.leave(peer);
            room.tell_everybody(&format!("* {peer} has gone\n"));
        });
    }
}
