//! `RLock`: a lock that its owner may take again.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_hub::current_id;

use crate::const_fn::const_unless_loom;
use crate::payload::{Payload, Share};
use crate::permits::{How, Permits};

const REASON: &str = "a re-entrant lock";

/// A value that one greenlet has at a time, which may lock it again while it has it. Like std's `ReentrantLock` and gevent's `RLock`.
///
/// Its owner is the greenlet, not the thread. Since the owner may have several guards, they lend the value shared: put a `Cell` or a
/// `RefCell` into it, or nothing (`RLock<()>`, which is what `RLock` means).
///
/// # Examples
///
/// ```
/// use greenlet_sync::RLock;
/// use std::cell::Cell;
///
/// let total = RLock::new(Cell::new(0));
/// let add = |n| {
///     let total = total.lock();
///     total.set(total.get() + n);
/// };
/// let both = total.lock();
/// add(1);
/// add(2);
/// assert_eq!(both.get(), 3);
/// ```
#[doc(alias = "ReentrantLock")]
pub struct RLock<T: ?Sized = ()> {
    payload: Payload<Owned, T>,
}

impl<T> RLock<T> {
    const_unless_loom! {
        /// A lock that is free.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::RLock;
        ///
        /// static TERMINAL: RLock = RLock::new(());
        /// let _outer = TERMINAL.lock();
        /// let _inner = TERMINAL.lock();
        /// ```
        pub fn new(value: T) -> RLock<T> {
            RLock { payload: Payload::new(Owned::new(), value) }
        }
    }

    /// The value.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RLock;
    ///
    /// assert_eq!(RLock::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.payload.into_inner()
    }
}

impl<T: ?Sized> RLock<T> {
    /// Waits until it has the lock, unless it has it already. It is free again when the last guard is dropped.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RLock;
    ///
    /// let lock = RLock::new("value");
    /// let (outer, inner) = (lock.lock(), lock.lock());
    /// assert_eq!(*outer, *inner);
    /// ```
    #[inline]
    pub fn lock(&self) -> RLockGuard<'_, T> {
        match self.payload.share(How::Wait) {
            Some(share) => RLockGuard { share },
            None => unreachable!("a wait without a deadline does not time out"),
        }
    }

    /// Takes the lock if that is possible without waiting. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::RLock;
    ///
    /// static LOCK: RLock = RLock::new(());
    /// let guard = LOCK.lock();
    /// assert!(LOCK.try_lock().is_some());
    /// assert!(spawn(|| LOCK.try_lock().is_none()).join().unwrap());
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<RLockGuard<'_, T>> {
        self.payload.share(How::Try).map(|share| RLockGuard { share })
    }

    /// Waits until it has the lock, at the most for `timeout`.
    ///
    /// # Panics
    ///
    /// As [`lock`](RLock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RLock;
    /// use std::time::Duration;
    ///
    /// assert!(RLock::new(()).lock_timeout(Duration::from_millis(1)).is_some());
    /// ```
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<RLockGuard<'_, T>> {
        self.payload.share(How::For(timeout)).map(|share| RLockGuard { share })
    }

    /// Waits as [`lock`](RLock::lock), without a guard: the greenlet keeps the lock until it has called [`release`](RLock::release) as often.
    ///
    /// A greenlet that ends without that keeps it for good.
    ///
    /// # Panics
    ///
    /// As [`lock`](RLock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RLock;
    ///
    /// let lock = RLock::new(());
    /// lock.acquire();
    /// lock.acquire();
    /// assert_eq!(lock.release(), Ok(()));
    /// assert!(lock.is_locked());
    /// assert_eq!(lock.release(), Ok(()));
    /// ```
    #[inline]
    pub fn acquire(&self) {
        let owned = self.payload.exclusion();
        owned.lock(How::Wait);
        owned.unguarded.store(owned.unguarded.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Undoes one [`acquire`](RLock::acquire) of the same greenlet. Never switches.
    ///
    /// # Errors
    ///
    /// If the greenlet has not acquired it, or has it only through guards; nothing changes then.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::{NotOwner, RLock};
    ///
    /// static LOCK: RLock = RLock::new(());
    /// LOCK.acquire();
    /// assert_eq!(spawn(|| LOCK.release()).join().unwrap(), Err(NotOwner));
    /// assert_eq!(LOCK.release(), Ok(()));
    /// ```
    pub fn release(&self) -> Result<(), NotOwner> {
        let owned = self.payload.exclusion();
        if !owned.is_mine() {
            return Err(NotOwner);
        }
        // What guards hold stays with them, or they would lend what is another's.
        let Some(left) = owned.unguarded.load(Ordering::Relaxed).checked_sub(1) else {
            return Err(NotOwner);
        };
        owned.unguarded.store(left, Ordering::Relaxed);
        owned.unlock();
        Ok(())
    }

    /// The value, which nobody else can reach meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RLock;
    ///
    /// let mut lock = RLock::new(1);
    /// *lock.get_mut() = 2;
    /// assert_eq!(*lock.lock(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.payload.get_mut()
    }

    /// Whether somebody has it, or has been promised it.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RLock;
    ///
    /// assert!(!RLock::new(()).is_locked());
    /// ```
    #[inline]
    pub fn is_locked(&self) -> bool {
        !self.payload.exclusion().permits.is_available()
    }
}

