//! Addresses and names: `ToSocketAddrs`, whose look-ups wait instead of blocking the thread.

use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{option, slice, vec};

/// What stands for socket addresses: implemented for all types for which std implements [its own](std::net::ToSocketAddrs).
///
/// It is not std's trait, because an implementation of that one looks names up by blocking the thread, and with it all
/// greenlets of its hub. A type of one's own that has std's needs a line more:
///
/// ```
/// use greenlet_net::ToSocketAddrs;
/// use std::{io, net::SocketAddr};
///
/// struct Service {
///     host: String,
/// }
///
/// impl ToSocketAddrs for Service {
///     type Iter = <(String, u16) as ToSocketAddrs>::Iter;
///
///     fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
///         (self.host.as_str(), 4711).to_socket_addrs()
///     }
/// }
///
/// let service = Service { host: "127.0.0.1".into() };
/// assert_eq!(service.to_socket_addrs()?.next(), Some(SocketAddr::from(([127, 0, 0, 1], 4711))));
/// # Ok::<(), io::Error>(())
/// ```
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they are tried.
    type Iter: Iterator<Item = SocketAddr>;

    /// Waits until the addresses are known, if a name has to be looked up. Numeric addresses never switch.
    ///
    /// # Errors
    ///
    /// Of kind `InvalidInput` if a text is not `host:port`; what libc's `getaddrinfo` says of the name.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// Waits until the addresses of a host are known. A numeric address is answered at once.
///
/// # Errors
///
/// As [`ToSocketAddrs::to_socket_addrs`].
///
/// # Panics
///
/// As [`ToSocketAddrs::to_socket_addrs`].
///
/// # Examples
///
/// ```
/// for addr in greenlet_net::lookup_host("localhost:80")? {
///     assert!(addr.ip().is_loopback());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lookup_host<A: ToSocketAddrs>(host: A) -> io::Result<A::Iter> {
    host.to_socket_addrs()
}

/// Calls `f` with one address after the other until it succeeds; the error is that of the last.
pub(crate) fn each_addr<A: ToSocketAddrs, R>(
    addr: A,
    mut f: impl FnMut(&SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut last = None;
    for addr in addr.to_socket_addrs()? {
        match f(&addr) {
            Ok(result) => return Ok(result),
            Err(err) => last = Some(err),
        }
    }
    Err(last.unwrap_or_else(|| invalid("could not resolve to any addresses")))
}

pub(crate) fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl ToSocketAddrs for SocketAddr {
    type Iter = option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(Some(*self).into_iter())
    }
}

/// For what is an address already: what [`SocketAddr`] is made from.
macro_rules! numeric {
    ($($address:ty),*) => {$(
        impl ToSocketAddrs for $address {
            type Iter = option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                SocketAddr::from(*self).to_socket_addrs()
            }
        }
    )*};
}

numeric!(SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        greenlet_hub::lookup_host(self.0, self.1).map(Vec::into_iter)
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (self.0.as_str(), self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        if let Ok(addr) = self.parse() {
            return Ok(vec![addr].into_iter());
        }
        let (host, port) = self.rsplit_once(':').ok_or_else(|| invalid("invalid socket address"))?;
        let port: u16 = port.parse().map_err(|_| invalid("invalid port value"))?;
        (host, port).to_socket_addrs()
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        self.as_str().to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = iter::Copied<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().copied())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}
