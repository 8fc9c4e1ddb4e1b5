//! `actor`: a greenlet with an inbox.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{Claim, Greenlet, Handle, Reason, ShortLock, Wait, Waitable, Waiter, spawn, wait_until_any};

use crate::time::deadline_after;

/// Spawns a greenlet that calls `handle` with each message that it is sent, one after the other. Never switches.
///
/// Its state is what `handle` captures; nobody else can touch it, so nothing has to be locked. `handle` may wait, and the messages
/// wait meanwhile. It ends when all its handles are gone and all messages have been handled, when it is killed
/// ([`greenlet`](Actor::greenlet)), or when `handle` panics; messages that are left are dropped.
///
/// # Examples
///
/// ```
/// use greenlet_sync::{Reply, actor};
///
/// enum Message {
///     Add(u32),
///     Total(Reply<u32>),
/// }
///
/// let mut total = 0;
/// let counter = actor(move |message| match message {
///     Message::Add(n) => total += n,
///     Message::Total(reply) => reply.send(total),
/// });
/// counter.tell(Message::Add(2))?;
/// counter.tell(Message::Add(3))?;
/// assert_eq!(counter.ask(Message::Total), Ok(5));
/// # Ok::<(), greenlet_sync::TellError<Message>>(())
/// ```
#[track_caller]
pub fn actor<M: 'static>(mut handle: impl FnMut(M) + 'static) -> Actor<M> {
    let inbox = Inbox { messages: VecDeque::new(), handles: 1, closed: false, actor: None };
    let inbox = Arc::new(ShortLock::new(inbox));
    // It goes into the greenlet with the closure, so an actor that is killed before it runs closes its inbox as well.
    let own = Close(Arc::clone(&inbox));
    let greenlet = spawn(move || {
        let own = own;
        while let Some(message) = own.next() {
            handle(message);
        }
    });
    Actor { inbox, greenlet: greenlet.greenlet().clone(), hub: Handle::current() }
}

/// A handle on an [`actor`], with which greenlets and threads send it messages. Its clones are handles on the same actor.
pub struct Actor<M> {
    inbox: Arc<ShortLock<Inbox<M>>>,
    greenlet: Greenlet,
    hub: Handle,
}

struct Inbox<M> {
    messages: VecDeque<M>,
    handles: usize,
    /// Whether the actor has ended.
    closed: bool,
    /// The actor, while it waits for a message.
    actor: Option<Waiter>,
}

impl<M> Inbox<M> {
    /// Ends the actor's wait; to be dropped without the lock.
    fn claim_actor(&mut self) -> Option<Claim> {
        self.actor.take().and_then(Waiter::claim)
    }
}

impl<M> Actor<M> {
    /// Sends a message. Never switches. They are handled in the order in which they were sent.
    ///
    /// # Errors
    ///
    /// Gives the message back if the actor has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let printer = greenlet_sync::actor(|line: &str| println!("{line}"));
    /// printer.tell("hello")?;
    /// printer.greenlet().kill_nowait().unwrap();
    /// printer.greenlet().wait();
    /// assert!(printer.tell("is anybody there?").is_err());
    /// # Ok::<(), greenlet_sync::TellError<&str>>(())
    /// ```
    pub fn tell(&self, message: M) -> Result<(), TellError<M>> {
        let claim = {
            let mut inbox = self.inbox.lock();
            // An actor whose hub has ended could not close its inbox.
            if inbox.closed || self.greenlet.is_finished() {
                drop(inbox);
                return Err(TellError(message));
            }
            inbox.messages.push_back(message);
            inbox.claim_actor()
        };
        drop(claim);
        Ok(())
    }

    /// Sends the message that `message` makes of a [`Reply`], and waits for that.
    ///
    /// If the caller is interrupted while he waits, the message is handled all the same. An actor must not ask itself.
    ///
    /// # Errors
    ///
    /// If the actor has ended, ends before it replies, or drops the [`Reply`].
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted; if `message` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Reply, actor};
    ///
    /// let doubler = actor(|(n, reply): (u32, Reply<u32>)| reply.send(2 * n));
    /// assert_eq!(doubler.ask(|reply| (21, reply)), Ok(42));
    /// ```
    pub fn ask<R>(&self, message: impl FnOnce(Reply<R>) -> M) -> Result<R, AskError> {
        self.ask_until(message, || None)
    }

    /// Sends a message as [`ask`](Actor::ask), and waits for the reply, at the most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`ask`](Actor::ask), and [`AskError::TimedOut`]; the message is handled all the same.
    ///
    /// # Panics
    ///
    /// As [`ask`](Actor::ask).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{AskError, Reply, actor};
    /// use std::time::Duration;
    ///
    /// let mut waiting = Vec::new();
    /// let mute = actor(move |reply: Reply<()>| waiting.push(reply));
    /// assert_eq!(mute.ask_timeout(|reply| reply, Duration::from_millis(1)), Err(AskError::TimedOut));
    /// ```
    pub fn ask_timeout<R>(&self, message: impl FnOnce(Reply<R>) -> M, timeout: Duration) -> Result<R, AskError> {
        self.ask_until(message, || deadline_after(timeout))
    }

    fn ask_until<R>(
        &self,
        message: impl FnOnce(Reply<R>) -> M,
        deadline: impl FnOnce() -> Option<Instant>,
    ) -> Result<R, AskError> {
        let slot = Arc::new(Slot(ShortLock::new(SlotState { value: None, dropped: false, asker: None })));
        self.tell(message(Reply { slot: Arc::clone(&slot) })).map_err(|_| AskError::Ended)?;
        let deadline = deadline();
        let in_time = if self.hub == Handle::current() {
            slot.wait(deadline)
        } else {
            // The actor's hub may end, and then nobody drops the reply.
            let objects: [&dyn Waitable; 2] = [&*slot, &self.greenlet];
            let ready = || slot.is_ready() || self.greenlet.is_finished();
            let mut in_time = true;
            while in_time && !ready() {
                in_time = wait_until_any(objects.into_iter(), ready, deadline);
            }
            in_time
        };
        let (value, dropped) = {
            let mut state = slot.0.lock();
            (state.value.take(), state.dropped)
        };
        match value {
            Some(value) => Ok(value),
            None if self.greenlet.is_finished() || self.inbox.lock().closed => Err(AskError::Ended),
            None if dropped || in_time => Err(AskError::NoReply),
            None => Err(AskError::TimedOut),
        }
    }

    /// The actor's greenlet, to kill it or to wait for its end.
    ///
    /// # Examples
    ///
    /// ```
    /// let actor = greenlet_sync::actor(|_: u32| ());
    /// let greenlet = actor.greenlet().clone();
    /// drop(actor);
    /// greenlet.wait(); // the last handle is gone
    /// ```
    pub fn greenlet(&self) -> &Greenlet {
        &self.greenlet
    }
}

