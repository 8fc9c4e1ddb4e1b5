//! `Io`: a descriptor whose calls wait by themselves, and which stays registered.
//!
//! The loop "try the call; on `WouldBlock` wait; try again" exists once, in [`Io::retry`]. What it knows of readiness, of
//! edges and budgets stands below it, in the poller's slots; what it is for (a read, an accept) is a closure from above.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::fork;
use crate::hub::{Hub, deadline_after};
use crate::poller::{Direction, SlotKey, Watch};
use crate::shared::{Message, all_hubs};
use crate::sys;
use crate::waiter::{Outcome, Reason, Timed};
use crate::word::State;

/// What a descriptor is, which decides what a call tells about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connected byte stream (TCP, Unix): a short read or write says that the buffer is empty or full. One greenlet may read
    /// and one may write at a time; another is told so by an error when it would have to wait.
    Stream,
    /// The same, but any number may wait in each direction; they are served in order.
    SharedStream,
    /// Datagrams, pipes, terminals: only `WouldBlock` says anything. Any number may wait; they are served in order.
    Datagram,
    /// A listening socket: watched only while somebody waits. Any number may wait; they are served in order.
    Listener,
}

/// A descriptor with its registrations: calls on it wait by themselves.
///
/// It is registered with a hub at the first wait there, and stays registered until it is dropped; one that never has to
/// wait never is. It may be used on several hubs, and be sent from one to another.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Io, Kind, spawn};
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let (ours, theirs) = UnixStream::pair()?;
/// let (ours, theirs) = (Io::new(ours, Kind::Stream)?, Io::new(theirs, Kind::Stream)?);
/// let reader = spawn(move || {
///     let mut buf = [0; 16];
///     ours.read_some_with(16, None, |mut stream| stream.read(&mut buf)).map(|n| buf[..n].to_vec())
/// });
/// theirs.write_some_with(5, None, |mut stream| stream.write(b"hello"))?;
/// assert_eq!(reader.join().unwrap()?, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Io<T: AsFd> {
    // Dropped before the descriptor is closed.
    registrations: Registrations,
    io: T,
}

impl<T: AsFd> Io<T> {
    /// Takes a descriptor over, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// If the descriptor cannot be made non-blocking.
    pub fn new(io: T, kind: Kind) -> io::Result<Io<T>> {
        sys::set_nonblocking(io.as_fd())?;
        Ok(Io::from_nonblocking(io, kind))
    }

    /// Takes over a descriptor that is non-blocking already: no system call.
    pub fn from_nonblocking(io: T, kind: Kind) -> Io<T> {
        Io { registrations: Registrations::new(io.as_fd().as_raw_fd(), kind), io }
    }

    /// The descriptor's owner, for calls that never wait.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Lets go of the registrations and gives the descriptor's owner back, still non-blocking.
    pub fn into_inner(self) -> T {
        let Io { registrations, io } = self;
        registrations.stays_open.store(true, Ordering::Relaxed);
        drop(registrations);
        io
    }

    /// Notes that the descriptor was duplicated, so that closing this one is not enough to end its registrations.
    pub fn mark_duplicated(&self) {
        self.registrations.stays_open.store(true, Ordering::Relaxed);
    }

    /// Lets go of all registrations, on whichever hub; those who wait look again. For a descriptor that is about to be closed by somebody who does not own this: their
    /// `op` has to say so. Never switches.
    pub fn let_go(&self) {
        self.registrations.let_go();
    }

    /// Says what the descriptor is from now on: its number may be another's. To be called while nobody waits.
    pub fn set_kind(&self, kind: Kind) {
        self.registrations.kind.store(kind as u8, Ordering::Relaxed);
    }

    /// Calls `op`, which reads or accepts; as long as it returns `WouldBlock`, waits until the descriptor is readable and
    /// calls it again. `timeout` bounds the time that this call waits.
    ///
    /// # Errors
    ///
    /// What `op` returns; `WouldBlock` when the timeout has passed, as std's sockets have it; `ResourceBusy` if another greenlet is
    /// waiting to read the same [`Kind::Stream`].
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
    #[inline(always)]
    pub fn read_with<R>(&self, timeout: Option<Duration>, op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.retry(Direction::Read, timeout, op, |_| false)
    }

