//! The primitives in every interleaving, as [loom](https://docs.rs/loom) runs them; see `ci/loom`. Empty without it.
//!
//! The files of the primitives, and those of the hub that they stand on, are the real ones. They are put into this crate
//! instead of `greenlet-hub` and `greenlet-sync`, and find here under the same names what they use. Five modules are models:
//!
//! * `waiter`: the same waits, in the real wait word, but of greenlets that have a loom thread each instead of a stack. One that
//!   has to wait blocks its thread until the word says that it is to be made ready.
//! * `block`: the block of an async task. What leaves its waker there, and what calls it, is copied from the real one.
//! * `greenlet`: who waits, kills, joins. What `Block` keeps of those who wait for the end is copied from it.
//! * `select`: the traits alone; the choice is the real one.
//! * `native`: the lock and the sleep below the patching crate's table of waits, which is the real one.
//!
//! The hub's slabs are here too, with what they need of `memory`.
//!
//! What starts greenlets (`Pool`, `Group`) is not here. A pool's slots are permits, and of those there are models.
//!
//! A test lets a few greenlets meet in a primitive, and loom runs it once for each order in which their atomic instructions can come
//! (with at most so many preemptions, `LOOM_MAX_PREEMPTIONS`). What it finds: an assertion that fails, and greenlets that all wait for
//! ever, which is what becomes of a lost wake-up.

#![cfg(greenlet_loom)]
#![allow(
    dead_code,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::arc_with_non_send_sync,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "of each file the tests use what they are about"
)]

extern crate self as greenlet_hub;

// Of the hub.
#[path = "../../../crates/hub/src/atomics.rs"]
mod atomics;
#[path = "../../../crates/hub/src/short_lock.rs"]
mod short_lock;
#[path = "../../../crates/hub/src/task_wait.rs"]
mod task_wait;
#[path = "../../../crates/hub/src/wait_async.rs"]
mod wait_async;
#[path = "../../../crates/hub/src/wait_list.rs"]
mod wait_list;
#[path = "../../../crates/hub/src/waitable.rs"]
mod waitable;
#[path = "../../../crates/hub/src/word.rs"]
mod word;

// In place of the hub.
mod block;
mod greenlet;
mod hub;
mod memory;
mod parked;
mod waiter;

// Of the primitives.
#[path = "../../../crates/sync/src/barrier.rs"]
mod barrier;
#[path = "../../../crates/sync/src/channel.rs"]
mod channel;
#[path = "../../../crates/sync/src/condition.rs"]
mod condition;
#[path = "../../../crates/sync/src/const_fn.rs"]
mod const_fn;
#[path = "../../../crates/sync/src/errors.rs"]
mod errors;
#[path = "../../../crates/sync/src/event.rs"]
mod event;
#[path = "../../../crates/sync/src/future.rs"]
mod future;
#[path = "../../../crates/sync/src/grants.rs"]
mod grants;
#[path = "../../../crates/sync/src/heap.rs"]
mod heap;
#[path = "../../../crates/sync/src/lock.rs"]
mod lock;
#[path = "../../../crates/sync/src/once.rs"]
mod once;
#[path = "../../../crates/sync/src/payload.rs"]
mod payload;
#[path = "../../../crates/sync/src/permits.rs"]
mod permits;
#[path = "../../../crates/sync/src/queue.rs"]
mod queue;
#[path = "../../../crates/sync/src/queue_core.rs"]
mod queue_core;
#[path = "../../../crates/sync/src/rlock.rs"]
mod rlock;
#[path = "../../../crates/sync/src/rwlock.rs"]
mod rwlock;
#[path = "../../../crates/sync/src/semaphore.rs"]
mod semaphore;
#[path = "../../../crates/sync/src/sharing.rs"]
mod sharing;
#[path = "../../../crates/sync/src/storage.rs"]
mod storage;
#[path = "../../../crates/sync/src/time.rs"]
mod time;

// Of the patching crate, and what is in place of the rest of it.
mod native;
pub mod patching;
mod report;
#[path = "../../../crates/patch/src/glibc/table.rs"]
mod table;
mod wait;

// In place of what `select!` waits for besides.
mod select;

#[cfg(test)]
mod tests;

pub use barrier::{Barrier, BarrierWaitResult};
pub use channel::{Channel, ChannelGet, ChannelIter, ChannelPut};
pub use condition::Condition;
pub use errors::{ShutDown, Shutdown, TooManyDone, TryGetError, TryPutError};
pub use event::Event;
pub use future::{TakeAsync, take_async};
pub use greenlet::{Greenlet, JoinHandle, current, current_id, shield};
pub use lock::{Lock, LockGuard};
pub use once::{Once, OnceCell};
pub use queue::{LifoQueue, PriorityQueue, Queue, QueueGet, QueueIter, QueueJoin, QueuePut};
pub use rlock::{NotOwner, RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{OwnedPermit, Permit, Semaphore, SemaphoreAcquire};
pub use short_lock::{ShortGuard, ShortLock};
pub use task_wait::TaskWait;
pub use wait_async::{WaitAsync, wait_async};
pub use wait_list::{WaitList, WaitQueue};
pub use waitable::{Iwait, Waitable, iwait, wait, wait_until_any};
pub use waiter::{Claim, Interrupted, Outcome, Reason, Wait, Waiter};
