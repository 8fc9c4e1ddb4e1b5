//! A hub, as other threads know it.

use std::fmt;

use crate::hub::Hub;

/// A handle on a thread's hub, usable on any thread.
///
/// # Examples
///
/// ```
/// use greenlet_hub::Handle;
///
/// let here = Handle::current();
/// assert_eq!(here, Handle::current());
/// assert_ne!(here, std::thread::spawn(Handle::current).join().unwrap());
/// ```
#[derive(Clone)]
pub struct Handle {
    id: u32,
}

impl Handle {
    /// The hub of this thread, which is made if there is none.
    pub fn current() -> Handle {
        Handle { id: Hub::here().id() }
    }

    /// A number that no other hub of this process has had.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl PartialEq for Handle {
    /// Whether both are handles on the same hub.
    fn eq(&self, other: &Handle) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Handle {}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.id()).finish()
    }
}
