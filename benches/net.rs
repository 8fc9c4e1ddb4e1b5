//! What a round trip of 64 bytes over a TCP connection on loopback costs. See `benches/hub.rs` for how to run it.

use std::io::{self, Read, Write};
use std::thread;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use greenlet::net::{SocketAddr, TcpListener, TcpStream};
use greenlet::spawn;

fn echo(listener: &TcpListener) {
    for stream in listener.incoming().map_while(Result::ok) {
        spawn(move || io::copy(&mut &stream, &mut &stream));
    }
}

fn round_trips(b: &mut Bencher<'_>, addr: SocketAddr) {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    let mut buf = [7; 64];
    b.iter(|| {
        stream.write_all(&buf).expect("the server reads");
        stream.read_exact(&mut buf).expect("the server answers");
    });
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("a listener has an address");
    (listener, addr)
}

fn echo_round_trip(c: &mut Criterion) {
    let mut group = c.benchmark_group("echo round trip");
    let (listener, addr) = listen();
    spawn(move || echo(&listener));
    group.bench_function("one thread", |b| round_trips(b, addr));
    let (listener, addr) = listen();
    thread::spawn(move || echo(&listener));
    group.bench_function("two threads", |b| round_trips(b, addr));
}

criterion_group!(benches, echo_round_trip);
criterion_main!(benches);
