//! Name look-ups, which block in libc: done by a thread, while the greenlet waits.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::hub::Hub;
use crate::waiter::{Reason, Wait};

type Found = io::Result<Vec<SocketAddr>>;

/// Waits until the host's addresses are known. A numeric address is answered at once, without a thread.
///
/// # Errors
///
/// What libc's `getaddrinfo` says; or that no thread could be started for it.
///
/// # Panics
///
/// If it must wait inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted (the thread then
/// ends by itself).
///
/// # Examples
///
/// ```
/// let addrs = greenlet_hub::lookup_host("127.0.0.1", 80)?;
/// assert_eq!(addrs, ["127.0.0.1:80".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lookup_host(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(numeric) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(numeric, port)]);
    }
    let host = host.to_owned();
    let found: Arc<Mutex<Option<Found>>> = Arc::default();
    let wait = Wait::begin(Reason::new("the addresses of a host"));
    let (waiter, result) = (wait.waiter(), Arc::clone(&found));
    thread::Builder::new().name("greenlet-dns".into()).spawn(move || {
        let addrs = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(addrs);
        waiter.notify();
    })?;
    let hub = Hub::here();
    let _outside = hub.count_outside();
    wait.notified(None);
    let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    found.unwrap_or_else(|| Err(io::Error::other("the look-up ended without a result")))
}
