//! The one primitive: a [`Wait`] of the running greenlet, and the [`Waiter`]s that can end it.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use crate::block::{BlockRef, HubRef};
use crate::hub::Hub;
use crate::word::{Ended, State};

/// What a greenlet waits for, as dumps and the deadlock report print it.
///
/// # Examples
///
/// ```
/// use greenlet_hub::Reason;
///
/// assert_eq!(Reason::new("event").to_string(), "event");
/// assert_eq!(Reason::with_number("read of descriptor", 7).to_string(), "read of descriptor 7");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    text: &'static str,
    number: Option<u32>,
}

impl Reason {
    /// A reason that is told by its name.
    pub const fn new(text: &'static str) -> Reason {
        Reason { text, number: None }
    }

    /// A reason with the number of the thing, such as a descriptor.
    pub const fn with_number(text: &'static str, number: u32) -> Reason {
        Reason { text, number: Some(number) }
    }
}

/// A reason that changes, field by field: as a whole it would be written in pieces and read in one, for which the processor waits.
#[derive(Default)]
pub(crate) struct ReasonCell {
    text: Cell<&'static str>,
    number: Cell<Option<u32>>,
}

impl ReasonCell {
    #[inline(always)]
    pub(crate) fn set(&self, reason: Reason) {
        self.text.set(reason.text);
        self.number.set(reason.number);
    }

    pub(crate) fn get(&self) -> Reason {
        match self.text.get() {
            "" => Reason::default(),
            text => Reason { text, number: self.number.get() },
        }
    }
}

impl Default for Reason {
    fn default() -> Reason {
        Reason::new("its turn")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)?;
        self.number.map_or(Ok(()), |number| write!(f, " {number}"))
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a wait that was notified and does not use it has to pass it on"]
pub enum Outcome {
    /// By [`Waiter::notify`].
    Notified,
    /// By its deadline.
    TimedOut,
    /// The greenlet is to unwind. The caller puts right what it must, then calls [`Interrupted::raise`].
    Interrupted(Interrupted),
}

/// The duty to unwind: see [`Outcome::Interrupted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    notified: bool,
    // Not `Send`: the interrupt is that of the running greenlet.
    marker: PhantomData<*mut ()>,
}

impl Interrupted {
    pub(crate) fn new(notified: bool) -> Interrupted {
        Interrupted { notified, marker: PhantomData }
    }

    /// Whether a notification came as well, which is then for somebody else.
    pub fn was_notified(&self) -> bool {
        self.notified
    }

    /// Unwinds the running greenlet.
    ///
    /// # Panics
    ///
    /// Always: that is what it is for. The panic hook is not called; but a deadlock, and a wait inside [`no_switch`](crate::no_switch()), are
    /// ordinary panics.
    pub fn raise(self) -> ! {
        Hub::here().raise()
    }
}

/// One wait of the running greenlet (or of a thread's own stack), begun but not yet slept.
///
/// # Examples
///
/// A one-shot gate between threads:
///
/// ```
/// use greenlet_hub::{Outcome, Reason, Wait};
///
/// let wait = Wait::begin(Reason::new("gate"));
/// let waiter = wait.waiter();
/// let opener = std::thread::spawn(move || waiter.notify());
/// assert_eq!(wait.until(None), Outcome::Notified);
/// assert!(opener.join().unwrap());
/// ```
///
/// It is the wait of the greenlet that began it, so only its waiters go elsewhere:
///
/// ```compile_fail,E0277
/// use greenlet_hub::{HubPool, Reason, Wait};
///
/// let wait = Wait::begin(Reason::new("gate"));
/// HubPool::global().spawn(move || wait.notified(None));
/// ```
#[must_use = "a wait does nothing until `until` is called"]
pub struct Wait {
    number: u64,
    /// Whose wait it is, to be compared only: the greenlet may have ended, and the wait been kept somewhere.
    greenlet: HubRef,
    // Not `Send`: it is the wait of the greenlet that began it.
    marker: PhantomData<*mut ()>,
}

impl Wait {
    /// Begins a wait. From here on it can be notified; one that is dropped is over.
    ///
    /// A greenlet has one wait at a time: any other wait that it begins, by whatever call, ends this one.
    ///
    /// This may be called with a [`ShortLock`](crate::ShortLock) held: it does not panic, nor run anybody's code.
    #[inline]
    pub fn begin(reason: Reason) -> Wait {
        let hub = Hub::here();
        let begun = hub.begin_wait(reason);
        Wait { number: begun.number, greenlet: begun.block, marker: PhantomData }
    }

    /// What can end this wait, to be left where that will happen.
    ///
    /// # Panics
    ///
    /// If the wait is another greenlet's, or the greenlet has begun another since.
    #[inline]
    pub fn waiter(&self) -> Waiter {
        let hub = Hub::here();
        if !self.is_the_last_of(hub) {
            not_the_last();
        }
        Waiter::new(BlockRef::from_hub(&hub.current()), self.number)
    }

    /// Waits until the wait is notified, the deadline has come, or the greenlet is interrupted.
    ///
    /// A deadline in the past ends the wait at the hub's next look at its timers, after descriptors. Inside
    /// [`no_switch`](crate::no_switch()) the greenlet is as good as interrupted, so that what it was granted meanwhile is passed on
    /// before [`raise`](Interrupted::raise) panics.
    ///
    /// # Panics
    ///
    /// If the wait is another greenlet's, or the greenlet has begun another since.
    // Always inlined: a frame between the caller and the switch costs more than the switch. See ARCHITECTURE.md.
    #[inline(always)]
    pub fn until(self, deadline: Option<Instant>) -> Outcome {
        let hub = Hub::here();
        if !self.is_the_last_of(hub) {
            not_the_last();
        }
        // Over, once it returns; if it panics, `drop` takes it back.
        let outcome = hub.wait(self.number, deadline);
        std::mem::forget(self);
        outcome
    }

