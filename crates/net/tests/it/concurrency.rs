//! Several greenlets, and several hubs, with one socket.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use greenlet_hub::{joinall, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};
use socket2::SockRef;

use crate::worlds::{ANY, tcp_pair};

#[test]
fn a_second_reader_of_a_stream_gets_a_named_error_at_once() {
    let (one, mut two) = UnixStream::pair().unwrap();
    let one = Rc::new(one);
    let read = |stream: Rc<UnixStream>| move || (&*stream).read(&mut [0; 8]);
    let first = spawn(read(Rc::clone(&one)));
    let second = spawn(read(Rc::clone(&one)));
    let err = second.join().unwrap().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ResourceBusy);
    assert_eq!(err.to_string(), "another greenlet is already reading this stream");
    two.write_all(b"abc").unwrap();
    assert_eq!(first.join().unwrap().unwrap(), 3);
    // The turn is over, so the next one may.
    two.write_all(b"de").unwrap();
    assert_eq!(spawn(read(one)).join().unwrap().unwrap(), 2);
}

#[test]
fn a_second_writer_of_a_stream_gets_a_named_error_at_once() {
    let (one, mut two) = UnixStream::pair().unwrap();
    let one = Rc::new(one);
    let stream = Rc::clone(&one);
    let first = spawn(move || (&*stream).write_all(&[1; 1_000_000]));
    yield_now();
    let err = (&*one).write_all(&[2; 1_000_000]).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ResourceBusy);
    assert_eq!(err.to_string(), "another greenlet is already writing this stream");
    let mut all = vec![0; 1_000_000];
    two.read_exact(&mut all).unwrap();
    first.join().unwrap().unwrap();
    assert!(all.iter().all(|&byte| byte == 1));
}

#[test]
fn a_reader_and_a_writer_share_a_stream() {
    let (one, two) = UnixStream::pair().unwrap();
    let one = Rc::new(one);
    let echo = spawn(move || std::io::copy(&mut &two, &mut &two).unwrap());
    let stream = Rc::clone(&one);
    let reader = spawn(move || {
        let mut all = vec![0; 2_000_000];
        (&*stream).read_exact(&mut all).unwrap();
        all
    });
    let sent: Vec<u8> = (0..2_000_000_u32).map(|i| (i / 3) as u8).collect();
    (&*one).write_all(&sent).unwrap();
    assert!(reader.join().unwrap() == sent);
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(echo.join().unwrap(), 2_000_000);
}

#[test]
fn acceptors_are_served_in_the_order_in_which_they_came() {
    let listener = Rc::new(TcpListener::bind(ANY).unwrap());
    let order = Rc::new(RefCell::new(Vec::new()));
    let acceptors: Vec<_> = (0..4)
        .map(|number| {
            let (listener, order) = (Rc::clone(&listener), Rc::clone(&order));
            spawn(move || {
                let (_, from) = listener.accept().unwrap();
                order.borrow_mut().push((number, from));
            })
        })
        .collect();
    yield_now();
    let addr = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
    joinall(acceptors);
    let expected: Vec<_> =
        clients.iter().enumerate().map(|(number, client)| (number, client.local_addr().unwrap())).collect();
    assert_eq!(*order.borrow(), expected);
}

#[test]
fn receivers_are_served_in_the_order_in_which_they_came() {
    let socket = Rc::new(UdpSocket::bind(ANY).unwrap());
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let socket = Rc::clone(&socket);
            spawn(move || {
                let mut buf = [0; 8];
                socket.recv_from(&mut buf).unwrap();
                buf[0]
            })
        })
        .collect();
    yield_now();
    let client = UdpSocket::bind(ANY).unwrap();
    for number in 0..4 {
        client.send_to(&[number], socket.local_addr().unwrap()).unwrap();
    }
    let got: Vec<_> = joinall(receivers).into_iter().map(Result::unwrap).collect();
    assert_eq!(got, [0, 1, 2, 3]);
}

#[test]
fn shutting_a_stream_down_ends_a_waiting_read_at_once() {
    let (ours, _theirs) = tcp_pair();
    let ours = Rc::new(ours);
    let stream = Rc::clone(&ours);
    let reader = spawn(move || (&*stream).read(&mut [0; 8]));
    yield_now();
    assert!(!reader.is_finished());
    ours.shutdown(Shutdown::Both).unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), 0);
}

