//! Waiting for several things at once: the trait of what can be waited for, `wait` and `iwait`.

use std::fmt;
use std::iter::FusedIterator;
use std::time::{Duration, Instant};

use crate::greenlet::{Greenlet, JoinHandle};
use crate::hub::deadline_after;
use crate::waiter::{Outcome, Reason, Wait, Waiter};

/// What can be waited for together with others: by [`wait`], [`iwait`], and `select!` of the sync crate.
///
/// # For implementors
///
/// The one who waits asks [`is_ready`](Waitable::is_ready); if nothing is ready he leaves his waiter with everything through
/// [`subscribe`](Waitable::subscribe), *asks again* (what becomes ready from then on has to notify), and switches away. When
/// he has been woken, by whatever, each gets its [`unsubscribe`](Waitable::unsubscribe).
///
/// * All methods are called without any lock of the caller's, and none of them may wait.
/// * Being ready is a state that waiting does not change: several may find it ready, and nothing is consumed.
/// * A waiter that is left behind may stay there: notifying it later does nothing and says so. But whatever keeps waiters has to drop the stale
///   ones now and then, as [`WaitList`](crate::WaitList) and [`WaitQueue`](crate::WaitQueue) do.
/// * If a notification is for *one* waiter (a permit, an item), `unsubscribe` must pass it on to the next while the thing is ready: the
///   one who unsubscribes may have been notified, and does not take what he was notified of.
///
/// # Examples
///
/// A latch that several greenlets count down:
///
/// ```
/// use greenlet_hub::{WaitList, Waitable, Waiter, spawn, wait};
/// use std::{cell::Cell, rc::Rc};
///
/// struct Latch {
///     left: Cell<u32>,
///     waiting: WaitList,
/// }
///
/// impl Latch {
///     fn count_down(&self) {
///         self.left.set(self.left.get() - 1);
///         if self.left.get() == 0 {
///             self.waiting.notify_all();
///         }
///     }
/// }
///
/// impl Waitable for Latch {
///     fn is_ready(&self) -> bool {
///         self.left.get() == 0
///     }
///     fn subscribe(&self, waiter: &Waiter) {
///         self.waiting.push(waiter.clone());
///     }
/// }
///
/// let latch = Rc::new(Latch { left: Cell::new(2), waiting: WaitList::new() });
/// for _ in 0..2 {
///     let latch = Rc::clone(&latch);
///     spawn(move || latch.count_down());
/// }
/// assert_eq!(wait(&[&*latch], None, None), [0]);
/// ```
pub trait Waitable {
    /// Whether it is ready now.
    fn is_ready(&self) -> bool;

    /// Takes a waiter, to be notified when this may have become ready.
    fn subscribe(&self, waiter: &Waiter);

    /// Ends what [`subscribe`](Waitable::subscribe) began; called once for each, also when the one who waits unwinds.
    fn unsubscribe(&self, waiter: &Waiter) {
        let _ = waiter;
    }

    /// What [`is_ready_since`](Waitable::is_ready_since) is to compare with, asked before the wait.
    ///
    /// For what is ready for a moment only, such as an event that is set and cleared again: a count of those moments.
    fn ticket(&self) -> u64 {
        0
    }

    /// Whether it is ready, or was since the ticket was drawn.
    fn is_ready_since(&self, ticket: u64) -> bool {
        let _ = ticket;
        self.is_ready()
    }

    /// When it becomes ready by itself, with nobody to notify of it.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl<W: Waitable + ?Sized> Waitable for &W {
    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }
    fn subscribe(&self, waiter: &Waiter) {
        (**self).subscribe(waiter);
    }
    fn unsubscribe(&self, waiter: &Waiter) {
        (**self).unsubscribe(waiter);
    }
    fn ticket(&self) -> u64 {
        (**self).ticket()
    }
    fn is_ready_since(&self, ticket: u64) -> bool {
        (**self).is_ready_since(ticket)
    }
    fn deadline(&self) -> Option<Instant> {
        (**self).deadline()
    }
}

impl Waitable for Greenlet {
    /// Whether it has ended.
    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    fn subscribe(&self, waiter: &Waiter) {
        if let Some(joiners) = self.block().join_list() {
            joiners.push(waiter.clone());
        }
    }
}

impl<T> Waitable for JoinHandle<T> {
    fn is_ready(&self) -> bool {
        self.greenlet().is_ready()
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.greenlet().subscribe(waiter);
    }
}

/// Waits until `count` of the objects are ready (`None`: all), at the most for `timeout`; their indices in the order in which they became ready.
///
/// Fewer than `count` come back only when the time has passed. Nothing is consumed or acquired: a semaphore is ready while it has a permit.
/// An object that stands there twice counts twice. Those that are ready when they are looked at come in the order given. Like
/// gevent's `wait`.
///
/// # Panics
///
/// If it must wait inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Waitable, sleep, spawn, wait};
/// use std::time::Duration;
///
/// let slow = spawn(|| sleep(Duration::from_millis(20)));
/// let quick = spawn(|| sleep(Duration::from_millis(2)));
/// let both: [&dyn Waitable; 2] = [&slow, &quick];
/// assert_eq!(wait(&both, Some(1), None), [1]);
/// assert_eq!(wait(&both, None, None), [1, 0]);
/// ```
pub fn wait(objects: &[&dyn Waitable], count: Option<usize>, timeout: Option<Duration>) -> Vec<usize> {
    iwait(objects, count, timeout).collect()
}

