//! Clients that are none of ours: OS threads with `std::net`, `nc`, `python3`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{LIMIT, Server, bounded, example, has, round_trip, run_command, wait_until};

#[test]
fn threads_with_std_sockets_get_every_byte_back() {
    let server = Server::start("echo_server");
    thread::scope(|scope| {
        for client in 0..8_usize {
            let mut stream = server.connect();
            scope.spawn(move || {
                for size in [1, 64, 1000, 10_000, 100_000] {
                    let message: Vec<u8> = (0..size).map(|i| (i * 7 + client) as u8).collect();
                    // More than the sockets hold could not be sent before the first byte is read.
                    for part in message.chunks(50_000) {
                        round_trip(&mut stream, part);
                    }
                }
            });
        }
    });
}

/// Regression: with std's backlog of 128 some were dropped, and tried again only after a second.
#[test]
fn a_burst_of_connections_is_taken_at_once() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let server = Server::start("echo_server");
    let connect = || {
        let start = Instant::now();
        (server.connect(), start.elapsed())
    };
    let mut clients: Vec<_> = (0..1000).map(|_| connect()).collect();
    let slowest = clients.iter().map(|&(_, took)| took).max().unwrap();
    assert!(slowest < Duration::from_millis(900), "{slowest:?}");
    for (stream, _) in &mut clients {
        round_trip(stream, b"all are served");
    }
}

#[test]
fn a_large_transfer_with_a_reader_and_a_writer_at_once_is_exact() {
    let server = Server::start("echo_server");
    let mut stream = server.connect();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut echo = Vec::new();
    thread::scope(|scope| {
        let (mut writer, sent) = (stream.try_clone().unwrap(), &sent);
        scope.spawn(move || {
            writer.write_all(sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut echo).unwrap();
    });
    assert!(echo == sent, "{} bytes came back of {}", echo.len(), sent.len());
}

#[test]
fn std_sockets_and_the_udp_server_understand_each_other() {
    let server = Server::start("udp_echo");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.connect(server.addr).unwrap();
    let mut buf = [0; 70_000];
    for size in [0, 1, 1472, 60_000] {
        let datagram = vec![size as u8; size];
        client.send(&datagram).unwrap();
        let len = client.recv(&mut buf).unwrap();
        assert!(buf[..len] == datagram, "{len} bytes came back of {size}");
    }
}

#[test]
fn the_forwarder_passes_on_the_end_of_each_direction_by_itself() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let target_addr = target.local_addr().unwrap().to_string();
    let forwarder = Server::spawn(Command::new(example("port_forwarder")).args(["127.0.0.1:0", &target_addr]));
    let mut client = forwarder.connect();
    let (mut server, _) = target.accept().unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    // The server ends its direction first; the other one goes on.
    server.write_all(b"welcome").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "welcome");
    client.write_all(b"still here").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    text.clear();
    server.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
}

#[test]
fn the_forwarder_closes_its_client_when_the_target_refuses() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let forwarder = Server::spawn(Command::new(example("port_forwarder")).args(["127.0.0.1:0", &target]));
    let mut client = forwarder.connect();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    wait_until("it says why", || forwarder.stderr().contains("refused"));
}

#[test]
fn what_one_says_in_the_chat_the_others_read() {
    let server = Server::start("chat_server");
    let mut alice = server.connect();
    let name = alice.local_addr().unwrap();
    expect(&mut alice, &format!("* {name} has come\n"));
    let mut bob = server.connect();
    let bobs_name = bob.local_addr().unwrap();
    for stream in [&mut alice, &mut bob] {
        expect(stream, &format!("* {bobs_name} has come\n"));
    }
    alice.write_all(b"hello ").unwrap();
    alice.write_all(b"bob\r\n").unwrap();
    for stream in [&mut alice, &mut bob] {
        expect(stream, &format!("{name}: hello bob\n"));
    }
    drop(alice);
    expect(&mut bob, &format!("* {name} has gone\n"));
}

/// Reads exactly that.
#[track_caller]
fn expect(stream: &mut TcpStream, text: &str) {
    let mut buf = vec![0; text.len()];
    stream.read_exact(&mut buf).unwrap();
    assert_eq!(String::from_utf8_lossy(&buf), text);
}

#[test]
fn netcat_gets_its_lines_back() {
    if !has("nc") {
        return;
    }
    let server = Server::start("echo_server");
    let mut nc = bounded("nc");
    // Without an option to half-close, which not every netcat has, `-w` ends it.
    nc.args(["-w", "1", "127.0.0.1", &server.addr.port().to_string()]);
    assert_eq!(run_command(&mut nc, b"one\ntwo\n").stdout, b"one\ntwo\n");
}

#[test]
fn python_gets_its_bytes_back_from_many_sockets_at_once() {
    if !has("python3") {
        return;
    }
    let server = Server::start("echo_server");
    let script = "
import socket, sys
addr = ('127.0.0.1', int(sys.argv[1]))
sockets = [socket.create_connection(addr) for _ in range(100)]
for round in range(20):
    for i, s in enumerate(sockets):
        s.sendall(b'%d %d\\n' % (i, round))
    for i, s in enumerate(sockets):
        assert s.makefile('rb').readline() == b'%d %d\\n' % (i, round)
s = sockets[0]
s.sendall(b'x' * 1000)
s.shutdown(socket.SHUT_WR)
rest = b''.join(iter(lambda: s.recv(4096), b''))
assert rest == b'x' * 1000, len(rest)
print('exact')
";
    let mut python = bounded("python3");
    let output = run_command(python.args(["-c", script, &server.addr.port().to_string()]), b"");
    assert_eq!(output.stdout, b"exact\n", "{}", String::from_utf8_lossy(&output.stderr));
}
