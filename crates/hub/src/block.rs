//! The control block of a greenlet: one allocation for state, closure and result.
//!
//! ```text
//!   Greenlet, JoinHandle, Waiter ──┐
//!   (any thread, counted)          ▼
//!                        ┌───────────────────┐ ◄── run queue, timers, table of the waiting
//!                        │ Block             │     (its hub's thread; covered by the hub's one count)
//!                        │  counts and flags │ any thread, atomic
//!                        │  wait word        │ any thread, atomic
//!                        │  joiners          │ any thread, a lock
//!                        │  Local            │ the hub's thread only
//!                        ├───────────────────┤
//!                        │ payload: F, then T│ the hub's thread until done, then the JoinHandle's
//!                        └───────────────────┘
//! ```
//!
//! **Who owns the payload.** Closure and result may be `!Send`, and handles travel. So: until `DONE` is set only
//! the hub's thread touches the payload. After that only the one `JoinHandle<T>` does, which is `Send` only if `T` is.
//! If the handle was dropped before (`DETACHED`), the hub drops the result as soon as there is one. Hence the
//! last reference, wherever it is dropped, finds the payload empty and frees plain memory.
//!
//! **Who keeps the block.** The hub holds one count from the spawn to the end of the greenlet. Whatever the hub
//! itself keeps (run queue, timers, table) are plain pointers under that count. A hub that ends with
//! greenlets unfinished never gives their counts back: the blocks stay, as their stacks do.
//!
//! A wait may also be that of an async task, which has a block without a hub and without a job: see `task.rs`.

mod stray;
mod task;

use std::any::Any;
use std::cell::{Cell, OnceCell, UnsafeCell};
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use greenlet_core::{Coroutine, Suspender};

use crate::atomics::{AtomicUsize, count_down, count_up};
use crate::extras::Extras;
use crate::greenlet::JoinError;
use crate::interrupt::Interrupt;
use crate::links::LinkEntry;
use crate::memory::{self, BlockMemory};
use crate::patching::Inside;
use crate::shared::Shared;
use crate::short_lock::ShortLock;
use crate::wait_list::WaitList;
use crate::waiter::ReasonCell;
use crate::word::WaitWord;

pub(crate) use stray::Stray;
pub(crate) use task::TaskRef;

/// The result is there, or there will never be one.
const DONE: u32 = 1;
/// The closure returned, rather than panicked or was killed.
const SUCCESS: u32 = 2;
/// The `JoinHandle` is gone: nobody will take the result.
const DETACHED: u32 = 4;
/// Somebody has put himself into `joiners`.
const JOINERS: u32 = 8;
/// The hub has ended; there is no result.
const HUB_ENDED: u32 = 16;
/// It was killed: a pending interrupt for as long as it lives.
const KILLED: u32 = 32;
/// The closure panicked.
const PANICKED: u32 = 64;
/// The thread's own stack.
const MAIN: u32 = 128;
/// It runs a link.
const LINK: u32 = 256;
/// It was spawned without a hub: what it consists of may be dropped anywhere.
const STRAY: u32 = 512;
/// Its hub counts it as coming until it starts.
const COMING: u32 = 1024;

/// What every greenlet has, whatever its closure.
///
/// In the order in which it is needed: what a wake-up and a resume touch shares the first cache line, since of many greenlets that wait
/// none is in the cache.
#[repr(C)]
pub(crate) struct Block {
    references: AtomicUsize,
    pub(crate) word: WaitWord,
    flags: AtomicU32,
    /// The number of its hub, 0 before it has one: `shared` may be another's by the time that this one has ended.
    hub: AtomicU32,
    local: Local,
    pub(crate) id: u64,
    /// Null before it has a hub.
    shared: AtomicPtr<Shared>,
    vtable: &'static VTable,
    pub(crate) spawned_at: &'static Location<'static>,
    /// What a `Builder` was told; most greenlets have none.
    options: Option<Box<Options>>,
    /// Most greenlets have ended before anybody waits for them.
    /// Made only if the flag says so.
    joiners: ManuallyDrop<OnceLock<Box<Joiners>>>,
    started: AtomicBool,
}

