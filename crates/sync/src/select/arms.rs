//! What the known calls in a `select!` stand for.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use greenlet_hub::{Greenlet, JoinError, JoinHandle, Readiness, Waitable, Waiter};

use super::Arm;
use crate::async_result::AsyncResult;
use crate::group::Group;

/// What has an arm for `.get()`.
pub trait SelectGet {
    /// The arm; it gives what `get` returns.
    type Arm<'a>: Arm
    where
        Self: 'a;

    /// The arm that `.get()` stands for in [`select!`](crate::select!).
    fn select_get(&self) -> Self::Arm<'_>;
}

/// What has an arm for `.put(item)`.
pub trait SelectPut<T> {
    /// The arm; it gives what `put` returns.
    type Arm<'a>: Arm
    where
        Self: 'a;

    /// The arm that `.put(item)` stands for in [`select!`](crate::select!). If another arm is chosen, the item is dropped.
    fn select_put(&self, item: T) -> Self::Arm<'_>;
}

/// The arms of everything waitable.
pub trait Selectable: Waitable {
    /// The arm that `.wait()` stands for in [`select!`](crate::select!); it gives `()`.
    fn select_wait(&self) -> WaitFor<'_, Self> {
        WaitFor { ticket: self.ticket(), object: self }
    }

    /// The arm that takes with `take`, whenever this is ready: `.acquire()` stands for it with `try_acquire`, and `.lock()` with `try_lock`.
    fn select_with<'a, T, F: FnMut(&'a Self) -> Option<T>>(&'a self, take: F) -> Try<'a, Self, F> {
        Try { object: self, take }
    }
}

impl<W: Waitable + ?Sized> Selectable for W {}

/// What has an arm for `.join()`: handles of greenlets, groups, and queues.
///
/// * `handle.join()` takes the handle and gives the result. If another arm is chosen the handle is dropped, which detaches the greenlet.
/// * `(&handle).join()` gives `()`, and leaves the handle for a `join` that then need not wait.
/// * `slot.join()` of a `slot: Option<JoinHandle<T>>` takes the handle out of it when it is chosen, and gives the result. An
///   empty slot is never ready.
pub trait SelectJoin {
    /// The arm.
    type Arm: Arm;

    /// The arm that `.join()` stands for in [`select!`](crate::select!).
    fn select_join(self) -> Self::Arm;
}

impl<T> SelectJoin for JoinHandle<T> {
    type Arm = Join<Option<JoinHandle<T>>>;

    fn select_join(self) -> Self::Arm {
        Join(Some(self))
    }
}

impl<'a, T> SelectJoin for &'a mut Option<JoinHandle<T>> {
    type Arm = Join<&'a mut Option<JoinHandle<T>>>;

    fn select_join(self) -> Self::Arm {
        Join(self)
    }
}

impl<'a, T> SelectJoin for &'a JoinHandle<T> {
    type Arm = WaitFor<'a, Greenlet>;

    fn select_join(self) -> Self::Arm {
        self.greenlet().select_wait()
    }
}

impl<'a> SelectJoin for &'a Greenlet {
    type Arm = WaitFor<'a, Greenlet>;

    fn select_join(self) -> Self::Arm {
        self.select_wait()
    }
}

impl<'a> SelectJoin for &'a Group {
    type Arm = WaitFor<'a, Group>;

    fn select_join(self) -> Self::Arm {
        self.select_wait()
    }
}

impl<T: Clone, E: Clone> SelectGet for AsyncResult<T, E> {
    type Arm<'a>
        = Try<'a, AsyncResult<T, E>, fn(&'a AsyncResult<T, E>) -> Option<Result<T, E>>>
    where
        Self: 'a;

    fn select_get(&self) -> Self::Arm<'_> {
        self.select_with(AsyncResult::try_get)
    }
}

/// The arm that waits for something, and takes nothing.
#[derive(Debug)]
pub struct WaitFor<'a, W: ?Sized> {
    object: &'a W,
    ticket: u64,
}

impl<W: Waitable + ?Sized> Waitable for WaitFor<'_, W> {
    fn is_ready(&self) -> bool {
        self.object.is_ready_since(self.ticket)
            || self.object.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.object.subscribe(waiter);
    }
    fn unsubscribe(&self, waiter: &Waiter) {
        self.object.unsubscribe(waiter);
    }
    fn deadline(&self) -> Option<Instant> {
        self.object.deadline()
    }
}

impl<W: Waitable + ?Sized> Arm for WaitFor<'_, W> {
    type Output = ();

    fn take(&mut self) -> Option<()> {
        self.is_ready().then_some(())
    }
}

