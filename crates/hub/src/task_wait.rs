//! The primitive's other side: a wait of an async task.

use std::fmt;
use std::task::{Context, Poll};

use crate::block::TaskRef;
use crate::waiter::Waiter;
use crate::word::{Ended, State};

/// One wait after the other of an async task: what [`Wait`](crate::Wait) is for a greenlet, to build futures of.
///
/// A future has one of these. Its `poll` begins a wait, leaves the [`Waiter`] with whatever will end it, and returns
/// [`Poll::Pending`]; the notification wakes the task. All of this works on threads that have no hub, and makes none.
///
/// The task's waker is called by whoever notifies, on his thread. It must not wait: on a thread that has a hub a wait in it panics, as in
/// [`no_switch`](crate::no_switch()). A panic of it is reported and ends there.
///
/// Whoever drops this, or calls [`end`](TaskWait::end), may have been notified: what a notification was for has to go to the
/// next one, as with [`Outcome::Interrupted`](crate::Outcome::Interrupted).
///
/// # Examples
///
/// A one-shot gate between threads, for a task:
///
/// ```
/// use greenlet_hub::{TaskWait, Waiter, block_on};
/// use std::future::poll_fn;
/// use std::task::Poll;
///
/// let mut wait = TaskWait::new();
/// let mut opener = None;
/// block_on(poll_fn(|cx| {
///     if opener.is_none() {
///         let waiter: Waiter = wait.begin(cx);
///         opener = Some(std::thread::spawn(move || waiter.notify()));
///     }
///     wait.poll(cx)
/// }));
/// assert!(opener.unwrap().join().unwrap());
/// ```
pub struct TaskWait {
    /// Made at the first wait.
    task: Option<TaskRef>,
    /// That of the last wait.
    number: u64,
}

impl TaskWait {
    /// No wait is under way. Allocates nothing.
    pub const fn new() -> TaskWait {
        TaskWait { task: None, number: 0 }
    }

    /// Begins the next wait, and ends the one before. Returns what can end it, to be left where that will happen.
    ///
    /// It clones the task's waker, which is a user's code: not to be called with a [`ShortLock`](crate::ShortLock) held.
    pub fn begin(&mut self, cx: &mut Context<'_>) -> Waiter {
        let task = self.task.get_or_insert_with(TaskRef::new);
        task.keep_waker(cx.waker());
        let word = &task.block().word;
        self.number = word.begin();
        // As if it slept, at once: whoever ends it calls the waker, also while it is being polled.
        word.suspend(self.number, true);
        Waiter::new(task.block().clone(), self.number)
    }

    /// Whether the wait is over; if not, the task that polls will be woken. Ready as well if none was begun.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &self.task else { return Poll::Ready(()) };
        // Before it looks: see `block/task.rs`.
        task.keep_waker(cx.waker());
        if task.block().word.is_open(self.number) { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Takes the wait back; false if there was none, or it was notified, which is then for somebody else.
    pub fn end(&mut self) -> bool {
        (self.task.as_ref()).is_some_and(|task| task.block().word.end(self.number, State::Idle) != Ended::Stale)
    }
}

impl Default for TaskWait {
    fn default() -> TaskWait {
        TaskWait::new()
    }
}

impl Drop for TaskWait {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for TaskWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_waiting = self.task.as_ref().is_some_and(|task| task.block().word.is_open(self.number));
        f.debug_struct("TaskWait").field("is_waiting", &is_waiting).finish_non_exhaustive()
    }
}
