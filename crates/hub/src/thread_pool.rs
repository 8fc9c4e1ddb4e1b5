//! Pools of OS threads for code that blocks.

mod job;
mod workers;

use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config;
use crate::fork::PerProcess;
use crate::greenlet::JoinError;
use crate::hub::Hub;
use crate::interrupt::is_interrupt;
use crate::waiter::Reason;

use self::job::{Job, REASON};
use self::workers::Workers;

pub use self::job::OffloadHandle;
pub(crate) use self::job::Run;
pub(crate) use self::workers::{IdleThreads, Turn, begin_anew, copy_error};

/// How long a thread waits for a job before it ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// OS threads for code that blocks: greenlets, of any hub, and plain threads give it jobs and wait for them.
///
/// Threads are started when jobs come that no thread is free for, up to the pool's size; beyond that jobs are queued and run in the order in
/// which they came. A thread that has had no job for the pool's idle time-out ends, and until then it sleeps: an idle pool costs no processor time.
///
/// Dropping the pool does not wait: what is queued still runs, then the threads end. [`join`](ThreadPool::join) waits for that.
///
/// A job may use greenlets. They live on a hub that the job makes on its thread, and that ends with it. Thread-locals of the
/// thread stay from job to job. A job that waits for another one of the *same* pool may wait in vain if all threads do that; [`apply`](ThreadPool::apply) and
/// [`map`](ThreadPool::map) know the pool's own threads and do without another one. Like gevent's `ThreadPool`.
///
/// # No thread
///
/// The system may refuse a thread (`ulimit -u`, memory). While the pool has any, jobs that would have liked another one are queued for those.
/// If it has none, [`spawn`](ThreadPool::spawn)'s handle says so with [`JoinError::NoThread`], at once; `apply` and `map` panic with
/// that error, and [`try_spawn`](ThreadPool::try_spawn) gives the closure back.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{ThreadPool, joinall, spawn};
/// use std::sync::Arc;
///
/// let pool = Arc::new(ThreadPool::new(2));
/// let checksums = ["one", "two", "three"].map(|text| {
///     let pool = Arc::clone(&pool);
///     spawn(move || pool.apply(move || text.bytes().map(u32::from).sum::<u32>()))
/// });
/// let checksums: Vec<u32> = joinall(checksums).into_iter().map(Result::unwrap).collect();
/// assert_eq!(checksums, [322, 346, 536]);
/// ```
pub struct ThreadPool {
    workers: Arc<Workers>,
}

