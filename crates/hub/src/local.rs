//! Greenlet locals: `local!`, as `thread_local!`.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use crate::extras::Found;
use crate::hub::Hub;

/// Declares statics of which each greenlet has a value of its own, as `thread_local!` does for threads.
///
/// A value is made when its greenlet first asks for it, and dropped when that ends, on its own stack; the last one made goes first. A main
/// greenlet's live as long as its thread. They need not be `Send`. Like gevent's `local`.
///
/// The destructors may wait. No kill and no [`timeout`](crate::timeout()) cuts them off, just as in an unwind.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{local, spawn, yield_now};
/// use std::cell::Cell;
///
/// local! {
///     static REQUESTS: Cell<u32> = Cell::new(0);
/// }
///
/// let counts = [1, 2].map(|n| spawn(move || {
///     REQUESTS.set(n);
///     yield_now();
///     REQUESTS.get()
/// }));
/// assert_eq!(counts.map(|count| count.join().unwrap()), [1, 2]);
/// assert_eq!(REQUESTS.get(), 0);
/// ```
#[macro_export]
macro_rules! local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr);+ $(;)?) => {
        $($(#[$attribute])* $visibility static $name: $crate::LocalKey<$type> = {
            fn initial() -> $type {
                $value
            }
            $crate::LocalKey::new(initial)
        };)+
    };
}

/// A static of which each greenlet has its own value; made by [`local!`](crate::local!).
pub struct LocalKey<T: 'static> {
    initial: fn() -> T,
}

/// The greenlet has dropped its locals: see [`LocalKey::try_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this greenlet's value has been dropped")
    }
}

impl Error for AccessError {}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn new(initial: fn() -> T) -> LocalKey<T> {
        LocalKey { initial }
    }

    /// Calls `f` with the running greenlet's value, which is made if there is none.
    ///
    /// # Panics
    ///
    /// If the value was dropped, which only the destructors of other locals can meet; if the initial expression does.
    ///
    /// # Examples
    ///
    /// ```
    /// greenlet_hub::local! { static NAME: String = String::from("anonymous"); }
    /// assert_eq!(NAME.with(String::len), 9);
    /// ```
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(err) => panic!("{err}"),
        }
    }

    /// Calls `f` with the running greenlet's value, which is made if there is none.
    ///
    /// # Errors
    ///
    /// If the value was dropped.
    ///
    /// # Panics
    ///
    /// If the initial expression does.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self).addr();
        let greenlet = Hub::here().current();
        let find = || greenlet.local().extras().find_local(key);
        let value = match find() {
            Found::Value(value) => value,
            Found::Dropped => return Err(AccessError),
            Found::Missing => {
                let made = (self.initial)();
                match find() {
                    // The expression asked for the value itself, and somebody may have a reference to that one.
                    Found::Value(value) => value,
                    Found::Dropped => return Err(AccessError),
                    Found::Missing => {
                        let made: Rc<dyn std::any::Any> = Rc::new(made);
                        greenlet.local().extras().add_local(key, Rc::clone(&made));
                        made
                    }
                }
            }
        };
        match value.downcast_ref() {
            Some(value) => Ok(f(value)),
            None => unreachable!("a static has one type"),
        }
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the running greenlet's value.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// A copy of the running greenlet's value.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the running greenlet's value and leaves the default.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Exchanges the running greenlet's value.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with).
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with the content of the running greenlet's value.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with), and if it is mutably borrowed.
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with the content of the running greenlet's value.
    ///
    /// # Panics
    ///
    /// As [`with`](LocalKey::with), and if it is borrowed.
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}
