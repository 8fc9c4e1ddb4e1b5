//! Random programs of greenlets that put, get, acquire, wait, give up and kill each other, checked against models that are told of
//! each operation when it returns. No real time is in them: a timeout is zero, or never passes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{Greenlet, JoinError, JoinHandle, killall, sleep, spawn, timeout, yield_now};
use greenlet_sync::{Channel, Condition, LifoQueue, Lock, PriorityQueue, Queue, Semaphore, TryGetError, TryPutError};
use proptest::collection::vec;
use proptest::prelude::*;

const CASES: u32 = if cfg!(debug_assertions) { 1000 } else { 10_000 };
const FAR: Duration = Duration::from_secs(100_000);

/// What a greenlet does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Puts an item that nobody else puts.
    Put(Kind, How),
    Get(Kind, How),
    /// Acquires a permit for good.
    Acquire(How),
    Release,
    /// Acquires a permit, and holds it for so many turns.
    Hold(How, u8),
    Send(How),
    Receive(How),
    /// Locks, and holds the lock for so many turns.
    Lock(How, u8),
    /// Locks, and waits for the condition.
    WaitFor(How),
    Notify(u8),
    Yield,
    /// Kills the greenlet of that number, perhaps itself.
    Kill(usize),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    First,
    Last,
    Least,
}

/// How it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    ForEver,
    Never,
    /// With a timeout of its own: of zero.
    ZeroTimeout,
    /// The same, that never passes.
    FarTimeout,
    /// In a `timeout` of zero.
    InZeroTimeout,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        4 => Just(How::ForEver),
        1 => Just(How::Never),
        1 => Just(How::ZeroTimeout),
        1 => Just(How::FarTimeout),
        1 => Just(How::InZeroTimeout),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::First), Just(Kind::Last), Just(Kind::Least)]
}

