//! `Channel`: a rendezvous, whose `put` returns when the item has been taken.
//!
//! A putter leaves an *offer*: the item, with the waiter of his wait. A getter takes an offer by claiming that waiter, under the lock: only if
//! the wait had not ended otherwise is the item his. Who is killed or times out takes his item back himself, so exactly one of the
//! two has it. All commitment lies in that one step, which a running getter makes; so it works between two `select!`s as well.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenlet_hub::{Claim, Outcome, Reason, ShortGuard, ShortLock, Wait, Waitable, Waiter};

use crate::const_fn::const_unless_loom;
use crate::errors::{ShutDown, Shutdown, TryGetError, TryPutError};
use crate::future::{TakeAsync, take_async};
use crate::grants::{Grants, Turn};
use crate::select::{Arm, SelectGet, SelectPut};
use crate::time::deadline_after;

/// A channel without capacity: each item is handed from a putter to a getter, and both wait for that.
///
/// It is shared by reference, in an `Rc` or an `Arc`. Putters and getters are served in the order in which they came. Like gevent's `Channel`
/// and Go's unbuffered channels.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_sync::Channel;
/// use std::rc::Rc;
///
/// let channel = Rc::new(Channel::new());
/// let sender = spawn({
///     let channel = Rc::clone(&channel);
///     move || channel.put("hello")
/// });
/// assert_eq!(channel.get(), Ok("hello"));
/// assert_eq!(sender.join().unwrap(), Ok(()));
/// ```
pub struct Channel<T> {
    state: ShortLock<State<T>>,
    /// Also outside of the lock, so that a putter whose offer was taken need not lock to know that it was not a shutdown.
    shut_down: AtomicBool,
}

struct State<T> {
    /// With ascending numbers.
    offers: VecDeque<Offer<T>>,
    /// Offers that were found to be over, or were rejected by a shutdown; each until its putter takes it back. Ascending as well.
    given_up: VecDeque<Offer<T>>,
    next_offer: u64,
    getters: Grants,
    shut_down: bool,
}

struct Offer<T> {
    number: u64,
    item: T,
    /// None: from `try_put`, which has not waited.
    putter: Option<Waiter>,
}

/// What a getter finds.
enum Found<'a, T> {
    Item(T),
    ShutDown,
    Nothing(ShortGuard<'a, State<T>>),
}

impl<T> Channel<T> {
    const_unless_loom! {
        /// A channel. Allocates nothing.
        pub fn new() -> Channel<T> {
            Channel {
                state: ShortLock::new(State {
                    offers: VecDeque::new(),
                    given_up: VecDeque::new(),
                    next_offer: 0,
                    getters: Grants::new(),
                    shut_down: false,
                }),
                shut_down: AtomicBool::new(false),
            }
        }
    }

    /// Waits until a getter has taken the item. Always switches.
    ///
    /// If the greenlet is interrupted meanwhile, the item is dropped, unless it was taken already.
    ///
    /// # Errors
    ///
    /// Gives the item back if the channel is shut down.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::Channel;
    /// use std::rc::Rc;
    ///
    /// let channel = Rc::new(Channel::new());
    /// spawn({ let channel = Rc::clone(&channel); move || channel.get() });
    /// channel.put(1).unwrap();
    /// ```
    #[inline]
    pub fn put(&self, item: T) -> Result<(), ShutDown<T>> {
        match self.offer(item, None) {
            Ok(()) => Ok(()),
            Err(err) => Err(ShutDown(err.into_inner())),
        }
    }

