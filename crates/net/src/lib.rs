//! Cooperative sockets: std's types, methods and errors, on which a greenlet waits without blocking its thread.
//!
//! [`TcpListener`], [`TcpStream`], [`UdpSocket`], [`UnixListener`], [`UnixStream`] and [`UnixDatagram`] have every stable
//! method and trait of their namesakes in [`std::net`] and [`std::os::unix::net`], with the same signatures and errors.
//! A call that cannot go on lets the other greenlets of the hub run. It works the same in a greenlet, in `main`, and on a
//! plain OS thread.
//!
//! ```
//! use greenlet_hub::spawn;
//! use greenlet_net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let addr = listener.local_addr()?;
//! spawn(move || {
//!     for stream in listener.incoming() {
//!         let stream = stream.unwrap();
//!         spawn(move || std::io::copy(&mut &stream, &mut &stream));
//!     }
//! });
//!
//! let mut stream = TcpStream::connect(addr)?;
//! stream.write_all(b"hello")?;
//! let mut buf = [0; 5];
//! stream.read_exact(&mut buf)?;
//! assert_eq!(&buf, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What may switch
//!
//! A method whose docs begin with *Waits*, and the methods of `Read` and `Write`, may let others run. They try first: a call
//! that finds data or room returns without a switch, but for the budget by which the hub sees to it that a socket which is
//! always ready does not keep the others out. All other methods never switch.
//!
//! # What is different from std
//!
//! * **A stream has one reader and one writer at a time.** When a greenlet has to wait in a read of a stream in which another
//!   one waits already, it gets an error of kind [`ResourceBusy`](std::io::ErrorKind::ResourceBusy) at once: two readers of one
//!   stream each get a part of it, which is nearly always a mistake. A reader and a writer beside each other are fine, and
//!   so are clones. Any number of greenlets may wait in `accept`, and for datagrams; they are served in the order in which
//!   they came.
//! * **Timeouts** are kept by the hub, not by the kernel. What they do is the same: the call fails with
//!   [`WouldBlock`](std::io::ErrorKind::WouldBlock).
//! * **The descriptor is always non-blocking**, whatever [`set_nonblocking`](TcpStream::set_nonblocking) says of the calls.
//!   Sockets turned into std's types, `OwnedFd`s or raw descriptors become blocking on the way, if they were not set
//!   non-blocking. That mode belongs to the socket, not to the handle: turning one of two clones into std's type makes the
//!   other one's calls block the thread.
//! * **A call can unwind**: when its greenlet is interrupted, and when it has to wait inside
//!   [`no_switch`](greenlet_hub::no_switch()).
//! * **[`ToSocketAddrs`]** is a trait of this crate, since std's blocks the thread in name look-ups.
//! * Two waits of Unix sockets are of a kind that no poller tells the end of; they try again every 1 to 50 ms:
//!   [`UnixStream::connect`] while the listener's backlog is full, and [`UnixDatagram::send_to`] while the receiver's queue is.
//! * What std lacks: [`TcpListener::bind_with`] (backlog, `SO_REUSEPORT`), [`TcpStream::set_keepalive`].
//!
//! A socket cannot be closed while a greenlet waits for it: that takes the last reference to it. `shutdown` ends the waits.

#![deny(unsafe_code)]

mod tcp_listener;
mod tcp_stream;
mod udp;
pub mod unix;

mod addr;
mod listen;

mod macros;
mod open;
mod pause;
mod raw;
mod socket;

pub use addr::{ToSocketAddrs, lookup_host};
pub use listen::ListenOptions;
pub use tcp_listener::{Incoming, TcpListener};
pub use tcp_stream::TcpStream;
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixListener, UnixStream};

#[doc(no_inline)]
pub use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
