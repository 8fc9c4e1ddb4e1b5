//! One test body, two worlds: `std::net` with threads, and this crate with greenlets.

use std::net::SocketAddr;

/// Makes two tests of each function: the names that it uses are std's in one and ours in the other.
macro_rules! in_both_worlds {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {
        mod std_with_threads {
            #[allow(unused_imports, reason = "no body needs all of them")]
            use {super::*, crate::worlds::with_threads::*};

            $($(#[$meta])* #[test] fn $name() $body)*
        }

        mod ours_with_greenlets {
            #[allow(unused_imports, reason = "no body needs all of them")]
            use {super::*, crate::worlds::with_greenlets::*};

            $($(#[$meta])* #[test] fn $name() $body)*
        }
    };
}

pub(crate) use in_both_worlds;

pub(crate) mod with_threads {
    pub(crate) use std::net::{TcpListener, TcpStream, UdpSocket};
    pub(crate) use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    pub(crate) use std::thread::spawn;

    pub(crate) use std::net::Incoming as TcpIncoming;
}

pub(crate) mod with_greenlets {
    pub(crate) use greenlet_hub::spawn;
    pub(crate) use greenlet_net::{TcpListener, TcpStream, UdpSocket};
    pub(crate) use greenlet_net::{UnixDatagram, UnixListener, UnixStream};

    pub(crate) use greenlet_net::Incoming as TcpIncoming;
}

/// A free port of 127.0.0.1.
pub(crate) const ANY: &str = "127.0.0.1:0";

/// A port on which nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind(ANY).unwrap().local_addr().unwrap()
}

/// A directory of its own for the sockets of one test, removed at its end.
pub(crate) struct Directory(std::path::PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("greenlet-net-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The two ends of a connection: ours, and a thread's or another greenlet's.
pub(crate) fn tcp_pair() -> (greenlet_net::TcpStream, std::net::TcpStream) {
    let listener = greenlet_net::TcpListener::bind(ANY).unwrap();
    let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, theirs)
}
