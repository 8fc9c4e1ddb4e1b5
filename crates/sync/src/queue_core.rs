//! The waiting that all queues share, whatever the order of their items.
//!
//! There is one short lock, and a put or a get that need not wait is one section of it. No user's code may run in there: an item's `Ord`
//! or `Clone` may panic, wait, or take long. Before such code runs, the items are *lent* out of the state, and they are given back after it.
//! Who comes meanwhile waits for that, by the hub, as for a lock; so an `Ord` that only compares delays nobody by more than a switch, and one
//! that waits makes the others wait, but spins no processor and loses nothing. If it panics, the items are given back
//! as they were ([`Heap`](crate::heap::Heap) compares before it changes anything).

use std::fmt;
use std::time::Instant;

use greenlet_hub::{Claim, Outcome, Reason, ShortGuard, ShortLock, Wait, WaitQueue, Waiter};

use crate::const_fn::const_unless_loom;
use crate::errors::{Shutdown, TooManyDone, TryGetError, TryPutError};
use crate::grants::{Grants, Turn};
use crate::storage::Storage;

pub(crate) struct Core<S> {
    state: ShortLock<State<S>>,
    /// `usize::MAX`: unbounded.
    capacity: usize,
}

struct State<S> {
    /// None while they are lent.
    items: Option<S>,
    /// How many there are, also while they are lent.
    len: usize,
    getters: Grants,
    putters: Grants,
    /// Items that were put, less the calls of `task_done`.
    unfinished: usize,
    joiners: WaitQueue,
    /// Those who wait until the items are given back.
    borrowers: WaitQueue,
    shut_down: Option<Shutdown>,
}

type Guard<'a, S> = ShortGuard<'a, State<S>>;

/// What a getter finds.
enum Found<'a, S: Storage> {
    Item(S::Item),
    ShutDown,
    Nothing(Guard<'a, S>),
}

/// What becomes of an item.
enum Placed<'a, S: Storage> {
    InTheQueue,
    ShutDown(S::Item),
    Full(Guard<'a, S>, S::Item),
}

/// For what somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Get,
    Put,
}

impl<S> Core<S> {
    const_unless_loom! {
        /// One that holds no items yet.
        pub(crate) fn new(items: S, capacity: usize) -> Core<S> {
            assert!(capacity > 0, "a queue has room for one item at the least; see `Channel`");
            Core {
                state: ShortLock::new(State {
                    items: Some(items),
                    len: 0,
                    getters: Grants::new(),
                    putters: Grants::new(),
                    unfinished: 0,
                    joiners: WaitQueue::new(),
                    borrowers: WaitQueue::new(),
                    shut_down: None,
                }),
                capacity,
            }
        }
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().len
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.state.lock().shut_down.is_some()
    }

    /// How many items there are, or how much room.
    #[inline(always)]
    fn free(&self, state: &State<S>, side: Side) -> usize {
        match side {
            Side::Get => state.len,
            Side::Put => self.capacity - state.len,
        }
    }

    /// One who was woken in that turn takes nothing: the next one looks.
    #[cold]
    pub(crate) fn decline(&self, side: Side, turn: Turn) {
        let mut state = self.state.lock();
        let free = self.free(&state, side);
        let claim = state.side(side).decline(free, turn);
        drop(state);
        drop(claim);
    }

    /// What the `Debug` of a queue prints.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let (len, shut_down) = {
            let state = self.state.lock();
            (state.len, state.shut_down)
        };
        (f.debug_struct(name).field("len", &len).field("capacity", &self.capacity()))
            .field("shut_down", &shut_down)
            .finish()
    }

    // ---- for those who wait for other things too ----

    /// Whether one who has not waited would find an item, or room, or that it was shut down.
    pub(crate) fn is_ready(&self, side: Side) -> bool {
        let mut state = self.state.lock();
        let free = self.free(&state, side);
        state.shut_down.is_some() || state.side(side).available(free) > 0
    }

    pub(crate) fn subscribe(&self, side: Side, waiter: &Waiter, again: bool) {
        self.state.lock().side(side).push_select(waiter.clone(), again);
    }

    // ---- tasks ----

    pub(crate) fn task_done(&self) -> Result<(), TooManyDone> {
        let mut state = self.state.lock();
        state.unfinished = state.unfinished.checked_sub(1).ok_or(TooManyDone)?;
        let joiners = state.joiners_if_done();
        drop(state);
        joiners.notify_all();
        Ok(())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.lock().unfinished == 0
    }

    pub(crate) fn subscribe_join(&self, waiter: &Waiter) {
        self.state.lock().joiners.push_back(waiter.clone());
    }

    pub(crate) fn join(&self, deadline: impl FnOnce() -> Option<Instant>) -> bool {
        let mut state = self.state.lock();
        if state.unfinished == 0 {
            return true;
        }
        let wait = Wait::begin(const { Reason::new("a queue's items to be done") });
        state.joiners.push_back(wait.waiter());
        drop(state);
        // Once is enough: all were done then, whatever has been put since.
        wait.notified(deadline()) || self.is_done()
    }
}

