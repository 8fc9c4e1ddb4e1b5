//! Greenlets as their users see them: `spawn`, handles, `join`.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use crate::block::{Block, BlockRef, Options};
use crate::fork;
use crate::handle::Handle;
use crate::hub::{Hub, deadline_after};
use crate::hub_pool::HubPool;
use crate::waiter::{Reason, Timed};

/// Spawns a greenlet on this thread's hub. Never switches.
///
/// It runs when the spawner next waits: greenlets start in the order in which they were spawned. Neither `f` nor its result
/// has to be `Send`, since a greenlet never leaves its thread; greenlets of one hub may share an `Rc` or a `RefCell`.
///
/// Dropping the handle detaches the greenlet, which goes on by itself. Like gevent's `spawn`.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
///
/// let answer = spawn(|| 6 * 7);
/// assert_eq!(answer.join().unwrap(), 42);
/// ```
#[track_caller]
pub fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    spawn_with(None, None, f)
}

/// Spawns a greenlet that starts after the delay. Never switches.
///
/// A delay of zero still is a timer: it starts after what is ready now. Like gevent's `spawn_later`.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn_later;
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// let late = spawn_later(Duration::from_millis(5), Instant::now);
/// assert!(late.join().unwrap() - start >= Duration::from_millis(5));
/// ```
#[track_caller]
pub fn spawn_later<T: 'static>(delay: Duration, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    spawn_with(None, Some(deadline_after(delay)), f)
}

#[track_caller]
fn spawn_with<T: 'static>(
    options: Option<Box<Options>>,
    start: Option<Instant>,
    f: impl FnOnce() -> T + 'static,
) -> JoinHandle<T> {
    // SAFETY: neither the closure nor its result borrows anything.
    unsafe { spawn_any(options, start, f) }
}

/// Spawns a greenlet whose closure and result may borrow.
///
/// # Safety
///
/// What they borrow outlives the greenlet, and its handle; and the handle does not leave the thread unless that is `'static`.
#[track_caller]
pub(crate) unsafe fn spawn_unchecked<T>(f: impl FnOnce() -> T) -> JoinHandle<T> {
    // SAFETY: promised by the caller.
    unsafe { spawn_any(None, None, f) }
}

/// As [`spawn_unchecked`].
#[track_caller]
#[inline]
unsafe fn spawn_any<T>(options: Option<Box<Options>>, start: Option<Instant>, f: impl FnOnce() -> T) -> JoinHandle<T> {
    let spawned_at = Location::caller();
    let block = {
        let hub = Hub::here();
        let block = Block::allocate(f, &hub.memory, Some(hub.shared()), hub.next_id(), spawned_at, options);
        if let Some(extras) = hub.current().local().extras.get() {
            extras.bequeath(block.hub_ref());
        }
        match start {
            None => hub.push_ready(block.hub_ref()),
            Some(deadline) => {
                let timer = hub.arm(deadline, Timed { block: block.hub_ref(), number: 0 });
                block.hub_ref().local().extras().start.set(Some(timer));
            }
        }
        block
    };
    JoinHandle { greenlet: Greenlet { block }, marker: PhantomData }
}

/// Waits until all of them have ended; their results in the order given.
///
/// All handles are collected before it waits, so a lazy iterator that spawns has spawned them all. Like gevent's `joinall`.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{joinall, spawn};
///
/// let squares = joinall((1..=3).map(|n| spawn(move || n * n)));
/// let squares: Vec<i32> = squares.into_iter().map(Result::unwrap).collect();
/// assert_eq!(squares, [1, 4, 9]);
/// ```
pub fn joinall<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<Result<T, JoinError>> {
    let handles: Vec<JoinHandle<T>> = handles.into_iter().collect();
    handles.into_iter().map(JoinHandle::join).collect()
}

/// The greenlet that calls. On a thread's own stack that is the thread's main greenlet.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{current, spawn};
///
/// let greenlet = spawn(|| current().id());
/// let id = greenlet.id();
/// assert_eq!(greenlet.join().unwrap(), id);
/// ```
pub fn current() -> Greenlet {
    let hub = Hub::here();
    Greenlet { block: BlockRef::from_hub(&hub.current()) }
}

/// The [`id`](Greenlet::id) of the greenlet that calls, without a handle that would have to be counted.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{current, current_id};
///
/// assert_eq!(current_id(), current().id());
/// ```
#[inline]
pub fn current_id() -> u64 {
    Hub::here().current().id
}

/// A greenlet's handle that knows nothing of its result: for asking, and for waiting for its end from any thread.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Greenlet, spawn};
///
/// let handle = spawn(|| ());
/// let greenlet: Greenlet = handle.greenlet().clone();
/// // Greenlets of other hubs and plain threads wait through the same handle.
/// let other = std::thread::spawn({ let greenlet = greenlet.clone(); move || greenlet.wait() });
/// handle.join().unwrap();
/// other.join().unwrap();
/// assert!(greenlet.is_successful());
/// ```
#[derive(Clone)]
pub struct Greenlet {
    block: BlockRef,
}

