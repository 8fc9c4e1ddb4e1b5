//! What is known of each descriptor: for each number one entry, made when a greenlet first has to wait for it, and never freed.
//!
//! ```text
//!   ENTRIES ──► 64 entries ──► Descriptor { generation + facts, time-outs, Io }
//! ```
//!
//! An entry outlives the descriptors that have its number one after the other, so a call finds it by two loads, without a count or a lock. What tells them
//! apart is the *generation*: whoever closes a descriptor raises it first, then wakes those who wait (their next look says EBADF), and closes it last. A call is of
//! the generation that it began with, to its end.
//!
//! **Facts** are what a call would else have to ask the kernel each time: whether it is a stream, whether the user has made it non-blocking, how long a call may take
//! (`SO_RCVTIMEO`, `SO_SNDTIMEO`). They are asked once, when a greenlet first has to wait, and thrown away when a call that changes them passes by
//! (`fcntl`, `ioctl`, `setsockopt`). They share a word with the generation, so nobody who has asked the kernel of one descriptor can write down what it said as
//! that of the next one. Those of a descriptor that was duplicated may be changed through the other one: they are asked before each wait.
//!
//! **What is not seen.** A descriptor may be closed past the shells (by a system call made by hand), and its number be that of another one that was not seen either. Then
//! the entry's registration is that of a file which is gone, and no event would ever come. So a wait that has lasted a second looks whether the file
//! is still the one that was registered, by its device and inode: but for descriptors that a shell has seen being made, for which such a timer would
//! be a tenth of an echo's price.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_hub::{Io, Kind, patching};

use super::raw;

const CHUNK: usize = 64;
/// The kernel's own limit is 2^30 by default settings that nobody has (`fs.nr_open` is 2^20); beyond it a call is the plain one.
const CHUNKS: usize = 16384;

