//! Sockets that travel from hub to hub, and those that several hubs use at once.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenlet_hub::{Handle, HubPool, JoinError, JoinHandle, Reason, WaitList, joinall, spawn, yield_now};
use greenlet_net::{ListenOptions, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

use crate::worlds::{ANY, Directory};

/// So long nothing here takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

fn two_hubs() -> (HubPool, [Handle; 2]) {
    let pool = HubPool::new(2).unwrap();
    let hubs = [pool.handles()[0].clone(), pool.handles()[1].clone()];
    (pool, hubs)
}

/// The result of what another hub does; fails if that hangs.
#[track_caller]
fn result<T>(greenlet: JoinHandle<T>) -> T {
    match greenlet.join_timeout(HANG) {
        Ok(ended) => ended.unwrap(),
        Err(hangs) => panic!("{hangs:?} hangs"),
    }
}

/// A queue between hubs.
#[derive(Default)]
struct Queue<T>(Mutex<VecDeque<T>>, WaitList);

impl<T> Queue<T> {
    fn put(&self, item: T) {
        self.0.lock().unwrap().push_back(item);
        self.1.notify_one();
    }

    fn get(&self) -> T {
        let take = || self.0.lock().unwrap().pop_front();
        loop {
            if let Some(item) = take() {
                return item;
            }
            let deadline = Some(Instant::now() + HANG);
            assert!(self.1.wait(Reason::new("a socket"), deadline, || !self.0.lock().unwrap().is_empty()));
        }
    }
}

/// What streams have in common.
trait Stream: Read + Write + Send + Sync + Sized + AsRawFd + 'static {
    fn pair() -> (Self, Self);
    fn end(&self);
    fn again(&self) -> Self;
}

impl Stream for UnixStream {
    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }
    fn end(&self) {
        self.shutdown(Shutdown::Both).unwrap();
    }
    fn again(&self) -> UnixStream {
        self.try_clone().unwrap()
    }
}

impl Stream for TcpStream {
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(ANY).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        // Else each side waits for the other's delayed acknowledgements.
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        (server, client)
    }
    fn end(&self) {
        self.shutdown(Shutdown::Both).unwrap();
    }
    fn again(&self) -> TcpStream {
        self.try_clone().unwrap()
    }
}

/// Reads a byte where it has to wait for it, so that the stream is registered on this hub.
fn wait_for_a_byte<S: Stream>(mut ours: S, mut theirs: S) -> (S, S) {
    let writer = spawn(move || {
        theirs.write_all(b"!").unwrap();
        theirs
    });
    let mut byte = [0];
    ours.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"!");
    (ours, writer.join().unwrap())
}

fn wanders<S: Stream>() {
    let (pool, hubs) = two_hubs();
    let (mut ours, mut theirs) = S::pair();
    for round in 0..30 {
        // Here, on a certain hub, on any hub, on a certain one again.
        (ours, theirs) = wait_for_a_byte(ours, theirs);
        (ours, theirs) = result(hubs[round % 2].spawn(move || wait_for_a_byte(ours, theirs)));
        (ours, theirs) = result(pool.spawn(move || wait_for_a_byte(ours, theirs)));
        // Both ends wait, on hubs of their own.
        let there = hubs[1].spawn(move || {
            let mut byte = [0];
            theirs.read_exact(&mut byte).unwrap();
            theirs.write_all(&[byte[0] + 1]).unwrap();
            theirs
        });
        let here = hubs[0].spawn(move || {
            ours.write_all(&[7]).unwrap();
            let mut byte = [0];
            ours.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], 8);
            ours
        });
        (ours, theirs) = (result(here), result(there));
    }
    assert!(pool.shutdown(HANG).is_empty());
    // The hubs on which it was registered are gone.
    let (mut ours, theirs) = wait_for_a_byte(ours, theirs);
    drop(theirs);
    assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_tcp_stream_wanders_from_hub_to_hub() {
    wanders::<TcpStream>();
}

#[test]
fn a_unix_stream_wanders_from_hub_to_hub() {
    wanders::<UnixStream>();
}

