//! The jobs of a pool that no hub has started: where they lie, and how its hubs come by them.
//!
//! ```text
//!   spawn from outside ─► injector ──batch──┐
//!                                           ▼
//!   spawn on a hub of the pool ─► that hub's queue ──► the hub, when it has nothing ready
//!                                           └──batch──► another hub's queue, when that one has nothing
//! ```
//!
//! All queues are first in, first out, and crossbeam's. A job in a queue is a block without a hub and without a stack; it becomes its hub's in the
//! moment in which it starts, so one that waits behind a greenlet that computes can still be taken by another hub.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Instant;

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use crate::block::Stray;
use crate::fork;
use crate::gauges::Gauge;
use crate::greenlet::Greenlet;
use crate::hub::Hub;
use crate::hub_pool::Owner;
use crate::hub_pool::idle::Idle;
use crate::patching::Inside;
use crate::shared::{Message, Shared};
use crate::wait_list::WaitList;

/// What the hubs of a pool share.
pub(crate) struct Crew {
    /// When it was made: see `fork`. In a child of that process its hubs have ended, and what its locks guard is not looked at.
    generation: u32,
    injector: Injector<Stray>,
    pub(crate) members: Vec<Place>,
    idle: Idle,
    /// Nobody from outside may leave jobs any more.
    closing: AtomicBool,
    /// Nor anybody else.
    closed: AtomicBool,
    /// When what still runs is to be killed, once it is closing.
    deadline: Mutex<Option<Instant>>,
    /// How many hubs have nothing left while it is closing, and (in units of [`STIR`]) how often one has had something again.
    resting: AtomicU64,
    /// All hubs have had nothing left at one moment.
    done: AtomicBool,
    /// How many hubs have not ended, and who waits until none is left.
    running: AtomicUsize,
    pub(crate) ended: WaitList,
    /// What resisted its end.
    pub(crate) left: Mutex<Vec<Greenlet>>,
    /// The handles that users have on it.
    pub(crate) owner: OnceLock<Weak<Owner>>,
}

/// What the others know of a member.
pub(crate) struct Place {
    stealer: Stealer<Stray>,
    pub(crate) shared: &'static Shared,
    pub(crate) counts: Counts,
    /// Its main greenlet, which waits for the end.
    pub(crate) main: WaitList,
}

/// The counts of [`Crew::resting`] share a word.
const STIR: u64 = 1 << 32;

/// What a member has done.
#[derive(Default)]
pub(crate) struct Counts {
    /// Jobs of the pool that it has started.
    pub(crate) started: Gauge,
    /// Jobs that it took from another member's queue, to start them or to have them taken from its own.
    pub(crate) stolen: Gauge,
}

/// One hub's membership of a pool.
pub(crate) struct Member {
    pub(crate) crew: Arc<Crew>,
    index: usize,
    queue: Worker<Stray>,
    /// Whether it was woken for a job, and has not found one yet.
    called: Cell<bool>,
    /// Where the next search begins.
    victim: Cell<usize>,
    /// Whether it is counted as having nothing left.
    is_resting: Cell<bool>,
    /// Whether the last fair choice was for those from outside.
    outside_chosen: Cell<bool>,
}

