//! A UDP echo server: sends each datagram back to where it came from. One greenlet is enough, for it keeps nothing.
//!
//!     cargo run --release --example udp_echo -- [--listen ADDR]             ADDR: 127.0.0.1:7777
//!
//! Talk to it with `nc -u 127.0.0.1 7777`. Or see it serve N clients of its own, which check every byte:
//!
//!     cargo run --release --example udp_echo -- --demo [N]                  N: 100

use std::time::{Duration, Instant};
use std::{io, iter};

use greenlet::net::{SocketAddr, UdpSocket};
use greenlet::{sleep, spawn};

mod common;

fn main() {
    let (addr, demo_clients) = common::server(include_str!("udp_echo.rs"), "127.0.0.1:7777", 100);
    let bound = UdpSocket::bind(&addr).and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (addr, socket) = bound.unwrap_or_else(|err| common::fail(1, format_args!("cannot bind to {addr}: {err}")));
    println!("listening on {addr}");
    if let Some(clients) = demo_clients {
        spawn(move || serve(&socket));
        common::demo(clients, 100, move |client, meter| talk(addr, client, meter));
    } else {
        serve(&socket);
    }
}

fn serve(socket: &UdpSocket) {
    let mut datagram = vec![0; 65_536];
    loop {
        let echoed = socket.recv_from(&mut datagram).and_then(|(len, peer)| socket.send_to(&datagram[..len], peer));
        if let Err(err) = echoed {
            eprintln!("a datagram is lost: {err}");
            sleep(Duration::from_millis(10)); // an error that stays shall not keep the thread busy
        }
    }
}

fn talk(server: SocketAddr, client: usize, meter: &common::Meter) -> io::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    for message in 0..100 {
        let (text, start) = (format!("{client:32}{message:32}"), Instant::now());
        // UDP may lose a datagram. So each is sent up to five times, and an echo that comes late is passed over.
        if !(0..5).any(|_| socket.send(text.as_bytes()).is_ok() && echo_comes(&socket, text.as_bytes())) {
            return Err(io::Error::other(format!("no echo of message {message}")));
        }
        meter.round_trip(start.elapsed());
    }
    Ok(())
}

fn echo_comes(socket: &UdpSocket, text: &[u8]) -> bool {
    let mut buf = [0; 65];
    iter::from_fn(|| socket.recv(&mut buf).ok().map(|len| buf[..len] == *text)).any(|is_right| is_right)
}
