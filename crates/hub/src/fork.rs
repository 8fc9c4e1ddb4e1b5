//! What becomes of all this in a forked child.
//!
//! A child of `fork` has one thread, the one that has called it, and a copy of everything else as it stood. So:
//!
//! * **The hub of that thread goes on**, under its number, with the greenlet that has called `fork`. All its other greenlets are left behind: their stacks stay as they are, and
//!   nobody ever runs them. Whoever joins one is told [`HubEnded`](crate::JoinError::HubEnded); whoever notifies one is told that nobody took it, since its wait word is closed. If the
//!   one that has called is not the main greenlet, it takes that one's place: the process ends with it, with status 0. See `hub/in_child.rs`.
//! * **Descriptors** are registered anew, since the parent's epoll instance and eventfd are the child's as well: whatever was done with them would be done to the parent. So the
//!   child's poller is another, made at the first wait for a descriptor, with a number of its own, under which an [`Io`](crate::Io) finds no registration. The old one is closed
//!   without a word to the kernel about what is registered there.
//! * **The other hubs have ended**, without anybody to say so: their inboxes are closed. They are not looked at, for their threads were in the middle of something.
//! * **Pools** of threads and of hubs have no threads. Those that the process shares ([`PerProcess`]) and every [`ThreadPool`](crate::ThreadPool) begin anew, empty; a
//!   [`HubPool`](crate::HubPool) from before refuses its jobs.
//! * **Locks** that are the process's own ([`Held`]) are taken before the fork, so that no thread that the child does not have can hold them. A lock of something that several
//!   threads use (a pool's, a sleeping hub's) may be held by one: where it is ours, what lies under it is not looked at, but made anew. Where it is a user's (a
//!   `sync::Semaphore` that other threads use at that moment), the child may find it held for ever, as any mutex of a C program.
//!
//! The handlers allocate nothing, make no system call (but to wake somebody who waits for one of the locks) and run nobody's code: a child that only means to `exec`, as `Command` with
//! `pre_exec` makes it, must not do more. What has to be done beyond that is done in the hub's first look, hence in the first native wait.
//!
//! The cost is a visit to each greenlet of the hub, in the child: with 10,000 that wait 1.5 ms, where `fork` itself takes 3.6 ms for their stacks.
//!
//! What std has locks for is std's: of a thread that is being started or that ends at the moment of the fork it may hold one (1.95: that of its handler of stack overflows), and the
//! child's next thread waits for that for ever. So a child that starts threads, by `offload` say, had better be forked while no other thread is coming or going.
//!
//! Only `fork` of the C library calls the handlers. In a child of a bare `clone`, or of `_Fork`, nothing of this crate may be used.
//!
//! # Rejected
//!
//! *A new number for the hub.* Then the greenlets left behind need not be visited: whatever wakes them is for a hub that has ended. But a notification of theirs
//! would be taken and be lost, with the permit that it stands for; and a user's [`Handle`](crate::Handle) on the hub, his `select!` and his time-outs would be another hub's.
//!
//! *A mark that makes the first wait go another way.* There is such a way (`switching`), but `no_switch` and the panic hook put back what they found. What the first look does costs
//! every look two instructions, and a yield none.
//!
//! *Ending the others' greenlets one by one, too.* Their hubs' tables may be half written. Who joins one finds out that its hub is gone (`Block::leave_if_lost`).

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::{fmt, ptr};

use crate::hub::Hub;
use crate::patching::Inside;
use crate::shared::{Hubs, all_hubs};
use crate::{config, deadlock, memory, thread_pool};

/// How many forks lie between this process and the one that has registered the handlers.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How often the process was forked off: 0 in one that is nobody's child, as far as this library knows.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Whether something that was made at that generation is from before a fork, hence the parent's.
#[inline]
pub(crate) fn is_before(made: u32) -> bool {
    generation() != made
}

/// Has the handlers called at each fork from now on. To be called before anything is made that they have to see to. No system call.
pub(crate) fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // Looked at first, so that hubs that are made side by side do not write to it.
    if REGISTERED.load(Ordering::Relaxed) || REGISTERED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the three live as long as the process. That there is no memory for them cannot be helped: then a forked child is on its own.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
}

/// What is called before anything else in a child; never waited for.
static FIRST_IN_CHILD: OnceLock<fn()> = OnceLock::new();

/// Has `f` called in each child, before anything is unlocked there. Only the first that comes counts.
pub(crate) fn call_first_in_child(f: fn()) {
    let _ = FIRST_IN_CHILD.set(f);
    register();
}

