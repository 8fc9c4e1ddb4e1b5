//! The descriptors that a hub watches: one slot each, with cached readiness and those who wait.
//!
//! A descriptor that a hub owns ([`Io`](crate::Io)) is registered once, at its first wait, for both directions and
//! edge-triggered. From then on the slot knows whether a call is worth its system call:
//!
//! * an event **sets** the bit of its direction,
//! * `WouldBlock` **clears** it, and on streams so does a short read or write: the buffer was emptied (or filled).
//!   Unless the last event said that there is more than the data: an end of file that came together with data makes
//!   *one* edge with it and must still be read, and a read stops short at urgent data.
//!
//! Listeners and descriptors that are only borrowed are asked for *once*: the kernel tells one event and then keeps
//! quiet until somebody waits again, so neither a full pool nor a forgotten duplicate makes the loop spin.
//!
//! The `key` of an event is slot and generation; an event for a descriptor that was closed, whose slot may be
//! another's by now, is dropped.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use crate::sys::{Event, Interest, Poll, WAKE_KEY};
use crate::waiter::Timed;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// How a slot's descriptor is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Owned; edge-triggered, registered for good.
    Edge,
    /// Owned; asked anew for each wait (listeners).
    EachWait,
    /// Only borrowed by waits: registered as long as there are any.
    Borrowed,
}

/// Boxed, so that a slot without it is one cache line.
type Rest = VecDeque<Timed>;

/// Those who wait for one direction of a slot.
#[derive(Default)]
struct Side {
    first: Option<Timed>,
    /// Almost always there is one waiter at the most.
    rest: Option<Box<Rest>>,
}

#[repr(align(64))]
struct Slot {
    read: Side,
    write: Side,
    fd: RawFd,
    generation: u32,
    /// Whether a call to read, to write may succeed, as far as is known.
    ready: [bool; 2],
    /// A short read says nothing, by the last event.
    more: bool,
    watch: Watch,
    /// How many `Io`s have it: more than one if they share a descriptor.
    owners: u16,
    /// How many waits have borrowed it, while nobody owns it.
    borrowers: u16,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// A slot as its users know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SlotKey {
    /// Of what cannot be watched, since it is always ready.
    pub(crate) const NONE: SlotKey = SlotKey { slot: NO_SLOT, generation: 0 };

    fn to_bits(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.slot)
    }

    fn from_bits(key: u64) -> SlotKey {
        SlotKey { slot: key as u32, generation: (key >> 32) as u32 }
    }
}

const GENERATIONS: u32 = (1 << 31) - 1;
const NO_SLOT: u32 = u32::MAX;

/// The slots of a hub and the operating system's poller.
pub(crate) struct Poller {
    poll: Poll,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The slot of each descriptor number, so that borrowed descriptors find one that is there already.
    by_fd: Vec<u32>,
}

impl Poller {
    pub(crate) fn new(poll: Poll) -> Poller {
        Poller { poll, slots: Vec::new(), free: Vec::new(), by_fd: Vec::new() }
    }

    /// Closes what a forked child has of its parent's poller.
    pub(crate) fn close_in_child(self) {
        self.poll.close_in_child();
    }

    /// Registers a descriptor that its owner keeps open until [`forget`](Poller::forget).
    ///
    /// The slot may be there already: waits have borrowed it, or another owner shares the descriptor (an `Io` of an `Arc`). Or an
    /// owner's descriptor was closed, and this one has its number, before this hub was told. All of that is the same: one
    /// more owner, and the kernel is asked anew.
    pub(crate) fn register(&mut self, fd: BorrowedFd<'_>, watch: Watch) -> io::Result<SlotKey> {
        let (key, new) = match self.slot_of_fd(fd) {
            Some(key) => (key, false),
            None => (self.make_slot(fd, watch), true),
        };
        let slot = self.slot(key.slot);
        if slot.watch == Watch::Borrowed {
            slot.watch = watch;
        }
        // Edge-triggered registration tells at once what is ready, so a slot begins with nothing known. What is asked
        // anew for each wait may be tried first.
        slot.ready = [slot.watch == Watch::EachWait; 2];
        slot.more = false;
        let interest = slot.interest();
        if let Err(err) = self.poll.add(fd, key.to_bits(), interest) {
            if new {
                self.drop_slot(key.slot);
            }
            return Err(err);
        }
        // Only now: a number that the kernel refuses may be any.
        let number = fd.as_raw_fd() as usize;
        if self.by_fd.len() <= number {
            self.by_fd.resize(number + 1, NO_SLOT);
        }
        self.by_fd[number] = key.slot;
        let slot = self.slot(key.slot);
        if watch == Watch::Borrowed {
            slot.borrowers += 1;
        } else {
            slot.owners += 1;
        }
        Ok(key)
    }

