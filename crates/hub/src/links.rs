//! Links: what is to run when a greenlet has ended.
//!
//! The function may be anything, so it stays on the hub of the greenlet that made the link, in that hub's table; the linked
//! greenlet, wherever it runs, keeps the number. At its end each number goes home, where the function runs in a greenlet of its own.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use crate::block::{Block, BlockRef};
use crate::greenlet::Greenlet;
use crate::hub::Hub;
use crate::shared::{Message, Shared};

/// A link, to be taken back by [`Greenlet::unlink`]. It belongs to the hub of the greenlet that made it.
///
/// So it does not go to another:
///
/// ```compile_fail,E0277
/// use greenlet_hub::{HubPool, spawn};
///
/// let greenlet = spawn(|| ());
/// let link = greenlet.link(|_| ());
/// HubPool::global().spawn(move || greenlet.unlink(link));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId {
    number: u64,
    // Not `Send`: the function is dropped where it was made.
    marker: PhantomData<*mut ()>,
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinkId").field(&self.number).finish()
    }
}

/// The links that greenlets of one hub have made and that have not run.
pub(crate) type Links = HashMap<u64, Link>;

/// What is to run.
pub(crate) struct Link {
    /// Whose end it waits for.
    linked: BlockRef,
    function: Box<dyn FnOnce(&Greenlet)>,
    linked_at: &'static Location<'static>,
}

/// What the linked greenlet keeps of a link.
pub(crate) struct LinkEntry {
    shared: &'static Shared,
    hub: u32,
    number: u64,
}

impl Greenlet {
    /// Has `f` called when the greenlet has ended, in whichever way: in a greenlet of its own, on the caller's hub. Never switches.
    ///
    /// Links run in the order in which they were made; a panic in one does not stop the others. If the greenlet has ended already, the new one
    /// is ready at once. Those that were made before it ended have begun to run when a [`wait`](Greenlet::wait) or a
    /// [`join`](crate::JoinHandle::join) returns. Like gevent's `link`.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let ended = Rc::new(Cell::new(false));
    /// let greenlet = spawn(|| ());
    /// greenlet.link({ let ended = Rc::clone(&ended); move |_| ended.set(true) });
    /// greenlet.join().unwrap();
    /// assert!(ended.get());
    /// ```
    #[track_caller]
    pub fn link(&self, f: impl FnOnce(&Greenlet) + 'static) -> LinkId {
        let hub = Hub::here();
        let linked = self.block();
        let number = hub.next_link();
        let link = Link { linked: linked.clone(), function: Box::new(f), linked_at: Location::caller() };
        hub.links.borrow_mut().insert(number, link);
        let entry = LinkEntry { shared: hub.shared(), hub: hub.id(), number };
        if !linked.add_link(entry) {
            hub.run_links_on(linked);
        }
        LinkId { number, marker: PhantomData }
    }

    /// Has `f` called when the greenlet's closure has returned; it is dropped if it panicked or was killed. See [`link`](Greenlet::link).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    ///
    /// let greenlet = spawn(|| ());
    /// greenlet.link_value(|greenlet| assert!(greenlet.is_successful()));
    /// greenlet.join().unwrap();
    /// ```
    #[track_caller]
    pub fn link_value(&self, f: impl FnOnce(&Greenlet) + 'static) -> LinkId {
        self.link(|greenlet| {
            if greenlet.is_successful() {
                f(greenlet);
            }
        })
    }

    /// Has `f` called when the greenlet has panicked; it is dropped if it returned or was killed. See [`link`](Greenlet::link).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    ///
    /// let greenlet = spawn(|| ());
    /// greenlet.link_panic(|_| unreachable!("it does not panic"));
    /// greenlet.join().unwrap();
    /// ```
    #[track_caller]
    pub fn link_panic(&self, f: impl FnOnce(&Greenlet) + 'static) -> LinkId {
        self.link(|greenlet| {
            if greenlet.block().is_panicked() {
                f(greenlet);
            }
        })
    }

    /// Takes a link back, and drops its function; false if it has begun to run. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    ///
    /// let greenlet = spawn(|| ());
    /// let link = greenlet.link(|_| unreachable!("it was taken back"));
    /// assert!(greenlet.unlink(link));
    /// greenlet.join().unwrap();
    /// ```
    pub fn unlink(&self, link: LinkId) -> bool {
        let hub = Hub::here();
        let found = {
            let mut links = hub.links.borrow_mut();
            match links.get(&link.number) {
                Some(found) if found.linked == *self.block() => links.remove(&link.number),
                _ => None,
            }
        };
        self.block().remove_link(hub.id(), link.number);
        // The function is the user's: dropped with nothing borrowed.
        found.is_some()
    }
}

impl Hub {
    /// Starts the greenlet of a link that was made here, unless it was taken back.
    ///
    /// `urgent`: ahead of all that is ready, so that nobody on this hub sees the end before the link has seen it.
    pub(crate) fn run_link(&self, number: u64, urgent: bool) {
        let Some(link) = self.links.borrow_mut().remove(&number) else { return };
        let Link { linked, function, linked_at } = link;
        let run = move || function(&Greenlet::from_block(linked));
        let greenlet = Block::allocate(run, &self.memory, Some(self.shared()), self.next_id(), linked_at, None);
        greenlet.set_link();
        if urgent {
            self.urgent.push(greenlet.hub_ref())
        } else {
            self.push_ready(greenlet.hub_ref())
        }
        // Nobody takes its result.
        drop(greenlet);
    }

    /// Starts the greenlets of all links to one that has ended, in the order in which they were made: of one that ended on another hub
    /// just now the news may still be on its way for the earlier ones.
    fn run_links_on(&self, linked: &BlockRef) {
        let mut numbers: Vec<u64> =
            self.links.borrow().iter().filter(|(_, link)| link.linked == *linked).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        for number in numbers {
            self.run_link(number, false);
        }
    }

    /// Whether a link that was made here is still to be told of that greenlet's end.
    pub(crate) fn has_link_on(&self, linked: &BlockRef) -> bool {
        self.links.borrow().values().any(|link| link.linked == *linked)
    }
}

impl LinkEntry {
    pub(crate) fn hub(&self) -> u32 {
        self.hub
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn is(&self, hub: u32, number: u64) -> bool {
        self.hub == hub && self.number == number
    }

    /// Tells the hub where the link was made.
    pub(crate) fn fire(self, urgent: bool) {
        let own = Hub::try_with(|hub| {
            let own = hub.id() == self.hub;
            if own {
                hub.run_link(self.number, urgent);
            }
            own
        });
        if own != Some(true) {
            self.shared.send(Message::Link { hub: self.hub, number: self.number });
        }
    }
}