impl ThreadPool {
    /// A pool of at most `size` threads, of which none is started yet.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn new(size: usize) -> ThreadPool {
        ThreadPool::builder().size(size).build()
    }

    /// A pool with other settings than the usual ones.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::ThreadPool;
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPool::builder().size(4).idle_timeout(Duration::from_secs(1)).name("sqlite").build();
    /// assert_eq!(pool.apply(|| std::thread::current().name().map(str::to_owned)).as_deref(), Some("sqlite"));
    /// ```
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder {
            size: config::get().get_blocking_threads(),
            idle_timeout: IDLE_TIMEOUT,
            name: "greenlet-pool".to_owned(),
        }
    }

    /// The pool that [`offload`](crate::offload()) uses, which all hubs of the process share: of up to 64 threads, or as many as
    /// [`Config::blocking_threads`](crate::Config::blocking_threads) says.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::ThreadPool;
    ///
    /// // Begun now, waited for later.
    /// let reading = ThreadPool::global().spawn(|| std::fs::read("/proc/self/stat"));
    /// assert!(!reading.join().unwrap()?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn global() -> &'static ThreadPool {
        static POOL: PerProcess<OnceLock<ThreadPool>> = PerProcess::new();
        POOL.get().get_or_init(|| ThreadPool::builder().name("greenlet-block").build())
    }

    /// Has `f` run by one of the threads. Never switches, and never waits: while all threads are busy, it is queued.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2);
    /// let handles = [1, 2, 3].map(|n| pool.spawn(move || n * n));
    /// assert_eq!(handles.map(|handle| handle.join().unwrap()), [1, 4, 9]);
    /// ```
    ///
    /// ```compile_fail,E0277
    /// let here = std::rc::Rc::new(1);
    /// let handle = greenlet_hub::ThreadPool::new(1).spawn(move || *here); // not `Send`
    /// ```
    pub fn spawn<F, T>(&self, f: F) -> OffloadHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let job = Arc::new(Job::new(f));
        let handle = OffloadHandle::new(Arc::clone(&job));
        self.workers.submit(job);
        handle
    }

    /// Has `f` run by one of the threads, if one is free or can be started. Never switches, and never waits.
    ///
    /// # Errors
    ///
    /// Gives the closure back if it would have to be queued, or if there is no thread and none can be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::ThreadPool;
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPool::new(1);
    /// let (send, receive) = mpsc::channel();
    /// let Ok(busy) = pool.try_spawn(move || receive.recv()) else { panic!("nobody else has jobs") };
    /// let f = pool.try_spawn(|| 1).err().expect("the one thread is busy");
    /// assert_eq!(f(), 1);
    /// send.send(2)?;
    /// assert_eq!(busy.join().unwrap(), Ok(2));
    /// # Ok::<(), mpsc::SendError<i32>>(())
    /// ```
    pub fn try_spawn<F, T>(&self, f: F) -> Result<OffloadHandle<T>, F>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let job = Arc::new(Job::new(f));
        let handle = OffloadHandle::new(Arc::clone(&job));
        let mut taken_back = None;
        let runs = self.workers.try_submit(Arc::clone(&job) as Arc<dyn Run>, || {
            taken_back = job.take_closure();
            taken_back.is_some()
        });
        if runs {
            return Ok(handle);
        }
        // If it never was in the queue, it still is in the job.
        taken_back.or_else(|| job.take_closure()).map_or(Ok(handle), Err)
    }

    /// Runs `f` on one of the threads, and waits for its result.
    ///
    /// A greenlet that is killed or timed out while it waits is free at once, and the thread goes on and drops the result. On one of the
    /// pool's own threads `f` is simply called: that thread may block, and a pool whose threads wait for each other stands still. Like gevent's `apply`.
    ///
    /// # Panics
    ///
    /// If `f` does, with its payload, which is not reported a second time; if the pool has no thread and none can be started; inside
    /// [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_hub::ThreadPool::new(1);
    /// assert_eq!(pool.apply(|| 6 * 7), 42);
    /// ```
    pub fn apply<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.workers.is_own_thread() {
            return f();
        }
        let hub = Hub::here();
        hub.before_wait(REASON);
        let result = self.spawn(f).join();
        // A result that is there before the wait begins makes no switch, and a loop of such calls must not keep the others from running.
        hub.spend_budget();
        value_or_panic(result)
    }

    /// Calls `f` with each of the items, on the threads, and waits for the results: in the order of the items.
    ///
    /// The items are taken from the iterator before the first is waited for. A caller that is killed or timed out leaves what is queued to itself: it
    /// runs all the same. On one of the pool's own threads this is a plain loop. Like gevent's `map`.
    ///
    /// # Panics
    ///
    /// If `f` does: with the payload of the first item for which it did, after all calls have ended. Else as [`apply`](ThreadPool::apply).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_hub::ThreadPool::new(4);
    /// let lengths = pool.map(["/etc", "/usr", "/no such thing"], |dir| std::fs::read_dir(dir).map_or(0, Iterator::count));
    /// assert!(lengths[1] > 0 && lengths[2] == 0);
    /// ```
    pub fn map<I, R, F>(&self, items: I, f: F) -> Vec<R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let results: Vec<Result<R, JoinError>> = if self.workers.is_own_thread() {
            let call = |item| {
                catch_unwind(AssertUnwindSafe(|| f(item))).map_err(|payload| match is_interrupt(&*payload) {
                    // It is the caller who ends, here in the middle of the loop.
                    true => resume_unwind(payload),
                    false => JoinError::Panicked(payload),
                })
            };
            items.into_iter().map(call).collect()
        } else {
            let hub = Hub::here();
            hub.before_wait(REASON);
            let f = Arc::new(f);
            let spawn = |item| {
                let f = Arc::clone(&f);
                self.spawn(move || f(item))
            };
            let handles: Vec<OffloadHandle<R>> = items.into_iter().map(spawn).collect();
            let results = handles.into_iter().map(OffloadHandle::join).collect();
            hub.spend_budget();
            results
        };
        results.into_iter().map(value_or_panic).collect()
    }

    /// Waits until all that is queued has run and the threads have left the pool. The destructors of their thread-locals may still run then.
    ///
    /// On one of the pool's own threads it does not wait, as [`drop`].
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted: the threads end by themselves.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::ThreadPool;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static SUM: AtomicU32 = AtomicU32::new(0);
    /// let pool = ThreadPool::new(2);
    /// for n in 1..=10 {
    ///     drop(pool.spawn(move || SUM.fetch_add(n, Ordering::Relaxed)));
    /// }
    /// pool.join();
    /// assert_eq!(SUM.load(Ordering::Relaxed), 55);
    /// ```
    pub fn join(self) {
        let workers = Arc::clone(&self.workers);
        drop(self);
        if workers.is_own_thread() {
            return;
        }
        let _outside = Hub::here().count_outside();
        while !workers.has_ended() {
            workers.ended().wait(Reason::new("the end of a thread pool"), None, || workers.has_ended());
        }
    }

    /// Counts what the pool has and has done.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = greenlet_hub::ThreadPool::new(8);
    /// assert_eq!(pool.metrics().threads, 0);
    /// pool.apply(|| ());
    /// let metrics = pool.metrics();
    /// assert_eq!((metrics.threads, metrics.queued, metrics.completed), (1, 0, 1));
    /// ```
    pub fn metrics(&self) -> ThreadPoolMetrics {
        let counts = self.workers.counts();
        ThreadPoolMetrics {
            threads: counts.threads,
            idle: counts.idle,
            queued: counts.queued,
            completed: counts.completed,
        }
    }

    /// Has something run that is not a closure. See [`spawn`](ThreadPool::spawn).
    pub(crate) fn submit(&self, job: Arc<dyn Run>) {
        self.workers.submit(job);
    }
}