    /// A future that hands an item over, for async tasks of any runtime. Never switches.
    ///
    /// If a getter waits, the item is handed over as by [`try_put`](Channel::try_put); else it is offered from the first poll on, and the
    /// future is ready when a getter has taken it. Dropped before that the offer is taken back, and the item dropped; dropped
    /// after a getter has taken it, the item is the getter's. See [`TakeAsync`] for the rest.
    ///
    /// # Errors
    ///
    /// As [`put`](Channel::put).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{block_on, spawn};
    /// use greenlet_sync::Channel;
    /// use std::rc::Rc;
    ///
    /// let channel = Rc::new(Channel::new());
    /// let getter = spawn({ let channel = Rc::clone(&channel); move || channel.get() });
    /// assert_eq!(block_on(channel.put_async(1)), Ok(()));
    /// assert_eq!(getter.join().unwrap(), Ok(1));
    /// ```
    pub fn put_async(&self, item: T) -> TakeAsync<ChannelPut<'_, T>> {
        take_async(self.select_put(item))
    }

    /// Hands the item over if a getter waits. Never switches.
    ///
    /// The getter has not run yet when this returns. If it is interrupted before it does, the item goes to the next, or stays in the
    /// channel for whoever comes: so much capacity the channel has.
    ///
    /// # Errors
    ///
    /// Gives the item back if nobody waits, or the channel was shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{spawn, yield_now};
    /// use greenlet_sync::{Channel, TryPutError};
    /// use std::rc::Rc;
    ///
    /// let channel = Rc::new(Channel::new());
    /// assert_eq!(channel.try_put(1), Err(TryPutError::Full(1)));
    /// let getter = spawn({ let channel = Rc::clone(&channel); move || channel.get() });
    /// yield_now();
    /// assert_eq!(channel.try_put(1), Ok(()));
    /// assert_eq!(getter.join().unwrap(), Ok(1));
    /// ```
    pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
        let mut state = self.state.lock();
        if state.shut_down {
            return Err(TryPutError::ShutDown(item));
        }
        let Some(claim) = state.grant_one_more() else { return Err(TryPutError::Full(item)) };
        state.push_offer(item, None);
        drop(state);
        drop(claim);
        Ok(())
    }

    /// Waits until a getter has taken the item, at the most for `timeout`. Always switches.
    ///
    /// # Errors
    ///
    /// Gives the item back if nobody has taken it, or the channel is shut down.
    ///
    /// # Panics
    ///
    /// As [`put`](Channel::put).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Channel, TryPutError};
    /// use std::time::Duration;
    ///
    /// assert_eq!(Channel::new().put_timeout(1, Duration::from_millis(1)), Err(TryPutError::Full(1)));
    /// ```
    #[inline]
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), TryPutError<T>> {
        self.offer(item, deadline_after(timeout))
    }

    /// Takes the first item that is offered; waits until one is.
    ///
    /// # Errors
    ///
    /// If the channel is shut down.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted, with nothing taken.
    ///
    /// # Examples
    ///
    /// See [`Channel`].
    #[inline]
    pub fn get(&self) -> Result<T, ShutDown> {
        match self.get_deadline(|| None) {
            Ok(item) => Ok(item),
            Err(_) => Err(ShutDown(())),
        }
    }

    /// A future that takes the first item that is offered, for async tasks of any runtime. Never switches.
    ///
    /// Dropped at any time it has taken nothing. See [`TakeAsync`] for the rest.
    ///
    /// # Errors
    ///
    /// As [`get`](Channel::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{block_on, spawn};
    /// use greenlet_sync::Channel;
    /// use std::rc::Rc;
    ///
    /// let channel = Rc::new(Channel::new());
    /// let sender = spawn({ let channel = Rc::clone(&channel); move || channel.put("hello") });
    /// assert_eq!(block_on(channel.get_async()), Ok("hello"));
    /// assert_eq!(sender.join().unwrap(), Ok(()));
    /// ```
    pub fn get_async(&self) -> TakeAsync<ChannelGet<'_, T>> {
        take_async(self.select_get())
    }

    /// Takes the first item that is offered, if there is one. Never switches.
    ///
    /// # Errors
    ///
    /// If nobody offers one, or the channel was shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Channel, TryGetError};
    ///
    /// assert_eq!(Channel::<u8>::new().try_get(), Err(TryGetError::Empty));
    /// ```
    pub fn try_get(&self) -> Result<T, TryGetError> {
        match self.look(&mut Looking::new(self)) {
            Found::Item(item) => Ok(item),
            Found::ShutDown => Err(TryGetError::ShutDown),
            Found::Nothing(_) => Err(TryGetError::Empty),
        }
    }

    /// Takes the first item that is offered; waits for one, at the most for `timeout`.
    ///
    /// # Errors
    ///
    /// If nobody has offered one, or the channel is shut down.
    ///
    /// # Panics
    ///
    /// As [`get`](Channel::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Channel, TryGetError};
    /// use std::time::Duration;
    ///
    /// assert_eq!(Channel::<u8>::new().get_timeout(Duration::from_millis(1)), Err(TryGetError::Empty));
    /// ```
    #[inline]
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, TryGetError> {
        self.get_deadline(|| deadline_after(timeout))
    }

    /// The items that come until the channel is shut down: an iterator that waits for each.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::{Channel, Shutdown};
    /// use std::rc::Rc;
    ///
    /// let channel = Rc::new(Channel::new());
    /// spawn({
    ///     let channel = Rc::clone(&channel);
    ///     move || {
    ///         (1..=3).for_each(|n| channel.put(n).unwrap());
    ///         channel.shutdown(Shutdown::Graceful);
    ///     }
    /// });
    /// assert_eq!(channel.iter().sum::<i32>(), 6);
    /// ```
    pub fn iter(&self) -> ChannelIter<'_, T> {
        ChannelIter { channel: self }
    }

    /// Ends it: those who wait to put get their items back, those who wait to get are told. Never switches.
    ///
    /// There is nothing in a channel that could still be got, but for what [`try_put`](Channel::try_put) has handed over; with
    /// [`Shutdown::Immediate`] that is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Channel, ShutDown, Shutdown};
    ///
    /// let channel = Channel::new();
    /// channel.shutdown(Shutdown::Graceful);
    /// assert_eq!(channel.put(1), Err(ShutDown(1)));
    /// ```
    pub fn shutdown(&self, how: Shutdown) {
        let mut claims = Vec::new();
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        state.shut_down = true;
        self.shut_down.store(true, Ordering::Release);
        for mut offer in mem::take(&mut state.offers) {
            match offer.putter.take() {
                Some(putter) => {
                    claims.extend(putter.claim());
                    state.given_up.push_back(offer);
                }
                None if how == Shutdown::Immediate => dropped.push(offer),
                None => state.offers.push_back(offer),
            }
        }
        let getters = state.getters.wake_all();
        drop(state);
        drop(claims);
        drop(getters);
        drop(dropped);
    }

    // ---- one try, and the loops around it ----

    #[inline(always)]
    fn get_deadline(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<T, TryGetError> {
        let mut looking = Looking::new(self);
        let mut deadline = Some(deadline);
        let mut until = None;
        let mut last = false;
        loop {
            let mut state = match self.look(&mut looking) {
                Found::Item(item) => return Ok(item),
                Found::ShutDown => return Err(TryGetError::ShutDown),
                Found::Nothing(_) if last => return Err(TryGetError::Empty),
                Found::Nothing(state) => state,
            };
            let wait = Wait::begin(const { Reason::new("an item of a channel") });
            state.getters.push(wait.waiter(), looking.turn);
            drop(state);
            if let Some(deadline) = deadline.take() {
                until = deadline();
            }
            match wait.until(until) {
                Outcome::Notified => looking.was_notified(),
                // What has come in the same turn wins.
                Outcome::TimedOut => {
                    looking.timed_out();
                    last = true;
                }
                Outcome::Interrupted(interrupted) => {
                    if interrupted.was_notified() {
                        looking.was_notified();
                    }
                    drop(looking);
                    interrupted.raise()
                }
            }
        }
    }

    #[inline(always)]
    fn look(&self, looking: &mut Looking<'_, T>) -> Found<'_, T> {
        let mut state = self.state.lock();
        looking.is_woken = false;
        let offers = state.offers.len();
        if state.getters.admits(offers, looking.turn) || state.shut_down {
            while let Some(Offer { number, item, putter }) = state.offers.pop_front() {
                let Some(putter) = putter else { return Found::Item(item) };
                if let Some(claim) = putter.claim() {
                    drop(state);
                    drop(claim);
                    return Found::Item(item);
                }
                // He has given up, but has not run yet.
                state.given_up.push_back(Offer { number, item, putter: None });
            }
            if state.shut_down {
                return Found::ShutDown;
            }
        }
        Found::Nothing(state)
    }

    #[inline(always)]
    fn offer(&self, item: T, deadline: Option<Instant>) -> Result<(), TryPutError<T>> {
        let mut state = self.state.lock();
        if state.shut_down {
            return Err(TryPutError::ShutDown(item));
        }
        let wait = Wait::begin(const { Reason::new("a getter of a channel") });
        let number = state.push_offer(item, Some(wait.waiter()));
        let claim = state.grant();
        drop(state);
        drop(claim);
        match wait.until(deadline) {
            Outcome::Notified if !self.shut_down.load(Ordering::Acquire) => Ok(()),
            Outcome::Notified => match self.take_back(number) {
                Some(item) => Err(TryPutError::ShutDown(item)),
                None => Ok(()),
            },
            Outcome::TimedOut => self.take_back(number).map_or(Ok(()), |item| self.try_put(item)),
            Outcome::Interrupted(interrupted) => {
                // Dropped here, where it may panic.
                drop(self.take_back(number));
                interrupted.raise()
            }
        }
    }

    /// The item of an offer that was not taken.
    #[cold]
    fn take_back(&self, number: u64) -> Option<T> {
        let mut state = self.state.lock();
        let offer = take_offer(&mut state.offers, number).or_else(|| take_offer(&mut state.given_up, number));
        drop(state);
        offer.map(|offer| offer.item)
    }

    /// One who was woken in that turn does not take: the next one looks.
    #[cold]
    fn decline(&self, turn: Turn) {
        let mut state = self.state.lock();
        let offers = state.offers.len();
        let claim = state.getters.decline(offers, turn);
        drop(state);
        drop(claim);
    }

    fn is_offered(&self, own: Option<&Waiter>) -> bool {
        let state = self.state.lock();
        state.shut_down
            || state.getters.available(state.offers.len()) > 0
                && (state.offers.iter())
                    .any(|offer| offer.putter.as_ref().is_none_or(|it| Some(it) != own && it.is_waiting()))
    }
}

impl<T> State<T> {
    #[inline]
    fn push_offer(&mut self, item: T, putter: Option<Waiter>) -> u64 {
        let number = self.next_offer;
        self.next_offer += 1;
        self.offers.push_back(Offer { number, item, putter });
        number
    }

    #[inline]
    fn grant(&mut self) -> Option<Claim> {
        self.getters.grant(self.offers.len())
    }

    /// Claims a getter for an offer that is to come.
    fn grant_one_more(&mut self) -> Option<Claim> {
        self.getters.grant(self.offers.len() + 1)
    }
}

fn take_offer<T>(offers: &mut VecDeque<Offer<T>>, number: u64) -> Option<Offer<T>> {
    let index = offers.binary_search_by_key(&number, |offer| offer.number).ok()?;
    offers.remove(index)
}

/// A getter from try to try. If it leaves after it was woken, another one looks.
struct Looking<'a, T> {
    channel: &'a Channel<T>,
    turn: Turn,
    is_woken: bool,
}

