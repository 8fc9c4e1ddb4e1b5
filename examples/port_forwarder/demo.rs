//! The demo: clients that send a text through the forwarder, to a server that waits for all of it before it answers.

use std::io::{self, Read, Write};
use std::time::Instant;

use greenlet::net::{Shutdown, TcpStream};
use greenlet::spawn;

use crate::{common, serve};

pub(crate) const CLIENTS: usize = 64;

pub(crate) fn run() -> io::Result<()> {
    let (target, listener) = (common::listen("127.0.0.1:0"), common::listen("127.0.0.1:0"));
    let (target_addr, addr) = (target.local_addr()?.to_string(), listener.local_addr()?);
    spawn(move || serve(&listener, &target_addr));
    spawn(move || common::connections(&target).for_each(|(stream, _)| drop(spawn(move || answer_in_capitals(stream)))));
    common::demo(CLIENTS, 1, move |client, meter| {
        let (text, mut answer, start) = (format!("client {client} ").repeat(10_000), String::new(), Instant::now());
        let mut stream = TcpStream::connect(addr)?;
        stream.write_all(text.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_string(&mut answer)?;
        meter.round_trip(start.elapsed());
        if answer == text.to_uppercase() { Ok(()) } else { Err(io::Error::other("this is not the answer")) }
    });
    Ok(())
}

fn answer_in_capitals(mut stream: TcpStream) -> io::Result<()> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    stream.write_all(text.to_uppercase().as_bytes())
}
