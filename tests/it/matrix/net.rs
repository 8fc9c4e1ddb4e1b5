//! The sockets.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net;
use std::os::unix::net as unix;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use greenlet::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use socket2::SockRef;

use super::row::{Call, row, text};

/// A socket of ours, and one of std's on the other side.
struct Pair<O, T> {
    ours: O,
    theirs: RefCell<Option<T>>,
}

impl<O, T> Pair<O, T> {
    fn new((ours, theirs): (O, T)) -> Pair<O, T> {
        Pair { ours, theirs: RefCell::new(Some(theirs)) }
    }

    fn close(&self) {
        self.theirs.take();
    }

    fn with_theirs<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(self.theirs.borrow().as_ref().expect("it is open"))
    }
}

fn tcp() -> Pair<TcpStream, net::TcpStream> {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    Pair::new((TcpStream::from(listener.accept().unwrap().0), theirs))
}

fn unix() -> Pair<UnixStream, unix::UnixStream> {
    let (ours, theirs) = unix::UnixStream::pair().unwrap();
    Pair::new((UnixStream::from(ours), theirs))
}

fn datagrams() -> Pair<UnixDatagram, unix::UnixDatagram> {
    let (ours, theirs) = unix::UnixDatagram::pair().unwrap();
    Pair::new((UnixDatagram::from(ours), theirs))
}

fn udp() -> Pair<UdpSocket, net::UdpSocket> {
    let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0").unwrap(), net::UdpSocket::bind("127.0.0.1:0").unwrap());
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    Pair::new((ours, theirs))
}

/// So much that nothing more can be sent.
macro_rules! full {
    ($pair:expr, $ours:ident => $send:expr) => {{
        let pair = $pair;
        pair.ours.set_nonblocking(true).unwrap();
        {
            #[allow(unused_mut, reason = "a stream is written through a `&mut &stream`")]
            let mut $ours = &pair.ours;
            while $send.is_ok() {}
        }
        pair.ours.set_nonblocking(false).unwrap();
        pair
    }};
}

fn full_tcp() -> Pair<TcpStream, net::TcpStream> {
    full!(tcp(), ours => ours.write(&[0; 65536]))
}

fn full_unix() -> Pair<UnixStream, unix::UnixStream> {
    full!(unix(), ours => ours.write(&[0; 65536]))
}

fn full_datagrams() -> Pair<UnixDatagram, unix::UnixDatagram> {
    full!(datagrams(), ours => ours.send(b"x"))
}

/// With a timeout, which is set as in std, for that call only.
macro_rules! within {
    ($ours:expr, $set:ident, $limit:expr, $call:expr) => {{
        $ours.$set(Some($limit.max(NANOSECOND))).unwrap();
        let result = $call;
        $ours.$set(None).unwrap();
        kind(result)
    }};
}

/// Without one, also where the call before is still at work with one.
macro_rules! unlimited {
    ($ours:expr, $set:ident, $call:expr) => {{
        $ours.$set(None).unwrap();
        kind($call)
    }};
}

/// What went wrong, without what the operating system calls it.
fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    text(result.map_err(|err| err.kind()))
}

/// How much was written does not matter.
fn some(result: io::Result<usize>) -> io::Result<()> {
    result.map(drop)
}

