//! Values that greenlets inherit from whoever spawned them: `inherited_local!`.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::hub::Hub;

/// Declares statics whose values greenlets inherit: a request's number, a user, a deadline.
///
/// A greenlet begins with what its spawner has at the spawn; what either sets later the other does not see. The values are shared between
/// greenlets, also of other hubs, so they are `Send + Sync`. Like Python's `contextvars` under gevent and Java's
/// `InheritableThreadLocal`.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{inherited_local, spawn};
///
/// inherited_local! {
///     static REQUEST: u64 = 0;
/// }
///
/// REQUEST.set(7);
/// let child = spawn(|| {
///     let inherited = *REQUEST.get();
///     REQUEST.set(8);
///     inherited
/// });
/// assert_eq!(child.join().unwrap(), 7);
/// assert_eq!(*REQUEST.get(), 7);
/// ```
#[macro_export]
macro_rules! inherited_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr);+ $(;)?) => {
        $($(#[$attribute])* $visibility static $name: $crate::InheritedKey<$type> = {
            fn initial() -> $type {
                $value
            }
            $crate::InheritedKey::new(initial)
        };)+
    };
}

/// All the values that a greenlet has inherited or set. Shared until one of those who share it sets another value.
#[derive(Clone, Default)]
pub(crate) struct Inheritance {
    /// The addresses of the statics, and the values.
    values: Vec<(usize, Arc<dyn Any + Send + Sync>)>,
}

/// A static whose value greenlets inherit; made by [`inherited_local!`](crate::inherited_local!).
pub struct InheritedKey<T: Send + Sync + 'static> {
    initial: fn() -> T,
}

impl<T: Send + Sync + 'static> InheritedKey<T> {
    #[doc(hidden)]
    pub const fn new(initial: fn() -> T) -> InheritedKey<T> {
        InheritedKey { initial }
    }

    /// The running greenlet's value: set by itself, inherited, or else the initial one.
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet_hub::inherited_local! { static USER: String = String::from("nobody"); }
    /// assert_eq!(*USER.get(), "nobody");
    /// ```
    pub fn get(&'static self) -> Arc<T> {
        self.find().unwrap_or_else(|| {
            let value = Arc::new((self.initial)());
            self.store(Some(value.clone()));
            value
        })
    }

    /// Sets the value of the running greenlet, and of those that it spawns from now on.
    pub fn set(&'static self, value: T) {
        self.store(Some(Arc::new(value)));
    }

    /// Calls `f` with another value, and restores the one before, also when `f` unwinds.
    ///
    /// # Panics
    ///
    /// If `f` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    ///
    /// greenlet_hub::inherited_local! { static DEPTH: u32 = 0; }
    /// let child = DEPTH.with_value(1, || spawn(|| *DEPTH.get()));
    /// assert_eq!((*DEPTH.get(), child.join().unwrap()), (0, 1));
    /// ```
    pub fn with_value<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        struct Restore<T: Send + Sync + 'static>(&'static InheritedKey<T>, Option<Arc<T>>);

        impl<T: Send + Sync + 'static> Drop for Restore<T> {
            fn drop(&mut self) {
                self.0.store(self.1.take());
            }
        }

        let _restore = Restore(self, self.find());
        self.set(value);
        f()
    }

    fn key(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn find(&'static self) -> Option<Arc<T>> {
        let greenlet = Hub::here().current();
        let inheritance = greenlet.local().extras.get()?.inheritance.borrow();
        let (_, value) = inheritance.as_ref()?.values.iter().find(|(key, _)| *key == self.key())?;
        Arc::clone(value).downcast().ok()
    }

    fn store(&'static self, value: Option<Arc<T>>) {
        let greenlet = Hub::here().current();
        let inheritance = &greenlet.local().extras().inheritance;
        let key = self.key();
        let mut new = inheritance.borrow().as_deref().cloned().unwrap_or_default();
        new.values.retain(|(other, _)| *other != key);
        if let Some(value) = value {
            new.values.push((key, value));
        }
        let old = inheritance.replace(Some(Arc::new(new)));
        // The last reference to a user's value, perhaps: dropped with nothing borrowed.
        drop(old);
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for InheritedKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedKey").finish_non_exhaustive()
    }
}
