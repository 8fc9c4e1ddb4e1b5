//! What all sockets share: the descriptor, its settings, and the rule by which a call waits.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use greenlet_hub::{Io, Kind};
use socket2::SockRef;

use crate::pause;

/// One of std's sockets, which makes the system calls.
pub(crate) trait StdSocket: AsFd + From<OwnedFd> {
    const KIND: Kind;

    /// Whether a read that returns less than there was room for has emptied the socket's buffer.
    const SHORT_READ_EMPTIES: bool = false;
}

/// A socket whose descriptor is non-blocking for good, and the settings that say how it behaves to its user.
pub(crate) struct Socket<T: StdSocket> {
    io: Io<T>,
    /// Not there as long as all of them are std's defaults, which is nearly always.
    settings: OnceLock<Arc<Settings>>,
}

/// What std keeps in the kernel, where clones share it; so clones share it here.
#[derive(Debug, Default)]
struct Settings {
    read_timeout: Timeout,
    write_timeout: Timeout,
    nonblocking: AtomicBool,
    /// Receiving was shut down; kept for those sockets of which the kernel does not tell it.
    receiving_is_shut: AtomicBool,
}

/// Nanoseconds; 0 for none.
#[derive(Debug, Default)]
pub(crate) struct Timeout(AtomicU64);

/// What a call does that finds nothing.
enum Mode {
    Fail,
    Wait(Option<Duration>),
}

impl<T: StdSocket> Socket<T> {
    /// Takes over a descriptor that is non-blocking already. No system call.
    pub(crate) fn from_nonblocking(io: T) -> Socket<T> {
        Socket { io: Io::from_nonblocking(io, T::KIND), settings: OnceLock::new() }
    }

    /// Takes over one of std's sockets, with the settings that it has in the kernel.
    pub(crate) fn adopt(io: T) -> Socket<T> {
        let settings = Settings::default();
        {
            let socket = SockRef::from(&io);
            settings.nonblocking.store(socket.nonblocking().expect(MUST_BE_A_DESCRIPTOR), Ordering::Relaxed);
            socket.set_nonblocking(true).expect(MUST_BE_A_DESCRIPTOR);
            // Listeners have none in std, and what is not a socket has none at all.
            if T::KIND != Kind::Listener {
                settings.read_timeout.set(socket.read_timeout().unwrap_or(None));
                settings.write_timeout.set(socket.write_timeout().unwrap_or(None));
            }
        }
        let socket = Socket::from_nonblocking(io);
        if settings.are_set() {
            let _ = socket.settings.set(Arc::new(settings));
        }
        socket
    }

    /// Gives the descriptor back with the settings in the kernel: what std's socket has to be.
    pub(crate) fn release(self) -> T {
        let Socket { io, settings } = self;
        let io = io.into_inner();
        let settings = settings.get();
        let nonblocking = settings.is_some_and(|settings| settings.nonblocking.load(Ordering::Relaxed));
        {
            let socket = SockRef::from(&io);
            socket.set_nonblocking(nonblocking).expect(MUST_BE_A_DESCRIPTOR);
            if let Some(settings) = settings
                && T::KIND != Kind::Listener
            {
                // Only a descriptor that is no socket refuses this, and it never had a timeout.
                let _ = socket.set_read_timeout(settings.read_timeout.get());
                let _ = socket.set_write_timeout(settings.write_timeout.get());
            }
        }
        io
    }

    /// Duplicates the descriptor; the clone shares the settings.
    pub(crate) fn try_clone(&self) -> io::Result<Socket<T>> {
        let clone = Socket::from_nonblocking(T::from(self.as_fd().try_clone_to_owned()?));
        let _ = clone.settings.set(Arc::clone(self.settings()));
        self.io.mark_duplicated();
        clone.io.mark_duplicated();
        Ok(clone)
    }

    /// Std's socket, for calls that never wait.
    pub(crate) fn std(&self) -> &T {
        self.io.get_ref()
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.settings().nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.settings.get().is_some_and(|settings| settings.nonblocking.load(Ordering::Relaxed))
    }

    pub(crate) fn note_receiving_is_shut(&self) {
        self.settings().receiving_is_shut.store(true, Ordering::Relaxed);
    }

    pub(crate) fn receiving_is_shut(&self) -> bool {
        self.settings.get().is_some_and(|settings| settings.receiving_is_shut.load(Ordering::Relaxed))
    }

