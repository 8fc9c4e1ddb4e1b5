//! `Queue`, `LifoQueue` and `PriorityQueue`: first in, last in, or least first out.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

use greenlet_hub::{Waitable, Waiter};

use crate::const_fn::const_unless_loom;
use crate::errors::{ShutDown, Shutdown, TooManyDone, TryGetError, TryPutError};
use crate::future::{TakeAsync, take_async};
use crate::grants::Turn;
use crate::heap::Heap;
use crate::queue_core::{Core, Side};
use crate::select::{Arm, SelectGet, SelectJoin, SelectPut};
use crate::storage::{Fifo, Lifo, Storage};
use crate::time::deadline_after;

/// A queue, first in, first out, unbounded or with room for so many items.
///
/// It is shared by reference, in an `Rc` or an `Arc`. Getters and putters are served in the order in which they came, but what is there
/// or free goes to whoever asks first: a `try_get` after a `put` takes the item back even if a getter waits, who then is
/// handed the next one. Like Python's and gevent's `Queue`, with [`shutdown`](Queue::shutdown), and [`task_done`](Queue::task_done) and
/// [`join`](Queue::join) to wait until all items have been dealt with.
///
/// No item is lost or doubled: a getter that is killed or times out has taken nothing, and a putter that is has put nothing.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_sync::{Queue, Shutdown};
/// use std::rc::Rc;
///
/// let queue = Rc::new(Queue::bounded(2));
/// let consumer = spawn({
///     let queue = Rc::clone(&queue);
///     move || queue.iter().sum::<i32>()
/// });
/// for n in 0..5 {
///     queue.put(n)?; // waits while there are two in it
/// }
/// queue.shutdown(Shutdown::Graceful);
/// assert_eq!(consumer.join().unwrap(), 10);
/// # Ok::<(), greenlet_sync::ShutDown<i32>>(())
/// ```
pub struct Queue<T> {
    core: Core<Fifo<T>>,
}

/// A queue whose last item comes first: a stack. Otherwise as [`Queue`].
///
/// # Examples
///
/// ```
/// use greenlet_sync::LifoQueue;
///
/// let queue = LifoQueue::unbounded();
/// (1..=3).for_each(|n| queue.put(n).unwrap());
/// assert_eq!((queue.get(), queue.get(), queue.get()), (Ok(3), Ok(2), Ok(1)));
/// ```
pub struct LifoQueue<T> {
    core: Core<Lifo<T>>,
}

/// A queue whose least item comes first; for the greatest, see [`Reverse`](std::cmp::Reverse). Otherwise as [`Queue`].
///
/// Among equal items any may come first. If an `Ord` panics, so does the call, and the queue is as it was before. While an `Ord` waits, all that want an
/// item of the queue, or put one, wait for it, the calls with `try_` included. It must not use the queue itself.
///
/// # Examples
///
/// ```
/// use greenlet_sync::PriorityQueue;
///
/// let queue = PriorityQueue::unbounded();
/// [(2, "later"), (1, "now"), (3, "some day")].map(|job| queue.put(job).unwrap());
/// assert_eq!(queue.get(), Ok((1, "now")));
/// assert_eq!(queue.get(), Ok((2, "later")));
/// ```
pub struct PriorityQueue<T> {
    core: Core<Heap<T>>,
}

