//! Taking as a future: what an arm of `select!` takes, for async tasks of any runtime.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use greenlet_hub::{TaskWait, Waiter};

use crate::select::Arm;

/// A future that takes what the arm takes. Never switches.
///
/// `queue.get_async()` and its like are made with this; for a type that has an [`Arm`] of its own it is a future of that.
///
/// What becomes ready by its own [`deadline`](greenlet_hub::Waitable::deadline) has nobody here to wake the task for it: it is found ready when it is
/// polled, as by [`wait_async`](greenlet_hub::wait_async()).
///
/// # Examples
///
/// ```
/// use greenlet_hub::{block_on, spawn};
/// use greenlet_sync::select::SelectJoin;
/// use greenlet_sync::{Queue, take_async};
/// use std::rc::Rc;
///
/// let queue = Rc::new(Queue::unbounded());
/// queue.put(1).unwrap();
/// spawn({ let queue = Rc::clone(&queue); move || queue.get().and_then(|_| Ok(queue.task_done())) });
/// block_on(take_async((&*queue).select_join())); // until all items are done
/// ```
pub fn take_async<A: Arm>(arm: A) -> TakeAsync<A> {
    TakeAsync { arm, wait: TaskWait::new(), subscribed: None }
}

/// The future that `queue.get_async()`, `semaphore.acquire_async()` and the like return.
///
/// It may be polled on any thread, by whichever runtime, and needs no hub there. It is `Send` if what it takes is, and `Unpin`.
///
/// * *Nothing is lost.* It has taken what it takes when it is ready, not before; what is ready is taken by the poll that says so. Dropped at any other time, also after it
///   was woken, it leaves everything to the next.
/// * *The order.* From its first poll on it stands in one line with greenlets and threads. As in a `select!`, it may be passed over by one who asks while it
///   is being woken; then it waits again before those who came after it, but nothing is promised to it.
/// * *It has to be polled when its task is woken, or dropped.* As long as it has been woken and neither happens, those who stand behind it in the
///   line may wait for something that is there. So no future of this kind should be kept aside while its task waits for something else; nor be
///   left in a greenlet whose hub ends before it has, which never polls and never drops it.
#[must_use = "a future does nothing unless it is polled"]
pub struct TakeAsync<A: Arm> {
    arm: A,
    wait: TaskWait,
    /// While the arm has it.
    subscribed: Option<Waiter>,
}

impl<A: Arm> TakeAsync<A> {
    fn unsubscribe(&mut self) {
        if let Some(waiter) = self.subscribed.take() {
            // Over before the arm is told: a notification that comes later has to find nobody.
            self.wait.end();
            self.arm.unsubscribe(&waiter);
        }
    }
}

impl<A: Arm> Future for TakeAsync<A> {
    type Output = A::Output;

    /// # Panics
    ///
    /// If taking does: a `Clone` or an `Ord` of the user's.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        let this = self.get_mut();
        if this.wait.poll(cx).is_pending() && this.arm.deadline().is_none_or(|deadline| Instant::now() < deadline) {
            return Poll::Pending;
        }
        let mut taken = this.arm.take_at_once();
        if this.subscribed.is_some() {
            // After it has taken, so that the next one is woken only if there is more.
            this.unsubscribe();
            // An offer that was taken is known to be only now.
            taken = taken.or_else(|| this.arm.take_at_once());
        }
        if let Some(taken) = taken {
            return Poll::Ready(taken);
        }
        let waiter = this.subscribed.insert(this.wait.begin(cx));
        this.arm.subscribe(waiter);
        // What became ready before it was subscribed notifies nobody. The task polls again, after others of its thread: it may be that
        // it is ready, but that for a moment nobody can take.
        if this.arm.is_ready() {
            waiter.notify();
        }
        Poll::Pending
    }
}

// The arm is never pinned.
impl<A: Arm> Unpin for TakeAsync<A> {}

impl<A: Arm> Drop for TakeAsync<A> {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

impl<A: Arm + fmt::Debug> fmt::Debug for TakeAsync<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeAsync").field("arm", &self.arm).finish_non_exhaustive()
    }
}
