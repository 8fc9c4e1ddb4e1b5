//! The part of a hub that other threads see, and the list of all hubs of the process.
//!
//! It is never freed, so that a block can point to it without counting; what a hub leaves behind serves the next hub that
//! is made. So a pointer to it may outlive the hub, and the hub's *number*, which is never used again, decides whose it is.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, ptr};

use crate::block::{BlockRef, Stray};
use crate::deadlock::{self, Report};
use crate::fork::PerProcess;
use crate::gauges::Gauges;
use crate::inbox::{Inbox, Messages};
use crate::patching::Inside;
use crate::sys::Waker;

/// What another thread can leave for a hub.
pub(crate) enum Message {
    /// A job for the hub of that number.
    Spawn { hub: u32, job: Stray },
    /// A greenlet whose wait was ended while it slept.
    Wake(BlockRef),
    /// A greenlet that was killed before it had run.
    Kill(BlockRef),
    /// A greenlet has ended to which one of the hub of that number has linked.
    Link { hub: u32, number: u64 },
    /// A descriptor that was registered with the poller of that number was let go of elsewhere.
    Forget { hub: u32, slot: u32, generation: u32 },
    /// There are jobs of the pool.
    Jobs,
    /// Every hub of the process, this one by its number, sleeps for good: a pool's hub is to say who waits for what (see `deadlock`).
    List { hub: u32, report: Arc<Report> },
    /// The same for a main greenlet, with what the pools' hubs have said.
    Deadlock { hub: u32, others: Arc<str> },
    /// Another hub has fallen asleep for good, or ended: it is worth looking for a deadlock again.
    LookAgain,
}

/// The part of a hub that other threads see.
pub(crate) struct Shared {
    /// The number of the hub that it belongs to now; no two hubs of a process have the same.
    id: AtomicU32,
    /// The number of its poller, under which descriptors are registered: the same, but in a child that has forked.
    pub(crate) poller_number: AtomicU32,
    pub(crate) inbox: Inbox<Message>,
    bell: PerProcess<(Mutex<Bell>, Condvar)>,
    /// Whether it sleeps with nothing of its own that could wake it.
    pub(crate) hopeless: AtomicBool,
    /// Counts its sleeps, so that two looks can tell whether it woke in between.
    pub(crate) sleeps: AtomicU64,
    /// Whether it has looked for a deadlock so often that it does not any more.
    pub(crate) gave_up: AtomicBool,
    /// Whether it serves a pool, so that nobody's own code is on its main greenlet.
    pub(crate) serves: AtomicBool,
    /// So many jobs that other threads have spawned on it have not started.
    pub(crate) coming: AtomicUsize,
    /// What it tells of itself.
    pub(crate) gauges: Gauges,
}

/// What wakes a sleeping hub: a condition variable, until it has a poller; from then on that poller's waker.
///
/// std's `park` would not do: its one token belongs to the user.
#[derive(Default)]
struct Bell {
    rung: bool,
    // Counted, so that it stays open while somebody uses it and the hub ends.
    waker: Option<Arc<Waker>>,
}

/// All hubs of the process.
#[derive(Default)]
pub(crate) struct Hubs {
    pub(crate) alive: Vec<&'static Shared>,
    ended: Vec<&'static Shared>,
}

impl Hubs {
    /// Ends all hubs but this thread's, in a forked child, which does not have their threads. Allocates nothing.
    pub(crate) fn leave_others_behind(&mut self, own: Option<&'static Shared>) {
        self.alive.retain(|hub| {
            let is_own = own.is_some_and(|own| ptr::eq(own, *hub));
            if !is_own {
                // What was left for it is the parent's; a user's destructors would run here.
                mem::forget(hub.inbox.close());
            }
            is_own
        });
        self.ended.clear();
    }
}

/// The list of all hubs, locked.
pub(crate) fn all_hubs() -> MutexGuard<'static, Hubs> {
    static HUBS: Mutex<Hubs> = Mutex::new(Hubs { alive: Vec::new(), ended: Vec::new() });
    crate::patching::lock(&HUBS)
}

