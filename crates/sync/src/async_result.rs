//! `AsyncResult`: a value, or an error, that will be there later.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinHandle, Reason, ShortLock, Wait, WaitQueue, Waitable, Waiter, spawn};

use crate::failure::Failure;
use crate::future::{TakeAsync, take_async};
use crate::select::SelectGet;
use crate::time::deadline_after;

/// A value or an error that somebody sets and any number of greenlets and threads wait for. Like gevent's `AsyncResult`.
///
/// It is a handle: its clones are the same result. Each who gets it has a clone of the value; what is no `Clone` is read
/// through [`get_shared`](AsyncResult::get_shared).
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_sync::AsyncResult;
///
/// let answer = AsyncResult::<u32, String>::new();
/// spawn({ let answer = answer.clone(); move || answer.set(42) });
/// assert_eq!(answer.get(), Ok(42));
/// ```
pub struct AsyncResult<T, E = Failure> {
    state: Arc<ShortLock<State<T, E>>>,
}

struct State<T, E> {
    // Behind an `Arc`, so that nothing of the user's runs under the lock.
    result: Option<Arc<Result<T, E>>>,
    waiters: WaitQueue,
}

impl<T, E> AsyncResult<T, E> {
    /// One that is not ready.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    ///
    /// assert!(!AsyncResult::<u32, String>::new().is_ready());
    /// ```
    pub fn new() -> AsyncResult<T, E> {
        AsyncResult { state: Arc::new(ShortLock::new(State { result: None, waiters: WaitQueue::new() })) }
    }

    /// Sets the value, and wakes all who wait. Never switches. A second one overwrites the first.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::<u32, String>::new();
    /// result.set(1);
    /// result.set(2);
    /// assert_eq!(result.get(), Ok(2));
    /// ```
    pub fn set(&self, value: T) {
        self.set_result(Ok(value));
    }

    /// Sets an error, and wakes all who wait. Never switches. It overwrites what was there.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::<u32, String>::new();
    /// result.set_error("no answer".into());
    /// assert!(result.get().is_err());
    /// ```
    pub fn set_error(&self, err: E) {
        self.set_result(Err(err));
    }

    /// Sets the value or the error, and wakes all who wait. Never switches. It overwrites what was there.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::new();
    /// result.set_result("7".parse::<u32>());
    /// assert_eq!(result.get(), Ok(7));
    /// ```
    pub fn set_result(&self, result: Result<T, E>) {
        let result = Some(Arc::new(result));
        let (before, waiters) = {
            let mut state = self.state.lock();
            (std::mem::replace(&mut state.result, result), state.waiters.take())
        };
        waiters.notify_all();
        drop(before);
    }

    /// Whether a value or an error has been set.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::<u32, String>::new();
    /// result.set(1);
    /// assert!(result.is_ready());
    /// ```
    pub fn is_ready(&self) -> bool {
        self.state.lock().result.is_some()
    }

    /// Waits until it is ready, and gives a clone of what was set. Returns at once if it is ready.
    ///
    /// # Errors
    ///
    /// That which was set.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted; if `clone` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::<String, ()>::new();
    /// let getters = [(); 2].map(|()| spawn({ let result = result.clone(); move || result.get() }));
    /// result.set("for all".into());
    /// assert!(getters.into_iter().all(|getter| getter.join().unwrap().unwrap() == "for all"));
    /// ```
    pub fn get(&self) -> Result<T, E>
    where
        T: Clone,
        E: Clone,
    {
        Result::clone(&self.get_shared())
    }

    /// A future of a clone of what was set, for async tasks of any runtime. Never switches. `(&result).await` is the same.
    ///
    /// What is no `Clone` can be waited for by [`wait_async`](greenlet_hub::wait_async()), and shared by
    /// [`try_get_shared`](AsyncResult::try_get_shared).
    ///
    /// # Errors
    ///
    /// That which was set.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{block_on, spawn};
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::<u32, String>::new();
    /// spawn({ let result = result.clone(); move || result.set(1) });
    /// assert_eq!(block_on(result.get_async()), Ok(1));
    /// assert_eq!(block_on(async { (&result).await }), Ok(1));
    /// ```
    pub fn get_async(&self) -> TakeAsync<<Self as SelectGet>::Arm<'_>>
    where
        T: Clone,
        E: Clone,
    {
        take_async(self.select_get())
    }

    /// A clone of what was set, if it is ready. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::<u32, String>::new();
    /// assert_eq!(result.try_get(), None);
    /// result.set(1);
    /// assert_eq!(result.try_get(), Some(Ok(1)));
    /// ```
    pub fn try_get(&self) -> Option<Result<T, E>>
    where
        T: Clone,
        E: Clone,
    {
        self.try_get_shared().map(|result| Result::clone(&result))
    }

    /// Waits until it is ready, at the most for `timeout`, and gives a clone of what was set; `None` if nothing was.
    ///
    /// # Panics
    ///
    /// As [`get`](AsyncResult::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    /// use std::time::Duration;
    ///
    /// let result = AsyncResult::<u32, String>::new();
    /// assert_eq!(result.get_timeout(Duration::from_millis(1)), None);
    /// ```
    pub fn get_timeout(&self, timeout: Duration) -> Option<Result<T, E>>
    where
        T: Clone,
        E: Clone,
    {
        self.wait_timeout(timeout);
        self.try_get()
    }

