//! The run queue: greenlets that are ready, first in, first out.

use std::cell::Cell;

use crate::block::HubRef;

/// A queue that is linked through the greenlets' own blocks: it never allocates, and a greenlet is in one queue at the most.
///
/// That holds because only the one who ends a wait (or a spawn, or a yield) pushes, and the next wait begins after the pop.
#[derive(Default)]
pub(crate) struct RunQueue {
    head: Cell<Option<HubRef>>,
    tail: Cell<Option<HubRef>>,
}

impl RunQueue {
    #[inline]
    pub(crate) fn push(&self, greenlet: HubRef) {
        debug_assert!(greenlet.local().next.get().is_none() && self.tail.get() != Some(greenlet), "in a queue twice");
        match self.tail.replace(Some(greenlet)) {
            Some(last) => last.local().next.set(Some(greenlet)),
            None => self.head.set(Some(greenlet)),
        }
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<HubRef> {
        let first = self.head.get()?;
        let next = first.local().next.take();
        self.head.set(next);
        if next.is_none() {
            self.tail.set(None);
        }
        Some(first)
    }

    /// Has the stack of the one that is next come near while another runs. Of a few, all are near anyway.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(next) = self.head.get()
            && next.local().next.get().is_some()
        {
            next.prefetch_stack();
        }
    }

    /// Has the stacks of the next few come near at once: a page walk for each, and the processor does several at a time.
    pub(crate) fn prefetch_batch(&self, count: usize) {
        let mut next = self.head.get();
        for _ in 0..count {
            let Some(greenlet) = next else { return };
            greenlet.prefetch_stack_sparingly();
            next = greenlet.local().next.get();
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.get().is_none()
    }

    /// Looks at all of them, in order.
    pub(crate) fn for_each(&self, mut look: impl FnMut(HubRef)) {
        let mut next = self.head.get();
        while let Some(greenlet) = next {
            look(greenlet);
            next = greenlet.local().next.get();
        }
    }

    /// Takes one greenlet out, wherever it stands; false if it is not there.
    pub(crate) fn remove(&self, greenlet: HubRef) -> bool {
        let others = RunQueue::default();
        let mut found = false;
        while let Some(other) = self.pop() {
            if other == greenlet {
                found = true;
            } else {
                others.push(other);
            }
        }
        self.head.swap(&others.head);
        self.tail.swap(&others.tail);
        found
    }
}
