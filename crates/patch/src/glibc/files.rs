//! Shells of the calls that read and write whatever a descriptor is: sockets, pipes, terminals; files are as they are.

use std::os::fd::RawFd;

use libc::{c_int, c_void, iovec, off_t, size_t, ssize_t};

use greenlet_hub::patching;

use super::fds::{self, Descriptor, Direction, Facts};
use super::raw;
use super::sockets::{self, is_ready};
use super::transfer::{self, Ended, Transfer, Tried};
use super::vectors;
use super::wait;
use crate::gate::{self, Call};

/// Whether a call on that descriptor is to wait as a greenlet does: never on standard output and standard error, which std guards by a lock of the thread's.
#[inline(always)]
fn may_wait(call: Call, fd: RawFd) -> bool {
    gate::may_wait(call) && fd != libc::STDOUT_FILENO && fd != libc::STDERR_FILENO
}

/// What a descriptor is, for a call that could be about any.
enum Is {
    Socket,
    /// Its calls are to be made as they are.
    Plain,
    Other(&'static Descriptor),
}

/// Asks what a descriptor is, if it is not known. What is unknown and may be a socket is taken for one: the call that is tried first says otherwise.
#[inline(always)]
fn what_is(fd: RawFd) -> Is {
    let Some(entry) = fds::entry(fd) else { return Is::Plain };
    match entry.facts() {
        Ok(facts) if facts.is_plain() => Is::Plain,
        Ok(facts) if facts.is_socket() => Is::Socket,
        Ok(_) => Is::Other(entry),
        // The call says what is wrong with it.
        Err(_) => Is::Plain,
    }
}

/// Whether a descriptor is a socket, or may be one: then a call is tried as one on a socket, since most are.
#[inline(always)]
fn may_be_socket(fd: RawFd) -> bool {
    fds::entry(fd).is_some_and(|entry| entry.class().is_none_or(Facts::is_socket))
}

/// Whether a call that was made as one on a socket has told that it is none. A bad buffer is told before that.
fn was_no_socket(fd: RawFd, result: ssize_t) -> bool {
    result < 0
        && match raw::errno() {
            libc::ENOTSOCK => true,
            libc::EFAULT => {
                let is_none = !matches!(what_is(fd), Is::Socket);
                raw::set_errno(libc::EFAULT);
                is_none
            }
            _ => false,
        }
}

/// The parts of a buffer that is in one.
fn one(buf: *mut c_void, len: size_t) -> [iovec; 1] {
    [iovec { iov_base: buf, iov_len: len }]
}

/// One try at a pipe, a terminal or the like.
///
/// # Safety
///
/// That of `readv` and `writev`.
unsafe fn try_parts(entry: &Descriptor, fd: RawFd, direction: Direction, facts: Facts, parts: &[iovec]) -> Tried {
    let (at_position, plain) = match direction {
        Direction::Read => (libc::SYS_preadv2, libc::SYS_readv),
        Direction::Write => (libc::SYS_pwritev2, libc::SYS_writev),
    };
    if facts.is_pipe() {
        // SAFETY: the caller's promise; the position -1 is the descriptor's own.
        let result = unsafe {
            raw::syscall!(at_position, fd, parts.as_ptr(), parts.len(), -1_isize, -1_isize, libc::RWF_NOWAIT)
        };
        // An older kernel does not know that of pipes, and none of those that have a name.
        if result != -(libc::EOPNOTSUPP as isize) {
            return Tried::of(result);
        }
    }
    if !is_ready(fd, direction) {
        return Tried::WouldBlock;
    }
    // SAFETY: as above.
    let call = || unsafe { raw::syscall!(plain, fd, parts.as_ptr(), parts.len()) };
    // One that is ready has room for something, but perhaps not for all.
    if facts.is_pipe() || direction == Direction::Write && !is_terminal_of_std(fd) {
        match entry.nonblocking(call) {
            Ok(result) => Tried::of(result),
            Err(err) => Tried::Done(-(raw::errno_of(&err) as isize)),
        }
    } else {
        Tried::of(call())
    }
}

/// Whether it is the terminal of one of the standard streams: all who have that open by way of them would find it non-blocking.
fn is_terminal_of_std(fd: RawFd) -> bool {
    let device = |fd| fds::status(fd).map(|status| (status.st_dev, status.st_ino)).ok();
    let own = device(fd);
    (libc::STDIN_FILENO..=libc::STDERR_FILENO).any(|fd| device(fd) == own)
}

/// Reads once what is no socket, waiting as greenlets do.
///
/// # Safety
///
/// That of `readv`.
#[cold]
unsafe fn read_other(fd: RawFd, entry: &'static Descriptor, parts: &[iovec]) -> isize {
    let reading = Transfer::new(entry, Direction::Read);
    // SAFETY: the caller's promise.
    let attempt = |facts| unsafe { try_parts(entry, fd, Direction::Read, facts, parts) };
    match wait::interruptible(|| reading.run(entry, attempt)) {
        Ok(Ended::With(result)) => raw::give(result),
        // SAFETY: as above.
        Ok(Ended::Plain) => raw::give(unsafe { raw::syscall!(libc::SYS_readv, fd, parts.as_ptr(), parts.len()) }),
        Err(err) => raw::give_result(Err(err)),
    }
}

/// Writes all to what is no socket, waiting as greenlets do.
///
/// # Safety
///
/// That of `writev`.
#[cold]
unsafe fn write_other(fd: RawFd, entry: &'static Descriptor, parts: &[iovec]) -> isize {
    let len = vectors::len(parts);
    let mut moved = 0;
    let mut writing = Transfer::new(entry, Direction::Write);
    let ended = wait::interruptible(|| {
        loop {
            let rest = vectors::Rest::new(parts, moved);
            writing.is_rest = moved > 0;
            // SAFETY: the caller's promise.
            let attempt = |facts| unsafe { try_parts(entry, fd, Direction::Write, facts, rest.as_slice()) };
            match writing.run(entry, attempt)? {
                Ended::With(result) if result > 0 && moved + (result as usize) < len => moved += result as usize,
                Ended::With(result) if result > 0 => return Ok(Ended::With((moved + result as usize) as isize)),
                ended => return Ok(ended),
            }
        }
    });
    match ended {
        Ok(Ended::With(result)) if result > 0 || moved == 0 => raw::give(result),
        Ok(Ended::Plain) if moved == 0 => {
            // SAFETY: as above.
            raw::give(unsafe { raw::syscall!(libc::SYS_writev, fd, parts.as_ptr(), parts.len()) })
        }
        Err(err) if moved == 0 => raw::give_result(Err(err)),
        Ok(_) | Err(_) => moved as isize,
    }
}

// The parts of the shells that wait are functions of their own: see `sockets`.

#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    if !may_wait(Call::read, fd) || len == 0 {
        // As wide as registers are, for the one function as for the other.
        let fd = fd as isize;
        // SAFETY: the caller's promise.
        let result = unsafe { raw::syscall!(libc::SYS_read, fd, buf, len) };
        if result < 0 {
            // SAFETY: as above.
            return unsafe { read_failed(fd, buf, len, result) };
        }
        return result;
    }
    // SAFETY: as above.
    unsafe { read_waiting(fd, buf, len) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn read_failed(fd: isize, buf: *mut c_void, len: size_t, result: isize) -> ssize_t {
    // SAFETY: the caller's promise.
    transfer::plain_from(fd as c_int, result, || unsafe { raw::syscall!(libc::SYS_read, fd, buf, len) })
}

#[inline(never)]
unsafe extern "C" fn read_waiting(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    if may_be_socket(fd) {
        // SAFETY: the caller's promise.
        let result = unsafe { sockets::read_socket(fd, buf, len) };
        if !was_no_socket(fd, result) {
            return result;
        }
    }
    match what_is(fd) {
        // SAFETY: as above.
        Is::Socket | Is::Plain => raw::give(unsafe { raw::syscall!(libc::SYS_read, fd, buf, len) }),
        // SAFETY: as above.
        Is::Other(entry) => unsafe { read_other(fd, entry, &one(buf, len)) },
    }
}

/// What C libraries call that were compiled with checks of their buffers: `room` is the buffer's size.
#[unsafe(no_mangle)]
unsafe extern "C" fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t {
    sockets::check_room(len, room);
    // SAFETY: the caller's promise.
    unsafe { read(fd, buf, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if !may_wait(Call::readv, fd) {
        // SAFETY: the caller's promise.
        return transfer::plain(fd, || unsafe { raw::syscall!(libc::SYS_readv, fd, parts, count) });
    }
    // SAFETY: as above.
    unsafe { readv_waiting(fd, parts, count) }
}

#[inline(never)]
unsafe extern "C" fn readv_waiting(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    let plain = || transfer::plain(fd, || unsafe { raw::syscall!(libc::SYS_readv, fd, parts, count) });
    // SAFETY: as above.
    let Some(buffers) = usize::try_from(count).ok().and_then(|count| unsafe { vectors::of(parts, count) }) else {
        return plain();
    };
    match what_is(fd) {
        _ if vectors::len(buffers) == 0 => plain(),
        // SAFETY: as above.
        Is::Socket => unsafe { sockets::readv_socket(fd, buffers) },
        Is::Plain => plain(),
        // SAFETY: as above.
        Is::Other(entry) => unsafe { read_other(fd, entry, buffers) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    if !may_wait(Call::write, fd) || len == 0 {
        // As wide as registers are, for the one function as for the other.
        let fd = fd as isize;
        // SAFETY: the caller's promise.
        let result = unsafe { raw::syscall!(libc::SYS_write, fd, buf, len) };
        if result < 0 {
            // SAFETY: as above.
            return unsafe { write_failed(fd, buf, len, result) };
        }
        return result;
    }
    // SAFETY: as above.
    unsafe { write_waiting(fd, buf, len) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn write_failed(fd: isize, buf: *const c_void, len: size_t, result: isize) -> ssize_t {
    // SAFETY: the caller's promise.
    transfer::plain_from(fd as c_int, result, || unsafe { raw::syscall!(libc::SYS_write, fd, buf, len) })
}

#[inline(never)]
unsafe extern "C" fn write_waiting(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    if may_be_socket(fd) {
        // SAFETY: the caller's promise.
        let result = unsafe { sockets::write_socket(fd, buf, len) };
        if !was_no_socket(fd, result) {
            return result;
        }
    }
    match what_is(fd) {
        // SAFETY: as above.
        Is::Socket | Is::Plain => raw::give(unsafe { raw::syscall!(libc::SYS_write, fd, buf, len) }),
        // SAFETY: as above.
        Is::Other(entry) => unsafe { write_other(fd, entry, &one(buf.cast_mut(), len)) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if !may_wait(Call::writev, fd) {
        // SAFETY: the caller's promise.
        return transfer::plain(fd, || unsafe { raw::syscall!(libc::SYS_writev, fd, parts, count) });
    }
    // SAFETY: as above.
    unsafe { writev_waiting(fd, parts, count) }
}

#[inline(never)]
unsafe extern "C" fn writev_waiting(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    let plain = || transfer::plain(fd, || unsafe { raw::syscall!(libc::SYS_writev, fd, parts, count) });
    // SAFETY: as above.
    let Some(buffers) = usize::try_from(count).ok().and_then(|count| unsafe { vectors::of(parts, count) }) else {
        return plain();
    };
    match what_is(fd) {
        _ if vectors::len(buffers) == 0 => plain(),
        // SAFETY: as above.
        Is::Socket => unsafe { sockets::writev_socket(fd, buffers) },
        Is::Plain => plain(),
        // SAFETY: as above.
        Is::Other(entry) => unsafe { write_other(fd, entry, buffers) },
    }
}

/// So many bytes one `sendfile` of a greenlet sends at the most.
const MOST_AT_ONCE: usize = 1 << 20;

#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile(out: c_int, input: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    let call = || unsafe { raw::syscall!(libc::SYS_sendfile, out, input, offset, count) };
    // As long as there is room it goes on, and the peer may be as fast: the others want to run as well.
    let part = || {
        // SAFETY: as above.
        unsafe { raw::syscall!(libc::SYS_sendfile, out, input, offset, count.min(MOST_AT_ONCE)) }
    };
    if !may_wait(Call::sendfile, out) || matches!(what_is(out), Is::Plain) {
        return raw::give(call());
    }
    let Some(entry) = fds::entry(out) else { return raw::give(call()) };
    let sending = Transfer::new(entry, Direction::Write);
    let ended = wait::interruptible(|| {
        // A part is an answer, too: whoever wants all of it asks again, as `sendfile`'s manual says.
        sending.run(entry, |_| match entry.nonblocking(part) {
            Ok(result) => Tried::of(result),
            Err(err) => Tried::Done(-(raw::errno_of(&err) as isize)),
        })
    });
    match ended {
        Ok(Ended::With(result)) => raw::give(result),
        Ok(Ended::Plain) => raw::give(call()),
        Err(err) => raw::give_result(Err(err)),
    }
}

/// The same under the name that programs with a 64-bit `off_t` ask for.
#[unsafe(no_mangle)]
unsafe extern "C" fn sendfile64(out: c_int, input: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { sendfile(out, input, offset, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut off_t,
    to: c_int,
    to_offset: *mut off_t,
    len: size_t,
    flags: libc::c_uint,
) -> ssize_t {
    let call = |flags| {
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_splice, from, from_offset, to, to_offset, len, flags) }
    };
    let is_plain = |fd| matches!(what_is(fd), Is::Plain);
    // The flag of the call is for pipes alone: a socket waits unless it is non-blocking itself.
    let attempt = || {
        let call = || call(flags | libc::SPLICE_F_NONBLOCK);
        let socket = |fd| if matches!(what_is(fd), Is::Socket) { fds::entry(fd) } else { None };
        match (socket(from), socket(to)) {
            (Some(entry), _) | (_, Some(entry)) => {
                entry.nonblocking(call).unwrap_or_else(|err| -(raw::errno_of(&err) as isize))
            }
            (None, None) => call(),
        }
    };
    if !gate::may_wait(Call::splice) || (is_plain(from) && is_plain(to)) {
        return raw::give(call(flags));
    }
    let result = wait::interruptible(|| {
        loop {
            let result = attempt();
            if result != -(libc::EAGAIN as isize) {
                return Ok(result);
            }
            // Which of both it was, it does not say; perhaps the one that is ready by now.
            patching::spend_budget();
            for (fd, direction) in [(from, Direction::Read), (to, Direction::Write)] {
                if is_ready(fd, direction) {
                    continue;
                }
                if let Some(entry) = fds::entry(fd) {
                    let is_pipe = !matches!(what_is(fd), Is::Socket);
                    if is_plain(fd) || is_pipe && flags & libc::SPLICE_F_NONBLOCK != 0 {
                        // Non-blocking by the user's wish.
                        return Ok(result);
                    }
                    let waiting = Transfer::new(entry, direction);
                    waiting.run(entry, |_| if is_ready(fd, direction) { Tried::Done(0) } else { Tried::WouldBlock })?;
                }
            }
        }
    });
    match result {
        Ok(result) => raw::give(result),
        Err(err) => raw::give_result(Err(err)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    if gate::is_watched(Call::close) {
        fds::forget(fd);
    }
    // SAFETY: the caller's promise.
    raw::give(unsafe { raw::syscall!(libc::SYS_close, fd) }) as c_int
}

mod real {
    use libc::c_int;

    crate::glibc::real::real! {
        /// Closes a stream of C's, and its descriptor by glibc's own call.
        fn fclose(stream: *mut libc::FILE) -> c_int;
        /// Closes all descriptors from one number on.
        fn closefrom(first: c_int) -> ();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fclose(stream: *mut libc::FILE) -> c_int {
    if gate::is_watched(Call::fclose) {
        // SAFETY: the caller's promise.
        fds::forget(unsafe { libc::fileno(stream) });
    }
    // SAFETY: as above.
    unsafe { real::fclose(stream) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close_range(first: libc::c_uint, last: libc::c_uint, flags: c_int) -> c_int {
    const CLOEXEC: c_int = libc::CLOSE_RANGE_CLOEXEC as c_int;
    if gate::is_watched(Call::close_range) && flags & CLOEXEC == 0 {
        fds::forget_range(first.try_into().unwrap_or(RawFd::MAX), last.try_into().unwrap_or(RawFd::MAX));
    }
    // SAFETY: the caller's promise.
    raw::give(unsafe { raw::syscall!(libc::SYS_close_range, first, last, flags) }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn closefrom(first: c_int) {
    let first = first.max(0);
    if gate::is_watched(Call::closefrom) {
        fds::forget_range(first, RawFd::MAX);
    }
    // SAFETY: the caller's promise.
    unsafe { real::closefrom(first) };
}

/// Notes a duplicate that has just been made.
fn duplicated(old: RawFd, new: isize) -> c_int {
    let new = raw::give(new) as c_int;
    if new >= 0 && new != old {
        fds::duplicated(old, new);
    }
    new
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup(old: c_int) -> c_int {
    // SAFETY: a call with plain integers.
    let new = unsafe { raw::syscall!(libc::SYS_dup, old) };
    if gate::is_watched(Call::dup) { duplicated(old, new) } else { raw::give(new) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if old == new {
        // Says only whether it is open; and is no system call everywhere.
        // SAFETY: a call with plain integers.
        let flags = unsafe { raw::syscall!(libc::SYS_fcntl, old, libc::F_GETFD) };
        return raw::give(flags.min(0) + if flags < 0 { 0 } else { new as isize }) as c_int;
    }
    replace(Call::dup2, old, new, 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    replace(Call::dup3, old, new, flags)
}

fn replace(name: Call, old: RawFd, new: RawFd, flags: c_int) -> c_int {
    // SAFETY: a call with plain integers.
    let call = || unsafe { raw::syscall!(libc::SYS_dup3, old, new, flags) };
    if !gate::is_watched(name) {
        return raw::give(call()) as c_int;
    }
    // What has the number is closed by this, unless the call fails.
    // SAFETY: a call with plain integers.
    let is_open = |fd| unsafe { raw::syscall!(libc::SYS_fcntl, fd, libc::F_GETFD) } >= 0;
    if old == new || flags & !libc::O_CLOEXEC != 0 || !is_open(old) {
        return raw::give(call()) as c_int;
    }
    if is_open(new) {
        fds::forget(new);
    }
    duplicated(old, call())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, arg: usize) -> c_int {
    // SAFETY: the caller's promise.
    let call = || unsafe { raw::syscall!(libc::SYS_fcntl, fd, command, arg) };
    if !gate::is_watched(Call::fcntl) {
        return raw::give(call()) as c_int;
    }
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicated(fd, call()),
        libc::F_GETFL => raw::give(fds::with_flags_of(fd, call)) as c_int,
        libc::F_SETFL => change_flags_of(fd, call) as c_int,
        _ => raw::give(call()) as c_int,
    }
}

/// The same under the name that programs with a 64-bit `off_t` ask for.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, arg: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { fcntl(fd, command, arg) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: libc::c_ulong, arg: usize) -> c_int {
    // SAFETY: the caller's promise.
    let call = || unsafe { raw::syscall!(libc::SYS_ioctl, fd, request, arg) };
    if gate::is_watched(Call::ioctl) && request as u32 == libc::FIONBIO as u32 {
        return change_flags_of(fd, call) as c_int;
    }
    raw::give(call()) as c_int
}

/// Makes a call that changes a descriptor's flags.
fn change_flags_of(fd: RawFd, call: impl FnOnce() -> isize) -> isize {
    let result = fds::with_flags_of(fd, call);
    fds::changed(fd);
    raw::give(result)
}
