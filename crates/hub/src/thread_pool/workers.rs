//! The threads of a pool, and how a job finds one.
//!
//! # The protocol
//!
//! Everything that decides lies under one lock, which is held for some instructions: the queue, the stack of sleeping threads, and how many threads are
//! *searching*, which means awake (or being woken, or being started) and certain to look at the queue before they sleep.
//!
//! ```text
//!                    ┌─────────── a job ──────────────┐
//!                    ▼                                │
//!   started ──► searching ──(nothing, watched)──► sleeping ──(idle_timeout)──► ended
//!                │     ▲                              │
//!          a job │     │ no job left                  │ taken off the stack by a spawn
//!                ▼     │                              ▼
//!               running ◄──────────────────────── searching
//! ```
//!
//! **No job is lost.** After each step under the lock: *there are no more jobs in the queue than searching threads, or nobody sleeps and as
//! many threads are there as may be.* A spawn that finds more jobs than searching threads takes a sleeping one off the stack, the one that slept last, or
//! starts one; in both cases it counts it as searching there and then. A thread that has run a job is searching *before* anybody can know that the job has ended, so
//! calls one after the other need one thread; if it then finds that it has a result to drop, which may take long, it takes that back as if the jobs had
//! just come (`go_on`). A thread that takes a job takes it out of both numbers. A thread goes to sleep only with the queue empty, under the same lock. One that is being started and cannot be
//! takes its count back and wakes a sleeper in its place (`not_started`); if it was the last thread, the jobs in the queue are refused. So the queue is empty when
//! there is no thread; and each thread that takes a job tries again to start those that are missing. Two more things follow: a spawn wakes nobody while one is awake and looks for work, and it wakes without the lock.
//!
//! The wake-up itself is the thread's `park` token. A user's job may leave a token behind or use up one of ours, since the
//! docs of `park` allow it to return for nothing: what counts is whether the thread still stands in the stack.
//!
//! **Watching.** Both ways of a round trip through a pool are the wake-up of a sleeping thread, which takes some 45 µs here and a system
//! call. So a thread that has run a job watches the length of the queue for a while before it sleeps, if that has paid: see [`Spin`], which does the same
//! for hubs. One thread of a pool at a time does so.
//!
//! **The deadlock report** counts the process's threads, and has to know of those that only sleep here: [`IdleThreads`]. A thread counts as idle from the moment
//! in which it is put on the stack, after all that its last job did, to the one in which it is taken off, *by the thread that has work for it*. So a
//! look that finds all hubs asleep, twice and in the same sleep, and the same idle threads before and after it has counted the process's threads,
//! has found them all idle at the moment in which it counted.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use crate::deadlock;
use crate::fork::{self, PerProcess};
use crate::short_lock::{ShortGuard, ShortLock};
use crate::spin::Spin;
use crate::wait_list::WaitList;

use super::job::Run;

/// How many threads all pools of the process have, those that are being started included.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// How many of them are idle, in the lower half; the upper one counts the changes.
static IDLE: AtomicU64 = AtomicU64::new(0);
const CHANGE: u64 = 1 << 32;

/// In a forked child there are none.
pub(crate) fn begin_anew() {
    THREADS.store(0, Ordering::SeqCst);
    IDLE.store(0, Ordering::SeqCst);
}

/// A look at how many threads of pools sleep, in the whole process. Two that are equal: none fell asleep and none was woken in between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleThreads(u64);

impl IdleThreads {
    pub(crate) fn now() -> IdleThreads {
        IdleThreads(IDLE.load(Ordering::SeqCst))
    }

    pub(crate) fn count(self) -> usize {
        self.0 as u32 as usize
    }

    /// Whether every thread of a pool is idle.
    pub(crate) fn are_all(self) -> bool {
        self.count() == THREADS.load(Ordering::SeqCst)
    }

    fn one_more() {
        IDLE.fetch_add(CHANGE + 1, Ordering::SeqCst);
    }

    fn one_less() {
        IDLE.fetch_add(CHANGE - 1, Ordering::SeqCst);
    }
}

/// The threads of one pool, and what waits for them.
pub(crate) struct Workers {
    /// In a forked child there are no threads, and the queue is the parent's.
    own: PerProcess<Own>,
    pub(super) size: usize,
    pub(super) idle_timeout: Duration,
    pub(super) name: String,
}

#[derive(Default)]
struct Own {
    state: ShortLock<State>,
    /// The length of the queue, for the thread that watches it.
    queued: AtomicUsize,
    completed: AtomicU64,
    /// Those who wait for the end of all threads.
    ended: WaitList,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<dyn Run>>,
    /// Those that run, or are being started.
    threads: usize,
    searching: usize,
    /// Those that sleep, the one that fell asleep last on top.
    idle: Vec<Thread>,
    /// Whether one of those that search watches the queue.
    watched: bool,
    /// The pool is gone: threads that find nothing end.
    closed: bool,
    /// Of the threads that run.
    ids: Vec<ThreadId>,
}