impl Shared {
    pub(crate) fn new() -> &'static Shared {
        let id = Shared::next_number();
        assert!(id != 0, "2^32 hubs have been made");
        let mut hubs = all_hubs();
        let shared = hubs.ended.pop().unwrap_or_else(|| {
            Box::leak(Box::new(Shared {
                id: AtomicU32::new(0),
                poller_number: AtomicU32::new(0),
                inbox: Inbox::new(),
                bell: PerProcess::new(),
                hopeless: AtomicBool::new(false),
                sleeps: AtomicU64::new(0),
                gave_up: AtomicBool::new(false),
                serves: AtomicBool::new(false),
                coming: AtomicUsize::new(0),
                gauges: Gauges::default(),
            }))
        });
        shared.id.store(id, Ordering::Relaxed);
        shared.poller_number.store(id, Ordering::Relaxed);
        shared.gave_up.store(false, Ordering::Relaxed);
        shared.serves.store(false, Ordering::Relaxed);
        shared.coming.store(0, Ordering::Relaxed);
        shared.gauges.reset();
        shared.inbox.reopen();
        hubs.alive.push(shared);
        shared
    }

    /// A number that no hub of this process has had, nor any poller of one.
    pub(crate) fn next_number() -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets, in a forked child, what the parent's threads have left, and how they woke the hub, which this returns. Allocates nothing.
    pub(crate) fn begin_anew_in_child(&self) -> Option<Arc<Waker>> {
        // Jobs among it are the parent's to run; and its destructors are no code to be run here.
        mem::forget(self.inbox.take());
        self.hopeless.store(false, Ordering::Relaxed);
        self.gave_up.store(false, Ordering::Relaxed);
        self.serves.store(false, Ordering::Relaxed);
        self.coming.store(0, Ordering::Relaxed);
        // A thread that the child does not have may hold it.
        self.bell.parents()?.0.try_lock().ok()?.waker.take()
    }

    /// Takes a hub out of the list that will not end with its thread.
    pub(crate) fn disown(&'static self) {
        all_hubs().alive.retain(|other| !ptr::eq(*other, self));
    }

    /// Ends the hub: what is left for it from now on is dropped. Returns what had been left.
    pub(crate) fn end(&'static self) -> Messages<Message> {
        let mut hubs = all_hubs();
        hubs.alive.retain(|other| !ptr::eq(*other, self));
        let messages = self.inbox.close();
        *self.bell() = Bell::default();
        hubs.ended.push(self);
        drop(hubs);
        deadlock::look_again();
        messages
    }

    /// Whether its poller has that number.
    pub(crate) fn has_poller(&self, number: u32) -> bool {
        self.poller_number.load(Ordering::Relaxed) == number
    }

    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// One that was coming starts, or never will.
    pub(crate) fn one_has_come(&self) {
        // One that was for a hub before this one may have been counted before the count began anew.
        let _ = self.coming.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |coming| coming.checked_sub(1));
    }

    /// Leaves a message, and wakes the hub if it sleeps. What is for a hub that has ended is dropped.
    pub(crate) fn send(&self, message: Message) {
        if let Ok(true) = self.inbox.push(message) {
            self.ring();
        }
    }

    /// From now on a sleeping hub is woken through this, and sleeps in its poller.
    pub(crate) fn ring_by(&self, waker: Waker) {
        self.bell().waker = Some(Arc::new(waker));
    }

    fn ring(&self) {
        // On whatever stack: what is called here never switches.
        let _inside = Inside::enter();
        let mut bell = self.bell();
        // The hub has set it before it announced that it sleeps, which the caller has seen.
        if let Some(waker) = bell.waker.clone() {
            drop(bell);
            return waker.ring();
        }
        bell.rung = true;
        drop(bell);
        self.bell.get().1.notify_one();
    }

    /// Sleeps without a poller, until somebody rings or the deadline has come.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        let rung = &self.bell.get().1;
        let mut bell = self.bell();
        while !bell.rung {
            let left = match deadline {
                None => Duration::MAX,
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                return;
            }
            // A very long time is the same as no deadline, and not one that overflows the clock.
            let left = left.min(Duration::from_secs(1 << 30));
            bell = rung.wait_timeout(bell, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        bell.rung = false;
    }

    fn bell(&self) -> MutexGuard<'_, Bell> {
        crate::patching::lock(&self.bell.get().0)
    }
}
