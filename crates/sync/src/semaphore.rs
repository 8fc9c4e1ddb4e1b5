//! `Semaphore`: so many may do it at a time.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use greenlet_hub::{Waitable, Waiter};

use crate::const_fn::const_unless_loom;
use crate::future::{TakeAsync, take_async};
use crate::permits::{How, Permits};
use crate::select::Arm;
use crate::time::deadline_after;

pub(crate) const REASON: &str = "a permit of a semaphore";

/// A number of permits, of which each holder has one. Like gevent's and Python's `Semaphore`, with guards as tokio's has them.
///
/// Permits go to those who wait in the order in which they came. A permit that is free may be taken by whoever asks first, even if
/// somebody has just been woken for it; he then is handed the next one.
///
/// # Examples
///
/// Two at a time:
///
/// ```
/// use greenlet_hub::{joinall, spawn, yield_now};
/// use greenlet_sync::Semaphore;
/// use std::{cell::Cell, rc::Rc};
///
/// let (permits, busy) = (Rc::new(Semaphore::new(2)), Rc::new(Cell::new(0)));
/// let workers = (0..5).map(|_| {
///     let (permits, busy) = (Rc::clone(&permits), Rc::clone(&busy));
///     spawn(move || {
///         let _permit = permits.acquire();
///         busy.set(busy.get() + 1);
///         assert!(busy.get() <= 2);
///         yield_now();
///         busy.set(busy.get() - 1);
///     })
/// });
/// assert!(joinall(workers).iter().all(Result::is_ok));
/// ```
pub struct Semaphore {
    permits: Permits,
}

impl Semaphore {
    const_unless_loom! {
        /// A semaphore with so many permits.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::Semaphore;
        ///
        /// static CONNECTIONS: Semaphore = Semaphore::new(100);
        /// assert_eq!(CONNECTIONS.available(), 100);
        /// ```
        pub fn new(permits: usize) -> Semaphore {
            Semaphore { permits: Permits::new(permits, usize::MAX) }
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
    /// use greenlet_sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1);
    /// {
    ///     let _permit = semaphore.acquire();
    ///     assert_eq!(semaphore.available(), 0);
    /// }
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    #[inline]
    pub fn acquire(&self) -> Permit<'_> {
        self.permits.acquire(REASON, How::Wait);
        Permit { permits: &self.permits }
    }

    /// A future of a permit, for async tasks of any runtime. Never switches.
    ///
    /// It stands in line from its first poll on. Dropped at any time it has none: one that it was woken for goes to the next. See
    /// [`TakeAsync`] for the rest.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{block_on, spawn};
    /// use greenlet_sync::Semaphore;
    /// use std::rc::Rc;
    ///
    /// let semaphore = Rc::new(Semaphore::new(0));
    /// spawn({ let semaphore = Rc::clone(&semaphore); move || semaphore.release() });
    /// let permit = block_on(semaphore.acquire_async());
    /// assert_eq!(semaphore.available(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    pub fn acquire_async(&self) -> TakeAsync<SemaphoreAcquire<'_>> {
        take_async(SemaphoreAcquire::new(&self.permits))
    }