/// Whom a job needs, who was counted as searching already.
enum Summons {
    Nobody,
    Wake(Thread),
    Start,
}

/// How many threads and jobs there are.
pub(super) struct Counts {
    pub(super) threads: usize,
    pub(super) idle: usize,
    pub(super) queued: usize,
    pub(super) completed: u64,
}

impl State {
    /// Restores the rule: as many search as there are jobs, if there can be so many. `size`: up to so many threads may be started.
    fn summon(&mut self, size: usize) -> Summons {
        if self.queue.len() <= self.searching {
            return Summons::Nobody;
        }
        if let Some(idle) = self.idle.pop() {
            IdleThreads::one_less();
            self.searching += 1;
            return Summons::Wake(idle);
        }
        if self.threads < size {
            self.threads += 1;
            self.searching += 1;
            return Summons::Start;
        }
        Summons::Nobody
    }

    fn forget_thread(&mut self) {
        self.searching -= 1;
        self.threads -= 1;
        THREADS.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Workers {
    pub(super) fn new(size: usize, idle_timeout: Duration, name: String) -> Workers {
        fork::register();
        Workers { own: PerProcess::new(), size, idle_timeout, name }
    }

    fn state(&self) -> &ShortLock<State> {
        &self.own.get().state
    }

    /// Those who wait for the end of all threads.
    pub(super) fn ended(&self) -> &WaitList {
        &self.own.get().ended
    }

    /// Has a job run by the next thread that is free. If there is no thread at all and none can be started, it is refused.
    pub(super) fn submit(self: &Arc<Self>, job: Arc<dyn Run>) {
        let summons = {
            let mut state = self.state().lock();
            state.queue.push_back(job);
            self.note_length(&state);
            state.summon(self.size)
        };
        self.follow_if_possible(summons);
    }

    /// Has a job run at once; false if no thread is free, or none could be started.
    ///
    /// `take_back`: makes sure that the job, which is in the queue, is not run any more; false if it is too late for that.
    pub(super) fn try_submit(self: &Arc<Self>, job: Arc<dyn Run>, take_back: impl FnOnce() -> bool) -> bool {
        let summons = {
            let mut state = self.state().lock();
            if state.queue.len() >= state.searching && state.idle.is_empty() && state.threads >= self.size {
                return false;
            }
            state.queue.push_back(Arc::clone(&job));
            self.note_length(&state);
            state.summon(self.size)
        };
        let Err(err) = self.follow(summons) else { return true };
        // Before the queue, which may be refused.
        let taken_back = take_back();
        let removed = taken_back.then(|| {
            let mut state = self.state().lock();
            let place = state.queue.iter().position(|queued| Arc::ptr_eq(queued, &job));
            let removed = place.and_then(|place| state.queue.remove(place));
            self.note_length(&state);
            removed
        });
        drop(removed);
        self.not_started(&err);
        !taken_back
    }

    fn note_length(&self, state: &State) {
        self.own.get().queued.store(state.queue.len(), Ordering::Relaxed);
    }

    fn follow_if_possible(self: &Arc<Self>, summons: Summons) {
        if let Err(err) = self.follow(summons) {
            self.not_started(&err);
        }
    }

    fn follow(self: &Arc<Self>, summons: Summons) -> io::Result<()> {
        match summons {
            Summons::Nobody => {}
            Summons::Wake(thread) => thread.unpark(),
            Summons::Start => {
                THREADS.fetch_add(1, Ordering::SeqCst);
                let workers = Arc::clone(self);
                thread::Builder::new().name(self.name.clone()).spawn(|| workers.work())?;
            }
        }
        Ok(())
    }

    /// Takes back what was counted for a thread that could not be started.
    fn not_started(&self, err: &io::Error) {
        let (refused, summons) = {
            let mut state = self.state().lock();
            state.forget_thread();
            let refused = if state.threads == 0 { mem::take(&mut state.queue) } else { VecDeque::new() };
            self.note_length(&state);
            // Somebody may have gone to sleep meanwhile, in the belief that this one would come.
            (refused, state.summon(0))
        };
        if let Summons::Wake(thread) = summons {
            thread.unpark();
        }
        for job in refused {
            job.refuse(copy_error(err));
        }
    }

    /// What each thread does.
    fn work(self: Arc<Self>) {
        let own = thread::current();
        self.state().lock().ids.push(own.id());
        let spin = Spin::new();
        // Counted by who started it.
        let turn = Turn { workers: &self, searching: Cell::new(true), generation: fork::generation() };
        // A job that has forked is all that the child's only thread had to do; it is none of those that the pool has there.
        while !fork::is_before(turn.generation)
            && let Some(job) = self.next(&own, &spin, &turn.searching)
        {
            job.run(&turn);
        }
    }

    /// A thread that was counted as searching is busy after all: what counted on it has to find another.
    fn go_on(self: &Arc<Self>) {
        let summons = {
            let mut state = self.state().lock();
            state.searching -= 1;
            state.summon(self.size)
        };
        self.follow_if_possible(summons);
    }

    /// Waits for a job; `None` when the thread is to end. `searching`: whether it is counted as such.
    fn next(self: &Arc<Self>, own: &Thread, spin: &Spin, searching: &Cell<bool>) -> Option<Arc<dyn Run>> {
        // Whether it watches, or has already done so.
        let (mut watches, mut has_watched) = (false, false);
        loop {
            {
                let mut state = self.state().lock();
                if mem::take(&mut watches) {
                    state.watched = false;
                }
                if let Some(job) = state.queue.pop_front() {
                    self.note_length(&state);
                    if searching.take() {
                        state.searching -= 1;
                    }
                    // Nobody, unless threads could not be started when the jobs behind this one came.
                    let summons = state.summon(self.size);
                    drop(state);
                    self.follow_if_possible(summons);
                    return Some(job);
                }
                if !searching.replace(true) {
                    state.searching += 1;
                }
                if state.closed {
                    return self.leave(state, own);
                }
                if has_watched || state.watched {
                    state.searching -= 1;
                    state.idle.push(own.clone());
                    IdleThreads::one_more();
                } else {
                    (watches, has_watched) = (true, true);
                    state.watched = true;
                }
            }
            if watches {
                let queued = &self.own.get().queued;
                spin.watch(None, || queued.load(Ordering::Relaxed) > 0);
            } else if !self.sleep(own, spin) {
                return None;
            } else {
                has_watched = false;
            }
        }
    }

    /// Sleeps until it has been taken off the stack; false if that was not for so long that the thread has ended.
    fn sleep(&self, own: &Thread, spin: &Spin) -> bool {
        deadlock::look_again_without_jobs();
        let start = Instant::now();
        let deadline = start.checked_add(self.idle_timeout);
        loop {
            match deadline {
                Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
                None => thread::park(),
            }
            let mut state = self.state().lock();
            let Some(place) = state.idle.iter().rposition(|idle| idle.id() == own.id()) else { break };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                state.idle.remove(place);
                IdleThreads::one_less();
                state.searching += 1;
                self.leave(state, own);
                return false;
            }
        }
        spin.slept(start.elapsed());
        true
    }

    /// Takes a thread that searches out of the pool.
    fn leave(&self, mut state: ShortGuard<'_, State>, own: &Thread) -> Option<Arc<dyn Run>> {
        state.forget_thread();
        state.ids.retain(|id| *id != own.id());
        let is_last = state.threads == 0;
        drop(state);
        deadlock::look_again_without_jobs();
        if is_last {
            self.ended().notify_all();
        }
        None
    }

    /// Has the threads end when the queue is empty.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.state().lock();
            state.closed = true;
            state.searching += state.idle.len();
            let idle = mem::take(&mut state.idle);
            idle.iter().for_each(|_| IdleThreads::one_less());
            idle
        };
        idle.iter().for_each(Thread::unpark);
    }

    /// Whether all threads have ended, and none will be started for what is in the queue.
    pub(super) fn has_ended(&self) -> bool {
        self.state().lock().threads == 0
    }

    /// Whether the calling thread is one of these.
    pub(super) fn is_own_thread(&self) -> bool {
        let own = thread::current().id();
        self.state().lock().ids.contains(&own)
    }

    pub(super) fn counts(&self) -> Counts {
        let own = self.own.get();
        let state = own.state.lock();
        Counts {
            threads: state.threads,
            idle: state.idle.len() + state.searching,
            queued: state.queue.len(),
            completed: own.completed.load(Ordering::Relaxed),
        }
    }
}

/// A thread while it runs a job.
pub(crate) struct Turn<'a> {
    workers: &'a Arc<Workers>,
    /// Whether the thread is counted as searching.
    searching: Cell<bool>,
    /// When it was begun: see `fork`.
    generation: u32,
}

impl Turn<'_> {
    /// Counts the job as completed, and its thread as one that searches: who knows of the end and spawns the next one needs no other.
    pub(crate) fn complete(&self) {
        if !fork::is_before(self.generation) && !self.searching.replace(true) {
            self.workers.own.get().completed.fetch_add(1, Ordering::Relaxed);
            self.workers.state().lock().searching += 1;
        }
    }

    /// Takes that back.
    pub(super) fn go_on(&self) {
        if !fork::is_before(self.generation) && self.searching.take() {
            self.workers.own.get().completed.fetch_sub(1, Ordering::Relaxed);
            self.workers.go_on();
        }
    }
}

/// The same error once more.
pub(crate) fn copy_error(err: &io::Error) -> io::Error {
    match err.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(err.kind(), err.to_string()),
    }
}
