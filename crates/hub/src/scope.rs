//! `scope`: greenlets that may borrow from the stack of the one that spawns them.
//!
//! **Why this is sound.** What a child borrows outlives `'scope`, and `scope` does not return or unwind while a child lives. A child that has
//! ended has dropped its closure; its result is dropped by its handle, which cannot leave the scope, or before it ended.
//! Nothing in between can unwind: the body is caught, an interrupt of the join is kept until the children have ended, a deadlock that they do
//! not end for aborts the process, and so does any panic in here. Where the thread's hub ends under a greenlet that waits in
//! here, its stack is leaked, and with it all that the children, leaked as well, may point to.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::greenlet::{Greenlet, JoinError, JoinHandle, spawn_unchecked};
use crate::hub::Hub;
use crate::waitable::Waitable;
use crate::waiter::{Outcome, Reason, Wait, Waiter};

/// Calls `f`, whose greenlets may borrow what lives longer than the call; waits until all of them have ended.
///
/// The greenlets run on the caller's hub, in turns with everybody else. If `f` panics, or is killed, or a time-out ends it, or
/// nothing can go on any more, the children are killed, and what happened goes on when they have ended. The same if that
/// happens in the wait for the children. A child that resists is waited for. Like [`std::thread::scope`] and trio's nursery; a child's
/// panic stays with its handle: [`task_group`](crate::task_group()) is for those that stand or fall together.
///
/// # Panics
///
/// If `f` does; to unwind, when the greenlet is interrupted; inside [`no_switch`](crate::no_switch()) and in the panic hook, at the call. Unlike
/// std's, it does not panic when a child has.
///
/// # Examples
///
/// ```
/// use greenlet_hub::scope;
///
/// let words = ["one", "two", "three"];
/// let mut longest = 0;
/// let lengths = scope(|s| {
///     let children = words.each_ref().map(|word| s.spawn(|| word.len()));
///     let lengths = children.map(|child| child.join().unwrap());
///     longest = *lengths.iter().max().unwrap();
///     lengths
/// });
/// assert_eq!((lengths, longest), ([3, 3, 5], 5));
/// ```
///
/// What a child borrows has to outlive the scope:
///
/// ```compile_fail,E0373
/// greenlet_hub::scope(|s| {
///     let inner = 1;
///     s.spawn(|| println!("{inner}"));
/// });
/// ```
///
/// ```compile_fail,E0499
/// let mut count = 0;
/// greenlet_hub::scope(|s| {
///     s.spawn(|| count += 1);
///     s.spawn(|| count += 1);
/// });
/// ```
///
/// and neither scope nor handle can leave it:
///
/// ```compile_fail
/// let mut leaked = None;
/// greenlet_hub::scope(|s| leaked = Some(s.spawn(|| ())));
/// ```
///
/// ```compile_fail
/// greenlet_hub::scope(|s| greenlet_hub::spawn(move || drop(s.spawn(|| ()))));
/// ```
///
/// ```compile_fail,E0277
/// greenlet_hub::scope(|s| {
///     let handle = s.spawn(|| ());
///     std::thread::scope(|threads| { threads.spawn(move || handle.join()); });
/// });
/// ```
pub fn scope<'env, T, F>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let hub = Hub::here();
    hub.assert_may_switch("scope");
    let scope = Scope { children: Children::default(), scope: PhantomData, env: PhantomData };
    let bomb = Bomb;
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if result.is_err() {
        scope.children.kill();
    }
    let interrupted = scope.children.join();
    std::mem::forget(bomb);
    match result {
        Ok(value) => {
            if interrupted {
                hub.raise();
            }
            value
        }
        Err(payload) => {
            // What the join met is the lesser evil.
            hub.take_deadlock();
            resume_unwind(payload)
        }
    }
}

/// Ends the process if a scope were left by a panic of our own, while children may live.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        crate::deadlock::abort("greenlet: a scope was about to be left while its children may live\n");
    }
}

/// Spawns greenlets that may borrow; see [`scope`](crate::scope()).
pub struct Scope<'scope, 'env: 'scope> {
    children: Children,
    // Invariant in both, as std's.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a greenlet that may borrow from outside the scope. Never switches. Children may spawn further ones.
    ///
    /// Once the scope kills its children, one that is spawned never runs.
    ///
    /// # Examples
    ///
    /// ```
    /// let numbers = vec![1, 2, 3];
    /// let sum = greenlet_hub::scope(|s| s.spawn(|| numbers.iter().sum::<i32>()).join().unwrap());
    /// assert_eq!(sum, 6);
    /// ```
    #[track_caller]
    pub fn spawn<T: 'scope>(&'scope self, f: impl FnOnce() -> T + 'scope) -> ScopedJoinHandle<'scope, T> {
        // SAFETY: what `f` and its result borrow outlives 'scope, and `scope` waits for the child before it returns.
        unsafe { self.children.spawn(f) }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("children", &self.children.unfinished()).finish_non_exhaustive()
    }
}

