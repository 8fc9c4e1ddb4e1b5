//! The load: a closed loop over many connections, one message in flight on each, every byte of the answers checked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use libc::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};

use crate::sys::{self, Epoll, Event};

const INTEREST: i32 = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
const GONE: i32 = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
/// So many connections are made before each of them is proved by a message: shorter than any server's backlog.
const BATCH: usize = 64;
/// A server that does not answer for so long has lost a message.
const PATIENCE: Duration = Duration::from_secs(10);
const RECEIVE_BUFFER: usize = 64 * 1_024;

/// What came of one phase of load.
pub(crate) struct Phase {
    /// Messages answered, or connections served.
    pub(crate) count: u64,
    pub(crate) elapsed: Duration,
    /// Round trips in nanoseconds, from before the write until the answer is complete.
    pub(crate) latency: Histogram<u64>,
}

/// A set of connections to one server.
pub(crate) struct Load {
    epoll: Epoll,
    connections: Vec<Connection>,
    pattern: Pattern,
    events: Vec<Event>,
    buffer: Vec<u8>,
    polls: bool,
}

impl Load {
    /// Connects, and proves each connection by one message.
    ///
    /// # Errors
    ///
    /// A connection fails or its echo is wrong.
    pub(crate) fn connect(address: SocketAddr, count: usize, size: usize) -> io::Result<Self> {
        let mut load = Self {
            epoll: Epoll::new()?,
            connections: Vec::with_capacity(count),
            pattern: Pattern::new(size),
            events: vec![Event::EMPTY; 1_024],
            buffer: vec![0; RECEIVE_BUFFER],
            polls: false,
        };
        while load.connections.len() < count {
            let first = load.connections.len();
            for key in first..count.min(first + BATCH) {
                load.connections.push(Connection::open(address, &load.epoll, key)?);
            }
            load.round(first)?;
        }
        Ok(load)
    }

    /// Lets it ask for answers again and again from now on, without ever sleeping: nobody has to wake it.
    pub(crate) fn poll(&mut self) {
        self.polls = true;
    }

    /// Keeps one message in flight on each connection for so long, then waits for the last answers.
    ///
    /// The server is quiet before and after, so that what it has used belongs to the messages counted here, exactly.
    ///
    /// # Errors
    ///
    /// A connection fails or an echo is wrong.
    pub(crate) fn run(&mut self, duration: Duration) -> io::Result<Phase> {
        self.drive(0, Instant::now() + duration)
    }

    /// Sends one message on each connection from `first` on.
    fn round(&mut self, first: usize) -> io::Result<()> {
        self.drive(first, Instant::now()).map(drop)
    }

    fn drive(&mut self, first: usize, end: Instant) -> io::Result<Phase> {
        let mut latency = histogram();
        let start = Instant::now();
        for connection in &mut self.connections[first..] {
            connection.begin(&mut self.pattern)?;
        }
        let mut in_flight = self.connections.len() - first;
        let mut over = false;
        while in_flight > 0 {
            let count = self.wait()?;
            if count == 0 {
                return Err(io::Error::new(ErrorKind::TimedOut, "no answer for 10 s"));
            }
            over = over || Instant::now() >= end;
            for event in &self.events[..count] {
                let connection = &mut self.connections[event.data()];
                if connection.handle(*event, &mut self.pattern, &mut self.buffer)? {
                    connection.note(&mut latency);
                    if over {
                        in_flight -= 1;
                    } else {
                        connection.begin(&mut self.pattern)?;
                    }
                }
            }
        }
        Ok(Phase { count: latency.len(), elapsed: start.elapsed(), latency })
    }

    /// Returns how many events there are, 0 if none comes.
    fn wait(&mut self) -> io::Result<usize> {
        if !self.polls {
            return self.epoll.wait(&mut self.events, PATIENCE.as_millis() as i32);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let count = self.epoll.wait(&mut self.events, 0)?;
            if count > 0 || Instant::now() >= end {
                return Ok(count);
            }
        }
    }
}

/// Keeps `at_once` connections going for so long: each connects, has one message echoed, and is closed.
///
/// They end as connections do, by a FIN that the server reads as the end of the file; only this side is set up not to remember
/// them in TIME_WAIT, where a few seconds would leave 131,072 sockets to disturb the runs that follow.
///
/// # Errors
///
/// A connection fails or an echo is wrong.
pub(crate) fn churn(address: SocketAddr, at_once: usize, size: usize, duration: Duration) -> io::Result<Phase> {
    let epoll = Epoll::new()?;
    let mut pattern = Pattern::new(size);
    let mut events = vec![Event::EMPTY; 1_024];
    let mut buffer = vec![0; RECEIVE_BUFFER];
    let mut latency = histogram();
    let open = |key, pattern: &mut Pattern| -> io::Result<Connection> {
        let mut connection = Connection::open(address, &epoll, key)?;
        sys::forget_after_fin(&connection.stream)?;
        connection.begin(pattern)?;
        Ok(connection)
    };
    let start = Instant::now();
    let mut connections = Vec::with_capacity(at_once);
    for key in 0..at_once {
        connections.push(Some(open(key, &mut pattern)?));
    }
    let mut in_flight = at_once;
    let mut over = false;
    while in_flight > 0 {
        let count = epoll.wait(&mut events, PATIENCE.as_millis() as i32)?;
        if count == 0 {
            return Err(io::Error::new(ErrorKind::TimedOut, "no answer for 10 s"));
        }
        over = over || start.elapsed() >= duration;
        for event in &events[..count] {
            let Some(connection) = &mut connections[event.data()] else {
                continue;
            };
            if connection.handle(*event, &mut pattern, &mut buffer)? {
                connection.note(&mut latency);
                // First the old one goes, so that no more than `at_once` are open.
                connections[event.data()] = None;
                if over {
                    in_flight -= 1;
                } else {
                    connections[event.data()] = Some(open(event.data(), &mut pattern)?);
                }
            }
        }
    }
    Ok(Phase { count: latency.len(), elapsed: start.elapsed(), latency })
}

