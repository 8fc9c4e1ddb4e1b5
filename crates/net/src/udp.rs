//! `UdpSocket`: datagrams over IP.

use std::fmt;
use std::io;
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use greenlet_hub::Kind;

use crate::ToSocketAddrs;
use crate::addr::{each_addr, invalid};
use crate::macros::{common_methods, descriptor_traits, timeout_methods};
use crate::socket::{Socket, StdSocket};

/// A UDP socket; std's [`UdpSocket`](net::UdpSocket).
///
/// Any number of greenlets may wait to receive; they are served in the order in which they came.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_net::UdpSocket;
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let addr = server.local_addr()?;
/// spawn(move || {
///     let mut buf = [0; 2048];
///     let (len, from) = server.recv_from(&mut buf)?;
///     server.send_to(&buf[..len], from)
/// });
///
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.connect(addr)?;
/// client.send(b"ping")?;
/// let mut buf = [0; 2048];
/// assert_eq!(client.recv(&mut buf)?, 4);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket(Socket<net::UdpSocket>);

impl StdSocket for net::UdpSocket {
    const KIND: Kind = Kind::Datagram;
}

impl UdpSocket {
    /// Waits for the look-up if `addr` is a name; binds a socket to the first of its addresses that can be had.
    ///
    /// # Errors
    ///
    /// The last address' error; what the look-up says; `InvalidInput` if there is no address.
    ///
    /// # Panics
    ///
    /// As [`ToSocketAddrs::to_socket_addrs`].
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        let socket = each_addr(addr, |addr| net::UdpSocket::bind(addr))?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket(Socket::from_nonblocking(socket)))
    }

    /// Waits for the look-up if `addr` is a name; sets the peer that [`send`](UdpSocket::send) sends to and
    /// [`recv`](UdpSocket::recv) receives from alone. The first address that the system accepts is taken.
    ///
    /// # Errors
    ///
    /// As [`bind`](UdpSocket::bind).
    ///
    /// # Panics
    ///
    /// As [`ToSocketAddrs::to_socket_addrs`].
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        each_addr(addr, |addr| self.0.std().connect(addr))
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
        self.0.read_with(|socket| socket.recv_from(buf))
    }

    /// Waits until there is a datagram, and copies it without taking it.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.read_with(|socket| socket.peek_from(buf))
    }

    /// Waits until there is room, and for the look-up if `addr` is a name; sends a datagram to the first address.
    ///
    /// # Errors
    ///
    /// What sendto(2) says; `WouldBlock` when the timeout has passed; `InvalidInput` if there is no address.
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let addr = addr.to_socket_addrs()?.next().ok_or_else(|| invalid("no addresses to send data to"))?;
        self.0.write_with(|socket| socket.send_to(buf, addr))
    }

    /// Waits until there is a datagram of the peer, and takes it.
    ///
    /// # Errors
    ///
    /// What recv(2) says: `ConnectionRefused` if nobody has received what was sent; `WouldBlock` when the timeout has passed.
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|socket| socket.recv(buf))
    }

    /// Waits until there is a datagram of the peer, and copies it without taking it.
    ///
    /// # Errors
    ///
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|socket| socket.peek(buf))
    }

    /// Waits until there is room, and sends a datagram to the peer.
    ///
    /// # Errors
    ///
    /// What send(2) says; `WouldBlock` when the timeout has passed.
    ///
    /// # Panics
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_with(|socket| socket.send(buf))
    }
}

/// Declares methods that only hand on to std's, with what std's own docs say.
macro_rules! hand_on {
    ($($(#[$docs:meta])* fn $name:ident(&self $(, $arg:ident: $ty:ty)*) -> $result:ty;)*) => {
        /// What never switches: addresses and options.
        impl UdpSocket {
            $(
                $(#[$docs])*
                ///
                /// # Errors
                ///
                /// What the system call says.
                pub fn $name(&self $(, $arg: $ty)*) -> io::Result<$result> {
                    self.0.std().$name($($arg),*)
                }
            )*
        }
    };
}

hand_on! {
    /// Returns the address that the socket is bound to.
    fn local_addr(&self) -> SocketAddr;
    /// Returns the peer's address, if it is connected.
    fn peer_addr(&self) -> SocketAddr;
    /// Sets whether it may send to broadcast addresses (`SO_BROADCAST`).
    fn set_broadcast(&self, broadcast: bool) -> ();
    /// Returns whether it may send to broadcast addresses.
    fn broadcast(&self) -> bool;
    /// Sets whether IPv4 multicasts come back to this machine (`IP_MULTICAST_LOOP`).
    fn set_multicast_loop_v4(&self, multicast_loop_v4: bool) -> ();
    /// Returns whether IPv4 multicasts come back to this machine.
    fn multicast_loop_v4(&self) -> bool;
    /// Sets the time to live of IPv4 multicasts (`IP_MULTICAST_TTL`).
    fn set_multicast_ttl_v4(&self, multicast_ttl_v4: u32) -> ();
    /// Returns the time to live of IPv4 multicasts.
    fn multicast_ttl_v4(&self) -> u32;
    /// Sets whether IPv6 multicasts come back to this machine (`IPV6_MULTICAST_LOOP`).
    fn set_multicast_loop_v6(&self, multicast_loop_v6: bool) -> ();
    /// Returns whether IPv6 multicasts come back to this machine.
    fn multicast_loop_v6(&self) -> bool;
    /// Sets the time to live of the packets (`IP_TTL`).
    fn set_ttl(&self, ttl: u32) -> ();
    /// Returns the time to live of the packets.
    fn ttl(&self) -> u32;
    /// Joins an IPv4 multicast group, on the interface with the given address (`IP_ADD_MEMBERSHIP`).
    fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Joins an IPv6 multicast group, on the interface with the given index, or any for 0 (`IPV6_ADD_MEMBERSHIP`).
    fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> ();
    /// Leaves an IPv4 multicast group (`IP_DROP_MEMBERSHIP`).
    fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Leaves an IPv6 multicast group (`IPV6_DROP_MEMBERSHIP`).
    fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> ();
}

common_methods!(UdpSocket);
timeout_methods!(UdpSocket);
descriptor_traits!(UdpSocket, net::UdpSocket);