impl<S: Storage> Core<S> {
    #[inline(always)]
    pub(crate) fn put(
        &self,
        item: S::Item,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<(), TryPutError<S::Item>> {
        let mut looking = Looking::new(self, Side::Put);
        let mut item = item;
        let mut deadline = Some(deadline);
        let mut until = None;
        let mut last = false;
        loop {
            let mut state = match self.place(self.enter(), item, &mut looking) {
                Placed::InTheQueue => return Ok(()),
                Placed::ShutDown(item) => return Err(TryPutError::ShutDown(item)),
                Placed::Full(state, back) => {
                    item = back;
                    state
                }
            };
            if last {
                drop(state);
                return Err(TryPutError::Full(item));
            }
            let wait = Wait::begin(const { Reason::new("room in a queue") });
            state.putters.push(wait.waiter(), looking.turn);
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
                    // Here, where it may panic.
                    drop(item);
                    interrupted.raise()
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn try_put(&self, item: S::Item) -> Result<(), TryPutError<S::Item>> {
        self.try_place(self.enter(), item)
    }

    /// As [`try_put`](Core::try_put), but while the items are lent it does not wait, and finds the queue full.
    pub(crate) fn put_at_once(&self, item: S::Item) -> Result<(), TryPutError<S::Item>> {
        match self.enter_at_once() {
            Some(state) => self.try_place(state, item),
            None => Err(TryPutError::Full(item)),
        }
    }

    #[inline(always)]
    fn try_place<'a>(&'a self, state: Guard<'a, S>, item: S::Item) -> Result<(), TryPutError<S::Item>> {
        match self.place(state, item, &mut Looking::new(self, Side::Put)) {
            Placed::InTheQueue => Ok(()),
            Placed::ShutDown(item) => Err(TryPutError::ShutDown(item)),
            Placed::Full(state, item) => {
                drop(state);
                Err(TryPutError::Full(item))
            }
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<S::Item, TryGetError> {
        self.wait_for_item::<TakeFirst>(deadline)
    }

    #[inline(always)]
    pub(crate) fn try_get(&self) -> Result<S::Item, TryGetError> {
        self.try_find(self.enter())
    }

    /// As [`try_get`](Core::try_get), but while the items are lent it does not wait, and finds the queue empty.
    pub(crate) fn get_at_once(&self) -> Result<S::Item, TryGetError> {
        self.enter_at_once().map_or(Err(TryGetError::Empty), |state| self.try_find(state))
    }

    #[inline(always)]
    fn try_find<'a>(&'a self, state: Guard<'a, S>) -> Result<S::Item, TryGetError> {
        match self.find(state, &mut Looking::new(self, Side::Get)) {
            Found::Item(item) => Ok(item),
            Found::ShutDown => Err(TryGetError::ShutDown),
            Found::Nothing(_) => Err(TryGetError::Empty),
        }
    }

    pub(crate) fn peek(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<S::Item, TryGetError>
    where
        S::Item: Clone,
    {
        self.wait_for_item::<CopyFirst>(deadline)
    }

    pub(crate) fn try_peek(&self) -> Result<S::Item, TryGetError>
    where
        S::Item: Clone,
    {
        match self.copy(&mut Looking::new(self, Side::Get)) {
            Found::Item(item) => Ok(item),
            Found::ShutDown => Err(TryGetError::ShutDown),
            Found::Nothing(_) => Err(TryGetError::Empty),
        }
    }

    #[inline(always)]
    fn wait_for_item<L: Look<S>>(&self, deadline: impl FnOnce() -> Option<Instant>) -> Result<S::Item, TryGetError> {
        let mut looking = Looking::new(self, Side::Get);
        let mut deadline = Some(deadline);
        let mut until = None;
        let mut last = false;
        loop {
            let mut state = match L::look(self, &mut looking) {
                Found::Item(item) => return Ok(item),
                Found::ShutDown => return Err(TryGetError::ShutDown),
                Found::Nothing(_) if last => return Err(TryGetError::Empty),
                Found::Nothing(state) => state,
            };
            let wait = Wait::begin(const { Reason::new("an item of a queue") });
            state.getters.push(wait.waiter(), looking.turn);
            drop(state);
            if let Some(deadline) = deadline.take() {
                until = deadline();
            }
            match wait.until(until) {
                Outcome::Notified => looking.was_notified(),
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

    pub(crate) fn shutdown(&self, how: Shutdown) {
        let mut state = self.state.lock();
        if state.shut_down != Some(Shutdown::Immediate) {
            state.shut_down = Some(how);
        }
        // If they are lent, whoever gives them back does this.
        let drained = state.drain_if_shut_down();
        let getters = state.getters.wake_all();
        let putters = state.putters.wake_all();
        drop(state);
        drop(getters);
        drop(putters);
        drop(drained);
    }

    // ---- one try each ----

    #[inline(always)]
    fn place<'a>(&'a self, mut state: Guard<'a, S>, item: S::Item, looking: &mut Looking<'_, S>) -> Placed<'a, S> {
        looking.is_woken = false;
        let room = self.free(&state, Side::Put);
        let admitted = state.putters.admits(room, looking.turn);
        if state.shut_down.is_some() {
            drop(state);
            return Placed::ShutDown(item);
        }
        if !admitted {
            return Placed::Full(state, item);
        }
        if S::RUNS_USER_CODE {
            let mut lent = self.lend(state);
            lent.items().push(item);
            drop(lent.give_back(State::count_put));
        } else {
            state.items().push(item);
            let claim = state.count_put();
            drop(state);
            drop(claim);
        }
        Placed::InTheQueue
    }

    #[inline(always)]
    fn find<'a>(&'a self, mut state: Guard<'a, S>, looking: &mut Looking<'_, S>) -> Found<'a, S> {
        looking.is_woken = false;
        let len = state.len;
        let admitted = state.getters.admits(len, looking.turn);
        // Once nobody waits any more nothing is kept for anybody.
        if !admitted && (state.shut_down.is_none() || len == 0) {
            return nothing(state);
        }
        let capacity = self.capacity;
        if S::RUNS_USER_CODE {
            let mut lent = self.lend(state);
            let item = lent.items().pop();
            drop(lent.give_back(|state| state.count_get(capacity)));
            item.map_or(Found::ShutDown, Found::Item)
        } else {
            let Some(item) = state.items().pop() else { return nothing(state) };
            let claim = state.count_get(capacity);
            drop(state);
            drop(claim);
            Found::Item(item)
        }
    }

    fn copy(&self, looking: &mut Looking<'_, S>) -> Found<'_, S>
    where
        S::Item: Clone,
    {
        let mut state = self.enter();
        if state.len == 0 {
            looking.is_woken = false;
            // Makes the promise void that there may have been.
            let _ = state.getters.admits(0, looking.turn);
            return nothing(state);
        }
        // One who was woken for it leaves it to the next: `looking` is still woken.
        let mut lent = self.lend(state);
        let item = lent.items().first().cloned();
        drop(lent);
        item.map_or(Found::ShutDown, Found::Item)
    }

    /// Locks the state, with the items in it.
    #[inline(always)]
    fn enter(&self) -> Guard<'_, S> {
        let state = self.state.lock();
        if state.items.is_some() { state } else { self.enter_when_given_back(state) }
    }

    /// As [`enter`](Core::enter), but for one who must not wait; none while the items are lent.
    fn enter_at_once(&self) -> Option<Guard<'_, S>> {
        let state = self.state.lock();
        state.items.is_some().then_some(state)
    }

    #[cold]
    #[inline(never)]
    fn enter_when_given_back<'a>(&'a self, mut state: Guard<'a, S>) -> Guard<'a, S> {
        while state.items.is_none() {
            let wait = Wait::begin(const { Reason::new("the end of a comparison in a queue") });
            state.borrowers.push_back(wait.waiter());
            drop(state);
            wait.notified(None);
            state = self.state.lock();
        }
        state
    }

    fn lend<'a>(&'a self, mut state: Guard<'a, S>) -> Lent<'a, S> {
        Lent { items: state.items.take(), core: self }
    }
}

fn nothing<S: Storage>(state: Guard<'_, S>) -> Found<'_, S> {
    if state.shut_down.is_some() { Found::ShutDown } else { Found::Nothing(state) }
}

impl<S> State<S> {
    #[inline(always)]
    fn side(&mut self, side: Side) -> &mut Grants {
        match side {
            Side::Get => &mut self.getters,
            Side::Put => &mut self.putters,
        }
    }

    #[inline(always)]
    fn items(&mut self) -> &mut S {
        self.items.as_mut().expect("only `enter` gives a state whose items may be touched")
    }

    /// One item more.
    #[inline(always)]
    fn count_put(&mut self) -> Option<Claim> {
        self.len += 1;
        self.unfinished += 1;
        self.getters.grant(self.len)
    }

    /// One item less.
    #[inline(always)]
    fn count_get(&mut self, capacity: usize) -> Option<Claim> {
        self.len -= 1;
        self.putters.grant(capacity - self.len)
    }

    fn joiners_if_done(&mut self) -> WaitQueue {
        if self.unfinished == 0 { self.joiners.take() } else { WaitQueue::new() }
    }
}

impl<S: Storage> State<S> {
    /// The items of a queue that was shut down at once, to be dropped without the lock.
    fn drain_if_shut_down(&mut self) -> Option<Drained<S>> {
        if self.shut_down != Some(Shutdown::Immediate) {
            return None;
        }
        let items = self.items.as_mut()?.take();
        self.len = 0;
        // They count as done. A `task_done` for one that was never got may have been there already.
        self.unfinished = self.unfinished.saturating_sub(items.len());
        let joiners = self.joiners_if_done();
        Some(Drained { _items: items, joiners })
    }
}

/// Items that nobody will get; dropped without the lock.
struct Drained<S> {
    _items: S,
    joiners: WaitQueue,
}

impl<S> Drop for Drained<S> {
    fn drop(&mut self) {
        self.joiners.take().notify_all();
    }
}

/// The items, while a user's code is at them.
struct Lent<'a, S: Storage> {
    core: &'a Core<S>,
    items: Option<S>,
}

impl<S: Storage> Lent<'_, S> {
    fn items(&mut self) -> &mut S {
        self.items.as_mut().expect("they are given back once")
    }

    fn give_back<R>(mut self, count: impl FnOnce(&mut State<S>) -> R) -> Option<R> {
        let items = self.items.take();
        self.put_back(items, count)
    }

    fn put_back<R>(&self, items: Option<S>, count: impl FnOnce(&mut State<S>) -> R) -> Option<R> {
        let mut state = self.core.state.lock();
        state.items = Some(items?);
        let result = count(&mut state);
        let drained = state.drain_if_shut_down();
        let borrowers = state.borrowers.take();
        drop(state);
        borrowers.notify_all();
        drop(drained);
        Some(result)
    }
}

impl<S: Storage> Drop for Lent<'_, S> {
    fn drop(&mut self) {
        // After a panic, with nothing changed: who was let in and has taken nothing leaves that to the next.
        if let Some(items) = self.items.take() {
            let capacity = self.core.capacity;
            drop(self.put_back(Some(items), |state| {
                let len = state.len;
                [state.getters.grant(len), state.putters.grant(capacity - len)]
            }));
        }
    }
}