impl Crew {
    /// The crew of hubs with these queues.
    pub(crate) fn new(members: impl IntoIterator<Item = (Stealer<Stray>, &'static Shared)>) -> Arc<Crew> {
        let place = |(stealer, shared)| Place { stealer, shared, counts: Counts::default(), main: WaitList::new() };
        let members: Vec<Place> = members.into_iter().map(place).collect();
        Arc::new(Crew {
            generation: fork::generation(),
            injector: Injector::new(),
            idle: Idle::new(members.len()),
            running: AtomicUsize::new(members.len()),
            members,
            closing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            deadline: Mutex::new(None),
            resting: AtomicU64::new(0),
            done: AtomicBool::new(false),
            ended: WaitList::new(),
            left: Mutex::default(),
            owner: OnceLock::new(),
        })
    }

    /// Leaves a job for whichever hub is free. Once the pool is closing, those from outside are dropped.
    pub(crate) fn leave(self: &Arc<Crew>, job: Stray) {
        let own = Hub::try_here().and_then(Hub::member).filter(|member| Arc::ptr_eq(&member.crew, self));
        match own {
            // Another hub could start it before this one has dropped it.
            Some(_) if self.closed.load(Ordering::Relaxed) => return,
            Some(member) => member.queue.push(job),
            None if self.is_closing() || self.is_parents() => return,
            None => {
                // It gives way to a thread that is in the middle of the same.
                let _inside = Inside::enter();
                self.injector.push(job);
            }
        }
        // Reads after the push, as `close` looks for jobs after it has set this.
        self.announce();
        if self.closed.load(Ordering::Relaxed) {
            self.drop_jobs();
        }
    }

    /// Wakes a hub for a job that was left, if that is necessary.
    #[inline]
    fn announce(&self) {
        if let Some(index) = self.idle.job_left() {
            let place = &self.members[index];
            place.shared.send(Message::Jobs);
        }
    }

    /// Whether it is that of a process of which this is a forked child.
    #[inline]
    pub(crate) fn is_parents(&self) -> bool {
        fork::is_before(self.generation)
    }

    /// Whether any job is in any queue.
    pub(crate) fn has_jobs(&self) -> bool {
        !self.injector.is_empty() || self.members.iter().any(|place| !place.stealer.is_empty())
    }

    /// How many jobs are in the queue of those from outside, and in the hubs' own.
    pub(crate) fn queued(&self) -> (usize, impl Iterator<Item = usize> + '_) {
        (self.injector.len(), self.members.iter().map(|place| place.stealer.len()))
    }

    /// From now on jobs from outside are refused, and the hubs end when nothing is left; at the deadline what is left is killed.
    pub(crate) fn begin_to_close(&self, deadline: Option<Instant>) {
        if self.is_parents() {
            return;
        }
        {
            let mut first = self.deadline();
            if !self.is_closing() {
                *first = deadline;
                self.closing.store(true, Ordering::Release);
            }
        }
        self.notify_mains();
    }

    fn notify_mains(&self) {
        for place in &self.members {
            place.main.notify_all();
        }
    }

    /// Whether nothing was left on any hub at one moment, after it was closing.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// When what still runs is to be killed.
    pub(crate) fn deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        crate::patching::lock(&self.deadline)
    }

