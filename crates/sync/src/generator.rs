//! `generator`: a greenlet behind an iterator.

use std::cell::Cell;
use std::fmt;
use std::iter::FusedIterator;
use std::panic::resume_unwind;
use std::rc::Rc;

use greenlet_hub::{JoinError, JoinHandle, Outcome, Reason, Wait, Waiter, spawn, yield_now};

/// Makes an iterator of what `body` puts, one value at a time. Like a generator function in Python.
///
/// `body` runs in a greenlet of its own, from the first call of `next` on; it may wait for anything, and other greenlets run
/// meanwhile. At each [`put`](Yielder::put) it stands still until the next value is asked for. What `put` returns is what was
/// passed to [`send`](Generator::send); for an ordinary iterator, nothing.
///
/// Dropping the generator kills the greenlet, without waiting for it. A panic of `body` comes out of `next`.
///
/// # Examples
///
/// ```
/// use greenlet_sync::generator;
///
/// let mut seen = Vec::new();
/// for x in generator(|y| { y.put(1); y.put(2); }) {
///     seen.push(x);
/// }
/// assert_eq!(seen, [1, 2]);
///
/// // An endless one, lazily:
/// let squares = generator(|y| for n in 0_u64.. { y.put(n * n); });
/// assert_eq!(squares.skip(3).step_by(2).take(3).collect::<Vec<_>>(), [9, 25, 49]);
/// ```
pub fn generator<Y: 'static, S: 'static>(body: impl FnOnce(&Yielder<Y, S>) + 'static) -> Generator<Y, S> {
    let shared = Shared {
        value: Cell::new(None),
        sent: Cell::new(None),
        stands: Cell::new(false),
        ended: Cell::new(false),
        dropped: Cell::new(false),
        body: Cell::new(None),
        consumer: Cell::new(None),
    };
    Generator { shared: Rc::new(shared), body: Some(Box::new(body)), greenlet: None, is_asked: false }
}

/// An iterator whose values a greenlet puts; see [`generator`].
///
/// Both are of one hub, and stay there:
///
/// ```compile_fail,E0277
/// use greenlet_hub::HubPool;
/// use greenlet_sync::generator;
///
/// let numbers = generator(|y| y.put(1));
/// HubPool::global().spawn(move || numbers.count());
/// ```
pub struct Generator<Y, S = ()> {
    shared: Rc<Shared<Y, S>>,
    /// Until it is started.
    body: Option<Box<Body<Y, S>>>,
    /// While it runs, and until its end has been seen.
    greenlet: Option<JoinHandle<()>>,
    /// Whether a value was asked for and has not been received: the call may have been interrupted.
    is_asked: bool,
}

type Body<Y, S> = dyn FnOnce(&Yielder<Y, S>);

/// What the two sides hand each other. Both are greenlets of one hub, so nothing is locked.
struct Shared<Y, S> {
    /// Put, and not taken yet.
    value: Cell<Option<Y>>,
    /// What `put` is to return.
    sent: Cell<Option<S>>,
    /// Whether the body stands at a `put`, and nothing has been sent.
    stands: Cell<bool>,
    /// Whether the body has ended.
    ended: Cell<bool>,
    /// Whether the generator is gone.
    dropped: Cell<bool>,
    body: Cell<Option<Waiter>>,
    consumer: Cell<Option<Waiter>>,
}

fn wake(waiter: &Cell<Option<Waiter>>) {
    if let Some(waiter) = waiter.take() {
        waiter.notify();
    }
}

impl<Y: 'static, S: 'static> Generator<Y, S> {
    /// Starts the body, and waits for the first value that it puts; `None` if it ends without one.
    ///
    /// For those that are sent to; an ordinary iterator starts by itself.
    ///
    /// # Panics
    ///
    /// If it has been started; if the body panics; inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut echo = greenlet_sync::generator(|y| {
    ///     let mut heard: &str = y.put("listening");
    ///     loop {
    ///         heard = y.put(heard);
    ///     }
    /// });
    /// assert_eq!(echo.start(), Some("listening"));
    /// assert_eq!(echo.send("hello"), Some("hello"));
    /// ```
    pub fn start(&mut self) -> Option<Y> {
        let body = self.body.take().expect("a generator is started once");
        // It goes into the greenlet with the closure, so it tells also of one that never gets to run.
        let end = End(Rc::clone(&self.shared));
        self.greenlet = Some(spawn(move || {
            let end = end;
            body(&Yielder { shared: Rc::clone(&end.0) });
        }));
        self.receive()
    }