/// Steps over queues, or over one of the others: so that they meet.
fn programs() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let queues = prop_oneof![
        3 => (kind(), how()).prop_map(|(kind, how)| Step::Put(kind, how)),
        3 => (kind(), how()).prop_map(|(kind, how)| Step::Get(kind, how)),
        1 => Just(Step::Yield),
        1 => (0..6_usize).prop_map(Step::Kill),
    ];
    let queue = prop_oneof![
        3 => how().prop_map(|how| Step::Put(Kind::First, how)),
        3 => how().prop_map(|how| Step::Get(Kind::First, how)),
        1 => Just(Step::Yield),
        1 => (0..6_usize).prop_map(Step::Kill),
    ];
    let semaphores = prop_oneof![
        2 => how().prop_map(Step::Acquire),
        2 => Just(Step::Release),
        2 => (how(), 0..3_u8).prop_map(|(how, turns)| Step::Hold(how, turns)),
        1 => Just(Step::Yield),
        1 => (0..6_usize).prop_map(Step::Kill),
    ];
    let channels = prop_oneof![
        3 => how().prop_map(Step::Send),
        3 => how().prop_map(Step::Receive),
        1 => Just(Step::Yield),
        1 => (0..6_usize).prop_map(Step::Kill),
    ];
    let locks = prop_oneof![
        2 => (how(), 0..3_u8).prop_map(|(how, turns)| Step::Lock(how, turns)),
        2 => how().prop_map(Step::WaitFor),
        2 => (1..4_u8).prop_map(Step::Notify),
        1 => Just(Step::Yield),
        1 => (0..6_usize).prop_map(Step::Kill),
    ];
    let of = |step: BoxedStrategy<Step>| vec(vec(step, 0..8), 1..7);
    prop_oneof![
        of(queues.clone().boxed()),
        of(queue.boxed()),
        of(semaphores.clone().boxed()),
        of(channels.clone().boxed()),
        of(locks.clone().boxed()),
        of(prop_oneof![queues, semaphores, channels, locks].boxed()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn nothing_is_lost_or_doubled_and_those_who_wait_are_served_in_order(programs in programs()) {
        run(programs);
    }
}

fn run(programs: Vec<Vec<Step>>) {
    // The hub sleeps, so its next look at the timers is as far away as that of any other run of this program.
    sleep(Duration::from_nanos(1));
    let world = Rc::new(World::default());
    let started = programs.into_iter().enumerate().map(|(number, steps)| {
        let world = Rc::clone(&world);
        spawn(move || {
            for step in steps {
                world.turns.set(world.turns.get() + 1);
                world.step(number, step);
            }
        })
    });
    let greenlets: Vec<JoinHandle<()>> = started.collect();
    world.greenlets.replace(greenlets.iter().map(|handle| handle.greenlet().clone()).collect());
    world.rest();
    let (ended, waiting): (Vec<_>, Vec<_>) = greenlets.into_iter().partition(|greenlet| greenlet.is_finished());
    ended.into_iter().for_each(end);
    world.check();
    killall(&waiting, None).unwrap();
    waiting.into_iter().for_each(end);
    world.check();
    world.drain();
}

/// Passes on what failed in there.
fn end(greenlet: JoinHandle<()>) {
    if let Err(JoinError::Panicked(payload)) = greenlet.join() {
        std::panic::resume_unwind(payload);
    }
}

/// An item: the number of the greenlet that puts it, and a number of its own.
type Item = (usize, u64);

#[derive(Default)]
struct World {
    greenlets: RefCell<Vec<Greenlet>>,
    killed: RefCell<BTreeSet<usize>>,
    /// Counts what happens.
    turns: Cell<u64>,
    next_item: Cell<u64>,
    first: Queued<Queue<Item>>,
    last: Queued<LifoQueue<Item>>,
    least: Queued<PriorityQueue<Item>>,
    semaphore: Permits,
    channel: Channelled,
    locks: Locks,
}

impl World {
    fn step(&self, me: usize, step: Step) {
        match step {
            Step::Put(Kind::First, how) => self.put(&self.first, me, how),
            Step::Put(Kind::Last, how) => self.put(&self.last, me, how),
            Step::Put(Kind::Least, how) => self.put(&self.least, me, how),
            Step::Get(Kind::First, how) => self.get(&self.first, me, how),
            Step::Get(Kind::Last, how) => self.get(&self.last, me, how),
            Step::Get(Kind::Least, how) => self.get(&self.least, me, how),
            Step::Acquire(how) => {
                if let Some(permit) = self.acquire(me, how) {
                    permit.permit.forget();
                    std::mem::forget(permit.given_back);
                }
            }
            Step::Release => {
                self.semaphore.free.set(self.semaphore.free.get() + 1);
                self.semaphore.semaphore.release();
            }
            Step::Hold(how, turns) => {
                let permit = self.acquire(me, how);
                (0..turns).for_each(|_| yield_now());
                drop(permit);
            }
            Step::Send(how) => self.send(how, me),
            Step::Receive(how) => self.receive(how, me),
            Step::Lock(how, turns) => self.lock(how, turns, me),
            Step::WaitFor(how) => self.wait_for(how),
            Step::Notify(count) => {
                let notified = self.locks.condition.notify_n(count.into());
                self.locks.notified.set(self.locks.notified.get() + notified);
            }
            Step::Yield => yield_now(),
            Step::Kill(number) => {
                let greenlet = self.greenlets.borrow().get(number).cloned();
                if let Some(greenlet) = greenlet {
                    self.killed.borrow_mut().insert(number);
                    greenlet.kill_nowait().unwrap();
                }
            }
        }
    }

    fn new_item(&self, me: usize) -> Item {
        self.next_item.set(self.next_item.get() + 1);
        (me, self.next_item.get())
    }

    fn put<Q: AnyQueue>(&self, queued: &Queued<Q>, me: usize, how: How) {
        let item = self.new_item(me);
        let mut place = self.enter(&queued.putters, me, how);
        let result = within(how, || match how {
            How::ForEver | How::InZeroTimeout => queued.queue.put(item),
            How::Never => queued.queue.try_put(item),
            How::ZeroTimeout => queued.queue.put_timeout(item, Duration::ZERO),
            How::FarTimeout => queued.queue.put_timeout(item, FAR),
        });
        match result {
            Some(Ok(())) => {
                place.served();
                let mut model = queued.model.borrow_mut();
                Q::place(&mut model, item);
                assert!(model.len() <= Q::CAPACITY, "{model:?} are too many");
            }
            Some(Err(TryPutError::Full(back))) => {
                assert_eq!(back, item);
                assert_ne!(how, How::ForEver);
                assert_ne!(how, How::FarTimeout);
                // What is free is promised to others, if it is.
                drop(place);
                assert!(queued.model.borrow().len() == Q::CAPACITY || !queued.putters.borrow().is_empty());
            }
            Some(Err(err)) => panic!("{err}"),
            None => {}
        }
    }

    fn get<Q: AnyQueue>(&self, queued: &Queued<Q>, me: usize, how: How) {
        let mut place = self.enter(&queued.getters, me, how);
        let result = within(how, || match how {
            How::ForEver | How::InZeroTimeout => queued.queue.get(),
            How::Never => queued.queue.try_get(),
            How::ZeroTimeout => queued.queue.get_timeout(Duration::ZERO),
            How::FarTimeout => queued.queue.get_timeout(FAR),
        });
        match result {
            Some(Ok(item)) => {
                place.served();
                assert_eq!(Some(item), Q::take(&mut queued.model.borrow_mut()));
            }
            Some(Err(err)) => {
                assert_eq!(err, TryGetError::Empty);
                assert_ne!(how, How::ForEver);
                assert_ne!(how, How::FarTimeout);
                drop(place);
                assert!(queued.model.borrow().is_empty() || !queued.getters.borrow().is_empty());
            }
            None => {}
        }
    }

    fn acquire(&self, me: usize, how: How) -> Option<Held<'_>> {
        let Permits { semaphore, free, waiting } = &self.semaphore;
        let mut place = self.enter(waiting, me, how);
        let permit = within(how, || match how {
            How::ForEver | How::InZeroTimeout => Some(semaphore.acquire()),
            How::Never => semaphore.try_acquire(),
            How::ZeroTimeout => semaphore.acquire_timeout(Duration::ZERO),
            How::FarTimeout => semaphore.acquire_timeout(FAR),
        });
        let permit = permit??;
        place.served();
        free.set(free.get().checked_sub(1).expect("there was a permit"));
        Some(Held { permit, given_back: GivenBack(free) })
    }

    fn send(&self, how: How, me: usize) {
        let item = self.new_item(me);
        let channelled = &self.channel;
        channelled.offered.borrow_mut().insert(item);
        let inside = Inside::new(&channelled.senders);
        let result = within(how, || match how {
            How::ForEver | How::InZeroTimeout => channelled.channel.put(item).map_err(TryPutError::from),
            How::Never => channelled.channel.try_put(item),
            How::ZeroTimeout => channelled.channel.put_timeout(item, Duration::ZERO),
            How::FarTimeout => channelled.channel.put_timeout(item, FAR),
        });
        drop(inside);
        match result {
            Some(Ok(())) => drop(channelled.sent.borrow_mut().insert(item)),
            Some(Err(err)) => {
                assert_eq!(err, TryPutError::Full(item));
                assert_ne!(how, How::ForEver);
                assert!(!channelled.received.borrow().contains(&item), "it was taken all the same");
                // From here on nobody may get it.
                channelled.offered.borrow_mut().remove(&item);
            }
            None => {}
        }
    }

    fn receive(&self, how: How, me: usize) {
        let channelled = &self.channel;
        let mut place = self.enter(&channelled.receivers, me, how);
        let result = within(how, || match how {
            How::ForEver | How::InZeroTimeout => channelled.channel.get().map_err(TryGetError::from),
            How::Never => channelled.channel.try_get(),
            How::ZeroTimeout => channelled.channel.get_timeout(Duration::ZERO),
            How::FarTimeout => channelled.channel.get_timeout(FAR),
        });
        match result {
            Some(Ok(item)) => {
                place.served();
                channelled.take(item);
            }
            Some(Err(err)) => {
                assert_eq!(err, TryGetError::Empty);
                assert_ne!(how, How::ForEver);
            }
            None => {}
        }
    }

    fn lock(&self, how: How, turns: u8, me: usize) {
        let locks = &self.locks;
        let mut place = self.enter(&locks.waiting, me, how);
        let guard = within(how, || match how {
            How::ForEver | How::InZeroTimeout => Some(locks.lock.lock()),
            How::Never => locks.lock.try_lock(),
            How::ZeroTimeout => locks.lock.lock_timeout(Duration::ZERO),
            How::FarTimeout => locks.lock.lock_timeout(FAR),
        });
        let Some(Some(mut guard)) = guard else { return };
        place.served();
        drop(place);
        let before = *guard;
        (0..turns).for_each(|_| yield_now());
        *guard += 1;
        assert_eq!(*guard, before + 1, "somebody else had it as well");
    }

    fn wait_for(&self, how: How) {
        let Locks { lock, condition, waiting_for, notified: all, woken, .. } = &self.locks;
        let guard = lock.lock();
        let inside = Listening::new(waiting_for, (all.get(), woken.get()));
        let notified = within(how, || match how {
            How::ForEver | How::InZeroTimeout => {
                drop(condition.wait(guard));
                true
            }
            How::Never => false,
            How::ZeroTimeout => condition.wait_timeout(guard, Duration::ZERO).1,
            How::FarTimeout => condition.wait_timeout(guard, FAR).1,
        });
        drop(inside);
        if notified == Some(true) {
            woken.set(woken.get() + 1);
        }
    }

    /// One comes who may have to wait.
    fn enter<'a>(&'a self, line: &'a RefCell<Vec<Waiting>>, me: usize, how: How) -> Place<'a> {
        self.turns.set(self.turns.get() + 1);
        let came = self.turns.get();
        let is_patient = matches!(how, How::ForEver | How::FarTimeout);
        line.borrow_mut().push(Waiting { me, came, is_patient, was_passed_by: false });
        Place { world: self, line, came, is_patient }
    }

    /// Lets all run until nobody can any more.
    fn rest(&self) {
        let mut before = None;
        while before != Some(self.turns.get()) {
            before = Some(self.turns.get());
            // Enough for several looks at the timers.
            (0..200).for_each(|_| yield_now());
        }
    }

    /// When nobody can go on, nobody waits for what is there.
    fn check(&self) {
        self.first.check();
        self.last.check();
        self.least.check();
        let Permits { semaphore, free, waiting } = &self.semaphore;
        assert_eq!(semaphore.available(), free.get());
        assert!(free.get() == 0 || waiting.borrow().is_empty(), "{} permits are left", free.get());
        let Channelled { receivers, senders, sent, received, .. } = &self.channel;
        assert!(receivers.borrow().is_empty() || senders.get() == 0, "they do not meet");
        // What was handed over by `try_put` may be on its way to nobody.
        assert!(receivers.borrow().is_empty() || sent.borrow().is_subset(&received.borrow()), "an item is lost");
        let Locks { lock, waiting, waiting_for, notified, woken, .. } = &self.locks;
        assert!(!lock.is_locked() && waiting.borrow().is_empty(), "somebody holds the lock, or waits for it");
        assert!(woken.get() <= notified.get());
        // Since the first of them came there was always one to hand a notification on to.
        let since = waiting_for.borrow().first().copied();
        let is_lost = |since: (usize, usize)| notified.get() - since.0 > woken.get() - since.1;
        assert!(!since.is_some_and(is_lost), "a notification is lost");
    }

    /// What is left is what has to be.
    fn drain(&self) {
        self.first.drain();
        self.last.drain();
        self.least.drain();
        let Permits { semaphore, free, .. } = &self.semaphore;
        for _ in 0..free.get() {
            semaphore.try_acquire().expect("it is free").forget();
        }
        assert!(semaphore.try_acquire().is_none());
        while let Ok(item) = self.channel.channel.try_get() {
            self.channel.take(item);
        }
        assert!(self.channel.sent.borrow().is_subset(&self.channel.received.borrow()), "an item is lost");
        assert!(self.locks.lock.try_lock().is_some());
        assert_eq!(self.locks.condition.notify_all(), 0);
    }
}