macro_rules! queue {
    ($Queue:ident, $Storage:ident, $empty:expr $(, $Ord:ident)?) => {
        impl<T> $Queue<T> {
            const_unless_loom! {
                /// A queue in which there is always room. Allocates nothing.
                pub fn unbounded() -> $Queue<T> {
                    $Queue { core: Core::new($empty, usize::MAX) }
                }
            }

            const_unless_loom! {
                /// A queue with room for so many items. Allocates nothing yet.
                ///
                /// # Panics
                ///
                /// If `capacity` is 0: see [`Channel`](crate::Channel).
                pub fn bounded(capacity: usize) -> $Queue<T> {
                    $Queue { core: Core::new($empty, capacity) }
                }
            }

            /// How many items there are.
            #[inline]
            pub fn len(&self) -> usize {
                self.core.len()
            }

            /// Whether there is no item.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether there is no room.
            pub fn is_full(&self) -> bool {
                self.capacity().is_some_and(|capacity| self.len() >= capacity)
            }

            /// For how many items there is room in all; `None` if it is unbounded.
            pub fn capacity(&self) -> Option<usize> {
                self.core.capacity()
            }

            /// Whether [`shutdown`](Self::shutdown) was called.
            pub fn is_shut_down(&self) -> bool {
                self.core.is_shut_down()
            }

            /// Says that an item that was got has been dealt with, for [`join`](Self::join). Never switches.
            ///
            /// # Errors
            ///
            /// If it was called for all items already that have ever been put.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, TooManyDone};")]
            ///
            /// let queue = Queue::unbounded();
            /// queue.put(1).unwrap();
            /// queue.get().unwrap();
            /// assert_eq!(queue.task_done(), Ok(()));
            /// assert_eq!(queue.task_done(), Err(TooManyDone));
            /// ```
            pub fn task_done(&self) -> Result<(), TooManyDone> {
                self.core.task_done()
            }

            /// Waits until as many [`task_done`](Self::task_done)s were called as items put; not at all if nothing was put.
            ///
            /// # Panics
            ///
            /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
            ///
            /// # Examples
            ///
            /// ```
            /// use greenlet_hub::spawn;
            #[doc = concat!("use greenlet_sync::", stringify!($Queue), " as Queue;")]
            /// use std::rc::Rc;
            ///
            /// let queue = Rc::new(Queue::unbounded());
            /// (0..10).for_each(|n| queue.put(n).unwrap());
            /// spawn({
            ///     let queue = Rc::clone(&queue);
            ///     move || for _n in &*queue { queue.task_done().unwrap() }
            /// });
            /// queue.join();
            /// assert!(queue.is_empty());
            /// ```
            pub fn join(&self) {
                self.core.join(|| None);
            }

            /// Waits as [`join`](Self::join), at the most for `timeout`; says whether all is done.
            ///
            /// # Panics
            ///
            /// As [`join`](Self::join).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::", stringify!($Queue), " as Queue;")]
            /// use std::time::Duration;
            ///
            /// let queue = Queue::unbounded();
            /// queue.put(1).unwrap();
            /// assert!(!queue.join_timeout(Duration::from_millis(1)));
            /// ```
            pub fn join_timeout(&self, timeout: Duration) -> bool {
                self.core.join(|| deadline_after(timeout))
            }
        }

        impl<T $(: $Ord)?> $Queue<T> {
            /// Puts an item; waits while there is no room.
            ///
            /// # Errors
            ///
            /// Gives the item back if the queue is shut down.
            ///
            /// # Panics
            ///
            /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted, with the item
            /// dropped and not put.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::", stringify!($Queue), " as Queue;")]
            ///
            /// let queue = Queue::unbounded();
            /// queue.put(1).unwrap();
            /// assert_eq!(queue.len(), 1);
            /// ```
            #[inline]
            pub fn put(&self, item: T) -> Result<(), ShutDown<T>> {
                match self.core.put(item, || None) {
                    Ok(()) => Ok(()),
                    Err(err) => Err(ShutDown(err.into_inner())),
                }
            }

            /// A future that puts an item, for async tasks of any runtime. Never switches.
            ///
            /// It stands in line with putters of all kinds from its first poll on. Dropped before it is ready it has put nothing, and the
            /// item is dropped with it. See [`TakeAsync`] for the rest.
            ///
            /// # Errors
            ///
            /// As [`put`](Self::put).
            ///
            /// # Examples
            ///
            /// ```
            /// use greenlet_hub::{block_on, spawn};
            #[doc = concat!("use greenlet_sync::", stringify!($Queue), " as Queue;")]
            /// use std::rc::Rc;
            ///
            /// let queue = Rc::new(Queue::bounded(1));
            /// let getter = spawn({ let queue = Rc::clone(&queue); move || (queue.get(), queue.get()) });
            /// block_on(async {
            ///     queue.put_async(1).await?;
            ///     queue.put_async(2).await
            /// })?;
            /// assert_eq!(getter.join().unwrap(), (Ok(1), Ok(2)));
            /// # Ok::<(), greenlet_sync::ShutDown<i32>>(())
            /// ```
            pub fn put_async(&self, item: T) -> TakeAsync<QueuePut<'_, $Storage<T>>> {
                take_async(self.select_put(item))
            }

            /// Puts an item if there is room. Never switches.
            ///
            /// # Errors
            ///
            /// Gives the item back if there is no room, or the queue was shut down.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, TryPutError};")]
            ///
            /// let queue = Queue::bounded(1);
            /// assert_eq!(queue.try_put('a'), Ok(()));
            /// assert_eq!(queue.try_put('b'), Err(TryPutError::Full('b')));
            /// ```
            #[inline]
            pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
                self.core.try_put(item)
            }

            /// Puts an item; waits for room at the most for `timeout`.
            ///
            /// # Errors
            ///
            /// Gives the item back if there was no room, or the queue is shut down.
            ///
            /// # Panics
            ///
            /// As [`put`](Self::put).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, TryPutError};")]
            /// use std::time::Duration;
            ///
            /// let queue = Queue::bounded(1);
            /// queue.put('a').unwrap();
            /// assert_eq!(queue.put_timeout('b', Duration::from_millis(1)), Err(TryPutError::Full('b')));
            /// ```
            #[inline]
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), TryPutError<T>> {
                self.core.put(item, || deadline_after(timeout))
            }

            /// Takes the first item; waits until there is one.
            ///
            /// # Errors
            ///
            /// If the queue is shut down and nothing is left in it.
            ///
            /// # Panics
            ///
            /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted, with nothing
            /// taken.
            ///
            /// # Examples
            ///
            /// ```
            /// use greenlet_hub::spawn;
            #[doc = concat!("use greenlet_sync::", stringify!($Queue), " as Queue;")]
            /// use std::rc::Rc;
            ///
            /// let queue = Rc::new(Queue::unbounded());
            /// spawn({ let queue = Rc::clone(&queue); move || queue.put("it") });
            /// assert_eq!(queue.get(), Ok("it"));
            /// ```
            #[inline]
            pub fn get(&self) -> Result<T, ShutDown> {
                match self.core.get(|| None) {
                    Ok(item) => Ok(item),
                    Err(_) => Err(ShutDown(())),
                }
            }

            /// A future that takes the first item, for async tasks of any runtime. Never switches.
            ///
            /// It stands in line with getters of all kinds from its first poll on. Dropped at any time it has taken nothing: what it was woken for
            /// goes to the next. See [`TakeAsync`] for the rest.
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get).
            ///
            /// # Examples
            ///
            /// ```
            /// use greenlet_hub::{block_on, spawn};
            #[doc = concat!("use greenlet_sync::", stringify!($Queue), " as Queue;")]
            /// use std::rc::Rc;
            ///
            /// let queue = Rc::new(Queue::unbounded());
            /// spawn({ let queue = Rc::clone(&queue); move || queue.put("it") });
            /// assert_eq!(block_on(queue.get_async()), Ok("it"));
            /// ```
            pub fn get_async(&self) -> TakeAsync<QueueGet<'_, $Storage<T>>> {
                take_async(self.select_get())
            }

            /// Takes the first item if there is one. Never switches.
            ///
            /// # Errors
            ///
            /// If there is none.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, TryGetError};")]
            ///
            /// assert_eq!(Queue::<u8>::unbounded().try_get(), Err(TryGetError::Empty));
            /// ```
            #[inline]
            pub fn try_get(&self) -> Result<T, TryGetError> {
                self.core.try_get()
            }

            /// Takes the first item; waits for one at the most for `timeout`.
            ///
            /// # Errors
            ///
            /// If there was none, or the queue is shut down and nothing is left in it.
            ///
            /// # Panics
            ///
            /// As [`get`](Self::get).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, TryGetError};")]
            /// use std::time::Duration;
            ///
            /// let queue = Queue::<u8>::unbounded();
            /// assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(TryGetError::Empty));
            /// ```
            #[inline]
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, TryGetError> {
                self.core.get(|| deadline_after(timeout))
            }

            /// A clone of the first item, which stays; waits until there is one.
            ///
            /// # Errors
            ///
            /// As [`get`](Self::get).
            ///
            /// # Panics
            ///
            /// As [`get`](Self::get); and if the item's `Clone` does. While that waits, so do all who want an item.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::", stringify!($Queue), " as Queue;")]
            ///
            /// let queue = Queue::unbounded();
            /// queue.put(1).unwrap();
            /// assert_eq!((queue.peek(), queue.get()), (Ok(1), Ok(1)));
            /// ```
            pub fn peek(&self) -> Result<T, ShutDown>
            where
                T: Clone,
            {
                self.core.peek(|| None).map_err(|_| ShutDown(()))
            }

            /// A clone of the first item, which stays, if there is one. Never switches.
            ///
            /// # Errors
            ///
            /// As [`try_get`](Self::try_get).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, TryGetError};")]
            ///
            /// assert_eq!(Queue::<u8>::unbounded().try_peek(), Err(TryGetError::Empty));
            /// ```
            pub fn try_peek(&self) -> Result<T, TryGetError>
            where
                T: Clone,
            {
                self.core.try_peek()
            }

            /// A clone of the first item, which stays; waits for one at the most for `timeout`.
            ///
            /// # Errors
            ///
            /// As [`get_timeout`](Self::get_timeout).
            ///
            /// # Panics
            ///
            /// As [`peek`](Self::peek).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, TryGetError};")]
            /// use std::time::Duration;
            ///
            /// let queue = Queue::<u8>::unbounded();
            /// assert_eq!(queue.peek_timeout(Duration::from_millis(1)), Err(TryGetError::Empty));
            /// ```
            pub fn peek_timeout(&self, timeout: Duration) -> Result<T, TryGetError>
            where
                T: Clone,
            {
                self.core.peek(|| deadline_after(timeout))
            }

            /// The items that come until the queue is shut down and empty: an iterator that takes, and waits for each.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, Shutdown};")]
            ///
            /// let queue = Queue::unbounded();
            /// (1..=3).for_each(|n| queue.put(n).unwrap());
            /// queue.shutdown(Shutdown::Graceful);
            /// assert_eq!(queue.iter().count(), 3);
            /// ```
            pub fn iter(&self) -> QueueIter<'_, $Storage<T>> {
                QueueIter { core: &self.core }
            }

            /// Ends it: from now on nothing can be put, and nobody waits. Never switches.
            ///
            /// Those who wait to put get their items back. With [`Shutdown::Graceful`] the items that are there can still be got; with
            /// [`Shutdown::Immediate`] they are dropped and count as done. Those that were got are still waited for by
            /// [`join`](Self::join). Like Python 3.13's `Queue.shutdown`.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("use greenlet_sync::{", stringify!($Queue), " as Queue, ShutDown, Shutdown};")]
            ///
            /// let queue = Queue::unbounded();
            /// queue.put(1).unwrap();
            /// queue.shutdown(Shutdown::Immediate);
            /// assert_eq!(queue.get(), Err(ShutDown(())));
            /// ```
            pub fn shutdown(&self, how: Shutdown) {
                self.core.shutdown(how);
            }
        }

        impl<T> Default for $Queue<T> {
            /// One that is unbounded.
            fn default() -> $Queue<T> {
                $Queue::unbounded()
            }
        }

        impl<T> fmt::Debug for $Queue<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.core.describe(f, stringify!($Queue))
            }
        }

        impl<'a, T $(: $Ord)?> IntoIterator for &'a $Queue<T> {
            type Item = T;
            type IntoIter = QueueIter<'a, $Storage<T>>;

            fn into_iter(self) -> Self::IntoIter {
                QueueIter { core: &self.core }
            }
        }

        impl<T> Waitable for $Queue<T> {
            /// Whether there is an item, or the queue was shut down.
            fn is_ready(&self) -> bool {
                self.core.is_ready(Side::Get)
            }
            fn subscribe(&self, waiter: &Waiter) {
                self.core.subscribe(Side::Get, waiter, false);
            }
            fn unsubscribe(&self, _: &Waiter) {
                self.core.decline(Side::Get, Turn::Woken);
            }
        }

        impl<T $(: $Ord)?> SelectGet for $Queue<T> {
            type Arm<'a>
                = QueueGet<'a, $Storage<T>>
            where
                T: 'a;

            fn select_get(&self) -> Self::Arm<'_> {
                QueueGet { core: &self.core, again: Cell::new(false) }
            }
        }

        impl<T $(: $Ord)?> SelectPut<T> for $Queue<T> {
            type Arm<'a>
                = QueuePut<'a, $Storage<T>>
            where
                T: 'a;

            fn select_put(&self, item: T) -> Self::Arm<'_> {
                QueuePut { core: &self.core, item: Some(item), again: Cell::new(false) }
            }
        }

        impl<'a, T $(: $Ord)?> SelectJoin for &'a $Queue<T> {
            type Arm = QueueJoin<'a, $Storage<T>>;

            fn select_join(self) -> Self::Arm {
                QueueJoin { core: &self.core }
            }
        }
    };
}