    /// Waits as [`until`](Wait::until), and unwinds at once when interrupted: true if it was notified, false at the deadline.
    ///
    /// For waits whose notification carries nothing that could be lost.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](crate::no_switch()), and to unwind.
    #[inline]
    pub fn notified(self, deadline: Option<Instant>) -> bool {
        match self.until(deadline) {
            Outcome::Notified => true,
            Outcome::TimedOut => false,
            Outcome::Interrupted(interrupted) => interrupted.raise(),
        }
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Wait {
    /// Whether it is the running greenlet's, which has begun no other since.
    #[inline]
    fn is_the_last_of(&self, hub: &Hub) -> bool {
        let current = hub.current();
        current == self.greenlet && current.word.number() == self.number
    }
}

#[cold]
fn not_the_last() -> ! {
    panic!("this wait is over: it is another greenlet's, or its greenlet has begun another since")
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Whoever has ended it meanwhile had to do nothing more, since its owner was running.
        let hub = Hub::here();
        if self.is_the_last_of(hub) {
            hub.current().local().waits_soon.set(false);
            hub.current().word.cancel(self.number);
        }
    }
}

/// A handle on one wait, with which anybody, on any thread, can end it.
///
/// Stale waiters are harmless: the notification of a wait that is over does nothing and returns false.
#[derive(Clone)]
pub struct Waiter {
    block: BlockRef,
    number: u64,
}

impl Waiter {
    #[inline]
    pub(crate) fn new(block: BlockRef, number: u64) -> Waiter {
        Waiter { block, number }
    }

    /// Ends the wait; true if it was this call that ended it. Never switches.
    ///
    /// What was to be given to a waiter that returns false has to go to the next one:
    /// `while let Some(waiter) = list.pop_front() { if waiter.notify() { break } }`.
    pub fn notify(&self) -> bool {
        self.end(State::Notified)
    }

    /// Ends the wait as [`notify`](Waiter::notify) does, but leaves it to the claim to make its greenlet ready; `None` if the
    /// wait is over. Never switches.
    ///
    /// So what is given to the waiter can be settled under a lock, and other threads be woken after it.
    #[inline]
    pub fn claim(self) -> Option<Claim> {
        match self.block.word.end(self.number, State::Notified) {
            Ended::Stale => None,
            Ended::Early => Some(Claim { asleep: None }),
            Ended::Asleep => Some(Claim { asleep: Some(self.block) }),
        }
    }

    /// Whether the wait can still be ended; false for good once it is.
    pub fn is_waiting(&self) -> bool {
        self.block.word.is_open(self.number)
    }

    /// The same wait as the poller's slots know it, which do not count it.
    pub(crate) fn timed(&self) -> Timed {
        Timed { block: self.block.hub_ref(), number: self.number }
    }

    pub(crate) fn is_of(&self, hub: &Hub) -> bool {
        self.block.hub() == hub.id()
    }

    pub(crate) fn end(&self, state: State) -> bool {
        match self.block.word.end(self.number, state) {
            Ended::Stale => false,
            Ended::Early => true,
            Ended::Asleep => {
                wake(self.block.clone());
                true
            }
        }
    }
}

impl PartialEq for Waiter {
    /// Whether both are of the same wait.
    fn eq(&self, other: &Waiter) -> bool {
        self.number == other.number && self.block == other.block
    }
}

impl Eq for Waiter {}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Waiter").field("greenlet", &self.block.id).field("number", &self.number))
            .field("is_waiting", &self.is_waiting())
            .finish()
    }
}

/// A wait that was ended by [`Waiter::claim`]. Dropping this makes its greenlet ready: the duty of whoever claimed it.
///
/// To be dropped without a lock held, since that may have to wake another thread.
#[must_use = "the greenlet becomes ready when this is dropped"]
pub struct Claim {
    /// None: its owner runs, and will see it by itself.
    asleep: Option<BlockRef>,
}

impl Drop for Claim {
    #[inline]
    fn drop(&mut self) {
        if let Some(block) = self.asleep.take() {
            wake(block);
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

/// Makes a greenlet ready whose wait the caller has ended while it slept.
#[inline]
pub(crate) fn wake(block: BlockRef) {
    let own = Hub::try_with(|hub| {
        let own = hub.id() == block.hub();
        if own {
            hub.push_ready(block.hub_ref());
        }
        own
    });
    if own != Some(true) {
        wake_elsewhere(block);
    }
}

#[inline(never)]
fn wake_elsewhere(block: BlockRef) {
    match block.shared() {
        Some(shared) => shared.send(crate::shared::Message::Wake(block)),
        // It belongs to no hub, but to an async task.
        None => block.wake_task(),
    }
}

/// A timer's value: the wait that it ends, by number, or the start of a job.
#[derive(Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) block: HubRef,
    /// The number of the wait; 0 for a job that is to start (waits count from 1); `SCOPE` and the number of a scope that is to be unwound.
    pub(crate) number: u64,
}

impl Timed {
    pub(crate) const SCOPE: u64 = 1 << 63;
}