/// In a `timeout` of zero, if so; `None` if it has passed.
fn within<T>(how: How, f: impl FnOnce() -> T) -> Option<T> {
    if how == How::InZeroTimeout { timeout(Duration::ZERO, f).ok() } else { Some(f()) }
}

// ---- who waits ----

#[derive(Clone, Copy, Debug)]
struct Waiting {
    me: usize,
    came: u64,
    /// Leaves only when he is served or killed.
    is_patient: bool,
    was_passed_by: bool,
}

/// One's place in a line, until he leaves it.
struct Place<'a> {
    world: &'a World,
    line: &'a RefCell<Vec<Waiting>>,
    came: u64,
    is_patient: bool,
}

impl Place<'_> {
    /// He got what he came for: whoever came before and is still there was not to be passed by.
    ///
    /// But those who did not wait, or tried once more as their time ran out, may take what is free. Whom they pass by is handed the next
    /// thing, while another may be on his way to the one that was for him.
    fn served(&mut self) {
        let has_waited = self.world.turns.get() != self.came;
        self.world.turns.set(self.world.turns.get() + 1);
        let killed = self.world.killed.borrow();
        for other in self.line.borrow_mut().iter_mut().filter(|other| other.came != self.came) {
            if !has_waited || !self.is_patient {
                other.was_passed_by = true;
            } else if other.came < self.came && other.is_patient && !other.was_passed_by {
                assert!(killed.contains(&other.me), "{other:?} was before");
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.borrow_mut().retain(|it| it.came != self.came);
    }
}

/// Counts those who are inside.
struct Inside<'a>(&'a Cell<usize>);

