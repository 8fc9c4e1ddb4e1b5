//! TCP, as std has it.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use crate::worlds::{ANY, closed_port, in_both_worlds};

in_both_worlds! {
    fn an_echo_returns_every_byte() {
        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buf = [0; 1000];
            loop {
                let len = stream.read(&mut buf).unwrap();
                if len == 0 {
                    return;
                }
                stream.write_all(&buf[..len]).unwrap();
            }
        });
        let stream = TcpStream::connect(addr).unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|i| (i * 7) as u8).collect();
        let (writer, to_send) = (stream.try_clone().unwrap(), sent.clone());
        let writer = spawn(move || {
            (&writer).write_all(&to_send).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        (&stream).read_to_end(&mut received).unwrap();
        assert!(received == sent);
        writer.join().unwrap();
        server.join().unwrap();
    }

    fn addresses_of_both_ends_match() {
        let listener = TcpListener::bind(ANY).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(client.local_addr().unwrap(), peer);
        assert_eq!(server.peer_addr().unwrap(), peer);
        assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(server.local_addr().unwrap(), listener.local_addr().unwrap());
    }

    fn ipv6_connections_work_where_there_is_ipv6() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            println!("skipped: this machine has no ::1");
            return;
        };
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, peer) = listener.accept().unwrap();
        assert!(peer.is_ipv6());
        client.write_all(b"six").unwrap();
        let mut buf = [0; 3];
        server.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"six");
    }

    fn peeking_takes_nothing_and_waits_for_data() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let writer = spawn(move || {
            client.write_all(b"abcdef").unwrap();
            client
        });
        let mut buf = [0; 4];
        assert!(server.peek(&mut buf[..1]).unwrap() == 1 && buf[0] == b'a');
        let client = writer.join().unwrap();
        assert_eq!(server.peek(&mut buf).unwrap(), 4);
        assert_eq!(server.peek(&mut [0; 100]).unwrap(), 6);
        let mut all = [0; 6];
        server.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"abcdef");
        drop(client);
        assert_eq!(server.peek(&mut buf).unwrap(), 0);
        assert_eq!(server.read(&mut buf).unwrap(), 0);
    }

    fn after_a_peek_that_was_short_the_rest_is_still_read() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"abc").unwrap();
        assert_eq!(server.peek(&mut [0; 64]).unwrap(), 3);
        let mut buf = [0; 64];
        assert_eq!(server.read(&mut buf).unwrap(), 3);
    }

    fn shutting_reading_down_makes_reads_return_the_end() {
        let listener = TcpListener::bind(ANY).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let other = client.try_clone().unwrap();
        let reader = spawn(move || (&client).read(&mut [0; 8]));
        other.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 0);
    }

    fn shutting_writing_down_makes_writes_fail_and_the_peer_see_the_end() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
        // Half closed: the other direction goes on.
        server.write_all(b"answer").unwrap();
        drop(server);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
    }

    fn shutting_down_both_ways_ends_a_wait() {
        let listener = TcpListener::bind(ANY).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let other = client.try_clone().unwrap();
        let reader = spawn(move || (&client).read(&mut [0; 8]).unwrap());
        other.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
        // On Linux a second time is fine.
        #[cfg(target_os = "linux")]
        other.shutdown(Shutdown::Both).unwrap();
    }

    fn a_read_that_times_out_says_would_block() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let timeout = Duration::from_millis(20);
        server.set_read_timeout(Some(timeout)).unwrap();
        let start = Instant::now();
        assert_eq!(server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= timeout);
        assert_eq!(server.peek(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // It is no worse for that.
        client.write_all(b"late").unwrap();
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 4);
    }

    fn a_write_that_times_out_says_would_block() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        let data = [0; 65_536];
        let err = loop {
            if let Err(err) = client.write(&data) {
                break err;
            }
        };
        assert_eq!(err.kind(), ErrorKind::WouldBlock);
        drop(server);
    }

    fn timeouts_are_shared_with_clones() {
        let listener = TcpListener::bind(ANY).unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let two = one.try_clone().unwrap();
        assert_eq!((one.read_timeout().unwrap(), one.write_timeout().unwrap()), (None, None));
        one.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        two.set_write_timeout(Some(Duration::from_secs(4))).unwrap();
        assert_eq!(two.read_timeout().unwrap(), Some(Duration::from_secs(3)));
        assert_eq!(one.write_timeout().unwrap(), Some(Duration::from_secs(4)));
        two.set_read_timeout(None).unwrap();
        assert_eq!(one.read_timeout().unwrap(), None);
    }

    fn a_timeout_of_zero_is_refused() {
        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        let stream = TcpStream::connect(addr).unwrap();
        for err in [
            stream.set_read_timeout(Some(Duration::ZERO)).unwrap_err(),
            stream.set_write_timeout(Some(Duration::ZERO)).unwrap_err(),
            TcpStream::connect_timeout(&addr, Duration::ZERO).unwrap_err(),
        ] {
            assert_eq!(err.kind(), ErrorKind::InvalidInput);
            assert_eq!(err.to_string(), "cannot set a 0 duration timeout");
        }
    }

    fn enormous_timeouts_are_accepted() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::MAX)).unwrap();
        let writer = spawn(move || server.write_all(b"x"));
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 1);
        writer.join().unwrap().unwrap();
    }

    fn vectored_calls_move_all_buffers_in_order() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (mut one, mut two, mut three) = ([0; 2], [0; 0], [0; 10]);
        let reader = spawn(move || {
            let len = server
                .read_vectored(&mut [
                    IoSliceMut::new(&mut one),
                    IoSliceMut::new(&mut two),
                    IoSliceMut::new(&mut three),
                ])
                .unwrap();
            (len, one, three, server)
        });
        let sent = client.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b""), IoSlice::new(b"bcd")]).unwrap();
        assert_eq!(sent, 4);
        let (len, one, three, mut server) = reader.join().unwrap();
        assert_eq!((len, &one, &three[..2]), (4, b"ab", &b"cd"[..]));
        // A short vectored read is short; the next data is found by the next one.
        client.write_all(b"again").unwrap();
        assert_eq!(server.read(&mut [0; 64]).unwrap(), 5);
        assert_eq!(server.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(client.write_vectored(&[]).unwrap(), 0);
    }

    fn moving_no_bytes_into_a_full_socket_does_not_wait() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        client.set_write_timeout(Some(Duration::from_millis(10))).unwrap();
        while client.write(&[0; 65_536]).is_ok() {}
        assert_eq!(client.write(&[]).unwrap(), 0);
        assert_eq!(client.flush().unwrap(), ());
    }

    fn references_read_and_write_too() {
        let listener = TcpListener::bind(ANY).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (&client).write_all(b"ab").unwrap();
        assert_eq!((&client).write_vectored(&[IoSlice::new(b"cd")]).unwrap(), 2);
        (&client).flush().unwrap();
        let mut buf = [0; 2];
        (&server).read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"ab");
        assert_eq!((&server).read_vectored(&mut [IoSliceMut::new(&mut buf)]).unwrap(), 2);
        assert_eq!(&buf, b"cd");
    }

    fn clones_are_the_same_stream() {
        let listener = TcpListener::bind(ANY).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut clone = client.try_clone().unwrap();
        assert_eq!(clone.local_addr().unwrap(), client.local_addr().unwrap());
        drop(client);
        clone.write_all(b"still open").unwrap();
        drop(clone);
        assert_eq!(io::read_to_string(server).unwrap(), "still open");
    }

    fn a_cloned_listener_accepts_too() {
        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        let clone = listener.try_clone().unwrap();
        let one = spawn(move || listener.accept().map(drop));
        let two = spawn(move || clone.accept().map(drop));
        let clients = [TcpStream::connect(addr).unwrap(), TcpStream::connect(addr).unwrap()];
        one.join().unwrap().unwrap();
        two.join().unwrap().unwrap();
        drop(clients);
    }

    fn incoming_gives_one_connection_after_the_other() {
        fn is_fused<T: std::iter::FusedIterator>(_: &T) {}

        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            let incoming: TcpIncoming<'_> = listener.incoming();
            is_fused(&incoming);
            assert!(format!("{incoming:?}").starts_with("Incoming"));
            incoming.take(3).map(|stream| io::read_to_string(stream.unwrap()).unwrap()).collect::<Vec<_>>()
        });
        for text in ["one", "two", "three"] {
            TcpStream::connect(addr).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(server.join().unwrap(), ["one", "two", "three"]);
    }

    fn options_are_read_as_they_were_set() {
        let listener = TcpListener::bind(ANY).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for nodelay in [true, false] {
            stream.set_nodelay(nodelay).unwrap();
            assert_eq!(stream.nodelay().unwrap(), nodelay);
        }
        stream.set_ttl(42).unwrap();
        assert_eq!(stream.ttl().unwrap(), 42);
        listener.set_ttl(43).unwrap();
        assert_eq!(listener.ttl().unwrap(), 43);
        assert!(stream.take_error().unwrap().is_none());
        assert!(listener.take_error().unwrap().is_none());
    }

    fn non_blocking_calls_fail_instead_of_waiting() {
        let listener = TcpListener::bind(ANY).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let clone = server.try_clone().unwrap();
        clone.set_nonblocking(true).unwrap();
        let mut buf = [0; 8];
        assert_eq!(server.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(server.peek(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        let err = loop {
            if let Err(err) = server.write(&[0; 65_536]) {
                break err;
            }
        };
        assert_eq!(err.kind(), ErrorKind::WouldBlock);
        server.set_nonblocking(false).unwrap();
        let writer = spawn(move || {
            client.write_all(b"x").unwrap();
            client
        });
        assert_eq!(server.read(&mut buf).unwrap(), 1);
        drop(writer.join().unwrap());
    }

    fn a_non_blocking_read_sees_data_at_once() {
        let listener = TcpListener::bind(ANY).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut buf = [0; 64];
        let writer = spawn(move || {
            client.write_all(b"one").unwrap();
            client
        });
        assert_eq!(server.read(&mut buf).unwrap(), 3);
        let mut client = writer.join().unwrap();
        server.set_nonblocking(true).unwrap();
        client.write_all(b"four").unwrap();
        assert_eq!(server.read(&mut buf).unwrap(), 4);
    }

    fn a_refused_connect_says_so() {
        let addr = closed_port();
        assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let err = TcpStream::connect_timeout(&addr, Duration::from_secs(10)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionRefused);
    }

    fn connect_tries_one_address_after_the_other() {
        let listener = TcpListener::bind(ANY).unwrap();
        let addrs = [closed_port(), listener.local_addr().unwrap()];
        let stream = TcpStream::connect(&addrs[..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addrs[1]);
        let err = TcpStream::connect(&[closed_port(), closed_port()][..]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::ConnectionRefused);
    }

    fn no_address_at_all_is_invalid_input() {
        let none: &[SocketAddr] = &[];
        for err in [TcpStream::connect(none).unwrap_err(), TcpListener::bind(none).unwrap_err()] {
            assert_eq!(err.kind(), ErrorKind::InvalidInput);
            assert_eq!(err.to_string(), "could not resolve to any addresses");
        }
    }

    fn an_address_in_use_is_refused() {
        let listener = TcpListener::bind(ANY).unwrap();
        let err = TcpListener::bind(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::AddrInUse);
    }

    fn an_address_that_cannot_be_reached_is_an_error_at_once() {
        let err = TcpStream::connect("255.255.255.255:9").unwrap_err();
        assert_eq!(err.raw_os_error(), Some(libc::ENETUNREACH));
    }

    fn debug_names_the_type_and_both_addresses() {
        let listener = TcpListener::bind(ANY).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (text, listening) = (format!("{stream:?}"), format!("{listener:?}"));
        assert!(text.starts_with("TcpStream { addr: 127.0.0.1:") && text.contains("peer: 127.0.0.1:"), "{text}");
        assert!(listening.starts_with("TcpListener { addr: 127.0.0.1:"), "{listening}");
    }

    #[allow(deprecated, reason = "std still has them")]
    fn the_deprecated_methods_do_what_they_always_did() {
        let listener = TcpListener::bind(ANY).unwrap();
        assert!(listener.only_v6().is_err());
        assert!(listener.set_only_v6(true).is_err());
    }

    #[cfg(target_os = "linux")]
    fn quick_acknowledgement_can_be_set() {
        #[allow(unused_imports, reason = "ours are plain methods")]
        use std::os::linux::net::TcpStreamExt;

        let listener = TcpListener::bind(ANY).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_quickack(true).unwrap();
        assert!(stream.quickack().unwrap());
    }

    fn sockets_are_send_sync_and_unwind_safe() {
        use std::panic::{RefUnwindSafe, UnwindSafe};
        fn check<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}

        check::<TcpListener>();
        check::<TcpStream>();
        check::<UdpSocket>();
        check::<UnixListener>();
        check::<UnixStream>();
        check::<UnixDatagram>();
    }
}
