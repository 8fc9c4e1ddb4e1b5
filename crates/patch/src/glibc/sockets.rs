//! Shells of the calls on sockets.

use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Instant;

use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use super::fds::{self, Descriptor, Direction};
use super::raw;
use super::transfer::{self, Ended, Transfer, Tried};
use super::vectors;
use super::wait;
use crate::gate::{self, Call};

/// Calls that never wait, or that say so themselves.
const PLAIN_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE;
/// The same of those that receive: urgent data is never waited for.
const PLAIN_FLAGS_IN: c_int = PLAIN_FLAGS | libc::MSG_OOB;

// The parts of the shells that wait are functions of their own, which the shells end with: what these save and make room for costs nothing where nobody waits. The same
// holds, in those calls that programs make most, for what comes after an error of a plain call.

/// Whether a call is to wait as a greenlet does.
#[inline(always)]
fn may_wait(call: Call, flags: c_int) -> bool {
    gate::may_wait(call) && flags & PLAIN_FLAGS == 0
}

/// Whether a call that receives is to wait as a greenlet does.
#[inline(always)]
fn may_wait_in(call: Call, flags: c_int) -> bool {
    gate::may_wait(call) && flags & PLAIN_FLAGS_IN == 0
}

/// A call that does not wait as a greenlet does.
#[inline(always)]
fn plainly(fd: RawFd, flags: c_int, mut call: impl FnMut() -> isize) -> isize {
    let result = call();
    plainly_from(fd, flags, result, call)
}

/// The rest of it, from what the call has said at first.
#[inline(always)]
fn plainly_from(fd: RawFd, flags: c_int, result: isize, call: impl FnMut() -> isize) -> isize {
    if flags & PLAIN_FLAGS_IN == 0 { transfer::plain_from(fd, result, call) } else { raw::give(result) }
}

/// The flag of a call that is not to wait.
#[inline(always)]
fn dontwait(is_not_to_wait: bool) -> c_int {
    if is_not_to_wait { libc::MSG_DONTWAIT } else { 0 }
}

/// How much room a read has to be short of to say that the socket is empty.
#[inline(always)]
fn told_by_short(len: usize, flags: c_int) -> usize {
    if flags == 0 { len } else { 0 }
}

/// # Safety
///
/// That of `recvfrom`.
#[inline(always)]
unsafe fn receive(
    fd: RawFd,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> isize {
    // SAFETY: the caller's promise.
    let call = |from: usize, flag: c_int| unsafe {
        raw::syscall!(libc::SYS_recvfrom, fd, buf.wrapping_byte_add(from), len - from, flags | flag, addr, addr_len)
    };
    if flags & libc::MSG_WAITALL != 0 && flags & libc::MSG_PEEK == 0 {
        return transfer::all(fd, Direction::Read, len, false, |from, not_to_wait| call(from, dontwait(not_to_wait)));
    }
    if flags & libc::MSG_WAITALL != 0 {
        return transfer::once(fd, Direction::Read, 0, |not_to_wait| match call(0, dontwait(not_to_wait)) {
            // A part is no answer yet, unless no more will come.
            part if not_to_wait && part > 0 && (part as usize) < len && !is_at_end(fd) => -(libc::EAGAIN as isize),
            result => result,
        });
    }
    let call = |not_to_wait| call(0, dontwait(not_to_wait));
    transfer::once(fd, Direction::Read, told_by_short(len, flags), call)
}

/// Whether nothing more comes in than what is there.
#[cold]
fn is_at_end(fd: RawFd) -> bool {
    readiness_of(fd, libc::POLLRDHUP) & (libc::POLLRDHUP | libc::POLLERR | libc::POLLHUP) != 0
}

/// # Safety
///
/// That of `sendto`.
#[inline(always)]
unsafe fn send_all(
    fd: RawFd,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> isize {
    transfer::all(fd, Direction::Write, len, !addr.is_null(), |from, not_to_wait| {
        let flags = flags | dontwait(not_to_wait);
        let rest = buf.wrapping_byte_add(from);
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_sendto, fd, rest, len - from, flags, addr, addr_len) }
    })
}

/// Reads from a socket, for `read`.
///
/// # Safety
///
/// That of `read`.
#[inline(always)]
pub(crate) unsafe fn read_socket(fd: RawFd, buf: *mut c_void, len: size_t) -> isize {
    // SAFETY: the caller's promise; the call fills in no address.
    unsafe { receive(fd, buf, len, 0, ptr::null_mut(), ptr::null_mut()) }
}

