//! Waiting for several things at once: the trait of what can be waited for, `wait` and `iwait`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::greenlet::{Greenlet, JoinHandle};
use crate::hub::deadline_after;
use crate::parked::Parked;
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
/// * The one who waits may be an async task ([`wait_async`](crate::wait_async())), on a thread that has no hub, and its waiter may cross threads with it.
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
    let left = |object: &&'a dyn Waitable| Some(Left { ticket: object.ticket(), object: *object, parked: None });
    Iwait {
        left: objects.iter().map(left).collect(),
        unsubscribed: Vec::new(),
        found: VecDeque::new(),
        log: Rc::default(),
        looked: false,
        has_deadlines: objects.iter().any(|object| object.deadline().is_some()),
        count: count.unwrap_or(usize::MAX).min(objects.len()),
        deadline: timeout.map(deadline_after),
    }
}

/// The indices of what becomes ready; see [`iwait`].
pub struct Iwait<'a> {
    /// By index; those that were found ready are gone.
    left: Vec<Option<Left<'a>>>,
    /// The indices of those that nobody notifies.
    unsubscribed: Vec<usize>,
    /// Found ready and not given yet.
    found: VecDeque<usize>,
    log: Rc<Log>,
    /// Whether there was a first look.
    looked: bool,
    /// Whether any of them becomes ready by itself.
    has_deadlines: bool,
    count: usize,
    deadline: Option<Instant>,
}

/// What has not been ready yet.
struct Left<'a> {
    object: &'a dyn Waitable,
    ticket: u64,
    /// While it is subscribed.
    parked: Option<Parked>,
}

/// What was notified, in that order, and who waits for it.
#[derive(Default)]
struct Log {
    notified: RefCell<VecDeque<usize>>,
    waiter: RefCell<Option<Waiter>>,
}

impl Left<'_> {
    fn is_ready(&self) -> bool {
        self.object.is_ready_since(self.ticket)
            || self.object.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    fn subscribe(&mut self, index: usize, log: &Rc<Log>) {
        let log = Rc::clone(log);
        let parked = Parked::new(move || {
            log.notified.borrow_mut().push_back(index);
            let waiter = log.waiter.take();
            if let Some(waiter) = waiter {
                waiter.notify();
            }
        });
        self.object.subscribe(&self.parked.insert(parked).waiter());
    }

    fn unsubscribe(&mut self) {
        if let Some(parked) = self.parked.take() {
            let waiter = parked.waiter();
            // Over before the object is told: a notification that comes later has to find nobody.
            drop(parked);
            self.object.unsubscribe(&waiter);
        }
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

impl Iwait<'_> {
    /// Looks at one of those that are left, and notes it if it is ready.
    fn look_at(&mut self, index: usize) -> bool {
        let ready = self.left[index].as_ref().is_some_and(Left::is_ready);
        if ready {
            self.left[index] = None;
            self.found.push_back(index);
        }
        ready
    }

    fn look_at_all(&mut self) {
        for index in 0..self.left.len() {
            self.look_at(index);
        }
    }

    /// Subscribes to what nobody notifies; what has become ready by then needs no notification.
    fn subscribe(&mut self) {
        for index in mem::take(&mut self.unsubscribed) {
            if let Some(left) = &mut self.left[index] {
                left.subscribe(index, &self.log);
                self.look_at(index);
            }
        }
    }

    /// Looks at what was notified. What is not ready after all is subscribed to anew.
    fn see_notified(&mut self) {
        loop {
            let Some(index) = self.log.notified.borrow_mut().pop_front() else { return };
            if !self.look_at(index)
                && let Some(left) = &mut self.left[index]
            {
                left.unsubscribe();
                self.unsubscribed.push(index);
            }
        }
    }

    /// Waits once; false if the time has passed.
    fn wait(&mut self) -> bool {
        // Most have none, and looking at each for each that becomes ready would be a square.
        let timed = if self.has_deadlines { self.left.as_slice() } else { &[] };
        let own = timed.iter().flatten().filter_map(|left| left.object.deadline()).min();
        let earliest = [self.deadline, own].into_iter().flatten().min();
        let wait = Wait::begin(Reason::new("one of several"));
        self.log.waiter.replace(Some(wait.waiter()));
        let outcome = wait.until(earliest);
        self.log.waiter.take();
        match outcome {
            Outcome::Notified => true,
            Outcome::TimedOut => {
                // What became ready in the same turn wins.
                self.see_notified();
                self.look_at_all();
                self.deadline.is_none_or(|deadline| Instant::now() < deadline)
            }
            Outcome::Interrupted(interrupted) => interrupted.raise(),
        }
    }
}

impl Iterator for Iwait<'_> {
    type Item = usize;

    /// Waits until another one is ready; `None` when there were enough, or the time has passed.
    fn next(&mut self) -> Option<usize> {
        self.count = self.count.checked_sub(1)?;
        if !self.looked {
            self.looked = true;
            self.look_at_all();
            self.unsubscribed = (0..self.left.len()).filter(|index| self.left[*index].is_some()).collect();
        }
        let mut in_time = true;
        loop {
            if let Some(index) = self.found.pop_front() {
                return Some(index);
            }
            if !in_time {
                self.count = 0;
                return None;
            }
            self.subscribe();
            self.see_notified();
            if self.found.is_empty() && self.unsubscribed.is_empty() {
                in_time = self.wait();
            }
        }
    }
}

impl FusedIterator for Iwait<'_> {}

impl fmt::Debug for Iwait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.left.iter().flatten().count();
        f.debug_struct("Iwait").field("left", &left).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Waits once until one of the objects may have become ready, unless `ready()` says so after all have the waiter; false at the deadline.
///
/// What `select!` is made of: the caller looks for himself what is ready. The objects' own deadlines count as well.
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