queue!(Queue, Fifo, Fifo(VecDeque::new()));
queue!(LifoQueue, Lifo, Lifo(Vec::new()));
queue!(PriorityQueue, Heap, Heap::new(), Ord);

/// The items of a queue, until it is shut down; see [`Queue::iter`].
pub struct QueueIter<'a, S> {
    core: &'a Core<S>,
}

impl<S: Storage> Iterator for QueueIter<'_, S> {
    type Item = S::Item;

    /// Waits for the next item, and takes it.
    #[inline]
    fn next(&mut self) -> Option<S::Item> {
        self.core.get(|| None).ok()
    }
}

impl<S: Storage> FusedIterator for QueueIter<'_, S> {}

/// The arm of a `select!` that takes from a queue.
pub struct QueueGet<'a, S> {
    core: &'a Core<S>,
    /// It was subscribed before, and woken in vain.
    again: Cell<bool>,
}

impl<S> Waitable for QueueGet<'_, S> {
    fn is_ready(&self) -> bool {
        self.core.is_ready(Side::Get)
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.core.subscribe(Side::Get, waiter, self.again.replace(true));
    }
    fn unsubscribe(&self, _: &Waiter) {
        self.core.decline(Side::Get, Turn::Woken);
    }
}

impl<S: Storage> Arm for QueueGet<'_, S> {
    type Output = Result<S::Item, ShutDown>;

    fn take(&mut self) -> Option<Result<S::Item, ShutDown>> {
        got(self.core.try_get())
    }

    fn take_at_once(&mut self) -> Option<Result<S::Item, ShutDown>> {
        got(self.core.get_at_once())
    }
}

