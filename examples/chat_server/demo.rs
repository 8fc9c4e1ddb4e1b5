//! The demo: clients that say something each, and check that all of them hear the same in the same order.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::{cell::OnceCell, time::Instant};

use greenlet::net::{TcpListener, TcpStream};
use greenlet::spawn;

use crate::{common, serve};

pub(crate) fn run(listener: TcpListener, clients: usize) -> io::Result<()> {
    let addr = listener.local_addr()?;
    spawn(move || serve(&listener));
    let connect = |_| {
        let mut stream = TcpStream::connect(addr)?;
        // Its own coming is the first that a client hears: now it is in the room.
        stream.read_exact(&mut [0])?;
        Ok(stream)
    };
    let streams = (0..clients).map(connect).collect::<io::Result<Vec<_>>>()?;
    let heard_by_the_first = OnceCell::new();
    common::demo(clients, 1, move |client, meter| {
        let (mut stream, start) = (&streams[client], Instant::now());
        stream.write_all(format!("here is client {client}\n").as_bytes())?;
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let heard: Vec<String> = lines.filter(|line| line.contains("here is")).take(clients).collect();
        meter.round_trip(start.elapsed());
        if heard.len() == clients && heard == *heard_by_the_first.get_or_init(|| heard.clone()) {
            Ok(())
        } else {
            Err(io::Error::other("it heard something else than the others"))
        }
    });
    Ok(())
}
