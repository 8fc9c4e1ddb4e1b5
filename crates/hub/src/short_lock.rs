//! A lock for a few instructions: what the state of a primitive lies under.
//!
//! Not std's `Mutex`, for three reasons. Unlocking is a plain store, which halves the price of a lock that nobody contends for. In
//! a process of one thread locking is a plain store as well. And nobody who finds it taken goes to sleep in the kernel: it is
//! free again after some instructions, unless its holder was preempted, so he spins, and then gives the processor away.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::atomics::{AtomicBool, Ordering, single_threaded};

#[cfg(greenlet_loom)]
use self::blocking::{Held, Raw};
#[cfg(not(greenlet_loom))]
use self::spinning::{Held, Raw};

/// A lock that is held for some instructions at a time, for the state of a primitive; see [`WaitQueue`](crate::WaitQueue).
///
/// Never to be held over a wait, a notification ([`Claim`](crate::Claim)s are dropped after it) or a user's code: whoever
/// finds it taken spins. It does not poison, and a thread must not lock it twice.
///
/// # Examples
///
/// ```
/// use greenlet_hub::ShortLock;
///
/// let count = ShortLock::new(1);
/// *count.lock() += 1;
/// assert_eq!(count.into_inner(), 2);
/// ```
pub struct ShortLock<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard, of which there is one at a time, or through `&mut`.
unsafe impl<T: ?Sized + Send> Sync for ShortLock<T> {}
// SAFETY: it owns the value.
unsafe impl<T: ?Sized + Send> Send for ShortLock<T> {}

impl<T> ShortLock<T> {
    /// A lock that is free.
    #[cfg(not(greenlet_loom))]
    pub const fn new(value: T) -> ShortLock<T> {
        ShortLock { raw: Raw::new(), value: UnsafeCell::new(value) }
    }

    /// A lock that is free.
    #[cfg(greenlet_loom)]
    pub fn new(value: T) -> ShortLock<T> {
        ShortLock { raw: Raw::new(), value: UnsafeCell::new(value) }
    }

    /// The value, which nobody else can reach any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> ShortLock<T> {
    /// Locks it; spins while another thread has it.
    ///
    /// # Panics
    ///
    /// In a process of one thread, if that has it locked already.
    #[inline(always)]
    pub fn lock(&self) -> ShortGuard<'_, T> {
        ShortGuard { held: self.raw.lock(), lock: self }
    }

    /// Locks it if it is free. Else it may be for ever: in a forked child, by a thread that this does not have.
    pub(crate) fn try_lock(&self) -> Option<ShortGuard<'_, T>> {
        Some(ShortGuard { held: self.raw.try_lock()?, lock: self })
    }

    /// The value, which nobody else can reach meanwhile.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for ShortLock<T> {
    fn default() -> ShortLock<T> {
        ShortLock::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for ShortLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShortLock").finish_non_exhaustive()
    }
}

/// The locked value of a [`ShortLock`], which is free again when this is dropped.
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// use greenlet_hub::{HubPool, ShortLock};
///
/// static COUNT: ShortLock<u32> = ShortLock::new(0);
/// let guard = COUNT.lock();
/// HubPool::global().spawn(move || drop(guard));
/// ```
pub struct ShortGuard<'a, T: ?Sized> {
    lock: &'a ShortLock<T>,
    held: Held<'a>,
}

impl<T: ?Sized> Deref for ShortGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: it is locked, so this guard is the only one.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for ShortGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for ShortGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.unlock(&self.held);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ShortGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The lock without a value.
#[cfg_attr(greenlet_loom, allow(dead_code, reason = "there it is used by its own tests alone"))]
mod spinning {
    use std::marker::PhantomData;

    use super::{AtomicBool, Ordering, single_threaded};

    /// Spins before the processor is given away.
    const SPINS: u32 = 64;