    /// Takes a permit if that is possible without waiting. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1);
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some());
    /// assert!(semaphore.try_acquire().is_none());
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.permits.acquire(REASON, How::Try).then(|| Permit { permits: &self.permits })
    }

    /// Waits until it has a permit, at the most for `timeout`.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    /// use std::time::Duration;
    ///
    /// let semaphore = Semaphore::new(0);
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
        self.permits.acquire(REASON, How::For(timeout)).then(|| Permit { permits: &self.permits })
    }

    /// Waits as [`acquire`](Semaphore::acquire) does, for a permit that borrows nothing: it can go into a greenlet.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let semaphore = Arc::new(Semaphore::new(5));
    /// for _ in 0..100 {
    ///     let permit = semaphore.acquire_owned();
    ///     spawn(move || drop(permit)); // so that no more than five greenlets exist
    /// }
    /// ```
    #[inline]
    pub fn acquire_owned(self: &Arc<Self>) -> OwnedPermit {
        self.permits.acquire(REASON, How::Wait);
        OwnedPermit { semaphore: Arc::clone(self), is_forgotten: false }
    }

    /// Takes an owned permit if that is possible without waiting. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// assert!(Arc::new(Semaphore::new(0)).try_acquire_owned().is_none());
    /// ```
    #[inline]
    pub fn try_acquire_owned(self: &Arc<Self>) -> Option<OwnedPermit> {
        self.permits.acquire(REASON, How::Try).then(|| OwnedPermit { semaphore: Arc::clone(self), is_forgotten: false })
    }

    /// Waits until it has an owned permit, at the most for `timeout`.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    /// use std::{sync::Arc, time::Duration};
    ///
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// assert!(semaphore.acquire_owned_timeout(Duration::from_millis(1)).is_some());
    /// ```
    #[inline]
    pub fn acquire_owned_timeout(self: &Arc<Self>, timeout: Duration) -> Option<OwnedPermit> {
        self.permits
            .acquire(REASON, How::For(timeout))
            .then(|| OwnedPermit { semaphore: Arc::clone(self), is_forgotten: false })
    }

    /// Adds a permit: that of a guard that was [forgotten](Permit::forget), or a new one. Never switches.
    ///
    /// # Panics
    ///
    /// If there are `usize::MAX` free ones already.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::Semaphore;
    /// use std::rc::Rc;
    ///
    /// let done = Rc::new(Semaphore::new(0));
    /// spawn({ let done = Rc::clone(&done); move || done.release() });
    /// done.acquire().forget();
    /// ```
    #[inline]
    pub fn release(&self) {
        if !self.permits.release() {
            too_many();
        }
    }

    /// Waits until a permit is free, without taking it: another may, before the caller does.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1);
    /// semaphore.wait();
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    pub fn wait(&self) {
        self.permits.wait(REASON, || None);
    }

    /// Waits until a permit is free, at the most for `timeout`, without taking it; says whether one was.
    ///
    /// # Panics
    ///
    /// As [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    /// use std::time::Duration;
    ///
    /// assert!(!Semaphore::new(0).wait_timeout(Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.permits.wait(REASON, || deadline_after(timeout))
    }

    /// How many permits can be taken now.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    ///
    /// assert_eq!(Semaphore::new(3).available(), 3);
    /// ```
    #[inline]
    pub fn available(&self) -> usize {
        self.permits.available()
    }
}

#[cold]
fn too_many() -> ! {
    panic!("a semaphore cannot have that many permits")
}

impl Waitable for Semaphore {
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

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permits.describe(f, "Semaphore")
    }
}

/// What [`Semaphore::acquire_async`] waits with: an arm that takes a permit.
pub struct SemaphoreAcquire<'a> {
    permits: &'a Permits,
    /// It was subscribed before, and woken in vain.
    again: Cell<bool>,
}

impl<'a> SemaphoreAcquire<'a> {
    pub(crate) fn new(permits: &'a Permits) -> SemaphoreAcquire<'a> {
        SemaphoreAcquire { permits, again: Cell::new(false) }
    }
}

impl Waitable for SemaphoreAcquire<'_> {
    fn is_ready(&self) -> bool {
        self.permits.is_available()
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.permits.subscribe(waiter, self.again.replace(true));
    }
    fn unsubscribe(&self, _: &Waiter) {
        self.permits.unsubscribe();
    }
}

impl<'a> Arm for SemaphoreAcquire<'a> {
    type Output = Permit<'a>;

    fn take(&mut self) -> Option<Permit<'a>> {
        self.permits.acquire(REASON, How::Try).then(|| Permit { permits: self.permits })
    }
}

impl fmt::Debug for SemaphoreAcquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.permits.describe(f, "SemaphoreAcquire")
    }
}

/// A permit of a [`Semaphore`] or [`BoundedSemaphore`](crate::BoundedSemaphore), which is given back when this is dropped.
#[must_use = "a permit that is dropped is given back at once"]
pub struct Permit<'a> {
    pub(crate) permits: &'a Permits,
}

impl Permit<'_> {
    /// Keeps the permit for good, or until somebody calls `release`.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(1);
    /// semaphore.acquire().forget();
    /// assert_eq!(semaphore.available(), 0);
    /// semaphore.release();
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    #[inline]
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // Of a bounded semaphore that others have filled up there is nothing to give back.
        self.permits.release();
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// A permit of a shared [`Semaphore`], which is given back when this is dropped. Made by [`Semaphore::acquire_owned`].
#[must_use = "a permit that is dropped is given back at once"]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    is_forgotten: bool,
}

impl OwnedPermit {
    /// Keeps the permit for good, or until somebody calls [`release`](Semaphore::release).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let semaphore = Arc::new(Semaphore::new(1));
    /// semaphore.acquire_owned().forget();
    /// assert_eq!(semaphore.available(), 0);
    /// assert_eq!(Arc::strong_count(&semaphore), 1);
    /// ```
    pub fn forget(mut self) {
        self.is_forgotten = true;
    }

    /// The semaphore that it is of.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let permit = Arc::new(Semaphore::new(2)).acquire_owned();
    /// assert_eq!(permit.semaphore().available(), 1);
    /// ```
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        if !self.is_forgotten {
            self.semaphore.permits.release();
        }
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("semaphore", &self.semaphore).finish()
    }
}