    /// As [`read_with`](Io::read_with), for a call that writes.
    ///
    /// # Errors
    ///
    /// As [`read_with`](Io::read_with).
    ///
    /// # Panics
    ///
    /// As [`read_with`](Io::read_with).
    #[inline(always)]
    pub fn write_with<R>(&self, timeout: Option<Duration>, op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.retry(Direction::Write, timeout, op, |_| false)
    }

    /// As [`read_with`](Io::read_with), for a read into `len` bytes that takes them out of a stream: one that returns fewer
    /// has emptied the socket's buffer, which spares the next read a system call.
    ///
    /// Not for peeking, nor for calls that carry ancillary data.
    ///
    /// # Errors
    ///
    /// As [`read_with`](Io::read_with).
    ///
    /// # Panics
    ///
    /// As [`read_with`](Io::read_with).
    #[inline(always)]
    pub fn read_some_with(
        &self,
        len: usize,
        timeout: Option<Duration>,
        op: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.retry(Direction::Read, timeout, op, |&moved| moved != 0 && moved < len)
    }

    /// As [`read_some_with`](Io::read_some_with), for a write of `len` bytes to a stream.
    ///
    /// # Errors
    ///
    /// As [`read_with`](Io::read_with).
    ///
    /// # Panics
    ///
    /// As [`read_with`](Io::read_with).
    #[inline(always)]
    pub fn write_some_with(
        &self,
        len: usize,
        timeout: Option<Duration>,
        op: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.retry(Direction::Write, timeout, op, |&moved| moved != 0 && moved < len)
    }

    /// Waits until the descriptor is writable, as after a connect that is in progress. All who wait are woken. False: the timeout has passed.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if another greenlet is waiting to write the same [`Kind::Stream`].
    ///
    /// # Panics
    ///
    /// As [`read_with`](Io::read_with).
    pub fn wait_writable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.wait_ready(Direction::Write, timeout)
    }

    /// Waits until the descriptor is readable (or at its end, or in error). All who wait are woken. False: the timeout has passed.
    ///
    /// # Errors
    ///
    /// `ResourceBusy` if another greenlet is waiting to read the same [`Kind::Stream`].
    ///
    /// # Panics
    ///
    /// As [`read_with`](Io::read_with).
    pub fn wait_readable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.wait_ready(Direction::Read, timeout)
    }

    fn wait_ready(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<bool> {
        let hub = Hub::here();
        hub.spend_budget();
        // Where it is registered, changes are told only, so what is so now has to be asked.
        if self.registrations.find(hub).is_some() && sys::is_ready(self.as_fd(), direction == Direction::Write)? {
            return Ok(true);
        }
        let epoch = self.registrations.epoch();
        let woken = self.wait(hub, direction, timeout.map(deadline_after), false, epoch)?;
        if let Some(key) = woken {
            hub.pass_on(key, direction);
        }
        Ok(woken.is_some())
    }

    /// The loop under every call.
    #[inline(always)]
    fn retry<R>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut op: impl FnMut(&T) -> io::Result<R>,
        emptied: impl FnOnce(&R) -> bool,
    ) -> io::Result<R> {
        let hub = Hub::here();
        hub.spend_budget();
        let kind = self.registrations.kind();
        if kind == Kind::Listener {
            // Made before anything is accepted: with no descriptors left, this is what fails, and loses nothing.
            hub.poller()?;
        }
        let mut deadline = None;
        let mut woken: Option<PassOn<'_>> = None;
        loop {
            let epoch = self.registrations.epoch();
            let slot = self.registrations.find(hub);
            if slot.is_none_or(|slot| slot.is_ready(hub, direction)) {
                // It is not to wait; so where libc's calls are patched, it makes the plain ones.
                let inside = hub.mark_inside();
                let result = op(&self.io);
                drop(inside);
                match result {
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                        if let Some(slot) = slot {
                            slot.clear(hub, direction);
                        }
                    }
                    result => {
                        if let (Some(slot), Ok(moved)) = (slot, &result) {
                            if kind == Kind::Listener {
                                slot.clear(hub, direction);
                            } else if matches!(kind, Kind::Stream | Kind::SharedStream) && emptied(moved) {
                                slot.clear_after_short(hub, direction);
                            }
                        }
                        // After the bits are right: if there is more, the next one looks.
                        drop(woken);
                        return result;
                    }
                }
            }
            // The clock is read only by a call that has to wait.
            let deadline = *deadline.get_or_insert_with(|| timeout.map(deadline_after));
            match self.wait(hub, direction, deadline, woken.is_some(), epoch)? {
                // No event: there is nothing to be passed on.
                Some(SlotKey::NONE) => {}
                // One for all wake-ups of this call, so that it wakes one other: two would change places.
                Some(key) if woken.is_none() => woken = Some(PassOn { hub, key, direction }),
                Some(_) => {}
                None => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            }
        }
    }

    // Inlined up to the public call, as everything between a greenlet's code and its suspension; see ARCHITECTURE.md.
    /// Waits once; `None` at the deadline. `again`: it was woken before and found nothing, and keeps its place. `epoch`: what it was before the caller looked.
    #[inline(always)]
    fn wait(
        &self,
        hub: &Hub,
        direction: Direction,
        deadline: Option<Instant>,
        again: bool,
        epoch: u32,
    ) -> io::Result<Option<SlotKey>> {
        let _turn = self.registrations.occupy(hub, direction)?;
        let fd = self.io.as_fd();
        match self.registrations.find_or_register(hub, fd, epoch) {
            // Let go of between the look and the registration, which nobody will tell of: it looks again.
            Ok(None) => Ok(Some(SlotKey::NONE)),
            Ok(Some(slot)) => Ok(hub.wait_for_slot(slot.key, fd, direction, deadline, again)?.then_some(slot.key)),
            // Regular files cannot be watched: they are always ready.
            Err(err) if err.raw_os_error() == Some(libc::EPERM) => Ok(Some(SlotKey::NONE)),
            Err(err) => Err(err),
        }
    }
}