    /// Waits until it is ready, and shares what was set: for what is no `Clone`, or large.
    ///
    /// # Panics
    ///
    /// As [`get`](AsyncResult::get).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    /// use std::io;
    ///
    /// let result = AsyncResult::<u32, io::Error>::new(); // no `Clone`
    /// result.set_error(io::ErrorKind::NotFound.into());
    /// assert!(matches!(&*result.get_shared(), Err(err) if err.kind() == io::ErrorKind::NotFound));
    /// ```
    pub fn get_shared(&self) -> Arc<Result<T, E>> {
        self.wait();
        self.try_get_shared().expect("it is ready, for good")
    }

    /// Shares what was set, if it is ready. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    ///
    /// assert!(AsyncResult::<u32, std::io::Error>::new().try_get_shared().is_none());
    /// ```
    pub fn try_get_shared(&self) -> Option<Arc<Result<T, E>>> {
        self.state.lock().result.clone()
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::AsyncResult;
    ///
    /// let result = AsyncResult::of(spawn(|| 6 * 7));
    /// result.wait();
    /// assert!(result.is_ready());
    /// ```
    pub fn wait(&self) {
        self.wait_until(|| None);
    }

    /// Waits until it is ready, at the most for `timeout`; says whether it is.
    ///
    /// # Panics
    ///
    /// As [`wait`](AsyncResult::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::AsyncResult;
    /// use std::time::Duration;
    ///
    /// assert!(!AsyncResult::<u32, String>::new().wait_timeout(Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(|| deadline_after(timeout))
    }

    #[inline]
    fn wait_until(&self, deadline: impl FnOnce() -> Option<Instant>) -> bool {
        let wait = {
            let mut state = self.state.lock();
            if state.result.is_some() {
                return true;
            }
            let wait = Wait::begin(Reason::new("a result"));
            state.waiters.push_back(wait.waiter());
            wait
        };
        // Set in the same turn of the loop as the time came: it is ready.
        wait.notified(deadline()) || self.is_ready()
    }

    /// Calls `f` with what was set when it is ready, in a greenlet of its own on the caller's hub. Never switches.
    ///
    /// Those of one hub are called in the order in which they were given, each in its own greenlet: a panic of one is
    /// reported and does not stop the others. Killing the greenlet takes the call back; it waits as long as nothing is set, so a result
    /// that never will be keeps it. Like gevent's `rawlink`.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::yield_now;
    /// use greenlet_sync::AsyncResult;
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let (result, seen) = (AsyncResult::<u32, String>::new(), Rc::new(Cell::new(0)));
    /// let call = result.on_done({ let seen = Rc::clone(&seen); move |result| seen.set(*result.as_ref().unwrap()) });
    /// result.set(1);
    /// call.join().unwrap();
    /// assert_eq!(seen.get(), 1);
    /// ```
    #[track_caller]
    pub fn on_done(&self, f: impl FnOnce(&Result<T, E>) + 'static) -> JoinHandle<()>
    where
        T: 'static,
        E: 'static,
    {
        let this = self.clone();
        spawn(move || f(&this.get_shared()))
    }
}

impl<T: 'static> AsyncResult<T> {
    /// The result of a greenlet, for many to get: ready when it ends. Never switches. As with `link(result)` in gevent.
    ///
    /// The error is why there is no value, as something that can be cloned.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::{AsyncResult, Failure};
    ///
    /// let answer = AsyncResult::of(spawn(|| 42));
    /// assert_eq!(answer.get().unwrap(), 42);
    /// assert_eq!(answer.get().unwrap(), 42);
    ///
    /// let killed = spawn(|| 42);
    /// killed.kill_nowait().unwrap();
    /// assert!(matches!(AsyncResult::of(killed).get(), Err(Failure::Killed)));
    /// ```
    #[track_caller]
    pub fn of(handle: JoinHandle<T>) -> AsyncResult<T> {
        let result = AsyncResult::new();
        let set = result.clone();
        let greenlet = handle.greenlet().clone();
        greenlet.link(move |_| set.set_result(handle.join().map_err(Failure::from)));
        result
    }
}

impl<T, E> Waitable for AsyncResult<T, E> {
    /// Whether a value or an error has been set.
    fn is_ready(&self) -> bool {
        AsyncResult::is_ready(self)
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.state.lock().waiters.push_back(waiter.clone());
    }
}

impl<'a, T: Clone, E: Clone> IntoFuture for &'a AsyncResult<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = TakeAsync<<AsyncResult<T, E> as SelectGet>::Arm<'a>>;

    /// See [`AsyncResult::get_async`].
    fn into_future(self) -> Self::IntoFuture {
        self.get_async()
    }
}

impl<T, E> Clone for AsyncResult<T, E> {
    /// Another handle on the same result.
    fn clone(&self) -> AsyncResult<T, E> {
        AsyncResult { state: Arc::clone(&self.state) }
    }
}

impl<T, E> Default for AsyncResult<T, E> {
    fn default() -> AsyncResult<T, E> {
        AsyncResult::new()
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for AsyncResult<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not under the lock: a user's `Debug` may do anything.
        f.debug_tuple("AsyncResult").field(&self.try_get_shared()).finish()
    }
}