impl Greenlet {
    /// A number that no other greenlet of this process has.
    pub fn id(&self) -> u64 {
        self.block.id
    }

    /// The name that it was given by [`Builder::name`]; a main greenlet has its thread's.
    pub fn name(&self) -> Option<&str> {
        self.block.name()
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.block.spawned_at
    }

    /// Whether it has begun to run.
    pub fn is_started(&self) -> bool {
        self.block.is_started()
    }

    /// Whether it has ended, in whichever way.
    pub fn is_finished(&self) -> bool {
        self.block.is_done()
    }

    /// Whether its closure has returned, rather than panicked or never run.
    pub fn is_successful(&self) -> bool {
        self.block.is_successful()
    }

    /// Waits until it has ended. Any number of greenlets and threads may wait.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](crate::no_switch()).
    #[inline]
    pub fn wait(&self) {
        if !self.block.is_done_unseen() {
            self.wait_deadline(None);
        }
    }

    /// Waits until it has ended, at the most for `timeout`; says whether it has.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](crate::no_switch()), unless it has ended.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.block.is_done_unseen() || self.wait_deadline(Some(deadline_after(timeout)))
    }

    #[inline(never)]
    pub(crate) fn wait_deadline(&self, deadline: Option<Instant>) -> bool {
        if fork::generation() > 0 {
            self.block.leave_if_lost();
        }
        while !self.is_finished() {
            let Some(joiners) = self.block.join_list() else { break };
            // A number is shown modulo 2^32; there are few greenlets that old.
            let reason = Reason::with_number("the end of greenlet", self.id() as u32);
            if !joiners.wait(reason, deadline, || self.is_finished()) && !self.is_finished() {
                return false;
            }
        }
        self.see_links();
        true
    }

    /// Waits until this hub's links to the greenlet, which has ended, have begun to run. They have, unless it ended on another
    /// hub just now, and that message is on its way.
    #[cold]
    fn see_links(&self) {
        let hub = Hub::here();
        while self.block.hub() != hub.id() && hub.switching_allowed() && hub.has_link_on(&self.block) {
            hub.yield_now();
        }
    }

    pub(crate) fn from_block(block: BlockRef) -> Greenlet {
        Greenlet { block }
    }

    pub(crate) fn block(&self) -> &BlockRef {
        &self.block
    }

    /// What the reports call it.
    pub(crate) fn label(block: &Block) -> impl fmt::Display {
        fmt::from_fn(move |f| match block.name() {
            Some(name) => write!(f, "greenlet '{name}' (id {}, spawned at {})", block.id, block.spawned_at),
            None => write!(f, "greenlet {} (spawned at {})", block.id, block.spawned_at),
        })
    }
}

impl fmt::Debug for Greenlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Greenlet").field("id", &self.id()).field("name", &self.name()))
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl AsRef<Greenlet> for Greenlet {
    fn as_ref(&self) -> &Greenlet {
        self
    }
}

impl PartialEq for Greenlet {
    /// Whether both handles are of the same greenlet.
    fn eq(&self, other: &Greenlet) -> bool {
        self.block() == other.block()
    }
}

impl Eq for Greenlet {}

// What a handle gives access to is atomic, or a result that is moved out whole.
impl UnwindSafe for Greenlet {}
impl RefUnwindSafe for Greenlet {}

/// The handle that takes a greenlet's result. It dereferences to the [`Greenlet`].
///
/// `Send` if `T` is: the result of a greenlet may be taken on another thread, as with [`std::thread::JoinHandle`].
/// Dropping it detaches the greenlet; its result is then dropped on its own hub's thread.
///
/// What is not `Send` is joined where it was made:
///
/// ```compile_fail,E0277
/// use greenlet_hub::{HubPool, spawn};
///
/// let greenlet = spawn(|| std::rc::Rc::new(7));
/// HubPool::global().spawn(move || *greenlet.join().unwrap());
/// ```
pub struct JoinHandle<T> {
    greenlet: Greenlet,
    marker: PhantomData<T>,
}

impl<T> JoinHandle<T> {
    /// Waits until the greenlet has ended, and takes its result.
    ///
    /// # Errors
    ///
    /// How it ended if its closure did not return; see [`JoinError`].
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](crate::no_switch()), unless it has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{JoinError, spawn};
    ///
    /// assert_eq!(spawn(|| "done").join().unwrap(), "done");
    /// let panicked = spawn(|| { if true { panic!("no") } });
    /// assert!(matches!(panicked.join(), Err(JoinError::Panicked(_))));
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        self.wait();
        self.take()
    }

    /// Waits until the greenlet has ended, at the most for `timeout`, and takes its result.
    ///
    /// # Errors
    ///
    /// Gives the handle back if the greenlet has not ended by then.
    ///
    /// # Panics
    ///
    /// Inside [`no_switch`](crate::no_switch()), unless it has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{sleep, spawn};
    /// use std::time::Duration;
    ///
    /// let slow = spawn(|| { sleep(Duration::from_millis(20)); 7 });
    /// let slow = slow.join_timeout(Duration::from_millis(1)).expect_err("it still sleeps");
    /// assert_eq!(slow.join().unwrap(), 7);
    /// ```
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, JoinError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// The handle without the result, to be cloned and sent elsewhere.
    pub fn greenlet(&self) -> &Greenlet {
        &self.greenlet
    }

    /// The handle of a job that another hub is to run.
    pub(crate) fn of_stray(block: BlockRef) -> JoinHandle<T>
    where
        T: Send,
    {
        JoinHandle { greenlet: Greenlet { block }, marker: PhantomData }
    }

    /// The result of one that has ended.
    pub(crate) fn take(self) -> Result<T, JoinError> {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the greenlet is moved out of it once.
        let greenlet = unsafe { std::ptr::read(&raw const this.greenlet) };
        // SAFETY: this was the one handle with that `T`, and it is used up.
        unsafe { greenlet.block.take_result() }
    }
}

