//! `UnixListener`: accepting connections.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use greenlet_hub::Kind;

use super::{UnixStream, addr};
use crate::macros::{common_methods, descriptor_traits};
use crate::open;
use crate::socket::{Socket, StdSocket};

/// A Unix server's socket; std's [`UnixListener`](net::UnixListener).
///
/// Any number of greenlets may wait in [`accept`](UnixListener::accept); they are served in the order in which they came.
/// The file of the socket stays behind when the listener is dropped, as in std.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_net::{UnixListener, UnixStream};
/// use std::io::Write;
///
/// let path = std::env::temp_dir().join(format!("greeter-{}.sock", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// spawn(move || listener.accept()?.0.write_all(b"welcome"));
/// assert_eq!(std::io::read_to_string(UnixStream::connect(&path)?)?, "welcome");
/// std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener(Socket<net::UnixListener>);

impl StdSocket for net::UnixListener {
    const KIND: Kind = Kind::Listener;
}

impl UnixListener {
    /// Makes a socket with the given path and listens. Never switches.
    ///
    /// # Errors
    ///
    /// What bind(2) says: `AddrInUse` if the path exists; `InvalidInput` if it is longer than the system allows (107 bytes).
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind(path)?)
    }

    /// Makes a socket with the given address, which may be an abstract name, and listens. Never switches.
    ///
    /// # Errors
    ///
    /// What bind(2) says.
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::from_std(net::UnixListener::bind_addr(socket_addr)?)
    }

    fn from_std(listener: net::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        Ok(UnixListener(Socket::from_nonblocking(listener)))
    }

    /// Waits until there is a connection, and takes it.
    ///
    /// # Errors
    ///
    /// What accept(2) says: `EMFILE` if there is no descriptor left (the connection stays in the queue).
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, from) = self.0.read_with(open::accept)?;
        Ok((UnixStream::from_nonblocking(stream), addr::to_std(&from)?))
    }

    /// Returns an iterator over the connections, which never ends: each `next` waits as [`accept`](UnixListener::accept).
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// What getsockname(2) says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std().local_addr()
    }
}

common_methods!(UnixListener);
descriptor_traits!(UnixListener, net::UnixListener);

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

/// The connections of a [`UnixListener`], without end; made by [`UnixListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    /// Waits until there is a connection.
    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