/// Woken by an event that may be about more than one call: at the end, and be it an error or a panic, the next one looks.
struct PassOn<'a> {
    hub: &'a Hub,
    key: SlotKey,
    direction: Direction,
}

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.hub.pass_on(self.key, self.direction);
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Io<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Io").field(&self.io).finish()
    }
}

impl<T: AsFd> AsFd for Io<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// On which hubs a descriptor is registered, and as what.
struct Registrations {
    fd: RawFd,
    /// A `Kind`.
    kind: AtomicU8,
    /// The number of the poller with which somebody waits to read, to write; 0: nobody. Of a stream only one each may.
    occupied: [AtomicU32; 2],
    stays_open: AtomicBool,
    has_more: AtomicBool,
    /// The number of the first hub's poller and the slot there; 0: none yet.
    first: AtomicU64,
    first_generation: AtomicU32,
    /// How often all registrations were let go of while this lived.
    epoch: AtomicU32,
    /// Further hubs' pollers with which it has waited.
    more: Mutex<Vec<(u32, SlotKey)>>,
}

/// A registration on the hub that runs now.
#[derive(Clone, Copy)]
struct Registered {
    key: SlotKey,
}

impl Registrations {
    fn new(fd: RawFd, kind: Kind) -> Registrations {
        Registrations {
            fd,
            kind: AtomicU8::new(kind as u8),
            occupied: Default::default(),
            stays_open: AtomicBool::new(false),
            has_more: AtomicBool::new(false),
            first: AtomicU64::new(0),
            first_generation: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            more: Mutex::new(Vec::new()),
        }
    }

    #[inline]
    fn kind(&self) -> Kind {
        const KINDS: [Kind; 4] = [Kind::Stream, Kind::SharedStream, Kind::Datagram, Kind::Listener];
        KINDS[usize::from(self.kind.load(Ordering::Relaxed)) % KINDS.len()]
    }

    /// The registration on this hub. On the first hub that takes three loads.
    #[inline]
    fn find(&self, hub: &Hub) -> Option<Registered> {
        let first = self.first.load(Ordering::Acquire);
        let id = hub.poller_number();
        if (first >> 32) as u32 == id {
            let generation = self.first_generation.load(Ordering::Acquire);
            // Another thread may have let go of it in between, and another hub be the first by now. Whoever sees its generation sees that, too.
            return (self.first.load(Ordering::Relaxed) == first)
                .then_some(Registered { key: SlotKey { slot: first as u32, generation } });
        }
        if self.has_more.load(Ordering::Acquire) { self.find_further(id) } else { None }
    }

    #[cold]
    fn find_further(&self, id: u32) -> Option<Registered> {
        self.more().iter().find(|(hub, _)| *hub == id).map(|&(_, key)| Registered { key })
    }