/// Who is to be told of the end.
#[derive(Default)]
struct Joiners {
    waiting: WaitList,
    links: ShortLock<Vec<LinkEntry>>,
}

/// What a `Builder` can set.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    pub(crate) stack_size: Option<usize>,
}

/// The part that only the hub's thread touches.
#[repr(C)]
pub(crate) struct Local {
    /// The coroutine that runs the job, from the first run to the end. `UnsafeCell`, because it is borrowed
    /// mutably all the while it runs.
    pub(crate) coroutine: UnsafeCell<Option<Coroutine>>,
    /// How the greenlet's own stack switches away.
    pub(crate) suspender: Cell<Option<Suspender>>,
    /// The next in the run queue.
    pub(crate) next: Cell<Option<HubRef>>,
    /// Where its stack ended when it last began to wait; see [`Coroutine::prefetch`].
    pub(crate) resume_point: Cell<*const u8>,
    /// Where it stands in the hub's table of those that have waited; `u32::MAX`: nowhere yet.
    pub(crate) place: Cell<u32>,
    /// How many shields it is in.
    pub(crate) shields: Cell<u32>,
    /// What few greenlets have.
    pub(crate) extras: OnceCell<Box<Extras>>,
    pub(crate) reason: ReasonCell,
    /// Whether it has begun a wait that it neither sleeps in nor has taken back yet; another would end that one.
    pub(crate) waits_soon: Cell<bool>,
}

const _: () =
    assert!(mem::offset_of!(Block, local) + mem::offset_of!(Local, extras) == 64, "the hot part is a cache line");

impl Local {
    pub(crate) const NOWHERE: u32 = u32::MAX;
    /// The place of the greenlet that stands for the main one, in a child that it has forked; no table is that long.
    pub(crate) const LONE: u32 = u32::MAX - 1;

    fn new() -> Local {
        Local {
            coroutine: UnsafeCell::new(None),
            suspender: Cell::new(None),
            resume_point: Cell::new(ptr::null()),
            next: Cell::new(None),
            shields: Cell::new(0),
            extras: OnceCell::new(),
            place: Cell::new(Local::NOWHERE),
            reason: ReasonCell::default(),
            waits_soon: Cell::new(false),
        }
    }

    /// What few greenlets have, made at the first call.
    #[inline]
    pub(crate) fn extras(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }
}

// SAFETY: `Local` is reached through a `HubRef` only, that is on the hub's thread; the rest is `Sync`.
unsafe impl Sync for Block {}
// SAFETY: as above. A block that is freed elsewhere holds no coroutine any more.
unsafe impl Send for Block {}

struct VTable {
    run: unsafe fn(NonNull<Block>),
    refuse: unsafe fn(NonNull<Block>, JoinError),
    take: unsafe fn(NonNull<Block>, NonNull<()>),
    discard: unsafe fn(NonNull<Block>),
    free: unsafe fn(NonNull<Block>),
    /// Only the block of an async task has one.
    wake: Option<unsafe fn(NonNull<Block>)>,
}

/// A block with its payload behind it.
#[repr(C)]
struct Job<F, T> {
    block: Block,
    payload: UnsafeCell<Payload<F, T>>,
}

enum Payload<F, T> {
    Closure(F),
    Result(Result<T, JoinError>),
    Empty,
}

