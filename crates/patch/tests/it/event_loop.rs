//! A foreign event loop in a greenlet.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use greenlet_hub::{joinall, spawn, timeout, yield_now};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::support::{MS, patched, timed};

const LISTENER: Token = Token(0);

/// An echo server, on mio's loop, for so many connections.
fn serve(mut listener: TcpListener, connections: usize) {
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(16);
    let mut streams: HashMap<Token, TcpStream> = HashMap::new();
    let mut ended = 0;
    while ended < connections {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let token = Token(event.token().0 + 1 + ended + streams.len());
                    poll.registry().register(&mut stream, token, Interest::READABLE).unwrap();
                    streams.insert(token, stream);
                }
                continue;
            }
            let Some(stream) = streams.get_mut(&event.token()) else { continue };
            let mut buf = [0; 64];
            loop {
                match stream.read(&mut buf) {
                    Ok(0) => {
                        streams.remove(&event.token());
                        ended += 1;
                        break;
                    }
                    Ok(n) => stream.write_all(&buf[..n]).unwrap(),
                    Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                    Err(err) => panic!("{err}"),
                }
            }
        }
    }
}

#[test]
fn mios_loop_serves_the_greenlets_around_it() {
    patched(|| {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || serve(listener, 20));
        let clients = joinall((0..20_u8).map(|n| {
            spawn(move || {
                let mut stream = std::net::TcpStream::connect(addr).unwrap();
                for round in 0..20 {
                    stream.write_all(&[n, round]).unwrap();
                    let mut answer = [0; 2];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [n, round]);
                    std::thread::sleep(MS);
                }
            })
        }));
        clients.into_iter().for_each(|client| client.unwrap());
        server.join().unwrap();
    });
}

#[test]
fn mios_waker_and_its_timeout_end_a_poll() {
    patched(|| {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let mut events = Events::with_capacity(4);
        let (took, ()) = timed(|| poll.poll(&mut events, Some(20 * MS)).unwrap());
        assert!(events.is_empty() && took >= 19 * MS);
        let other = spawn({
            let waker = Arc::clone(&waker);
            move || {
                yield_now();
                waker.wake().unwrap();
            }
        });
        poll.poll(&mut events, None).unwrap();
        assert_eq!(Vec::from_iter(events.iter().map(|event| event.token())), [Token(7)]);
        other.join().unwrap();
        // From another thread, too.
        let elsewhere = std::thread::spawn({
            let waker = Arc::clone(&waker);
            move || waker.wake()
        });
        poll.poll(&mut events, None).unwrap();
        assert_eq!(events.iter().count(), 1);
        elsewhere.join().unwrap().unwrap();
    });
}

#[test]
fn a_poll_of_mios_is_timed_out() {
    patched(|| {
        let ended = timeout(20 * MS, || {
            let err = Poll::new().unwrap().poll(&mut Events::with_capacity(4), Some(Duration::from_secs(60)));
            assert_eq!(err.unwrap_err().raw_os_error(), Some(libc::ETIMEDOUT));
            yield_now();
        });
        assert!(ended.is_err());
    });
}
