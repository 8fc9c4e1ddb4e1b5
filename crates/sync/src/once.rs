//! `Once` and `OnceCell`: what is done once, by whoever comes first, while the others wait.

use std::convert::Infallible;
use std::fmt;
use std::sync::OnceLock;

use greenlet_hub::{Outcome, Reason, ShortLock, Wait, WaitQueue, current};

use crate::const_fn::const_unless_loom;

/// A value that is made once, by the first who needs it; the others wait meanwhile. Like [`std::sync::OnceLock`].
///
/// The initialiser may wait. If it fails, panics or is killed, nothing is poisoned: the next who waits runs his own.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{joinall, sleep, spawn};
/// use greenlet_sync::OnceCell;
/// use std::{rc::Rc, time::Duration};
///
/// let cell = Rc::new(OnceCell::new());
/// let readers = (0..3).map(|i| {
///     let cell = Rc::clone(&cell);
///     spawn(move || *cell.get_or_init(|| { sleep(Duration::from_millis(1)); i }))
/// });
/// assert!(joinall(readers).into_iter().all(|value| matches!(value, Ok(0))));
/// ```
pub struct OnceCell<T> {
    value: OnceLock<T>,
    state: ShortLock<State>,
}

struct State {
    /// The greenlet whose turn it is to make the value.
    initialiser: Option<u64>,
    waiters: WaitQueue,
}

impl<T> OnceCell<T> {
    const_unless_loom! {
        /// An empty cell.
        ///
        /// # Examples
        ///
        /// ```
        /// use greenlet_sync::OnceCell;
        ///
        /// static CONFIG: OnceCell<String> = OnceCell::new();
        /// assert_eq!(CONFIG.get_or_init(|| "default".into()), "default");
        /// ```
        pub fn new() -> OnceCell<T> {
            OnceCell {
                value: OnceLock::new(),
                state: ShortLock::new(State { initialiser: None, waiters: WaitQueue::new() }),
            }
        }
    }

    /// The value, if it is there. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet_sync::OnceCell::<u32>::new().get(), None);
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, if it is there, to be changed.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = greenlet_sync::OnceCell::from(1);
    /// *cell.get_mut().unwrap() += 1;
    /// assert_eq!(cell.get(), Some(&2));
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Sets the value. Waits while somebody else is making it.
    ///
    /// # Errors
    ///
    /// Gives the value back if the cell has one.
    ///
    /// # Panics
    ///
    /// As [`get_or_init`](OnceCell::get_or_init).
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet_sync::OnceCell::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// ```
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("an initialiser is called once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none, `f` makes it, or, if somebody is about to, waits for that.
    ///
    /// # Panics
    ///
    /// If `f` does; if `f` asks for the value that it is to make; if it must wait inside
    /// [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet_sync::OnceCell::new();
    /// assert_eq!(cell.get_or_init(|| 1), &1);
    /// assert_eq!(cell.get_or_init(|| 2), &1);
    /// ```
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, Infallible>(f())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value; if there is none, `f` makes it or fails, or, if somebody is about to make it, waits for that.
    ///
    /// # Errors
    ///
    /// That of `f`. The cell stays empty, and the next who waits calls his own.
    ///
    /// # Panics
    ///
    /// As [`get_or_init`](OnceCell::get_or_init).
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = greenlet_sync::OnceCell::new();
    /// assert!(cell.get_or_try_init(|| "seven".parse::<u32>()).is_err());
    /// assert_eq!(cell.get_or_try_init(|| "7".parse::<u32>()), Ok(&7));
    /// ```
    #[inline]
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        self.initialise(f)
    }