/// The greenlets that must not outlive a scope.
#[derive(Default)]
pub(crate) struct Children {
    all: RefCell<Vec<Greenlet>>,
    /// At this length those that have ended are swept out.
    sweep_at: Cell<usize>,
    /// They were killed, and so is whoever comes.
    killed: Cell<bool>,
}

impl Children {
    /// Spawns a child.
    ///
    /// # Safety
    ///
    /// [`join`](Self::join) is called, and returns, before anything ends that `f` or its result borrows.
    #[track_caller]
    pub(crate) unsafe fn spawn<'scope, T: 'scope>(
        &self,
        f: impl FnOnce() -> T + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        // SAFETY: promised by the caller; the handle carries the lifetime, and stays on this thread.
        let handle = unsafe { spawn_unchecked(f) };
        let child = handle.greenlet().clone();
        if self.killed.get() {
            kill(&child);
        }
        let mut all = self.all.borrow_mut();
        if all.len() >= self.sweep_at.get().max(16) {
            all.retain(|child| !child.is_finished());
            self.sweep_at.set(2 * all.len());
        }
        all.push(child);
        ScopedJoinHandle { handle, scope: PhantomData }
    }

    /// Kills all of them, and whoever is spawned from now on. Never switches.
    pub(crate) fn kill(&self) {
        self.killed.set(true);
        let all = self.all.borrow().clone();
        let current = crate::current();
        for child in all.iter().filter(|child| **child != current) {
            kill(child);
        }
    }

    /// Waits until all have ended; true if it was interrupted meanwhile, which has killed them.
    pub(crate) fn join(&self) -> bool {
        let mut interrupted = false;
        loop {
            let last = self.all.borrow().last().cloned();
            let Some(child) = last else { return interrupted };
            if child.is_finished() {
                // Perhaps not this one, if it has spawned another in its last moment; that is seen in the next round.
                self.all.borrow_mut().pop_if(|last| last.is_finished());
                continue;
            }
            let wait = Wait::begin(Reason::with_number("the end of a scope's child, greenlet", child.id() as u32));
            child.subscribe(&wait.waiter());
            if child.is_finished() {
                continue;
            }
            // Interrupted once, it only waits.
            let outcome = if interrupted { crate::shield(|| wait.until(None)) } else { wait.until(None) };
            if let Outcome::Interrupted(_) = outcome {
                // Raised by the caller, when nobody borrows any more. A deadlock that comes a second time aborts.
                interrupted = true;
                self.kill();
            }
        }
    }

    fn unfinished(&self) -> usize {
        self.all.borrow().iter().filter(|child| !child.is_finished()).count()
    }
}

fn kill(child: &Greenlet) {
    // A child is not a main greenlet; and where nothing can be unwound, it is simply waited for.
    let _ = child.kill_nowait();
}

/// The handle of a scope's greenlet; it dereferences to the [`Greenlet`]. It stays on its thread.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    // Not `Send`: a result that another thread let go of could be dropped after the scope.
    scope: PhantomData<(&'scope (), *mut ())>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits until the greenlet has ended, and takes its result. See [`JoinHandle::join`].
    ///
    /// # Errors
    ///
    /// How it ended if its closure did not return.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](crate::no_switch()), unless it has ended; to unwind when the greenlet is interrupted.
    pub fn join(self) -> Result<T, JoinError> {
        self.handle.join()
    }

    /// Waits until the greenlet has ended, at the most for `timeout`, and takes its result. See [`JoinHandle::join_timeout`].
    ///
    /// # Errors
    ///
    /// Gives the handle back if the greenlet has not ended by then.
    ///
    /// # Panics
    ///
    /// As [`join`](ScopedJoinHandle::join).
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, Self> {
        self.handle.join_timeout(timeout).map_err(|handle| ScopedJoinHandle { handle, scope: PhantomData })
    }
}

impl<T> Deref for ScopedJoinHandle<'_, T> {
    type Target = Greenlet;

    fn deref(&self) -> &Greenlet {
        &self.handle
    }
}

impl<T> AsRef<Greenlet> for ScopedJoinHandle<'_, T> {
    fn as_ref(&self) -> &Greenlet {
        &self.handle
    }
}

impl<T> Waitable for ScopedJoinHandle<'_, T> {
    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.handle.subscribe(waiter);
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedJoinHandle").field(self.handle.greenlet()).finish()
    }
}