impl<F: FnOnce() -> T, T> Job<F, T> {
    const VTABLE: &'static VTable = &VTable {
        run: Self::run,
        refuse: Self::refuse,
        take: Self::take,
        discard: Self::discard,
        free: Self::free,
        wake: None,
    };

    /// Exchanges the payload.
    ///
    /// # Safety
    ///
    /// `block` is the head of a `Job<F, T>`, and the caller owns the payload (see the module's text).
    unsafe fn replace(block: NonNull<Block>, payload: Payload<F, T>) -> Payload<F, T> {
        let job = block.cast::<Self>();
        // SAFETY: the block is the first field of a live `Job<F, T>`.
        let cell = unsafe { &raw const (*job.as_ptr()).payload };
        // SAFETY: the payload is the caller's, so nobody else looks at it meanwhile.
        mem::replace(unsafe { &mut *UnsafeCell::raw_get(cell) }, payload)
    }

    /// Runs the closure on the greenlet's stack and leaves its result.
    unsafe fn run(block: NonNull<Block>) {
        // SAFETY: the job has not been done, so its payload is the hub's, which calls this.
        let Payload::Closure(closure) = (unsafe { Self::replace(block, Payload::Empty) }) else {
            unreachable!("a job is run once");
        };
        // SAFETY: the caller works for the hub, which holds a count.
        let greenlet = unsafe { block.as_ref() };
        let (result, outcome) = if greenlet.word.is_interrupted() {
            greenlet.raise_nothing_more();
            never_run(closure)
        } else {
            greenlet.set_started();
            match catch_unwind(AssertUnwindSafe(closure)) {
                Ok(value) => (Ok(value), SUCCESS),
                Err(payload) => unwound(payload),
            }
        };
        // SAFETY: as above.
        unsafe { Self::finish(block, result, outcome) };
    }

    /// Ends a job that never ran. Its closure is dropped here.
    unsafe fn refuse(block: NonNull<Block>, err: JoinError) {
        // SAFETY: as in `run`.
        let closure = unsafe { Self::replace(block, Payload::Empty) };
        drop_quietly(closure);
        // SAFETY: the caller works for the hub, which holds a count.
        let killed = unsafe { block.as_ref() }.is_killed();
        // SAFETY: as in `run`.
        unsafe { Self::finish(block, Err(if killed { JoinError::Killed } else { err }), 0) };
    }

    unsafe fn finish(block: NonNull<Block>, result: Result<T, JoinError>, outcome: u32) {
        // SAFETY: the caller works for the hub, which holds a count.
        let greenlet = unsafe { block.as_ref() };
        greenlet.end_extras();
        let flags = &greenlet.flags;
        if flags.load(Ordering::Acquire) & DETACHED != 0 {
            // Nobody will take it. It is dropped before the greenlet is done, since dropping may wait.
            greenlet.raise_nothing_more();
            drop_quietly(result);
            // That may have made new locals.
            greenlet.end_extras();
            flags.fetch_or(DONE | outcome, Ordering::AcqRel);
            return;
        }
        // SAFETY: the payload is the hub's until the next line.
        unsafe { Self::replace(block, Payload::Result(result)) };
        if flags.fetch_or(DONE | outcome, Ordering::AcqRel) & DETACHED != 0 {
            // SAFETY: the handle was dropped in between, before there was a result: it left the payload to us.
            drop_quietly(unsafe { Self::replace(block, Payload::Empty) });
            greenlet.end_extras();
        }
    }

    /// Moves the result to `out`, which points to a `Result<T, JoinError>`.
    unsafe fn take(block: NonNull<Block>, out: NonNull<()>) {
        // SAFETY: the job is done, so the payload is that of the one handle, which calls this.
        let Payload::Result(result) = (unsafe { Self::replace(block, Payload::Empty) }) else {
            unreachable!("a result is taken once");
        };
        // SAFETY: `out` is room for such a value, by the contract of this function.
        unsafe { out.cast::<Result<T, JoinError>>().write(result) };
    }

    /// Drops the result, which the handle does not want.
    unsafe fn discard(block: NonNull<Block>) {
        // SAFETY: as in `take`.
        drop(unsafe { Self::replace(block, Payload::Empty) });
    }

    unsafe fn free(block: NonNull<Block>) {
        let mut job = block.cast::<Self>();
        // SAFETY: the last reference is gone, so nobody else looks at it.
        unsafe { job.as_mut() }.block.drop_joiners();
        // SAFETY: as above, and the job is dropped once.
        unsafe { job.drop_in_place() };
        // SAFETY: `Block::new` took this memory for a job of this type, and nothing is left in it.
        unsafe { memory::release(job) };
    }
}

/// The result of a job that was killed before it ran.
#[cold]
fn never_run<F, T>(closure: F) -> (Result<T, JoinError>, u32) {
    drop_quietly(closure);
    (Err(JoinError::Killed), 0)
}

/// The result of a job that was unwound.
#[cold]
fn unwound<T>(payload: Box<dyn Any + Send>) -> (Result<T, JoinError>, u32) {
    if matches!(payload.downcast_ref(), Some(Interrupt::Kill)) {
        (Err(JoinError::Killed), 0)
    } else {
        (Err(JoinError::Panicked(payload)), PANICKED)
    }
}

