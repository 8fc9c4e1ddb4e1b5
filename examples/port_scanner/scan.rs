//! The scan: greenlets that take port after port from one range, which they share in an `Rc`.

use std::io::{self, ErrorKind};
use std::{cell::RefCell, error::Error, rc::Rc, time::Duration};

use greenlet::net::{IpAddr, SocketAddr, TcpStream};
use greenlet::{joinall, spawn};
use indicatif::ProgressBar;

pub(crate) const AT_ONCE: usize = 500;

/// The open ports in order. If a port could not be tried there is no result, rather than a wrong one.
pub(crate) fn open_ports(host: IpAddr, timeout: Duration) -> Result<Vec<u16>, Box<dyn Error>> {
    let bar = ProgressBar::new(65_535); // shown on a terminal only
    let (ports, open) = (Rc::new(RefCell::new(1..=u16::MAX)), Rc::new(RefCell::new(Vec::new())));
    let scanners = (0..AT_ONCE).map(|_| {
        let (ports, open, bar) = (Rc::clone(&ports), Rc::clone(&open), bar.clone());
        spawn(move || -> io::Result<()> {
            loop {
                let Some(port) = ports.borrow_mut().next() else { return Ok(()) };
                if is_open(SocketAddr::new(host, port), timeout)? {
                    open.borrow_mut().push(port);
                }
                bar.inc(1);
            }
        })
    });
    for scanner in joinall(scanners) {
        scanner??;
    }
    bar.finish_and_clear();
    open.borrow_mut().sort_unstable();
    Ok(open.take())
}

fn is_open(addr: SocketAddr, timeout: Duration) -> io::Result<bool> {
    match TcpStream::connect_timeout(&addr, timeout) {
        // A socket that happens to get the port that it looks for connects to itself: nobody else listens there.
        Ok(stream) => Ok(stream.local_addr()? != addr),
        Err(err) if matches!(err.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut) => Ok(false),
        Err(err) => Err(io::Error::new(err.kind(), format!("port {}: {err}", addr.port()))),
    }
}
