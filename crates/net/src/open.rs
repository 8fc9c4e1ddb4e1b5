//! New descriptors that are non-blocking from the start, where the system can without a further call.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// A new socket.
pub(crate) fn socket(domain: Domain, ty: Type) -> io::Result<Socket> {
    #[cfg(not(target_vendor = "apple"))]
    return Socket::new(domain, ty.nonblocking(), None);
    #[cfg(target_vendor = "apple")]
    {
        let socket = Socket::new(domain, ty, None)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Two new Unix sockets, connected to each other.
pub(crate) fn pair<T: From<OwnedFd>>(ty: Type) -> io::Result<(T, T)> {
    #[cfg(not(target_vendor = "apple"))]
    let (one, other) = Socket::pair(Domain::UNIX, ty.nonblocking(), None)?;
    #[cfg(target_vendor = "apple")]
    let (one, other) = {
        let (one, other) = Socket::pair(Domain::UNIX, ty, None)?;
        one.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        (one, other)
    };
    Ok((OwnedFd::from(one).into(), OwnedFd::from(other).into()))
}

/// Takes a connection from a listener's queue: one system call.
pub(crate) fn accept<T: From<OwnedFd>>(listener: &impl AsFd) -> io::Result<(T, SockAddr)> {
    let listener = SockRef::from(listener);
    #[cfg(not(target_vendor = "apple"))]
    let (socket, addr) = listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)?;
    #[cfg(target_vendor = "apple")]
    let (socket, addr) = {
        let (socket, addr) = listener.accept()?;
        socket.set_nonblocking(true)?;
        (socket, addr)
    };
    Ok((OwnedFd::from(socket).into(), addr))
}