fn got<T>(result: Result<T, TryGetError>) -> Option<Result<T, ShutDown>> {
    match result {
        Ok(item) => Some(Ok(item)),
        Err(TryGetError::ShutDown) => Some(Err(ShutDown(()))),
        Err(TryGetError::Empty) => None,
    }
}

/// The arm of a `select!` that puts into a queue.
pub struct QueuePut<'a, S: Storage> {
    core: &'a Core<S>,
    item: Option<S::Item>,
    again: Cell<bool>,
}

impl<S: Storage> Waitable for QueuePut<'_, S> {
    fn is_ready(&self) -> bool {
        self.core.is_ready(Side::Put)
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.core.subscribe(Side::Put, waiter, self.again.replace(true));
    }
    fn unsubscribe(&self, _: &Waiter) {
        self.core.decline(Side::Put, Turn::Woken);
    }
}

impl<S: Storage> Arm for QueuePut<'_, S> {
    type Output = Result<(), ShutDown<S::Item>>;

    fn take(&mut self) -> Option<Result<(), ShutDown<S::Item>>> {
        self.put_by(Core::try_put)
    }

    fn take_at_once(&mut self) -> Option<Result<(), ShutDown<S::Item>>> {
        self.put_by(Core::put_at_once)
    }
}

impl<S: Storage> QueuePut<'_, S> {
    fn put_by(
        &mut self,
        put: impl FnOnce(&Core<S>, S::Item) -> Result<(), TryPutError<S::Item>>,
    ) -> Option<Result<(), ShutDown<S::Item>>> {
        match put(self.core, self.item.take()?) {
            Ok(()) => Some(Ok(())),
            Err(TryPutError::ShutDown(item)) => Some(Err(ShutDown(item))),
            Err(TryPutError::Full(item)) => {
                self.item = Some(item);
                None
            }
        }
    }
}

/// The arm of a `select!` that waits until all items of a queue are done.
pub struct QueueJoin<'a, S> {
    core: &'a Core<S>,
}

impl<S> Waitable for QueueJoin<'_, S> {
    fn is_ready(&self) -> bool {
        self.core.is_done()
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.core.subscribe_join(waiter);
    }
}

impl<S> Arm for QueueJoin<'_, S> {
    type Output = ();

    fn take(&mut self) -> Option<()> {
        self.is_ready().then_some(())
    }
}

macro_rules! debug {
    ($($Name:ident $(: $Storage:ident)?),*) => {$(
        impl<S $(: $Storage)?> fmt::Debug for $Name<'_, S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.core.describe(f, stringify!($Name))
            }
        }
    )*};
}

debug!(QueueIter, QueueGet, QueuePut: Storage, QueueJoin);
