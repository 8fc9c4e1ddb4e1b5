//! The value in a lock: where the crate is `unsafe`, and the only place.
//!
//! A lock has two parts: an *exclusion*, which knows of no value and is safe code ([`Mutual`], [`Owned`], [`Sharing`]), and the payload, which can be
//! reached through a hold on its exclusion alone. What an exclusion must keep for that to be sound is in the traits below.

#![allow(unsafe_code, reason = "a lock hands out references to what is in it")]

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::lock::Mutual;
use crate::permits::How;
use crate::rlock::Owned;
use crate::sharing::{Access, Sharing};

/// What can be held by one at a time.
///
/// # Safety
///
/// While there has been a `lock` that returned true, and no `unlock` for it, no `lock` returns true, nor does a [`Shared::share`] of
/// the same exclusion. An `unlock` happens before the `lock` that it makes possible.
pub(crate) unsafe trait Exclusive {
    fn lock(&self, how: How) -> bool;
    /// To be called once for each `lock` that returned true.
    fn unlock(&self);
}

/// What can be held by several at a time.
///
/// # Safety
///
/// As [`Exclusive`], for a `share` that returned true, and no `unshare` for it. Several holds at a time are on one thread, unless the
/// payload has to be `Sync` to be shared with it (see the `Sync` of [`Payload`]).
pub(crate) unsafe trait Shared {
    fn share(&self, how: How) -> bool;
    /// To be called once for each `share` that returned true.
    fn unshare(&self);
}

// SAFETY: it has one permit and never more; `lock` takes it. Permits are taken and given back under a `ShortLock`, whose unlocking
// happens before its next locking.
unsafe impl Exclusive for Mutual {
    #[inline]
    fn lock(&self, how: How) -> bool {
        Mutual::lock(self, how)
    }
    #[inline]
    fn unlock(&self) {
        Mutual::unlock(self);
    }
}

// SAFETY: `lock` succeeds where nobody has it, and nobody gets it as long as a writer does: both are decided under one `ShortLock`.
unsafe impl Exclusive for Sharing {
    #[inline]
    fn lock(&self, how: How) -> bool {
        Sharing::lock(self, Access::Write, how)
    }
    #[inline]
    fn unlock(&self) {
        Sharing::unlock(self, Access::Write);
    }
}

// SAFETY: as above. Readers may be on several threads, and the payload has to be `Sync`.
unsafe impl Shared for Sharing {
    #[inline]
    fn share(&self, how: How) -> bool {
        Sharing::lock(self, Access::Read, how)
    }
    #[inline]
    fn unshare(&self) {
        Sharing::unlock(self, Access::Read);
    }
}

// SAFETY: all holds at a time were made by one greenlet, which never leaves its thread; nor do holds, which are not `Send`.
unsafe impl Shared for Owned {
    #[inline]
    fn share(&self, how: How) -> bool {
        Owned::lock(self, how)
    }
    #[inline]
    fn unshare(&self) {
        Owned::unlock(self);
    }
}

/// A value with its exclusion.
pub(crate) struct Payload<E, T: ?Sized> {
    exclusion: E,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time reaches the value, which passes from thread to thread with the lock.
unsafe impl<T: ?Sized + Send> Sync for Payload<Mutual, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Payload<Owned, T> {}
// SAFETY: as above for writers; readers on several threads reach it together.
unsafe impl<T: ?Sized + Send + Sync> Sync for Payload<Sharing, T> {}

impl<E, T> Payload<E, T> {
    pub(crate) const fn new(exclusion: E, value: T) -> Payload<E, T> {
        Payload { exclusion, value: UnsafeCell::new(value) }
    }

    pub(crate) fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<E, T: ?Sized> Payload<E, T> {
    pub(crate) fn exclusion(&self) -> &E {
        &self.exclusion
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<E: Exclusive, T: ?Sized> Payload<E, T> {
    /// Locks it, if that succeeds.
    #[inline]
    pub(crate) fn lock(&self, how: How) -> Option<Hold<'_, E, T>> {
        self.exclusion.lock(how).then(|| Hold { payload: self, marker: PhantomData })
    }
}

impl<E: Shared, T: ?Sized> Payload<E, T> {
    /// Locks it together with others, if that succeeds.
    #[inline]
    pub(crate) fn share(&self, how: How) -> Option<Share<'_, E, T>> {
        self.exclusion.share(how).then(|| Share { payload: self, marker: PhantomData })
    }
}

/// A payload that is held by nobody else. Dropping this unlocks it.
pub(crate) struct Hold<'a, E: Exclusive, T: ?Sized> {
    payload: &'a Payload<E, T>,
    // Not `Send`, as std's guards are not. The exclusions would bear it, but for `Owned`; but what is `Send` once stays so.
    marker: PhantomData<*mut ()>,
}

// SAFETY: a shared one gives out shared references to the value, and nothing else.
unsafe impl<E: Exclusive + Sync, T: ?Sized + Sync> Sync for Hold<'_, E, T> {}

impl<'a, E: Exclusive, T: ?Sized> Hold<'a, E, T> {
    /// What it is a hold on.
    pub(crate) fn payload(&self) -> &'a Payload<E, T> {
        self.payload
    }
}

impl<'a, T: ?Sized> Hold<'a, Sharing, T> {
    /// Lets others read it as well.
    pub(crate) fn downgrade(self) -> Share<'a, Sharing, T> {
        let payload = self.payload;
        // The hold of a reader takes its place.
        std::mem::forget(self);
        payload.exclusion.downgrade();
        Share { payload, marker: PhantomData }
    }
}

impl<E: Exclusive, T: ?Sized> Deref for Hold<'_, E, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `lock` has returned true, and `unlock` is not called before this is dropped: so nobody else has the value, and
        // this is borrowed as long as the reference.
        unsafe { &*self.payload.value.get() }
    }
}

impl<E: Exclusive, T: ?Sized> DerefMut for Hold<'_, E, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this is borrowed mutably.
        unsafe { &mut *self.payload.value.get() }
    }
}

impl<E: Exclusive, T: ?Sized> Drop for Hold<'_, E, T> {
    #[inline]
    fn drop(&mut self) {
        self.payload.exclusion.unlock();
    }
}

/// A payload that is held by several for reading. Dropping this gives back one hold.
pub(crate) struct Share<'a, E: Shared, T: ?Sized> {
    payload: &'a Payload<E, T>,
    // Not `Send`: see `Hold`; and those of `Owned` must not be, since they stand for one thread.
    marker: PhantomData<*mut ()>,
}

// SAFETY: a shared one gives out shared references to the value, and nothing else.
unsafe impl<E: Shared + Sync, T: ?Sized + Sync> Sync for Share<'_, E, T> {}

impl<E: Shared, T: ?Sized> Deref for Share<'_, E, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `share` has returned true, and `unshare` is not called before this is dropped: so nobody has the value alone,
        // others who share it are on this thread or the value is `Sync`, and this is borrowed as long as the reference.
        unsafe { &*self.payload.value.get() }
    }
}

impl<E: Shared, T: ?Sized> Drop for Share<'_, E, T> {
    #[inline]
    fn drop(&mut self) {
        self.payload.exclusion.unshare();
    }
}
