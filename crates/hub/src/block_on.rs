//! `block_on`: a greenlet that runs a future, and waits as a greenlet where the future has to.

use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::greenlet::{JoinHandle, spawn};
use crate::hub::Hub;
use crate::short_lock::ShortLock;
use crate::switch::Switching;
use crate::waiter::{Outcome, Reason, Wait, Waiter};

/// Waits until the future is ready, and returns its output. The others run meanwhile: the greenlet waits, not the thread.
///
/// The future is polled here, in the greenlet that calls (or on a thread's own stack), so it need neither be `Send` nor `'static`. Its waker
/// works from any thread. A poll may wait as a greenlet, and may call `block_on` in turn. Like asyncio's `run_until_complete`, but there is no loop to be run:
/// any number of greenlets may each run a future.
///
/// What a future needs besides, such as the timers and sockets of an async runtime, that runtime has to provide. For tokio that is one which runs on
/// threads of its own, and is entered once on the thread that calls, around everything: `let _entered = runtime.enter();` in `main`. (Not in
/// a greenlet, since others run before that leaves it.)
///
/// A future that has been woken while it was polled is polled again after all that are ready now have run, as after a [`yield_now`](crate::yield_now()).
///
/// # Panics
///
/// If the future does; if it must wait inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted, by a kill or a
/// time-out: the future is dropped then, here.
///
/// Nothing is ever reported as a deadlock while a greenlet waits in here, since nobody knows what may call a waker.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{block_on, joinall, sleep, spawn, wait_async};
/// use std::time::Duration;
///
/// async fn slowly(n: u32) -> u32 {
///     let nap = spawn(move || sleep(Duration::from_millis(10)));
///     nap.await.unwrap();
///     n * n
/// }
///
/// assert_eq!(block_on(slowly(3)), 9);
/// // Each in a greenlet of its own, all at once:
/// let squares = joinall((1..=3).map(|n| spawn(move || block_on(slowly(n)))));
/// assert_eq!(squares.into_iter().map(Result::unwrap).sum::<u32>(), 14);
/// ```
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut cx = Context::from_waker(&waker);
    loop {
        signal.lower();
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        signal.wait();
    }
}

/// Spawns a greenlet that runs the future. Never switches. Short for `spawn(|| block_on(future))`.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn_future;
///
/// let answer = spawn_future(async { 6 * 7 });
/// assert_eq!(answer.join().unwrap(), 42);
/// ```
#[track_caller]
pub fn spawn_future<F: IntoFuture + 'static>(future: F) -> JoinHandle<F::Output>
where
    F::Output: 'static,
{
    spawn(|| block_on(future))
}

/// What the wakers of one `block_on` share with it.
#[derive(Default)]
struct Signal {
    state: ShortLock<State>,
}

#[derive(Default)]
struct State {
    /// It was woken since it was last polled.
    raised: bool,
    /// While the greenlet waits.
    waiter: Option<Waiter>,
}

impl Signal {
    /// To be called before each poll: a wake that comes from then on is for the next one.
    fn lower(&self) {
        self.state.lock().raised = false;
    }

    /// Waits until it is raised, which it may have been.
    fn wait(&self) {
        // Begun after the poll, which may have waited by itself: a greenlet has one wait at a time.
        let wait = {
            let mut state = self.state.lock();
            if state.raised {
                None
            } else {
                let wait = Wait::begin(const { Reason::new("a future") });
                state.waiter = Some(wait.waiter());
                Some(wait)
            }
        };
        let hub = Hub::here();
        let Some(wait) = wait else {
            // A future that wakes itself gives way to the others, and can be interrupted.
            if hub.switching.get() != Switching::Panics {
                hub.yield_now();
            }
            return;
        };
        let outside = hub.count_outside();
        let outcome = wait.until(None);
        drop(outside);
        if let Outcome::Interrupted(interrupted) = outcome {
            // Wakers may live long, and need not keep the greenlet's block.
            let waiter = self.state.lock().waiter.take();
            drop(waiter);
            interrupted.raise();
        }
    }

    fn raise(&self) {
        let claim = {
            let mut state = self.state.lock();
            state.raised = true;
            state.waiter.take().and_then(Waiter::claim)
        };
        // Made ready without the lock, since that may have to wake another thread.
        drop(claim);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}