impl<T: Default> Default for RLock<T> {
    fn default() -> RLock<T> {
        RLock::new(T::default())
    }
}

impl<T> From<T> for RLock<T> {
    fn from(value: T) -> RLock<T> {
        RLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_struct("RLock").field("value", &&*guard).finish(),
            None => f.debug_struct("RLock").field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// The value of an [`RLock`]. The lock is free again when the last of its guards is dropped.
///
/// It is its greenlet's, so it does not go to one of another hub:
///
/// ```compile_fail,E0277
/// use greenlet_hub::HubPool;
/// use greenlet_sync::RLock;
///
/// static LOCK: RLock<u32> = RLock::new(0);
/// let guard = LOCK.lock();
/// HubPool::global().spawn(move || drop(guard));
/// ```
#[must_use = "a guard that is dropped unlocks at once"]
pub struct RLockGuard<'a, T: ?Sized = ()> {
    share: Share<'a, Owned, T>,
}

impl<T: ?Sized> Deref for RLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.share
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The greenlet does not have the [`RLock`] that it releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwner;

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a re-entrant lock was released by a greenlet that had not acquired it")
    }
}

impl Error for NotOwner {}

/// One permit, and whose it is: what keeps others out of an [`RLock`].
///
/// But for `permits` all is written by the thread that has the permit only, which sees its own writes; so `Relaxed` is enough.
/// Another thread may read `owner`, and finds anything but the number of one of its own greenlets, unless that has the lock.
pub(crate) struct Owned {
    permits: Permits,
    /// The greenlet that has the permit; 0: nobody.
    owner: AtomicU64,
    /// How often it has it: the permit goes back with the last.
    holds: AtomicUsize,
    /// So many of the holds have no guard.
    unguarded: AtomicUsize,
}

impl Owned {
    const_unless_loom! {
        pub(crate) fn new() -> Owned {
            Owned {
                permits: Permits::new(1, 1),
                owner: AtomicU64::new(0),
                holds: AtomicUsize::new(0),
                unguarded: AtomicUsize::new(0),
            }
        }
    }

    #[inline]
    fn is_mine(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == current_id()
    }

    #[inline]
    pub(crate) fn lock(&self, how: How) -> bool {
        let me = current_id();
        if self.owner.load(Ordering::Relaxed) == me {
            let Some(holds) = self.holds.load(Ordering::Relaxed).checked_add(1) else {
                too_often();
            };
            self.holds.store(holds, Ordering::Relaxed);
            return true;
        }
        if !self.permits.acquire(REASON, how) {
            return false;
        }
        self.owner.store(me, Ordering::Relaxed);
        self.holds.store(1, Ordering::Relaxed);
        true
    }

    /// Gives back one hold, whichever greenlet of the thread calls this: a guard may have gone to another.
    #[inline]
    pub(crate) fn unlock(&self) {
        let holds = self.holds.load(Ordering::Relaxed) - 1;
        self.holds.store(holds, Ordering::Relaxed);
        if holds == 0 {
            // Before the permit goes: from then on these are the next owner's.
            self.owner.store(0, Ordering::Relaxed);
            self.permits.release();
        }
    }
}

#[cold]
fn too_often() -> ! {
    panic!("a re-entrant lock cannot be locked that often")
}