    #[cold]
    fn initialise<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(turn) = self.wait_for_turn() {
            // While this one has the turn nobody else sets it, so it is empty, and setting it never blocks.
            let _ = self.value.set(f()?);
            drop(turn);
        }
        Ok(self.value.get().expect("the value was made"))
    }

    /// Waits until it is this greenlet's turn to make the value; `None` if there is one.
    fn wait_for_turn(&self) -> Option<Turn<'_, T>> {
        let this = current().id();
        let mut again = false;
        loop {
            let wait = {
                let mut state = self.state.lock();
                if self.value.get().is_some() {
                    return None;
                }
                match state.initialiser {
                    None => {
                        state.initialiser = Some(this);
                        return Some(Turn(self));
                    }
                    Some(initialiser) if initialiser == this => {
                        drop(state);
                        panic!("the initialiser of a OnceCell or Once asks for what it is to make");
                    }
                    Some(_) => {}
                }
                let wait = Wait::begin(Reason::new("an initialiser"));
                // Who was woken and came too late keeps his place.
                if again {
                    state.waiters.push_front(wait.waiter());
                } else {
                    state.waiters.push_back(wait.waiter());
                }
                wait
            };
            match wait.until(None) {
                Outcome::Interrupted(interrupted) => {
                    if interrupted.was_notified() {
                        self.wake();
                    }
                    interrupted.raise()
                }
                Outcome::Notified | Outcome::TimedOut => again = true,
            }
        }
    }

    /// Wakes all if there is a value; the next one if it is somebody's turn.
    fn wake(&self) {
        let (next, all) = {
            let mut state = self.state.lock();
            if self.value.get().is_some() {
                (None, Some(state.waiters.take()))
            } else if state.initialiser.is_none() {
                (state.waiters.claim_first(), None)
            } else {
                (None, None)
            }
        };
        drop(next);
        if let Some(all) = all {
            all.notify_all();
        }
    }

    /// The value, taken out for good.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(greenlet_sync::OnceCell::from(1).into_inner(), Some(1));
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out; the cell is empty again.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = greenlet_sync::OnceCell::from(1);
    /// assert_eq!((cell.take(), cell.take()), (Some(1), None));
    /// ```
    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }
}

/// The right to make the value; given to the next when dropped without.
struct Turn<'a, T>(&'a OnceCell<T>);

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.0.state.lock().initialiser = None;
        self.0.wake();
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> OnceCell<T> {
        OnceCell::new()
    }
}

impl<T> From<T> for OnceCell<T> {
    fn from(value: T) -> OnceCell<T> {
        OnceCell { value: OnceLock::from(value), ..OnceCell::new() }
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell")
            .field(&fmt::from_fn(|f| match self.get() {
                Some(value) => value.fmt(f),
                None => f.write_str("<none>"),
            }))
            .finish()
    }
}

/// Code that runs once, called by whoever comes first; the others wait until it has. Like [`std::sync::Once`], but nothing poisons it.
///
/// # Examples
///
/// ```
/// use greenlet_sync::Once;
///
/// static SET_UP: Once = Once::new();
/// let mut calls = 0;
/// SET_UP.call_once(|| calls += 1);
/// SET_UP.call_once(|| calls += 1);
/// assert_eq!(calls, 1);
/// ```
#[derive(Default)]
pub struct Once {
    done: OnceCell<()>,
}

impl Once {
    const_unless_loom! {
        /// One that has not been called.
        ///
        /// # Examples
        ///
        /// ```
        /// assert!(!greenlet_sync::Once::new().is_completed());
        /// ```
        pub fn new() -> Once {
            Once { done: OnceCell::new() }
        }
    }

    /// Calls `f` if this is the first call; waits if another is under way.
    ///
    /// If `f` panics or is killed, the next who waits calls his own.
    ///
    /// # Panics
    ///
    /// As [`OnceCell::get_or_init`].
    ///
    /// # Examples
    ///
    /// ```
    /// let once = greenlet_sync::Once::new();
    /// once.call_once(|| println!("for the first time"));
    /// assert!(once.is_completed());
    /// ```
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) {
        self.done.get_or_init(f);
    }

    /// Whether a call has returned. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!greenlet_sync::Once::new().is_completed());
    /// ```
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.done.get().is_some()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("is_completed", &self.is_completed()).finish_non_exhaustive()
    }
}
