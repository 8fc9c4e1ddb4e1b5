//! Clients that misbehave: the server goes on, its memory stays bounded, and the others do not notice.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::support::{Server, round_trip, wait_until};

/// What a well-behaved client waits for its echo at the most, beside the others. A server that is stopped by one of
/// them does not answer at all; a busy machine answers late.
const LATEST: Duration = Duration::from_secs(5);
/// What a connection may leave of memory in the server, in KiB: a page of stack and its bookkeeping, tenfold.
const KIB_EACH: u64 = 50;

/// Runs the bad clients against a server, beside a good one, and looks at what they leave behind.
fn survives<C>(count: usize, bad_client: impl Fn(&Server) -> C) {
    let server = Server::start("echo_server");
    let mut good = server.connect();
    round_trip(&mut good, b"warm");
    let (memory, descriptors) = (server.memory(), server.descriptors());
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(bad_client(&server));
        let took = round_trip(&mut good, b"a message of a client that behaves");
        assert!(took < LATEST, "{took:?}");
    }
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < KIB_EACH * count as u64, "{count} clients took {grown} KiB");
    drop(clients);
    wait_until("all descriptors are given back", || server.descriptors() == descriptors);
    round_trip(&mut good, b"and still there");
    assert_eq!(server.end(), "");
}

#[test]
fn clients_that_reset_the_connection() {
    survives(100, |server| {
        let mut stream = server.connect();
        round_trip(&mut stream, b"before");
        stream.write_all(b"and something on the way").unwrap();
        // Closing now sends a reset.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
}

#[test]
fn clients_that_reset_the_connection_before_it_is_accepted() {
    survives(100, |server| {
        let stream = server.connect();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
}

#[test]
fn clients_that_half_close_get_the_rest_and_the_end() {
    survives(100, |server| {
        let mut stream = server.connect();
        stream.write_all(b"the last words").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"the last words");
    });
}

#[test]
fn clients_that_send_nothing() {
    survives(500, Server::connect);
}

#[test]
fn clients_that_send_a_byte_at_a_time() {
    survives(20, |server| {
        let mut stream = server.connect();
        stream.set_nodelay(true).unwrap();
        for byte in b"slowly" {
            round_trip(&mut stream, &[*byte]);
        }
        stream
    });
}

#[test]
fn clients_that_send_and_never_read() {
    survives(20, |server| {
        let mut stream = server.connect();
        assert!(fill(&mut stream) > 100_000, "the server takes what the sockets hold");
        stream
    });
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    let server = Server::start("echo_server");
    let mut stream = server.connect();
    let sent = fill(&mut stream);
    stream.set_nonblocking(false).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo).unwrap();
    assert_eq!(echo.len(), sent);
    assert!(echo.iter().all(|&byte| byte == b'x'));
}

/// Sends until nothing more is taken for a while; how much it was.
fn fill(stream: &mut TcpStream) -> usize {
    let mut sent = 0;
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    loop {
        match stream.write(&[b'x'; 65_536]) {
            Ok(len) => sent += len,
            Err(err) if err.kind() == ErrorKind::WouldBlock => return sent,
            Err(err) => panic!("the server went away: {err}"),
        }
    }
}

#[test]
fn a_member_of_the_chat_who_never_reads_is_shown_out_and_stops_nobody() {
    let server = Server::start("chat_server");
    let silent = server.connect();
    let mut talker = server.connect();
    let (silent_name, name) = (silent.local_addr().unwrap(), talker.local_addr().unwrap());
    let line = "x".repeat(900) + "\n";
    let mut heard = String::new();
    let memory = server.memory();
    // Far more than the sockets of the silent one and its outbox hold.
    for _ in 0..200 {
        for _ in 0..100 {
            talker.write_all(line.as_bytes()).unwrap();
        }
        let mut lines = 0;
        while lines < 100 {
            let mut buf = [0; 65_536];
            let len = talker.read(&mut buf).unwrap();
            heard.push_str(std::str::from_utf8(&buf[..len]).unwrap());
            while let Some((line, rest)) = heard.split_once('\n') {
                lines += usize::from(line.starts_with(&format!("{name}: x")));
                if line == format!("* {silent_name} has gone") {
                    let grown = server.memory().saturating_sub(memory);
                    assert!(grown < 10_000, "the outbox took {grown} KiB");
                    return;
                }
                heard = rest.to_owned();
            }
        }
    }
    panic!("the silent one is still in the room");
}
