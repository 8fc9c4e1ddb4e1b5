//! libc's calls as the tests make them: what they return, or their error number.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use greenlet_hub::yield_now;

/// What a call returned, or its error number.
pub(crate) type Said = Result<usize, i32>;

/// What a call returned that returns a negative number for an error.
pub(crate) fn said(result: isize) -> Said {
    usize::try_from(result).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

pub(crate) fn recv(fd: RawFd, buf: &mut [u8], flags: i32) -> Said {
    // SAFETY: so many writable bytes.
    said(unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), flags) })
}

pub(crate) fn send(fd: RawFd, buf: &[u8], flags: i32) -> Said {
    // SAFETY: so many readable bytes.
    said(unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), flags | libc::MSG_NOSIGNAL) })
}

pub(crate) fn read(fd: RawFd, buf: &mut [u8]) -> Said {
    // SAFETY: so many writable bytes.
    said(unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) })
}

pub(crate) fn write(fd: RawFd, buf: &[u8]) -> Said {
    // SAFETY: so many readable bytes.
    said(unsafe { libc::write(fd, buf.as_ptr().cast(), buf.len()) })
}

pub(crate) fn accept(fd: RawFd) -> Result<OwnedFd, i32> {
    // SAFETY: no address is asked for.
    let accepted = said(unsafe { libc::accept(fd, ptr::null_mut(), ptr::null_mut()) } as isize)?;
    // SAFETY: it is new.
    Ok(unsafe { OwnedFd::from_raw_fd(accepted as RawFd) })
}

pub(crate) fn poll(fd: RawFd, events: i16, timeout: i32) -> Result<i16, i32> {
    let mut polled = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one descriptor.
    said(unsafe { libc::poll(&raw mut polled, 1, timeout) } as isize).map(|_| polled.revents)
}

pub(crate) fn close(fd: RawFd) -> Said {
    // SAFETY: the test says whose it is.
    said(unsafe { libc::close(fd) } as isize)
}

pub(crate) fn dup2(old: RawFd, new: RawFd) -> Said {
    // SAFETY: the test says whose they are.
    said(unsafe { libc::dup2(old, new) } as isize)
}

pub(crate) fn shutdown(fd: &impl AsRawFd, how: i32) -> Said {
    // SAFETY: plain numbers.
    said(unsafe { libc::shutdown(fd.as_raw_fd(), how) } as isize)
}

/// Connects to an address of IPv4.
pub(crate) fn connect(fd: RawFd, addr: SocketAddr) -> Said {
    let (addr, len) = in_kernels_words(addr);
    // SAFETY: an address of that length.
    said(unsafe { libc::connect(fd, (&raw const addr).cast(), len) } as isize)
}

fn in_kernels_words(addr: SocketAddr) -> (libc::sockaddr_in, libc::socklen_t) {
    let SocketAddr::V4(addr) = addr else { panic!("the tests use IPv4") };
    let addr = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: addr.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*addr.ip()).to_be() },
        sin_zero: [0; 8],
    };
    (addr, size_of::<libc::sockaddr_in>() as libc::socklen_t)
}

/// A listener on a free port whose backlog is that long.
pub(crate) fn listen(backlog: i32) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: plain numbers; a second call changes the backlog.
    said(unsafe { libc::listen(listener.as_raw_fd(), backlog) } as isize).unwrap();
    listener
}

/// Makes a descriptor non-blocking, or blocking, by `fcntl`.
pub(crate) fn set_nonblocking(fd: RawFd, nonblocking: bool) {
    // SAFETY: plain numbers.
    let flags = said(unsafe { libc::fcntl(fd, libc::F_GETFL) } as isize).unwrap() as i32;
    let flags = if nonblocking { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: plain numbers.
    said(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) } as isize).unwrap();
}

/// Lets the others run until they wait.
pub(crate) fn settle() {
    for _ in 0..5 {
        yield_now();
    }
}

pub(crate) fn is_nonblocking(fd: RawFd) -> bool {
    // SAFETY: plain numbers.
    said(unsafe { libc::fcntl(fd, libc::F_GETFL) } as isize).unwrap() as i32 & libc::O_NONBLOCK != 0
}

/// Sets a time-out that std has no word for.
pub(crate) fn set_timeout(socket: &impl AsRawFd, name: i32, timeout: Duration) {
    let time = libc::timeval { tv_sec: timeout.as_secs() as i64, tv_usec: timeout.subsec_micros().into() };
    let len = size_of_val(&time) as libc::socklen_t;
    let fd = socket.as_raw_fd();
    // SAFETY: a time of that length.
    said(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const time).cast(), len) } as isize).unwrap();
}

/// How many bytes wait to be read.
pub(crate) fn queued(socket: &impl AsRawFd) -> i32 {
    let mut count = 0;
    // SAFETY: there is room for the number.
    said(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut count) } as isize).unwrap();
    count
}