/// Drops a user's value where a panic of its `drop` has nowhere to go; the panic hook has reported it.
pub(crate) fn drop_quietly<V>(value: V) {
    quietly(|| drop(value));
}

/// Calls a user's code where a panic of it has nowhere to go; the panic hook has reported it.
pub(crate) fn quietly(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(stubborn) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        // A payload whose own `drop` panics, and its payload may do it again.
        mem::forget(stubborn);
    }
}

impl Block {
    /// Drops the greenlet's locals. Called by the hub, on the greenlet's own stack, before and after its result is left.
    #[inline]
    fn end_extras(&self) {
        if let Some(extras) = self.local.extras.get() {
            self.raise_nothing_more();
            extras.end();
        }
    }

    /// From here on only destructors run, which are not to be cut off in the middle: a kill has nothing more to end.
    fn raise_nothing_more(&self) {
        self.local.shields.set(1);
    }

    /// A new block with two counts: the hub's and the caller's. `home`: its hub, if that is known already.
    #[inline]
    pub(crate) fn allocate<F: FnOnce() -> T, T>(
        closure: F,
        memory: &BlockMemory,
        home: Option<&'static Shared>,
        id: u64,
        spawned_at: &'static Location<'static>,
        options: Option<Box<Options>>,
    ) -> BlockRef {
        let place = memory.take::<Job<F, T>>();
        let job = Job {
            block: Block::new(2, Job::<F, T>::VTABLE, home, id, spawned_at, options),
            payload: UnsafeCell::new(Payload::<F, T>::Closure(closure)),
        };
        // SAFETY: there is room for it, and it is ours.
        unsafe { place.write(job) };
        BlockRef(place.cast())
    }

    #[inline(always)]
    fn new(
        references: usize,
        vtable: &'static VTable,
        home: Option<&'static Shared>,
        id: u64,
        spawned_at: &'static Location<'static>,
        options: Option<Box<Options>>,
    ) -> Block {
        Block {
            references: AtomicUsize::new(references),
            word: WaitWord::new(),
            flags: AtomicU32::new(0),
            started: AtomicBool::new(false),
            shared: AtomicPtr::new(home.map_or(ptr::null_mut(), |home| ptr::from_ref(home).cast_mut())),
            hub: AtomicU32::new(home.map_or(0, Shared::id)),
            local: Local::new(),
            vtable,
            id,
            spawned_at,
            options,
            joiners: ManuallyDrop::new(OnceLock::new()),
        }
    }

    /// The number of its hub; 0 as long as none has taken it.
    #[inline]
    pub(crate) fn hub(&self) -> u32 {
        // Whoever has to find it here was told of something that its greenlet did, hence after it was set.
        self.hub.load(Ordering::Relaxed)
    }

