//! In which order a queue keeps its items.

use std::collections::VecDeque;
use std::mem;

use crate::heap::Heap;

/// What the items of a queue lie in.
pub trait Storage {
    type Item;

    /// Whether `push` and `pop` run a user's code, so that no short lock may be held over them.
    const RUNS_USER_CODE: bool;

    fn push(&mut self, item: Self::Item);
    fn pop(&mut self) -> Option<Self::Item>;
    /// The one that `pop` would give.
    fn first(&self) -> Option<&Self::Item>;
    fn len(&self) -> usize;
    /// All of it; leaves nothing.
    fn take(&mut self) -> Self;
}

#[derive(Debug)]
pub struct Fifo<T>(pub(crate) VecDeque<T>);

impl<T> Storage for Fifo<T> {
    type Item = T;
    const RUNS_USER_CODE: bool = false;

    #[inline(always)]
    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }
    #[inline(always)]
    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }
    fn first(&self) -> Option<&T> {
        self.0.front()
    }
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }
    fn take(&mut self) -> Fifo<T> {
        Fifo(mem::take(&mut self.0))
    }
}

#[derive(Debug)]
pub struct Lifo<T>(pub(crate) Vec<T>);

impl<T> Storage for Lifo<T> {
    type Item = T;
    const RUNS_USER_CODE: bool = false;

    #[inline(always)]
    fn push(&mut self, item: T) {
        self.0.push(item);
    }
    #[inline(always)]
    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
    fn first(&self) -> Option<&T> {
        self.0.last()
    }
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }
    fn take(&mut self) -> Lifo<T> {
        Lifo(mem::take(&mut self.0))
    }
}

impl<T: Ord> Storage for Heap<T> {
    type Item = T;
    const RUNS_USER_CODE: bool = true;

    fn push(&mut self, item: T) {
        Heap::push(self, item);
    }
    fn pop(&mut self) -> Option<T> {
        Heap::pop(self)
    }
    fn first(&self) -> Option<&T> {
        self.peek()
    }
    fn len(&self) -> usize {
        Heap::len(self)
    }
    fn take(&mut self) -> Heap<T> {
        mem::replace(self, Heap::new())
    }
}