/// One hub reads while another writes, both ways, more than the buffers hold.
fn is_shared<S: Stream>() {
    const BYTES: usize = 3_000_000;
    let (pool, hubs) = two_hubs();
    let data: Arc<Vec<u8>> = Arc::new((0..BYTES as u32).map(|i| (i / 3) as u8).collect());
    let (ours, theirs) = S::pair();
    let (ours, theirs) = wait_for_a_byte(ours, theirs);
    let writes = |mut stream: S| {
        let data = Arc::clone(&data);
        move || {
            // In pieces of all sizes, so that some fit and some do not.
            let mut rest = &data[..];
            let mut size = 1;
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(size.min(rest.len()));
                stream.write_all(piece).unwrap();
                rest = more;
                size = size * 3 % 100_003;
            }
        }
    };
    let reads = |mut stream: S| {
        let data = Arc::clone(&data);
        move || {
            let mut all = vec![0; data.len()];
            stream.read_exact(&mut all).unwrap();
            assert!(all == *data);
        }
    };
    let greenlets = [
        hubs[0].spawn(writes(ours.again())),
        hubs[1].spawn(reads(ours.again())),
        hubs[1].spawn(writes(theirs.again())),
        hubs[0].spawn(reads(theirs.again())),
    ];
    greenlets.into_iter().for_each(result);
    drop((ours, theirs));
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn one_hub_reads_a_tcp_stream_while_another_writes_it() {
    is_shared::<TcpStream>();
}

#[test]
fn one_hub_reads_a_unix_stream_while_another_writes_it() {
    is_shared::<UnixStream>();
}

#[test]
fn a_stream_that_two_hubs_share_by_reference_is_read_and_written_at_once() {
    let (pool, hubs) = two_hubs();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = Arc::new(ours);
    let echo = pool.spawn(move || std::io::copy(&mut &theirs, &mut &theirs).unwrap());
    for _ in 0..5 {
        let (one, two) = (Arc::clone(&ours), Arc::clone(&ours));
        let writer = hubs[0].spawn(move || (&*one).write_all(&[7; 500_000]).unwrap());
        let reader = hubs[1].spawn(move || {
            let mut all = vec![0; 500_000];
            (&*two).read_exact(&mut all).unwrap();
            assert!(all.iter().all(|byte| *byte == 7));
        });
        result(writer);
        result(reader);
        // Also with the parts exchanged.
        let (one, two) = (Arc::clone(&ours), Arc::clone(&ours));
        let reader = hubs[0].spawn(move || (&*one).read_exact(&mut vec![0; 500_000]).unwrap());
        let writer = hubs[1].spawn(move || (&*two).write_all(&[7; 500_000]).unwrap());
        result(writer);
        result(reader);
    }
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(result(echo), 5_000_000);
}

#[test]
fn a_second_reader_on_another_hub_gets_a_named_error_at_once() {
    let (_pool, hubs) = two_hubs();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ours = Arc::new(ours);
    let read = |stream: &Arc<UnixStream>| {
        let stream = Arc::clone(stream);
        move || (&*stream).read(&mut [0; 8])
    };
    let first = hubs[0].spawn(read(&ours));
    // It waits when it has let the next one run.
    result(hubs[0].spawn(|| ()));
    let err = result(hubs[1].spawn(read(&ours))).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ResourceBusy);
    // The turn of one that is killed is over, also for other hubs.
    first.kill().unwrap();
    let second = hubs[1].spawn(read(&ours));
    theirs.write_all(b"abc").unwrap();
    assert_eq!(result(second).unwrap(), 3);
}

#[test]
fn a_shutdown_on_one_hub_ends_waits_on_another() {
    fn check<S: Stream>() {
        let (_pool, hubs) = two_hubs();
        for round in 0..20 {
            let (ours, theirs) = S::pair();
            let (mut reads, mut writes) = (ours.again(), ours.again());
            let reader = hubs[round % 2].spawn(move || reads.read(&mut [0; 8]).unwrap());
            let writer = hubs[1 - round % 2].spawn(move || writes.write_all(&vec![0; 20_000_000]).unwrap_err().kind());
            hubs.iter().for_each(|hub| result(hub.spawn(|| ())));
            result(hubs[round % 2].spawn(move || ours.end()));
            assert_eq!(result(reader), 0);
            assert_eq!(result(writer), ErrorKind::BrokenPipe);
            drop(theirs);
        }
    }
    check::<TcpStream>();
    check::<UnixStream>();
}

