//! `memcache`: a client in Rust, on std's sockets. memcached never waits, so a forwarder before it does.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use memcache::Client;

use crate::at_once::{CONCURRENT, at_once};
use crate::gate::Gate;
use crate::{local, servers};

#[test]
fn gets_of_memcache_overlap() {
    let Some(server) = servers::memcached() else { return };
    let gate = Gate::new();
    let forwarder = forward_to(server.port, &gate);
    // Its pool is r2d2's, which opens all connections on threads of its own, and waits for them by locks of parking_lot. As
    // long as it has a connection for everybody, nobody waits there again.
    let client = Client::with_pool_size(format!("memcache://{forwarder}?protocol=ascii"), CONCURRENT as u32).unwrap();
    for number in 0..CONCURRENT {
        client.set(&format!("key{number}"), format!("value {number}"), 0).unwrap();
    }
    let answers = at_once(move |number| client.get::<String>(&format!("key{number}")).unwrap());
    assert_eq!(answers, (0..CONCURRENT).map(|number| Some(format!("value {number}"))).collect::<Vec<_>>());
    assert_eq!(gate.peak(), CONCURRENT, "gets at once, in the forwarder's count");
}

/// Lets gets through when all have come.
fn forward_to(port: u16, gate: &Arc<Gate>) -> SocketAddr {
    let gate = Arc::clone(gate);
    local::serve(move |mut client| {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || io::copy(&mut answers, &mut back));
        let mut request = [0; 1024];
        loop {
            // These requests are short: each comes in one piece.
            let length = client.read(&mut request)?;
            match &request[..length] {
                [] => return Ok(()),
                get if get.starts_with(b"get") => gate.pass(),
                _ => {}
            }
            (&server).write_all(&request[..length])?;
        }
    })
}
