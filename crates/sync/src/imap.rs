//! `Pool::imap`: an iterator whose elements the members of a pool make.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;

use greenlet_hub::{Greenlet, JoinError, JoinHandle, Reason, WaitList};

use crate::pool::Pool;

impl Pool {
    /// Calls `f` with each of the input, each in a member, and gives the results in the order of the input.
    ///
    /// The members begin at once, on this thread's hub; a greenlet of its own asks the input for the next element when fewer than `maxsize`
    /// (at least one) are under way or not yet taken. So the input may be without end. If `f` panics or its member is killed, its element is the
    /// error, and it goes on. Dropping the iterator kills those under way; [`Pool::kill`] ends it with a last
    /// [`Killed`](JoinError::Killed).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::Pool;
    ///
    /// let pool = Pool::new(3);
    /// let squares = pool.imap(0_u64.., 10, |n| n * n);
    /// assert_eq!(squares.take(4).map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 4, 9]);
    /// ```
    pub fn imap<I: IntoIterator, R: 'static>(
        &self,
        input: I,
        maxsize: usize,
        f: impl Fn(I::Item) -> R + 'static,
    ) -> Imap<R>
    where
        I::Item: 'static,
        I::IntoIter: 'static,
    {
        Imap::new(self.clone(), input.into_iter(), maxsize, f, true)
    }

    /// As [`imap`](Pool::imap), but gives the results in the order in which they are made.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::sleep;
    /// use greenlet_sync::Pool;
    /// use std::time::Duration;
    ///
    /// let slept = Pool::new(3).imap_unordered([9, 1, 5], 3, |n| { sleep(Duration::from_millis(n)); n });
    /// assert_eq!(slept.map(Result::unwrap).collect::<Vec<_>>(), [1, 5, 9]);
    /// ```
    pub fn imap_unordered<I: IntoIterator, R: 'static>(
        &self,
        input: I,
        maxsize: usize,
        f: impl Fn(I::Item) -> R + 'static,
    ) -> Imap<R>
    where
        I::Item: 'static,
        I::IntoIter: 'static,
    {
        Imap::new(self.clone(), input.into_iter(), maxsize, f, false)
    }
}

/// The results of [`Pool::imap`] and [`Pool::imap_unordered`].
pub struct Imap<R> {
    shared: Rc<Shared<R>>,
    /// The greenlet that asks the input, until its end has been seen.
    feeder: Option<JoinHandle<()>>,
}

/// What the feeder, the members and the consumer share; all of them are of one hub.
struct Shared<R> {
    /// Whether they are given in the order of the input.
    in_order: bool,
    /// Under way, or ended and not taken, by the number of the element.
    members: RefCell<BTreeMap<u64, JoinHandle<R>>>,
    /// The numbers of those that have ended, as they did, unless they are given in the order of the input.
    ended: RefCell<VecDeque<u64>>,
    /// How many were taken.
    taken: Cell<u64>,
    /// Whether the input has ended.
    is_fed: Cell<bool>,
    /// The consumer waits here, until something of this changes.
    consumer: WaitList,
    /// The feeder waits here, until something is taken.
    feeder: WaitList,
}

impl<R: 'static> Imap<R> {
    fn new<T: 'static>(
        pool: Pool,
        input: impl Iterator<Item = T> + 'static,
        maxsize: usize,
        f: impl Fn(T) -> R + 'static,
        in_order: bool,
    ) -> Imap<R> {
        let shared = Rc::new(Shared {
            in_order,
            members: RefCell::default(),
            ended: RefCell::default(),
            taken: Cell::new(0),
            is_fed: Cell::new(false),
            consumer: WaitList::new(),
            feeder: WaitList::new(),
        });
        let fed = Fed(Rc::clone(&shared));
        let feeders = Arc::clone(&pool.feeders);
        let feeder = feeders.spawn(move || {
            let fed = fed;
            feed(&fed.0, &pool, input, maxsize.max(1) as u64, f);
        });
        Imap { shared, feeder: Some(feeder) }
    }

    /// The element that is to be given next, as far as it can be told: its number, and who makes it.
    fn next_member(&self) -> Option<(u64, Greenlet)> {
        let members = self.shared.members.borrow();
        let number =
            if self.shared.in_order { self.shared.taken.get() } else { *self.shared.ended.borrow().front()? };
        Some((number, members.get(&number)?.greenlet().clone()))
    }

    /// Sees the end of the input, which may have been a panic, or a kill of the whole pool: that is the last element.
    fn end(&mut self) -> Option<JoinError> {
        if let Some(feeder) = &self.feeder {
            feeder.wait();
        }
        match self.feeder.take().map(JoinHandle::join)? {
            Err(JoinError::Panicked(payload)) => resume_unwind(payload),
            Err(err) => Some(err),
            Ok(()) => None,
        }
    }
}