#[test]
fn descriptors_that_are_closed_on_another_hub_are_taken_for_no_other() {
    let (pool, hubs) = two_hubs();
    let numbers = Arc::new(Mutex::new(Vec::new()));
    // A few at a time, so that the numbers of those that are closed are used again.
    let greenlets = (0..8).map(|greenlet| {
        let (hubs, numbers) = (hubs.clone(), Arc::clone(&numbers));
        pool.spawn(move || {
            for round in greenlet..greenlet + 40 {
                let (ours, theirs) = UnixStream::pair().unwrap();
                numbers.lock().unwrap().push(ours.as_raw_fd());
                let (ours, theirs) = wait_for_a_byte(ours, theirs);
                // Registered on both hubs, and then closed on the one or the other, while others open the same numbers.
                let (ours, theirs) = result(hubs[round % 2].spawn(move || wait_for_a_byte(ours, theirs)));
                let (mut ours, mut theirs) = result(hubs[1 - round % 2].spawn(move || wait_for_a_byte(ours, theirs)));
                theirs.write_all(b"and more").unwrap();
                if round % 3 == 0 {
                    let mut buf = [0; 8];
                    ours.read_exact(&mut buf).unwrap();
                    assert_eq!(&buf, b"and more");
                }
                // What is left in it must not be the next one's.
                drop(hubs[round / 2 % 2].spawn(move || drop(ours)));
                result(hubs[round % 2].spawn(move || drop(theirs)));
            }
        })
    });
    let greenlets: Vec<_> = greenlets.collect();
    greenlets.into_iter().for_each(result);
    let mut numbers = numbers.lock().unwrap();
    numbers.sort_unstable();
    let opened = numbers.len();
    numbers.dedup();
    assert!(numbers.len() < opened, "no number was used twice");
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn streams_that_hop_to_the_other_hub_after_each_message_lose_none() {
    const STREAMS: usize = 50;
    const MESSAGES: u8 = 50;
    /// Echoes one message, and goes on on the other hub.
    fn echo(mut stream: UnixStream, [here, there]: [Handle; 2]) {
        let mut message = [0; 4];
        match stream.read_exact(&mut message) {
            Ok(()) => {
                stream.write_all(&message).unwrap();
                drop(there.clone().spawn(move || echo(stream, [there, here])));
            }
            Err(err) => assert_eq!(err.kind(), ErrorKind::UnexpectedEof),
        }
    }
    let (pool, hubs) = two_hubs();
    let clients: Vec<_> = (0..STREAMS)
        .map(|number| {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let [one, two] = hubs.clone();
            one.clone().spawn(move || echo(theirs, [one, two]));
            pool.spawn(move || {
                for message in 0..MESSAGES {
                    let sent = [number as u8, message, 1, 2];
                    // In two parts, so that some have to wait in the middle.
                    ours.write_all(&sent[..2]).unwrap();
                    yield_now();
                    ours.write_all(&sent[2..]).unwrap();
                    let mut received = [0; 4];
                    ours.read_exact(&mut received).unwrap();
                    assert_eq!(received, sent);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(result);
    assert!(pool.shutdown(HANG).is_empty());
}

// ---- listeners ----

/// Serves one connection: adds one to each byte.
fn serve(mut stream: impl Read + Write) {
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 {
        stream.write_all(&[byte[0] + 1]).unwrap();
    }
}

fn ask(addr: SocketAddr) {
    let mut stream = TcpStream::connect(addr).unwrap();
    for byte in 0..5 {
        stream.write_all(&[byte]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], byte + 1);
    }
}

#[test]
fn one_acceptor_hands_connections_to_the_hub_with_the_fewest() {
    const CONNECTIONS: usize = 100;
    let (pool, hubs) = two_hubs();
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    let given: [_; 2] = Default::default();
    let given: Arc<[AtomicUsize; 2]> = Arc::new(given);
    let acceptor = spawn({
        let given = Arc::clone(&given);
        move || {
            for _ in 0..CONNECTIONS {
                let (stream, _) = listener.accept().unwrap();
                let place = if hubs[0].load() <= hubs[1].load() { 0 } else { 1 };
                given[place].fetch_add(1, Ordering::Relaxed);
                drop(hubs[place].spawn(move || serve(stream)));
            }
        }
    });
    // All of them at once, so that there is a choice.
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| spawn(move || ask(addr))).collect();
    clients.into_iter().for_each(result);
    result(acceptor);
    assert!(given.iter().all(|given| given.load(Ordering::Relaxed) > 0), "{given:?}");
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn connections_are_handed_on_through_a_queue() {
    const CONNECTIONS: usize = 60;
    let (pool, _) = two_hubs();
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    let queue = Arc::new(Queue::default());
    let servers = (0..4).map(|_| {
        let queue = Arc::clone(&queue);
        pool.spawn(move || {
            let mut served = 0;
            while let Some(stream) = queue.get() {
                serve(stream);
                served += 1;
            }
            served
        })
    });
    let servers: Vec<_> = servers.collect();
    // Accepted by a pool's hub too.
    let acceptor = pool.spawn({
        let queue = Arc::clone(&queue);
        move || {
            for _ in 0..CONNECTIONS {
                queue.put(Some(listener.accept().unwrap().0));
            }
            (0..4).for_each(|_| queue.put(None));
        }
    });
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| spawn(move || ask(addr))).collect();
    clients.into_iter().for_each(result);
    result(acceptor);
    assert_eq!(servers.into_iter().map(result).sum::<usize>(), CONNECTIONS);
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn a_listener_for_each_hub_shares_the_port() {
    const CONNECTIONS: usize = 200;
    let pool = HubPool::new(3).unwrap();
    let options = ListenOptions::new().reuse_port(true);
    let first = TcpListener::bind_with(ANY, &options).unwrap();
    let addr = first.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let servers = pool.each({
        let accepted = Arc::clone(&accepted);
        move || {
            let listener = TcpListener::bind_with(addr, &ListenOptions::new().reuse_port(true)).unwrap();
            let here = Handle::current();
            // The first of all, which nobody serves, is closed when the others listen.
            drop(spawn({
                let accepted = Arc::clone(&accepted);
                move || {
                    loop {
                        let (stream, _) = listener.accept().unwrap();
                        assert_eq!(Handle::current(), here);
                        accepted.fetch_add(1, Ordering::Relaxed);
                        drop(spawn(move || serve(stream)));
                    }
                }
            }));
        }
    });
    servers.into_iter().for_each(result);
    drop(first);
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| spawn(move || ask(addr))).collect();
    clients.into_iter().for_each(result);
    assert_eq!(accepted.load(Ordering::Relaxed), CONNECTIONS);
    // Acceptors are ended by a kill, and the port is free again.
    assert!(pool.shutdown(Duration::ZERO).is_empty());
    drop(TcpListener::bind(addr).unwrap());
}

#[test]
fn a_listener_wanders_and_serves_several_hubs_at_once() {
    let (pool, hubs) = two_hubs();
    let listener = Arc::new(TcpListener::bind(ANY).unwrap());
    let addr = listener.local_addr().unwrap();
    // Where it accepts in turn, it waits each time.
    for round in 0..20 {
        let accepts = hubs[round % 2].spawn({
            let listener = Arc::clone(&listener);
            move || serve(listener.accept().unwrap().0)
        });
        yield_now();
        ask(addr);
        result(accepts);
    }
    // And with acceptors on both: those that are killed leave what comes to the others.
    let accepted = Arc::new(AtomicUsize::new(0));
    let acceptors: Vec<_> = (0..6)
        .map(|n: usize| {
            let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
            hubs[n % 2].spawn(move || {
                loop {
                    let (stream, _) = listener.accept().unwrap();
                    accepted.fetch_add(1, Ordering::Relaxed);
                    drop(spawn(move || serve(stream)));
                }
            })
        })
        .collect();
    let clients: Vec<_> = (0..100).map(|_| spawn(move || ask(addr))).collect();
    for acceptor in &acceptors[..4] {
        yield_now();
        acceptor.kill_nowait().unwrap();
    }
    clients.into_iter().for_each(result);
    assert_eq!(accepted.load(Ordering::Relaxed), 100);
    assert!(pool.shutdown(Duration::ZERO).is_empty());
    assert!(acceptors.into_iter().all(|acceptor: JoinHandle<()>| matches!(acceptor.join(), Err(JoinError::Killed))));
}

#[test]
fn a_unix_listener_wanders() {
    let (pool, hubs) = two_hubs();
    let directory = Directory::new();
    let path = directory.path("wanders");
    let mut listener = UnixListener::bind(&path).unwrap();
    for round in 0..20 {
        let accepts = hubs[round % 2].spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            (stream, listener)
        });
        yield_now();
        let mut client = UnixStream::connect(&path).unwrap();
        let stream;
        (stream, listener) = result(accepts);
        // Accepted there, used elsewhere.
        let server = hubs[1 - round % 2].spawn(move || serve(stream));
        client.write_all(&[1]).unwrap();
        let mut answer = [0];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], 2);
        drop(client);
        result(server);
    }
    assert!(pool.shutdown(HANG).is_empty());
}