static ENTRIES: [AtomicPtr<Descriptor>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// The facts are known.
const KNOWN: u32 = 1;
/// The user has made it non-blocking: calls are made as they are.
const NONBLOCKING: u32 = 2;
/// It is a socket.
const SOCKET: u32 = 4;
/// It is a connected byte stream: a short read says that its buffer is empty.
const STREAM: u32 = 8;
/// It listens.
const LISTENER: u32 = 16;
/// It is a Unix socket for datagrams.
const UNIX_DATAGRAM: u32 = 4096;
/// It is a regular file, a directory or a disk: calls are made as they are.
const FILE: u32 = 32;
/// It is a pipe.
const PIPE: u32 = 64;
/// A duplicate may change what is known.
const SHARED: u32 = 128;
/// It was made by a call that has passed by here.
const BORN: u32 = 512;
/// It was closed where nothing could be done about its registrations: whoever comes next does it.
const STALE: u32 = 256;
/// The facts have been asked for since the number was last closed, so somebody may wait. Stays when they are no longer known.
const ASKED: u32 = 1024;
/// What is of the number, not of the answers: it is there before anything was asked.
const GIVEN: u32 = SHARED | BORN | SHUT;
/// It was shut down for reading by a call that has passed by here.
const SHUT: u32 = 2048;

#[inline]
fn generation_of(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The descriptors that have had one number.
#[derive(Debug)]
pub(crate) struct Descriptor {
    number: RawFd,
    /// The generation in the upper half, the facts in the lower.
    word: AtomicU64,
    /// The last generation that began because another file was found under the number; in the upper half the one before it.
    found: AtomicU64,
    /// How long a call may take, to read and to write; in nanoseconds, 0: for ever.
    timeouts: [AtomicU64; 2],
    /// Device and inode of the file that the facts are of.
    file: [AtomicU64; 2],
    io: Io<Number>,
    /// Held by the one who asks for the facts.
    asking: Spin,
}

/// A descriptor by its number, which may be closed.
#[derive(Debug)]
pub(crate) struct Number(RawFd);

impl AsFd for Number {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is handed to the kernel only, where a number that is closed is an error.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// What is known of a descriptor when a call begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts(u32);

impl Facts {
    /// Whether a call on it is to be made as it is, whatever it says.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.0 & (NONBLOCKING | FILE) != 0
    }

    #[inline]
    pub(crate) fn is_socket(self) -> bool {
        self.0 & SOCKET != 0
    }

    #[inline]
    pub(crate) fn is_stream(self) -> bool {
        self.0 & STREAM != 0
    }

    #[inline]
    pub(crate) fn is_listener(self) -> bool {
        self.0 & LISTENER != 0
    }

    /// Whether nothing can have replaced it unseen, as far as anybody knows.
    #[inline]
    pub(crate) fn was_born_here(self) -> bool {
        self.0 & BORN != 0
    }

    /// Whether it may be a socket for datagrams that was shut down for reading, by this number or by a duplicate. The kernel's word for that, to a call that is not
    /// to wait, is the same as if it had to.
    pub(crate) fn may_be_shut(self) -> bool {
        self.0 & (SHUT | SHARED) != 0 && self.0 & (SOCKET | STREAM) == SOCKET
    }

    /// Whether it is one whose sends may have to wait for what no event tells: room in the queue of a socket that it is not connected to.
    #[inline]
    pub(crate) fn is_unix_datagram(self) -> bool {
        self.0 & UNIX_DATAGRAM != 0
    }

    pub(crate) fn is_pipe(self) -> bool {
        self.0 & PIPE != 0
    }
}

/// The entry of a number, which is made if there is none; `None` for what cannot be a descriptor.
#[inline]
pub(crate) fn entry(fd: RawFd) -> Option<&'static Descriptor> {
    let number = usize::try_from(fd).ok()?;
    let chunk = ENTRIES.get(number / CHUNK)?.load(Ordering::Acquire);
    let chunk = if chunk.is_null() { make_chunk(number / CHUNK) } else { chunk };
    // SAFETY: a chunk has that many entries and is never freed.
    let entry = unsafe { chunk.add(number % CHUNK) };
    // SAFETY: as above; entries are shared only.
    Some(unsafe { &*entry })
}

/// The entry of a number, if anything may be known of it.
#[inline]
pub(crate) fn known_entry(fd: RawFd) -> Option<&'static Descriptor> {
    let number = usize::try_from(fd).ok()?;
    if ENTRIES.get(number / CHUNK)?.load(Ordering::Acquire).is_null() { None } else { entry(fd) }
}

#[cold]
fn make_chunk(index: usize) -> *mut Descriptor {
    let first = index * CHUNK;
    let chunk: Box<[Descriptor]> = (first..first + CHUNK).map(|number| Descriptor::new(number as RawFd)).collect();
    let chunk = Box::into_raw(chunk).cast::<Descriptor>();
    match ENTRIES[index].compare_exchange(ptr::null_mut(), chunk, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => chunk,
        Err(other) => {
            let whole = ptr::slice_from_raw_parts_mut(chunk, CHUNK);
            // SAFETY: it came out of a box of this length, and nobody else has seen it.
            drop(unsafe { Box::from_raw(whole) });
            other
        }
    }
}

/// Notes that a descriptor of that number is about to be closed: what was known is past, and those who wait are told.
#[inline]
pub(crate) fn forget(fd: RawFd) {
    if let Some(entry) = known_entry(fd) {
        entry.renew(None, 0);
    }
}

/// Notes that a descriptor has just been made.
#[inline]
pub(crate) fn born(fd: RawFd) {
    if let Some(entry) = entry(fd) {
        entry.renew(None, BORN);
    }
}

/// Notes that all descriptors from one number to another are about to be closed.
pub(crate) fn forget_range(first: RawFd, last: RawFd) {
    let most = (CHUNKS * CHUNK - 1) as RawFd;
    for fd in first.max(0)..=last.min(most) {
        if ENTRIES[fd as usize / CHUNK].load(Ordering::Acquire).is_null() {
            continue;
        }
        forget(fd);
    }
}

/// Notes that both are descriptors of one file: what is known of it may be changed through either.
pub(crate) fn duplicated(old: RawFd, new: RawFd) {
    born(new);
    for fd in [old, new] {
        if let Some(entry) = entry(fd) {
            entry.word.fetch_or(SHARED.into(), Ordering::AcqRel);
            entry.io.mark_duplicated();
        }
    }
}

