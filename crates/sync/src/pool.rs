//! `Pool`: so many greenlets at a time.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{Greenlet, JoinError, JoinHandle, KillError, Waitable, Waiter, current, is_interrupt};

use crate::async_result::AsyncResult;
use crate::failure::Failure;
use crate::group::Group;
use crate::semaphore::{OwnedPermit, Semaphore};
use crate::time::deadline_after;

/// A [`Group`] of at most `size` members: whoever spawns one more waits until there is room. Like gevent's `Pool`.
///
/// It is a handle: its clones are the same pool, which greenlets of several hubs and threads may share; each spawns on its own hub.
/// Slots are taken in the order in which the spawners came, and come back when a member ends, in whichever way; only one that is
/// abandoned, since its hub's thread has ended, keeps its slot. Dropping the pool leaves its members alone.
///
/// Beside [`spawn`](Pool::spawn) it has what `multiprocessing.Pool` has: [`apply`](Pool::apply), [`map`](Pool::map),
/// [`imap`](Pool::imap).
///
/// # Examples
///
/// ```
/// use greenlet_hub::sleep;
/// use greenlet_sync::Pool;
/// use std::time::{Duration, Instant};
///
/// let (pool, start) = (Pool::new(10), Instant::now());
/// let squares = pool.map(0..20_u64, |n| { sleep(Duration::from_millis(5)); n * n });
/// assert_eq!(squares.into_iter().map(Result::unwrap).sum::<u64>(), 2470);
/// assert!(start.elapsed() >= Duration::from_millis(10)); // two rounds of ten
/// ```
#[derive(Clone)]
pub struct Pool {
    size: usize,
    slots: Arc<Semaphore>,
    members: Arc<Group>,
    /// The greenlets that wait for a slot or a result in somebody else's place. They take no slot.
    helpers: Arc<Group>,
    /// The greenlets that ask the inputs of [`Pool::imap`]. They end with the pool's members, and are not waited for.
    pub(crate) feeders: Arc<Group>,
}

impl Pool {
    /// A pool with so many slots.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet_sync::Pool::new(5).free_count(), 5);
    /// ```
    pub fn new(size: usize) -> Pool {
        Pool {
            size,
            slots: Arc::new(Semaphore::new(size)),
            members: Arc::new(Group::new()),
            helpers: Arc::new(Group::new()),
            feeders: Arc::new(Group::new()),
        }
    }

