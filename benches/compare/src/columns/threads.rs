//! One OS thread of std for each task, all on one core.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{BUFFER, Column, Stopwatch, WARM_UP};
use crate::gauge::Gauge;
use crate::pings::Pings;

mod cores;
mod sync;

pub(super) use sync::locks;

/// Threads end at 16,371 here when all wait; the empty ones of `spawn` are over sooner. Without `sleep`, whose smallest case has 100,000.
pub(super) const COLUMN: Column = Column {
    name: "threads",
    limit: 30_000,
    yields: &[yields],
    spawns: &[spawns],
    hold: Some(hold),
    steps: &[sync::STEPS],
    serve: Some(serve),
    serve_on_two: Some(serve),
    ping: Some(ping),
    ..Column::EMPTY
};

/// What std itself offers for the purpose.
pub(super) const STD: Column = Column { name: "std", steps: &[cores::STEPS], wakes: cores::WAKES, ..Column::EMPTY };

fn yields(tasks: usize, each: usize) -> Duration {
    let stopwatch = Stopwatch::new();
    let all_there = Barrier::new(tasks);
    thread::scope(|scope| {
        for _ in 0..tasks {
            scope.spawn(|| {
                all_there.wait();
                for _ in 0..WARM_UP {
                    thread::yield_now();
                }
                // Threads take no strict turns, so they have to meet again.
                all_there.wait();
                stopwatch.start();
                for _ in 0..each {
                    thread::yield_now();
                }
            });
        }
    });
    stopwatch.elapsed()
}

fn spawns(tasks: usize, rounds: usize) -> Duration {
    let round = || {
        let handles: Vec<JoinHandle<()>> = (0..tasks).map(|_| thread::spawn(|| ())).collect();
        for handle in handles {
            handle.join().expect("an empty thread does not panic");
        }
    };
    round();
    let start = Instant::now();
    for _ in 0..rounds {
        round();
    }
    start.elapsed()
}

fn hold(tasks: usize, mut gauge: Gauge) {
    gauge.begin();
    let all_there = Arc::new(Barrier::new(tasks + 1));
    for _ in 0..tasks {
        let all_there = Arc::clone(&all_there);
        thread::spawn(move || {
            all_there.wait();
            loop {
                thread::park();
            }
        });
    }
    all_there.wait();
    gauge.all_wait()
}

fn serve(ready: &dyn Fn(SocketAddr)) {
    // std's own backlog of 128 is long enough: the load connects in smaller batches.
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    ready(listener.local_addr().expect("a bound listener has an address"));
    for stream in listener.incoming().flatten() {
        thread::spawn(move || echo(stream));
    }
}

pub(super) fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len])?;
    }
}

fn ping(pings: &Pings) {
    let client = redis::Client::open(pings.url()).expect("a good URL");
    for index in 0..pings.clients() {
        let mut connection = client.get_connection().expect("the server accepts");
        thread::spawn(move || {
            loop {
                Pings::answered(index, redis::cmd("PING").query(&mut connection));
            }
        });
    }
    thread::sleep(pings.warm_up());
    pings.begin();
    thread::sleep(pings.duration());
    pings.end()
}