    /// Passes a value in, as what the `put` returns at which the body stands, and waits for the next value that it puts; `None` if it has ended.
    ///
    /// Like Python's `send`. If an earlier call was interrupted while it waited, or the body while it stood, a value may have been put for
    /// which nothing was sent: that is passed over.
    ///
    /// # Panics
    ///
    /// If it has not been started; otherwise as [`start`](Generator::start).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut totals = greenlet_sync::generator(|y| {
    ///     let mut total = 0;
    ///     loop {
    ///         total += y.put(total);
    ///     }
    /// });
    /// totals.start();
    /// assert_eq!(totals.send(5), Some(5));
    /// assert_eq!(totals.send(3), Some(8));
    /// ```
    pub fn send(&mut self, value: S) -> Option<Y> {
        assert!(self.body.is_none(), "a generator is started before something is sent to it");
        while !self.shared.stands.get() {
            if self.shared.ended.get() {
                return self.end();
            }
            self.wait();
        }
        drop(self.shared.value.take());
        self.shared.stands.set(false);
        self.shared.sent.set(Some(value));
        wake(&self.shared.body);
        self.receive()
    }

    /// Waits for the next value.
    fn receive(&mut self) -> Option<Y> {
        self.is_asked = true;
        loop {
            if let Some(value) = self.shared.value.take() {
                self.is_asked = false;
                return Some(value);
            }
            if self.shared.ended.get() {
                return self.end();
            }
            self.wait();
        }
    }

    #[inline]
    fn wait(&self) {
        let wait = Wait::begin(Reason::new("the next value of a generator"));
        self.shared.consumer.set(Some(wait.waiter()));
        wait.notified(None);
    }

    /// Takes the end of the body, which has come or is about to.
    fn end(&mut self) -> Option<Y> {
        self.greenlet.as_ref()?.wait();
        match self.greenlet.take()?.join() {
            Err(JoinError::Panicked(payload)) => resume_unwind(payload),
            Err(err @ JoinError::NoStack(_)) => panic!("a generator cannot run: {err}"),
            _ => None,
        }
    }
}

impl<Y: 'static> Iterator for Generator<Y> {
    type Item = Y;

    /// Waits for the next value; `None` when the body has ended.
    ///
    /// # Panics
    ///
    /// As [`start`](Generator::start), but that the first call starts it.
    fn next(&mut self) -> Option<Y> {
        if self.body.is_some() {
            return self.start();
        }
        if let Some(value) = self.shared.value.take() {
            // An interrupted call has asked for it, or the body gave up on the `put` before, so that it is the next one unasked.
            self.is_asked = false;
            return Some(value);
        }
        if self.is_asked || !self.shared.stands.get() { self.receive() } else { self.send(()) }
    }
}

impl<Y: 'static> FusedIterator for Generator<Y> {}

impl<Y, S> Drop for Generator<Y, S> {
    fn drop(&mut self) {
        self.shared.dropped.set(true);
        if let Some(greenlet) = &self.greenlet {
            // It is no main greenlet, and where nothing unwinds it waits for good.
            let _ = greenlet.kill_nowait();
            // A body in a shield has not heard of that.
            wake(&self.shared.body);
        }
    }
}

impl<Y, S> fmt::Debug for Generator<Y, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("is_started", &self.body.is_none())
            .field("has_ended", &self.shared.ended.get())
            .finish_non_exhaustive()
    }
}

/// Where the body of a [`generator`] puts its values.
pub struct Yielder<Y, S = ()> {
    shared: Rc<Shared<Y, S>>,
}

impl<Y, S> Yielder<Y, S> {
    /// Hands a value over, and waits until the next one is asked for; returns what was sent with that. Like Python's `yield`.
    ///
    /// # Panics
    ///
    /// To unwind when the greenlet is interrupted, which dropping the generator does; and if the generator is gone where nothing can be
    /// interrupted, in a `drop` or in [`shield`](greenlet_hub::shield()); if another greenlet, which has borrowed this, puts something already.
    ///
    /// # Examples
    ///
    /// ```
    /// let lines = greenlet_sync::generator(|y| for line in "a\nb".lines() { y.put(line); });
    /// assert_eq!(lines.collect::<String>(), "ab");
    /// ```
    #[inline]
    pub fn put(&self, value: Y) -> S {
        let shared = &*self.shared;
        if shared.dropped.get() {
            nobody_asks();
        }
        assert!(!shared.stands.get(), "two greenlets put into one generator at a time");
        shared.value.set(Some(value));
        shared.stands.set(true);
        wake(&shared.consumer);
        loop {
            let wait = Wait::begin(Reason::new("a generator's being asked"));
            shared.body.set(Some(wait.waiter()));
            if let Outcome::Interrupted(interrupted) = wait.until(None) {
                // What was put is taken back, and what was sent in the same tick is lost with the call that it was for.
                shared.stands.set(false);
                drop((shared.value.take(), shared.sent.take()));
                interrupted.raise();
            }
            if let Some(sent) = shared.sent.take() {
                return sent;
            }
            if shared.dropped.get() {
                nobody_asks();
            }
        }
    }
}

/// Unwinds, since the greenlet was killed.
#[cold]
fn nobody_asks() -> ! {
    yield_now();
    panic!("nobody is left to ask for the value that a generator puts");
}

impl<Y, S> fmt::Debug for Yielder<Y, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

/// Tells the consumer when the body ends, in whichever way.
struct End<Y, S>(Rc<Shared<Y, S>>);

impl<Y, S> Drop for End<Y, S> {
    fn drop(&mut self) {
        self.0.ended.set(true);
        wake(&self.0.consumer);
    }
}