    /// Where its hub is left messages, if it has one.
    pub(crate) fn shared(&self) -> Option<&'static Shared> {
        let shared = self.shared.load(Ordering::Relaxed);
        // SAFETY: null, or what `allocate` and `adopt` were given, which lives for ever.
        unsafe { shared.as_ref() }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.options.as_ref().and_then(|options| options.name.as_deref())
    }

    pub(crate) fn stack_size(&self) -> Option<usize> {
        self.options.as_ref().and_then(|options| options.stack_size)
    }

    /// Marks it as the thread's own stack.
    pub(crate) fn set_main(&self) {
        self.flags.fetch_or(MAIN, Ordering::Relaxed);
        self.set_started();
    }

    /// Marks it as the greenlet that runs a link.
    pub(crate) fn set_link(&self) {
        self.flags.fetch_or(LINK, Ordering::Relaxed);
    }

    /// Whether it was spawned without a hub, as a [`Stray`].
    pub(crate) fn is_stray(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & STRAY != 0
    }

    /// Notes that its hub counts it as coming.
    pub(crate) fn set_coming(&self) {
        self.flags.fetch_or(COMING, Ordering::Relaxed);
    }

    /// Whether its hub counts it as coming.
    #[inline]
    pub(crate) fn is_coming(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & COMING != 0
    }

    pub(crate) fn is_main(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & MAIN != 0
    }

    /// Notes that it was killed; to be followed by [`WaitWord::interrupt`].
    pub(crate) fn set_killed(&self) {
        self.flags.fetch_or(KILLED, Ordering::AcqRel);
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.flags.load(Ordering::Acquire) & KILLED != 0
    }

    /// Whether its closure has panicked, rather than returned or been killed.
    pub(crate) fn is_panicked(&self) -> bool {
        self.flags.load(Ordering::Acquire) & PANICKED != 0
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.flags.load(Ordering::Acquire) & DONE != 0
    }

    pub(crate) fn is_successful(&self) -> bool {
        self.flags.load(Ordering::Acquire) & SUCCESS != 0
    }

    /// Those who wait for the end, for one who is about to; false if the end has come.
    pub(crate) fn join_list(&self) -> Option<&WaitList> {
        // The flag spares the lock to all those greenlets that end before anybody waits for them. Either this sees `DONE`
        // or the hub, which looks for the flag after it has set `DONE`, sees the flag; see `notify_joiners`.
        let flags = self.flags.fetch_or(JOINERS, Ordering::AcqRel);
        (flags & DONE == 0).then(|| &self.made_joiners().waiting)
    }

    /// The list of joiners, which is made if it is not there yet. Never switches.
    fn made_joiners(&self) -> &Joiners {
        self.joiners.get().unwrap_or_else(|| {
            // Whoever finds another thread in the middle of the same blocks: this is called where nothing may switch.
            let _inside = Inside::enter();
            self.joiners.get_or_init(Box::default)
        })
    }

    /// Keeps a link until the end; false if the end has come and nobody has been told of this link.
    pub(crate) fn add_link(&self, link: LinkEntry) -> bool {
        let flags = self.flags.fetch_or(JOINERS, Ordering::AcqRel);
        if flags & DONE != 0 {
            return false;
        }
        let joiners = self.made_joiners();
        let (hub, number) = (link.hub(), link.number());
        joiners.links.lock().push(link);
        // As a joiner does: who comes second sees the other. What `notify_joiners` did not take is still there.
        !(self.is_done() && self.remove_link(hub, number))
    }

    /// Forgets a link; false if it is not here any more.
    pub(crate) fn remove_link(&self, hub: u32, number: u64) -> bool {
        let Some(joiners) = self.joiners.get() else { return false };
        let mut links = joiners.links.lock();
        let place = links.iter().position(|link| link.is(hub, number));
        place.map(|place| links.remove(place)).is_some()
    }

    /// Whether the end has come and nobody has ever waited for it, or linked to it.
    #[inline]
    pub(crate) fn is_done_unseen(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (DONE | JOINERS) == DONE
    }

    /// Wakes those who wait for the end.
    #[inline]
    pub(crate) fn notify_joiners(&self) {
        if self.flags.load(Ordering::Acquire) & JOINERS != 0 {
            self.notify_some_joiners();
        }
    }

    #[inline(never)]
    fn notify_some_joiners(&self) {
        // Made here if the joiner has not yet: whoever comes second then sees what the first one did before, so
        // the joiner looks again and finds that it is done.
        let joiners = self.made_joiners();
        // Links first: they have begun to run when a joiner returns.
        let links = mem::take(&mut *joiners.links.lock());
        // But not those of a link's own greenlet: a link that links itself would keep everybody else from running.
        let urgent = self.flags.load(Ordering::Relaxed) & LINK == 0;
        for link in links {
            link.fire(urgent);
        }
        joiners.waiting.notify_all();
    }

    #[inline]
    fn drop_joiners(&mut self) {
        if *self.flags.get_mut() & JOINERS != 0 {
            drop(ManuallyDrop::into_inner(mem::replace(&mut self.joiners, ManuallyDrop::new(OnceLock::new()))));
        }
    }

    /// Says that the hub has ended and the greenlet will never be done.
    pub(crate) fn abandon(&self) {
        // Whoever notifies it from now on is told that nobody took it, and goes to the next.
        self.word.close();
        self.flags.fetch_or(DONE | HUB_ENDED, Ordering::AcqRel);
        self.notify_joiners();
    }
}

