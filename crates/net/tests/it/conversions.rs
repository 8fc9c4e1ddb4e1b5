//! From and to std's types, owned and raw descriptors.

use std::io::{ErrorKind, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net as unix;
use std::time::Duration;

use greenlet_hub::spawn;
use greenlet_net::{ListenOptions, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use socket2::SockRef;

use crate::worlds::{ANY, Directory, tcp_pair};

fn is_nonblocking(socket: &impl AsFd) -> bool {
    SockRef::from(socket).nonblocking().unwrap()
}

#[test]
fn every_new_descriptor_is_non_blocking_and_closed_on_exec() {
    fn check(socket: &impl AsFd) {
        assert!(is_nonblocking(socket));
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_fd().as_raw_fd()));
        let Ok(info) = info else { return println!("skipped: there is no /proc") };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        assert_ne!(i32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC, 0);
    }

    let directory = Directory::new();
    let listener = TcpListener::bind(ANY).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    check(&listener.accept().unwrap().0);
    check(&listener);
    check(&stream);
    check(&stream.try_clone().unwrap());
    check(&UdpSocket::bind(ANY).unwrap());
    let listener = UnixListener::bind(directory.path("listener")).unwrap();
    let stream = UnixStream::connect(directory.path("listener")).unwrap();
    check(&listener.accept().unwrap().0);
    check(&listener);
    check(&stream);
    check(&UnixStream::pair().unwrap().0);
    check(&UnixDatagram::pair().unwrap().1);
    check(&UnixDatagram::unbound().unwrap());
    check(&UnixDatagram::bind(directory.path("datagram")).unwrap());
}

#[test]
fn stds_types_come_out_blocking_and_go_in_non_blocking() {
    macro_rules! check {
        ($ours:ty, $std:ty, $socket:expr) => {
            let std: $std = $socket;
            let ours: $ours = std.into();
            assert!(is_nonblocking(&ours));
            let std: $std = ours.into();
            assert!(!is_nonblocking(&std));
            let fd: OwnedFd = <$ours>::from(OwnedFd::from(std)).into();
            assert!(!is_nonblocking(&fd));
            let number = <$ours>::from(fd).into_raw_fd();
            // SAFETY: the number was just given away by its owner.
            let ours = unsafe { <$ours>::from_raw_fd(number) };
            assert!(is_nonblocking(&ours));
            assert_eq!(ours.as_raw_fd(), number);
            assert_eq!(ours.as_fd().as_raw_fd(), number);
        };
    }

    let directory = Directory::new();
    let listener = net::TcpListener::bind(ANY).unwrap();
    check!(TcpStream, net::TcpStream, net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    check!(TcpListener, net::TcpListener, listener);
    check!(UdpSocket, net::UdpSocket, net::UdpSocket::bind(ANY).unwrap());
    check!(UnixStream, unix::UnixStream, unix::UnixStream::pair().unwrap().0);
    check!(UnixDatagram, unix::UnixDatagram, unix::UnixDatagram::pair().unwrap().0);
    check!(UnixListener, unix::UnixListener, unix::UnixListener::bind(directory.path("listener")).unwrap());
}

#[test]
fn timeouts_and_the_non_blocking_mode_are_carried_over_both_ways() {
    let (one, two) = unix::UnixStream::pair().unwrap();
    one.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    two.set_nonblocking(true).unwrap();
    let (one, mut two) = (UnixStream::from(one), UnixStream::from(two));
    assert_eq!(one.read_timeout().unwrap(), Some(Duration::from_secs(2)));
    assert_eq!(one.write_timeout().unwrap(), None);
    assert_eq!(two.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);

    one.set_read_timeout(None).unwrap();
    one.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let (one, mut two) = (unix::UnixStream::from(one), unix::UnixStream::from(two));
    assert_eq!((one.read_timeout().unwrap(), one.write_timeout().unwrap()), (None, Some(Duration::from_secs(3))));
    assert!(!is_nonblocking(&one) && is_nonblocking(&two));
    assert_eq!(two.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_timeout_that_std_has_set_ends_a_wait() {
    let (one, _two) = unix::UnixStream::pair().unwrap();
    one.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut ours = UnixStream::from(one);
    let other = spawn(|| 1);
    assert_eq!(ours.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(other.is_finished());
}

#[test]
fn a_socket_that_has_waited_goes_back_to_std_and_returns() {
    let (mut ours, mut theirs) = tcp_pair();
    for _ in 0..3 {
        let mut writer = theirs.try_clone().unwrap();
        let writer = spawn(move || writer.write_all(b"ab").unwrap());
        let mut byte = [0; 1];
        ours.read_exact(&mut byte).unwrap();
        writer.join().unwrap();
        let mut std = net::TcpStream::from(ours);
        std.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
        theirs.write_all(b"c").unwrap();
        std.read_exact(&mut byte).unwrap();
        ours = std.into();
    }
}

#[test]
fn listen_options_are_asked_of_the_kernel() {
    let options = ListenOptions::new().reuse_port(true).backlog(7);
    let one = TcpListener::bind_with(ANY, &options).unwrap();
    let addr = one.local_addr().unwrap();
    let two = TcpListener::bind_with(addr, &options).unwrap();
    assert!(SockRef::from(&one).reuse_port().unwrap() && SockRef::from(&two).reuse_port().unwrap());
    assert_eq!(TcpListener::bind(addr).unwrap_err().kind(), ErrorKind::AddrInUse);
    let plain = TcpListener::bind(ANY).unwrap();
    assert!(!SockRef::from(&plain).reuse_port().unwrap() && SockRef::from(&plain).reuse_address().unwrap());
    assert_eq!(ListenOptions::default(), ListenOptions::new());
}

#[test]
fn only_v6_listeners_leave_the_port_to_ipv4() {
    let options = ListenOptions::new().only_v6(true);
    let Ok(six) = TcpListener::bind_with("[::]:0", &options) else {
        return println!("skipped: this machine has no IPv6");
    };
    let port = six.local_addr().unwrap().port();
    assert!(SockRef::from(&six).only_v6().unwrap());
    assert!(TcpListener::bind_with(("0.0.0.0", port), &options).is_ok());
}

#[test]
fn keepalive_is_set_and_taken_back() {
    let (ours, _theirs) = tcp_pair();
    assert!(!ours.keepalive().unwrap());
    ours.set_keepalive(Some(Duration::from_secs(77))).unwrap();
    assert!(ours.keepalive().unwrap());
    assert_eq!(SockRef::from(&ours).tcp_keepalive_time().unwrap(), Duration::from_secs(77));
    ours.set_keepalive(None).unwrap();
    assert!(!ours.keepalive().unwrap());
    assert_eq!(ours.set_keepalive(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
}