impl Inside<'_> {
    fn new(count: &Cell<usize>) -> Inside<'_> {
        count.set(count.get() + 1);
        Inside(count)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One who waits for the condition.
struct Listening<'a>(&'a RefCell<Vec<(usize, usize)>>, (usize, usize));

impl Listening<'_> {
    fn new(all: &RefCell<Vec<(usize, usize)>>, since: (usize, usize)) -> Listening<'_> {
        all.borrow_mut().push(since);
        Listening(all, since)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut all = self.0.borrow_mut();
        let own = all.iter().position(|since| *since == self.1).expect("it was put in");
        all.remove(own);
    }
}

// ---- the primitives, each with its model ----

struct Queued<Q> {
    queue: Q,
    model: RefCell<VecDeque<Item>>,
    getters: RefCell<Vec<Waiting>>,
    putters: RefCell<Vec<Waiting>>,
}

impl<Q: AnyQueue> Default for Queued<Q> {
    fn default() -> Queued<Q> {
        Queued { queue: Q::new(), model: RefCell::default(), getters: RefCell::default(), putters: RefCell::default() }
    }
}

impl<Q: AnyQueue> Queued<Q> {
    fn check(&self) {
        let len = self.model.borrow().len();
        assert_eq!(self.queue.len(), len);
        assert!(len == 0 || self.getters.borrow().is_empty(), "a getter waits, and there are {len} items");
        assert!(len == Q::CAPACITY || self.putters.borrow().is_empty(), "a putter waits, and there are {len} items");
    }