impl<'a, T> Looking<'a, T> {
    #[inline(always)]
    fn new(channel: &'a Channel<T>) -> Looking<'a, T> {
        Looking { channel, turn: Turn::First, is_woken: false }
    }

    #[inline(always)]
    fn was_notified(&mut self) {
        self.turn = self.turn.notified();
        self.is_woken = true;
    }

    /// Nobody has woken him this time, so nothing is promised to him, whatever was before.
    #[inline(always)]
    fn timed_out(&mut self) {
        self.turn = Turn::First;
    }
}

impl<T> Drop for Looking<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_woken {
            self.channel.decline(self.turn);
        }
    }
}

impl<T> Default for Channel<T> {
    fn default() -> Channel<T> {
        Channel::new()
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (offers, is_shut_down) = (state.offers.len(), state.shut_down);
        drop(state);
        f.debug_struct("Channel").field("offers", &offers).field("is_shut_down", &is_shut_down).finish_non_exhaustive()
    }
}

impl<'a, T> IntoIterator for &'a Channel<T> {
    type Item = T;
    type IntoIter = ChannelIter<'a, T>;

    fn into_iter(self) -> ChannelIter<'a, T> {
        self.iter()
    }
}

/// The items of a channel, until it is shut down; see [`Channel::iter`].
#[derive(Debug)]
pub struct ChannelIter<'a, T> {
    channel: &'a Channel<T>,
}