impl<M> Clone for Actor<M> {
    /// Another handle on the same actor.
    fn clone(&self) -> Actor<M> {
        self.inbox.lock().handles += 1;
        Actor { inbox: Arc::clone(&self.inbox), greenlet: self.greenlet.clone(), hub: self.hub.clone() }
    }
}

impl<M> Drop for Actor<M> {
    fn drop(&mut self) {
        let claim = {
            let mut inbox = self.inbox.lock();
            inbox.handles -= 1;
            if inbox.handles == 0 { inbox.claim_actor() } else { None }
        };
        drop(claim);
    }
}

impl<M> fmt::Debug for Actor<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.inbox.lock().messages.len();
        f.debug_struct("Actor").field("greenlet", &self.greenlet).field("messages", &waiting).finish_non_exhaustive()
    }
}

/// The actor's side of the inbox, which it closes when it ends.
struct Close<M>(Arc<ShortLock<Inbox<M>>>);

impl<M> Close<M> {
    /// Waits for the next message; `None` if there is none and nobody could send one.
    fn next(&self) -> Option<M> {
        loop {
            let wait = {
                let mut inbox = self.0.lock();
                if let Some(message) = inbox.messages.pop_front() {
                    return Some(message);
                }
                if inbox.handles == 0 {
                    return None;
                }
                let wait = Wait::begin(Reason::new("a message to an actor"));
                inbox.actor = Some(wait.waiter());
                wait
            };
            wait.notified(None);
        }
    }
}

impl<M> Drop for Close<M> {
    fn drop(&mut self) {
        let left = {
            let mut inbox = self.0.lock();
            inbox.closed = true;
            std::mem::take(&mut inbox.messages)
        };
        // Those who wait for a reply to one of them are told.
        drop(left);
    }
}

/// Where an actor sends the answer to a question; see [`Actor::ask`]. If it is dropped, whoever asked is told.
pub struct Reply<R> {
    slot: Arc<Slot<R>>,
}

impl<R> Reply<R> {
    /// Answers. Never switches. If nobody waits any more, the value is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_sync::{Reply, actor};
    ///
    /// let greeter = actor(|reply: Reply<&str>| reply.send("hello"));
    /// assert_eq!(greeter.ask(|reply| reply), Ok("hello"));
    /// ```
    pub fn send(self, value: R) {
        // It is woken when `self` is dropped.
        self.slot.0.lock().value = Some(value);
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        let claim = {
            let mut state = self.slot.0.lock();
            state.dropped = true;
            state.asker.take().and_then(Waiter::claim)
        };
        drop(claim);
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// What a reply and the one who waits for it share.
struct Slot<R>(ShortLock<SlotState<R>>);

struct SlotState<R> {
    value: Option<R>,
    /// Whether the `Reply` is gone, with or without an answer.
    dropped: bool,
    asker: Option<Waiter>,
}

impl<R> Slot<R> {
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let wait = {
            let mut state = self.0.lock();
            if state.dropped {
                return true;
            }
            let wait = Wait::begin(Reason::new("an actor's reply"));
            state.asker = Some(wait.waiter());
            wait
        };
        wait.notified(deadline)
    }
}

impl<R> Waitable for Slot<R> {
    fn is_ready(&self) -> bool {
        self.0.lock().dropped
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.0.lock().asker = Some(waiter.clone());
    }
}

/// The actor has ended; this is the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TellError<M>(pub M);

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TellError").finish_non_exhaustive()
    }
}

impl<M> fmt::Display for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the actor has ended")
    }
}

impl<M> Error for TellError<M> {}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The actor has ended, before or after it was asked.
    Ended,
    /// The actor lives, and has dropped the [`Reply`].
    NoReply,
    /// The time has passed.
    TimedOut,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AskError::Ended => "the actor has ended",
            AskError::NoReply => "the actor does not reply",
            AskError::TimedOut => "the actor did not reply in time",
        })
    }
}

impl Error for AskError {}
