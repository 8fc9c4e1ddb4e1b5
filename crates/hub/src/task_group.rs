//! `task_group`: greenlets that stand or fall together.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::block::{HubRef, drop_quietly};
use crate::hub::Hub;
use crate::interrupt::{Interrupt, InterruptScope};
use crate::scope::{Bomb, Children, ScopedJoinHandle};

/// Calls `f`, whose greenlets may borrow as those of [`scope`](crate::scope()), and waits until all have ended: the first that fails kills the others.
///
/// A child fails by returning an error or by panicking, and so does `f` itself. Then the other children are killed, `f` is unwound out of
/// whatever it waits for, and when all have ended, the first failure is what comes out: the error, or the panic. A child that is killed
/// by itself has not failed. Like Python's `asyncio.TaskGroup`, and trio's nursery with `strict_exception_groups=False`.
///
/// # Errors
///
/// The first error of a child or of `f`.
///
/// # Panics
///
/// With the first panic of a child or of `f`; to unwind, when the greenlet is interrupted (the children are killed before); inside
/// [`no_switch`](crate::no_switch()) and in the panic hook, at the call; and in programs with `panic = "abort"`, where no child can be ended.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{sleep, task_group};
/// use std::time::Duration;
///
/// let result: Result<(), &str> = task_group(|group| {
///     group.spawn(|| -> Result<(), _> {
///         sleep(Duration::from_secs(60)); // is killed
///         Ok(())
///     });
///     group.spawn(|| -> Result<(), _> { Err("no such page") });
///     Ok(())
/// });
/// assert_eq!(result, Err("no such page"));
/// ```
pub fn task_group<'env, T, E, F>(f: F) -> Result<T, E>
where
    E: 'env,
    F: for<'scope> FnOnce(&'scope TaskGroup<'scope, 'env, E>) -> Result<T, E>,
{
    if cfg!(panic = "abort") {
        panic!("task_group needs unwinding, and this program is built with panic = \"abort\"");
    }
    let hub = Hub::here();
    hub.assert_may_switch("task_group");
    let own = InterruptScope::enter(hub);
    let group = TaskGroup {
        children: Children::default(),
        failure: RefCell::new(None),
        greenlet: own.greenlet,
        number: own.number,
        scope: PhantomData,
        env: PhantomData,
    };
    let bomb = Bomb;
    let result = catch_unwind(AssertUnwindSafe(|| f(&group)));
    let result = match result {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(err)) => {
            group.fail(Failure::Error(err));
            Ok(None)
        }
        // A child has failed, which has been noted.
        Err(payload) if own.owns(&*payload) => Ok(None),
        Err(payload) => {
            group.children.kill();
            Err(payload)
        }
    };
    let interrupted = group.children.join();
    mem::forget(bomb);
    // The group's own interrupt is over; what is left is from outside.
    drop(own);
    let value = match result {
        Ok(value) => value,
        Err(payload) => {
            hub.take_deadlock();
            resume_unwind(payload)
        }
    };
    if interrupted && (hub.current().must_unwind() || hub.has_deadlock()) {
        hub.raise();
    }
    match (group.failure.take(), value) {
        (Some(Failure::Error(err)), _) => Err(err),
        (Some(Failure::Panic(payload)), _) => resume_unwind(payload),
        (None, Some(value)) => Ok(value),
        (None, None) => unreachable!("what is unwound by the group has a failure"),
    }
}

/// Spawns greenlets that stand or fall together; see [`task_group`](crate::task_group()).
// `E: 'env`: without it the compiler knows two bounds of 'scope that are unrelated, and in a closure within a closure it takes 'static for both.
pub struct TaskGroup<'scope, 'env: 'scope, E: 'env> {
    children: Children,
    /// The first.
    failure: RefCell<Option<Failure<E>>>,
    /// Who waits for the children, below whose stack frames this lies.
    greenlet: HubRef,
    number: u64,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

enum Failure<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

impl<'scope, 'env, E> TaskGroup<'scope, 'env, E> {
    /// Spawns a greenlet that belongs to the group. Never switches. Children may spawn further ones.
    ///
    /// The handle of a child that failed says [`JoinError::Killed`](crate::JoinError::Killed): its failure is the group's. Once the group
    /// has failed, one that is spawned never runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::task_group;
    ///
    /// let parts = ["1", "2", "x"];
    /// let sum = task_group(|group| {
    ///     let numbers = parts.map(|part| group.spawn(|| part.parse::<i32>()));
    ///     Ok(numbers.map(|number| number.join().unwrap_or(0)).iter().sum::<i32>())
    /// });
    /// assert!(sum.is_err());
    /// ```
    #[track_caller]
    pub fn spawn<T: 'scope>(&'scope self, f: impl FnOnce() -> Result<T, E> + 'scope) -> ScopedJoinHandle<'scope, T> {
        let run = move || {
            let failure = match catch_unwind(AssertUnwindSafe(f)) {
                Ok(Ok(value)) => return value,
                Ok(Err(err)) => Failure::Error(err),
                Err(payload) if matches!(payload.downcast_ref(), Some(Interrupt::Kill)) => resume_unwind(payload),
                Err(payload) => Failure::Panic(payload),
            };
            self.fail(failure);
            resume_unwind(Box::new(Interrupt::Kill))
        };
        // SAFETY: what `f` and its result borrow outlives 'scope, as does this group, and `task_group` waits for the child
        // before it returns.
        unsafe { self.children.spawn(run) }
    }

    /// Notes a failure, if it is the first, and ends everything else.
    fn fail(&self, failure: Failure<E>) {
        if self.failure.borrow().is_some() {
            // The user's value is dropped with nothing borrowed; and quietly, since the group itself must not unwind here.
            return drop_quietly(failure);
        }
        self.failure.replace(Some(failure));
        self.children.kill();
        let hub = Hub::here();
        if self.greenlet != hub.current() && self.greenlet.expire(self.number) {
            hub.push_ready(self.greenlet);
        }
    }
}

impl<E> fmt::Debug for TaskGroup<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("TaskGroup").field("has_failed", &self.failure.borrow().is_some())).finish_non_exhaustive()
    }
}