fn value_or_panic<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(value) => value,
        // The hook has reported it, on the thread where it came up.
        Err(JoinError::Panicked(payload)) => resume_unwind(payload),
        Err(err) => panic!("{err}"),
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.workers.close();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("ThreadPool").field("name", &self.workers.name).field("size", &self.workers.size))
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}

// No user's code runs while its state is being changed.
impl UnwindSafe for ThreadPool {}
impl RefUnwindSafe for ThreadPool {}

/// Settings for a [`ThreadPool`].
///
/// # Examples
///
/// ```
/// use greenlet_hub::ThreadPool;
///
/// // Threads one after the other, for a library that may not be used by two at once.
/// let pool = ThreadPool::builder().size(1).name("legacy").build();
/// assert_eq!(pool.map(1..=3, |n| n * 2), [2, 4, 6]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ThreadPoolBuilder {
    size: usize,
    idle_timeout: Duration,
    name: String,
}

impl ThreadPoolBuilder {
    /// Sets how many threads there are at the most; as many as [`offload`](crate::offload()) has, unless this is called.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn size(mut self, size: usize) -> ThreadPoolBuilder {
        assert!(size > 0, "a pool of no threads would run nothing");
        self.size = size;
        self
    }

    /// Sets how long a thread waits for a job before it ends: ten seconds, unless this is called.
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> ThreadPoolBuilder {
        self.idle_timeout = idle_timeout;
        self
    }

    /// Names the threads, for debuggers and panic messages; NUL bytes are left out. Linux shows the first 15 bytes.
    pub fn name(mut self, name: impl Into<String>) -> ThreadPoolBuilder {
        // A thread cannot be started with such a name.
        self.name = name.into().replace('\0', "");
        self
    }

    /// The pool; no thread is started yet.
    pub fn build(self) -> ThreadPool {
        ThreadPool { workers: Arc::new(Workers::new(self.size, self.idle_timeout, self.name)) }
    }
}

/// What a [`ThreadPool`] has and has done; see [`ThreadPool::metrics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadPoolMetrics {
    /// Threads that live, or are being started.
    pub threads: usize,
    /// Those of them that have no job.
    pub idle: usize,
    /// Jobs that no thread has begun.
    pub queued: usize,
    /// Jobs that have ended, by a panic too.
    pub completed: u64,
}