    /// Proof that it is locked. Not `Send`: it is unlocked where it was locked, after a few instructions.
    pub(super) type Held<'a> = PhantomData<(&'a Raw, *mut ())>;

    pub(super) struct Raw(AtomicBool);

    impl Raw {
        #[cfg(not(greenlet_loom))]
        pub(super) const fn new() -> Raw {
            Raw(AtomicBool::new(false))
        }

        #[cfg(greenlet_loom)]
        pub(super) fn new() -> Raw {
            Raw(AtomicBool::new(false))
        }

        #[inline(always)]
        pub(super) fn lock(&self) -> Held<'_> {
            if single_threaded() {
                if self.0.load(Ordering::Relaxed) {
                    locked_twice();
                }
                self.0.store(true, Ordering::Relaxed);
            } else if self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
                self.spin();
            }
            PhantomData
        }

        pub(super) fn try_lock(&self) -> Option<Held<'_>> {
            let locked = self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            locked.is_ok().then_some(PhantomData)
        }

        #[cold]
        fn spin(&self) {
            for round in 1_u32.. {
                if !self.0.load(Ordering::Relaxed)
                    && self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
                {
                    return;
                }
                if cfg!(greenlet_loom) || round.is_multiple_of(SPINS) {
                    // Whoever has it does not run.
                    give_way();
                } else {
                    std::hint::spin_loop();
                }
            }
        }

        #[inline(always)]
        pub(super) fn unlock(&self, _: &Held<'_>) {
            self.0.store(false, Ordering::Release);
        }
    }

    fn give_way() {
        // The thread, not the greenlet: nobody may switch who waits for this.
        #[cfg(not(greenlet_loom))]
        {
            let _inside = crate::patching::Inside::enter();
            std::thread::yield_now();
        }
        #[cfg(greenlet_loom)]
        loom::thread::yield_now();
    }

    #[cold]
    fn locked_twice() -> ! {
        panic!("a thread locks twice what it may hold for a few instructions only")
    }
}

/// The same for models of what stands on it: loom would try each number of rounds that one could spin.
#[cfg(greenlet_loom)]
mod blocking {
    use std::collections::VecDeque;
    use std::marker::PhantomData;
    use std::sync::Mutex;

    use loom::thread::{self, Thread};

    use super::{AtomicBool, Ordering};

    pub(super) type Held<'a> = PhantomData<(&'a Raw, *mut ())>;

    // Not loom's `Mutex`, which is poisoned when another of its threads, all of which are one to std, unwinds meanwhile.
    pub(super) struct Raw {
        locked: AtomicBool,
        waiting: Mutex<VecDeque<Thread>>,
    }

    impl Raw {
        pub(super) fn new() -> Raw {
            Raw { locked: AtomicBool::new(false), waiting: Mutex::default() }
        }

        pub(super) fn try_lock(&self) -> Option<Held<'_>> {
            let locked = self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            locked.is_ok().then_some(PhantomData)
        }

        pub(super) fn lock(&self) -> Held<'_> {
            // Loom switches before each atomic instruction and in `park`, nowhere else: so no wake-up is missed.
            while self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
                self.waiting.lock().unwrap().push_back(thread::current());
                thread::park();
            }
            PhantomData
        }

        pub(super) fn unlock(&self, _: &Held<'_>) {
            self.locked.store(false, Ordering::Release);
            if let Some(first) = self.waiting.lock().unwrap().pop_front() {
                first.unpark();
            }
        }
    }
}

/// See `ci/loom`.
#[cfg(all(test, greenlet_loom))]
mod loom_tests {
    use super::spinning::Raw;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn one_at_a_time_has_the_lock_and_sees_what_the_last_one_did() {
        loom::model(|| {
            let shared = Arc::new((Raw::new(), UnsafeCell::new(0)));
            let add = |shared: &Arc<(Raw, UnsafeCell<i32>)>| {
                let held = shared.0.lock();
                // SAFETY: it is locked; if another thread had it too, loom would say so.
                shared.1.with_mut(|count| unsafe { *count += 1 });
                shared.0.unlock(&held);
            };
            let other = thread::spawn({
                let shared = Arc::clone(&shared);
                move || add(&shared)
            });
            add(&shared);
            other.join().unwrap();
            // SAFETY: as above.
            assert_eq!(shared.1.with(|count| unsafe { *count }), 2);
        });
    }
}