    /// From now on all jobs are refused, and those that nobody has started never run.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.drop_jobs();
    }

    /// Says that one of the hubs has ended.
    pub(crate) fn leave_service(&self) {
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
            self.ended.notify_all();
        }
    }

    /// Whether all hubs have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0
    }

    fn drop_jobs(&self) {
        // A job's drop runs the user's, which may leave further jobs; those are dropped as well.
        while let Some(job) = steal_from(|| self.injector.steal()).or_else(|| self.steal_any()) {
            drop(job);
        }
    }

    fn steal_any(&self) -> Option<Stray> {
        self.members.iter().find_map(|place| steal_from(|| place.stealer.steal()))
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

/// Steals until it has got one or there is none.
fn steal_from(mut steal: impl FnMut() -> Steal<Stray>) -> Option<Stray> {
    loop {
        match steal() {
            Steal::Success(job) => return Some(job),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

impl Member {
    /// The membership of the hub that has this place.
    pub(crate) fn new(crew: Arc<Crew>, index: usize, queue: Worker<Stray>) -> Member {
        let (called, victim, outside_chosen) = (Cell::new(false), Cell::new(index), Cell::new(false));
        Member { crew, index, queue, called, victim, is_resting: Cell::new(false), outside_chosen }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.crew.members[self.index]
    }

    /// Says that nothing is left on this hub; whoever says it last finds out whether that is so everywhere, and ends the pool.
    ///
    /// Work comes to a hub as a job or as a message, and it stirs before it takes the one and as it takes the other. So if all rest, and there are
    /// neither jobs nor messages, and nobody has stirred in between, then nothing is left, and nothing can come but from outside.
    pub(crate) fn rest(&self) {
        let crew = &*self.crew;
        self.is_resting.set(true);
        // Acquires what all others did before they said the same.
        let word = crew.resting.fetch_add(1, Ordering::AcqRel) + 1;
        let all_rest = word % STIR == crew.members.len() as u64;
        let has_messages = |place: &Place| place.shared.inbox.has_messages();
        if all_rest
            && !crew.has_jobs()
            && !crew.members.iter().any(has_messages)
            && crew.resting.load(Ordering::Acquire) == word
        {
            crew.done.store(true, Ordering::Release);
            crew.notify_mains();
        }
    }

    /// Says that there may be something again, if this hub has said that nothing was left; its main greenlet is to look.
    #[inline]
    pub(crate) fn stir(&self) {
        if self.is_resting.replace(false) {
            self.crew.resting.fetch_add(STIR - 1, Ordering::AcqRel);
            self.place().main.notify_all();
        }
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.is_resting.get()
    }

    /// A job to be started at once. `fair`: one from outside before the hub's own every other time, so that neither those who spawn further jobs
    /// without end nor those who come from outside without end keep the others out.
    #[inline]
    pub(crate) fn take(&self, fair: bool) -> Option<Stray> {
        if self.is_resting() {
            if !self.crew.has_jobs() {
                return None;
            }
            self.stir();
        }
        if fair && let Some(job) = self.take_one_from_outside() {
            return Some(self.taken(job));
        }
        if let Some(job) = self.queue.pop() {
            return Some(self.taken(job));
        }
        self.search()
    }

    #[inline]
    fn taken(&self, job: Stray) -> Stray {
        self.place().counts.started.add(1);
        if self.called.take() && self.crew.has_jobs() {
            // The others that were left meanwhile relied on this one.
            self.crew.announce();
        }
        job
    }

    fn search(&self) -> Option<Stray> {
        if let Some(job) = self.take_from_injector().or_else(|| self.steal()) {
            return Some(self.taken(job));
        }
        self.called.set(false);
        None
    }

    /// One and no batch: where greenlets are always ready, each look takes one job, and the rest of a batch would wait while later ones are taken.
    fn take_one_from_outside(&self) -> Option<Stray> {
        self.outside_chosen.set(!self.outside_chosen.get());
        if self.crew.injector.is_empty() || !self.outside_chosen.get() && !self.queue.is_empty() {
            return None;
        }
        steal_from(|| self.crew.injector.steal())
    }

    fn take_from_injector(&self) -> Option<Stray> {
        if self.crew.injector.is_empty() {
            return None;
        }
        let job = steal_from(|| self.crew.injector.steal_batch_and_pop(&self.queue))?;
        self.moved();
        Some(job)
    }

    /// Takes half of what another hub has. Not always from the same one first.
    fn steal(&self) -> Option<Stray> {
        let members = &self.crew.members;
        let first = self.victim.get();
        self.victim.set(if first + 1 < members.len() { first + 1 } else { 0 });
        let others = members[first..].iter().chain(&members[..first]);
        for place in others.filter(|place| !place.stealer.is_empty()) {
            if let Some(job) = steal_from(|| place.stealer.steal_batch_and_pop(&self.queue)) {
                self.place().counts.stolen.add(1 + self.queue.len() as u64);
                self.moved();
                return Some(job);
            }
        }
        None
    }

    /// After jobs were moved to this queue: for a moment nobody could see them.
    fn moved(&self) {
        if !self.queue.is_empty() {
            self.crew.announce();
        }
    }

    /// Says that the hub is about to sleep; false if there is a job, so that it must not. [`wake_up`](Member::wake_up) is to follow.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.crew.idle.fall_asleep(self.index);
        !self.crew.has_jobs()
    }

    /// Says that the hub is awake.
    pub(crate) fn wake_up(&self) {
        if self.crew.idle.wake_up(self.index) {
            self.called.set(true);
        }
    }
}
