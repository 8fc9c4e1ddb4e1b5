//! What a crate asks that makes a C library's blocking calls wait as greenlets do.
//!
//! A call that is interposed for libc's is made by anybody, anywhere: by a user's greenlet, but also by the hub's loop, by the code of ours that runs
//! on a greenlet's stack, by a plain thread that knows of no hub. Only the first may switch. So the hub's own code is *marked* while it
//! holds anything of the hub's and could come to such a call: the loop's looks, its starts and ends of greenlets, and the contended locks of ours. In the
//! middle of them [`may_wait`] says no, and the call is the plain one.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use crate::fork;
use crate::hub::Hub;
use crate::resolve;

/// Whether a call that blocks may wait as a greenlet does instead: this thread has a hub, what runs is a greenlet's own code (the main greenlet is one), and it may
/// switch. Never switches.
///
/// False as well between the beginning of a [`Wait`](crate::Wait) and its sleep (another wait would end that one), inside [`no_switch`](crate::no_switch()), in the panic hook, below an [`Inside`], while the thread's thread-locals are destroyed, and in a forked
/// child until its first native wait.
///
/// # Examples
///
/// ```
/// use greenlet_hub::patching::{Inside, may_wait};
///
/// assert!(!may_wait()); // a plain thread
/// greenlet_hub::yield_now(); // has a hub from here on
/// assert!(may_wait());
/// let inside = Inside::enter();
/// assert!(!may_wait());
/// drop(inside);
/// assert!(!greenlet_hub::no_switch(may_wait));
/// ```
#[inline]
pub fn may_wait() -> bool {
    Hub::try_here()
        .is_some_and(|hub| hub.inside.get() == 0 && hub.switching_allowed() && !hub.current().local().waits_soon.get())
}

/// Whether this thread has a hub: it has had a greenlet, or has waited natively.
#[inline]
pub fn has_hub() -> bool {
    Hub::try_here().is_some()
}

/// Marks what runs on this thread as the hub's own code while it lives: [`may_wait`] is false. Nests.
///
/// For code that must not switch whatever it calls, as a signal's handler, or one that has locked what other greenlets of the hub need. It must not live over a switch.
#[derive(Debug)]
#[must_use = "the mark is taken back when this is dropped"]
pub struct Inside {
    marked: bool,
    // Not `Send`: it is the thread that is marked.
    marker: PhantomData<*mut ()>,
}

impl Inside {
    /// Marks what runs. On a thread without a hub there is nothing to mark.
    #[inline]
    pub fn enter() -> Inside {
        let marked = Hub::try_with(|hub| hub.inside.set(hub.inside.get() + 1)).is_some();
        Inside { marked, marker: PhantomData }
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        if self.marked {
            Hub::try_with(|hub| hub.inside.set(hub.inside.get() - 1));
        }
    }
}

/// Whether what runs is a thread's own stack, and no other greenlet: also where the thread has no hub.
pub fn is_main_greenlet() -> bool {
    Hub::try_here().is_none_or(|hub| hub.current() == hub.main().hub_ref())
}

/// Calls `f`, which looks up a name by blocking, on a thread of the resolver's pool, and waits for what it returns.
///
/// # Panics
///
/// If `f` does; inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted: `f` then goes on, and what it returns is dropped.
///
/// # Examples
///
/// ```
/// use std::net::ToSocketAddrs;
///
/// let addrs = greenlet_hub::patching::offload_name(|| ("localhost", 80).to_socket_addrs().map(Vec::from_iter));
/// assert!(addrs?.iter().all(|addr| addr.ip().is_loopback()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn offload_name<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    resolve::apply(f)
}

/// Whether this thread has a hub and what runs is marked as its own code, or as good as that: it must not touch what the hub may be in the middle of changing.
///
/// Also in a forked child until its first native wait.
#[inline]
pub fn is_inside() -> bool {
    Hub::try_here().is_some_and(|hub| hub.inside.get() != 0)
}

/// Counts a call that need not wait; after many of them without a switch, yields, as the native I/O calls do. Does nothing on a thread without a hub.
///
/// # Panics
///
/// To unwind when the greenlet is interrupted, if it yields.
#[inline]
pub fn spend_budget() {
    if let Some(hub) = Hub::try_here() {
        hub.spend_budget();
    }
}

/// Has `f` called in each child that is forked from now on, before anything else of ours: what the hub does there may already come to a call that wakes. Only the
/// first function that this is told counts.
///
/// It runs in the middle of `fork`, so it must not allocate, nor wait for what another thread may have locked.
pub fn in_forked_child(f: fn()) {
    fork::call_first_in_child(f);
}

/// Whether another greenlet of this thread's hub is ready to run, as far as the hub knows without a look.
pub fn has_ready() -> bool {
    Hub::try_here().is_some_and(|hub| !(hub.ready.is_empty() && hub.urgent.is_empty()))
}

/// A word of the thread's hub, 0 at first, for what the patching crate has to remember of the thread; `None` without a hub.
pub fn thread_word() -> Option<usize> {
    Hub::try_with(|hub| hub.patch_word.get())
}

/// Sets the word of the thread's hub; does nothing without one.
pub fn set_thread_word(word: usize) {
    Hub::try_with(|hub| hub.patch_word.set(word));
}

/// Has `f` called when a hub ends that has a word of [`set_waits`], with that word. Only the first function that this is told counts.
///
/// The hub's thread is no hub's any more; the stacks of the greenlets that it had stay where they are, and their waits are over.
pub fn on_end(f: fn(usize)) {
    let _ = ON_END.set(f);
}

static ON_END: OnceLock<fn(usize)> = OnceLock::new();

pub(crate) fn tell_end(waits: usize) {
    if let Some(f) = ON_END.get()
        && waits != 0
    {
        f(waits);
    }
}

/// Another word of the thread's hub, for the waits that the patching crate has there; 0 at first, and without a hub.
pub fn waits() -> usize {
    Hub::try_with(|hub| hub.patch_waits.get()).unwrap_or(0)
}

/// Sets it.
pub fn set_waits(word: usize) {
    Hub::try_with(|hub| hub.patch_waits.set(word));
}

/// Locks one of the crate's own mutexes: whoever finds it taken blocks the thread, patched or not, since it may hold something of the hub's.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            let _inside = Inside::enter();
            mutex.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
