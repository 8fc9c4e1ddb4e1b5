//! A hand-written edge-triggered epoll loop: the least that an echo server on one thread must do.
//!
//! Each connection is registered once. A read that returns less than the buffer holds has emptied the socket, unless the
//! event said that the peer has ended: so no read ends in `EAGAIN`. Answers are written at once; `EPOLLOUT` is asked for
//! only when the socket is full, and reading stops until it has drained. The listener is level-triggered, since
//! an edge would force an `accept4` that ends in `EAGAIN`.
//!
//! Each connection has a buffer of its own, of the size that the other columns use: so has every server that keeps something of a
//! connection from one read to the next, and so they all do the same work. The column `raw-shared` tells what an echo saves
//! that reads all connections into one buffer, which stays in the cache, and is larger than any message.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use libc::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};

use super::{BUFFER, Column};
use crate::sys::{self, Epoll, Event};

pub(super) const COLUMN: Column =
    Column { name: "raw-epoll", serve: Some(serve::<false>), serve_patched: Some(serve::<false>), ..Column::EMPTY };
pub(super) const SHARED: Column = Column { name: "raw-shared", serve: Some(serve::<true>), ..Column::EMPTY };

const READING: i32 = EPOLLIN | EPOLLRDHUP | EPOLLET;
const WRITING: i32 = READING | EPOLLOUT;
/// After one of these a short read does not mean that nothing is left: the end is.
const ENDING: i32 = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
/// Twice the largest message, so that even that one is a short read.
const SHARED_BUFFER: usize = 32 * 1_024;

struct Connection {
    stream: TcpStream,
    /// Empty where all share one.
    buffer: Vec<u8>,
    /// What the socket had no room for.
    unsent: Vec<u8>,
    /// Whether the peer was seen to end, which no later event repeats.
    ending: bool,
}

enum Next {
    Wait,
    Close,
}

fn serve<const SHARED: bool>(ready: &dyn Fn(SocketAddr)) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("an open listener");
    ready(listener.local_addr().expect("a bound listener has an address"));
    run::<SHARED>(&listener).expect("epoll");
}

fn run<const SHARED: bool>(listener: &TcpListener) -> io::Result<()> {
    let epoll = Epoll::new()?;
    let listening = listener.as_raw_fd() as usize;
    epoll.add(listener, EPOLLIN, listening)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut shared = vec![0; if SHARED { SHARED_BUFFER } else { 0 }];
    let mut events = vec![Event::EMPTY; 1_024];
    loop {
        let count = epoll.wait(&mut events, -1)?;
        for event in &events[..count] {
            // A descriptor is its own key: one event a descriptor and batch, so none can be for a predecessor.
            let key = event.data();
            if key == listening {
                accept::<SHARED>(listener, &epoll, &mut connections);
                continue;
            }
            let Some(connection) = &mut connections[key] else {
                continue;
            };
            let next = if SHARED {
                connection.handle(*event, &epoll, &mut shared)
            } else {
                let mut own = std::mem::take(&mut connection.buffer);
                let next = connection.handle(*event, &epoll, &mut own);
                connection.buffer = own;
                next
            };
            if !matches!(next, Ok(Next::Wait)) {
                connections[key] = None;
            }
        }
    }
}

fn accept<const SHARED: bool>(listener: &TcpListener, epoll: &Epoll, connections: &mut Vec<Option<Connection>>) {
    let Ok(stream) = sys::accept_nonblocking(listener) else {
        return;
    };
    let key = stream.as_raw_fd() as usize;
    let set_up = stream.set_nodelay(true).and_then(|()| epoll.add(&stream, READING, key));
    if set_up.is_err() {
        return;
    }
    if key >= connections.len() {
        connections.resize_with(key + 1, || None);
    }
    connections[key] = Some(Connection {
        stream,
        buffer: vec![0; if SHARED { 0 } else { BUFFER }],
        unsent: Vec::new(),
        ending: false,
    });
}

impl Connection {
    fn handle(&mut self, event: Event, epoll: &Epoll, buffer: &mut [u8]) -> io::Result<Next> {
        self.ending |= event.has(ENDING);
        if !self.unsent.is_empty() && !self.drain(epoll)? {
            return Ok(Next::Wait);
        }
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Close),
                Ok(len) => len,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(err) => return Err(err),
            };
            let sent = self.send(&buffer[..len])?;
            if sent < len {
                self.unsent.extend_from_slice(&buffer[sent..len]);
                epoll.modify(&self.stream, WRITING, self.stream.as_raw_fd() as usize)?;
                return Ok(Next::Wait);
            }
            if len < buffer.len() && !self.ending {
                return Ok(Next::Wait);
            }
        }
    }

    /// Writes what was left over, and tells whether all of it went out.
    fn drain(&mut self, epoll: &Epoll) -> io::Result<bool> {
        let sent = self.send(&self.unsent)?;
        self.unsent.drain(..sent);
        if !self.unsent.is_empty() {
            return Ok(false);
        }
        epoll.modify(&self.stream, READING, self.stream.as_raw_fd() as usize)?;
        Ok(true)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => Ok(0),
            res => res,
        }
    }
}
