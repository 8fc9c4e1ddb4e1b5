//! A server that runs out of descriptors.

use crate::support::{Server, round_trip, wait_until};

#[test]
fn a_server_without_descriptors_backs_off_and_loses_nobody() {
    let server = Server::start_with_descriptors("echo_server", 32);
    // More than it can accept; the kernel keeps the rest in the backlog.
    let mut clients: Vec<_> = (0..80).map(|_| server.connect()).collect();
    round_trip(&mut clients[0], b"the first is served");
    wait_until("it has run out", || server.stderr().contains("Too many open files"));
    // The others are served as those before them leave; each of the later ones waits for a pause of a second at the most.
    for (number, mut client) in clients.into_iter().enumerate() {
        round_trip(&mut client, format!("client {number}").as_bytes());
    }
    let mut late = server.connect();
    round_trip(&mut late, b"and one who comes later");
    // 10, 20, 40 ms … 1 s: it neither spins nor floods its log.
    let stderr = server.end();
    let complaints = stderr.lines().count();
    assert!(complaints < 200, "{complaints} complaints: {stderr}");
    assert!(stderr.starts_with("cannot accept: Too many open files (os error 24); trying again in 10ms"), "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("cannot accept: Too many open files")), "{stderr}");
}
