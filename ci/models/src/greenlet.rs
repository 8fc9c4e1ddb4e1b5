//! A greenlet for loom: a thread that can be killed, and whose time can come.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use loom::thread;

use crate::short_lock::ShortLock;
use crate::wait_list::WaitList;
use crate::waiter::Reason;
use crate::word::{Ended, State, WaitWord};

/// The payload of the unwind of a killed greenlet.
pub(crate) struct Killed;

/// What every greenlet has. Std's atomics in it are for the model itself: loom neither orders nor counts them.
pub(crate) struct Block {
    pub(crate) word: WaitWord,
    pub(crate) id: u64,
    /// Its loom thread, from the first run on.
    thread: OnceLock<thread::Thread>,
    /// Only its own thread looks at it.
    shields: AtomicUsize,
    timer: ShortLock<Timer>,
    /// How often it slept, and how often it was made ready.
    pub(crate) slept: AtomicUsize,
    pub(crate) woken: AtomicUsize,
    flags: loom::sync::atomic::AtomicU32,
    joiners: LoomOnce<Joiners>,
    /// That of an async task, which has neither thread nor end.
    waker: Option<ShortLock<Option<Waker>>>,
}

/// A greenlet's clock: its deadlines come when the test says so, all at once.
#[derive(Default)]
struct Timer {
    has_expired: bool,
    /// The number of the wait whose deadline is to come.
    armed: Option<u64>,
}

impl Block {
    fn new() -> Block {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        Block {
            word: WaitWord::new(),
            id: LAST_ID.fetch_add(1, Ordering::Relaxed) + 1,
            thread: OnceLock::new(),
            shields: AtomicUsize::new(0),
            timer: ShortLock::default(),
            slept: AtomicUsize::new(0),
            woken: AtomicUsize::new(0),
            flags: loom::sync::atomic::AtomicU32::new(0),
            joiners: LoomOnce::new(),
            waker: None,
        }
    }

    pub(crate) fn of_task() -> Block {
        Block { waker: Some(ShortLock::new(None)), ..Block::new() }
    }

    pub(crate) fn waker(&self) -> &ShortLock<Option<Waker>> {
        self.waker.as_ref().expect("a task has one")
    }

    pub(crate) fn is_deaf(&self) -> bool {
        self.shields.load(Ordering::Relaxed) > 0
    }

    /// Has the wait with that number end when the greenlet's time comes, which it may have.
    pub(crate) fn arm(&self, number: u64) {
        let has_expired = {
            let mut timer = self.timer.lock();
            timer.armed = Some(number);
            timer.has_expired
        };
        if has_expired {
            // A hub fires timers when the greenlet sleeps. Here it has not gone to sleep and will not, which comes to the same.
            self.word.end(number, State::TimedOut);
        }
    }

    pub(crate) fn disarm(&self) {
        self.timer.lock().armed = None;
    }

    /// Sleeps until it is made ready, which happens once.
    pub(crate) fn sleep(&self) {
        self.slept.fetch_add(1, Ordering::Relaxed);
        thread::park();
        assert_eq!(
            self.woken.load(Ordering::Relaxed),
            self.slept.load(Ordering::Relaxed),
            "a greenlet is made ready once for each wait that it sleeps in"
        );
    }

    /// Makes it ready, after its wait was ended while it slept.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            let waker = waker.lock().take();
            return waker.into_iter().for_each(Waker::wake);
        }
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.thread.get().expect("who sleeps has begun to run").unpark();
    }
}

/// A handle on a greenlet.
#[derive(Clone)]
pub struct Greenlet {
    block: Arc<Block>,
}

loom::thread_local! {
    static CURRENT: std::cell::RefCell<Option<Arc<Block>>> = std::cell::RefCell::new(None);
}

/// The greenlet of the loom thread that runs; a thread that is none becomes one.
pub(crate) fn current_block() -> Arc<Block> {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        let block = current.get_or_insert_with(|| Arc::new(Block::new()));
        block.thread.get_or_init(thread::current);
        Arc::clone(block)
    })
}

pub fn current() -> Greenlet {
    Greenlet { block: current_block() }
}

pub fn current_id() -> u64 {
    current_block().id
}

/// Nothing is raised in `f`.
pub fn shield<R>(f: impl FnOnce() -> R) -> R {
    struct Lower(Arc<Block>);

    impl Drop for Lower {
        fn drop(&mut self) {
            self.0.shields.fetch_sub(1, Ordering::Relaxed);
        }
    }

    let block = current_block();
    block.shields.fetch_add(1, Ordering::Relaxed);
    let _lower = Lower(block);
    f()
}

impl Greenlet {
    /// One that does not run yet; it can be killed, and its time can come.
    pub fn new() -> Greenlet {
        Greenlet { block: Arc::new(Block::new()) }
    }