/// The arm that tries to take something whenever its object is ready.
pub struct Try<'a, W: ?Sized, F> {
    object: &'a W,
    take: F,
}

impl<W: Waitable + ?Sized, F> Waitable for Try<'_, W, F> {
    fn is_ready(&self) -> bool {
        self.object.is_ready()
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.object.subscribe(waiter);
    }
    fn unsubscribe(&self, waiter: &Waiter) {
        self.object.unsubscribe(waiter);
    }
    fn deadline(&self) -> Option<Instant> {
        self.object.deadline()
    }
}

impl<'a, W: Waitable + ?Sized, T, F: FnMut(&'a W) -> Option<T>> Arm for Try<'a, W, F> {
    type Output = T;

    fn take(&mut self) -> Option<T> {
        (self.take)(self.object)
    }
}

impl<W: fmt::Debug + ?Sized, F> fmt::Debug for Try<'_, W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Try").field("object", &self.object).finish_non_exhaustive()
    }
}

/// The arm that takes a greenlet's result.
#[derive(Debug)]
pub struct Join<S>(S);

// One for a handle that is its own, and one for a borrowed one.
macro_rules! join_arm {
    ($(<$($lifetime:lifetime)?> $slot:ty;)+) => {$(
        impl<$($lifetime,)? T> Waitable for Join<$slot> {
            fn is_ready(&self) -> bool {
                self.0.as_ref().is_some_and(Waitable::is_ready)
            }
            fn subscribe(&self, waiter: &Waiter) {
                if let Some(handle) = self.0.as_ref() {
                    handle.subscribe(waiter);
                }
            }
        }

        impl<$($lifetime,)? T> Arm for Join<$slot> {
            type Output = Result<T, JoinError>;

            fn take(&mut self) -> Option<Result<T, JoinError>> {
                // It has ended, so this does not wait.
                self.0.take_if(|handle| handle.is_finished()).map(JoinHandle::join)
            }

            fn take_at_once(&mut self) -> Option<Self::Output> {
                // `join` sees to it that links have begun to run, for which it may have to wait, and needs a hub.
                let mut future = self.0.take_if(|handle| handle.is_finished())?.into_future();
                match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => Some(result),
                    Poll::Pending => unreachable!("it has ended"),
                }
            }
        }
    )+};
}

join_arm! {
    <> Option<JoinHandle<T>>;
    <'a> &'a mut Option<JoinHandle<T>>;
}

/// The arm for a time that comes.
#[derive(Debug)]
pub struct Sleep(Instant);

/// The arm that `sleep(duration)` stands for in [`select!`](crate::select!). Never switches.
pub fn sleep(duration: Duration) -> Sleep {
    let now = Instant::now();
    // One that overflows the clock: as good as never.
    Sleep(now.checked_add(duration.min(Duration::from_secs(100 * 365 * 24 * 60 * 60))).unwrap_or(now))
}

/// The arm that `sleep_until(deadline)` stands for in [`select!`](crate::select!). Never switches.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep(deadline)
}

impl Waitable for Sleep {
    fn is_ready(&self) -> bool {
        self.0 <= Instant::now()
    }
    fn subscribe(&self, _: &Waiter) {}
    fn deadline(&self) -> Option<Instant> {
        Some(self.0)
    }
}

impl Arm for Sleep {
    type Output = ();

    fn take(&mut self) -> Option<()> {
        self.is_ready().then_some(())
    }
}

/// The arm for a descriptor that becomes readable or writable.
#[derive(Debug)]
pub struct Descriptor<'a>(Readiness<'a>);

/// The arm that `wait_readable(&fd)` stands for in [`select!`](crate::select!). Never switches.
pub fn descriptor_readable<Fd: AsFd + ?Sized>(fd: &Fd) -> Descriptor<'_> {
    Descriptor(greenlet_hub::readable(fd))
}

/// The arm that `wait_writable(&fd)` stands for in [`select!`](crate::select!). Never switches.
pub fn descriptor_writable<Fd: AsFd + ?Sized>(fd: &Fd) -> Descriptor<'_> {
    Descriptor(greenlet_hub::writable(fd))
}

impl Waitable for Descriptor<'_> {
    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.0.subscribe(waiter);
    }
    fn unsubscribe(&self, waiter: &Waiter) {
        self.0.unsubscribe(waiter);
    }
}

impl Arm for Descriptor<'_> {
    type Output = io::Result<()>;

    fn take(&mut self) -> Option<io::Result<()>> {
        match self.0.take_error() {
            Some(err) => Some(Err(err)),
            None => self.0.is_ready().then_some(Ok(())),
        }
    }
}
