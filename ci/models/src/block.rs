//! The hub's `block/task.rs`: a task's wait word and waker.

use std::sync::Arc;
use std::task::Waker;

use crate::greenlet::Block;

/// The one owner's reference to a task's block.
pub(crate) struct TaskRef(Arc<Block>);

impl TaskRef {
    pub(crate) fn new() -> TaskRef {
        TaskRef(Arc::new(Block::of_task()))
    }

    pub(crate) fn block(&self) -> &Arc<Block> {
        &self.0
    }

    /// As the real one.
    pub(crate) fn keep_waker(&self, waker: &Waker) {
        let is_kept = self.0.waker().lock().as_ref().is_some_and(|kept| kept.will_wake(waker));
        if !is_kept {
            let waker = waker.clone();
            let before = self.0.waker().lock().replace(waker);
            drop(before);
        }
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        let waker = self.0.waker().lock().take();
        drop(waker);
    }
}
