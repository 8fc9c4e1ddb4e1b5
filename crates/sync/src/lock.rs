//! `Lock`: a value that one greenlet has at a time.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use greenlet_hub::{Waitable, Waiter};

use crate::const_fn::const_unless_loom;
use crate::payload::{Hold, Payload};
use crate::permits::{How, Permits};

const REASON: &str = "a lock";

/// A value that one greenlet, or thread, has at a time. Like std's `Mutex`, without poisoning: a guard that a panic or a kill drops just unlocks.
///
/// It may be held over waits. Those who wait for it get it in the order in which they came, but one who asks for it when it is
/// free takes it at once, also before one who has just been woken for it; he then is handed it the next time.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{joinall, spawn, yield_now};
/// use greenlet_sync::Lock;
/// use std::rc::Rc;
///
/// let count = Rc::new(Lock::new(0));
/// let greenlets = (0..10).map(|_| {
///     let count = Rc::clone(&count);
///     spawn(move || {
///         let mut count = count.lock();
///         let before = *count;
///         yield_now();
///         *count = before + 1;
///     })
/// });
/// joinall(greenlets);
/// assert_eq!(*count.lock(), 10);
/// ```
#[doc(alias = "Mutex")]
pub struct Lock<T: ?Sized> {
    payload: Payload<Mutual, T>,
}

impl<T> Lock<T> {
    const_unless_loom! {
        /// A lock that is free.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::Lock;
        ///
        /// static NAMES: Lock<Vec<String>> = Lock::new(Vec::new());
        /// NAMES.lock().push("Ada".to_owned());
        /// ```
        pub fn new(value: T) -> Lock<T> {
            Lock { payload: Payload::new(Mutual::new(), value) }
        }
    }

    /// The value.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Lock;
    ///
    /// assert_eq!(Lock::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.payload.into_inner()
    }
}

impl<T: ?Sized> Lock<T> {
    /// Waits until it has the lock, which is free again when the guard is dropped.
    ///
    /// A greenlet that has it already waits for itself: a deadlock. See [`RLock`](crate::RLock).
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Lock;
    ///
    /// let lock = Lock::new(1);
    /// *lock.lock() += 1;
    /// assert_eq!(*lock.lock(), 2);
    /// ```
    #[inline]
    pub fn lock(&self) -> LockGuard<'_, T> {
        match self.payload.lock(How::Wait) {
            Some(hold) => LockGuard { hold },
            None => unreachable!("a wait without a deadline does not time out"),
        }
    }

    /// Takes the lock if that is possible without waiting. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Lock;
    ///
    /// let lock = Lock::new(1);
    /// let guard = lock.try_lock();
    /// assert!(guard.is_some());
    /// assert!(lock.try_lock().is_none());
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        self.payload.lock(How::Try).map(|hold| LockGuard { hold })
    }

    /// Waits until it has the lock, at the most for `timeout`.
    ///
    /// # Panics
    ///
    /// As [`lock`](Lock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Lock;
    /// use std::time::Duration;
    ///
    /// let lock = Lock::new(1);
    /// let guard = lock.lock();
    /// assert!(lock.lock_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[inline]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<LockGuard<'_, T>> {
        self.payload.lock(How::For(timeout)).map(|hold| LockGuard { hold })
    }

    /// The value, which nobody else can reach meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Lock;
    ///
    /// let mut lock = Lock::new(1);
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
    /// use greenlet_sync::Lock;
    ///
    /// let lock = Lock::new(1);
    /// let guard = lock.lock();
    /// assert!(lock.is_locked());
    /// ```
    #[inline]
    pub fn is_locked(&self) -> bool {
        !self.payload.exclusion().0.is_available()
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Lock<T> {
        Lock::new(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    fn from(value: T) -> Lock<T> {
        Lock::new(value)
    }
}

impl<T: ?Sized> Waitable for Lock<T> {
    /// Whether it is free.
    fn is_ready(&self) -> bool {
        !self.is_locked()
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.payload.exclusion().0.subscribe(waiter, false);
    }

    fn unsubscribe(&self, _: &Waiter) {
        self.payload.exclusion().0.unsubscribe();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_struct("Lock").field("value", &&*guard).finish(),
            None => f.debug_struct("Lock").field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// The value of a [`Lock`], which is free again when this is dropped.
///
/// It is not `Send`, as std's is not, but may go to another greenlet of the hub, or be dropped while the greenlet unwinds.
///
/// To a greenlet of another hub it does not go:
///
/// ```compile_fail,E0277
/// use greenlet_hub::HubPool;
/// use greenlet_sync::Lock;
///
/// static LOCK: Lock<u32> = Lock::new(0);
/// let guard = LOCK.lock();
/// HubPool::global().spawn(move || drop(guard));
/// ```
#[must_use = "a guard that is dropped unlocks at once"]
pub struct LockGuard<'a, T: ?Sized> {
    pub(crate) hold: Hold<'a, Mutual, T>,
}

impl<T: ?Sized> Deref for LockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.hold
    }
}

impl<T: ?Sized> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.hold
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// One permit: what keeps others out of a [`Lock`].
pub(crate) struct Mutual(Permits);

impl Mutual {
    const_unless_loom! {
        pub(crate) fn new() -> Mutual {
            Mutual(Permits::new(1, 1))
        }
    }

    #[inline]
    pub(crate) fn lock(&self, how: How) -> bool {
        self.0.acquire(REASON, how)
    }

    #[inline]
    pub(crate) fn unlock(&self) {
        self.0.release();
    }
}
