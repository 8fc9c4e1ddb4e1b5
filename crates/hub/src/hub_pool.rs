//! A pool of hubs: how a program uses all cores.
//!
//! What a pool spawns is a *job* until a hub starts it; from then on it is a greenlet of that hub, for good. `crew` has the queues in which jobs
//! lie and are stolen, `idle` the protocol by which hubs sleep and are woken for them.

mod crew;
mod idle;

use std::fmt;
use std::io::{self, Write as _};
use std::panic::Location;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker;

use crate::block::{Options, Stray};
use crate::config;
use crate::fork::PerProcess;
use crate::greenlet::{Greenlet, JoinHandle};
use crate::handle::Handle;
use crate::hub::{Hub, deadline_after};
use crate::patching::Inside;
use crate::shutdown::{CLEANUP, shutdown};
use crate::waiter::Reason;

use self::crew::Crew;
pub(crate) use self::crew::Member;

/// How much longer than its grace a shutdown takes at the most, beside the time for cleanup.
const PATIENCE: Duration = Duration::from_millis(500);

/// Some OS threads with a hub each, which share the jobs that are spawned on the pool.
///
/// A job starts on whichever hub is free, and stays there: greenlets never change their thread, so they may use what is not `Send`, once
/// they run. What goes to another thread, the closure and its result, has to be `Send`. Jobs that have not started are taken over by hubs
/// that have nothing to do, so one whose greenlet computes for long keeps none from running. Hubs with nothing to do sleep.
///
/// A hub starts up to 61 jobs ([`Config::tick`](crate::Config::tick)) between two looks at sockets and timers. Jobs that compute for milliseconds each are
/// better on a pool of their own, or on a [`ThreadPool`](crate::ThreadPool), than on hubs that serve.
///
/// Everything works between the hubs of a pool as on one: joins, kills, links, and what [`sync`] has.
///
/// Cloning gives another handle on the same pool. When the last is dropped, the hubs end as soon as all that was spawned has ended; a program that
/// wants to wait for that calls [`shutdown`](HubPool::shutdown). When `main` returns, the process ends, whatever runs.
///
/// [`sync`]: https://docs.rs/greenlet-sync
///
/// # Examples
///
/// ```
/// use greenlet_hub::{HubPool, joinall};
///
/// let pool = HubPool::new(2)?;
/// let squares = joinall((1..=4).map(|n| pool.spawn(move || n * n)));
/// let squares: Vec<i32> = squares.into_iter().map(Result::unwrap).collect();
/// assert_eq!(squares, [1, 4, 9, 16]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// What cannot leave its thread cannot be sent:
///
/// ```compile_fail,E0277
/// let shared = std::rc::Rc::new(7);
/// greenlet_hub::HubPool::global().spawn(move || *shared);
/// ```
///
/// Nor can a result:
///
/// ```compile_fail,E0277
/// greenlet_hub::HubPool::global().spawn(|| std::rc::Rc::new(7));
/// ```
#[derive(Clone)]
pub struct HubPool {
    owner: Arc<Owner>,
}

pub(crate) struct Owner {
    crew: Arc<Crew>,
    handles: Vec<Handle>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl HubPool {
    /// Starts so many threads with a hub each.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started, or for a pool of none.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::HubPool;
    ///
    /// let pool = HubPool::new(2)?;
    /// assert_eq!(pool.handles().len(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(hubs: usize) -> io::Result<HubPool> {
        HubPool::builder().hubs(hubs).build()
    }

    /// Settings for a pool.
    pub fn builder() -> HubPoolBuilder {
        HubPoolBuilder { hubs: None, name: "greenlet-hub".into() }
    }

