//! Unix sockets, as in [`std::os::unix::net`].

mod addr;
mod datagram;
mod listener;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::{Incoming, UnixListener};
#[doc(no_inline)]
pub use std::os::unix::net::SocketAddr;
pub use stream::UnixStream;
