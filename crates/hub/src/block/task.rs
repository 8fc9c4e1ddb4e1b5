//! The block of an async task: a wait word that no hub knows, with the `Waker` of whoever polls.
//!
//! ```text
//!   TaskRef (the future) ──┐        ┌── Waiter, Claim (any thread, counted)
//!                          ▼        ▼
//!                        ┌────────────┐
//!                        │ Block      │ no hub, no job; only counts and wait word are used
//!                        ├────────────┤
//!                        │ waker      │ any thread, a lock
//!                        └────────────┘
//! ```
//!
//! Whoever ends the wait finds it suspended, always, and calls the waker, which he takes out of the block. So the poll that
//! looks whether the wait is over leaves its waker there *first*: either it sees the end, or its waker is found.
//!
//! **A waker is a user's code.** It is called, cloned and dropped with no lock held. It runs in the middle of whatever notifies, so it may not wait
//! (there that panics), and a panic of it ends there, where the panic hook has reported it: others are to be notified after it.

use std::panic::Location;
use std::ptr::NonNull;
use std::task::Waker;

use super::{Block, BlockRef, VTable, quietly};
use crate::greenlet::JoinError;
use crate::hub::{Hub, next_id};
use crate::memory;
use crate::short_lock::ShortLock;

/// A block with a waker behind it.
#[repr(C)]
struct Task {
    block: Block,
    waker: ShortLock<Option<Waker>>,
}

impl Task {
    const VTABLE: &'static VTable = &VTable {
        run: Self::no_job,
        refuse: Self::no_job_to_refuse,
        take: Self::no_result,
        discard: Self::no_job,
        free: Self::free,
        wake: Some(Self::wake),
    };

    unsafe fn no_job(_: NonNull<Block>) {
        unreachable!("a task has no job");
    }

    unsafe fn no_job_to_refuse(_: NonNull<Block>, _: JoinError) {
        unreachable!("a task has no job");
    }

    unsafe fn no_result(_: NonNull<Block>, _: NonNull<()>) {
        unreachable!("a task has no result");
    }

    /// Calls the waker, if another who ended a wait of the task has not just done so.
    unsafe fn wake(block: NonNull<Block>) {
        // SAFETY: the table is that of a `Task`, whose first field the block is, and the caller's reference is counted.
        let task = unsafe { block.cast::<Task>().as_ref() };
        let waker = task.waker.lock().take();
        if let Some(waker) = waker {
            call(waker);
        }
    }

    unsafe fn free(block: NonNull<Block>) {
        let task = block.cast::<Task>();
        // SAFETY: the last reference is gone, so nobody else looks at it, and it is dropped once. Its waker is gone: the `TaskRef` took it.
        unsafe { task.drop_in_place() };
        // SAFETY: `TaskRef::new` took this memory for a task, and nothing is left in it.
        unsafe { memory::release(task) };
    }
}

/// Calls a waker in the middle of whatever has notified.
fn call(waker: Waker) {
    let call = || quietly(|| waker.wake());
    match Hub::try_here() {
        Some(hub) => hub.in_no_wait(call),
        None => call(),
    }
}

/// The one owner's reference to a task's block: he begins its waits.
pub(crate) struct TaskRef(BlockRef);

impl TaskRef {
    /// A task that waits for nothing. On whichever thread; no hub is made.
    #[track_caller]
    pub(crate) fn new() -> TaskRef {
        let here = Location::caller();
        let (place, id) = match Hub::try_here() {
            Some(hub) => (hub.memory.take::<Task>(), hub.next_id()),
            None => (memory::with_shared(|memory| memory.take::<Task>()), next_id()),
        };
        let task = Task { block: Block::new(1, Task::VTABLE, None, id, here, None), waker: ShortLock::new(None) };
        // SAFETY: there is room for it, and it is ours.
        unsafe { place.write(task) };
        TaskRef(BlockRef(place.cast()))
    }

    pub(crate) fn block(&self) -> &BlockRef {
        &self.0
    }

    fn waker(&self) -> &ShortLock<Option<Waker>> {
        // SAFETY: the block is the first field of a `Task`, which lives as long as this reference.
        unsafe { &self.0.0.cast::<Task>().as_ref().waker }
    }

    /// Leaves a waker for whoever ends a wait.
    pub(crate) fn keep_waker(&self, waker: &Waker) {
        let is_kept = self.waker().lock().as_ref().is_some_and(|kept| kept.will_wake(waker));
        if !is_kept {
            let waker = waker.clone();
            let before = self.waker().lock().replace(waker);
            drop(before);
        }
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // Here, and not with the last `Waiter`, which may be dropped under a lock.
        let waker = self.waker().lock().take();
        drop(waker);
    }
}