    /// The process's own pool, with as many hubs as [`Config::hubs`](crate::Config::hubs) says: one for each core that the process may use, if that was not
    /// set. It is made at the first call.
    ///
    /// # Panics
    ///
    /// If its threads cannot be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::HubPool;
    ///
    /// let there = HubPool::global().spawn(|| std::thread::current().id());
    /// assert_ne!(there.join().unwrap(), std::thread::current().id());
    /// ```
    pub fn global() -> &'static HubPool {
        static GLOBAL: PerProcess<OnceLock<HubPool>> = PerProcess::new();
        GLOBAL.get().get_or_init(|| match HubPool::builder().build() {
            Ok(pool) => pool,
            Err(err) => panic!("the threads of the global pool cannot be started: {err}"),
        })
    }

    /// The pool whose hub the caller runs on, unless all handles on it have been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::HubPool;
    ///
    /// let spawned = HubPool::global().spawn(|| {
    ///     let pool = HubPool::current().expect("this runs in one");
    ///     pool.spawn(|| 7).join().unwrap()
    /// });
    /// assert_eq!(spawned.join().unwrap(), 7);
    /// assert!(HubPool::current().is_none());
    /// ```
    pub fn current() -> Option<HubPool> {
        let owner = Hub::try_here()?.member()?.crew.owner.get()?.upgrade()?;
        Some(HubPool { owner })
    }

    /// Spawns a greenlet on whichever hub is free. Never switches.
    ///
    /// On a hub of the pool the job goes to that hub's own queue, from which the others take it if they have nothing to do; from elsewhere to one that
    /// they share. Both are first in, first out. If the pool has been shut down, the greenlet ends with
    /// [`JoinError::HubEnded`](crate::JoinError::HubEnded).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{HubPool, sleep};
    /// use std::time::Duration;
    ///
    /// let sleepers: Vec<_> = (0..10).map(|n| HubPool::global().spawn(move || { sleep(Duration::from_millis(5)); n })).collect();
    /// let sum: i32 = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).sum();
    /// assert_eq!(sum, 45);
    /// ```
    #[track_caller]
    pub fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.spawn_with(None, f)
    }

    #[track_caller]
    #[inline]
    pub(crate) fn spawn_with<T: Send + 'static>(
        &self,
        options: Option<Box<Options>>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let (job, block) = Stray::new(f, Location::caller(), options);
        let handle = JoinHandle::of_stray(block);
        self.owner.crew.leave(job);
        handle
    }

    /// The pool's hubs: for spawning on a certain one, and for comparing their [`load`](Handle::load).
    ///
    /// # Examples
    ///
    /// The hub with the fewest greenlets:
    ///
    /// ```
    /// use greenlet_hub::{Handle, HubPool};
    ///
    /// let idle = HubPool::global().handles().iter().min_by_key(|hub| hub.load()).expect("a pool has hubs");
    /// assert_eq!(idle.spawn(|| 7).join().unwrap(), 7);
    /// ```
    pub fn handles(&self) -> &[Handle] {
        &self.owner.handles
    }

    /// Spawns one greenlet on every hub. Never switches. The results come in the order of [`handles`](HubPool::handles).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{Handle, HubPool, joinall};
    ///
    /// let pool = HubPool::new(2)?;
    /// let hubs: Vec<Handle> = joinall(pool.each(Handle::current)).into_iter().map(Result::unwrap).collect();
    /// assert_eq!(hubs, pool.handles());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn each<T: Send + 'static>(&self, f: impl Fn() -> T + Send + Sync + 'static) -> Vec<JoinHandle<T>> {
        let f = Arc::new(f);
        let spawned_at = Location::caller();
        let spawn = |hub: &Handle| {
            let f = Arc::clone(&f);
            hub.spawn_at(spawned_at, None, move || f())
        };
        self.handles().iter().map(spawn).collect()
    }

    /// Ends the pool: waits until everything that was spawned on it has ended, kills what has not in `grace`, and waits for that cleanup for a second.
    ///
    /// From the call on, jobs from outside are refused; what the pool's own greenlets spawn meanwhile still runs, on all of its hubs, which end
    /// together when nothing is left on any. Jobs that have not started when the grace is over never do. What resists is reported on stderr by name, returned, and leaked with its stack; so is a hub whose
    /// greenlet computes on and on. A second call waits as well, for what is left of the first one's grace, and returns nothing.
    ///
    /// # Panics
    ///
    /// If one of the pool's own greenlets calls it; inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{HubPool, JoinError, sleep};
    /// use std::time::Duration;
    ///
    /// let pool = HubPool::new(2)?;
    /// let quick = pool.spawn(|| 7);
    /// let slow = pool.spawn(|| sleep(Duration::from_secs(60)));
    /// assert!(pool.shutdown(Duration::from_millis(50)).is_empty());
    /// assert_eq!(quick.join().unwrap(), 7);
    /// assert!(matches!(slow.join(), Err(JoinError::Killed)));
    /// assert!(matches!(pool.spawn(|| ()).join(), Err(JoinError::HubEnded)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, grace: Duration) -> Vec<Greenlet> {
        let crew = &self.owner.crew;
        let own = Hub::try_here().and_then(Hub::member).is_some_and(|member| Arc::ptr_eq(&member.crew, crew));
        assert!(!own, "a pool is not shut down by one of its own greenlets, which would have to wait for itself");
        if crew.is_parents() {
            return Vec::new();
        }
        let own = deadline_after(grace);
        crew.begin_to_close(Some(own));
        // Who has called first has set it.
        let deadline = crew.deadline().unwrap_or(own);
        let reason = Reason::new("the end of a pool's hubs");
        let wait_until =
            |deadline| while !crew.has_ended() && crew.ended.wait(reason, Some(deadline), || crew.has_ended()) {};
        wait_until(deadline);
        if !crew.has_ended() {
            // Here as well as on the hubs, since those may all compute.
            crew.close();
        }
        wait_until(deadline + CLEANUP + PATIENCE);
        // What is left of a thread that has ended are its destructors. One that has not computes, and nobody can make it stop.
        let threads = std::mem::take(&mut *crate::patching::lock(&self.owner.threads));
        for thread in threads {
            if crew.has_ended() {
                let _ = thread.join();
            } else if !thread.is_finished() {
                let name = thread.thread().name().unwrap_or("?").to_owned();
                let _ = writeln!(io::stderr(), "greenlet: hub '{name}' computes on and is left behind");
            }
        }
        std::mem::take(&mut *crate::patching::lock(&crew.left))
    }

    /// What the pool and its hubs have done, and have to do. The numbers are not read at one moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{HubPool, joinall};
    ///
    /// let pool = HubPool::new(2)?;
    /// joinall((0..10).map(|_| pool.spawn(|| ())));
    /// let metrics = pool.metrics();
    /// assert_eq!(metrics.hubs.iter().map(|hub| hub.started).sum::<u64>(), 10);
    /// assert_eq!(metrics.queued, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn metrics(&self) -> PoolMetrics {
        let crew = &self.owner.crew;
        let (queued, own) = crew.queued();
        let hubs = crew.members.iter().zip(&self.owner.handles).zip(own);
        let hubs = hubs.map(|((place, handle), queued)| {
            let gauges = &place.shared.gauges;
            let (lived, busy) = gauges.lived_and_busy();
            let turns = gauges.turns.get();
            let busy_share = busy.as_secs_f64() / lived.as_secs_f64().max(f64::MIN_POSITIVE);
            // Asked last: once a hub has ended, the gauges are those of another.
            let (turns, busy_share) = if handle.is_alive() { (turns, busy_share) } else { (0, 0.0) };
            HubMetrics {
                started: place.counts.started.get(),
                stolen: place.counts.stolen.get(),
                queued,
                greenlets: handle.load(),
                turns,
                busy_share,
            }
        });
        PoolMetrics { queued, hubs: hubs.collect() }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.crew.begin_to_close(None);
        if self.crew.is_parents() {
            // The C library may have given what stands behind these to threads of this process.
            let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(threads));
        }
    }
}