/// Notes that a call may have changed what is known.
#[inline]
pub(crate) fn changed(fd: RawFd) {
    if let Some(entry) = known_entry(fd) {
        entry.word.fetch_and(!u64::from(KNOWN), Ordering::AcqRel);
    }
}

/// Notes that a socket was shut down for reading.
pub(crate) fn shut(fd: RawFd) {
    if let Some(entry) = entry(fd) {
        entry.word.fetch_or(SHUT.into(), Ordering::AcqRel);
    }
}

pub(crate) use sys::status;

/// Held while a descriptor is made non-blocking for the length of a call, and while the user changes that. The flag is the file's, which may have several numbers, so the lock is
/// the file's as well: by its inode.
static FLAGS: [Spin; 64] = [const { Spin::new() }; 64];

fn lock_of_flags(inode: u64) -> &'static Spin {
    &FLAGS[inode as usize % FLAGS.len()]
}

/// Calls `call`, by which the flags of a file are asked for or changed: never while it is non-blocking by our doing.
fn with_own_flags<R>(inode: u64, call: impl FnOnce() -> R) -> R {
    let _locked = lock_of_flags(inode).lock();
    call()
}

/// Calls `call`, by which the user asks for the flags of a descriptor or changes them: never while it is non-blocking by our doing.
pub(crate) fn with_flags_of<R>(fd: RawFd, call: impl FnOnce() -> R) -> R {
    // A signal's handler may have interrupted one who holds the lock.
    if known_entry(fd).is_none() || patching::is_inside() {
        return call();
    }
    match status(fd) {
        Ok(status) => with_own_flags(status.st_ino, call),
        Err(_) => call(),
    }
}

