//! A job for an OS thread, and the handle that takes its result.
//!
//! Closure, result and those who wait for it are one allocation, which the pool and the handle share: the one knows it as
//! something to run, the other as something with a result of type `T`.
//!
//! **Who drops the result.** Whoever takes it; or the handle, when it is dropped; or, if that was before there was a result, the thread that made it,
//! at the end of the job. So the last reference, wherever that is, frees plain memory.

use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::block::drop_quietly;
use crate::current::with_passing_hub;
use crate::fork;
use crate::greenlet::JoinError;
use crate::hub::{Hub, deadline_after};
use crate::short_lock::ShortLock;
use crate::wait_list::WaitQueue;
use crate::waitable::Waitable;
use crate::waiter::{Reason, Wait, Waiter};

use super::workers::Turn;

/// What waits for a job wait for.
pub(super) const REASON: Reason = Reason::new("an offloaded job");

/// What a pool's thread can run, once.
pub(crate) trait Run: Send + Sync {
    /// Runs it. Nothing unwinds out of this. Calls [`Turn::complete`] before anybody who waits for it can know, and after that nothing that takes
    /// long.
    fn run(&self, turn: &Turn<'_>);

    /// Ends it without having run, since there is no thread for it.
    fn refuse(&self, err: io::Error);
}

/// What the handle sees of a job.
trait Outcome<T>: Send + Sync {
    fn is_done(&self) -> bool;

    /// Keeps a waiter until the job is done; false if it is.
    fn push_waiter(&self, waiter: Waiter) -> bool;

    /// The result, once, when the job is done.
    fn take(&self) -> Option<Result<T, JoinError>>;

    /// The same, of a parent's job in a forked child, if nobody was in the middle of looking at it.
    fn try_take(&self) -> Option<Result<T, JoinError>>;

    /// Says that nobody will take the result; if it is there, it is the caller's to drop.
    fn detach(&self) -> Option<Result<T, JoinError>>;
}

/// A closure on its way to its result.
pub(super) struct Job<F, T> {
    /// Set once the stage is `Done`, so that to ask takes no lock.
    done: AtomicBool,
    /// The handle is gone; changed under the lock only.
    detached: AtomicBool,
    state: ShortLock<State<F, T>>,
}

struct State<F, T> {
    stage: Stage<F, T>,
    /// Nearly always there is one who waits, and one needs no queue.
    first: Option<Waiter>,
    others: WaitQueue,
}

enum Stage<F, T> {
    Queued(F),
    Running,
    Done(Result<T, JoinError>),
    Taken,
}

impl<F, T> State<F, T> {
    fn take_result(&mut self) -> Option<Result<T, JoinError>> {
        match mem::replace(&mut self.stage, Stage::Taken) {
            Stage::Done(result) => Some(result),
            stage => {
                self.stage = stage;
                None
            }
        }
    }
}

impl<F, T> Job<F, T> {
    pub(super) fn new(f: F) -> Job<F, T> {
        let state = State { stage: Stage::Queued(f), first: None, others: WaitQueue::new() };
        Job { done: AtomicBool::new(false), detached: AtomicBool::new(false), state: ShortLock::new(state) }
    }

    /// The closure, unless somebody has it already: whoever gets it decides what becomes of the job.
    pub(super) fn take_closure(&self) -> Option<F> {
        let mut state = self.state.lock();
        match mem::replace(&mut state.stage, Stage::Running) {
            Stage::Queued(f) => Some(f),
            stage => {
                state.stage = stage;
                None
            }
        }
    }

    /// Leaves the result to the handle; gives it back if there is none.
    fn finish(&self, result: Result<T, JoinError>) -> Option<Result<T, JoinError>> {
        let (first, others) = {
            let mut state = self.state.lock();
            if self.is_detached() {
                return Some(result);
            }
            state.stage = Stage::Done(result);
            self.done.store(true, Ordering::Release);
            (state.first.take(), state.others.take())
        };
        // Without the lock, since this may have to wake other threads.
        if let Some(first) = first {
            first.notify();
        }
        others.notify_all();
        None
    }

    fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }
}

impl<F, T> Run for Job<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(&self, turn: &Turn<'_>) {
        let Some(f) = self.take_closure() else { return };
        // As with a thread, whose thread-locals are gone when it can be joined: the hub ends first.
        let result = with_passing_hub(|| catch_unwind(AssertUnwindSafe(f)));
        let result = result.map_err(JoinError::Panicked);
        let unwanted = if self.is_detached() {
            Some(result)
        } else {
            turn.complete();
            self.finish(result)
        };
        if let Some(unwanted) = unwanted {
            // A user's value, whose destructor may take long.
            turn.go_on();
            with_passing_hub(|| drop_quietly(unwanted));
            turn.complete();
        }
    }

    fn refuse(&self, err: io::Error) {
        if let Some(f) = self.take_closure() {
            self.finish(Err(JoinError::NoThread(err)));
            drop_quietly(f);
        }
    }
}

