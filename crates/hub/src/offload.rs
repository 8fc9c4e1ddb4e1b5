//! Blocking code of greenlets, on the threads that all hubs of the process share.

use crate::thread_pool::ThreadPool;

/// Runs `f` on another thread, and waits for its result; the other greenlets of this hub run meanwhile.
///
/// For what blocks a thread and cannot be helped: files, C libraries, databases' clients, long computations. All hubs of the process share
/// the threads. They are started as they are needed, up to 64 or as many as [`Config::blocking_threads`](crate::Config::blocking_threads) says, and end
/// when they have had nothing to do for ten seconds. While all of them are busy, jobs
/// wait for their turn, in the order in which they came. [`ThreadPool::global`] is that pool; one of one's own has a limit of its own.
///
/// A greenlet that is killed or timed out while it waits is free at once. The thread goes on to the end of `f`, since nothing can stop it, and drops the result.
/// One that is to unwind already does so before anything has begun. Like gevent's `get_hub().threadpool.apply`, and tokio's `spawn_blocking`.
///
/// On a thread of this pool, that is, inside another `offload`, `f` is simply called: that thread may block. What uses greenlets there
/// makes a hub, which ends with the job: greenlets that still wait are left behind, and those who join them get
/// [`JoinError::HubEnded`](crate::JoinError::HubEnded).
///
/// # Panics
///
/// If `f` does, with its payload (its panic is reported once, by the thread on which it ran); if there is no thread and none can be started;
/// inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{offload, spawn};
/// use std::sync::mpsc;
///
/// let size = offload(|| std::fs::metadata("/etc").map(|etc| etc.len()))?;
/// assert!(size > 0);
///
/// // Even what blocks its thread until a greenlet of this hub has run:
/// let (send, receive) = mpsc::channel();
/// spawn(move || send.send("while the other thread waits"));
/// assert_eq!(offload(move || receive.recv()), Ok("while the other thread waits"));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// What is called there has to be `Send`, as with [`std::thread::spawn`]:
///
/// ```compile_fail,E0277
/// let here = std::rc::Rc::new(1);
/// greenlet_hub::offload(move || *here);
/// ```
///
/// ```compile_fail,E0277
/// greenlet_hub::offload(|| std::rc::Rc::new(1));
/// ```
pub fn offload<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    ThreadPool::global().apply(f)
}
