//! `select!`: waiting for the first of several things, of which one is taken and the others are left as they were.

#[macro_use]
mod syntax;

mod arms;
mod list;

pub use arms::{Descriptor, Join, SelectGet, SelectJoin, SelectPut, Selectable, Sleep, Try, WaitFor};
pub use arms::{descriptor_readable, descriptor_writable, sleep, sleep_until};
#[doc(hidden)]
pub use list::{Arms, Chosen, choose, choose_now};

use greenlet_hub::Waitable;

/// One of the things that [`select!`](crate::select!) waits for: something waitable of which something can be taken.
///
/// [`Waitable`] says how it is waited for. Here, other than with `wait`, each thing stands for itself: the one who selects takes from the
/// one that he chooses, with [`take`](Arm::take), after he has [unsubscribed](Waitable::unsubscribe) from all of them. So one that was notified
/// and is not chosen passes its notification on there.
///
/// # Examples
///
/// A count that is taken one by one:
///
/// ```
/// use greenlet_hub::{WaitList, Waitable, Waiter, spawn};
/// use greenlet_sync::select::Arm;
/// use greenlet_sync::select;
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// #[derive(Clone, Default)]
/// struct Count(Rc<(Cell<u32>, WaitList)>);
///
/// impl Waitable for Count {
///     fn is_ready(&self) -> bool {
///         self.0.0.get() > 0
///     }
///     fn subscribe(&self, waiter: &Waiter) {
///         self.0.1.push(waiter.clone());
///     }
///     fn unsubscribe(&self, _: &Waiter) {
///         // Somebody else may have been passed over.
///         if self.is_ready() {
///             self.0.1.notify_one();
///         }
///     }
/// }
///
/// impl Arm for Count {
///     type Output = u32;
///
///     fn take(&mut self) -> Option<u32> {
///         let left = self.0.0.get().checked_sub(1)?;
///         self.0.0.set(left);
///         Some(left)
///     }
/// }
///
/// let count = Count::default();
/// spawn({
///     let count = count.clone();
///     move || {
///         count.0.0.set(1);
///         count.0.1.notify_one();
///     }
/// });
/// let left = select! {
///     left = count.clone() => Some(left),
///     _ = sleep(Duration::from_secs(60)) => None,
/// };
/// assert_eq!(left, Some(0));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no arm of a `select!`",
    note = "an arm ends in a call of `.get()`, `.put(x)`, `.wait()`, `.acquire()`, `.lock()` or `.join()`, is a call of `sleep`, `sleep_until`, \
            `wait_readable` or `wait_writable`, or is an expression whose type implements `Arm`"
)]
pub trait Arm: Waitable {
    /// What it gives.
    type Output;

    /// Takes it, if that need not wait. Never switches.
    fn take(&mut self) -> Option<Self::Output>;

    /// Takes it for an async task (see [`take_async`](crate::take_async())), which must not wait at all: so nothing where [`take`](Arm::take) has to wait
    /// for a moment, until another has compared the items of a queue, say.
    ///
    /// A task takes once its wait is over, before and after it unsubscribes: so that a notification that it has used is not passed on.
    fn take_at_once(&mut self) -> Option<Self::Output> {
        self.take()
    }

    /// Whether the notification has consumed something already, so that no other arm may be chosen: an item was taken from it, say.
    fn is_committed(&self) -> bool {
        false
    }
}