impl<T> Iterator for ChannelIter<'_, T> {
    type Item = T;

    /// Waits for the next item.
    fn next(&mut self) -> Option<T> {
        self.channel.get().ok()
    }
}

impl<T> FusedIterator for ChannelIter<'_, T> {}

// ---- select ----

impl<T> Waitable for Channel<T> {
    /// Whether an item is offered, or the channel was shut down.
    fn is_ready(&self) -> bool {
        self.is_offered(None)
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.state.lock().getters.push_select(waiter.clone(), false);
    }

    fn unsubscribe(&self, _: &Waiter) {
        self.decline(Turn::Woken);
    }
}

/// The arm of a `select!` that takes from a [`Channel`].
#[derive(Debug)]
pub struct ChannelGet<'a, T> {
    channel: &'a Channel<T>,
    /// While it is subscribed. An offer with the same waiter is one of the same `select!`, which is not to meet itself.
    own: RefCell<Option<Waiter>>,
    passed_over: Cell<bool>,
}

impl<T> SelectGet for Channel<T> {
    type Arm<'a>
        = ChannelGet<'a, T>
    where
        T: 'a;

    fn select_get(&self) -> ChannelGet<'_, T> {
        ChannelGet { channel: self, own: RefCell::new(None), passed_over: Cell::new(false) }
    }
}

