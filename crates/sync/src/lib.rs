//! Events, locks, semaphores, queues, groups and pools that work between greenlets, hubs and plain threads alike.
//!
//! A wait in here switches to other greenlets; on a plain thread it runs that thread's hub. All of it is `Send` and `Sync` when its payload
//! allows, and takes payloads that are neither on one hub. There is one API for both: without contention an operation costs
//! one or two atomic ones, and none in a process of one thread.
//!
//! Everything stands on the public API of `greenlet-hub`: one lock for a few instructions ([`ShortLock`](greenlet_hub::ShortLock)),
//! queues of waiters ([`WaitQueue`](greenlet_hub::WaitQueue)) and waits that end once ([`Wait`](greenlet_hub::Wait)).
//!
//! # What all of them keep
//!
//! * What need not wait never switches. Whoever waits is served in the order in which he came.
//! * *Barging*: what is free may be taken by whoever asks first, even if others have been woken for it. But one who was woken and found it
//!   taken keeps his place and is handed the next one, so nobody starves.
//! * *Nothing is lost.* One who is killed or times out in the tick in which he was given something passes it on to the next.
//! * Nothing is poisoned: a guard that a panic or a kill drops just unlocks.
//! * *Async tasks wait as well*, of any runtime and on any thread: what ends in `_async` returns a future, that stands in the same lines. See [`TakeAsync`].
//! * *A thread that ends leaks its greenlets*, with what they hold: guards, and what one has just been handed that has not run again. Where such
//!   things are shared between threads, call [`shutdown`](greenlet_hub::shutdown()) before a thread ends.

#![deny(unsafe_code)]

mod async_result;
mod barrier;
mod bounded_semaphore;
mod channel;
mod condition;
mod event;
mod failure;
mod lock;
mod once;
mod queue;
mod rlock;
mod rwlock;
pub mod select;
mod semaphore;

mod actor;
mod as_completed;
mod generator;
mod group;
mod imap;
mod pool;

mod future;

mod const_fn;
mod errors;
mod grants;
mod heap;
mod payload;
mod permits;
mod queue_core;
mod sharing;
mod storage;
mod time;

pub use actor::{Actor, AskError, Reply, TellError, actor};
pub use as_completed::{AsCompleted, as_completed, as_completed_timeout};
pub use async_result::AsyncResult;
pub use barrier::{Barrier, BarrierWaitResult};
pub use bounded_semaphore::{BoundedSemaphore, OverRelease};
pub use channel::{Channel, ChannelGet, ChannelIter, ChannelPut};
pub use condition::Condition;
pub use errors::{ShutDown, Shutdown, TooManyDone, TryGetError, TryPutError};
pub use event::Event;
pub use failure::Failure;
pub use future::{TakeAsync, take_async};
pub use generator::{Generator, Yielder, generator};
pub use group::Group;
pub use imap::Imap;
pub use lock::{Lock, LockGuard};
pub use once::{Once, OnceCell};
pub use pool::{Pool, PoolFull};
pub use queue::{LifoQueue, PriorityQueue, Queue, QueueGet, QueueIter, QueueJoin, QueuePut};
pub use rlock::{NotOwner, RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{OwnedPermit, Permit, Semaphore, SemaphoreAcquire};