    #[inline]
    fn find_or_register(&self, hub: &Hub, fd: BorrowedFd<'_>, epoch: u32) -> io::Result<Option<Registered>> {
        if let Some(found) = self.find(hub) {
            return Ok(Some(found));
        }
        let registered = self.register(hub, fd)?;
        // After it is there for whoever lets go: either he sees it, or this sees that he did.
        Ok((self.epoch() == epoch).then_some(registered))
    }

    /// Counts how often all was let go of.
    #[inline]
    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::SeqCst)
    }

    #[inline(never)]
    fn register(&self, hub: &Hub, fd: BorrowedFd<'_>) -> io::Result<Registered> {
        // A descriptor of that number may have been let go of on another thread, and be watched in another way: that is told first.
        hub.drain_inbox();
        let watch = if self.kind() == Kind::Listener { Watch::EachWait } else { Watch::Edge };
        let key = hub.poller()?.borrow_mut().register(fd, watch)?;
        let id = hub.poller_number();
        let mut more = self.more();
        // Under the lock, so that two hubs do not both become the first.
        let first = self.first.load(Ordering::Relaxed);
        // In a forked child the first one was the parent's, if it is not there.
        if first == 0 || fork::generation() > 0 && !is_alive((first >> 32) as u32) {
            self.first_generation.store(key.generation, Ordering::Release);
            self.first.store((u64::from(id) << 32) | u64::from(key.slot), Ordering::Release);
        } else {
            // Of an `Io` that many short-lived threads have used, the hubs that have ended go.
            if more.len() >= 8 {
                let hubs = all_hubs();
                more.retain(|(id, _)| hubs.alive.iter().any(|hub| hub.has_poller(*id)));
            }
            more.push((id, key));
            self.has_more.store(true, Ordering::Release);
        }
        Ok(Registered { key })
    }

    fn more(&self) -> MutexGuard<'_, Vec<(u32, SlotKey)>> {
        crate::patching::lock(&self.more)
    }

    /// Takes one direction of a stream for a wait; an error if somebody has it.
    #[inline]
    fn occupy(&self, hub: &Hub, direction: Direction) -> io::Result<Option<Turn<'_>>> {
        if self.kind() != Kind::Stream {
            return Ok(None);
        }
        let occupied = &self.occupied[direction as usize];
        let taken = occupied.compare_exchange(0, hub.poller_number(), Ordering::Relaxed, Ordering::Relaxed);
        if let Err(occupant) = taken {
            take_over(occupied, occupant, hub, direction)?;
        }
        Ok(Some(Turn { occupied }))
    }
}

/// Whether the hub still is there whose poller has that number.
fn is_alive(poller: u32) -> bool {
    all_hubs().alive.iter().any(|hub| hub.has_poller(poller))
}

/// Takes a direction from a greenlet that will never let go of it, since its hub has ended while it waited.
#[cold]
fn take_over(occupied: &AtomicU32, occupant: u32, hub: &Hub, direction: Direction) -> io::Result<()> {
    let alive = occupant == hub.poller_number() || is_alive(occupant);
    if !alive && occupied.compare_exchange(occupant, hub.poller_number(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        return Ok(());
    }
    let text = match direction {
        Direction::Read => "another greenlet is already reading this stream",
        Direction::Write => "another greenlet is already writing this stream",
    };
    Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
}

impl Drop for Registrations {
    fn drop(&mut self) {
        if *self.first.get_mut() != 0 {
            self.let_go();
        }
    }
}

impl Registrations {
    /// Lets go of all registrations; the descriptor is still open.
    #[inline(never)]
    fn let_go(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let mut more = self.more();
        let first = self.first.swap(0, Ordering::AcqRel);
        let key = SlotKey { slot: first as u32, generation: self.first_generation.load(Ordering::Relaxed) };
        self.has_more.store(false, Ordering::Relaxed);
        let others = std::mem::take(&mut *more);
        drop(more);
        let first = (first != 0).then_some(((first >> 32) as u32, key));
        for (id, key) in first.into_iter().chain(others) {
            let here = Hub::try_with(|hub| {
                let own = hub.poller_number() == id;
                if own && let Some(poller) = hub.made_poller() {
                    // SAFETY: the descriptor is closed after this, so it is open.
                    let fd = unsafe { BorrowedFd::borrow_raw(self.fd) };
                    let open = self.stays_open.load(Ordering::Relaxed).then_some(fd);
                    let waiting = poller.borrow_mut().forget(key, open);
                    hub.notify_all(waiting);
                }
                own
            });
            if here != Some(true) {
                // Left before the descriptor is closed: so before its number can be another's on that hub.
                let hub = all_hubs().alive.iter().find(|hub| hub.has_poller(id)).copied();
                if let Some(hub) = hub {
                    hub.send(Message::Forget { hub: id, slot: key.slot, generation: key.generation });
                }
            }
        }
    }
}

/// One direction of a stream, taken for a wait.
struct Turn<'a> {
    occupied: &'a AtomicU32,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.occupied.store(0, Ordering::Relaxed);
    }
}