impl fmt::Debug for HubPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubPool").field("handles", &self.handles()).finish_non_exhaustive()
    }
}

/// What a [`HubPool`] has done, and has to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Jobs from outside of the pool that no hub has taken yet.
    pub queued: usize,
    /// What each of its hubs has done.
    pub hubs: Vec<HubMetrics>,
}

/// What a hub of a [`HubPool`] has done, and has to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HubMetrics {
    /// Jobs of the pool that it has started.
    pub started: u64,
    /// Jobs that it has taken from the queues of other hubs; others may have taken them back.
    pub stolen: u64,
    /// Jobs in its own queue, which have not started.
    pub queued: usize,
    /// Its greenlets, as [`Handle::load`] counts them.
    pub greenlets: usize,
    /// How often it has looked at descriptors, timers and other threads; 0 once it has ended.
    pub turns: u64,
    /// The part of its life in which it has not slept, from 0 to 1; 0 once it has ended.
    pub busy_share: f64,
}

/// Settings for a [`HubPool`].
///
/// # Examples
///
/// ```
/// use greenlet_hub::HubPool;
///
/// let pool = HubPool::builder().hubs(1).name("images").build()?;
/// let name = pool.spawn(|| std::thread::current().name().map(String::from));
/// assert_eq!(name.join().unwrap().as_deref(), Some("images-0"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct HubPoolBuilder {
    hubs: Option<usize>,
    name: String,
}