impl Block {
    /// Says, in a forked child, that the greenlet is the parent's and will never be done here; false if it has ended. Those who wait for its end are not told yet.
    pub(crate) fn leave_behind(&self) -> bool {
        self.word.close();
        let is_new = !self.is_done();
        if is_new {
            self.flags.fetch_or(DONE | HUB_ENDED, Ordering::AcqRel);
        }
        is_new
    }

    /// Takes that back. The wait that was begun is over.
    pub(crate) fn take_back_along(&self) {
        self.flags.fetch_and(!(DONE | HUB_ENDED), Ordering::AcqRel);
    }

    /// Says that the greenlet will never be done, if its hub is gone: in a forked child nobody has said so.
    #[cold]
    pub(crate) fn leave_if_lost(&self) {
        // One that no hub has taken may still be.
        if let Some(shared) = self.shared()
            && (shared.id() != self.hub() || shared.inbox.is_closed())
            && !self.is_done()
        {
            self.leave_behind();
            self.notify_joiners_in_child();
        }
    }

    /// Wakes those who wait for the end of one that was left behind in a forked child. A list that a thread of the parent's was in the middle of changing stays locked
    /// for ever, and is passed over.
    pub(crate) fn notify_joiners_in_child(&self) {
        let Some(joiners) = (self.flags.load(Ordering::Acquire) & JOINERS != 0).then(|| self.joiners.get()).flatten()
        else {
            return;
        };
        let links = joiners.links.try_lock().map(|mut links| mem::take(&mut *links));
        for link in links.into_iter().flatten() {
            link.fire(true);
        }
        joiners.waiting.try_notify_all();
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("id", &self.id).field("spawned_at", &self.spawned_at).finish_non_exhaustive()
    }
}

/// A counted reference to a block, usable on any thread.
#[derive(PartialEq)]
pub(crate) struct BlockRef(NonNull<Block>);

// SAFETY: a block is `Send` and `Sync`, and the count is atomic.
unsafe impl Send for BlockRef {}
// SAFETY: as above.
unsafe impl Sync for BlockRef {}

impl BlockRef {
    /// A new reference to what the hub keeps by pointer.
    #[inline]
    pub(crate) fn from_hub(block: &HubRef) -> BlockRef {
        count_up(&block.references);
        BlockRef(block.0)
    }

    /// Takes the result.
    ///
    /// # Safety
    ///
    /// The caller is the greenlet's only `JoinHandle<T>`, with that `T`, and does it once.
    pub(crate) unsafe fn take_result<T>(&self) -> Result<T, JoinError> {
        let flags = self.flags.load(Ordering::Acquire);
        assert!(flags & DONE != 0, "the result of a greenlet that runs");
        if flags & HUB_ENDED != 0 {
            return Err(JoinError::HubEnded);
        }
        let mut result = mem::MaybeUninit::<Result<T, JoinError>>::uninit();
        let out = NonNull::from(&mut result).cast();
        // SAFETY: the job is done, the caller is the one handle, and `out` has room for its `T`.
        unsafe { (self.vtable.take)(self.0, out) };
        // SAFETY: `take` has written it.
        unsafe { result.assume_init() }
    }

    /// Lets go of the result, there or to come.
    ///
    /// # Safety
    ///
    /// The caller is the greenlet's only `JoinHandle`, has not taken the result, and will not.
    pub(crate) unsafe fn detach(&self) {
        let flags = self.flags.fetch_or(DETACHED, Ordering::AcqRel);
        if flags & DONE != 0 && flags & HUB_ENDED == 0 {
            // SAFETY: done before it was detached: the result is the caller's.
            unsafe { (self.vtable.discard)(self.0) };
        }
    }

    /// Wakes the async task whose wait was ended while it slept.
    pub(crate) fn wake_task(&self) {
        let wake = self.vtable.wake.expect("only an async task has no hub and waits");
        // SAFETY: the block is one of the kind whose table this is, and this reference is counted.
        unsafe { wake(self.0) };
    }

    /// The reference that the hub itself uses.
    #[inline]
    pub(crate) fn hub_ref(&self) -> HubRef {
        HubRef(self.0)
    }
}

impl Deref for BlockRef {
    type Target = Block;