/// What one does who waits for an item. A trait and not a closure, which could not be told to be inlined: it would be a frame more
/// in the loop around a switch.
trait Look<S: Storage> {
    fn look<'a>(core: &'a Core<S>, looking: &mut Looking<'a, S>) -> Found<'a, S>;
}

struct TakeFirst;

impl<S: Storage> Look<S> for TakeFirst {
    #[inline(always)]
    fn look<'a>(core: &'a Core<S>, looking: &mut Looking<'a, S>) -> Found<'a, S> {
        core.find(core.enter(), looking)
    }
}

struct CopyFirst;

impl<S: Storage<Item: Clone>> Look<S> for CopyFirst {
    fn look<'a>(core: &'a Core<S>, looking: &mut Looking<'a, S>) -> Found<'a, S> {
        core.copy(looking)
    }
}

/// One who gets or puts, from try to try. If he leaves after he was woken, another one looks.
struct Looking<'a, S> {
    core: &'a Core<S>,
    side: Side,
    turn: Turn,
    is_woken: bool,
}

impl<'a, S> Looking<'a, S> {
    #[inline(always)]
    fn new(core: &'a Core<S>, side: Side) -> Looking<'a, S> {
        Looking { core, side, turn: Turn::First, is_woken: false }
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

impl<S> Drop for Looking<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_woken {
            self.core.decline(self.side, self.turn);
        }
    }
}