fn feed<T: 'static, R: 'static>(
    shared: &Rc<Shared<R>>,
    pool: &Pool,
    mut input: impl Iterator<Item = T>,
    maxsize: u64,
    f: impl Fn(T) -> R + 'static,
) {
    let f = Rc::new(f);
    for number in 0.. {
        let has_room = || number - shared.taken.get() < maxsize;
        while !has_room() {
            shared.feeder.wait(Reason::new("the consumer of a pool's results"), None, has_room);
        }
        // Room first, so that nothing is taken from the input which then has to wait.
        pool.wait_available();
        let Some(item) = input.next() else { return };
        let (f, ended) = (Rc::clone(&f), Ended { shared: Rc::clone(shared), number });
        let member = pool.spawn(move || {
            let _ended = ended;
            f(item)
        });
        shared.members.borrow_mut().insert(number, member);
        shared.consumer.notify_one();
    }
}

impl<R: 'static> Iterator for Imap<R> {
    type Item = Result<R, JoinError>;

    /// Waits for the next result; `None` when the input has ended and all were taken.
    ///
    /// # Panics
    ///
    /// If the input has panicked, at its end; if it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet
    /// is interrupted, which loses nothing.
    fn next(&mut self) -> Option<Result<R, JoinError>> {
        let shared = Rc::clone(&self.shared);
        loop {
            if let Some((number, member)) = self.next_member() {
                // It is taken only after the wait, which may be interrupted.
                member.wait();
                let member = shared.members.borrow_mut().remove(&number);
                if !shared.in_order {
                    shared.ended.borrow_mut().pop_front();
                }
                shared.taken.set(shared.taken.get() + 1);
                shared.feeder.notify_one();
                return member.map(JoinHandle::join);
            }
            let is_over = || shared.is_fed.get() && shared.members.borrow().is_empty();
            if is_over() {
                return self.end().map(Err);
            }
            let ready = || self.next_member().is_some() || is_over();
            shared.consumer.wait(Reason::new("the next result of a pool"), None, ready);
        }
    }
}

impl<R: 'static> FusedIterator for Imap<R> {}

impl<R> Drop for Imap<R> {
    fn drop(&mut self) {
        // None of them is a main greenlet, and where nothing unwinds they go on to their ends.
        if let Some(feeder) = &self.feeder {
            let _ = feeder.kill_nowait();
        }
        let members = self.shared.members.take();
        for member in members.values() {
            let _ = member.kill_nowait();
        }
    }
}

impl<R> fmt::Debug for Imap<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("taken", &self.shared.taken.get())
            .field("under_way", &self.shared.members.borrow().len())
            .finish_non_exhaustive()
    }
}

/// Tells the consumer when a member ends, in whichever way.
struct Ended<R> {
    shared: Rc<Shared<R>>,
    number: u64,
}

impl<R> Drop for Ended<R> {
    fn drop(&mut self) {
        if !self.shared.in_order {
            self.shared.ended.borrow_mut().push_back(self.number);
        }
        self.shared.consumer.notify_one();
    }
}

/// Tells the consumer when the input has ended, in whichever way.
struct Fed<R>(Rc<Shared<R>>);

impl<R> Drop for Fed<R> {
    fn drop(&mut self) {
        self.0.is_fed.set(true);
        self.0.consumer.notify_one();
    }
}
