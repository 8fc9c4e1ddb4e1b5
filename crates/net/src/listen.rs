//! What can be asked of a listening socket beyond std's `bind`.

use std::io;
use std::net::{self, SocketAddr};

use socket2::{Domain, Type};

use crate::open;

/// Options of [`TcpListener::bind_with`](crate::TcpListener::bind_with).
///
/// The defaults are what [`TcpListener::bind`](crate::TcpListener::bind) does.
///
/// # Examples
///
/// Two listeners of one port, between which the kernel spreads the connections:
///
/// ```
/// use greenlet_net::{ListenOptions, TcpListener};
///
/// let options = ListenOptions::new().backlog(1024).reuse_port(true);
/// let one = TcpListener::bind_with("127.0.0.1:0", &options)?;
/// let two = TcpListener::bind_with(one.local_addr()?, &options)?;
/// assert_eq!(one.local_addr()?, two.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    backlog: u32,
    reuse_port: bool,
    only_v6: Option<bool>,
}

impl ListenOptions {
    /// Begins with the defaults.
    pub const fn new() -> ListenOptions {
        ListenOptions { backlog: 128, reuse_port: false, only_v6: None }
    }

    /// Sets how many connections the kernel keeps ready until they are accepted: 128 by default, as in std.
    ///
    /// The kernel has a limit of its own (`net.core.somaxconn`, 4,096 by default) and silently keeps to that.
    pub const fn backlog(mut self, connections: u32) -> ListenOptions {
        self.backlog = connections;
        self
    }

    /// Sets whether others that ask for it too may listen on the same address (`SO_REUSEPORT`): not by default.
    ///
    /// With a listener each, several hubs or processes share the connections of one port.
    pub const fn reuse_port(mut self, reuse: bool) -> ListenOptions {
        self.reuse_port = reuse;
        self
    }

    /// Sets whether a listener on an IPv6 address takes IPv6 connections only (`IPV6_V6ONLY`): by default what the system says.
    pub const fn only_v6(mut self, only: bool) -> ListenOptions {
        self.only_v6 = Some(only);
        self
    }

    pub(crate) fn bind(&self, addr: &SocketAddr) -> io::Result<net::TcpListener> {
        let socket = open::socket(Domain::for_address(*addr), Type::STREAM)?;
        // As std does: else a restarted server would not get its port while old connections linger.
        socket.set_reuse_address(true)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (Some(only), SocketAddr::V6(_)) = (self.only_v6, addr) {
            socket.set_only_v6(only)?;
        }
        socket.bind(&(*addr).into())?;
        socket.listen(self.backlog.try_into().unwrap_or(i32::MAX))?;
        Ok(socket.into())
    }
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions::new()
    }
}