    fn slot_of_fd(&self, fd: BorrowedFd<'_>) -> Option<SlotKey> {
        let index = *self.by_fd.get(fd.as_raw_fd() as usize)?;
        let slot = self.slots.get(index as usize)?;
        Some(SlotKey { slot: index, generation: slot.generation })
    }

    fn make_slot(&mut self, fd: BorrowedFd<'_>, watch: Watch) -> SlotKey {
        let number = fd.as_raw_fd();
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                read: Side::default(),
                write: Side::default(),
                fd: -1,
                generation: 0,
                ready: [false; 2],
                more: false,
                watch,
                owners: 0,
                borrowers: 0,
            });
            (self.slots.len() - 1) as u32
        });
        let slot = self.slot(index);
        (slot.fd, slot.watch, slot.owners, slot.borrowers) = (number, watch, 0, 0);
        SlotKey { slot: index, generation: slot.generation }
    }

    fn drop_slot(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let number = slot.fd as usize;
        // Wrapped below the bit that the hub's own key has.
        slot.generation = if slot.generation == GENERATIONS - 1 { 0 } else { slot.generation + 1 };
        slot.fd = -1;
        if self.by_fd.get(number) == Some(&index) {
            self.by_fd[number] = NO_SLOT;
        }
        self.free.push(index);
    }

    /// Lets go of a registration; those who still wait look again. `open`: the descriptor stays open, or has duplicates
    /// that do, so the kernel has to be told. Returns who is to be woken.
    pub(crate) fn forget(&mut self, key: SlotKey, open: Option<BorrowedFd<'_>>) -> Vec<Timed> {
        let Some(slot) = self.slot_of(key) else { return Vec::new() };
        let mut waiting = Vec::new();
        for side in [&mut slot.read, &mut slot.write] {
            waiting.extend(side.first.take());
            waiting.extend(side.rest.take().into_iter().flat_map(|rest| *rest));
        }
        // All of them, since nobody knows whose wait each is: those of the other owners wait again.
        if slot.owners > 1 {
            slot.owners -= 1;
            return waiting;
        }
        if let Some(fd) = open {
            // It may be gone from the poller already; then there is nothing to tell.
            let _ = self.poll.delete(fd);
        }
        self.drop_slot(key.slot);
        waiting
    }

    fn slot_of(&mut self, key: SlotKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        (slot.generation == key.generation && slot.fd >= 0).then_some(slot)
    }

    /// The slot of an owned descriptor; its owner keeps the registration, so it is there.
    #[inline]
    fn slot(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// Whether a call is worth trying.
    #[inline]
    pub(crate) fn is_ready(&mut self, index: u32, direction: Direction) -> bool {
        self.slot(index).ready[direction as usize]
    }

    /// Notes that a call said `WouldBlock`, or that a listener has given one connection.
    #[inline]
    pub(crate) fn clear(&mut self, index: u32, direction: Direction) {
        self.slot(index).ready[direction as usize] = false;
    }

    /// Notes that a call on a stream moved less than it was given room for.
    #[inline]
    pub(crate) fn clear_after_short(&mut self, index: u32, direction: Direction) {
        let slot = self.slot(index);
        if crate::sys::HANG_UP_IS_TOLD && !slot.more && slot.watch == Watch::Edge {
            slot.ready[direction as usize] = false;
        }
    }

    /// Whether somebody else waits in that direction, and could look.
    #[inline]
    pub(crate) fn may_pass_on(&self, key: SlotKey, direction: Direction) -> bool {
        self.slots.get(key.slot as usize).is_some_and(|slot| {
            let side = if direction == Direction::Read { &slot.read } else { &slot.write };
            slot.ready[direction as usize] && side.is_waited_for()
        })
    }

    /// Puts a wait into a slot, and asks the kernel where each wait has to. `first`: before those who wait already.
    #[inline]
    pub(crate) fn push(&mut self, index: u32, direction: Direction, waiter: Timed, first: bool) -> io::Result<()> {
        let slot = self.slot(index);
        slot.side(direction).push(waiter, first);
        if slot.watch != Watch::Edge { self.ask(index) } else { Ok(()) }
    }

    /// Takes a wait out of a slot that ended otherwise than by an event.
    pub(crate) fn remove(&mut self, key: SlotKey, direction: Direction, waiter: Timed) {
        if let Some(slot) = self.slot_of(key) {
            slot.side(direction).remove(waiter);
        }
    }

    /// The next who waits in that direction, if the descriptor is still ready: a notification is passed on to it.
    pub(crate) fn pass_on(&mut self, key: SlotKey, direction: Direction) -> Option<Timed> {
        let slot = self.slot_of(key)?;
        if slot.ready[direction as usize] { slot.side(direction).pop() } else { None }
    }

    /// Asks for one event of the directions in which somebody waits.
    fn ask(&mut self, index: u32) -> io::Result<()> {
        let slot = &self.slots[index as usize];
        let interest = slot.interest();
        let key = SlotKey { slot: index, generation: slot.generation };
        // SAFETY: the descriptor is open: its owner forgets the slot first, and a borrowed one is borrowed by its waiters.
        let fd = unsafe { BorrowedFd::borrow_raw(slot.fd) };
        self.poll.modify(fd, key.to_bits(), interest)
    }

    /// Has the next look told once more what the descriptor is ready for, as if it had just become so.
    pub(crate) fn tell_again(&mut self, key: SlotKey) -> io::Result<()> {
        if self.slot_of(key).is_some() { self.ask(key.slot) } else { Ok(()) }
    }

    /// Finds or makes the slot for a descriptor that is only borrowed. True: it is a slot of its owner's.
    pub(crate) fn borrow(&mut self, fd: BorrowedFd<'_>) -> io::Result<(SlotKey, bool)> {
        match self.slot_of_fd(fd) {
            Some(key) if self.slot(key.slot).watch != Watch::Borrowed => Ok((key, true)),
            _ => Ok((self.register(fd, Watch::Borrowed)?, false)),
        }
    }

    /// The end of a borrowed wait; the last one takes the registration away, if nobody owns it meanwhile.
    pub(crate) fn give_back(&mut self, key: SlotKey, fd: BorrowedFd<'_>) {
        let Some(slot) = self.slot_of(key) else { return };
        if slot.watch == Watch::Borrowed {
            slot.borrowers -= 1;
            if slot.borrowers == 0 {
                self.forget(key, Some(fd));
            }
        }
    }

    /// Asks the kernel what has happened, and hands out those whose waits that ends; `ready` says whether it was so.
    pub(crate) fn poll(&mut self, timeout: Option<Duration>, mut ready: impl FnMut(Timed) -> bool) {
        let count = self.poll.wait(timeout).unwrap_or_else(|err| {
            // There is nothing that the hub could do without it, and nobody whom an unwind would help.
            let _ = writeln!(io::stderr(), "greenlet: the poller failed: {err}");
            std::process::abort()
        });
        for index in 0..count {
            let event = self.poll.event(index);
            if event.key != WAKE_KEY {
                self.dispatch(event, &mut ready);
            }
        }
    }

    fn dispatch(&mut self, event: Event, ready: &mut impl FnMut(Timed) -> bool) {
        let key = SlotKey::from_bits(event.key);
        let Some(slot) = self.slot_of(key) else { return };
        slot.more = event.more;
        let all = slot.watch == Watch::Borrowed;
        let sides = [(&mut slot.read, event.readable), (&mut slot.write, event.writable)];
        for ((side, is_ready), bit) in sides.into_iter().zip(&mut slot.ready) {
            if is_ready {
                *bit = true;
                // Borrowers only wait and cannot pass it on: all of them look. Of the users of an owned descriptor the first
                // does whose wait is not over already.
                while let Some(waiter) = side.pop() {
                    if ready(waiter) && !all {
                        break;
                    }
                }
            }
        }
        if slot.watch != Watch::Edge && (slot.read.is_waited_for() || slot.write.is_waited_for()) {
            // The one event is used up and others still wait. Should the kernel refuse, they have to look for themselves.
            if self.ask(key.slot).is_err() {
                let slot = self.slot(key.slot);
                while let Some(waiter) = slot.read.pop().or_else(|| slot.write.pop()) {
                    ready(waiter);
                }
            }
        }
    }
}

