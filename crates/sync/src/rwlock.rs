//! `RwLock`: a value that many read or one writes.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::const_fn::const_unless_loom;
use crate::payload::{Hold, Payload, Share};
use crate::permits::How;
use crate::sharing::Sharing;

/// A value that many greenlets and threads read at a time, or one writes. Like std's `RwLock`, without poisoning.
///
/// It is fair: those who wait get it in the order in which they came, and nobody overtakes them. So a writer who waits holds up the
/// readers who come after him, and readers who stand together are let in together. One who reads and asks to read again may
/// therefore wait for himself, behind a writer: a deadlock.
///
/// # Examples
///
/// ```
/// use greenlet_sync::RwLock;
///
/// static ROUTES: RwLock<Vec<&str>> = RwLock::new(Vec::new());
/// ROUTES.write().push("/");
/// let (one, other) = (ROUTES.read(), ROUTES.read());
/// assert_eq!(one[0], other[0]);
/// ```
pub struct RwLock<T: ?Sized> {
    payload: Payload<Sharing, T>,
}

impl<T> RwLock<T> {
    const_unless_loom! {
        /// A lock that is free.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::RwLock;
        ///
        /// assert_eq!(*RwLock::new(1).read(), 1);
        /// ```
        pub fn new(value: T) -> RwLock<T> {
            RwLock { payload: Payload::new(Sharing::new(), value) }
        }
    }

    /// The value.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    ///
    /// assert_eq!(RwLock::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.payload.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until it may read: nobody writes, and nobody who came before waits.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// let (one, other) = (lock.read(), lock.read());
    /// assert_eq!(*one + *other, 2);
    /// ```
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.payload.share(How::Wait) {
            Some(share) => RwLockReadGuard { share },
            None => unreachable!("a wait without a deadline does not time out"),
        }
    }

    /// Begins to read if that is possible without waiting. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// assert!(lock.try_read().is_some());
    /// let guard = lock.write();
    /// assert!(lock.try_read().is_none());
    /// ```
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.payload.share(How::Try).map(|share| RwLockReadGuard { share })
    }

    /// Waits until it may read, at the most for `timeout`.
    ///
    /// # Panics
    ///
    /// As [`read`](RwLock::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    /// use std::time::Duration;
    ///
    /// let lock = RwLock::new(1);
    /// let guard = lock.write();
    /// assert!(lock.read_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[inline]
    pub fn read_timeout(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.payload.share(How::For(timeout)).map(|share| RwLockReadGuard { share })
    }

    /// Waits until it may write: nobody reads or writes, and nobody who came before waits.
    ///
    /// # Panics
    ///
    /// As [`read`](RwLock::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// *lock.write() = 2;
    /// assert_eq!(*lock.read(), 2);
    /// ```
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.payload.lock(How::Wait) {
            Some(hold) => RwLockWriteGuard { hold },
            None => unreachable!("a wait without a deadline does not time out"),
        }
    }

    /// Begins to write if that is possible without waiting. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// assert!(lock.try_write().is_some());
    /// let guard = lock.read();
    /// assert!(lock.try_write().is_none());
    /// ```
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.payload.lock(How::Try).map(|hold| RwLockWriteGuard { hold })
    }

    /// Waits until it may write, at the most for `timeout`.
    ///
    /// # Panics
    ///
    /// As [`read`](RwLock::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    /// use std::time::Duration;
    ///
    /// let lock = RwLock::new(1);
    /// let guard = lock.read();
    /// assert!(lock.write_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[inline]
    pub fn write_timeout(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.payload.lock(How::For(timeout)).map(|hold| RwLockWriteGuard { hold })
    }

    /// The value, which nobody else can reach meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    ///
    /// let mut lock = RwLock::new(1);
    /// *lock.get_mut() = 2;
    /// assert_eq!(*lock.read(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.payload.get_mut()
    }

    /// Whether somebody reads or writes.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::RwLock;
    ///
    /// let lock = RwLock::new(1);
    /// let guard = lock.read();
    /// assert!(lock.is_locked());
    /// ```
    pub fn is_locked(&self) -> bool {
        self.payload.exclusion().is_locked()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Some(guard) => f.debug_struct("RwLock").field("value", &&*guard).finish(),
            None => f.debug_struct("RwLock").field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// The value of an [`RwLock`], for reading. Dropping this ends it.
///
/// It does not go to a greenlet of another hub:
///
/// ```compile_fail,E0277
/// use greenlet_hub::HubPool;
/// use greenlet_sync::RwLock;
///
/// static LOCK: RwLock<u32> = RwLock::new(0);
/// let guard = LOCK.read();
/// HubPool::global().spawn(move || drop(guard));
/// ```
#[must_use = "a guard that is dropped unlocks at once"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    share: Share<'a, Sharing, T>,
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.share
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The value of an [`RwLock`], for writing. Dropping this ends it.
///
/// It does not go to a greenlet of another hub:
///
/// ```compile_fail,E0277
/// use greenlet_hub::HubPool;
/// use greenlet_sync::RwLock;
///
/// static LOCK: RwLock<u32> = RwLock::new(0);
/// let guard = LOCK.write();
/// HubPool::global().spawn(move || drop(guard));
/// ```
#[must_use = "a guard that is dropped unlocks at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    hold: Hold<'a, Sharing, T>,
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on reading, without letting another writer in between; readers who wait next are let in. Never switches. Like std's.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writing = lock.write();
    /// *writing = 2;
    /// let reading = RwLockWriteGuard::downgrade(writing);
    /// assert_eq!(*reading, *lock.read());
    /// ```
    pub fn downgrade(guard: RwLockWriteGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard { share: guard.hold.downgrade() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.hold
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.hold
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