    /// Starts it, on a loom thread of its own. Joining gives what `f` returns, `None` if it was killed.
    pub fn start<T: 'static>(&self, f: impl FnOnce() -> T + 'static) -> thread::JoinHandle<Option<T>> {
        let block = Arc::clone(&self.block);
        thread::spawn(move || run(block, f))
    }

    /// Starts one that nobody needs a handle on.
    pub fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> thread::JoinHandle<Option<T>> {
        Greenlet::new().start(f)
    }

    pub fn id(&self) -> u64 {
        self.block.id
    }

    /// As the hub's `kill_nowait`.
    pub fn kill(&self) {
        if self.block.word.interrupt() {
            self.block.wake();
        }
    }

    /// From now on its waits with a deadline time out.
    pub fn expire(&self) {
        let armed = {
            let mut timer = self.block.timer.lock();
            timer.has_expired = true;
            timer.armed
        };
        if let Some(number) = armed
            && self.block.word.end(number, State::TimedOut) == Ended::Asleep
        {
            self.block.wake();
        }
    }

    /// How many waits it has begun.
    pub fn waits(&self) -> u64 {
        self.block.word.number()
    }

    /// Whether the wait that it began last is still to be ended.
    pub fn is_waiting(&self) -> bool {
        self.block.word.open_number().is_some()
    }

    pub fn is_finished(&self) -> bool {
        self.block.is_done()
    }

    /// As the hub's `join`.
    pub fn wait(&self) {
        while !self.is_finished() {
            let Some(joiners) = self.block.join_list() else { break };
            let _ = joiners.wait(Reason::new("the end of a greenlet"), None, || self.is_finished());
        }
    }

    pub(crate) fn block(&self) -> &Block {
        &self.block
    }
}

/// Runs `f` as that greenlet.
fn run<T>(block: Arc<Block>, f: impl FnOnce() -> T) -> Option<T> {
    block.thread.get_or_init(thread::current);
    CURRENT.with(|current| *current.borrow_mut() = Some(Arc::clone(&block)));
    let result = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Killed>() => None,
        Err(payload) => resume_unwind(payload),
    };
    block.finish();
    result
}

impl fmt::Debug for Greenlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greenlet").field("id", &self.block.id).finish_non_exhaustive()
    }
}

/// For what is written for the hub's handles.
pub struct JoinHandle<T> {
    greenlet: Greenlet,
    marker: std::marker::PhantomData<T>,
}

impl<T> JoinHandle<T> {
    pub fn greenlet(&self) -> &Greenlet {
        &self.greenlet
    }
}

// ---- those who wait for the end, as in the hub's `Block` ----

const DONE: u32 = 1;
const JOINERS: u32 = 8;

#[derive(Default)]
pub(crate) struct Joiners {
    waiting: WaitList,
    links: ShortLock<Vec<Link>>,
}

/// A link: here, a function that may run anywhere.
pub(crate) struct Link {
    number: u64,
    function: Box<dyn FnOnce()>,
}

impl Block {
    pub(crate) fn is_done(&self) -> bool {
        self.flags.load(Ordering::Acquire) & DONE != 0
    }

    pub(crate) fn join_list(&self) -> Option<&WaitList> {
        let flags = self.flags.fetch_or(JOINERS, Ordering::AcqRel);
        (flags & DONE == 0).then(|| &self.joiners.get_or_init().waiting)
    }

    /// False if the end has come and nobody has been told of this link.
    pub(crate) fn add_link(&self, number: u64, function: Box<dyn FnOnce()>) -> bool {
        let flags = self.flags.fetch_or(JOINERS, Ordering::AcqRel);
        if flags & DONE != 0 {
            return false;
        }
        let joiners = self.joiners.get_or_init();
        joiners.links.lock().push(Link { number, function });
        !(self.is_done() && self.remove_link(number))
    }

    pub(crate) fn remove_link(&self, number: u64) -> bool {
        let Some(joiners) = self.joiners.get() else { return false };
        let mut links = joiners.links.lock();
        let place = links.iter().position(|link| link.number == number);
        place.map(|place| links.remove(place)).is_some()
    }

    /// The end: nothing of the user's runs any more.
    fn finish(&self) {
        self.flags.fetch_or(DONE, Ordering::AcqRel);
        self.word.close();
        self.notify_joiners();
    }

    fn notify_joiners(&self) {
        if self.flags.load(Ordering::Acquire) & JOINERS != 0 {
            let joiners = self.joiners.get_or_init();
            let links = mem::take(&mut *joiners.links.lock());
            for link in links {
                (link.function)();
            }
            joiners.waiting.notify_all();
        }
    }
}

/// std's `OnceLock`, as loom sees it: whoever comes second sees what the first one did before.
pub(crate) struct LoomOnce<T> {
    order: ShortLock<()>,
    value: OnceLock<Box<T>>,
}

impl<T: Default> LoomOnce<T> {
    fn new() -> LoomOnce<T> {
        LoomOnce { order: ShortLock::new(()), value: OnceLock::new() }
    }

    fn get_or_init(&self) -> &T {
        let _order = self.order.lock();
        self.value.get_or_init(Box::default)
    }

    fn get(&self) -> Option<&T> {
        let _order = self.order.lock();
        self.value.get().map(|value| &**value)
    }
}