/// Which way a call moves data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Descriptor {
    fn new(number: RawFd) -> Descriptor {
        Descriptor {
            number,
            word: AtomicU64::new(0),
            found: AtomicU64::new(0),
            timeouts: Default::default(),
            file: Default::default(),
            io: Io::from_nonblocking(Number(number), Kind::SharedStream),
            asking: Spin::new(),
        }
    }

    /// Begins a new generation, of which these facts are known; only if that one is the current, if it is said. Wakes those who wait.
    fn renew(&self, only: Option<u32>, facts: u32) {
        // A signal's handler, for which this is no time to touch the hub's registrations; a forked child, to which they do not belong.
        let inside = patching::is_inside();
        let renewed = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            if only.is_some_and(|generation| generation != generation_of(word)) {
                return None;
            }
            let stale = if inside && word as u32 & (ASKED | STALE) != 0 { STALE } else { 0 };
            Some(u64::from(generation_of(word).wrapping_add(1)) << 32 | u64::from(facts | stale))
        });
        // In this order: who waits finds that it was for another descriptor.
        if renewed.is_ok_and(|word| word as u32 & (ASKED | STALE) != 0) && !inside {
            self.io.let_go();
        }
    }

    /// Its registrations.
    #[inline]
    pub(crate) fn io(&self) -> &Io<Number> {
        &self.io
    }

    /// What tells the descriptors of this number apart.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        generation_of(self.word.load(Ordering::Acquire))
    }

    /// What is known without asking; nothing is a descriptor's facts of which nobody has asked.
    #[inline]
    pub(crate) fn known(&self) -> Option<Facts> {
        let facts = self.word.load(Ordering::Relaxed) as u32;
        (facts & (KNOWN | SHARED) == KNOWN).then_some(Facts(facts))
    }

    /// What kind of descriptor it is, if that is known: nothing changes it.
    #[inline]
    pub(crate) fn class(&self) -> Option<Facts> {
        let facts = self.word.load(Ordering::Relaxed) as u32;
        (facts & KNOWN != 0).then_some(Facts(facts))
    }

    /// The facts, which the kernel is asked for if they are not known.
    ///
    /// # Errors
    ///
    /// If there is no such descriptor.
    #[inline]
    pub(crate) fn facts(&self) -> io::Result<Facts> {
        match self.known() {
            Some(facts) => Ok(facts),
            None => self.learn(None),
        }
    }

    /// The facts of the descriptor of that generation.
    ///
    /// # Errors
    ///
    /// If it is closed, or there never was one.
    #[inline]
    pub(crate) fn facts_of(&self, generation: u32) -> io::Result<Facts> {
        let word = self.word.load(Ordering::Acquire);
        if generation_of(word) == generation && word as u32 & (KNOWN | SHARED) == KNOWN {
            Ok(Facts(word as u32))
        } else {
            self.learn(Some(generation))
        }
    }

    #[cold]
    #[inline(never)]
    fn learn(&self, generation: Option<u32>) -> io::Result<Facts> {
        // One at a time, so that what is kept beside the word belongs to it.
        let _asking = self.asking.lock();
        loop {
            let word = self.word.load(Ordering::Acquire);
            if generation.is_some_and(|generation| generation != generation_of(word)) {
                return Err(raw::error(libc::EBADF));
            }
            let before = word as u32;
            let facts = match before & (KNOWN | SHARED) {
                KNOWN => return Ok(Facts(before)),
                0 | SHARED => self.ask(before)?,
                _ => self.ask_what_changes(before)?,
            };
            if facts & FILE != 0 {
                // Not kept: files are closed past the shells most often (`fclose`), and whatever gets the number would be taken for one.
                return Ok(Facts(facts));
            }
            let learned = word & !u64::from(u32::MAX) | u64::from(facts);
            if self.word.compare_exchange(word, learned, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Ok(Facts(facts));
            }
        }
    }

    /// Asks the kernel for all.
    fn ask(&self, before: u32) -> io::Result<u32> {
        let status = status(self.number)?;
        let mut facts = KNOWN | ASKED | before & GIVEN;
        let flags = with_own_flags(status.st_ino, || sys::flags(self.number))?;
        if flags & libc::O_NONBLOCK != 0 {
            facts |= NONBLOCKING;
        }
        let mut kind = Kind::Datagram;
        let mut timeouts = [0; 2];
        match status.st_mode & libc::S_IFMT {
            libc::S_IFSOCK => {
                facts |= SOCKET;
                if sys::option(self.number, libc::SO_ACCEPTCONN) == Ok(1) {
                    facts |= LISTENER;
                    kind = Kind::Listener;
                } else {
                    let is_unix = sys::option(self.number, libc::SO_DOMAIN) == Ok(libc::AF_UNIX);
                    match sys::option(self.number, libc::SO_TYPE) {
                        // On Unix sockets a read stops short where descriptors came along, of which no event tells.
                        Ok(libc::SOCK_STREAM) if is_unix => facts |= STREAM,
                        Ok(libc::SOCK_STREAM) => {
                            facts |= STREAM;
                            kind = Kind::SharedStream;
                        }
                        Ok(libc::SOCK_DGRAM) if is_unix => facts |= UNIX_DATAGRAM,
                        _ => {}
                    }
                }
                timeouts = self.ask_timeouts();
            }
            libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => return Ok(FILE),
            libc::S_IFIFO => facts |= PIPE,
            _ => {}
        }
        self.keep_timeouts(timeouts);
        if before & ASKED == 0 {
            // The first to be asked of since the number was last closed: nobody waits for it yet. Who waited for one before it may have been about to register that one
            // when it was closed.
            self.io.let_go();
            self.io.set_kind(kind);
            self.file[0].store(status.st_dev, Ordering::Relaxed);
            self.file[1].store(status.st_ino, Ordering::Relaxed);
        }
        Ok(facts)
    }

    /// Asks for what may have been changed through a duplicate.
    fn ask_what_changes(&self, before: u32) -> io::Result<u32> {
        let flags = with_own_flags(self.file[1].load(Ordering::Relaxed), || sys::flags(self.number))?;
        let nonblocking = if flags & libc::O_NONBLOCK != 0 { NONBLOCKING } else { 0 };
        if before & SOCKET != 0 {
            self.keep_timeouts(self.ask_timeouts());
        }
        Ok(before & !NONBLOCKING | nonblocking)
    }

    fn ask_timeouts(&self) -> [u64; 2] {
        [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO].map(|name| sys::timeout(self.number, name))
    }

    fn keep_timeouts(&self, timeouts: [u64; 2]) {
        for (place, nanos) in self.timeouts.iter().zip(timeouts) {
            place.store(nanos, Ordering::Relaxed);
        }
    }

    /// Looks whether the descriptor still is of the file that was registered; if not, what is known is past.
    #[cold]
    pub(crate) fn look_again(&self) {
        let word = self.word.load(Ordering::Acquire);
        let same = status(self.number).is_ok_and(|status| {
            self.file[0].load(Ordering::Relaxed) == status.st_dev
                && self.file[1].load(Ordering::Relaxed) == status.st_ino
        });
        if !same && word as u32 & ASKED != 0 {
            let generation = generation_of(word);
            self.found.store(u64::from(generation) << 32 | u64::from(generation.wrapping_add(1)), Ordering::Release);
            self.renew(Some(generation), 0);
        }
    }

    /// The generation of a call that has moved nothing, if that was past because another file was found under the number: when the number became that file's, nobody knows,
    /// but most likely it was before the call.
    #[cold]
    pub(crate) fn generation_after(&self, generation: u32) -> Option<u32> {
        let now = self.generation();
        let found = self.found.load(Ordering::Acquire);
        (now != generation && found == u64::from(generation) << 32 | u64::from(now)).then_some(now)
    }

    /// How long a call in that direction may take.
    #[inline]
    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        let nanos = self.timeouts[direction as usize].load(Ordering::Relaxed);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// Calls `call` with the descriptor made non-blocking, for what cannot be told so by a flag of its own. Others who share the file see that for as long.
    ///
    /// # Errors
    ///
    /// If there is no such descriptor.
    pub(crate) fn nonblocking<R>(&self, call: impl FnOnce() -> R) -> io::Result<R> {
        let _locked = lock_of_flags(self.file[1].load(Ordering::Relaxed)).lock();
        let flags = sys::flags(self.number)?;
        sys::set_flags(self.number, flags | libc::O_NONBLOCK)?;
        let result = call();
        // It cannot fail for a descriptor whose flags could be set.
        let _ = sys::set_flags(self.number, flags);
        Ok(result)
    }

    /// Whether a plain call that said "would block" has done so by our doing: the descriptor, or a duplicate, was non-blocking for the length of another call. Returns
    /// when that is over.
    #[cold]
    pub(crate) fn was_toggled(&self) -> bool {
        let facts = self.word.load(Ordering::Acquire) as u32;
        let may_be = match facts & (KNOWN | SHARED) {
            0 => false,
            KNOWN => facts & NONBLOCKING == 0,
            _ => true,
        };
        // A time-out of the socket's has passed, as far as anybody can tell.
        if !may_be || self.ask_timeouts() != [0; 2] {
            return false;
        }
        status(self.number).is_ok_and(|status| {
            let flags = with_own_flags(status.st_ino, || sys::flags(self.number));
            flags.is_ok_and(|flags| flags & libc::O_NONBLOCK == 0)
        })
    }
}