/// What is done once a process, before its first hub: nobody else does it meanwhile, and no fork happens in the middle.
pub(crate) fn once_a_process(f: impl FnOnce()) {
    let _held = crate::patching::lock(&ONCE_A_PROCESS);
    f();
}

static ONCE_A_PROCESS: Mutex<()> = Mutex::new(());

/// The process's own locks, in the order in which they are taken: nobody takes an earlier one while he holds a later one.
struct Held {
    hubs: MutexGuard<'static, Hubs>,
    _memory: memory::Held,
    _settings: config::Held,
    _once: MutexGuard<'static, ()>,
    _panic_counts: greenlet_core::HeldPanicCounts,
}

/// What [`before`] has taken, for the two others.
struct Place(UnsafeCell<Option<Held>>);

// SAFETY: used by a thread only while it holds all of the locks.
unsafe impl Sync for Place {}

static PLACE: Place = Place(UnsafeCell::new(None));

extern "C" fn before() {
    // Who finds one taken must not switch: it may have others, which the next greenlet that forks would wait for, for ever.
    let _inside = Inside::enter();
    let once = crate::patching::lock(&ONCE_A_PROCESS);
    let settings = config::hold();
    let hubs = all_hubs();
    let memory = memory::hold();
    let panic_counts = greenlet_core::hold_panic_counts();
    let held = Held { hubs, _memory: memory, _settings: settings, _once: once, _panic_counts: panic_counts };
    // SAFETY: all of the locks are held.
    unsafe { PLACE.0.get().replace(Some(held)) };
}

fn take_held() -> Option<Held> {
    // SAFETY: called by the handlers that follow `before`, on the same thread: the locks are held until what this returns is dropped.
    unsafe { PLACE.0.get().replace(None) }
}

extern "C" fn in_parent() {
    drop(take_held());
}

extern "C" fn in_child() {
    if let Some(first) = FIRST_IN_CHILD.get() {
        first();
    }
    let Some(mut held) = take_held() else { return };
    GENERATION.fetch_add(1, Ordering::Relaxed);
    deadlock::begin_anew();
    thread_pool::begin_anew();
    let hub = Hub::try_here();
    held.hubs.leave_others_behind(hub.map(Hub::shared));
    if let Some(hub) = hub {
        hub.leave_others_behind();
    }
}

/// A value of which each process has its own: in a forked child it is a new one, and the parent's is left as it was, whoever was in the middle of using it.
pub(crate) struct PerProcess<T> {
    copy: AtomicPtr<Copy<T>>,
}

struct Copy<T> {
    generation: u32,
    value: T,
}

impl<T: Default> PerProcess<T> {
    /// The value is made when it is first asked for.
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { copy: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value of this process.
    #[inline]
    pub(crate) fn get(&self) -> &T {
        let copy = self.copy.load(Ordering::Acquire);
        // SAFETY: null, or a box that is freed with `self` at the earliest.
        match unsafe { copy.as_ref() } {
            Some(Copy { generation, value }) if !is_before(*generation) => value,
            _ => self.make(copy),
        }
    }

    #[cold]
    fn make(&self, old: *mut Copy<T>) -> &T {
        let own = Box::into_raw(Box::new(Copy { generation: generation(), value: T::default() }));
        // The parent's is leaked: a thread that the child does not have may have been changing it.
        let copy = match self.copy.compare_exchange(old, own, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => own,
            Err(others) => {
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(own) });
                others
            }
        };
        // SAFETY: as in `get`; whoever came first has made it in this process, too.
        &unsafe { &*copy }.value
    }
}

impl<T> PerProcess<T> {
    /// The value that the parent left, in a child that has not made its own.
    pub(crate) fn parents(&self) -> Option<&T> {
        // SAFETY: as in `get`.
        let copy = unsafe { self.copy.load(Ordering::Acquire).as_ref() }?;
        is_before(copy.generation).then_some(&copy.value)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let copy = *self.copy.get_mut();
        if copy.is_null() {
            return;
        }
        // SAFETY: it came out of `Box::into_raw`, and nobody borrows `self` any more.
        let copy = unsafe { Box::from_raw(copy) };
        if is_before(copy.generation) {
            std::mem::forget(copy);
        }
    }
}

// SAFETY: it owns the value.
unsafe impl<T: Send> Send for PerProcess<T> {}
// SAFETY: it gives shared access to the value, and whoever makes it may be another thread than the one that drops it.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> PerProcess<T> {
        PerProcess::new()
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerProcess").finish_non_exhaustive()
    }
}
