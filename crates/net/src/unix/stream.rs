//! `UnixStream`: connecting, reading and writing.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

use greenlet_hub::Kind;
use socket2::{Domain, Type};

use super::addr;
use crate::macros::{common_methods, descriptor_traits, stream_traits, timeout_methods};
use crate::socket::{Socket, StdSocket};
use crate::{open, pause};

/// A connection of Unix sockets; std's [`UnixStream`](net::UnixStream).
///
/// One greenlet may read while another one writes: through `&UnixStream`, or through a clone.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut ours, mut theirs) = UnixStream::pair()?;
/// spawn(move || theirs.write_all(b"hello"));
/// let mut buf = [0; 5];
/// ours.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream(Socket<net::UnixStream>);

impl StdSocket for net::UnixStream {
    const KIND: Kind = Kind::Stream;
    // A read ends where the sender has sent descriptors along, though more may follow (unix(7), `SCM_RIGHTS`).
    const SHORT_READ_EMPTIES: bool = false;
}

impl UnixStream {
    pub(crate) fn from_nonblocking(stream: net::UnixStream) -> UnixStream {
        UnixStream(Socket::from_nonblocking(stream))
    }

    /// Waits until the listener with that path has room in its backlog for the connection.
    ///
    /// While the backlog is full it tries again after pauses of 1 to 50 ms, since the system does not tell when there is room.
    ///
    /// # Errors
    ///
    /// What connect(2) says: `NotFound`, `ConnectionRefused`; `InvalidInput` if the path is too long.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`connect`](UnixStream::connect), to an address that may be an abstract name.
    ///
    /// # Errors
    ///
    /// As [`connect`](UnixStream::connect).
    ///
    /// # Panics
    ///
    /// As [`connect`](UnixStream::connect).
    pub fn connect_addr(socket_addr: &SocketAddr) -> io::Result<UnixStream> {
        let addr = addr::to_socket2(socket_addr)?;
        let socket = open::socket(Domain::UNIX, Type::STREAM)?;
        pause::until_done(None, || match socket.connect(&addr) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => result.map(Some),
        })?;
        Ok(UnixStream::from_nonblocking(OwnedFd::from(socket).into()))
    }

    /// Makes two sockets that are connected to each other. Never switches.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = open::pair(Type::STREAM)?;
        Ok((UnixStream::from_nonblocking(one), UnixStream::from_nonblocking(other)))
    }

    /// Returns this end's address.
    ///
    /// # Errors
    ///
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().local_addr()
    }

    /// Returns the other end's address.
    ///
    /// # Errors
    ///
    /// What getpeername(2) says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().peer_addr()
    }

    /// Shuts one or both directions down, which ends the waits of other greenlets in them at once. Never switches.
    ///
    /// # Errors
    ///
    /// What shutdown(2) says.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.std().shutdown(how)
    }
}

common_methods!(UnixStream);
timeout_methods!(UnixStream);
stream_traits!(UnixStream);
descriptor_traits!(UnixStream, net::UnixStream);