    /// Waits until there is room, and spawns a member on this thread's hub.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(1);
    /// let first = pool.spawn(|| 1);
    /// let second = pool.spawn(|| 2); // waits for the first
    /// assert!(first.is_finished());
    /// assert_eq!(second.join().unwrap(), 2);
    /// ```
    #[track_caller]
    pub fn spawn<T: 'static>(&self, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        let slot = self.slots.acquire_owned();
        self.spawn_in(slot, f)
    }

    /// Spawns a member if there is room. Never switches.
    ///
    /// # Errors
    ///
    /// Gives the closure back if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(1);
    /// pool.try_spawn(|| 1).expect("there is room");
    /// assert!(pool.try_spawn(|| 2).is_err());
    /// ```
    #[track_caller]
    pub fn try_spawn<T: 'static, F: FnOnce() -> T + 'static>(&self, f: F) -> Result<JoinHandle<T>, PoolFull<F>> {
        match self.slots.try_acquire_owned() {
            Some(slot) => Ok(self.spawn_in(slot, f)),
            None => Err(PoolFull(f)),
        }
    }

    /// Waits until there is room, at the most for `timeout`, and spawns a member.
    ///
    /// # Errors
    ///
    /// Gives the closure back if there was none.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = greenlet_sync::Pool::new(0);
    /// assert!(pool.spawn_timeout(Duration::from_millis(1), || 1).is_err());
    /// ```
    #[track_caller]
    pub fn spawn_timeout<T: 'static, F: FnOnce() -> T + 'static>(
        &self,
        timeout: Duration,
        f: F,
    ) -> Result<JoinHandle<T>, PoolFull<F>> {
        match self.slots.acquire_owned_timeout(timeout) {
            Some(slot) => Ok(self.spawn_in(slot, f)),
            None => Err(PoolFull(f)),
        }
    }

    #[track_caller]
    fn spawn_in<T: 'static>(&self, slot: OwnedPermit, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        // Whether the closure runs to its end, unwinds or is never called: it drops the slot.
        self.members.spawn(move || {
            let _slot = slot;
            f()
        })
    }

    /// How many more can be spawned without waiting.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(2);
    /// pool.spawn(|| ());
    /// assert_eq!(pool.free_count(), 1);
    /// ```
    pub fn free_count(&self) -> usize {
        self.slots.available()
    }

    /// How many slots there are.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet_sync::Pool::new(2).size(), 2);
    /// ```
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many members there are who have not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(2);
    /// pool.spawn(|| ());
    /// assert_eq!(pool.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member who has not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(greenlet_sync::Pool::new(2).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members who have not ended now. It does not see later ones.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(2);
    /// let member = pool.spawn(|| ());
    /// assert!(pool.iter().eq([member.greenlet().clone()]));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Greenlet> + use<> {
        self.members.iter()
    }

    /// Waits until there is room, without taking it: another may, before the caller does.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(1);
    /// pool.spawn(|| ());
    /// pool.wait_available();
    /// assert_eq!(pool.free_count(), 1);
    /// ```
    pub fn wait_available(&self) {
        self.slots.wait();
    }

    /// Waits until there is room, at the most for `timeout`; says whether there was.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// assert!(!greenlet_sync::Pool::new(0).wait_available_timeout(Duration::from_millis(1)));
    /// ```
    pub fn wait_available_timeout(&self, timeout: Duration) -> bool {
        self.slots.wait_timeout(timeout)
    }

    /// Waits until all members have ended, and what [`apply_async`](Pool::apply_async) and [`map_async`](Pool::map_async) have begun.
    ///
    /// A member who calls it does not wait for himself.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(2);
    /// let member = pool.spawn(|| ());
    /// pool.join();
    /// assert!(member.is_finished());
    /// ```
    pub fn join(&self) {
        self.join_deadline(None);
    }

    /// Waits as [`join`](Pool::join), at the most for `timeout`; says whether all have ended.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = greenlet_sync::Pool::new(2);
    /// pool.spawn(|| greenlet_hub::sleep(Duration::from_secs(60)));
    /// assert!(!pool.join_timeout(Duration::from_millis(1)));
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.join_deadline(deadline_after(timeout))
    }

    fn join_deadline(&self, deadline: Option<Instant>) -> bool {
        loop {
            if !self.members.join_deadline(deadline) || !self.helpers.join_deadline(deadline) {
                return false;
            }
            // A helper may have spawned a member.
            if self.members.iter().all(|member| member == current()) {
                return true;
            }
        }
    }

    /// Kills all members and what waits for a slot by [`apply_async`](Pool::apply_async) and [`map_async`](Pool::map_async), and waits until
    /// they have ended; those who come meanwhile as well.
    ///
    /// A member who calls it is killed when the other members have ended.
    ///
    /// # Errors
    ///
    /// As [`Group::kill`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = greenlet_sync::Pool::new(2);
    /// pool.spawn(|| greenlet_hub::sleep(Duration::from_secs(60)));
    /// pool.kill()?;
    /// assert_eq!(pool.free_count(), 2);
    /// # Ok::<(), greenlet_hub::KillError>(())
    /// ```
    pub fn kill(&self) -> Result<(), KillError> {
        self.kill_deadline(None).map(drop)
    }

    /// Kills as [`kill`](Pool::kill), and waits for at the most `timeout`; says whether all have ended.
    ///
    /// # Errors
    ///
    /// As [`Group::kill`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = greenlet_sync::Pool::new(2);
    /// pool.spawn(|| greenlet_hub::sleep(Duration::from_secs(60)));
    /// assert!(pool.kill_timeout(Duration::from_secs(10))?);
    /// # Ok::<(), greenlet_hub::KillError>(())
    /// ```
    pub fn kill_timeout(&self, timeout: Duration) -> Result<bool, KillError> {
        self.kill_deadline(deadline_after(timeout))
    }

    fn kill_deadline(&self, deadline: Option<Instant>) -> Result<bool, KillError> {
        loop {
            // First those who would fill the slots that become free.
            self.helpers.kill_nowait()?;
            self.feeders.kill_nowait()?;
            if !self.members.kill_deadline(deadline)? || !self.helpers.kill_deadline(deadline)? {
                return Ok(false);
            }
            if self.members.iter().all(|member| member == current()) {
                return Ok(true);
            }
        }
    }

    /// Calls `f` in a member, and waits for what it returns. In a member of the pool it is called at once, without a slot of its own.
    ///
    /// So a member that applies something never waits for the slot that it has itself. If the caller is interrupted while he
    /// waits, the member is killed.
    ///
    /// # Errors
    ///
    /// How `f` ended if it did not return.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Pool::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(1);
    /// let inner = pool.clone();
    /// assert_eq!(pool.apply(move || inner.apply(|| 42).unwrap()).unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn apply<T: 'static>(&self, f: impl FnOnce() -> T + 'static) -> Result<T, JoinError> {
        if self.members.contains(current()) {
            return call(f);
        }
        let mut member = Members(vec![self.spawn(f)]);
        member.0[0].wait();
        member.0.remove(0).join()
    }

    /// Calls `f` in a member as soon as there is room, and returns at once what will be its result. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(1);
    /// let results: Vec<_> = (0..3).map(|n| pool.apply_async(move || n)).collect();
    /// assert!(results.iter().map(|result| result.get().unwrap()).eq(0..3));
    /// ```
    #[track_caller]
    pub fn apply_async<T: 'static>(&self, f: impl FnOnce() -> T + 'static) -> AsyncResult<T> {
        match self.try_spawn(f) {
            Ok(member) => self.promise(move || member.join()),
            Err(PoolFull(f)) => {
                let pool = self.clone();
                self.promise(move || pool.spawn(f).join())
            }
        }
    }

    /// Calls `f` with each of the input, each in a member, and waits for all; their results in the order of the input.
    ///
    /// The input is asked for the next when there is room for it. If the caller is interrupted, or the input panics, the
    /// members are killed. For an input without end there is [`imap`](Pool::imap).
    ///
    /// Called in a member of the pool, it calls `f` there and then, one after the other, as [`apply`](Pool::apply) does.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(2);
    /// let numbers: Vec<_> = pool.map(["1", "two", "3"], |text| text.parse::<u32>().unwrap());
    /// assert!(numbers[1].is_err());
    /// assert_eq!(numbers.into_iter().flatten().collect::<Vec<_>>(), [1, 3]);
    /// ```
    #[track_caller]
    pub fn map<I: IntoIterator, R: 'static>(
        &self,
        input: I,
        f: impl Fn(I::Item) -> R + 'static,
    ) -> Vec<Result<R, JoinError>>
    where
        I::Item: 'static,
    {
        if self.members.contains(current()) {
            // As `apply`: a member that waits for room may be what fills the pool.
            return input.into_iter().map(|item| call(|| f(item))).collect();
        }
        let f = Rc::new(f);
        let mut members = Members(Vec::new());
        let mut input = input.into_iter();
        loop {
            // Room first, so that nothing is taken from the input which then has to wait. But it takes the slot only after: the
            // input may be slow, or use the pool itself.
            self.wait_available();
            let Some(item) = input.next() else { break };
            let f = Rc::clone(&f);
            members.0.push(self.spawn(move || f(item)));
        }
        members.0.iter().for_each(|member| member.wait());
        std::mem::take(&mut members.0).into_iter().map(JoinHandle::join).collect()
    }

    /// Begins what [`map`](Pool::map) does, and returns at once what will be its result. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_sync::Pool::new(2);
    /// let doubled = pool.map_async(0..3, |n| 2 * n);
    /// let doubled: Vec<u32> = doubled.get().unwrap().into_iter().map(Result::unwrap).collect();
    /// assert_eq!(doubled, [0, 2, 4]);
    /// ```
    #[track_caller]
    pub fn map_async<I: IntoIterator + 'static, R: 'static>(
        &self,
        input: I,
        f: impl Fn(I::Item) -> R + 'static,
    ) -> AsyncResult<Vec<Result<R, Failure>>>
    where
        I::Item: 'static,
    {
        let pool = self.clone();
        self.promise(move || {
            let results = call(move || pool.map(input, f))?;
            Ok(results.into_iter().map(|result| result.map_err(Failure::from)).collect())
        })
    }

    /// Has a greenlet that takes no slot wait for a result.
    #[track_caller]
    fn promise<T: 'static>(&self, wait: impl FnOnce() -> Result<T, JoinError> + 'static) -> AsyncResult<T> {
        let result = AsyncResult::new();
        let promise = Promise(result.clone());
        self.helpers.spawn(move || {
            let promise = promise;
            promise.0.set_result(wait().map_err(Failure::from));
        });
        result
    }
}

