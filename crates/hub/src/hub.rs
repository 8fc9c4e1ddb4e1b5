//! The hub: the loop that runs ready greenlets, and looks at descriptors, timers and other threads in between.
//!
//! # One turn
//!
//! ```text
//!   ┌► urgent: descriptors and timers of the last look, in the order in which it found them
//!   │    └ empty: the head of the run queue, 61 times at the most (`Config::tick`)
//!   │         └ then, or when nothing is ready, LOOK:
//!   │              inbox ─► descriptors ─► timers that are due
//!   └──────────────────── (sleeps in it if nothing is ready) ◄┘
//! ```
//!
//! *The run queue is strictly first in, first out*: what the program itself makes ready (a spawn, a yield, a notification, of
//! whichever thread) goes to its end. Descriptors and timers that a look finds have waited for the outside world; they go
//! ahead of the run queue, once, and a look takes no more than 64 of the ones and 61 of the others. So a storm of ready
//! greenlets, of descriptors or of timers delays the next look by as many runs (5 ms, if each takes 80 µs), and none of the
//! three starves another. A program with the same input and no descriptors, timers or other threads has the same
//! interleaving each time.
//!
//! # The stacks
//!
//! ```text
//!   main greenlet: the thread's own stack      greenlet A       greenlet B
//!   ┌───────────────────────────┐
//!   │ user: main()              │
//!   │ Wait::until               │
//!   │ Hub::run_until_main  ◄────┼──suspend──┐
//!   │ Hub::resume ──────────────┼──resume──►│ user code A      (suspended)
//!   └───────────────────────────┘           │ Wait::until
//! ```
//!
//! There is no other place where a greenlet is resumed, so a greenlet never resumes a greenlet. When the main greenlet comes
//! to the head of a queue, the loop simply returns into its wait.

mod in_child;
mod look;

use std::cell::{Cell, OnceCell, RefCell};
use std::mem;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use greenlet_core::overflow::AltStack;
use greenlet_core::{CoroutinePool, Resumed, Suspender};

use crate::block::{Block, BlockRef, HubRef, Local, Options};
use crate::config;
use crate::deadlock;
use crate::fork;
use crate::greenlet::JoinError;
use crate::hub_pool::Member;
use crate::links::Links;
use crate::memory::BlockMemory;
use crate::poller::Poller;
use crate::queue::RunQueue;
use crate::shared::Shared;
use crate::spin::{Polling, Spin};
use crate::switch::Switching;
use crate::sys::{Poll, Waker};
use crate::timers::Timers;
use crate::waiter::Timed;
use crate::word::{Ended, State};