    fn drain(&self) {
        while let Some(item) = Q::take(&mut self.model.borrow_mut()) {
            assert_eq!(self.queue.try_get(), Ok(item));
        }
        assert_eq!(self.queue.try_get(), Err(TryGetError::Empty));
        for number in 0..Q::CAPACITY {
            assert_eq!(self.queue.try_put((0, number as u64)), Ok(()));
        }
        assert!(self.queue.try_put((0, 0)).is_err());
    }
}

trait AnyQueue: fmt::Debug {
    const CAPACITY: usize;

    fn new() -> Self;
    fn put(&self, item: Item) -> Result<(), TryPutError<Item>>;
    fn try_put(&self, item: Item) -> Result<(), TryPutError<Item>>;
    fn put_timeout(&self, item: Item, timeout: Duration) -> Result<(), TryPutError<Item>>;
    fn get(&self) -> Result<Item, TryGetError>;
    fn try_get(&self) -> Result<Item, TryGetError>;
    fn get_timeout(&self, timeout: Duration) -> Result<Item, TryGetError>;
    fn len(&self) -> usize;

    /// What the model does.
    fn place(model: &mut VecDeque<Item>, item: Item) {
        model.push_back(item);
    }
    fn take(model: &mut VecDeque<Item>) -> Option<Item>;
}