impl<F: Send, T: Send> Outcome<T> for Job<F, T> {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn push_waiter(&self, waiter: Waiter) -> bool {
        let mut state = self.state.lock();
        if self.is_done() {
            return false;
        }
        match &state.first {
            Some(first) if first.is_waiting() => state.others.push_back(waiter),
            _ => state.first = Some(waiter),
        }
        true
    }

    fn take(&self) -> Option<Result<T, JoinError>> {
        self.state.lock().take_result()
    }

    fn try_take(&self) -> Option<Result<T, JoinError>> {
        self.state.try_lock()?.take_result()
    }

    fn detach(&self) -> Option<Result<T, JoinError>> {
        let state = self.state.lock();
        self.detached.store(true, Ordering::Relaxed);
        drop(state);
        self.take()
    }
}

/// The handle that takes the result of a job of a [`ThreadPool`](crate::ThreadPool). Any greenlet and any thread may wait with it.
///
/// Dropping it, or unwinding out of its [`join`](OffloadHandle::join), leaves the job to itself: it runs all the same, and its thread drops the result.
///
/// # Examples
///
/// ```
/// use greenlet_hub::ThreadPool;
///
/// let pool = ThreadPool::new(2);
/// let handle = pool.spawn(|| std::fs::read_dir("/").map(Iterator::count));
/// assert!(handle.join().unwrap()? > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a job whose handle is dropped goes on by itself"]
pub struct OffloadHandle<T> {
    job: Arc<dyn Outcome<T>>,
    /// When it was made: see `fork`. In a child of that process the job is the parent's, and its lock may be held.
    generation: u32,
}

impl<T> OffloadHandle<T> {
    pub(super) fn new<F: Send + 'static>(job: Arc<Job<F, T>>) -> OffloadHandle<T>
    where
        T: Send + 'static,
    {
        OffloadHandle { job, generation: fork::generation() }
    }

    /// Whether the job has ended, in whichever way.
    pub fn is_finished(&self) -> bool {
        self.job.is_done() || self.is_parents()
    }

    /// Waits until the job has ended.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
    pub fn wait(&self) {
        self.wait_deadline(None);
    }

    /// Waits until the job has ended, at the most for `timeout`; says whether it has.
    ///
    /// # Panics
    ///
    /// As [`wait`](OffloadHandle::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_finished() || self.wait_deadline(Some(deadline_after(timeout)))
    }

    /// Waits until the job has ended, and takes its result.
    ///
    /// # Errors
    ///
    /// [`JoinError::Panicked`] with the payload, if it panicked; [`JoinError::NoThread`] if the pool has no thread, and none could be started;
    /// [`JoinError::HubEnded`] in a forked child, if the job is the parent's and had not ended.
    ///
    /// # Panics
    ///
    /// As [`wait`](OffloadHandle::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{JoinError, ThreadPool};
    ///
    /// let pool = ThreadPool::new(1);
    /// let panicked = pool.spawn(|| { if true { panic!("out of luck") } });
    /// assert!(matches!(panicked.join(), Err(JoinError::Panicked(_))));
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        loop {
            self.wait();
            if self.is_parents() {
                return self.job.try_take().unwrap_or(Err(JoinError::HubEnded));
            }
            // Nobody else takes it, so it is there.
            if let Some(result) = self.job.take() {
                return result;
            }
        }
    }

    /// Waits until the job has ended, at the most for `timeout`, and takes its result.
    ///
    /// # Errors
    ///
    /// Gives the handle back if the job has not ended by then.
    ///
    /// # Panics
    ///
    /// As [`wait`](OffloadHandle::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::ThreadPool;
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (send, receive) = mpsc::channel();
    /// let handle = ThreadPool::new(1).spawn(move || receive.recv());
    /// let handle = handle.join_timeout(Duration::from_millis(1)).expect_err("it waits for the channel");
    /// send.send(7)?;
    /// assert_eq!(handle.join().unwrap(), Ok(7));
    /// # Ok::<(), mpsc::SendError<i32>>(())
    /// ```
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.join()) } else { Err(self) }
    }

    fn is_parents(&self) -> bool {
        fork::is_before(self.generation)
    }

    fn wait_deadline(&self, deadline: Option<Instant>) -> bool {
        while !self.is_finished() {
            let wait = Wait::begin(REASON);
            if !self.job.push_waiter(wait.waiter()) {
                break;
            }
            let _outside = Hub::here().count_outside();
            if !wait.notified(deadline) {
                return self.is_finished();
            }
        }
        true
    }
}

impl<T> Drop for OffloadHandle<T> {
    fn drop(&mut self) {
        if !self.is_parents() {
            drop(self.job.detach());
        }
    }
}

impl<T> Waitable for OffloadHandle<T> {
    /// Whether the job has ended.
    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    fn subscribe(&self, waiter: &Waiter) {
        // One that is not kept needs no notification: who subscribes asks again.
        if !self.is_parents() {
            self.job.push_waiter(waiter.clone());
        }
    }
}

impl<T> fmt::Debug for OffloadHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffloadHandle").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}

// What a handle gives access to is atomic, or a result that is moved out whole.
impl<T> UnwindSafe for OffloadHandle<T> {}
impl<T> RefUnwindSafe for OffloadHandle<T> {}
