//! The waits of Unix sockets whose end no poller tells.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{joinall, spawn, yield_now};
use greenlet_net::{UnixDatagram, UnixListener, UnixStream};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::worlds::Directory;

/// A listener whose backlog is one, and already full; and who filled it.
fn full_listener(directory: &Directory) -> (UnixListener, Vec<Socket>) {
    let addr = SockAddr::unix(directory.path("listener")).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&addr).unwrap();
    listener.listen(1).unwrap();
    let mut clients = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        match client.connect(&addr) {
            Ok(()) => clients.push(client),
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::WouldBlock);
                return (std::os::unix::net::UnixListener::from(listener).into(), clients);
            }
        }
    }
}

#[test]
fn a_connect_waits_while_the_backlog_is_full_and_others_run() {
    let directory = Directory::new();
    let (listener, clients) = full_listener(&directory);
    let path = directory.path("listener");
    let connects: Vec<_> = (0..3)
        .map(|_| {
            let path = path.clone();
            spawn(move || UnixStream::connect(path).unwrap().write_all(b"here").unwrap())
        })
        .collect();
    yield_now();
    assert!(connects.iter().all(|connect| !connect.is_finished()));
    for _ in 0..clients.len() {
        listener.accept().unwrap();
    }
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buf = [0; 4];
        stream.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"here");
    }
    joinall(connects).into_iter().for_each(Result::unwrap);
}

#[test]
fn a_waiting_connect_is_refused_when_the_listener_goes() {
    let directory = Directory::new();
    let (listener, _clients) = full_listener(&directory);
    let path = directory.path("listener");
    let connect = spawn(move || UnixStream::connect(path).map(drop));
    yield_now();
    drop(listener);
    assert_eq!(connect.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Sends until the sender waits; then receives all, in order.
fn check_flood(receiver: UnixDatagram, send: impl Fn(&[u8]) -> std::io::Result<usize> + 'static) {
    const DATAGRAMS: u32 = 2000;

    let sent = Rc::new(Cell::new(0));
    let count = Rc::clone(&sent);
    let sender = spawn(move || {
        for number in 0..DATAGRAMS {
            send(&number.to_ne_bytes()).unwrap();
            count.set(number + 1);
        }
    });
    // It yields by itself now and then.
    let mut before = u32::MAX;
    while sent.get() != before {
        before = sent.get();
        yield_now();
    }
    assert!(before < DATAGRAMS && !sender.is_finished());
    for number in 0..DATAGRAMS {
        let mut buf = [0; 8];
        assert_eq!(receiver.recv(&mut buf).unwrap(), 4);
        assert_eq!(buf[..4], number.to_ne_bytes());
    }
    sender.join().unwrap();
}

#[test]
fn sending_to_a_path_waits_while_the_queue_is_full() {
    let directory = Directory::new();
    let path = directory.path("receiver");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    check_flood(receiver, move |datagram| sender.send_to(datagram, &path));
}

#[test]
fn sending_to_a_connected_peer_waits_while_the_queue_is_full() {
    let directory = Directory::new();
    let path = directory.path("receiver");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(&path).unwrap();
    check_flood(receiver, move |datagram| sender.send(datagram));
}

#[test]
fn sending_to_a_full_queue_times_out_as_in_std() {
    let directory = Directory::new();
    let path = directory.path("receiver");
    let _receiver = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let err = loop {
        if let Err(err) = sender.send_to(b"x", &path) {
            break err;
        }
    };
    assert_eq!(err.kind(), ErrorKind::WouldBlock);
    sender.set_nonblocking(true).unwrap();
    assert_eq!(sender.send_to(b"x", &path).unwrap_err().kind(), ErrorKind::WouldBlock);
}