fn histogram() -> Histogram<u64> {
    // From a nanosecond to a minute.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds are allowed")
}

/// One connection and the message in flight on it.
struct Connection {
    stream: TcpStream,
    key: usize,
    /// Which message this is: its first bytes.
    stamp: Stamp,
    sent: usize,
    received: usize,
    since: Instant,
}

impl Connection {
    fn open(address: SocketAddr, epoll: &Epoll, key: usize) -> io::Result<Self> {
        // On loopback the handshake is over when `connect` returns, it never waits while the backlog has room.
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, INTEREST, key)?;
        let since = Instant::now();
        Ok(Self { stream, key, stamp: [0; STAMP], sent: 0, received: 0, since })
    }

    /// Begins the next message.
    fn begin(&mut self, pattern: &mut Pattern) -> io::Result<()> {
        let count = u32::from_ne_bytes([self.stamp[4], self.stamp[5], self.stamp[6], self.stamp[7]]);
        self.stamp[..4].copy_from_slice(&(self.key as u32).to_ne_bytes());
        self.stamp[4..].copy_from_slice(&count.wrapping_add(1).to_ne_bytes());
        self.sent = 0;
        self.received = 0;
        self.since = Instant::now();
        self.send(pattern)
    }

    fn send(&mut self, pattern: &mut Pattern) -> io::Result<()> {
        let message = pattern.stamped(self.stamp);
        while self.sent < message.len() {
            match self.stream.write(&message[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Does what an event asks for, and tells whether it completed the answer.
    fn handle(&mut self, event: Event, pattern: &mut Pattern, buffer: &mut [u8]) -> io::Result<bool> {
        if event.has(GONE) {
            return Err(io::Error::new(ErrorKind::ConnectionReset, "the server has hung up"));
        }
        if self.sent < pattern.len() {
            self.send(pattern)?;
        }
        if !event.has(EPOLLIN) {
            return Ok(false);
        }
        loop {
            let len = match self.stream.read(buffer) {
                Ok(len) => len,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(err) => return Err(err),
            };
            let expected = pattern.stamped(self.stamp).get(self.received..self.received + len);
            if len == 0 || expected != Some(&buffer[..len]) {
                return Err(io::Error::new(ErrorKind::InvalidData, "the echo is not what was sent"));
            }
            self.received += len;
            // A short read has emptied the socket.
            if self.received == pattern.len() || len < buffer.len() {
                return Ok(self.received == pattern.len());
            }
        }
    }

    fn note(&self, latency: &mut Histogram<u64>) {
        latency.saturating_record(self.since.elapsed().as_nanos() as u64);
    }
}

const STAMP: usize = 8;
type Stamp = [u8; STAMP];

/// What all messages look like, but for the stamp in front that tells connection and number.
struct Pattern(Vec<u8>);

impl Pattern {
    fn new(size: usize) -> Self {
        assert!(size >= STAMP, "a message has room for its stamp");
        // A period that is prime to every power of two: bytes in a wrong place do not look right.
        Self((0..size).map(|index| (index % 251) as u8).collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn stamped(&mut self, stamp: Stamp) -> &[u8] {
        self.0[..STAMP].copy_from_slice(&stamp);
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    /// Serves each connection by a thread that gives back what it reads, after `change` has seen it.
    fn server(change: fn(&mut [u8])) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut buffer = [0; 4_096];
                    while let Ok(len @ 1..) = stream.read(&mut buffer) {
                        change(&mut buffer[..len]);
                        stream.write_all(&buffer[..len]).unwrap();
                    }
                });
            }
        });
        address
    }

    #[test]
    fn a_message_larger_than_the_servers_buffer_comes_back_whole() {
        let mut load = Load::connect(server(|_| ()), 3, 100_000).unwrap();
        let phase = load.run(Duration::ZERO).unwrap();
        assert_eq!(phase.count, 3);
    }

    #[test]
    fn a_load_that_polls_sees_each_answer() {
        let mut load = Load::connect(server(|_| ()), 3, 64).unwrap();
        load.poll();
        let phase = load.run(Duration::ZERO).unwrap();
        assert_eq!(phase.count, 3);
    }

    #[test]
    fn one_wrong_byte_is_an_error() {
        let address = server(|bytes| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
        });
        let err = Load::connect(address, 1, 64).err().unwrap();
        assert_eq!(err.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_connection_of_churn_is_closed_when_its_message_is_back() {
        let phase = churn(server(|_| ()), 2, 64, Duration::ZERO).unwrap();
        assert_eq!(phase.count, 2);
    }
}
