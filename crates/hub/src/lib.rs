//! The event loop of the greenlet runtime: hubs, greenlets, waits, timers and descriptors.
//!
//! Each OS thread has a *hub*: an event loop and a queue of ready *greenlets*. A greenlet that must wait begins a [`Wait`],
//! leaves its [`Waiter`] with whatever will end it, and switches to the hub, which runs the others. There is no `run()`: the
//! thread's own stack is the *main greenlet*, and when it waits it runs the hub until its wait is over.
//!
//! This crate is what the primitives (`sync`), the sockets (`net`) and patching are built on, through its public API alone.
//! Applications use the facade, `greenlet`.
//!
//! # Examples
//!
//! ```
//! use greenlet_hub::{joinall, spawn, yield_now};
//! use std::{cell::RefCell, rc::Rc};
//!
//! let trace = Rc::new(RefCell::new(Vec::new()));
//! let greenlets: Vec<_> = (0..2)
//!     .map(|i| {
//!         let trace = Rc::clone(&trace);
//!         spawn(move || {
//!             trace.borrow_mut().push(format!("{i} begins"));
//!             yield_now();
//!             trace.borrow_mut().push(format!("{i} ends"));
//!         })
//!     })
//!     .collect();
//! joinall(greenlets);
//! assert_eq!(*trace.borrow(), ["0 begins", "1 begins", "0 ends", "1 ends"]);
//! ```
//!
//! # One hole
//!
//! A greenlet shares its thread's thread-locals with the others of its hub. Crates that keep a pointer in a thread-local for the
//! length of a closure (`scoped_tls` and what uses it) assume one stack a thread: if greenlets interleave inside such
//! closures, the pointer dangles. Call such code inside [`no_switch()`], where a wait panics instead.
//!
//! # Forks
//!
//! A child of `fork` has the greenlet that has called it and none of the others, which are left in the parent: who joins one there is told
//! [`HubEnded`](JoinError::HubEnded). If that was not the main greenlet, the child ends with it. What it waits for, it waits for by itself: nothing that the child does is seen by the parent's
//! hub. Thread pools, the resolver and [`HubPool::global`] begin anew; the hubs of other threads and of other pools have ended.
//!
//! As ever with `fork`, what other threads were in the middle of stays so in the child: a lock of std's or of a program's own, or a primitive that they share with it, may be held for ever.

#![cfg_attr(
    greenlet_loom,
    allow(dead_code, unused_imports, reason = "loom checks two modules; the rest is not run under it")
)]

mod borrowed;
mod config;
mod greenlet;
mod handle;
mod hub_pool;
mod io;
mod offload;
mod resolve;
mod sleep;
mod thread_pool;

mod short_lock;
mod wait_list;
mod waitable;
mod waiter;

mod block_on;
mod join_future;
mod task_wait;
mod wait_async;

mod inherited;
mod kill;
mod links;
mod local;
mod scope;
mod shutdown;
mod task_group;
mod timeout;

mod block;
mod extras;
mod interrupt;
mod memory;
mod parked;
mod word;

mod current;
mod deadlock;
mod fork;
mod gauges;
mod hub;
mod overflow;
mod panics;
pub mod patching;
mod poller;
mod queue;
mod switch;
mod timers;

mod atomics;
mod inbox;
mod shared;
mod spin;
mod sys;

pub use block_on::{block_on, spawn_future};
pub use borrowed::{
    Readiness, readable, wait_readable, wait_readable_timeout, wait_writable, wait_writable_timeout, writable,
};
pub use config::{Config, ConfigError};
pub use greenlet::{Builder, Greenlet, JoinError, JoinHandle, current, current_id, joinall, spawn, spawn_later};
pub use handle::Handle;
pub use hub_pool::{HubMetrics, HubPool, HubPoolBuilder, PoolMetrics};
pub use inherited::InheritedKey;
pub use interrupt::{is_interrupt, is_kill};
pub use io::{Io, Kind};
pub use join_future::JoinFuture;
pub use kill::{KillError, killall, shield};
pub use links::LinkId;
pub use local::{AccessError, LocalKey};
pub use offload::offload;
pub use resolve::{lookup_host, lookup_host_timeout};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use short_lock::{ShortGuard, ShortLock};
pub use shutdown::shutdown;
pub use sleep::{no_switch, sleep, sleep_until, yield_now};
pub use task_group::{TaskGroup, task_group};
pub use task_wait::TaskWait;
pub use thread_pool::{OffloadHandle, ThreadPool, ThreadPoolBuilder, ThreadPoolMetrics};
pub use timeout::{Elapsed, timeout, timeout_at};
pub use wait_async::{WaitAsync, wait_async};
pub use wait_list::{WaitList, WaitQueue};
pub use waitable::{Iwait, Waitable, iwait, wait, wait_until_any};
pub use waiter::{Claim, Interrupted, Outcome, Reason, Wait, Waiter};