/// A lock that is held for one call. Not a `ShortLock`, since a forked child has to get rid of a holder that it does not have; and a signal's handler, which may run in the middle of
/// the holder's call, goes on without it rather than wait for ever. It holds the thread's number, or 0.
#[derive(Debug)]
struct Spin(AtomicUsize);

impl Spin {
    const fn new() -> Spin {
        Spin(AtomicUsize::new(0))
    }

    fn lock(&self) -> Locked<'_> {
        // SAFETY: it has no preconditions.
        let own = unsafe { libc::pthread_self() } as usize;
        while let Err(holder) = self.0.compare_exchange_weak(0, own, Ordering::Acquire, Ordering::Relaxed) {
            if holder == own {
                return Locked(None);
            }
            // The thread gives way, and not the greenlet: it may hold something that others need.
            // SAFETY: a call without arguments.
            unsafe { raw::syscall!(libc::SYS_sched_yield) };
        }
        Locked(Some(self))
    }
}

struct Locked<'a>(Option<&'a Spin>);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(lock) = self.0 {
            lock.0.store(0, Ordering::Release);
        }
    }
}

/// Begins anew in a forked child: what is registered is its parent's, and whoever was in the middle of something is not there.
///
/// # Safety
///
/// The process has one thread, which is in the middle of none of the calls of this module.
pub(crate) unsafe fn begin_anew_in_child() {
    for lock in &FLAGS {
        lock.0.store(0, Ordering::Relaxed);
    }
    for chunk in &ENTRIES {
        let chunk = chunk.load(Ordering::Acquire);
        if chunk.is_null() {
            continue;
        }
        for index in 0..CHUNK {
            // SAFETY: a chunk has that many entries and is never freed.
            let entry = unsafe { chunk.add(index) };
            // SAFETY: as above; entries are shared only.
            let number = unsafe { (*entry).number };
            // SAFETY: as above.
            let io = unsafe { &raw mut (*entry).io };
            // SAFETY: nobody uses the entry meanwhile, by the contract of this function. The old one is not dropped: it is the parent's.
            unsafe { io.write(Io::from_nonblocking(Number(number), Kind::SharedStream)) };
            // SAFETY: as above.
            let entry = unsafe { &*entry };
            entry.asking.0.store(0, Ordering::Relaxed);
            // What it is has to be asked again, and who else has it is not known.
            entry.word.fetch_and(!u64::from(u32::MAX) | u64::from(GIVEN), Ordering::Relaxed);
        }
    }
}

