//! Jobs that no hub has yet: what is spawned for another thread, until a hub takes it.

use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;

use super::{Block, BlockRef, HubRef, Options, STRAY};
use crate::greenlet::JoinError;
use crate::hub::{Hub, next_id};
use crate::memory;

/// A job that no hub has yet, with the count that will be the hub's. Its closure, its result and what it has inherited are `Send`.
///
/// If it is dropped, because no hub will ever run it, its joiners are told so.
pub(crate) struct Stray(BlockRef);

impl Stray {
    /// The job's two counts: its hub's, whichever that will be, and the caller's.
    ///
    /// On whichever thread, whether it has a hub or not.
    pub(crate) fn new<T: Send + 'static>(
        closure: impl FnOnce() -> T + Send + 'static,
        spawned_at: &'static Location<'static>,
        options: Option<Box<Options>>,
    ) -> (Stray, BlockRef) {
        let block = match Hub::try_here() {
            Some(hub) => {
                let block = Block::allocate(closure, &hub.memory, None, hub.next_id(), spawned_at, options);
                if let Some(extras) = hub.current().local().extras.get() {
                    // Nobody else has the block yet.
                    extras.bequeath(block.hub_ref());
                }
                block
            }
            None => {
                memory::with_shared(|memory| Block::allocate(closure, memory, None, next_id(), spawned_at, options))
            }
        };
        // Nobody else has it yet.
        block.flags.store(STRAY, Ordering::Relaxed);
        (Stray(BlockRef(block.0)), block)
    }

    /// Makes it a job of this thread's hub.
    pub(crate) fn adopt(self, hub: &Hub) -> HubRef {
        let this = ManuallyDrop::new(self);
        let shared = hub.shared();
        this.0.shared.store(ptr::from_ref(shared).cast_mut(), Ordering::Relaxed);
        this.0.hub.store(hub.id(), Ordering::Relaxed);
        // The count goes with it.
        this.0.hub_ref()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // Nobody else touches the hub's part of a job that has no hub, nor ever will. The count is given back by the field.
        let job = self.0.hub_ref();
        job.refuse(JoinError::HubEnded);
        job.word.close();
        job.notify_joiners();
    }
}