impl<T> Deref for JoinHandle<T> {
    type Target = Greenlet;

    fn deref(&self) -> &Greenlet {
        &self.greenlet
    }
}

impl<T> AsRef<Greenlet> for JoinHandle<T> {
    fn as_ref(&self) -> &Greenlet {
        &self.greenlet
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: this is the one handle; it has not taken the result, or it would not be dropped.
        unsafe { self.greenlet.block.detach() };
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(&self.greenlet).finish()
    }
}

impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

/// Why there is no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The closure panicked; this is the payload, as [`std::thread::JoinHandle::join`] gives it.
    Panicked(Box<dyn Any + Send + 'static>),
    /// The greenlet was killed.
    Killed,
    /// There was no memory, or no mapping, for a stack when it should have run for the first time.
    NoStack(io::Error),
    /// The thread of its hub ended before it did.
    HubEnded,
    /// No thread could be started for a job of a [`ThreadPool`](crate::ThreadPool) that has none.
    NoThread(io::Error),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(payload) => match panic_text(payload.as_ref()) {
                Some(text) => write!(f, "the greenlet panicked: {text}"),
                None => f.write_str("the greenlet panicked"),
            },
            JoinError::Killed => f.write_str("the greenlet was killed"),
            JoinError::NoStack(err) => write!(f, "there was no stack for the greenlet: {err}"),
            JoinError::HubEnded => f.write_str("the thread of the greenlet's hub has ended"),
            JoinError::NoThread(err) => write!(f, "no thread could be started for the job: {err}"),
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            JoinError::NoStack(err) | JoinError::NoThread(err) => Some(err),
            _ => None,
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    (payload.downcast_ref::<&str>().copied()).or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Settings for a greenlet, as [`std::thread::Builder`] has them for threads.
///
/// # Examples
///
/// ```
/// use greenlet_hub::Builder;
///
/// let worker = Builder::new().name("worker").stack_size(1 << 20).spawn(|| ());
/// assert_eq!(worker.name(), Some("worker"));
/// worker.join().unwrap();
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `spawn` is called"]
pub struct Builder {
    options: Options,
}

impl Builder {
    /// The defaults: no name, 244 KiB of stack unless [`Config::stack_size`](crate::Config::stack_size) says otherwise.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the greenlet, for reports.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.options.name = Some(name.into());
        self
    }

    /// Sets the size of its stack in bytes: 32 KiB at the least, rounded up to a size class, at most an eighth larger.
    ///
    /// It is address space: only what is touched takes memory. If there is no room when the greenlet is to run for the
    /// first time, it ends with [`JoinError::NoStack`].
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.options.stack_size = Some(bytes);
        self
    }

    /// Spawns the greenlet on this thread's hub. Never switches. See [`spawn`].
    #[track_caller]
    pub fn spawn<T: 'static>(self, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        spawn_with(Some(Box::new(self.options)), None, f)
    }

    /// Spawns the greenlet after a delay. Never switches. See [`spawn_later`].
    #[track_caller]
    pub fn spawn_later<T: 'static>(self, delay: Duration, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        spawn_with(Some(Box::new(self.options)), Some(deadline_after(delay)), f)
    }

    /// Spawns the greenlet on another thread's hub. Never switches. See [`Handle::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{Builder, Handle};
    ///
    /// let worker = Builder::new().name("worker").spawn_on(&Handle::current(), || 7);
    /// assert_eq!(worker.join().unwrap(), 7);
    /// ```
    #[track_caller]
    pub fn spawn_on<T: Send + 'static>(self, hub: &Handle, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        hub.spawn_at(Location::caller(), Some(Box::new(self.options)), f)
    }

    /// Spawns the greenlet on whichever hub of the pool is free. Never switches. See [`HubPool::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{Builder, HubPool};
    ///
    /// let worker = Builder::new().name("worker").spawn_in(HubPool::global(), || 7);
    /// assert_eq!(worker.join().unwrap(), 7);
    /// ```
    #[track_caller]
    pub fn spawn_in<T: Send + 'static>(self, pool: &HubPool, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        pool.spawn_with(Some(Box::new(self.options)), f)
    }
}