impl Registered {
    #[inline]
    fn is_ready(self, hub: &Hub, direction: Direction) -> bool {
        // A registration on this hub means that it has a poller.
        hub.made_poller().is_none_or(|poller| poller.borrow_mut().is_ready(self.key.slot, direction))
    }

    fn clear(self, hub: &Hub, direction: Direction) {
        if let Some(poller) = hub.made_poller() {
            poller.borrow_mut().clear(self.key.slot, direction);
        }
    }

    #[inline]
    fn clear_after_short(self, hub: &Hub, direction: Direction) {
        if let Some(poller) = hub.made_poller() {
            poller.borrow_mut().clear_after_short(self.key.slot, direction);
        }
    }
}

impl Hub {
    /// Waits for an event of a slot; false at the deadline.
    #[inline(always)]
    pub(crate) fn wait_for_slot(
        &self,
        key: SlotKey,
        fd: BorrowedFd<'_>,
        direction: Direction,
        deadline: Option<Instant>,
        again: bool,
    ) -> io::Result<bool> {
        let reason = match direction {
            Direction::Read => "input on descriptor",
            Direction::Write => "output on descriptor",
        };
        let waiter = self.begin_wait(Reason::with_number(reason, fd.as_raw_fd() as u32));
        let _watching = self.watch();
        let entry = Entry { hub: self, key, direction, waiter };
        let poller = self.poller()?;
        poller.borrow_mut().push(key.slot, direction, entry.waiter, again)?;
        let outcome = self.wait(waiter.number, deadline);
        if outcome == Outcome::Notified {
            // Whoever notified it has taken it out of the slot.
            std::mem::forget(entry);
            return Ok(true);
        }
        // An entry that is still there goes before anything else may happen.
        drop(entry);
        match outcome {
            Outcome::Notified => unreachable!("dealt with above"),
            Outcome::TimedOut => Ok(false),
            Outcome::Interrupted(interrupted) => {
                if interrupted.was_notified() {
                    self.pass_on(key, direction);
                }
                interrupted.raise()
            }
        }
    }

    /// Lets the next one look, if the descriptor is still ready.
    #[inline]
    pub(crate) fn pass_on(&self, key: SlotKey, direction: Direction) {
        if self.made_poller().is_some_and(|poller| poller.borrow().may_pass_on(key, direction)) {
            self.pass_on_to_next(key, direction);
        }
    }

    #[inline(never)]
    fn pass_on_to_next(&self, key: SlotKey, direction: Direction) {
        let Some(poller) = self.made_poller() else { return };
        // Ahead of the run queue, as those whom a look wakes: the next look may find more for this descriptor, and the one whom that wakes came later.
        // A chain of them holds up everybody else; so if it gets long, the kernel is asked to tell the next look once more.
        if !self.may_pass_on_before_look() && poller.borrow_mut().tell_again(key).is_ok() {
            return;
        }
        loop {
            // Not in the condition, where the borrow would last.
            let next = poller.borrow_mut().pass_on(key, direction);
            if next.is_none_or(|next| self.end_wait(next, State::Notified)) {
                break;
            }
        }
    }
}

/// A wait that stands in a slot. It holds a plain pointer to its greenlet, so it must be gone when the wait is, however that ends.
struct Entry<'a> {
    hub: &'a Hub,
    key: SlotKey,
    direction: Direction,
    waiter: Timed,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(poller) = self.hub.made_poller() {
            poller.borrow_mut().remove(self.key, self.direction, self.waiter);
        }
        // In case the wait was never slept: then it must not be found open.
        self.waiter.block.local().waits_soon.set(false);
        self.waiter.block.word.cancel(self.waiter.number);
    }
}