// ---- datagrams ----

#[test]
fn a_udp_socket_wanders_and_is_received_from_on_several_hubs_at_once() {
    const DATAGRAMS: u32 = 200;
    let (pool, hubs) = two_hubs();
    let mut socket = UdpSocket::bind(ANY).unwrap();
    let addr = socket.local_addr().unwrap();
    let client = UdpSocket::bind(ANY).unwrap();
    for round in 0..20 {
        let receives = hubs[round % 2].spawn(move || {
            let mut buf = [0; 4];
            assert_eq!(socket.recv(&mut buf).unwrap(), 4);
            (socket, buf)
        });
        yield_now();
        client.send_to(&(round as u32).to_le_bytes(), addr).unwrap();
        let buf;
        (socket, buf) = result(receives);
        assert_eq!(u32::from_le_bytes(buf), round as u32);
    }
    // Each datagram is received once, by whichever hub.
    let socket = Arc::new(socket);
    let receivers: Vec<_> = (0..4)
        .map(|n| {
            let socket = Arc::clone(&socket);
            hubs[n % 2].spawn(move || {
                let mut got = Vec::new();
                loop {
                    let mut buf = [0; 4];
                    let (_, from) = socket.recv_from(&mut buf).unwrap();
                    let number = u32::from_le_bytes(buf);
                    if number == u32::MAX {
                        return got;
                    }
                    got.push(number);
                    socket.send_to(&buf, from).unwrap();
                }
            })
        })
        .collect();
    for number in 0..DATAGRAMS {
        client.send_to(&number.to_le_bytes(), addr).unwrap();
        // Its echo, so that never more are under way than the buffers hold.
        let mut buf = [0; 4];
        client.recv(&mut buf).unwrap();
        assert_eq!(u32::from_le_bytes(buf), number);
    }
    for _ in &receivers {
        client.send_to(&u32::MAX.to_le_bytes(), addr).unwrap();
    }
    let mut got: Vec<u32> = receivers.into_iter().flat_map(result).collect();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..DATAGRAMS));
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn a_unix_datagram_socket_wanders() {
    let (pool, hubs) = two_hubs();
    let (mut one, two) = UnixDatagram::pair().unwrap();
    for round in 0..20_u8 {
        let receives = hubs[usize::from(round % 2)].spawn(move || {
            let mut buf = [0; 4];
            let len = one.recv(&mut buf).unwrap();
            (one, buf[..len].to_vec())
        });
        yield_now();
        two.send(&[round, 1]).unwrap();
        let received;
        (one, received) = result(receives);
        assert_eq!(received, [round, 1]);
    }
    assert!(pool.shutdown(HANG).is_empty());
}