/// Writes to a socket, for `write`.
///
/// # Safety
///
/// That of `write`.
#[inline(always)]
pub(crate) unsafe fn write_socket(fd: RawFd, buf: *const c_void, len: size_t) -> isize {
    // SAFETY: the caller's promise; there is no address.
    unsafe { send_all(fd, buf, len, 0, ptr::null(), 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    if !may_wait_in(Call::recv, flags) {
        // As wide as registers are, for the one function as for the other.
        let (fd, flags) = (fd as isize, flags as isize);
        // SAFETY: the caller's promise.
        let result = unsafe { raw::syscall!(libc::SYS_recvfrom, fd, buf, len, flags, 0, 0) };
        if result < 0 {
            // SAFETY: as above.
            return unsafe { recv_failed(fd, buf, len, flags, result) };
        }
        return result;
    }
    // SAFETY: as above.
    unsafe { recv_waiting(fd, buf, len, flags) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn recv_failed(fd: isize, buf: *mut c_void, len: size_t, flags: isize, result: isize) -> ssize_t {
    plainly_from(fd as c_int, flags as c_int, result, || {
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_recvfrom, fd, buf, len, flags, 0, 0) }
    })
}

#[inline(never)]
unsafe extern "C" fn recv_waiting(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { receive(fd, buf, len, flags, ptr::null_mut(), ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    if !may_wait_in(Call::recvfrom, flags) {
        // SAFETY: the caller's promise.
        return plainly(fd, flags, || unsafe {
            raw::syscall!(libc::SYS_recvfrom, fd, buf, len, flags, addr, addr_len)
        });
    }
    // SAFETY: as above.
    unsafe { recvfrom_waiting(fd, buf, len, flags, addr, addr_len) }
}

#[inline(never)]
unsafe extern "C" fn recvfrom_waiting(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { receive(fd, buf, len, flags, addr, addr_len) }
}

/// What C libraries call that were compiled with checks of their buffers: `room` is the buffer's size.
#[unsafe(no_mangle)]
unsafe extern "C" fn __recv_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t, flags: c_int) -> ssize_t {
    check_room(len, room);
    // SAFETY: the caller's promise.
    unsafe { recv(fd, buf, len, flags) }
}

/// As `__recv_chk`, of `recvfrom`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    check_room(len, room);
    // SAFETY: the caller's promise.
    unsafe { recvfrom(fd, buf, len, flags, addr, addr_len) }
}

/// Ends the process as the C library does if a buffer has less room than is to be read.
#[inline]
pub(crate) fn check_room(len: size_t, room: size_t) {
    if len > room {
        super::report::fatal(format_args!("buffer overflow detected: a C library reads {len} bytes into {room}"));
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    let plain = || plainly(fd, flags, || unsafe { raw::syscall!(libc::SYS_recvmsg, fd, message, flags) });
    if !may_wait_in(Call::recvmsg, flags) {
        return plain();
    }
    // SAFETY: as above.
    unsafe { recvmsg_waiting(fd, message, flags) }
}

#[inline(never)]
unsafe extern "C" fn recvmsg_waiting(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    if flags & (libc::MSG_WAITALL | libc::MSG_PEEK) == libc::MSG_WAITALL {
        // SAFETY: the caller's promise.
        let received = unsafe { receive_all_parts(fd, message, flags) };
        return received.unwrap_or_else(|| {
            // SAFETY: as above.
            plainly(fd, flags, || unsafe { raw::syscall!(libc::SYS_recvmsg, fd, message, flags) })
        });
    }
    transfer::once(fd, Direction::Read, 0, |not_to_wait| {
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_recvmsg, fd, message, flags | dontwait(not_to_wait)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    if !may_wait(Call::send, flags) {
        // As wide as registers are, for the one function as for the other.
        let (fd, flags) = (fd as isize, flags as isize);
        // SAFETY: the caller's promise.
        let result = unsafe { raw::syscall!(libc::SYS_sendto, fd, buf, len, flags, 0, 0) };
        if result < 0 {
            // SAFETY: as above.
            return unsafe { send_failed(fd, buf, len, flags, result) };
        }
        return result;
    }
    // SAFETY: as above.
    unsafe { send_waiting(fd, buf, len, flags) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn send_failed(fd: isize, buf: *const c_void, len: size_t, flags: isize, result: isize) -> ssize_t {
    plainly_from(fd as c_int, flags as c_int, result, || {
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_sendto, fd, buf, len, flags, 0, 0) }
    })
}

#[inline(never)]
unsafe extern "C" fn send_waiting(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { send_all(fd, buf, len, flags, ptr::null(), 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    if !may_wait(Call::sendto, flags) {
        // SAFETY: the caller's promise.
        return plainly(fd, flags, || unsafe { raw::syscall!(libc::SYS_sendto, fd, buf, len, flags, addr, addr_len) });
    }
    // SAFETY: as above.
    unsafe { sendto_waiting(fd, buf, len, flags, addr, addr_len) }
}

#[inline(never)]
unsafe extern "C" fn sendto_waiting(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { send_all(fd, buf, len, flags, addr, addr_len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    let plain = || plainly(fd, flags, || unsafe { raw::syscall!(libc::SYS_sendmsg, fd, message, flags) });
    if !may_wait(Call::sendmsg, flags) {
        return plain();
    }
    // SAFETY: as above.
    unsafe { sendmsg_waiting(fd, message, flags) }
}

#[inline(never)]
unsafe extern "C" fn sendmsg_waiting(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    let plain = || plainly(fd, flags, || unsafe { raw::syscall!(libc::SYS_sendmsg, fd, message, flags) });
    // SAFETY: as above.
    let Some(header) = (unsafe { vectors::at(message) }) else { return plain() };
    // SAFETY: the array that the message says it has.
    let Some(parts) = (unsafe { vectors::of(header.msg_iov, header.msg_iovlen) }) else { return plain() };
    transfer::all(fd, Direction::Write, vectors::len(parts), !header.msg_name.is_null(), |from, not_to_wait| {
        let flags = flags | dontwait(not_to_wait);
        if from == 0 {
            // SAFETY: as above.
            return unsafe { raw::syscall!(libc::SYS_sendmsg, fd, message, flags) };
        }
        // The control messages have gone with the first bytes.
        let mut rest_of = vectors::Rest::new(parts, from);
        let mut rest = header;
        (rest.msg_iov, rest.msg_iovlen) = (rest_of.as_mut_ptr(), rest_of.len());
        (rest.msg_control, rest.msg_controllen) = (ptr::null_mut(), 0);
        // SAFETY: the parts of the message that are left.
        unsafe { raw::syscall!(libc::SYS_sendmsg, fd, &raw const rest, flags) }
    })
}

/// Receives a message until its parts are full; `None` where they cannot be looked at here. What comes along ends it, as the kernel has it.
///
/// # Safety
///
/// That of `recvmsg`.
#[cold]
unsafe fn receive_all_parts(fd: RawFd, message: *mut msghdr, flags: c_int) -> Option<isize> {
    // SAFETY: the caller's promise.
    let header = unsafe { vectors::at(message) }?;
    // SAFETY: the array that the message says it has.
    let parts = unsafe { vectors::of(header.msg_iov, header.msg_iovlen) }?;
    let mut last = header;
    let mut came_along = false;
    let received = transfer::all(fd, Direction::Read, vectors::len(parts), false, |from, not_to_wait| {
        if came_along {
            // Not an error that anybody sees: something has been received.
            return 0;
        }
        let mut rest_of = vectors::Rest::new(parts, from);
        let mut rest = header;
        (rest.msg_iov, rest.msg_iovlen) = (rest_of.as_mut_ptr(), rest_of.len());
        // SAFETY: the parts of the message that are left.
        let result = unsafe { raw::syscall!(libc::SYS_recvmsg, fd, &raw mut rest, flags | dontwait(not_to_wait)) };
        if result >= 0 && (from == 0 || result > 0) {
            last = rest;
            came_along = rest.msg_controllen != 0;
        }
        result
    });
    if received >= 0 {
        (last.msg_iov, last.msg_iovlen) = (header.msg_iov, header.msg_iovlen);
        // SAFETY: the caller's promise.
        unsafe { message.write_unaligned(last) };
    }
    Some(received)
}

/// Reads from a socket into several buffers, for `readv`.
///
/// # Safety
///
/// That of `readv`.
pub(crate) unsafe fn readv_socket(fd: RawFd, parts: &[iovec]) -> isize {
    let mut message = message_of(parts);
    transfer::once(fd, Direction::Read, vectors::len(parts), |not_to_wait| {
        // SAFETY: the caller's promise, and the message says no more than that.
        unsafe { raw::syscall!(libc::SYS_recvmsg, fd, &raw mut message, dontwait(not_to_wait)) }
    })
}

/// Writes several buffers to a socket, for `writev`.
///
/// # Safety
///
/// That of `writev`.
pub(crate) unsafe fn writev_socket(fd: RawFd, parts: &[iovec]) -> isize {
    transfer::all(fd, Direction::Write, vectors::len(parts), false, |from, not_to_wait| {
        let mut rest = vectors::Rest::new(parts, from);
        let message = message_of(rest.as_slice());
        // SAFETY: the caller's promise, and the message says no more than that.
        let result = unsafe { raw::syscall!(libc::SYS_sendmsg, fd, &raw const message, dontwait(not_to_wait)) };
        let _ = rest.as_mut_ptr();
        result
    })
}

fn message_of(parts: &[iovec]) -> msghdr {
    // SAFETY: a message without an address and without control messages is all zeros but for its parts.
    let mut message: msghdr = unsafe { mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (parts.as_ptr().cast_mut(), parts.len() as _);
    message
}

/// Whether nothing would have to be waited for.
pub(crate) fn is_ready(fd: RawFd, direction: Direction) -> bool {
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    readiness_of(fd, events) != 0
}

/// Which of those events there are, and errors.
pub(crate) fn readiness_of(fd: RawFd, events: libc::c_short) -> libc::c_short {
    let mut polled = libc::pollfd { fd, events, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one descriptor to be asked for, a time, and no mask.
    let ready = unsafe { raw::syscall!(libc::SYS_ppoll, &raw mut polled, 1, &raw const now, 0, 0) };
    // An error is told by the call that comes next.
    if ready < 0 { libc::POLLERR } else { polled.revents }
}

/// # Safety
///
/// That of `accept4`.
unsafe fn accept_one(fd: RawFd, addr: *mut sockaddr, addr_len: *mut socklen_t, flags: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let call = || unsafe { raw::syscall!(libc::SYS_accept4, fd, addr, addr_len, flags) };
    let Some(entry) = fds::entry(fd) else { return raw::give(call()) as c_int };
    let accepting = Transfer::new(entry, Direction::Read);
    let ended = wait::interruptible(|| {
        accepting.run(entry, |facts| {
            match readiness_of(fd, libc::POLLIN | libc::POLLRDHUP) {
                // One that does not listen, as far as is known, is asked all the same: it refuses.
                0 if facts.is_listener() => return Tried::WouldBlock,
                // Shut down: it refuses, and never waits; but a Unix listener says "would block" for ever to whom that would help.
                events if events & libc::POLLRDHUP != 0 => return Tried::Done(call()),
                _ => {}
            }
            // Another process, or another thread, may have been faster: this must not wait for the next one.
            match entry.nonblocking(call) {
                Ok(result) => Tried::of(result),
                Err(err) => Tried::Done(-(raw::errno_of(&err) as isize)),
            }
        })
    });
    let result = match ended {
        Ok(Ended::With(result)) => raw::give(result),
        Ok(Ended::Plain) => raw::give(call()),
        Err(err) => raw::give_result(Err(err)),
    };
    made(result as c_int)
}

/// A descriptor that has just been made: nothing is known of it.
fn made(fd: c_int) -> c_int {
    if fd >= 0 {
        fds::born(fd);
    }
    fd
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept(fd: c_int, addr: *mut sockaddr, addr_len: *mut socklen_t) -> c_int {
    if gate::may_wait(Call::accept) {
        // SAFETY: the caller's promise.
        return unsafe { accept_one(fd, addr, addr_len, 0) };
    }
    // SAFETY: as above.
    let call = || unsafe { raw::syscall!(libc::SYS_accept4, fd, addr, addr_len, 0) };
    accept_plainly(Call::accept, fd, call)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(fd: c_int, addr: *mut sockaddr, addr_len: *mut socklen_t, flags: c_int) -> c_int {
    if gate::may_wait(Call::accept4) {
        // SAFETY: the caller's promise.
        return unsafe { accept_one(fd, addr, addr_len, flags) };
    }
    // SAFETY: as above.
    let call = || unsafe { raw::syscall!(libc::SYS_accept4, fd, addr, addr_len, flags) };
    accept_plainly(Call::accept4, fd, call)
}

#[inline(always)]
fn accept_plainly(name: Call, fd: RawFd, call: impl FnMut() -> isize) -> c_int {
    let result = transfer::plain(fd, call) as c_int;
    if gate::is_watched(name) { made(result) } else { result }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, addr: *const sockaddr, addr_len: socklen_t) -> c_int {
    // SAFETY: the caller's promise.
    let call = || unsafe { raw::syscall!(libc::SYS_connect, fd, addr, addr_len) };
    if !gate::may_wait(Call::connect) {
        return raw::give(call()) as c_int;
    }
    let Some(entry) = fds::entry(fd) else { return raw::give(call()) as c_int };
    match wait::interruptible(|| connect_waiting(fd, entry, call)) {
        Ok(result) => raw::give(result) as c_int,
        Err(err) => raw::give_result(Err(err)) as c_int,
    }
}

fn connect_waiting(fd: RawFd, entry: &'static Descriptor, call: impl Fn() -> isize) -> io::Result<isize> {
    let generation = entry.generation();
    let facts = entry.facts_of(generation)?;
    if facts.is_plain() || !facts.is_socket() {
        return Ok(call());
    }
    let deadline = entry.timeout(Direction::Write).and_then(|timeout| Instant::now().checked_add(timeout));
    let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let mut pause = transfer::PAUSES[0];
    loop {
        match entry.nonblocking(&call)? {
            // A Unix socket whose listener has a full backlog: nothing tells when that is over.
            result if result == -(libc::EAGAIN as isize) => {
                if left().is_some_and(|left| left.is_zero()) {
                    return Ok(result);
                }
                greenlet_hub::sleep(left().map_or(pause, |left| left.min(pause)));
                pause = (2 * pause).min(transfer::PAUSES[1]);
            }
            result if result == -(libc::EINPROGRESS as isize) => break,
            result => return Ok(result),
        }
        if entry.generation() != generation {
            return Err(raw::error(libc::EBADF));
        }
    }
    while !is_ready(fd, Direction::Write) {
        let in_time = entry.io().wait_writable(left());
        if entry.generation() != generation {
            return Err(raw::error(libc::EBADF));
        }
        if !in_time? {
            // As the kernel says it for a time-out of the socket's.
            return Err(raw::error(libc::EINPROGRESS));
        }
    }
    let mut errno: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: there is room for the number.
    let asked = unsafe {
        raw::syscall!(libc::SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_ERROR, &raw mut errno, &raw mut len)
    };
    Ok(if asked < 0 { asked } else { -(errno as isize) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: a call with plain integers.
    let result = unsafe { raw::syscall!(libc::SYS_shutdown, fd, how) };
    // A socket for datagrams that has no peer is shut down all the same, with an error.
    if gate::is_watched(Call::shutdown) && (result == 0 || result == -(libc::ENOTCONN as isize)) && how != libc::SHUT_WR
    {
        fds::shut(fd);
    }
    raw::give(result) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: a call with plain integers.
    let fd = raw::give(unsafe { raw::syscall!(libc::SYS_socket, domain, kind, protocol) }) as c_int;
    if gate::is_watched(Call::socket) { made(fd) } else { fd }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int {
    // SAFETY: the caller's promise.
    let result = raw::give(unsafe { raw::syscall!(libc::SYS_socketpair, domain, kind, protocol, pair) }) as c_int;
    if gate::is_watched(Call::socketpair) && result == 0 {
        for index in 0..2 {
            let fd = pair.wrapping_add(index);
            // SAFETY: the call has filled in both.
            made(unsafe { *fd });
        }
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int {
    // SAFETY: the caller's promise.
    let result = raw::give(unsafe { raw::syscall!(libc::SYS_setsockopt, fd, level, name, value, len) }) as c_int;
    // The last two: the same with 64 bits, on architectures that had fewer.
    let is_timeout = level == libc::SOL_SOCKET && matches!(name, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO | 66 | 67);
    if is_timeout && gate::is_watched(Call::setsockopt) {
        fds::changed(fd);
    }
    result
}

// Nothing that it tells is changed by us: it is here so that nobody has to wonder.
#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    gate::is_watched(Call::getsockopt);
    // SAFETY: the caller's promise.
    raw::give(unsafe { raw::syscall!(libc::SYS_getsockopt, fd, level, name, value, len) }) as c_int
}
