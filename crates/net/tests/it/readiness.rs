//! What a socket knows of its descriptor is never so wrong that something is missed.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net;
use std::os::fd::AsRawFd;
use std::time::Duration;

use greenlet_hub::{spawn, yield_now};
use greenlet_net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use socket2::{MsgHdr, SockRef};

use crate::worlds::{ANY, tcp_pair};

/// Makes the socket wait once, so that from then on its readiness is kept.
fn register(mut ours: &TcpStream, theirs: &net::TcpStream) {
    let mut theirs = theirs.try_clone().unwrap();
    let writer = spawn(move || theirs.write_all(b"!").unwrap());
    assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
    writer.join().unwrap();
}

#[test]
fn data_and_the_end_that_came_together_before_the_first_wait_are_both_read() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"all").unwrap();
    drop(theirs);
    let mut buf = [0; 1024];
    assert_eq!(ours.read(&mut buf).unwrap(), 3);
    assert_eq!(ours.read(&mut buf).unwrap(), 0);
}

#[test]
fn data_and_the_end_that_came_together_while_waiting_are_both_read() {
    let (mut ours, mut theirs) = tcp_pair();
    let reader = spawn(move || {
        let mut buf = [0; 1024];
        [ours.read(&mut buf).unwrap(), ours.read(&mut buf).unwrap()]
    });
    yield_now();
    // Both arrive before the hub looks: one edge.
    theirs.write_all(b"all").unwrap();
    drop(theirs);
    assert_eq!(reader.join().unwrap(), [3, 0]);
}

#[test]
fn the_end_that_comes_after_a_short_read_is_seen() {
    let (mut ours, mut theirs) = tcp_pair();
    register(&ours, &theirs);
    theirs.write_all(b"all").unwrap();
    let mut buf = [0; 1024];
    assert_eq!(ours.read(&mut buf).unwrap(), 3);
    drop(theirs);
    assert_eq!(ours.read(&mut buf).unwrap(), 0);
    assert_eq!(ours.read(&mut buf).unwrap(), 0);
}

#[test]
fn a_short_read_is_followed_by_what_came_after_it() {
    let (mut ours, mut theirs) = tcp_pair();
    register(&ours, &theirs);
    let mut buf = [0; 1024];
    for round in 0..1000_usize {
        let len = 1 + round % 1000;
        theirs.write_all(&[7; 1000][..len]).unwrap();
        let mut left = len;
        while left > 0 {
            left -= ours.read(&mut buf).unwrap();
        }
    }
}

#[test]
fn data_after_urgent_data_is_read_as_std_reads_it() {
    // A read stops at the urgent byte, although more has arrived: it is short and has not emptied the buffer.
    let (mut ours, mut theirs) = tcp_pair();
    ours.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let reader = spawn(move || {
        let mut buf = [0; 1024];
        [ours.read(&mut buf).unwrap(), ours.read(&mut buf).unwrap()]
    });
    yield_now();
    theirs.write_all(b"before").unwrap();
    SockRef::from(&theirs).send_out_of_band(b"!").unwrap();
    theirs.write_all(b"after").unwrap();
    assert_eq!(reader.join().unwrap(), [6, 5]);
}

/// Sends a descriptor along with some bytes: the 24 bytes of a `cmsghdr` with one.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn send_with_descriptor(stream: &std::os::unix::net::UnixStream, bytes: &[u8]) {
    let mut control = [0; 24];
    control[..8].copy_from_slice(&20_u64.to_ne_bytes());
    control[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control[12..16].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    control[16..20].copy_from_slice(&stream.as_raw_fd().to_ne_bytes());
    let bytes = [IoSlice::new(bytes)];
    SockRef::from(stream).sendmsg(&MsgHdr::new().with_buffers(&bytes).with_control(&control), 0).unwrap();
}

#[test]
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn data_after_bytes_with_descriptors_is_read_as_std_reads_it() {
    // A read ends with the bytes that came with descriptors, although more has arrived.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut ours = UnixStream::from(ours);
    ours.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let reader = spawn(move || {
        let mut buf = [0; 1024];
        [ours.read(&mut buf).unwrap(), ours.read(&mut buf).unwrap()]
    });
    yield_now();
    send_with_descriptor(&theirs, b"with");
    (&theirs).write_all(b"without").unwrap();
    assert_eq!(reader.join().unwrap(), [4, 7]);
}

#[test]
fn two_datagrams_before_the_first_wait_are_both_received() {
    let socket = UdpSocket::bind(ANY).unwrap();
    let sender = UdpSocket::bind(ANY).unwrap();
    for text in [&b"one"[..], b"three"] {
        sender.send_to(text, socket.local_addr().unwrap()).unwrap();
    }
    let mut buf = [0; 1024];
    assert_eq!((socket.recv(&mut buf).unwrap(), socket.recv(&mut buf).unwrap()), (3, 5));
}

#[test]
fn two_datagrams_in_one_turn_of_the_loop_are_both_received() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let reader = spawn(move || {
        let mut buf = [0; 1024];
        (ours.recv(&mut buf).unwrap(), ours.recv(&mut buf).unwrap(), ours.recv(&mut buf).unwrap())
    });
    yield_now();
    theirs.send(b"one").unwrap();
    theirs.send(b"").unwrap();
    theirs.send(b"three").unwrap();
    assert_eq!(reader.join().unwrap(), (3, 0, 5));
}

#[test]
fn after_a_timeout_nothing_is_lost() {
    let (mut ours, mut theirs) = tcp_pair();
    let mut buf = [0; 64];
    ours.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    for _ in 0..20 {
        assert_eq!(ours.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        theirs.write_all(b"now").unwrap();
        assert_eq!(ours.read(&mut buf).unwrap(), 3);
    }
}

#[test]
fn readiness_survives_a_time_in_non_blocking_mode() {
    let (mut ours, mut theirs) = tcp_pair();
    register(&ours, &theirs);
    let mut buf = [0; 2];
    theirs.write_all(b"abcd").unwrap();
    ours.set_nonblocking(true).unwrap();
    assert_eq!(ours.read(&mut buf).unwrap(), 2);
    assert_eq!(ours.read(&mut buf).unwrap(), 2);
    assert_eq!(ours.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    ours.set_nonblocking(false).unwrap();
    let writer = spawn(move || theirs.write_all(b"e"));
    assert_eq!(ours.read(&mut buf).unwrap(), 1);
    writer.join().unwrap().unwrap();
}

#[test]
fn a_clone_sees_what_the_other_one_left() {
    let (ours, mut theirs) = tcp_pair();
    let clone = ours.try_clone().unwrap();
    register(&ours, &theirs);
    register(&clone, &theirs);
    let mut buf = [0; 64];
    theirs.write_all(b"abcdef").unwrap();
    assert_eq!((&ours).read(&mut buf[..2]).unwrap(), 2);
    assert_eq!((&clone).read(&mut buf).unwrap(), 4);
    theirs.write_all(b"gh").unwrap();
    assert_eq!((&ours).read(&mut buf).unwrap(), 2);
}
