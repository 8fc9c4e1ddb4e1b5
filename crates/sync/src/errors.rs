//! Why a queue or a channel does not do what it was asked; the item comes back.

use std::error::Error;
use std::fmt;

/// It was shut down: nothing can be put any more, or nothing is left to be got. Gives back the item that was to be put.
///
/// # Examples
///
/// ```
/// use greenlet_sync::{Queue, ShutDown, Shutdown};
///
/// let queue = Queue::unbounded();
/// queue.put("in time").unwrap();
/// queue.shutdown(Shutdown::Graceful);
/// assert_eq!(queue.put("late"), Err(ShutDown("late")));
/// assert_eq!(queue.get(), Ok("in time"));
/// assert_eq!(queue.get(), Err(ShutDown(())));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShutDown<T = ()>(pub T);

impl<T> fmt::Debug for ShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutDown").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for ShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue was shut down")
    }
}

impl<T> Error for ShutDown<T> {}

/// Why an item could not be put without waiting, or in time; gives it back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// There is no room; in a channel: nobody waits for an item.
    Full(T),
    /// The queue was shut down.
    ShutDown(T),
}

impl<T> TryPutError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            TryPutError::Full(item) | TryPutError::ShutDown(item) => item,
        }
    }
}

impl<T> fmt::Debug for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "Full(..)",
            TryPutError::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "the queue is full",
            TryPutError::ShutDown(_) => "the queue was shut down",
        })
    }
}

impl<T> Error for TryPutError<T> {}

impl<T> From<ShutDown<T>> for TryPutError<T> {
    fn from(ShutDown(item): ShutDown<T>) -> TryPutError<T> {
        TryPutError::ShutDown(item)
    }
}

/// Why no item was got without waiting, or in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryGetError {
    /// There is no item.
    Empty,
    /// The queue was shut down, and nothing is left in it.
    ShutDown,
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryGetError::Empty => "the queue is empty",
            TryGetError::ShutDown => "the queue was shut down",
        })
    }
}

impl Error for TryGetError {}

impl From<ShutDown> for TryGetError {
    fn from(_: ShutDown) -> TryGetError {
        TryGetError::ShutDown
    }
}

/// `task_done` was called more often than items were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDone;

impl fmt::Display for TooManyDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task_done was called more often than items were put")
    }
}

impl Error for TooManyDone {}

/// How a queue or a channel is shut down, as in Python's `queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// What is in it can still be got.
    Graceful,
    /// What is in it is dropped, and counts as done.
    Immediate,
}