/// So many timers that one look fires, and so many events that it takes: a storm of the ones does not hold up the others.
const FIRES_PER_LOOK: u32 = 61;
/// So many waiters of descriptors that are woken between two looks by those who waited before them.
const PASSED_ON_PER_LOOK: u32 = 64;
/// So many I/O calls that need not wait before one yields.
pub(crate) const BUDGET: u32 = 128;
/// So many of a crowd are brought near together.
const CROWD_BATCH: usize = 4;
/// If more are woken at once, they are not in the caches when it is their turn.
const CROWD: usize = 1024;
/// So many idle coroutines keep their stacks' memory.
const KEPT_IDLE: usize = 64;
/// How long a coroutine has been idle, at the least, when its memory is given back.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// The event loop of one thread.
pub(crate) struct Hub {
    shared: &'static Shared,
    id: u32,
    pub(crate) memory: BlockMemory,
    /// The thread's own stack.
    pub(crate) main: BlockRef,
    /// What runs now, or the main greenlet while the loop runs.
    pub(crate) current: Cell<HubRef>,
    pub(crate) ready: RunQueue,
    pub(crate) urgent: RunQueue,
    /// So many runs from the run queue between two looks.
    tick: u32,
    /// Runs from the run queue that are left until the next look.
    runs: Cell<u32>,
    pub(crate) budget: Cell<u32>,
    /// So many of those that were woken at once are still to run, and so many runs are left for them until the next look.
    crowd: Cell<usize>,
    crowd_runs: Cell<u32>,
    pub(crate) timers: RefCell<Timers<Timed>>,
    polling: Polling,
    spin: Spin,
    /// What timers count from.
    epoch: Instant,
    /// The same for the bare clock, which is cheaper to count with; read before the other, so that nothing is early.
    epoch_nanos: u64,
    /// Made at the first wait for a descriptor.
    poller: OnceCell<RefCell<Poller>>,
    /// Under which descriptors are registered there.
    poller_number: Cell<u32>,
    /// The last turn in which one waiter of a descriptor has woken the next, and how often.
    passed_on: Cell<(u64, u32)>,
    /// How many waits for descriptors are under way.
    pub(crate) watching: Cell<usize>,
    /// How many jobs of this hub's greenlets are with other threads of ours.
    outside: Cell<usize>,
    /// Its place in a pool, if it is one of a pool's hubs. Boxed, so that it stays where it is when a forked child takes it out.
    member: OnceCell<Box<Member>>,
    /// Of the stacks of greenlets that ask for no other size.
    stack_size: usize,
    pool: RefCell<CoroutinePool>,
    trim_at: Cell<Option<Instant>>,
    /// Greenlets that have waited at least once and have not finished.
    started: RefCell<Vec<HubRef>>,
    /// Links that greenlets of this hub have made and that have not run.
    pub(crate) links: RefCell<Links>,
    /// So many links were made.
    link_numbers: Cell<u64>,
    /// So many scopes were entered that can be interrupted.
    scopes: Cell<u64>,
    /// The next and the last of the range of identifiers that this hub has drawn.
    ids: Cell<(u64, u64)>,
    /// Whether what runs now may switch. One for the hub, since what may not switch is not interleaved with anything.
    pub(crate) switching: Cell<Switching>,
    /// How many marks say that what runs is the hub's own code, whatever stack it is on: see `patching`.
    pub(crate) inside: Cell<usize>,
    /// What the patching crate remembers of the thread.
    pub(crate) patch_word: Cell<usize>,
    /// See [`set_waits`](crate::patching::set_waits()).
    pub(crate) patch_waits: Cell<usize>,
    /// How many looks have found that nothing can wake any hub.
    hopeless_looks: Cell<u32>,
    /// When the next of them is due.
    hopeless_look_at: Cell<Option<Instant>>,
    /// Whether anything may have run since it last slept for good.
    stirred: Cell<bool>,
    /// Whether the main greenlet has switched away while it unwinds.
    pub(crate) unwinding: Cell<bool>,
    /// The report that the main greenlet is to raise.
    pub(crate) deadlock: RefCell<Option<String>>,
    /// Whether the process was forked off by what runs here, and the hub has not looked since: see `in_child`.
    forked: Cell<bool>,
    /// What is the parent's: its greenlets whose joiners were not told, its poller, and what others woke this hub with.
    left_behind: RunQueue,
    left_poller: Cell<Option<Poller>>,
    left_waker: Cell<Option<Arc<Waker>>>,
    /// The greenlet that has forked the process off, unless that was the main one.
    lone: Cell<Option<HubRef>>,
    _alt_stack: Option<AltStack>,
}

impl Hub {
    pub(crate) fn new() -> Hub {
        // Before anything is made that would have to be taken back: it panics if the environment has a bad value.
        let config = config::get();
        let stack_size = config.get_stack_size();
        let pool = CoroutinePool::with_stack_size(root, stack_size).expect("a size that is allowed");
        crate::sys::find_single_threaded();
        fork::register();
        fork::once_a_process(|| {
            crate::panics::install_hook();
            crate::overflow::install();
        });
        let shared = Shared::new();
        let thread = std::thread::current();
        let options = Options { name: thread.name().map(str::to_owned), stack_size: None };
        let here = Location::caller();
        let memory = BlockMemory::new();
        let main = Block::allocate(|| (), &memory, Some(shared), next_ids().0, here, Some(Box::new(options)));
        main.set_main();
        Hub {
            current: Cell::new(main.hub_ref()),
            shared,
            id: shared.id(),
            memory,
            main,
            ready: RunQueue::default(),
            urgent: RunQueue::default(),
            tick: config.get_tick(),
            runs: Cell::new(config.get_tick()),
            budget: Cell::new(BUDGET),
            crowd: Cell::new(0),
            crowd_runs: Cell::new(0),
            timers: RefCell::new(Timers::new()),
            polling: Polling::new(config.get_spin()),
            spin: Spin::new(),
            epoch_nanos: crate::sys::nanos_now(),
            epoch: Instant::now(),
            poller: OnceCell::new(),
            poller_number: Cell::new(shared.id()),
            passed_on: Cell::new((0, 0)),
            watching: Cell::new(0),
            outside: Cell::new(0),
            member: OnceCell::new(),
            stack_size,
            pool: RefCell::new(pool),
            trim_at: Cell::new(None),
            started: RefCell::new(Vec::new()),
            links: RefCell::default(),
            link_numbers: Cell::new(0),
            scopes: Cell::new(0),
            ids: Cell::new((0, 0)),
            switching: Cell::new(Switching::Allowed),
            inside: Cell::new(0),
            patch_word: Cell::new(0),
            patch_waits: Cell::new(0),
            hopeless_looks: Cell::new(0),
            hopeless_look_at: Cell::new(None),
            stirred: Cell::new(true),
            unwinding: Cell::new(false),
            deadlock: RefCell::new(None),
            forked: Cell::new(false),
            left_behind: RunQueue::default(),
            left_poller: Cell::new(None),
            left_waker: Cell::new(None),
            lone: Cell::new(None),
            _alt_stack: AltStack::ensure(),
        }
    }

