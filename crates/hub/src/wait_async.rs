//! `wait_async`: a future for async tasks of any runtime, ready when something waitable is.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::task_wait::TaskWait;
use crate::waitable::Waitable;
use crate::waiter::Waiter;

/// A future that is ready when the object is. Never switches; it works on threads without a hub, and makes none.
///
/// Nothing is consumed or acquired, as with [`wait`](crate::wait): another may be quicker. What takes something has a future of its own, such
/// as the sync crate's `Queue::get_async`. What is ready for a moment only, such as an event that is set and cleared again, counts from this call.
///
/// It stands in line with greenlets and threads from its first poll on. Dropped at any time, it leaves nothing behind: a notification that it has had goes
/// to the next, as [`Waitable::unsubscribe`] has it. But while it has been notified and is neither polled nor dropped, those who stand
/// behind it may wait for something that is there; so poll it, or drop it. A greenlet whose hub ends before it has does neither.
///
/// What becomes ready by its own [`deadline`](Waitable::deadline) has nobody here to wake the task for it: it is found ready when it is polled. A
/// descriptor ([`readable`](crate::readable())) cannot be waited for in this way, and panics: it is the hub's.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{block_on, spawn, wait_async};
///
/// let greenlet = spawn(|| ()).greenlet().clone();
/// block_on(async {
///     wait_async(&greenlet).await; // any number of tasks may
///     assert!(greenlet.is_finished());
/// });
/// ```
pub fn wait_async<W: Waitable>(object: W) -> WaitAsync<W> {
    WaitAsync { ticket: object.ticket(), object, wait: TaskWait::new(), subscribed: None }
}

/// The future of [`wait_async`].
#[must_use = "a future does nothing unless it is polled"]
pub struct WaitAsync<W: Waitable> {
    object: W,
    ticket: u64,
    wait: TaskWait,
    /// While the object has it.
    subscribed: Option<Waiter>,
}

impl<W: Waitable> WaitAsync<W> {
    fn is_ready(&self) -> bool {
        self.object.is_ready_since(self.ticket)
            || self.object.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    fn unsubscribe(&mut self) {
        if let Some(waiter) = self.subscribed.take() {
            // Over before the object is told: a notification that comes later has to find nobody.
            self.wait.end();
            self.object.unsubscribe(&waiter);
        }
    }
}

impl<W: Waitable> Future for WaitAsync<W> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.wait.poll(cx).is_pending() && !this.object.deadline().is_some_and(|_| this.is_ready()) {
            return Poll::Pending;
        }
        if !this.is_ready() {
            this.unsubscribe();
            let waiter = this.wait.begin(cx);
            this.object.subscribe(this.subscribed.insert(waiter));
            // Only once it is subscribed: what becomes ready from here on is notified.
            if !this.is_ready() {
                return Poll::Pending;
            }
        }
        this.unsubscribe();
        Poll::Ready(())
    }
}

// The object is never pinned.
impl<W: Waitable> Unpin for WaitAsync<W> {}

impl<W: Waitable> Drop for WaitAsync<W> {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

impl<W: Waitable + fmt::Debug> fmt::Debug for WaitAsync<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitAsync").field("object", &self.object).finish_non_exhaustive()
    }
}
