//! `UnixDatagram`: datagrams over Unix sockets.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

use greenlet_hub::Kind;
use socket2::{Domain, Type};

use crate::macros::{common_methods, descriptor_traits, timeout_methods};
use crate::open;
use crate::socket::{Socket, StdSocket};

/// A Unix socket for datagrams, which are neither lost nor reordered; std's [`UnixDatagram`](net::UnixDatagram).
///
/// Any number of greenlets may wait to receive; they are served in the order in which they came.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_net::UnixDatagram;
///
/// let (ours, theirs) = UnixDatagram::pair()?;
/// spawn(move || theirs.send(b"hello"));
/// let mut buf = [0; 16];
/// assert_eq!(ours.recv(&mut buf)?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram(Socket<net::UnixDatagram>);

impl StdSocket for net::UnixDatagram {
    const KIND: Kind = Kind::Datagram;
}

impl UnixDatagram {
    /// Makes a socket with the given path. Never switches.
    ///
    /// # Errors
    ///
    /// What bind(2) says: `AddrInUse` if the path exists; `InvalidInput` if it is too long.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind(path)?)
    }

    /// Makes a socket with the given address, which may be an abstract name. Never switches.
    ///
    /// # Errors
    ///
    /// What bind(2) says.
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::from_std(net::UnixDatagram::bind_addr(socket_addr)?)
    }

    fn from_std(socket: net::UnixDatagram) -> io::Result<UnixDatagram> {
        socket.set_nonblocking(true)?;
        Ok(UnixDatagram(Socket::from_nonblocking(socket)))
    }

    /// Makes a socket without a name. Never switches.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn unbound() -> io::Result<UnixDatagram> {
        let socket = open::socket(Domain::UNIX, Type::DGRAM)?;
        Ok(UnixDatagram(Socket::from_nonblocking(OwnedFd::from(socket).into())))
    }

    /// Makes two sockets that are connected to each other. Never switches.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = open::pair(Type::DGRAM)?;
        Ok((UnixDatagram(Socket::from_nonblocking(one)), UnixDatagram(Socket::from_nonblocking(other))))
    }

    /// Sets the peer that [`send`](UnixDatagram::send) sends to and `recv` receives from alone. Never switches.
    ///
    /// # Errors
    ///
    /// What connect(2) says.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.0.std().connect(path)
    }

    /// As [`connect`](UnixDatagram::connect), to an address that may be an abstract name. Never switches.
    ///
    /// # Errors
    ///
    /// What connect(2) says.
    pub fn connect_addr(&self, socket_addr: &SocketAddr) -> io::Result<()> {
        self.0.std().connect_addr(socket_addr)
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().local_addr()
    }

    /// Returns the peer's address, if it is connected.
    ///
    /// # Errors
    ///
    /// What getpeername(2) says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().peer_addr()
    }

    /// Waits until there is a datagram, and takes it; what does not fit is lost.
    ///
    /// # Errors
    ///
    /// What recvfrom(2) says; `WouldBlock` when the timeout has passed.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.read_with(|socket| match socket.recv_from(buf) {
            Err(err) if self.is_at_its_end(&err) => Ok((0, SocketAddr::from_pathname("")?)),
            result => result,
        })
    }

    /// Waits until there is a datagram, and takes it; what does not fit is lost.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](UnixDatagram::recv_from).
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UnixDatagram::recv_from).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|socket| match socket.recv(buf) {
            Err(err) if self.is_at_its_end(&err) => Ok(0),
            result => result,
        })
    }

    /// Waits until the receiver's queue has room, and sends a datagram to the socket with that path.
    ///
    /// While the queue is full it tries again after pauses of 1 to 50 ms, since the system does not tell when there is room.
    /// To a connected peer, [`send`](UnixDatagram::send) waits without pauses.
    ///
    /// # Errors
    ///
    /// What sendto(2) says; `WouldBlock` when the timeout has passed.
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UnixDatagram::recv_from).
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        let path = path.as_ref();
        self.0.write_with_pauses(|socket| socket.send_to(buf, path))
    }

    /// As [`send_to`](UnixDatagram::send_to), to an address that may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`send_to`](UnixDatagram::send_to).
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UnixDatagram::recv_from).
    pub fn send_to_addr(&self, buf: &[u8], socket_addr: &SocketAddr) -> io::Result<usize> {
        self.0.write_with_pauses(|socket| socket.send_to_addr(buf, socket_addr))
    }

    /// Waits until the peer's queue has room, and sends it a datagram.
    ///
    /// # Errors
    ///
    /// What send(2) says; `WouldBlock` when the timeout has passed.
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UnixDatagram::recv_from).
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_with(|socket| socket.send(buf))
    }

    /// Shuts one or both directions down, which ends the waits of other greenlets in them at once. Never switches.
    ///
    /// Of a socket that was shut down for reading through a handle which is not ours (in another process), greenlets that wait
    /// to receive do not learn: the kernel tells it to blocking calls only.
    ///
    /// # Errors
    ///
    /// What shutdown(2) says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.std().shutdown(how)?;
        if how != Shutdown::Write {
            self.0.note_receiving_is_shut();
        }
        Ok(())
    }

    /// After a shutdown, Linux lets a blocking receive return 0, but a non-blocking one (as ours are) `WouldBlock` for ever.
    fn is_at_its_end(&self, err: &io::Error) -> bool {
        err.kind() == io::ErrorKind::WouldBlock && self.0.receiving_is_shut() && !self.0.is_nonblocking()
    }
}

common_methods!(UnixDatagram);
timeout_methods!(UnixDatagram);
descriptor_traits!(UnixDatagram, net::UnixDatagram);
