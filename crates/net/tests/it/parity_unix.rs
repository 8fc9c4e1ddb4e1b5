//! Unix sockets, as std has them.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use crate::worlds::{Directory, in_both_worlds};

in_both_worlds! {
    fn a_connection_echoes() {
        let directory = Directory::new();
        let path = directory.path("echo");
        let listener = UnixListener::bind(&path).unwrap();
        let server = spawn(move || {
            let (stream, from) = listener.accept().unwrap();
            assert!(from.is_unnamed());
            io::copy(&mut &stream, &mut &stream).unwrap()
        });
        let mut stream = UnixStream::connect(&path).unwrap();
        assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(&*path));
        assert!(stream.local_addr().unwrap().is_unnamed());
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(&stream).unwrap(), "hello");
        assert_eq!(server.join().unwrap(), 5);
    }

    fn incoming_gives_one_connection_after_the_other() {
        let directory = Directory::new();
        let path = directory.path("listener");
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
        let server = spawn(move || {
            assert_eq!(listener.incoming().size_hint(), (usize::MAX, None));
            let mut texts = Vec::new();
            for stream in &listener {
                texts.push(io::read_to_string(stream.unwrap()).unwrap());
                if texts.len() == 2 {
                    break;
                }
            }
            texts
        });
        for text in ["one", "two"] {
            UnixStream::connect(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(server.join().unwrap(), ["one", "two"]);
    }

    fn the_accepted_address_is_the_clients_path() {
        let directory = Directory::new();
        let listener = UnixListener::bind(directory.path("listener")).unwrap();
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        client.bind(&socket2::SockAddr::unix(directory.path("client")).unwrap()).unwrap();
        client.connect(&socket2::SockAddr::unix(directory.path("listener")).unwrap()).unwrap();
        let (stream, from) = listener.accept().unwrap();
        assert_eq!(from.as_pathname(), Some(&*directory.path("client")));
        assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(&*directory.path("client")));
    }

    #[cfg(target_os = "linux")]
    fn abstract_names_need_no_file() {
        use std::os::linux::net::SocketAddrExt;

        let directory = Directory::new();
        let name = directory.path("abstract").into_os_string().into_encoded_bytes();
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&addr).unwrap();
        let mut client = UnixStream::connect_addr(&addr).unwrap();
        assert_eq!(client.peer_addr().unwrap().as_abstract_name(), Some(&name[..]));
        let (mut server, from) = listener.accept().unwrap();
        assert!(from.is_unnamed());
        client.write_all(b"x").unwrap();
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 1);

        let (from, to) = ([&name[..], b"1"].concat(), [&name[..], b"2"].concat());
        let from = SocketAddr::from_abstract_name(&from).unwrap();
        let to = SocketAddr::from_abstract_name(&to).unwrap();
        let (one, two) = (UnixDatagram::bind_addr(&from).unwrap(), UnixDatagram::bind_addr(&to).unwrap());
        one.send_to_addr(b"abc", &to).unwrap();
        let (len, sender) = two.recv_from(&mut [0; 8]).unwrap();
        assert_eq!((len, sender.as_abstract_name()), (3, from.as_abstract_name()));
        two.connect_addr(&from).unwrap();
        two.send(b"back").unwrap();
        assert_eq!(one.recv(&mut [0; 8]).unwrap(), 4);
    }

    fn connecting_to_an_address_reaches_its_path() {
        let directory = Directory::new();
        let path = directory.path("listener");
        let addr = SocketAddr::from_pathname(&path).unwrap();
        let listener = UnixListener::bind_addr(&addr).unwrap();
        let client = UnixStream::connect_addr(&addr).unwrap();
        listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
    }

    fn bad_paths_are_errors() {
        let directory = Directory::new();
        let long = "x".repeat(200);
        for err in [
            UnixListener::bind(&long).unwrap_err(),
            UnixStream::connect(&long).unwrap_err(),
            UnixDatagram::bind(&long).unwrap_err(),
            UnixDatagram::unbound().unwrap().send_to(b"x", &long).unwrap_err(),
        ] {
            assert_eq!((err.kind(), &*err.to_string()), (ErrorKind::InvalidInput, "path must be shorter than SUN_LEN"));
        }
        let err = UnixStream::connect("a\0b").unwrap_err();
        assert_eq!(
            (err.kind(), &*err.to_string()),
            (ErrorKind::InvalidInput, "paths must not contain interior null bytes")
        );
        assert_eq!(UnixStream::connect(directory.path("none")).unwrap_err().kind(), ErrorKind::NotFound);
        let path = directory.path("gone");
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(UnixStream::connect("").is_err());
    }

    fn a_pair_is_connected_both_ways() {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        let echo = spawn(move || {
            let mut buf = [0; 3];
            two.read_exact(&mut buf).unwrap();
            two.write_all(&buf).unwrap();
        });
        assert_eq!(one.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"bc")]).unwrap(), 3);
        let (mut head, mut tail) = ([0; 1], [0; 8]);
        echo.join().unwrap();
        assert_eq!(one.read_vectored(&mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)]).unwrap(), 3);
        assert_eq!((&head, &tail[..2]), (b"a", &b"bc"[..]));
        assert_eq!(one.read(&mut tail).unwrap(), 0);
        assert_eq!(one.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(format!("{one:?}").starts_with("UnixStream { fd: "));
    }

    fn streams_have_timeouts_and_clones_share_them() {
        let (mut one, _two) = UnixStream::pair().unwrap();
        let clone = one.try_clone().unwrap();
        clone.set_read_timeout(Some(Duration::from_millis(12))).unwrap();
        assert_eq!(one.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        one.set_write_timeout(Some(Duration::from_millis(12))).unwrap();
        let err = loop {
            if let Err(err) = one.write(&[0; 10_000]) {
                break err;
            }
        };
        assert_eq!(err.kind(), ErrorKind::WouldBlock);
        assert!(one.take_error().unwrap().is_none());
        assert_eq!(one.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
        clone.set_read_timeout(None).unwrap();
        clone.set_write_timeout(None).unwrap();
        assert_eq!((one.read_timeout().unwrap(), one.write_timeout().unwrap()), (None, None));
        one.set_nonblocking(true).unwrap();
        assert_eq!((&clone).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    fn shutting_down_ends_a_wait() {
        let (one, _two) = UnixStream::pair().unwrap();
        let other = one.try_clone().unwrap();
        let reader = spawn(move || (&one).read(&mut [0; 8]).unwrap());
        other.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
    }

    fn datagrams_go_to_paths_and_carry_their_senders() {
        let directory = Directory::new();
        let (from, to) = (directory.path("from"), directory.path("to"));
        let one = UnixDatagram::bind(&from).unwrap();
        let two = UnixDatagram::bind(&to).unwrap();
        let sender = spawn({
            let to = to.clone();
            move || one.send_to(b"hello", to).map(|len| (len, one))
        });
        let mut buf = [0; 16];
        let (len, sent_by) = two.recv_from(&mut buf).unwrap();
        assert_eq!((len, sent_by.as_pathname()), (5, Some(&*from)));
        let (len, one) = sender.join().unwrap().unwrap();
        assert_eq!(len, 5);
        one.connect(&to).unwrap();
        assert_eq!(one.peer_addr().unwrap().as_pathname(), Some(&*to));
        assert_eq!(one.local_addr().unwrap().as_pathname(), Some(&*from));
        one.send(b"ab").unwrap();
        assert_eq!(two.recv(&mut buf).unwrap(), 2);
        assert_eq!(one.send_to(b"x", directory.path("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    fn unbound_datagrams_have_no_address() {
        let directory = Directory::new();
        let path = directory.path("to");
        let to = UnixDatagram::bind_addr(&SocketAddr::from_pathname(&path).unwrap()).unwrap();
        let from = UnixDatagram::unbound().unwrap();
        assert_eq!(from.send(b"x").unwrap_err().kind(), ErrorKind::NotConnected);
        from.send_to_addr(b"abc", &SocketAddr::from_pathname(&path).unwrap()).unwrap();
        let (len, sender) = to.recv_from(&mut [0; 8]).unwrap();
        assert!(len == 3 && sender.is_unnamed());
    }

    fn datagram_pairs_have_timeouts_modes_and_clones() {
        let (one, two) = UnixDatagram::pair().unwrap();
        let clone = one.try_clone().unwrap();
        two.send(b"abc").unwrap();
        assert_eq!(clone.recv(&mut [0; 8]).unwrap(), 3);
        clone.set_read_timeout(Some(Duration::from_millis(12))).unwrap();
        assert_eq!(one.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        one.set_write_timeout(Some(Duration::from_millis(12))).unwrap();
        let err = loop {
            if let Err(err) = one.send(&[0; 1000]) {
                break err;
            }
        };
        assert_eq!(err.kind(), ErrorKind::WouldBlock);
        assert!(one.read_timeout().unwrap().is_some() && one.write_timeout().unwrap().is_some());
        clone.set_nonblocking(true).unwrap();
        assert_eq!(one.recv_from(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(one.take_error().unwrap().is_none());
        let (one, two) = UnixDatagram::pair().unwrap();
        two.shutdown(Shutdown::Both).unwrap();
        assert_eq!(one.send(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(format!("{one:?}").starts_with("UnixDatagram"));
    }

    fn after_shutting_down_receiving_there_is_nothing_to_wait_for() {
        let (one, two) = UnixDatagram::pair().unwrap();
        let clone = one.try_clone().unwrap();
        let receiver = spawn(move || (one.recv(&mut [0; 8]), one));
        clone.shutdown(Shutdown::Read).unwrap();
        let (result, one) = receiver.join().unwrap();
        assert_eq!(result.unwrap(), 0);
        let (len, from) = one.recv_from(&mut [0; 8]).unwrap();
        assert!(len == 0 && from.is_unnamed());
        assert_eq!(two.send(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        one.set_nonblocking(true).unwrap();
        assert_eq!(one.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    fn listeners_have_modes_and_clones() {
        let directory = Directory::new();
        let listener = UnixListener::bind(directory.path("listener")).unwrap();
        let clone = listener.try_clone().unwrap();
        clone.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(listener.take_error().unwrap().is_none());
        listener.set_nonblocking(false).unwrap();
        let client = UnixStream::connect(directory.path("listener")).unwrap();
        clone.accept().unwrap();
        drop(client);
        assert!(format!("{listener:?}").starts_with("UnixListener { fd: "));
    }
}