/// What the kernel is asked, past the shells.
mod sys {
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::RawFd;

    use libc::c_int;

    use super::raw;

    pub(super) fn flags(fd: RawFd) -> io::Result<c_int> {
        // SAFETY: a call with plain integers.
        raw::check(unsafe { raw::syscall!(libc::SYS_fcntl, fd, libc::F_GETFL) }).map(|flags| flags as c_int)
    }

    pub(super) fn set_flags(fd: RawFd, flags: c_int) -> io::Result<()> {
        // SAFETY: a call with plain integers.
        raw::check(unsafe { raw::syscall!(libc::SYS_fcntl, fd, libc::F_SETFL, flags) }).map(drop)
    }

    pub(crate) fn status(fd: RawFd) -> io::Result<libc::stat> {
        let mut status = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: there is room for the answer.
        raw::check(unsafe { raw::syscall!(libc::SYS_fstat, fd, status.as_mut_ptr()) })?;
        // SAFETY: the call has filled it.
        Ok(unsafe { status.assume_init() })
    }

    fn get<T>(fd: RawFd, name: c_int, value: &mut T) -> io::Result<()> {
        let mut len = size_of::<T>() as libc::socklen_t;
        // SAFETY: there is room for as many bytes as it is told.
        let result = unsafe {
            raw::syscall!(libc::SYS_getsockopt, fd, libc::SOL_SOCKET, name, std::ptr::from_mut(value), &raw mut len)
        };
        raw::check(result).map(drop)
    }

    /// A socket's option that is a number.
    pub(super) fn option(fd: RawFd, name: c_int) -> Result<c_int, ()> {
        let mut value = 0;
        get(fd, name, &mut value).map_err(drop)?;
        Ok(value)
    }

    /// A socket's time-out in nanoseconds, 0 if it has none.
    pub(super) fn timeout(fd: RawFd, name: c_int) -> u64 {
        let mut value = libc::timeval { tv_sec: 0, tv_usec: 0 };
        match get(fd, name, &mut value) {
            Ok(()) => (value.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(value.tv_usec as u64 * 1000),
            Err(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_handler_goes_on_where_its_own_thread_holds_the_lock_and_others_wait() {
        let lock = Spin::new();
        let held = lock.lock();
        let in_handler = lock.lock();
        thread::scope(|scope| {
            let other = scope.spawn(|| drop(lock.lock()));
            drop(in_handler);
            thread::yield_now();
            assert!(!other.is_finished());
            drop(held);
        });
        assert_eq!(lock.0.load(Ordering::Relaxed), 0);
    }
}