impl<T> Waitable for ChannelGet<'_, T> {
    fn is_ready(&self) -> bool {
        self.channel.is_offered(self.own.borrow().as_ref())
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.channel.state.lock().getters.push_select(waiter.clone(), self.passed_over.replace(true));
        *self.own.borrow_mut() = Some(waiter.clone());
    }

    fn unsubscribe(&self, waiter: &Waiter) {
        *self.own.borrow_mut() = None;
        self.channel.unsubscribe(waiter);
    }
}

impl<T> Arm for ChannelGet<'_, T> {
    type Output = Result<T, ShutDown>;

    fn take(&mut self) -> Option<Result<T, ShutDown>> {
        match self.channel.try_get() {
            Ok(item) => Some(Ok(item)),
            Err(TryGetError::ShutDown) => Some(Err(ShutDown(()))),
            Err(TryGetError::Empty) => None,
        }
    }
}

/// The arm of a `select!` that puts into a [`Channel`].
///
/// Ready if a getter waits, to whom the item is then handed as by [`Channel::try_put`]; else the item is offered until one comes.
pub struct ChannelPut<'a, T> {
    channel: &'a Channel<T>,
    /// None while it is offered, or was taken.
    item: Cell<Option<T>>,
    offered: Cell<Option<u64>>,
    taken: Cell<bool>,
}

impl<T> SelectPut<T> for Channel<T> {
    type Arm<'a>
        = ChannelPut<'a, T>
    where
        T: 'a;

    fn select_put(&self, item: T) -> ChannelPut<'_, T> {
        ChannelPut { channel: self, item: Cell::new(Some(item)), offered: Cell::new(None), taken: Cell::new(false) }
    }
}

impl<T> Waitable for ChannelPut<'_, T> {
    fn is_ready(&self) -> bool {
        // Once it is offered, a getter who takes it says so.
        self.channel.shut_down.load(Ordering::Acquire) || self.taken.get()
    }

    fn subscribe(&self, waiter: &Waiter) {
        let Some(item) = self.item.take() else { return };
        let mut state = self.channel.state.lock();
        // One that was shut down never offers, and `is_ready` says so.
        let (item, claim): (_, Option<Claim>) = if state.shut_down {
            (Some(item), None)
        } else {
            self.offered.set(Some(state.push_offer(item, Some(waiter.clone()))));
            let offers = state.offers.len();
            (None, state.getters.grant_other_than(offers, waiter))
        };
        drop(state);
        drop(claim);
        self.item.set(item);
    }

    fn unsubscribe(&self, _: &Waiter) {
        let Some(number) = self.offered.take() else { return };
        match self.channel.take_back(number) {
            Some(item) => self.item.set(Some(item)),
            None => self.taken.set(true),
        }
    }
}

impl<T> Arm for ChannelPut<'_, T> {
    type Output = Result<(), ShutDown<T>>;

    fn take(&mut self) -> Option<Result<(), ShutDown<T>>> {
        if self.taken.get() {
            return Some(Ok(()));
        }
        match self.channel.try_put(self.item.take()?) {
            Ok(()) => Some(Ok(())),
            Err(TryPutError::ShutDown(item)) => Some(Err(ShutDown(item))),
            Err(TryPutError::Full(item)) => {
                self.item.set(Some(item));
                None
            }
        }
    }

    fn is_committed(&self) -> bool {
        self.taken.get()
    }
}

impl<T> fmt::Debug for ChannelPut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelPut").field("channel", &self.channel).finish_non_exhaustive()
    }
}
