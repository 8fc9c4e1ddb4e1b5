//! A hub, as other threads know it.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;

use crate::block::{Options, Stray};
use crate::greenlet::JoinHandle;
use crate::hub::Hub;
use crate::shared::{Message, Shared};

/// A handle on a thread's hub, usable on any thread.
///
/// # Examples
///
/// A thread that only serves what others give it:
///
/// ```
/// use greenlet_hub::{Handle, Reason, Wait};
/// use std::{sync::mpsc, thread};
///
/// let (sender, receiver) = mpsc::channel();
/// let server = thread::spawn(move || {
///     let wait = Wait::begin(Reason::new("the end"));
///     sender.send((Handle::current(), wait.waiter())).unwrap();
///     wait.notified(None);
/// });
/// let (handle, end) = receiver.recv().unwrap();
///
/// let there = handle.spawn(|| thread::current().id());
/// assert_eq!(there.join().unwrap(), server.thread().id());
/// end.notify();
/// server.join().unwrap();
/// ```
#[derive(Clone)]
pub struct Handle {
    shared: &'static Shared,
    id: u32,
}

impl Handle {
    /// The hub of this thread, which is made if there is none.
    pub fn current() -> Handle {
        let hub = Hub::here();
        Handle { shared: hub.shared(), id: hub.id() }
    }

    /// A number that no other hub of this process has had.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Spawns a greenlet on that hub. Never switches.
    ///
    /// It starts as soon as the hub looks at what other threads have left for it, after what is ready there; a hub that sleeps is woken.
    /// Closure and result go from one thread to another, so both have to be `Send`, as for [`std::thread::spawn`]. If the hub has ended, or
    /// ends before it has started the greenlet, that ends with [`JoinError::HubEnded`](crate::JoinError::HubEnded).
    ///
    /// The greenlet never leaves that hub. For one that may run on any hub that is free there is [`HubPool`](crate::HubPool).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::Handle;
    /// use std::thread;
    ///
    /// let here = Handle::current();
    /// let helper = thread::spawn(move || here.spawn(|| thread::current().id()));
    /// let greenlet = helper.join().unwrap();
    /// assert_eq!(greenlet.join().unwrap(), thread::current().id());
    /// ```
    ///
    /// What cannot leave its thread cannot be sent either:
    ///
    /// ```compile_fail,E0277
    /// let shared = std::rc::Rc::new(7);
    /// greenlet_hub::Handle::current().spawn(move || *shared);
    /// ```
    #[track_caller]
    pub fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.spawn_at(Location::caller(), None, f)
    }

    pub(crate) fn spawn_at<T: Send + 'static>(
        &self,
        spawned_at: &'static Location<'static>,
        options: Option<Box<Options>>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let (job, block) = Stray::new(f, spawned_at, options);
        let handle = JoinHandle::of_stray(block);
        if let Some(hub) = Hub::try_here()
            && hub.id() == self.id
        {
            hub.push_ready(job.adopt(hub));
        } else if self.is_alive() {
            self.shared.coming.fetch_add(1, Ordering::Relaxed);
            // If it ends before it sees this, the job is dropped, and says so.
            self.shared.send(Message::Spawn { hub: self.id, job });
        }
        handle
    }

    /// How many greenlets the hub has: those that have started and not ended, and those that are on their way to it.
    ///
    /// A measure of its load, for whoever has the choice; what its greenlets do now is not in it. Those that the hub's own greenlets have
    /// spawned and that have not started are not counted. 0 if the hub has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{Handle, spawn};
    ///
    /// let greenlet = spawn(|| Handle::current().load());
    /// assert_eq!(greenlet.join().unwrap(), 1);
    /// assert_eq!(Handle::current().load(), 0);
    /// ```
    pub fn load(&self) -> usize {
        if !self.is_alive() {
            return 0;
        }
        let started = usize::try_from(self.shared.gauges.greenlets.get()).unwrap_or(usize::MAX);
        started.saturating_add(self.shared.coming.load(Ordering::Relaxed))
    }

    /// Whether the hub still exists: its thread has not ended.
    pub fn is_alive(&self) -> bool {
        self.shared.id() == self.id && !self.shared.inbox.is_closed()
    }

    pub(crate) fn shared(&self) -> &'static Shared {
        self.shared
    }
}

impl PartialEq for Handle {
    /// Whether both are handles on the same hub.
    fn eq(&self, other: &Handle) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Handle {}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Handle").field("id", &self.id()).field("is_alive", &self.is_alive())).finish_non_exhaustive()
    }
}
