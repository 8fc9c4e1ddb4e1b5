//! UDP, as std has it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::worlds::{ANY, in_both_worlds};

in_both_worlds! {
    fn datagrams_keep_their_bounds_and_their_sender() {
        let server = UdpSocket::bind(ANY).unwrap();
        let addr = server.local_addr().unwrap();
        let client = UdpSocket::bind(ANY).unwrap();
        let from = client.local_addr().unwrap();
        let sender = spawn(move || {
            for text in [&b"one"[..], b"", b"three"] {
                assert_eq!(client.send_to(text, addr).unwrap(), text.len());
            }
        });
        let mut buf = [0; 64];
        assert_eq!(server.recv_from(&mut buf).unwrap(), (3, from));
        assert_eq!(server.recv_from(&mut buf).unwrap(), (0, from));
        assert_eq!(server.recv_from(&mut buf).unwrap(), (5, from));
        assert_eq!(&buf[..5], b"three");
        sender.join().unwrap();
    }

    fn what_does_not_fit_is_lost() {
        let server = UdpSocket::bind(ANY).unwrap();
        let client = UdpSocket::bind(ANY).unwrap();
        client.send_to(b"too long", server.local_addr().unwrap()).unwrap();
        client.send_to(b"ok", server.local_addr().unwrap()).unwrap();
        let mut buf = [0; 3];
        assert_eq!(server.recv(&mut buf).unwrap(), 3);
        assert_eq!(server.recv(&mut buf).unwrap(), 2);
    }

    fn peeking_takes_nothing() {
        let server = UdpSocket::bind(ANY).unwrap();
        let addr = server.local_addr().unwrap();
        let client = UdpSocket::bind(ANY).unwrap();
        let from = client.local_addr().unwrap();
        let sender = spawn(move || client.send_to(b"hello", addr).map(drop));
        let mut buf = [0; 64];
        assert_eq!(server.peek_from(&mut buf).unwrap(), (5, from));
        server.connect(from).unwrap();
        assert_eq!(server.peek(&mut buf).unwrap(), 5);
        assert_eq!(server.recv(&mut buf).unwrap(), 5);
        sender.join().unwrap().unwrap();
    }

    fn a_connected_socket_has_one_peer() {
        let server = UdpSocket::bind(ANY).unwrap();
        let client = UdpSocket::bind(ANY).unwrap();
        let stranger = UdpSocket::bind(ANY).unwrap();
        assert_eq!(client.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        client.connect(server.local_addr().unwrap()).unwrap();
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        stranger.send_to(b"stranger", client.local_addr().unwrap()).unwrap();
        client.send(b"ping").unwrap();
        let mut buf = [0; 64];
        let (len, from) = server.recv_from(&mut buf).unwrap();
        server.send_to(&buf[..len], from).unwrap();
        assert_eq!(client.recv(&mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"ping");
    }

    fn sending_to_nobody_is_told_by_the_next_call() {
        let gone = UdpSocket::bind(ANY).unwrap().local_addr().unwrap();
        let client = UdpSocket::bind(ANY).unwrap();
        client.connect(gone).unwrap();
        client.send(b"anybody?").unwrap();
        assert_eq!(client.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    fn a_pending_error_can_be_taken() {
        let gone = UdpSocket::bind(ANY).unwrap().local_addr().unwrap();
        let client = UdpSocket::bind(ANY).unwrap();
        client.connect(gone).unwrap();
        client.send(b"anybody?").unwrap();
        let err = client.take_error().unwrap().expect("on loopback the answer is there when the call returns");
        assert_eq!(err.kind(), ErrorKind::ConnectionRefused);
        assert!(client.take_error().unwrap().is_none());
    }

    fn timeouts_say_would_block() {
        let socket = UdpSocket::bind(ANY).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut buf = [0; 8];
        assert_eq!(socket.recv_from(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(socket.recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(socket.peek_from(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(socket.peek(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        socket.set_read_timeout(None).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        assert_eq!(socket.read_timeout().unwrap(), None);
        assert_eq!(socket.write_timeout().unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(socket.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    fn non_blocking_calls_fail_instead_of_waiting() {
        let socket = UdpSocket::bind(ANY).unwrap();
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv_from(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        socket.send_to(b"self", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4);
    }

    fn clones_share_the_queue() {
        let socket = UdpSocket::bind(ANY).unwrap();
        let clone = socket.try_clone().unwrap();
        socket.send_to(b"one", clone.local_addr().unwrap()).unwrap();
        assert_eq!(clone.recv(&mut [0; 8]).unwrap(), 3);
        clone.send_to(b"two!", clone.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4);
    }

    fn options_are_read_as_they_were_set() {
        let socket = UdpSocket::bind(ANY).unwrap();
        for on in [true, false] {
            socket.set_broadcast(on).unwrap();
            assert_eq!(socket.broadcast().unwrap(), on);
            socket.set_multicast_loop_v4(on).unwrap();
            assert_eq!(socket.multicast_loop_v4().unwrap(), on);
        }
        socket.set_multicast_ttl_v4(7).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 7);
        socket.set_ttl(77).unwrap();
        assert_eq!(socket.ttl().unwrap(), 77);
        assert!(socket.set_multicast_loop_v6(true).is_err());
        assert!(socket.multicast_loop_v6().is_err());
        assert!(format!("{socket:?}").starts_with("UdpSocket { addr: 127.0.0.1:"));
    }

    fn multicast_groups_are_joined_and_left() {
        let socket = UdpSocket::bind(ANY).unwrap();
        let (group, interface) = (Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::LOCALHOST);
        socket.join_multicast_v4(&group, &interface).unwrap();
        assert_eq!(socket.join_multicast_v4(&group, &interface).unwrap_err().kind(), ErrorKind::AddrInUse);
        socket.leave_multicast_v4(&group, &interface).unwrap();
        assert_eq!(socket.leave_multicast_v4(&group, &interface).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    }

    fn ipv6_multicast_works_where_there_is_ipv6() {
        let Ok(socket) = UdpSocket::bind("[::1]:0") else {
            println!("skipped: this machine has no ::1");
            return;
        };
        socket.set_multicast_loop_v6(false).unwrap();
        assert!(!socket.multicast_loop_v6().unwrap());
        let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 0xfb);
        // The loopback interface's index.
        if let Err(err) = socket.join_multicast_v6(&group, 1) {
            println!("skipped: no IPv6 multicast on the loopback interface: {err}");
            return;
        }
        socket.leave_multicast_v6(&group, 1).unwrap();
    }

    fn no_address_to_send_to_is_invalid_input() {
        let socket = UdpSocket::bind(ANY).unwrap();
        let none: &[SocketAddr] = &[];
        let err = socket.send_to(b"x", none).unwrap_err();
        assert_eq!((err.kind(), err.to_string().as_str()), (ErrorKind::InvalidInput, "no addresses to send data to"));
        assert_eq!(socket.connect(none).unwrap_err().to_string(), "could not resolve to any addresses");
        assert_eq!(UdpSocket::bind(none).unwrap_err().to_string(), "could not resolve to any addresses");
    }
}