    #[inline]
    fn deref(&self) -> &Block {
        // SAFETY: this reference is counted.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for BlockRef {
    #[inline]
    fn clone(&self) -> BlockRef {
        count_up(&self.references);
        BlockRef(self.0)
    }
}

impl Drop for BlockRef {
    #[inline]
    fn drop(&mut self) {
        release(self.0);
    }
}

/// Gives one count back; frees the block with the last.
#[inline]
fn release(block: NonNull<Block>) {
    // SAFETY: the count that is given back has kept the block until here.
    let references = unsafe { &(*block.as_ptr()).references };
    if !count_down(references) {
        return;
    }
    // SAFETY: the last count is gone, and everybody's use of it was before this.
    let free = unsafe { (*block.as_ptr()).vtable.free };
    // SAFETY: as above.
    unsafe { free(block) };
}

/// The hub's own, uncounted reference to a greenlet that has not finished.
///
/// `Copy` and not `Send`. It is only made on the thread of the greenlet's hub, and only of blocks whose hub count is still there; the
/// hub drops all of them (queue entries, timers, slots, table) before it gives that count back in [`HubRef::finish`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HubRef(NonNull<Block>);

impl Deref for HubRef {
    type Target = Block;

    #[inline]
    fn deref(&self) -> &Block {
        // SAFETY: the hub's count keeps the block, by this type's rule.
        unsafe { self.0.as_ref() }
    }
}

impl HubRef {
    /// The part of the block that is the hub's alone.
    #[inline]
    pub(crate) fn local<'a>(self) -> &'a Local {
        // SAFETY: the hub's count keeps the block, and this is its thread, by this type's rules.
        unsafe { &(*self.0.as_ptr()).local }
    }

    /// Brings its stack near; see [`Coroutine::prefetch`].
    #[inline]
    pub(crate) fn prefetch_stack(self) {
        // SAFETY: read on the hub's thread, in the loop: it does not run.
        if let Some(coroutine) = unsafe { &*self.local().coroutine.get() } {
            coroutine.prefetch(self.local().resume_point.get());
        }
    }

    /// Brings what of its stack a resume touches near; see [`Coroutine::prefetch_sparingly`].
    #[inline]
    pub(crate) fn prefetch_stack_sparingly(self) {
        // SAFETY: as in `prefetch_stack`.
        if let Some(coroutine) = unsafe { &*self.local().coroutine.get() } {
            coroutine.prefetch_sparingly(self.local().resume_point.get());
        }
    }

    /// Gives it a stack, or takes it away.
    pub(crate) fn set_coroutine(self, coroutine: Option<Coroutine>) -> Option<Coroutine> {
        // SAFETY: written on the hub's thread, in the loop: it does not run.
        mem::replace(unsafe { &mut *self.local().coroutine.get() }, coroutine)
    }

    /// Runs the job to its end, on the greenlet's own stack.
    pub(crate) fn run(self) {
        // SAFETY: the job is unfinished and the hub's, so its payload is; `run` checks that it is the first time.
        unsafe { (self.vtable.run)(self.0) };
    }

    /// Ends a job that could not be run.
    pub(crate) fn refuse(self, err: JoinError) {
        // SAFETY: as in `run`.
        unsafe { (self.vtable.refuse)(self.0, err) };
    }

    /// The pointer, as a message for the coroutine that is to run it.
    pub(crate) fn to_message(self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// The other way round.
    ///
    /// # Safety
    ///
    /// `message` came out of `to_message`, and the greenlet has not finished.
    pub(crate) unsafe fn from_message(message: usize) -> HubRef {
        HubRef(NonNull::new(ptr::with_exposed_provenance_mut(message)).expect("the address of a block"))
    }

    /// Wakes the joiners and gives the hub's count back.
    pub(crate) fn finish(self) {
        // A wait that was begun and forgotten takes no notification any more.
        self.word.close();
        self.notify_joiners();
        release(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: FnOnce() -> T, T>(_: F) -> usize {
        size_of::<Job<F, T>>()
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_small_job_takes_three_cache_lines() {
        let (a, b) = (5_u64, 7_u64);
        assert!(size(|| ()) <= 192);
        assert!(size(move || a + b) <= 192);
    }
}
