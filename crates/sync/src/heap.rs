//! A binary heap that a panic of the items' `Ord` leaves as it was.
//!
//! All comparisons of an operation come before its first change. std's `BinaryHeap` stays sound as well, but loses the item that it was
//! about to give.

/// The least item first. Among equals the order is not specified.
#[derive(Debug)]
pub struct Heap<T>(Vec<T>);

impl<T> Heap<T> {
    pub(crate) const fn new() -> Heap<T> {
        Heap(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn peek(&self) -> Option<&T> {
        self.0.first()
    }
}

impl<T: Ord> Heap<T> {
    pub(crate) fn push(&mut self, item: T) {
        // How far up it goes.
        let end = self.0.len();
        let mut place = end;
        while place > 0 && item < self.0[(place - 1) / 2] {
            place = (place - 1) / 2;
        }
        let mut at = end;
        self.0.push(item);
        while at > place {
            self.0.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        // The last one fills the hole at the top. How far down it goes, by the turns that it takes; there are fewer than 64.
        let last = self.0.len().checked_sub(1)?;
        let (mut at, mut turns, mut depth) = (0, 0_u64, 0);
        while let Some(child) = self.lesser_child(at, last)
            && self.0[child] < self.0[last]
        {
            turns |= ((child & 1) as u64) << depth;
            depth += 1;
            at = child;
        }
        let item = self.0.swap_remove(0);
        at = 0;
        for level in 0..depth {
            // Left children have odd numbers.
            let child = 2 * at + if turns >> level & 1 == 1 { 1 } else { 2 };
            self.0.swap(at, child);
            at = child;
        }
        Some(item)
    }

    /// Of those before `end`.
    fn lesser_child(&self, at: usize, end: usize) -> Option<usize> {
        let left = 2 * at + 1;
        let right = left + 1;
        if left >= end {
            None
        } else if right < end && self.0[right] < self.0[left] {
            Some(right)
        } else {
            Some(left)
        }
    }
}

#[cfg(all(test, not(greenlet_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_heap_gives_the_least_first(operations in prop::collection::vec(prop::option::weighted(0.6, 0..50_u8), 0..200)) {
            let mut heap = Heap::new();
            let mut sorted = Vec::new();
            for operation in operations {
                match operation {
                    Some(item) => {
                        heap.push(item);
                        sorted.push(item);
                        sorted.sort_by(|one, other| other.cmp(one));
                    }
                    None => prop_assert_eq!(heap.pop(), sorted.pop()),
                }
                prop_assert_eq!(heap.peek(), sorted.last());
                prop_assert_eq!(heap.len(), sorted.len());
            }
        }
    }
}
