//! Peers and systems that behave badly.

use std::io::{ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenlet_hub::{spawn, yield_now};
use greenlet_net::{ListenOptions, TcpListener, TcpStream};
use socket2::SockRef;

use crate::worlds::{ANY, tcp_pair};

#[test]
fn a_reset_ends_a_waiting_read_with_an_error() {
    let (mut ours, theirs) = tcp_pair();
    let reader = spawn(move || {
        let first = ours.read(&mut [0; 8]).unwrap_err().kind();
        (first, ours.peer_addr().unwrap_err().kind(), ours.read(&mut [0; 8]).unwrap())
    });
    yield_now();
    SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    assert_eq!(reader.join().unwrap(), (ErrorKind::ConnectionReset, ErrorKind::NotConnected, 0));
}

#[test]
fn a_reset_ends_a_waiting_write_with_an_error() {
    let (mut ours, theirs) = tcp_pair();
    let writer = spawn(move || ours.write_all(&vec![0; 50_000_000]).unwrap_err().kind());
    yield_now();
    SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    assert_eq!(writer.join().unwrap(), ErrorKind::ConnectionReset);
}

#[test]
fn a_peer_that_half_closes_still_gets_its_answer() {
    let (ours, mut theirs) = tcp_pair();
    let server = spawn(move || {
        let request = std::io::read_to_string(&ours).unwrap();
        (&ours).write_all(request.to_uppercase().as_bytes()).unwrap();
    });
    yield_now();
    theirs.write_all(b"request").unwrap();
    theirs.shutdown(net::Shutdown::Write).unwrap();
    server.join().unwrap();
    assert_eq!(std::io::read_to_string(theirs).unwrap(), "REQUEST");
}

#[test]
fn a_peer_that_sends_a_byte_at_a_time_does_not_hold_others_up() {
    let (mut slow, mut slow_peer) = tcp_pair();
    let (mut quick, mut quick_peer) = tcp_pair();
    let slow_reader = spawn(move || {
        let mut line = [0; 20];
        slow.read_exact(&mut line).unwrap();
        line
    });
    for number in 0..20 {
        slow_peer.write_all(&[number]).unwrap();
        quick_peer.write_all(b"message").unwrap();
        quick.read_exact(&mut [0; 7]).unwrap();
        assert!(number == 19 || !slow_reader.is_finished());
    }
    assert_eq!(slow_reader.join().unwrap()[19], 19);
}

#[test]
fn a_peer_that_never_reads_makes_its_writer_wait_and_nobody_else() {
    let (mut ours, mut theirs) = tcp_pair();
    const SIZE: usize = 40_000_000;
    let writer = spawn(move || {
        // One buffer: what the peer does not take is not kept anywhere.
        let buf = [7; 10_000];
        for _ in 0..SIZE / buf.len() {
            ours.write_all(&buf).unwrap();
        }
    });
    let (mut other, mut other_peer) = tcp_pair();
    for _ in 0..100 {
        other_peer.write_all(b"message").unwrap();
        other.read_exact(&mut [0; 7]).unwrap();
        yield_now();
    }
    assert!(!writer.is_finished());
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        all.len()
    });
    writer.join().unwrap();
    assert_eq!(reader.join().unwrap(), SIZE);
}

#[test]
fn a_socket_that_is_always_ready_lets_others_run() {
    let (ours, theirs) = tcp_pair();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            (&theirs).write_all(&[0; 65_536]).unwrap();
        }
    });
    let reader = spawn(move || while (&ours).read(&mut [0; 64]).unwrap() > 0 {});
    for _ in 0..1000 {
        yield_now();
    }
    assert!(!reader.is_finished());
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    flood.join().unwrap();
}

/// A listener that takes no more connections: one is in its queue, and Linux drops what else comes.
fn full_listener() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::bind_with(ANY, &ListenOptions::new().backlog(0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        clients.push(client);
    }
    (listener, addr, clients)
}

#[test]
#[cfg(target_os = "linux")]
fn a_connect_that_gets_no_answer_times_out_in_stds_words() {
    let (_listener, addr, _clients) = full_listener();
    let start = Instant::now();
    let err = TcpStream::connect_timeout(&addr, Duration::from_millis(50)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(50));
    let expected = net::TcpStream::connect_timeout(&addr, Duration::from_millis(50)).unwrap_err();
    assert_eq!((err.kind(), err.to_string()), (expected.kind(), expected.to_string()));
    assert_eq!(err.kind(), ErrorKind::TimedOut);
}

#[test]
#[cfg(target_os = "linux")]
fn connects_that_wait_do_not_hold_others_up() {
    let (_listener, addr, _clients) = full_listener();
    let waiting: Vec<_> = (0..10)
        .map(|_| spawn(move || TcpStream::connect_timeout(&addr, Duration::from_millis(300)).map(drop)))
        .collect();
    let start = Instant::now();
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"x").unwrap();
    ours.read_exact(&mut [0; 1]).unwrap();
    assert!(start.elapsed() < Duration::from_millis(300) && waiting.iter().all(|connect| !connect.is_finished()));
    for connect in waiting {
        assert_eq!(connect.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    assert!(start.elapsed() < Duration::from_secs(2), "they waited one after the other");
}

const CHILD: &str = "GREENLET_NET_TEST_CHILD";

/// Runs one test of this binary again, in a process that may have no more than `descriptors`.
fn run_in_child(test: &str, descriptors: u32) {
    let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
    let mut child = Command::new("sh");
    child.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

#[test]
fn when_descriptors_run_out_accept_says_so_and_resumes_with_nothing_lost() {
    if std::env::var_os(CHILD).is_none() {
        return run_in_child("faults::when_descriptors_run_out_accept_says_so_and_resumes_with_nothing_lost", 40);
    }
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    // One waits already when the descriptors run out, one comes afterwards: both are told.
    let listener = Rc::new(listener);
    let shared = Rc::clone(&listener);
    let acceptor = spawn(move || shared.accept().map(drop));
    yield_now();
    let err = loop {
        match net::TcpStream::connect(addr) {
            Ok(client) => clients.push(client),
            Err(err) => break err,
        }
    };
    assert_eq!(err.raw_os_error(), Some(libc::EMFILE));
    let queued = clients.len();
    assert!(queued > 10);
    assert_eq!(acceptor.join().unwrap().unwrap_err().raw_os_error(), Some(libc::EMFILE));
    assert_eq!(listener.accept().unwrap_err().raw_os_error(), Some(libc::EMFILE));
    assert_eq!(TcpStream::connect(addr).unwrap_err().raw_os_error(), Some(libc::EMFILE));
    // Room for one: each is accepted and closed in turn, and all are there.
    drop(clients.pop());
    for _ in 0..queued {
        listener.accept().unwrap();
    }
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
