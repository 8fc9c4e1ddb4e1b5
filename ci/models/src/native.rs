//! In place of the patching crate's: a lock and a sleep that loom knows. The lock is the short lock's for models (`short_lock.rs`), without a value.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use loom::sync::atomic::AtomicBool;
use loom::thread::{self, Thread};

pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering, fence};

/// Two, so that there are keys that share one, and keys that do not.
pub(crate) const BUCKETS: usize = 2;

/// A lock. There are no signals here, so it is never its own thread that has it.
pub(crate) struct Lock {
    taken: AtomicBool,
    waiting: Mutex<VecDeque<Thread>>,
}

impl Lock {
    pub(crate) fn new() -> Lock {
        Lock { taken: AtomicBool::new(false), waiting: Mutex::default() }
    }

    pub(crate) fn take(&self) -> bool {
        // Loom switches before each atomic instruction and in `park`, nowhere else: so no wake-up is missed.
        while self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.waiting.lock().unwrap().push_back(thread::current());
            thread::park();
        }
        true
    }

    pub(crate) fn give(&self) {
        self.taken.store(false, Ordering::Release);
        if let Some(first) = self.waiting.lock().unwrap().pop_front() {
            first.unpark();
        }
    }
}

/// There are no error numbers here.
pub(crate) struct KeptErrno;

impl KeptErrno {
    pub(crate) fn keep() -> KeptErrno {
        KeptErrno
    }
}

impl Drop for KeptErrno {
    fn drop(&mut self) {}
}

/// What a thread sleeps on, until it is set: once.
pub(crate) struct Word {
    // Counted, so that a late wake-up has a place to go to, as the kernel's has.
    state: Arc<(AtomicBool, Mutex<Option<Thread>>)>,
}

impl Word {
    pub(crate) fn new() -> Word {
        Word { state: Arc::new((AtomicBool::new(false), Mutex::new(None))) }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.state.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self) -> Place {
        let place = Place(Arc::clone(&self.state));
        // Not a store: loom does not order one against the read-modify-write in `sleep`.
        self.state.0.swap(true, Ordering::AcqRel);
        place
    }

    pub(crate) fn sleep(&self, deadline: Option<Instant>) -> bool {
        assert!(deadline.is_none(), "the models' threads wait for good");
        *self.state.1.lock().unwrap() = Some(thread::current());
        // As the kernel does, under a lock of its own: whoever has set it before the place was taken finds nobody, and is seen here.
        let is_set = self.state.0.fetch_or(false, Ordering::AcqRel);
        // One who has taken the place wakes it: that is waited for, or it would end another wait.
        if !is_set || self.state.1.lock().unwrap().take().is_none() {
            thread::park();
        }
        true
    }
}

/// Where a word was.
pub(crate) struct Place(Arc<(AtomicBool, Mutex<Option<Thread>>)>);

impl Place {
    pub(crate) fn wake(self) {
        if let Some(thread) = self.0.1.lock().unwrap().take() {
            thread.unpark();
        }
    }
}
