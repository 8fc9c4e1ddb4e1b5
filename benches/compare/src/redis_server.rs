//! A redis-server of our own: empty, on a free port, gone when it is dropped.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys;

/// It listens within some 20 ms.
const PATIENCE: Duration = Duration::from_secs(10);
/// Somebody else may take a port between our look and the server's start.
const ATTEMPTS: usize = 5;
/// More than any case connects.
const MOST_CLIENTS: &str = "10000";

/// A redis-server that keeps nothing and writes nothing.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts it on the cores that this thread is kept on, and waits until it answers.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not answer.
    pub(crate) fn start() -> io::Result<Self> {
        let mut res = Err(io::Error::other("no attempt"));
        for _ in 0..ATTEMPTS {
            res = Self::start_on(free_port()?);
            if res.is_ok() {
                break;
            }
        }
        res
    }

    /// Returns where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn start_on(port: u16) -> io::Result<Self> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--maxclients", MOST_CLIENTS]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", ""]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::end_with_this_thread(&mut command);
        let mut server = Self { child: command.spawn()?, port };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("redis-server has ended: {status}")));
            }
            if server.answers().is_ok() {
                return Ok(server);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(ErrorKind::TimedOut, "redis-server does not answer"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn answers(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        match &answer {
            b"+PONG\r\n" => Ok(()),
            _ => Err(io::Error::other("no answer of a redis-server")),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[test]
    fn a_dropped_server_listens_no_more() {
        if !process::is_installed("redis-server") {
            println!("skipped: redis-server is not installed");
            return;
        }
        let server = RedisServer::start().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        TcpStream::connect(address).unwrap();
        drop(server);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