macro_rules! any_queue {
    ($($Queue:ident($capacity:literal), $model:ident => $take:expr;)+) => {$(
        impl AnyQueue for $Queue<Item> {
            const CAPACITY: usize = $capacity;

            fn new() -> Self {
                $Queue::bounded($capacity)
            }
            fn put(&self, item: Item) -> Result<(), TryPutError<Item>> {
                Ok($Queue::put(self, item)?)
            }
            fn try_put(&self, item: Item) -> Result<(), TryPutError<Item>> {
                $Queue::try_put(self, item)
            }
            fn put_timeout(&self, item: Item, timeout: Duration) -> Result<(), TryPutError<Item>> {
                $Queue::put_timeout(self, item, timeout)
            }
            fn get(&self) -> Result<Item, TryGetError> {
                Ok($Queue::get(self)?)
            }
            fn try_get(&self) -> Result<Item, TryGetError> {
                $Queue::try_get(self)
            }
            fn get_timeout(&self, timeout: Duration) -> Result<Item, TryGetError> {
                $Queue::get_timeout(self, timeout)
            }
            fn len(&self) -> usize {
                $Queue::len(self)
            }
            fn take($model: &mut VecDeque<Item>) -> Option<Item> {
                $take
            }
        }
    )+};
}

any_queue! {
    Queue(2), model => model.pop_front();
    LifoQueue(1), model => model.pop_back();
    PriorityQueue(3), model => {
        let least = model.iter().min().copied();
        model.retain(|&item| Some(item) != least);
        least
    };
}

struct Permits {
    semaphore: Semaphore,
    free: Cell<usize>,
    waiting: RefCell<Vec<Waiting>>,
}

impl Default for Permits {
    fn default() -> Permits {
        Permits { semaphore: Semaphore::new(1), free: Cell::new(1), waiting: RefCell::default() }
    }
}

/// A permit, and the model's, which is given back before it.
struct Held<'a> {
    given_back: GivenBack<'a>,
    permit: greenlet_sync::Permit<'a>,
}

struct GivenBack<'a>(&'a Cell<usize>);

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[derive(Default)]
struct Channelled {
    channel: Channel<Item>,
    /// What a getter may get.
    offered: RefCell<BTreeSet<Item>>,
    /// Whose `put` has returned.
    sent: RefCell<BTreeSet<Item>>,
    received: RefCell<BTreeSet<Item>>,
    receivers: RefCell<Vec<Waiting>>,
    senders: Cell<usize>,
}

impl Channelled {
    fn take(&self, item: Item) {
        assert!(self.offered.borrow().contains(&item), "{item:?} was taken back");
        assert!(self.received.borrow_mut().insert(item), "{item:?} was doubled");
    }
}

#[derive(Default)]
struct Locks {
    lock: Lock<u64>,
    waiting: RefCell<Vec<Waiting>>,
    condition: Condition,
    /// Of each who waits: how many had been notified and woken when he came.
    waiting_for: RefCell<Vec<(usize, usize)>>,
    notified: Cell<usize>,
    woken: Cell<usize>,
}
