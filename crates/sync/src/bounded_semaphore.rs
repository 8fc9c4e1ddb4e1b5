//! `BoundedSemaphore`: a semaphore that knows how many permits it has.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use greenlet_hub::{Waitable, Waiter};

use crate::const_fn::const_unless_loom;
use crate::future::{TakeAsync, take_async};
use crate::permits::{How, Permits};
use crate::semaphore::{Permit, REASON, SemaphoreAcquire};
use crate::time::deadline_after;

/// A [`Semaphore`](crate::Semaphore) that never has more permits than it was made with: releasing too often is an error. Like gevent's and Python's.
///
/// # Examples
///
/// ```
/// use greenlet_sync::{BoundedSemaphore, OverRelease};
///
/// let semaphore = BoundedSemaphore::new(1);
/// semaphore.acquire().forget();
/// assert_eq!(semaphore.release(), Ok(()));
/// assert_eq!(semaphore.release(), Err(OverRelease));
/// ```
pub struct BoundedSemaphore {
    permits: Permits,
}

impl BoundedSemaphore {
    const_unless_loom! {
        /// A semaphore with so many permits, and never more.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::BoundedSemaphore;
        ///
        /// static CONNECTIONS: BoundedSemaphore = BoundedSemaphore::new(100);
        /// assert_eq!(CONNECTIONS.available(), 100);
        /// ```
        pub fn new(permits: usize) -> BoundedSemaphore {
            BoundedSemaphore { permits: Permits::new(permits, permits) }
        }
    }

    /// Waits until it has a permit, which is given back when the guard is dropped.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::BoundedSemaphore;
    ///
    /// let semaphore = BoundedSemaphore::new(1);
    /// let permit = semaphore.acquire();
    /// assert_eq!(semaphore.available(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    #[inline]
    pub fn acquire(&self) -> Permit<'_> {
        self.permits.acquire(REASON, How::Wait);
        Permit { permits: &self.permits }
    }

    /// A future of a permit, for async tasks of any runtime. Never switches. See [`Semaphore::acquire_async`](crate::Semaphore::acquire_async).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::block_on;
    /// use greenlet_sync::BoundedSemaphore;
    ///
    /// let semaphore = BoundedSemaphore::new(1);
    /// let permit = block_on(semaphore.acquire_async());
    /// assert_eq!(semaphore.available(), 0);
    /// drop(permit);
    /// ```
    pub fn acquire_async(&self) -> TakeAsync<SemaphoreAcquire<'_>> {
        take_async(SemaphoreAcquire::new(&self.permits))
    }

    /// Takes a permit if that is possible without waiting. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::BoundedSemaphore;
    ///
    /// assert!(BoundedSemaphore::new(0).try_acquire().is_none());
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.permits.acquire(REASON, How::Try).then(|| Permit { permits: &self.permits })
    }

    /// Waits until it has a permit, at the most for `timeout`.
    ///
    /// # Panics
    ///
    /// As [`acquire`](BoundedSemaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::BoundedSemaphore;
    /// use std::time::Duration;
    ///
    /// let semaphore = BoundedSemaphore::new(1);
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).is_some());
    /// ```
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.permits.acquire(REASON, How::For(timeout)).then(|| Permit { permits: &self.permits })
    }

    /// Gives back the permit of a guard that was [forgotten](Permit::forget). Never switches.
    ///
    /// # Errors
    ///
    /// If all permits are free already; nothing changes then.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::BoundedSemaphore;
    ///
    /// assert!(BoundedSemaphore::new(1).release().is_err());
    /// ```
    #[inline]
    pub fn release(&self) -> Result<(), OverRelease> {
        if self.permits.release() { Ok(()) } else { Err(OverRelease) }
    }

    /// Waits until a permit is free, without taking it: another may, before the caller does.
    ///
    /// # Panics
    ///
    /// As [`acquire`](BoundedSemaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::BoundedSemaphore;
    ///
    /// BoundedSemaphore::new(1).wait();
    /// ```
    pub fn wait(&self) {
        self.permits.wait(REASON, || None);
    }

    /// Waits until a permit is free, at the most for `timeout`, without taking it; says whether one was.
    ///
    /// # Panics
    ///
    /// As [`acquire`](BoundedSemaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::BoundedSemaphore;
    /// use std::time::Duration;
    ///
    /// assert!(BoundedSemaphore::new(1).wait_timeout(Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.permits.wait(REASON, || deadline_after(timeout))
    }

    /// How many permits can be taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::BoundedSemaphore;
    ///
    /// assert_eq!(BoundedSemaphore::new(3).available(), 3);
    /// ```
    #[inline]
    pub fn available(&self) -> usize {
        self.permits.available()
    }
}

impl Waitable for BoundedSemaphore {
    /// Whether a permit is free.
    fn is_ready(&self) -> bool {
        self.permits.is_available()
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.permits.subscribe(waiter, false);
    }

    fn unsubscribe(&self, _: &Waiter) {
        self.permits.unsubscribe();
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permits.describe(f, "BoundedSemaphore")
    }
}

/// All permits of a [`BoundedSemaphore`] were free already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverRelease;

impl fmt::Display for OverRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a semaphore was released more often than it was acquired")
    }
}

impl Error for OverRelease {}