/// Calls `f`, and makes an error of its panic.
fn call<T>(f: impl FnOnce() -> T) -> Result<T, JoinError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        if is_interrupt(&*payload) {
            resume_unwind(payload);
        }
        JoinError::Panicked(payload)
    })
}

impl Waitable for Pool {
    /// Whether there is room.
    fn is_ready(&self) -> bool {
        self.slots.is_ready()
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.slots.subscribe(waiter);
    }

    fn unsubscribe(&self, waiter: &Waiter) {
        self.slots.unsubscribe(waiter);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// There is no room in the pool; this is the closure.
#[derive(Clone, Copy)]
pub struct PoolFull<F>(pub F);

impl<F> fmt::Debug for PoolFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolFull").finish_non_exhaustive()
    }
}

impl<F> fmt::Display for PoolFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no room in the pool")
    }
}

impl<F> Error for PoolFull<F> {}

/// Members whose results nobody else wants: killed if this is dropped with them.
struct Members<T>(Vec<JoinHandle<T>>);

impl<T> Drop for Members<T> {
    fn drop(&mut self) {
        for member in &self.0 {
            // None is a main greenlet, and where nothing unwinds nobody comes here.
            let _ = member.kill_nowait();
        }
    }
}

/// A result that is there at the end: if nothing else was set, that its greenlet was killed.
struct Promise<T: 'static>(AsyncResult<T>);

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if !self.0.is_ready() {
            self.0.set_error(Failure::Killed);
        }
    }
}
