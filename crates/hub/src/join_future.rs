//! A greenlet's result as a future, for async tasks of any runtime.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::greenlet::{JoinError, JoinHandle};
use crate::task_wait::TaskWait;
use crate::waitable::Waitable;

impl<T> IntoFuture for JoinHandle<T> {
    type Output = Result<T, JoinError>;
    type IntoFuture = JoinFuture<T>;

    /// A future of the greenlet's result, for async tasks of any runtime, on any thread if `T` is `Send`.
    ///
    /// Dropping it detaches the greenlet, as dropping the handle does. It makes no hub on the thread that polls it.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{JoinError, block_on, spawn};
    ///
    /// block_on(async {
    ///     assert_eq!(spawn(|| 6 * 7).await.unwrap(), 42);
    ///     let killed = spawn(|| ());
    ///     killed.kill_nowait().unwrap();
    ///     assert!(matches!(killed.await, Err(JoinError::Killed)));
    /// });
    /// ```
    fn into_future(self) -> JoinFuture<T> {
        JoinFuture { handle: Some(self), wait: TaskWait::new() }
    }
}

/// The future of a greenlet's result: what `.await` makes of a [`JoinHandle`]. Dropping it detaches the greenlet.
#[must_use = "a future does nothing unless it is polled"]
pub struct JoinFuture<T> {
    /// Until it is ready.
    handle: Option<JoinHandle<T>>,
    wait: TaskWait,
}

impl<T> Future for JoinFuture<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If it was ready before.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let this = self.get_mut();
        let handle = this.handle.as_ref().expect("a future is not polled again after it was ready");
        if !handle.is_finished() {
            if this.wait.poll(cx).is_ready() {
                handle.subscribe(&this.wait.begin(cx));
            }
            // Once it is subscribed, it is notified of the end.
            if !handle.is_finished() {
                return Poll::Pending;
            }
        }
        this.wait.end();
        Poll::Ready(this.handle.take().expect("as above").take())
    }
}

// The result is never in here.
impl<T> Unpin for JoinFuture<T> {}

impl<T> fmt::Debug for JoinFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinFuture").field(&self.handle).finish()
    }
}