#[test]
fn shutting_a_stream_down_ends_a_waiting_write_at_once() {
    let (ours, _theirs) = tcp_pair();
    let ours = Rc::new(ours);
    let stream = Rc::clone(&ours);
    let writer = spawn(move || (&*stream).write_all(&vec![0; 50_000_000]));
    yield_now();
    assert!(!writer.is_finished());
    ours.shutdown(Shutdown::Both).unwrap();
    assert_eq!(writer.join().unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
#[cfg(target_os = "linux")]
fn shutting_a_listener_down_ends_every_waiting_accept_at_once() {
    let listener = Rc::new(TcpListener::bind(ANY).unwrap());
    let acceptors: Vec<_> = (0..3)
        .map(|_| {
            let listener = Rc::clone(&listener);
            spawn(move || listener.accept().map(drop))
        })
        .collect();
    yield_now();
    SockRef::from(&*listener).shutdown(Shutdown::Both).unwrap();
    for result in joinall(acceptors) {
        assert_eq!(result.unwrap().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn shutting_a_datagram_socket_down_ends_a_waiting_receive_at_once() {
    let (one, _two) = UnixDatagram::pair().unwrap();
    let one = Rc::new(one);
    let socket = Rc::clone(&one);
    let receiver = spawn(move || socket.recv(&mut [0; 8]));
    yield_now();
    one.shutdown(Shutdown::Both).unwrap();
    assert_eq!(receiver.join().unwrap().unwrap(), 0);
}

#[test]
fn a_shutdown_by_another_thread_ends_a_wait() {
    let (ours, _theirs) = tcp_pair();
    let clone = ours.try_clone().unwrap();
    let reader = spawn(move || (&ours).read(&mut [0; 8]).unwrap());
    yield_now();
    let other = thread::spawn(move || clone.shutdown(Shutdown::Both).unwrap());
    assert_eq!(reader.join().unwrap(), 0);
    other.join().unwrap();
}

#[test]
fn a_stream_works_on_the_hub_that_it_is_sent_to_and_back_again() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let mut buf = [0; 8];
    for round in 0..20 {
        // It waits here, so it is registered here; then it waits there.
        let text = format!("{round}");
        let to_send = text.clone();
        let writer = spawn(move || {
            theirs.write_all(to_send.as_bytes()).unwrap();
            theirs
        });
        let len = ours.read(&mut buf).unwrap();
        assert_eq!(&buf[..len], text.as_bytes());
        theirs = writer.join().unwrap();
        (ours, theirs) = thread::spawn(move || {
            let writer = spawn(move || {
                theirs.write_all(b"there").unwrap();
                theirs
            });
            let mut buf = [0; 8];
            assert_eq!(ours.read(&mut buf).unwrap(), 5);
            (ours, writer.join().unwrap())
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_listener_is_shared_by_hubs() {
    let listener = Arc::new(TcpListener::bind(ANY).unwrap());
    let addr = listener.local_addr().unwrap();
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let listener = Arc::clone(&listener);
            thread::spawn(move || {
                let mut served = 0;
                loop {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut byte = [0; 1];
                    stream.read_exact(&mut byte).unwrap();
                    if byte == *b"q" {
                        return served;
                    }
                    stream.write_all(&byte).unwrap();
                    served += 1;
                }
            })
        })
        .collect();
    for _ in 0..100 {
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    }
    for _ in 0..3 {
        TcpStream::connect(addr).unwrap().write_all(b"q").unwrap();
    }
    let served: u32 = servers.into_iter().map(|server| server.join().unwrap()).sum();
    assert_eq!(served, 100);
}

#[test]
fn thousands_of_messages_cross_between_two_hubs() {
    const GREENLETS: usize = 200;
    const MESSAGES: usize = 50;

    let (ours, theirs): (Vec<_>, Vec<_>) = (0..GREENLETS).map(|_| UnixStream::pair().unwrap()).unzip();
    let other = thread::spawn(move || {
        let echoes: Vec<_> = theirs
            .into_iter()
            .map(|stream| spawn(move || std::io::copy(&mut &stream, &mut &stream).unwrap()))
            .collect();
        joinall(echoes).into_iter().map(Result::unwrap).sum::<u64>()
    });
    let clients: Vec<_> = ours
        .into_iter()
        .enumerate()
        .map(|(number, mut stream)| {
            spawn(move || {
                for message in 0..MESSAGES {
                    let sent = [number as u8, message as u8, 3, 4];
                    stream.write_all(&sent).unwrap();
                    let mut received = [0; 4];
                    stream.read_exact(&mut received).unwrap();
                    assert_eq!(received, sent);
                }
            })
        })
        .collect();
    joinall(clients).into_iter().for_each(Result::unwrap);
    assert_eq!(other.join().unwrap(), (GREENLETS * MESSAGES * 4) as u64);
}
