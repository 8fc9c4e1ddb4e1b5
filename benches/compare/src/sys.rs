//! What std does not offer: epoll, `accept4`, pinning, limits, resource usage, libc's functions by their names. The only unsafe code of this package.

use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

mod calls;
mod memory;
mod stacks;

pub(crate) use calls::Calls;
pub(crate) use memory::{Slab, touch_and_give_back};
pub(crate) use stacks::{SlotStack, stacks};

/// CPU time that a process has used so far.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time together, exact to the microsecond.
    pub(crate) cpu: Duration,
    /// The user part. Where the kernel accounts by ticks this is the exact total, split in the ratio of the sampled ticks.
    pub(crate) user: Duration,
}

/// Returns the CPU time of this process, all of its threads included.
pub(crate) fn usage() -> Usage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable and of the size that getrusage fills.
    let res = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(res, 0, "getrusage of the own process cannot fail");
    // SAFETY: rusage consists of integers, so zeroed memory is a valid one, and getrusage has filled it.
    let usage = unsafe { usage.assume_init() };
    let duration =
        |time: libc::timeval| Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1_000);
    let user = duration(usage.ru_utime);
    Usage { cpu: user + duration(usage.ru_stime), user }
}

/// Keeps the calling thread, and what it starts from now on, on these cores.
///
/// # Errors
///
/// The machine has none of these cores, or the process may not use them.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: cpu_set_t is an array of integers, all zero is the empty set.
    let set = unsafe { set.assume_init_mut() };
    for core in cores {
        // SAFETY: the set has 1,024 bits and the index is below that.
        unsafe { libc::CPU_SET(core % 1_024, set) };
    }
    // SAFETY: the set is initialised and its size is passed along; 0 is the calling thread.
    let res = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets a command be ended when this thread ends, however that comes about.
pub(crate) fn end_with_this_thread(command: &mut Command) {
    let tell_the_kernel = || {
        // SAFETY: this option takes one number.
        let res = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes one system call, and allocates nothing.
    unsafe { command.pre_exec(tell_the_kernel) };
}

/// Raises the soft limit of open descriptors to the hard one and returns it.
///
/// # Errors
///
/// What `getrlimit` or `setrlimit` report.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable and of the right type.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is initialised and of the right type.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_max)
}

/// Accepts one connection, already non-blocking, with a single system call.
///
/// # Errors
///
/// What `accept4` reports, `WouldBlock` included.
pub(crate) fn accept_nonblocking(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the descriptor is open while `listener` is borrowed; accept4 takes two nulls for an address nobody wants.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: accept4 has just made this descriptor, nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(fd.into())
}

/// Lets the kernel forget a connection as soon as the peer has acknowledged our FIN, instead of keeping it in TIME_WAIT.
///
/// The peer reads the end of the file as ever; its own FIN is then answered by a reset that only its kernel sees.
///
/// # Errors
///
/// What `setsockopt` reports.
pub(crate) fn forget_after_fin(stream: &TcpStream) -> io::Result<()> {
    let negative: libc::c_int = -1;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_LINGER2);
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `stream` is borrowed, the value is an int of the length given.
    let res = unsafe { libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const negative).cast(), len) };
    if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes an eventfd, non-blocking.
///
/// # Errors
///
/// What `eventfd` reports.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: eventfd has just made this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An epoll instance.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    /// Makes an instance without any descriptor.
    ///
    /// # Errors
    ///
    /// What `epoll_create1` reports.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: epoll_create1 has just made this descriptor, nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Registers a descriptor for `interest`, a set of `EPOLL*` bits; its events carry `data`.
    ///
    /// # Errors
    ///
    /// What `epoll_ctl` reports.
    pub(crate) fn add(&self, fd: impl AsFd, interest: i32, data: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, data)
    }

    /// Changes the interest of a registered descriptor.
    ///
    /// # Errors
    ///
    /// What `epoll_ctl` reports.
    pub(crate) fn modify(&self, fd: impl AsFd, interest: i32, data: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, data)
    }

    fn control(&self, op: i32, fd: impl AsFd, interest: i32, data: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.cast_unsigned(), u64: data as u64 };
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open while they are borrowed, and `event` lives through the call.
        let res = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &mut event) };
        if res == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for events and returns how many of `events` were filled; 0 after `timeout_ms` (−1: never).
    ///
    /// # Errors
    ///
    /// What `epoll_wait` reports, but for `EINTR`, after which it waits again.
    pub(crate) fn wait(&self, events: &mut [Event], timeout_ms: i32) -> io::Result<usize> {
        loop {
            let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
            // SAFETY: `Event` has the layout of epoll_event, and the kernel writes at most `room` of them.
            let res = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr().cast(), room, timeout_ms) };
            if res >= 0 {
                return Ok(res.unsigned_abs() as usize);
            }
            let err = io::Error::last_os_error();
            if err.kind() != io::ErrorKind::Interrupted {
                return Err(err);
            }
        }
    }
}

/// One event as `epoll_wait` fills it in.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Event(libc::epoll_event);

impl Event {
    /// An event to be overwritten.
    pub(crate) const EMPTY: Self = Self(libc::epoll_event { events: 0, u64: 0 });

    /// Returns what the descriptor was registered with.
    pub(crate) fn data(&self) -> usize {
        self.0.u64 as usize
    }

    /// Tells whether any of these `EPOLL*` bits is set.
    pub(crate) fn has(&self, bits: i32) -> bool {
        self.0.events & bits.cast_unsigned() != 0
    }
}