// ---- pools that end ----

#[test]
fn sockets_whose_hub_has_ended_with_a_reader_go_on_elsewhere() {
    let (pool, hubs) = two_hubs();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = Arc::new(ours);
    let reader = hubs[0].spawn({
        let ours = Arc::clone(&ours);
        move || (&*ours).read(&mut [0; 8]).map(drop)
    });
    result(hubs[0].spawn(|| ()));
    assert!(pool.shutdown(Duration::ZERO).is_empty());
    assert!(matches!(reader.join(), Err(JoinError::Killed)));
    let ours = Arc::into_inner(ours).expect("the reader's has been dropped");
    let (ours, theirs) = wait_for_a_byte(ours, theirs);
    drop((ours, theirs));
}

#[test]
fn what_joinall_collects_of_a_pools_clients_is_complete() {
    let pool = HubPool::new(2).unwrap();
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = pool.spawn(move || {
        for _ in 0..50 {
            let (mut stream, _) = listener.accept().unwrap();
            drop(HubPool::current().unwrap().spawn(move || {
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                stream.write_all(text.to_uppercase().as_bytes()).unwrap();
            }));
        }
    });
    let clients = joinall((0..50).map(|n| {
        pool.spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            write!(stream, "client {n}").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    }));
    for (n, answer) in clients.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("CLIENT {n}"));
    }
    result(server);
    assert!(pool.shutdown(HANG).is_empty());
}
