//! The soak: thousands of connections with traffic for a minute, and a server that must not grow. Run it by `ci/soak`.
//!
//! The server is the example in its own process, this one is the client. `SOAK_SECONDS` (60) and `SOAK_CONNECTIONS`
//! (9,000) change the size.

use std::cell::Cell;
use std::env;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet::net::{SocketAddr, TcpStream};
use greenlet::{joinall, sleep, spawn};

#[path = "it/support.rs"]
#[allow(dead_code, reason = "the soak needs only the server")]
mod support;

/// How often a connection sends a message.
const INTERVAL: Duration = Duration::from_secs(1);
/// After so many messages a connection is closed, and a new one takes its place.
const MESSAGES: usize = 20;
/// What the server may take more at the end than in the beginning, in KiB: its allocator's noise.
const GROWTH: u64 = 1024;

fn number_from_env(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|err| panic!("{name}={value}: {err}")))
}

#[test]
#[ignore = "takes a minute and thousands of descriptors: run it by ci/soak"]
fn a_server_with_thousands_of_busy_connections_does_not_grow() {
    let duration = Duration::from_secs(number_from_env("SOAK_SECONDS", 60) as u64);
    let connections = number_from_env("SOAK_CONNECTIONS", 9000);
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let server = support::Server::start("echo_server");
    let addr = server.addr;
    let counters = Rc::new(Counters::default());
    let first_streams: Vec<_> = (0..connections).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let start = Instant::now();
    let end = start + duration;
    let clients: Vec<_> = first_streams
        .into_iter()
        .enumerate()
        .map(|(number, stream)| {
            let counters = Rc::clone(&counters);
            spawn(move || keep_talking(number, stream, addr, end, &counters).unwrap())
        })
        .collect();

    // By then each connection has sent something and been served at full depth.
    sleep(duration / 4);
    let (memory, descriptors) = (server.memory(), server.descriptors());
    println!("after {:?}: {memory} KiB, {descriptors} descriptors", start.elapsed());
    // To eleven twelfths: then all clients are still there.
    for _ in 0..8 {
        sleep(duration / 12);
        let (memory, descriptors) = (server.memory(), server.descriptors());
        println!("after {:?}: {memory} KiB, {descriptors} descriptors", start.elapsed());
    }
    let (memory_at_end, descriptors_at_end) = (server.memory(), server.descriptors());
    for client in joinall(clients) {
        client.unwrap();
    }
    let (messages, connects) = (counters.messages.get(), counters.connects.get());
    println!(
        "{messages} messages, {connects} further connections; the slowest round trip {:?}",
        counters.slowest.get()
    );

    assert!(messages > 0, "there was traffic");
    assert!(memory_at_end <= memory + GROWTH, "from {memory} to {memory_at_end} KiB");
    // A connection that is being replaced may count twice, or not at all.
    assert!(descriptors_at_end <= descriptors + connections / 100 + 10, "from {descriptors} to {descriptors_at_end}");
    support::wait_until("the server has closed all connections", || server.descriptors() < 20);
    assert_eq!(server.end(), "");
}

#[derive(Default)]
struct Counters {
    messages: Cell<u64>,
    connects: Cell<u64>,
    slowest: Cell<Duration>,
}

/// One client after the other, each with a connection of its own.
fn keep_talking(
    number: usize,
    mut stream: TcpStream,
    addr: SocketAddr,
    end: Instant,
    counters: &Counters,
) -> io::Result<()> {
    // Spread evenly over the interval, and over the messages until the first reconnection.
    sleep(INTERVAL.mul_f64(number as f64 * 0.618 % 1.0));
    let mut message = number % MESSAGES;
    while Instant::now() < end {
        if message == MESSAGES {
            stream = TcpStream::connect(addr)?;
            counters.connects.set(counters.connects.get() + 1);
            message = 0;
        }
        let sent = format!("{number:32}{message:32}");
        let start = Instant::now();
        stream.write_all(sent.as_bytes())?;
        let mut echo = [0; 64];
        stream.read_exact(&mut echo)?;
        assert_eq!(echo, sent.as_bytes());
        counters.slowest.set(counters.slowest.get().max(start.elapsed()));
        counters.messages.set(counters.messages.get() + 1);
        message += 1;
        sleep(INTERVAL);
    }
    Ok(())
}
