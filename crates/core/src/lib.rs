//! Stackful coroutines on guarded, pooled stacks, and a report when one overflows.
//!
//! This is the mechanism below greenlets; it knows nothing of greenlets, hubs or waiting. A
//! [`CoroutinePool`] lends [`Coroutine`]s; a coroutine is resumed with a message, runs its [`Body`] on a
//! stack of its own, and comes back when the body suspends through its [`Suspender`] or returns.
//!
//! ```
//! use greenlet_core::{Coroutine, CoroutinePool, DEFAULT_STACK_SIZE, Resumed, Suspender};
//!
//! fn double(suspender: Suspender, message: usize) {
//!     assert_eq!(message, 1);
//!     // SAFETY: this is the stack of the coroutine that `suspender` was made for.
//!     let next = unsafe { suspender.suspend() };
//!     assert_eq!(next, 2);
//! }
//!
//! let mut pool = CoroutinePool::new(double);
//! let mut coroutine = pool.take(DEFAULT_STACK_SIZE)?;
//! assert_eq!(coroutine.resume(1), Resumed::Suspended);
//! assert_eq!(coroutine.resume(2), Resumed::Finished);
//! pool.give(coroutine); // The next `take` gets it back, its stack still in the cache.
//! # std::io::Result::Ok(())
//! ```
//!
//! # A coroutine runs many jobs
//!
//! Making a coroutine costs a mapping, a guard and the first touch of a page; running a job on an idle
//! one costs two switches. So the root of each stack is a loop: run the body, say [`Resumed::Finished`],
//! take the next resume's message as the first message of the next job.
//!
//! # A slot
//!
//! Stacks are slots of large slabs, each slab one `mmap` that reserves address space and no memory:
//!
//! ```text
//!   slab   │ slot 0 │ slot 1 │ slot 2 │ …                               │ slot 255 │
//!          ╱         ╲
//!      ┌────────┬─────────────────────────────────────────┬────────┬────────┐
//!      │ guard  │ stack     grows leftwards  ◄──── frames │ header │ colour │
//!      │ 16 KiB │ 244 KiB with header and colour          │ 112 B  │ < 2 K  │
//!      └────────┴─────────────────────────────────────────┴────────┴────────┘
//!      ▲                                                  ▲                 ▲
//!      start                                              base              start + stride
//! ```
//!
//! * The **stride** is an odd number of pages (260 KiB by default). With a power of two the pages of all
//!   stacks would compete for the same few sets of the TLB and the caches.
//! * The **colour** moves the top of the stack by some cache lines, other ones for neighbouring slots,
//!   since the L1 cache is indexed by the offset within a page, which the stride does not change. It is
//!   small enough that a waiting coroutine with up to 2,000 bytes of frames still occupies one page only.
//! * The **guard** is made of guard markers (`MADV_GUARD_INSTALL`) where the kernel has them: they cost
//!   no mapping, so that a million stacks fit below the default `vm.max_map_count` of 65,530. Elsewhere
//!   it is `mprotect`ed.
//!
//! # A suspended coroutine's stack
//!
//! ```text
//!      ┌──────────────────────────┐ ◄─ the slot's end minus its colour
//!      │ header: stack pointer,   │ ◄─ `Coroutine`
//!      │ slot, state, guard       │
//!      ├──────────────────────────┤ ◄─ base
//!      │ entry function           │    used by the first resume
//!      │ parent link              │ ◄─ `Suspender`: where the one that resumed it stands
//!      ├──────────────────────────┤
//!      │ the root loop's frames   │
//!      ├──────────────────────────┤
//!      │ `Body` and what it calls │
//!      │ registers, return place  │ ◄─ stack pointer
//!      ├──────────────────────────┤
//!      ~ untouched                ~
//!      ├──────────────────────────┤
//!      │ guard                    │
//!      └──────────────────────────┘
//! ```
//!
//! A resume follows one pointer to the header, whose first part shares a cache line with the parent link,
//! and one to the saved registers. On a waiting stack all of it lies in one page.
//!
//! # Suspending while unwinding
//!
//! std counts panics by thread. A body that suspends in a destructor, in the middle of its own unwinding, would leave its panic with the
//! thread, where everybody else seems to be panicking then. So it takes the thread's count along: [`take_panic_count`] before the suspension if
//! `thread::panicking()` says so, [`TakenPanicCount::restore`] after it.
//!
//! # What never happens
//!
//! A stack is not freed or reused before its coroutine has finished: every slot holds a reference to its
//! slab, and a coroutine that is dropped, in whatever state, keeps its slot for ever. Only
//! [`CoroutinePool::give`] brings a slot back, and it takes none but finished coroutines.

#[cfg(not(unix))]
compile_error!("greenlet-core needs mmap, mprotect and sigaltstack");

#[cfg(test)]
#[path = "../tests/it/child.rs"]
mod child;
mod coroutine;
mod guard;
mod layout;
pub mod overflow;
mod panic_count;
mod pool;
mod slab;
mod sys;

pub use coroutine::{Body, Coroutine, Resumed, Suspender};
pub use layout::{DEFAULT_STACK_SIZE, GUARD_SIZE, MIN_STACK_SIZE};
pub use panic_count::{HeldPanicCounts, TakenPanicCount, hold_panic_counts, take_panic_count};
pub use pool::{CoroutinePool, PoolStatistics, TRIM_BATCH};
pub use sys::stack_pointer;
