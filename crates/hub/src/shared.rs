//! The part of a hub that other threads see, and the list of all hubs of the process.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::block::BlockRef;
use crate::inbox::Inbox;
use crate::sys;

/// What another thread can leave for a hub.
pub(crate) enum Message {
    /// A greenlet whose wait was ended while it slept.
    Wake(BlockRef),
    /// A descriptor that was registered here was let go of elsewhere.
    Forget { slot: u32, generation: u32 },
    /// Every hub of the process sleeps for good (see `deadlock`).
    Deadlock,
}

/// The part of a hub that other threads see.
pub(crate) struct Shared {
    /// Never used again by another hub of the process.
    pub(crate) id: u32,
    pub(crate) inbox: Inbox<Message>,
    bell: Bell,
    /// Whether it sleeps with nothing of its own that could wake it.
    pub(crate) hopeless: AtomicBool,
    /// Counts its sleeps, so that two looks can tell whether it woke in between.
    pub(crate) sleeps: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Shared> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(id != 0, "2^32 hubs have been made");
        let shared = Arc::new(Shared {
            id,
            inbox: Inbox::new(),
            bell: Bell::default(),
            hopeless: AtomicBool::new(false),
            sleeps: AtomicU64::new(0),
        });
        all_hubs().push(Arc::clone(&shared));
        shared
    }

    /// Takes the hub out of the list of all hubs.
    pub(crate) fn forget(&self) {
        all_hubs().retain(|other| other.id != self.id);
    }

    /// Leaves a message, and wakes the hub if it sleeps. What is for a hub that has ended is dropped.
    pub(crate) fn send(&self, message: Message) {
        if let Ok(true) = self.inbox.push(message) {
            self.bell.ring();
        }
    }

    /// From now on a sleeping hub is woken through this descriptor, and sleeps in its poller.
    pub(crate) fn ring_by(&self, eventfd: OwnedFd) {
        let _ = self.bell.eventfd.set(eventfd);
    }

    /// Sleeps without a poller, until somebody rings or the deadline has come.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        self.bell.sleep(deadline);
    }
}

/// All hubs of the process that have not ended.
pub(crate) fn all_hubs() -> MutexGuard<'static, Vec<Arc<Shared>>> {
    static HUBS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());
    HUBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What wakes a sleeping hub: a condition variable, until it has a poller; from then on an eventfd.
///
/// std's `park` would not do: its one token belongs to the user.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
    eventfd: OnceLock<OwnedFd>,
}

impl Bell {
    fn ring(&self) {
        // The hub has set the descriptor before it announced that it sleeps, which the caller has seen.
        if let Some(eventfd) = self.eventfd.get() {
            sys::ring_eventfd(eventfd);
            return;
        }
        *self.lock() = true;
        self.condvar.notify_one();
    }

    fn sleep(&self, deadline: Option<Instant>) {
        let mut rung = self.lock();
        while !*rung {
            let left = match deadline {
                None => Duration::MAX,
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                return;
            }
            // A very long time is the same as no deadline, and not one that overflows the clock.
            let left = left.min(Duration::from_secs(1 << 30));
            rung = self.condvar.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
