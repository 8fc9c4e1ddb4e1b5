//! What few greenlets have: expired scopes, a start that is to come, locals. Made when it is first needed.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::block::{HubRef, drop_quietly};
use crate::inherited::Inheritance;
use crate::timers::TimerKey;

/// Touched on the hub's thread only, as all of `Local`; empty when the greenlet has ended, so that it may be freed anywhere.
#[derive(Default)]
pub(crate) struct Extras {
    /// The outermost scope that has expired and was not left yet; 0: none.
    pub(crate) expired: Cell<u64>,
    /// Whether what is pending has been raised.
    pub(crate) raised: Cell<bool>,
    /// The timer that is to start it.
    pub(crate) start: Cell<Option<TimerKey>>,
    /// The values of `local!`s, in the order in which they were made.
    locals: RefCell<Vec<Local>>,
    /// The values that the greenlets which it spawns inherit.
    pub(crate) inheritance: RefCell<Option<Arc<Inheritance>>>,
}

/// The value of one `local!` in one greenlet.
struct Local {
    /// The address of the static.
    key: usize,
    /// `None` once it is being dropped, or has been.
    value: Option<Rc<dyn Any>>,
}

/// What a greenlet has of one `local!`.
pub(crate) enum Found {
    Value(Rc<dyn Any>),
    Missing,
    Dropped,
}

impl Extras {
    pub(crate) fn find_local(&self, key: usize) -> Found {
        match self.locals.borrow().iter().find(|local| local.key == key) {
            Some(Local { value: Some(value), .. }) => Found::Value(Rc::clone(value)),
            Some(Local { value: None, .. }) => Found::Dropped,
            None => Found::Missing,
        }
    }

    pub(crate) fn add_local(&self, key: usize, value: Rc<dyn Any>) {
        self.locals.borrow_mut().push(Local { key, value: Some(value) });
    }

    /// Gives a greenlet that is being spawned what it inherits.
    #[cold]
    pub(crate) fn bequeath(&self, child: HubRef) {
        if let Some(inheritance) = &*self.inheritance.borrow() {
            child.local().extras().inheritance.replace(Some(Arc::clone(inheritance)));
        }
    }

    /// Drops what belongs to the greenlet's run, last first; on its own stack, where that may wait.
    pub(crate) fn end(&self) {
        loop {
            // Nothing is borrowed while a user's value is dropped: that may use the others, and even make new ones.
            let last = self.locals.borrow_mut().iter_mut().rev().find_map(|local| local.value.take());
            if let Some(last) = last {
                drop_quietly(last);
                continue;
            }
            // Nothing may be left: the block is freed on any thread.
            let Some(inheritance) = self.inheritance.take() else { return };
            drop_quietly(inheritance);
        }
    }

    /// Empties the list of what has been dropped, where no code of the user's comes any more.
    pub(crate) fn forget_ended(&self) {
        drop(self.locals.take());
    }
}