impl HubPoolBuilder {
    /// Sets how many hubs it has: as many as [`Config::hubs`](crate::Config::hubs) says, by default, which is one for each core that the process may use.
    pub fn hubs(mut self, hubs: usize) -> HubPoolBuilder {
        self.hubs = Some(hubs);
        self
    }

    /// Names its threads, which are numbered from 0: `greenlet-hub` by default.
    pub fn name(mut self, name: impl Into<String>) -> HubPoolBuilder {
        self.name = name.into();
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started, or for a pool of no hubs.
    pub fn build(self) -> io::Result<HubPool> {
        // In the caller, who is the one to be told that the environment has a bad value, rather than in each thread.
        let config = config::get();
        let count = match self.hubs {
            Some(0) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pool has one hub at the least")),
            Some(hubs) => hubs,
            None => config.get_hubs(),
        };
        // What is waited for here is short, and by std's channels.
        let _inside = Inside::enter();
        let (mut threads, mut crews, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..count {
            let queue = Worker::new_fifo();
            places.push(queue.stealer());
            let (send_crew, crew) = mpsc::sync_channel(1);
            let (send_handle, handle) = mpsc::sync_channel(1);
            let thread = thread::Builder::new().name(format!("{}-{index}", self.name));
            // If one cannot be started, those that have been lose their channels, and end.
            threads.push(thread.spawn(move || {
                let _ = send_handle.send(Handle::current());
                if let Ok(crew) = crew.recv() {
                    serve(Member::new(crew, index, queue));
                }
            })?);
            crews.push((send_crew, handle));
        }
        let mut handles = Vec::with_capacity(count);
        for (_, handle) in &crews {
            handles.push(handle.recv().map_err(|_| io::Error::other("a hub of the pool could not be made"))?);
        }
        let crew = Crew::new(places.into_iter().zip(&handles).map(|(stealer, hub)| (stealer, hub.shared())));
        for (send_crew, _) in crews {
            let _ = send_crew.send(Arc::clone(&crew));
        }
        let owner = Arc::new_cyclic(|weak: &Weak<Owner>| {
            let _ = crew.owner.set(Weak::clone(weak));
            Owner { crew, handles, threads: Mutex::new(threads) }
        });
        Ok(HubPool { owner })
    }
}

/// What the main greenlet of a pool's hub does: it waits for the end, and the hub's loop does the rest.
fn serve(member: Member) {
    let hub = Hub::here();
    let crew = Arc::clone(&member.crew);
    let _service = Service(Arc::clone(&crew));
    hub.join_pool(member);
    let reason = Reason::new("the end of its pool");
    let member = hub.member().expect("it has just joined");
    while !crew.is_closing() {
        member.place().main.wait(reason, None, || crew.is_closing());
    }
    let deadline = *crew.deadline();
    if !run_out(hub, member, deadline) {
        crew.close();
        let left = shutdown(Duration::ZERO);
        crate::patching::lock(&crew.left).extend(left);
    }
}

/// Whatever ends the thread: who waits for the pool's end is told.
struct Service(Arc<Crew>);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.leave_service();
    }
}

/// Runs what there is to run until nothing is left on any hub of the pool; false if that has not ended by the deadline.
fn run_out(hub: &Hub, member: &Member, deadline: Option<Instant>) -> bool {
    if deadline.is_some() {
        hub.kill_those_that_start_later();
    }
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    loop {
        member.stir();
        if is_over() {
            // Whoever is left does not run out, nor would those that were taken while this waits for nothing.
            return hub.others().is_empty() && !member.crew.has_jobs();
        }
        let others = hub.others();
        if others.is_empty() && !hub.take_in_job() {
            member.rest();
            let is_up = || member.crew.is_done() || !member.is_resting();
            member.place().main.wait(Reason::new("the end of its pool"), deadline, is_up);
            if member.crew.is_done() {
                return true;
            }
            continue;
        }
        // While this waits, the hub's loop takes further jobs.
        let in_time = others.into_iter().all(|other| Greenlet::from_block(other).wait_deadline(deadline));
        if !in_time {
            return false;
        }
    }
}