    pub(crate) fn shared(&self) -> &'static Shared {
        self.shared
    }

    /// The number that no other hub of this process has had.
    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The number of its poller. The same as that of the hub, but in a forked child, where nothing is registered that was.
    #[inline]
    pub(crate) fn poller_number(&self) -> u32 {
        self.poller_number.get()
    }

    /// What runs now.
    #[inline]
    pub(crate) fn current(&self) -> HubRef {
        self.current.get()
    }

    pub(crate) fn main(&self) -> &BlockRef {
        &self.main
    }

    /// An identifier that no other greenlet of the process has.
    pub(crate) fn next_id(&self) -> u64 {
        let (mut next, mut end) = self.ids.get();
        if next == end {
            (next, end) = next_ids();
        }
        self.ids.set((next + 1, end));
        next
    }

    /// Puts a greenlet at the end of the run queue.
    #[inline]
    pub(crate) fn push_ready(&self, greenlet: HubRef) {
        self.ready.push(greenlet);
    }

    // ---- running ----

    /// Runs whoever is ready, until it is the main greenlet's turn.
    ///
    /// Never inlined, and touches no thread-local: nothing that the compiler knows about the thread is carried over the switch
    /// in its middle.
    #[inline(never)]
    pub(crate) fn run_until_main(&self) {
        let main = self.main.hub_ref();
        loop {
            let next = self.next();
            if next == main {
                self.current.set(main);
                self.budget.set(BUDGET);
                return;
            }
            match self.resume(next) {
                Resumed::Suspended if next.local().place.get() != Local::NOWHERE => {}
                Resumed::Suspended => self.enter_table(next),
                Resumed::Finished => self.retire(next),
            }
        }
    }

    #[inline]
    fn next(&self) -> HubRef {
        loop {
            if let Some(next) = self.urgent.pop() {
                self.urgent.prefetch();
                return next;
            }
            // Counted down before anything is taken, in two instructions; a look begins anew, whatever it was.
            let (runs, used_up) = self.runs.get().overflowing_sub(1);
            self.runs.set(runs);
            if !used_up && let Some(next) = self.ready.pop() {
                return next;
            }
            if let Some(next) = self.next_of_crowd() {
                return next;
            }
            if let Some(job) = self.take_job_or_look() {
                return job;
            }
        }
    }

    /// Takes a job if nothing is ready; or looks, as it must when so many have run, and takes one then, even if there is something ready.
    #[inline(never)]
    fn take_job_or_look(&self) -> Option<HubRef> {
        let _inside = self.mark_inside();
        // What `next` has made of none that were left. The end of a pool has a deadline, after which no job is to start.
        let must_look = self.runs.get() == u32::MAX || self.member.get().is_some_and(|member| member.crew.is_closing());
        if !must_look && let Some(job) = self.take_job(false) {
            return Some(job);
        }
        self.look();
        self.take_job(true)
    }

    /// Takes a job of the pool, to be started at once: so those that wait are left to the other hubs.
    #[inline]
    fn take_job(&self, fair: bool) -> Option<HubRef> {
        let member = self.member.get()?;
        member.take(fair).map(|job| job.adopt(self))
    }

    /// Takes a job of the pool, to be started when it is its turn; false if there is none.
    pub(crate) fn take_in_job(&self) -> bool {
        self.take_job(true).map(|job| self.push_ready(job)).is_some()
    }

    /// The hub's place in a pool.
    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.get().map(Box::as_ref)
    }

    /// Makes it one of a pool's hubs, for good.
    pub(crate) fn join_pool(&self, member: Member) {
        assert!(self.member.set(Box::new(member)).is_ok(), "a hub is in one pool");
        self.shared.serves.store(true, Ordering::Relaxed);
    }

    /// Says that so many have been made ready at once: more than the caches hold, so each is brought near while the one before it runs.
    pub(crate) fn expect_crowd(&self, count: usize) {
        if count > CROWD {
            self.crowd.set(count);
            self.crowd_runs.set(self.runs.replace(0));
        }
    }

    /// The next while a crowd runs. Until then the runs are used up, so that the usual way knows nothing of it.
    #[inline(never)]
    fn next_of_crowd(&self) -> Option<HubRef> {
        let left = self.crowd.get().checked_sub(1)?;
        let runs = self.crowd_runs.get().checked_sub(1)?;
        let next = self.ready.pop()?;
        if left.is_multiple_of(CROWD_BATCH) {
            self.ready.prefetch_batch(CROWD_BATCH);
        }
        self.crowd.set(left);
        self.crowd_runs.set(runs);
        self.runs.set(0);
        Some(next)
    }

    /// Switches to a greenlet until it waits, yields or finishes: the only place that does.
    #[inline(always)]
    fn resume(&self, greenlet: HubRef) -> Resumed {
        let coroutine = greenlet.local().coroutine.get();
        loop {
            // SAFETY: only this function, `start` and `retire` use it, on the hub's thread, and never twice at once: this is not
            // called by anything that runs inside a greenlet, and its caller found the greenlet in a queue, not running.
            if let Some(coroutine) = unsafe { &mut *coroutine } {
                self.current.set(greenlet);
                self.budget.set(BUDGET);
                return coroutine.resume(greenlet.to_message());
            }
            if !self.start(greenlet) {
                return Resumed::Finished;
            }
        }
    }

    /// Gives a job that is to run for the first time its stack; false if there is none, which ends it.
    #[inline(never)]
    fn start(&self, job: HubRef) -> bool {
        let _inside = self.mark_inside();
        let size = job.stack_size().unwrap_or(self.stack_size);
        let taken = self.pool.borrow_mut().take(size);
        let started = match taken {
            Ok(coroutine) => {
                job.set_coroutine(Some(coroutine));
                self.shared.gauges.greenlets.add(1);
                true
            }
            Err(err) => {
                self.refuse(job, JoinError::NoStack(err));
                false
            }
        };
        if job.is_coming() {
            self.shared.one_has_come();
        }
        started
    }

    /// Ends a job that cannot run. Called by the loop.
    fn refuse(&self, job: HubRef, err: JoinError) {
        // The closure is dropped on the loop's own stack, where nothing may switch. What waits in its `drop` does so
        // by the job's own word: the main greenlet's is in use.
        self.current.set(job);
        self.with_switching(Switching::Blocks, || job.refuse(err));
    }

    #[inline(never)]
    fn retire(&self, greenlet: HubRef) {
        let _inside = self.mark_inside();
        self.current.set(self.main.hub_ref());
        if greenlet.local().place.get() != Local::NOWHERE {
            self.leave_table(greenlet);
        }
        if let Some(coroutine) = greenlet.set_coroutine(None) {
            self.shared.gauges.greenlets.subtract(1);
            let mut pool = self.pool.borrow_mut();
            pool.give(coroutine);
            if pool.idle() > KEPT_IDLE && self.trim_at.get().is_none() {
                self.trim_at.set(Some(Instant::now() + TRIM_INTERVAL));
            }
        }
        greenlet.finish();
    }

    #[cold]
    fn enter_table(&self, greenlet: HubRef) {
        let _inside = self.mark_inside();
        let mut started = self.started.borrow_mut();
        greenlet.local().place.set(started.len() as u32);
        started.push(greenlet);
    }

    fn leave_table(&self, greenlet: HubRef) {
        let mut started = self.started.borrow_mut();
        let place = greenlet.local().place.get();
        if place as usize >= started.len() {
            // Not in the table, yet not nowhere.
            self.end_process();
        }
        started.swap_remove(place as usize);
        if let Some(moved) = started.get(place as usize) {
            moved.local().place.set(place);
        }
    }

    /// Greenlets that wait, in the order in which they were spawned.
    pub(crate) fn waiting(&self) -> Vec<HubRef> {
        let mut waiting: Vec<HubRef> = self.started.borrow().clone();
        waiting.sort_unstable_by_key(|greenlet| greenlet.id);
        waiting
    }

    // ---- timers ----

    pub(crate) fn arm(&self, deadline: Instant, timed: Timed) -> crate::timers::TimerKey {
        self.timers.borrow_mut().arm(self.nanos(deadline), timed)
    }

    /// Arms a timer from now on.
    #[inline]
    pub(crate) fn arm_after(&self, timeout: Duration, timed: Timed) -> crate::timers::TimerKey {
        let timeout = timeout.as_secs().saturating_mul(1_000_000_000).saturating_add(timeout.subsec_nanos().into());
        let deadline = (crate::sys::nanos_now() - self.epoch_nanos).saturating_add(timeout);
        self.timers.borrow_mut().arm(deadline, timed)
    }

    /// Makes a job ready now that a timer was to start; it was killed, and is to end without having run.
    pub(crate) fn start_now(&self, job: HubRef) {
        // It may have ended while the message was on its way; then so has its timer.
        let timer = job.local().extras.get().and_then(|extras| extras.start.take());
        if timer.is_some_and(|timer| self.timers.borrow_mut().cancel(timer).is_some()) {
            self.ready.push(job);
        }
    }

    /// The number of a scope that is entered now: higher than that of all that are entered.
    #[inline]
    pub(crate) fn next_scope(&self) -> u64 {
        self.scopes.set(self.scopes.get() + 1);
        self.scopes.get()
    }

    pub(crate) fn next_link(&self) -> u64 {
        self.link_numbers.set(self.link_numbers.get() + 1);
        self.link_numbers.get()
    }

    fn nanos(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_nanos().try_into().unwrap_or(u64::MAX)
    }

    fn instant(&self, nanos: u64) -> Instant {
        let since = Duration::from_nanos(nanos);
        self.epoch.checked_add(since).unwrap_or_else(|| self.epoch + far_away())
    }

    // ---- descriptors ----

    /// The poller, which is made at the first call; from then on the hub sleeps in it.
    pub(crate) fn poller(&self) -> std::io::Result<&RefCell<Poller>> {
        if let Some(poller) = self.poller.get() {
            return Ok(poller);
        }
        let poll = Poll::new()?;
        self.shared.ring_by(poll.make_waker()?);
        Ok(self.poller.get_or_init(|| RefCell::new(Poller::new(poll))))
    }

    /// The poller, for a descriptor that is registered: so there is one.
    #[inline]
    pub(crate) fn made_poller(&self) -> Option<&RefCell<Poller>> {
        self.poller.get()
    }

    /// Counts a wait for a descriptor, as long as what this returns lives.
    pub(crate) fn watch(&self) -> Counted<'_> {
        Counted::new(&self.watching)
    }

    /// Marks what runs as the hub's own code, as long as what this returns lives: never over a switch.
    #[inline]
    pub(crate) fn mark_inside(&self) -> Counted<'_> {
        Counted::new(&self.inside)
    }

    /// Counts a job that is with another thread of ours, as long as what this returns lives.
    pub(crate) fn count_outside(&self) -> Counted<'_> {
        Counted::new(&self.outside)
    }

    /// Wakes those who waited for a descriptor that is no longer watched: they look for themselves.
    pub(crate) fn notify_all(&self, waiting: Vec<Timed>) {
        for waiter in waiting {
            self.notify(waiter);
        }
    }

    /// Ends a wait on behalf of what runs now; false if it was over.
    pub(crate) fn notify(&self, waiter: Timed) -> bool {
        let ended = waiter.block.word.end(waiter.number, State::Notified);
        if ended == Ended::Asleep {
            self.ready.push(waiter.block);
        }
        ended != Ended::Stale
    }

    fn forget_slot(&self, slot: u32, generation: u32) {
        if let Some(poller) = self.poller.get() {
            let waiting = poller.borrow_mut().forget(crate::poller::SlotKey { slot, generation }, None);
            self.notify_all(waiting);
        }
    }

    // ---- the end ----

    fn end_by_deadlock(&self, others: &str) {
        let main = self.main.hub_ref();
        let number = main.word.open_number();
        if number.is_none() && self.lone.get().is_none() {
            return;
        }
        let report = deadlock::report(self, others);
        let Some(number) = number else {
            // Who stands for the main greenlet is on a stack of its own, where it may be deaf to it.
            deadlock::abort(&report)
        };
        if self.switching.get() == Switching::Blocks {
            // Nobody could be unwound: main waits below the panic hook, or whatever it is that blocks the thread.
            deadlock::abort(&report);
        }
        if self.deadlock.borrow().is_some() || self.unwinding.get() {
            // It was told before and could not end (a scope waits for its children), or it cannot unwind a second time.
            deadlock::abort(&report);
        }
        if main.word.end(number, State::Interrupted) == Ended::Asleep {
            *self.deadlock.borrow_mut() = Some(report);
            self.urgent.push(main);
        }
    }

    /// Ends the hub with its thread. Greenlets that wait stay where they are: somebody may hold a pointer into
    /// their stacks. Those who join them are told.
    pub(crate) fn end(self) {
        let messages = self.shared.end();
        let mut left: Vec<HubRef> = self.started.take();
        left.extend(std::iter::from_fn(|| self.ready.pop()));
        left.extend(std::iter::from_fn(|| self.urgent.pop()));
        while let Some(timed) = self.timers.borrow_mut().pop_due(u64::MAX) {
            left.push(timed.block);
        }
        let mut unstarted = Vec::new();
        for greenlet in left {
            if let Some(coroutine) = greenlet.set_coroutine(None) {
                coroutine.leak();
            }
            if greenlet.is_stray() && greenlet.local().place.get() == Local::NOWHERE {
                unstarted.push(greenlet);
            } else if greenlet != self.main.hub_ref() {
                greenlet.abandon();
            }
        }
        crate::patching::tell_end(self.patch_waits.get());
        // What other threads have spawned and never ran is dropped, whether this has seen it or not; when all others have been told,
        // since the user's destructors may wait for them.
        for job in unstarted {
            job.refuse(JoinError::HubEnded);
            job.finish();
        }
        drop(messages);
        // The main greenlet's locals live as long as its thread.
        if let Some(extras) = self.main.hub_ref().local().extras.get() {
            extras.end();
            extras.forget_ended();
        }
        // Links that nothing will run are a user's values, and this is no place for his code.
        mem::forget(self.links.take());
        // Nor will the main greenlet be waited for any longer; with the count that the loop had of it.
        self.main.abandon();
        self.main.hub_ref().finish();
    }
}

/// A time that is as good as forever, and does not overflow the clock: 100 years.
pub(crate) fn far_away() -> Duration {
    Duration::from_secs(100 * 365 * 24 * 60 * 60)
}

/// The deadline that is a `Duration` away, however long it is.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout.min(far_away())).unwrap_or(now)
}

/// The first identifier that nobody has drawn.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A range of fresh identifiers, so that most spawns touch nothing shared.
fn next_ids() -> (u64, u64) {
    let start = NEXT_ID.fetch_add(1024, Ordering::Relaxed);
    (start, start + 1024)
}

/// One identifier, for a thread that has no hub.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// One more while it lives.
pub(crate) struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<usize>) -> Counted<'a> {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What a coroutine does with each job: the root of every greenlet's stack.
fn root(suspender: Suspender, message: usize) {
    // SAFETY: `resume` sends the greenlet that it has just bound, which is unfinished.
    let greenlet = unsafe { HubRef::from_message(message) };
    greenlet.local().suspender.set(Some(suspender));
    greenlet.run();
}

impl Drop for Hub {
    fn drop(&mut self) {
        // `end` takes the hub apart; what is left has no destructor that could run a user's code.
        debug_assert!(mem::take(&mut *self.started.borrow_mut()).is_empty());
    }
}
