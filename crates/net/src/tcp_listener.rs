//! `TcpListener`: accepting connections.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use greenlet_hub::Kind;

use crate::addr::{each_addr, invalid};
use crate::macros::{common_methods, descriptor_traits};
use crate::socket::{Socket, StdSocket};
use crate::{ListenOptions, TcpStream, ToSocketAddrs, open};

/// A TCP server's socket; std's [`TcpListener`](net::TcpListener).
///
/// Any number of greenlets, also of several hubs, may wait in [`accept`](TcpListener::accept); those of one hub are served in
/// the order in which they came.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_net::{TcpListener, TcpStream};
/// use std::io::Write;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let greeter = spawn(move || {
///     let (mut stream, _) = listener.accept()?;
///     stream.write_all(b"welcome")
/// });
/// assert_eq!(std::io::read_to_string(TcpStream::connect(addr)?)?, "welcome");
/// greeter.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener(Socket<net::TcpListener>);

impl StdSocket for net::TcpListener {
    const KIND: Kind = Kind::Listener;
}

impl TcpListener {
    /// Waits for the look-up if `addr` is a name; binds a socket to the first of its addresses that can be had, and listens.
    ///
    /// As in std, with `SO_REUSEADDR` and a backlog of 128; port 0 asks for a free one.
    ///
    /// # Errors
    ///
    /// The last address' error, as `AddrInUse`; what the look-up says; `InvalidInput` if there is no address.
    ///
    /// # Panics
    ///
    /// As [`ToSocketAddrs::to_socket_addrs`].
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        TcpListener::bind_with(addr, &ListenOptions::new())
    }

    /// As [`bind`](TcpListener::bind), with options that std lacks.
    ///
    /// # Errors
    ///
    /// As [`bind`](TcpListener::bind), and what the options' system calls say.
    ///
    /// # Panics
    ///
    /// As [`bind`](TcpListener::bind).
    pub fn bind_with<A: ToSocketAddrs>(addr: A, options: &ListenOptions) -> io::Result<TcpListener> {
        each_addr(addr, |addr| options.bind(addr)).map(|listener| TcpListener(Socket::from_nonblocking(listener)))
    }

    /// Waits until there is a connection, and takes it.
    ///
    /// # Errors
    ///
    /// What accept(2) says: of kind `ConnectionAborted` if the client gave up meanwhile, `EMFILE` if there is no descriptor left
    /// (the connection stays in the queue).
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, addr) = self.0.read_with(open::accept)?;
        let addr = addr.as_socket().ok_or_else(|| invalid("invalid argument"))?;
        Ok((TcpStream::from_nonblocking(stream), addr))
    }

    /// Returns an iterator over the connections, which never ends: each `next` waits as [`accept`](TcpListener::accept).
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Returns the address that the socket is bound to: tells which port it has got.
    ///
    /// # Errors
    ///
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().local_addr()
    }

    /// Sets the time to live of the packets (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// What setsockopt(2) says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.std().set_ttl(ttl)
    }

    /// Returns the time to live of the packets.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.std().ttl()
    }

    /// Sets nothing, since the option can be set before binding only; std's deprecated method.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) says.
    #[deprecated = "it can only be set before the socket is bound: use `ListenOptions::only_v6`"]
    #[allow(deprecated, reason = "the same, in std")]
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        self.0.std().set_only_v6(only_v6)
    }

    /// Returns whether it takes IPv6 connections only.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) says.
    #[deprecated = "its counterpart `set_only_v6` is of no use"]
    #[allow(deprecated, reason = "the same, in std")]
    pub fn only_v6(&self) -> io::Result<bool> {
        self.0.std().only_v6()
    }
}

common_methods!(TcpListener);
descriptor_traits!(TcpListener, net::TcpListener);

/// The connections of a [`TcpListener`], without end; made by [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    /// Waits until there is a connection.
    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}