/// A listener with its address.
fn tcp_listener() -> (TcpListener, net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A listener at an address that is no path.
fn unix_listener() -> (UnixListener, unix::SocketAddr) {
    use std::os::linux::net::SocketAddrExt;
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("greenlet-matrix-{}-{number}", std::process::id());
    let addr = unix::SocketAddr::from_abstract_name(name).unwrap();
    (UnixListener::bind_addr(&addr).unwrap(), addr)
}

/// A listener that lets nobody in, since nobody accepts those who came before.
struct Crowded {
    listener: RefCell<Option<socket2::Socket>>,
    addr: net::SocketAddr,
    crowd: Vec<socket2::Socket>,
}

impl Crowded {
    fn new() -> Crowded {
        let new_socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = new_socket();
        listener.bind(&net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        let crowd = (0..4).map(|_| {
            let socket = new_socket();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&addr);
            socket
        });
        let crowd = crowd.collect();
        Crowded { listener: RefCell::new(Some(listener)), addr: addr.as_socket().unwrap(), crowd }
    }

    fn close(&self) {
        assert!(!self.crowd.is_empty());
        self.listener.take();
    }
}

pub(super) fn rows() -> Vec<Call> {
    [streams(), datagram_sockets(), listeners()].concat()
}

fn streams() -> Vec<Call> {
    vec![
        row("TcpStream::read", tcp, |it| unlimited!(it.ours, set_read_timeout, (&it.ours).read(&mut [0; 8])))
            .timed(
                |it, limit| within!(it.ours, set_read_timeout, limit, (&it.ours).read(&mut [0; 8])),
                "Err(WouldBlock)",
            )
            .ready(|it| it.with_theirs(|mut theirs| theirs.write_all(b"x").unwrap()), "Ok(1)")
            .dies("closed", Pair::close, "Ok(0)")
            .dies(
                "reset",
                |it| {
                    it.with_theirs(|theirs| SockRef::from(theirs).set_linger(Some(Duration::ZERO)).unwrap());
                    it.close();
                },
                "Err(ConnectionReset)",
            )
            .dies("shut down by ourselves", |it| it.ours.shutdown(net::Shutdown::Read).unwrap(), "Ok(0)")
            .done(),
        row("TcpStream::peek", tcp, |it| unlimited!(it.ours, set_read_timeout, it.ours.peek(&mut [0; 8])))
            .timed(|it, limit| within!(it.ours, set_read_timeout, limit, it.ours.peek(&mut [0; 8])), "Err(WouldBlock)")
            .ready(|it| it.with_theirs(|mut theirs| theirs.write_all(b"x").unwrap()), "Ok(1)")
            .dies("closed", Pair::close, "Ok(0)")
            .done(),
        row("TcpStream::write", full_tcp, |it| unlimited!(it.ours, set_write_timeout, some((&it.ours).write(b"x"))))
            .timed(
                |it, limit| within!(it.ours, set_write_timeout, limit, some((&it.ours).write(b"x"))),
                "Err(WouldBlock)",
            )
            .ready(
                |it| {
                    let mut theirs = it.with_theirs(|theirs| theirs.try_clone().unwrap());
                    thread::spawn(move || io::copy(&mut theirs, &mut io::sink()));
                },
                "Ok(())",
            )
            .dies("closed", Pair::close, "Err(ConnectionReset)")
            .dies("shut down by ourselves", |it| it.ours.shutdown(net::Shutdown::Write).unwrap(), "Err(BrokenPipe)")
            .switches()
            .done(),
        row("TcpStream::connect", Crowded::new, |it| kind(TcpStream::connect(it.addr).map(drop)))
            .timed(
                |it, limit| kind(TcpStream::connect_timeout(&it.addr, limit.max(NANOSECOND)).map(drop)),
                "Err(TimedOut)",
            )
            .dies("closed", Crowded::close, "Err(ConnectionRefused)")
            .done(),
        row("UnixStream::read", unix, |it| unlimited!(it.ours, set_read_timeout, (&it.ours).read(&mut [0; 8])))
            .timed(
                |it, limit| within!(it.ours, set_read_timeout, limit, (&it.ours).read(&mut [0; 8])),
                "Err(WouldBlock)",
            )
            .ready(|it| it.with_theirs(|mut theirs| theirs.write_all(b"x").unwrap()), "Ok(1)")
            .dies("closed", Pair::close, "Ok(0)")
            .done(),
        row("UnixStream::write", full_unix, |it| unlimited!(it.ours, set_write_timeout, some((&it.ours).write(b"x"))))
            .timed(
                |it, limit| within!(it.ours, set_write_timeout, limit, some((&it.ours).write(b"x"))),
                "Err(WouldBlock)",
            )
            .ready(
                |it| {
                    it.with_theirs(|mut theirs| {
                        theirs.set_nonblocking(true).unwrap();
                        while theirs.read(&mut [0; 65536]).is_ok() {}
                    });
                },
                "Ok(())",
            )
            .dies("closed", Pair::close, "Err(BrokenPipe)")
            .done(),
    ]
}

fn datagram_sockets() -> Vec<Call> {
    vec![
        row("UdpSocket::recv", udp, |it| unlimited!(it.ours, set_read_timeout, it.ours.recv(&mut [0; 8])))
            .timed(|it, limit| within!(it.ours, set_read_timeout, limit, it.ours.recv(&mut [0; 8])), "Err(WouldBlock)")
            .ready(|it| it.with_theirs(|theirs| assert!(theirs.send(b"x").is_ok())), "Ok(1)")
            .dies(
                "closed, and we send",
                |it| {
                    it.close();
                    it.ours.send(b"x").unwrap();
                },
                "Err(ConnectionRefused)",
            )
            .for_one()
            .done(),
        row("UdpSocket::recv_from", udp, |it| {
            unlimited!(it.ours, set_read_timeout, it.ours.recv_from(&mut [0; 8]).map(|(length, _)| length))
        })
        .timed(
            |it, limit| {
                within!(it.ours, set_read_timeout, limit, it.ours.recv_from(&mut [0; 8]).map(|(length, _)| length))
            },
            "Err(WouldBlock)",
        )
        .ready(|it| it.with_theirs(|theirs| assert!(theirs.send(b"x").is_ok())), "Ok(1)")
        .for_one()
        .done(),
        row("UnixDatagram::recv", datagrams, |it| unlimited!(it.ours, set_read_timeout, it.ours.recv(&mut [0; 8])))
            .timed(|it, limit| within!(it.ours, set_read_timeout, limit, it.ours.recv(&mut [0; 8])), "Err(WouldBlock)")
            .ready(|it| it.with_theirs(|theirs| assert!(theirs.send(b"x").is_ok())), "Ok(1)")
            .for_one()
            .done(),
        row("UnixDatagram::send", full_datagrams, |it| unlimited!(it.ours, set_write_timeout, it.ours.send(b"x")))
            .timed(|it, limit| within!(it.ours, set_write_timeout, limit, it.ours.send(b"x")), "Err(WouldBlock)")
            .ready(
                |it| {
                    // All of it: the system tells of room only when there is plenty.
                    it.with_theirs(|theirs| {
                        theirs.set_nonblocking(true).unwrap();
                        while theirs.recv(&mut [0; 8]).is_ok() {}
                    });
                },
                "Ok(1)",
            )
            .dies("closed", Pair::close, "Err(ConnectionRefused)")
            .done(),
    ]
}

fn listeners() -> Vec<Call> {
    vec![
        row("TcpListener::accept", tcp_listener, |(listener, _)| kind(listener.accept().map(drop)))
            .ready(|(_, addr)| drop(net::TcpStream::connect(addr).unwrap()), "Ok(())")
            .dies(
                "shut down",
                |(listener, _)| SockRef::from(listener).shutdown(net::Shutdown::Both).unwrap(),
                "Err(InvalidInput)",
            )
            .for_one()
            .done(),
        row("UnixListener::accept", unix_listener, |(listener, _)| kind(listener.accept().map(drop)))
            .ready(|(_, addr)| drop(unix::UnixStream::connect_addr(addr).unwrap()), "Ok(())")
            .for_one()
            .done(),
    ]
}

/// Std takes no timeout of zero.
const NANOSECOND: Duration = Duration::from_nanos(1);
