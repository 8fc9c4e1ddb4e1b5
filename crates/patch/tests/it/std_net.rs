//! What std's documentation shows of `std::net`, in both worlds.

use std::io::{BufRead, BufReader, BufWriter, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{MS, tcp_pair};
use crate::worlds::{in_both_worlds, pause};

const ANY: &str = "127.0.0.1:0";

in_both_worlds! {
    fn a_server_serves_each_client_beside_the_others() {
        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            let mut serving = Vec::new();
            for stream in listener.incoming().take(5) {
                let stream = stream.unwrap();
                serving.push(spawn(move || {
                    let mut writer = BufWriter::new(stream.try_clone().unwrap());
                    for line in BufReader::new(stream).lines() {
                        writeln!(writer, "{}", line.unwrap().to_uppercase()).unwrap();
                        writer.flush().unwrap();
                    }
                }));
            }
            serving.into_iter().for_each(|one| one.join().unwrap());
        });
        let clients = Vec::from_iter((0..5).map(|n| spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for round in 0..5 {
                writeln!(stream, "client {n}, line {round}").unwrap();
                assert_eq!(lines.next().unwrap().unwrap(), format!("CLIENT {n}, LINE {round}"));
            }
        })));
        clients.into_iter().for_each(|client| client.join().unwrap());
        server.join().unwrap();
    }

    fn an_accept_tells_who_has_come() {
        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        let client = spawn(move || {
            pause();
            TcpStream::connect(addr).unwrap()
        });
        let (stream, from) = listener.accept().unwrap();
        let client = client.join().unwrap();
        assert_eq!(client.local_addr().unwrap(), from);
        assert_eq!(stream.peer_addr().unwrap(), from);
        assert_eq!(client.peer_addr().unwrap(), addr);
        let again = listener.try_clone().unwrap();
        let client = spawn(move || {
            pause();
            TcpStream::connect(addr).unwrap()
        });
        again.accept().unwrap();
        client.join().unwrap();
    }

    fn a_stream_ends_where_its_peer_stops_writing_and_answers_all_the_same() {
        let (mut ours, mut theirs) = tcp_pair();
        let other = spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            pause();
            theirs.write_all(&all).unwrap();
        });
        pause();
        ours.write_all(b"all there is").unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(ours.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut answer = String::new();
        ours.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "all there is");
        other.join().unwrap();
    }

    fn a_reader_is_ended_by_its_own_sides_shutdown() {
        let (ours, _theirs) = tcp_pair();
        let twin = ours.try_clone().unwrap();
        let reader = spawn(move || { &twin }.read(&mut [0; 8]).unwrap());
        pause();
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
    }

    fn a_peek_leaves_what_it_sees() {
        let (ours, mut theirs) = tcp_pair();
        let other = spawn(move || {
            pause();
            theirs.write_all(b"peek").unwrap();
            theirs
        });
        let mut buf = [0; 8];
        assert_eq!(ours.peek(&mut buf).unwrap(), 4);
        assert_eq!({ &ours }.read(&mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"peek");
        drop(other.join().unwrap());
        assert_eq!(ours.peek(&mut buf).unwrap(), 0);
    }

    fn time_outs_are_set_got_kept_and_taken_back() {
        let (ours, mut theirs) = tcp_pair();
        assert_eq!(ours.read_timeout().unwrap(), None);
        assert_eq!(ours.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
        ours.set_read_timeout(Some(20 * MS)).unwrap();
        ours.set_write_timeout(Some(20 * MS)).unwrap();
        assert!(ours.read_timeout().unwrap().unwrap() >= 20 * MS && ours.write_timeout().unwrap().is_some());
        let start = Instant::now();
        assert_eq!({ &ours }.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= 20 * MS);
        let start = Instant::now();
        let much = vec![0; 20_000_000];
        assert_eq!({ &ours }.write_all(&much).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= 20 * MS);
        ours.set_read_timeout(None).unwrap();
        let other = spawn(move || {
            std::thread::sleep(30 * MS);
            theirs.write_all(b"late").unwrap();
            theirs
        });
        assert_eq!({ &ours }.read(&mut [0; 8]).unwrap(), 4);
        other.join().unwrap();
    }

    fn what_does_not_block_says_so_and_what_blocks_again_waits() {
        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let client = spawn(move || {
            pause();
            TcpStream::connect(addr).unwrap()
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        while stream.write(&[0; 65536]).is_ok() {}
        stream.set_nonblocking(false).unwrap();
        drop(client.join().unwrap());
        assert!(stream.read(&mut [0; 8]).is_err());
    }

    fn options_are_kept() {
        let (ours, mut theirs) = tcp_pair();
        ours.set_nodelay(true).unwrap();
        assert!(ours.nodelay().unwrap());
        ours.set_ttl(42).unwrap();
        assert_eq!(ours.ttl().unwrap(), 42);
        assert!(ours.take_error().unwrap().is_none());
        let listener = TcpListener::bind(ANY).unwrap();
        listener.set_ttl(43).unwrap();
        assert_eq!(listener.ttl().unwrap(), 43);
        assert!(listener.take_error().unwrap().is_none());
        let other = spawn(move || {
            pause();
            theirs.write_vectored(&[IoSlice::new(b"one"), IoSlice::new(b"two")]).unwrap()
        });
        assert_eq!({ &ours }.read(&mut [0; 16]).unwrap(), 6);
        assert_eq!(other.join().unwrap(), 6);
    }

    fn nobody_there_is_told_by_every_way_to_connect() {
        let gone = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
        assert_eq!(TcpStream::connect(gone).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(TcpStream::connect_timeout(&gone, Duration::from_secs(60)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind(ANY).unwrap();
        let addr = listener.local_addr().unwrap();
        // The second of several addresses.
        let client = spawn(move || {
            pause();
            TcpStream::connect(&[gone, addr][..]).unwrap()
        });
        let (_, from) = listener.accept().unwrap();
        assert_eq!(client.join().unwrap().local_addr().unwrap(), from);
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(60)).unwrap();
        // It blocks again.
        stream.set_read_timeout(Some(MS)).unwrap();
        assert_eq!({ &stream }.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    fn a_reset_is_told_to_who_waits() {
        let (mut ours, theirs) = tcp_pair();
        ours.write_all(b"never read").unwrap();
        let reader = spawn(move || ours.read(&mut [0; 8]).unwrap_err().kind());
        pause();
        drop(theirs);
        assert_eq!(reader.join().unwrap(), ErrorKind::ConnectionReset);
    }

    fn datagrams_go_to_and_fro() {
        let server = UdpSocket::bind(ANY).unwrap();
        let addr = server.local_addr().unwrap();
        let echo = spawn(move || {
            for _ in 0..3 {
                let mut buf = [0; 64];
                let (len, from) = server.recv_from(&mut buf).unwrap();
                pause();
                assert_eq!(server.send_to(&buf[..len], from).unwrap(), len);
            }
        });
        let client = UdpSocket::bind(ANY).unwrap();
        assert_eq!(client.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        client.connect(addr).unwrap();
        assert_eq!(client.peer_addr().unwrap(), addr);
        for text in [&b"one"[..], b"", b"three"] {
            assert_eq!(client.send(text).unwrap(), text.len());
            let mut buf = [0; 64];
            assert_eq!(client.peek(&mut buf).unwrap(), text.len());
            assert_eq!(client.recv(&mut buf).unwrap(), text.len());
            assert_eq!(&buf[..text.len()], text);
        }
        echo.join().unwrap();
    }

    fn a_datagram_socket_has_time_outs_and_options_too() {
        let socket = UdpSocket::bind(ANY).unwrap();
        socket.set_read_timeout(Some(10 * MS)).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(socket.peek_from(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv_from(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        socket.set_nonblocking(false).unwrap();
        socket.set_broadcast(true).unwrap();
        assert!(socket.broadcast().unwrap());
        socket.set_ttl(44).unwrap();
        assert_eq!(socket.ttl().unwrap(), 44);
        let twin = socket.try_clone().unwrap();
        twin.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
        // Nobody there: the next call says so.
        let gone = UdpSocket::bind(ANY).unwrap().local_addr().unwrap();
        socket.connect(gone).unwrap();
        socket.send(b"anybody?").unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    fn several_receive_from_one_socket() {
        let socket = Arc::new(UdpSocket::bind(ANY).unwrap());
        let addr = socket.local_addr().unwrap();
        let readers = Vec::from_iter((0..6).map(|_| {
            let socket = Arc::clone(&socket);
            spawn(move || {
                let mut byte = [0];
                socket.recv_from(&mut byte).unwrap();
                byte[0]
            })
        }));
        pause();
        let sender = UdpSocket::bind(ANY).unwrap();
        (0..6).for_each(|n| assert_eq!(sender.send_to(&[n], addr).unwrap(), 1));
        let mut got = Vec::from_iter(readers.into_iter().map(|reader| reader.join().unwrap()));
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2, 3, 4, 5]);
    }

    fn version_six_is_no_other() {
        let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            println!("skipped: there is no IPv6 here");
            return pause();
        };
        let addr = listener.local_addr().unwrap();
        assert!(matches!(addr, SocketAddr::V6(_)) && addr.ip() != Ipv4Addr::LOCALHOST);
        let client = spawn(move || {
            pause();
            TcpStream::connect(addr).unwrap().write_all(b"six").unwrap();
        });
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "six");
        client.join().unwrap();
    }
}
