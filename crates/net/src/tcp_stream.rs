//! `TcpStream`: connecting, reading and writing.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use greenlet_hub::Kind;
use socket2::{Domain, SockRef, TcpKeepalive, Type};

use crate::addr::each_addr;
use crate::macros::{common_methods, descriptor_traits, stream_traits, timeout_methods};
use crate::socket::{Socket, StdSocket, refuse_zero};
use crate::{ToSocketAddrs, open};

/// A TCP connection; std's [`TcpStream`](net::TcpStream).
///
/// One greenlet may read while another one writes: through `&TcpStream`, or through a clone. The connection is closed when the
/// last handle is dropped.
///
/// # Examples
///
/// ```no_run
/// use greenlet_net::TcpStream;
/// use std::io::{Read, Write};
///
/// let mut stream = TcpStream::connect("localhost:7777")?;
/// stream.write_all(b"hello\n")?;
/// let mut line = [0; 6];
/// stream.read_exact(&mut line)?; // other greenlets run until it is there
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream(Socket<net::TcpStream>);

impl StdSocket for net::TcpStream {
    const KIND: Kind = Kind::Stream;
    const SHORT_READ_EMPTIES: bool = true;
}

impl TcpStream {
    pub(crate) fn from_nonblocking(stream: net::TcpStream) -> TcpStream {
        TcpStream(Socket::from_nonblocking(stream))
    }

    /// Waits until one of the addresses has accepted a connection; they are tried one after the other.
    ///
    /// # Errors
    ///
    /// The last address' error; what the look-up says; `InvalidInput` if there is no address.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        each_addr(addr, |addr| TcpStream::connect_one(addr, None))
    }

    /// Waits until the address has accepted a connection, at the most for `timeout`.
    ///
    /// # Errors
    ///
    /// Of kind `TimedOut` when the time has passed; `InvalidInput` for a timeout of zero; else as
    /// [`connect`](TcpStream::connect).
    ///
    /// # Panics
    ///
    /// As [`connect`](TcpStream::connect).
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        refuse_zero(Some(timeout))?;
        TcpStream::connect_one(addr, Some(timeout))
    }

    fn connect_one(addr: &SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
        let socket = open::socket(Domain::for_address(*addr), Type::STREAM)?;
        let begun = socket.connect(&(*addr).into());
        let stream = TcpStream::from_nonblocking(socket.into());
        match begun {
            Ok(()) => return Ok(stream),
            Err(err) if err.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(err) => return Err(err),
        }
        if !stream.0.wait_connected(timeout)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
        }
        stream.take_error()?.map_or(Ok(stream), Err)
    }

    /// Returns the other end's address.
    ///
    /// # Errors
    ///
    /// What getpeername(2) says: of kind `NotConnected` if the connection was reset.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().peer_addr()
    }

    /// Returns this end's address.
    ///
    /// # Errors
    ///
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().local_addr()
    }

    /// Shuts one or both directions down, which ends the waits of other greenlets in them at once. Never switches.
    ///
    /// # Errors
    ///
    /// What shutdown(2) says: of kind `NotConnected` if the connection was reset.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.std().shutdown(how)
    }

    /// Waits until there is data, and copies it without taking it.
    ///
    /// # Errors
    ///
    /// What recv(2) says.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|stream| stream.peek(buf))
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`) rather than gathered (Nagle's algorithm).
    ///
    /// # Errors
    ///
    /// What setsockopt(2) says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.std().set_nodelay(nodelay)
    }

    /// Returns whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) says.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.std().nodelay()
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

    /// Sets after how long a silence the kernel begins to ask whether the peer is still there (`SO_KEEPALIVE`,
    /// `TCP_KEEPIDLE`); `None`: it never asks. In whole seconds. std lacks this.
    ///
    /// # Errors
    ///
    /// What setsockopt(2) says: `InvalidInput` for less than a second.
    pub fn set_keepalive(&self, silence: Option<Duration>) -> io::Result<()> {
        let socket = SockRef::from(self.0.std());
        match silence {
            Some(silence) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence)),
            None => socket.set_keepalive(false),
        }
    }

    /// Returns whether the kernel asks if the peer is still there.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) says.
    pub fn keepalive(&self) -> io::Result<bool> {
        SockRef::from(self.0.std()).keepalive()
    }

    /// Sets whether received data is acknowledged at once (`TCP_QUICKACK`); std's
    /// [`TcpStreamExt`](std::os::linux::net::TcpStreamExt).
    ///
    /// # Errors
    ///
    /// What setsockopt(2) says.
    #[cfg(target_os = "linux")]
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        std::os::linux::net::TcpStreamExt::set_quickack(self.0.std(), quickack)
    }

    /// Returns whether received data is acknowledged at once.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) says.
    #[cfg(target_os = "linux")]
    pub fn quickack(&self) -> io::Result<bool> {
        std::os::linux::net::TcpStreamExt::quickack(self.0.std())
    }
}

common_methods!(TcpStream);
timeout_methods!(TcpStream);
stream_traits!(TcpStream);
descriptor_traits!(TcpStream, net::TcpStream);
