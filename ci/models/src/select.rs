//! What the queues' and channels' arms of a `select!` implement. The loop around them is the real one.

#[path = "../../../crates/sync/src/select/list.rs"]
mod list;

pub use list::{Chosen, choose, choose_now};

use crate::Waitable;

/// As in the real module.
pub trait Arm: Waitable {
    type Output;

    fn take(&mut self) -> Option<Self::Output>;

    fn take_at_once(&mut self) -> Option<Self::Output> {
        self.take()
    }

    fn is_committed(&self) -> bool {
        false
    }
}

/// As in the real module.
pub trait SelectGet {
    type Arm<'a>: Arm
    where
        Self: 'a;

    fn select_get(&self) -> Self::Arm<'_>;
}

/// As in the real module.
pub trait SelectPut<T> {
    type Arm<'a>: Arm
    where
        Self: 'a;

    fn select_put(&self, item: T) -> Self::Arm<'_>;
}

/// As in the real module.
pub trait SelectJoin {
    type Arm: Arm;

    fn select_join(self) -> Self::Arm;
}