/// Waits as [`wait`], and gives each index as soon as its object is ready. The time counts from the call.
///
/// Leaving it early leaves nothing behind. Like gevent's `iwait`.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{Waitable, iwait, sleep, spawn};
/// use std::time::Duration;
///
/// let sleepers = [9, 1, 5].map(|millis| spawn(move || sleep(Duration::from_millis(millis))));
/// let sleepers = sleepers.each_ref().map(|sleeper| sleeper as &dyn Waitable);
/// assert_eq!(iwait(&sleepers, None, None).next(), Some(1));
/// ```
pub fn iwait<'a>(objects: &[&'a dyn Waitable], count: Option<usize>, timeout: Option<Duration>) -> Iwait<'a> {
    Iwait {
        left: objects
            .iter()
            .enumerate()
            .map(|(index, &object)| Left { index, ticket: object.ticket(), object })
            .collect(),
        found: Vec::new(),
        count: count.unwrap_or(usize::MAX).min(objects.len()),
        deadline: timeout.map(deadline_after),
    }
}

/// The indices of what becomes ready; see [`iwait`].
pub struct Iwait<'a> {
    left: Vec<Left<'a>>,
    /// Found ready by the last look, and not given yet; the first is the last.
    found: Vec<usize>,
    count: usize,
    deadline: Option<Instant>,
}

/// What has not been ready yet.
struct Left<'a> {
    index: usize,
    ticket: u64,
    object: &'a dyn Waitable,
}

impl Iwait<'_> {
    fn look(&mut self) {
        let mut found = Vec::new();
        self.left.retain(|left| {
            let ready = is_ready(left.object, left.ticket);
            if ready {
                found.push(left.index);
            }
            !ready
        });
        found.reverse();
        self.found = found;
    }
}

fn is_ready(object: &dyn Waitable, ticket: u64) -> bool {
    object.is_ready_since(ticket) || object.deadline().is_some_and(|deadline| deadline <= Instant::now())
}

impl Iterator for Iwait<'_> {
    type Item = usize;

    /// Waits until another one is ready; `None` when there were enough, or the time has passed.
    fn next(&mut self) -> Option<usize> {
        self.count = self.count.checked_sub(1)?;
        if self.found.is_empty() {
            self.look();
        }
        while self.found.is_empty() {
            let left = &self.left;
            let in_time = wait_until_any(
                left.iter().map(|left| left.object),
                || left.iter().any(|left| is_ready(left.object, left.ticket)),
                self.deadline,
            );
            self.look();
            if !in_time && self.found.is_empty() {
                self.count = 0;
                return None;
            }
        }
        self.found.pop()
    }
}

impl FusedIterator for Iwait<'_> {}

impl fmt::Debug for Iwait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iwait")
            .field("left", &self.left.len())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Waits once until one of the objects may have become ready, unless `ready()` says so after all have the waiter; false at the deadline.
///
/// What [`wait`] and `select!` are made of: the caller looks for himself what is ready. The objects' own deadlines count as well.
///
/// # Panics
///
/// Inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
pub fn wait_until_any<'a>(
    objects: impl Iterator<Item = &'a dyn Waitable> + Clone,
    ready: impl FnOnce() -> bool,
    deadline: Option<Instant>,
) -> bool {
    let wait = Wait::begin(Reason::new("one of several"));
    let mut subscribed = Subscribed { waiter: wait.waiter(), objects: Vec::new() };
    // Declared after, so over before they are told: a notification that comes later has to find nobody.
    let wait = wait;
    let mut earliest = deadline;
    for object in objects {
        subscribed.objects.push(object);
        object.subscribe(&subscribed.waiter);
        if let Some(own) = object.deadline() {
            earliest = Some(earliest.map_or(own, |earliest| earliest.min(own)));
        }
    }
    if ready() {
        return true;
    }
    match wait.until(earliest) {
        Outcome::Notified => true,
        // Perhaps that of an object.
        Outcome::TimedOut => deadline.is_none_or(|deadline| Instant::now() < deadline),
        Outcome::Interrupted(interrupted) => {
            // They pass on what came as well.
            drop(subscribed);
            interrupted.raise()
        }
    }
}

/// The objects that have the waiter; all are told when the wait is over.
struct Subscribed<'a> {
    waiter: Waiter,
    objects: Vec<&'a dyn Waitable>,
}

impl Drop for Subscribed<'_> {
    fn drop(&mut self) {
        for object in &self.objects {
            object.unsubscribe(&self.waiter);
        }
    }
}