    pub(crate) fn read_timeout(&self) -> Option<Duration> {
        self.settings.get()?.read_timeout.get()
    }

    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        self.settings.get()?.write_timeout.get()
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        refuse_zero(timeout)?;
        self.settings().read_timeout.set(timeout);
        Ok(())
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        refuse_zero(timeout)?;
        self.settings().write_timeout.set(timeout);
        Ok(())
    }

    fn settings(&self) -> &Arc<Settings> {
        self.settings.get_or_init(Arc::default)
    }

    #[inline]
    fn mode(&self, timeout: impl FnOnce(&Settings) -> &Timeout) -> Mode {
        match self.settings.get() {
            None => Mode::Wait(None),
            Some(settings) if settings.nonblocking.load(Ordering::Relaxed) => Mode::Fail,
            Some(settings) => Mode::Wait(timeout(settings).get()),
        }
    }

    /// Waits until `op`, which receives, accepts or peeks, does something else than find nothing.
    #[inline]
    pub(crate) fn read_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        match self.mode(|settings| &settings.read_timeout) {
            Mode::Fail => op(self.std()),
            Mode::Wait(timeout) => self.io.read_with(timeout, op),
        }
    }

    /// Waits until `op`, which sends, does something else than find no room.
    #[inline]
    pub(crate) fn write_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        match self.mode(|settings| &settings.write_timeout) {
            Mode::Fail => op(self.std()),
            Mode::Wait(timeout) => self.io.write_with(timeout, op),
        }
    }

    /// As [`write_with`](Socket::write_with), where the poller cannot tell when there is room: tries again after pauses.
    pub(crate) fn write_with_pauses<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        match self.mode(|settings| &settings.write_timeout) {
            Mode::Fail => op(self.std()),
            Mode::Wait(timeout) => pause::until_done(timeout, || {
                // Through the hub all the same, so that the call counts as one of those after which a greenlet yields.
                self.io.write_with(timeout, |io| unless_it_would_block(op(io)).transpose())
            }),
        }
    }

    /// Waits until a connect that is in progress has ended. False: the timeout has passed.
    pub(crate) fn wait_connected(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.io.wait_writable(timeout)
    }
}

/// The reads and writes of streams.
impl<T: StdSocket> Socket<T>
where
    for<'a> &'a T: Read + Write,
{
    #[inline]
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_some(buf.len(), |mut io| io.read(buf))
    }

    pub(crate) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_some(bufs.iter().map(|buf| buf.len()).sum(), |mut io| io.read_vectored(bufs))
    }

    #[inline]
    pub(crate) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.write_some(buf.len(), |mut io| io.write(buf))
    }

    pub(crate) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_some(bufs.iter().map(|buf| buf.len()).sum(), |mut io| io.write_vectored(bufs))
    }

    #[inline]
    fn read_some(&self, len: usize, mut op: impl FnMut(&T) -> io::Result<usize>) -> io::Result<usize> {
        let Mode::Wait(timeout) = self.mode(|settings| &settings.read_timeout) else { return op(self.std()) };
        if len == 0
            && let Some(result) = unless_it_would_block(op(self.std()))
        {
            return result;
        }
        if T::SHORT_READ_EMPTIES { self.io.read_some_with(len, timeout, op) } else { self.io.read_with(timeout, op) }
    }

    #[inline]
    fn write_some(&self, len: usize, mut op: impl FnMut(&T) -> io::Result<usize>) -> io::Result<usize> {
        let Mode::Wait(timeout) = self.mode(|settings| &settings.write_timeout) else { return op(self.std()) };
        if len == 0
            && let Some(result) = unless_it_would_block(op(self.std()))
        {
            return result;
        }
        self.io.write_some_with(len, timeout, op)
    }
}

impl<T: StdSocket> AsFd for Socket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl Settings {
    fn are_set(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
            || self.read_timeout.get().is_some()
            || self.write_timeout.get().is_some()
    }
}

impl Timeout {
    fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    fn set(&self, timeout: Option<Duration>) {
        // Some 584 years are as good as more.
        let nanos = timeout.map_or(0, |timeout| timeout.as_nanos().try_into().unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
    }
}

/// `fcntl` with `F_GETFL` and `F_SETFL` fails on closed descriptors only, and these are owned.
const MUST_BE_A_DESCRIPTOR: &str = "an owned descriptor is open, so its flags can be read and set";

/// Moving no bytes mostly needs neither data nor room, so what is known of these says nothing about it.
fn unless_it_would_block<R>(result: io::Result<R>) -> Option<io::Result<R>> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => None,
        result => Some(result),
    }
}

/// Refuses what std refuses, in its words.
pub(crate) fn refuse_zero(timeout: Option<Duration>) -> io::Result<()> {
    if timeout == Some(Duration::ZERO) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
    }
    Ok(())
}