impl Slot {
    /// What the kernel is to be asked for.
    fn interest(&self) -> Interest {
        match self.watch {
            Watch::Edge => Interest::Edge,
            Watch::EachWait | Watch::Borrowed => {
                Interest::Once { read: self.read.is_waited_for(), write: self.write.is_waited_for() }
            }
        }
    }

    #[inline]
    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

impl Side {
    #[inline]
    fn push(&mut self, waiter: Timed, first: bool) {
        if self.first.is_none() {
            self.first = Some(waiter);
        } else {
            self.push_further(waiter, first);
        }
    }

    #[cold]
    fn push_further(&mut self, waiter: Timed, first: bool) {
        if first && let Some(second) = self.first.take() {
            self.rest.get_or_insert_default().push_front(second);
        }
        if self.first.is_none() {
            self.first = Some(waiter);
        } else {
            self.rest.get_or_insert_default().push_back(waiter);
        }
    }

    fn pop(&mut self) -> Option<Timed> {
        let first = self.first.take()?;
        self.first = self.rest.as_mut().and_then(|rest| rest.pop_front());
        Some(first)
    }

    fn remove(&mut self, waiter: Timed) {
        let same = |other: &Timed| other.block == waiter.block && other.number == waiter.number;
        if self.first.as_ref().is_some_and(same) {
            self.pop();
        } else if let Some(rest) = &mut self.rest {
            rest.retain(|other| !same(other));
        }
    }

    fn is_waited_for(&self) -> bool {
        self.first.is_some()
    }
}
