//! Which hub belongs to this thread: the runtime's whole thread-local state.
//!
//! It is one pointer, const-initialised and without a destructor. So reading it costs one instruction and works at any
//! time, in signal handlers and in other thread-locals' destructors; and a greenlet that one day has thread-locals of
//! its own needs only this word carried over. A second thread-local, touched when a hub is made and never again, has
//! the destructor that ends the hub with its thread.

use std::ptr;

use crate::hub::Hub;

mod word;

thread_local! {
    static OWNER: Owner = const { Owner };
}

/// Ends the thread's hub when the thread ends.
struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the thread ends, so its own stack is past all its calls.
        unsafe { end() };
    }
}

/// Ends this thread's hub, if there is one; false if there is none.
///
/// # Safety
///
/// No call that uses the hub is under way on the thread's own stack, on which this is called.
unsafe fn end() -> bool {
    let hub = word::get::<Hub>().cast_mut();
    word::set::<Hub>(ptr::null());
    if hub.is_null() {
        return false;
    }
    // SAFETY: `make` got it from `Box::into_raw`, and nothing finds it any more: greenlets of this hub that are
    // suspended never run again, and the thread's own stack is past all its calls, as the caller promises.
    let hub = unsafe { Box::from_raw(hub) };
    hub.end();
    true
}

/// Leaves the thread without its hub, which is leaked: the process is about to end, in the middle of the hub's loop, and that runs this thread's destructors.
pub(crate) fn forget() {
    word::set::<Hub>(ptr::null());
}

/// Calls `f`, and ends the hub that it has made on this thread, as if the thread had ended. If there was one before, that stays.
pub(crate) fn with_passing_hub<R>(f: impl FnOnce() -> R) -> R {
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            // SAFETY: there was no hub when `f` was called, so all calls that use this one were made by `f`, which has returned or
            // unwound; and a greenlet's stack, which has a hub, this is not.
            while unsafe { end() } {
                // The destructors of its locals may have made another.
            }
        }
    }

    // Made only then: dropping it is what ends the hub.
    let _end = word::get::<Hub>().is_null().then(|| End);
    f()
}

impl Hub {
    /// This thread's hub, which is made if there is none. Not to be kept beyond the call that asks.
    ///
    /// Not a function that takes a closure: that would be a frame between a greenlet's code and its suspension.
    #[inline(always)]
    pub(crate) fn here<'a>() -> &'a Hub {
        let mut hub = word::get::<Hub>();
        if hub.is_null() {
            hub = make();
        }
        // SAFETY: the hub lives until its thread's stack has returned from all calls; and it never leaves the thread, nor does
        // a reference to it, since it is not `Sync`.
        unsafe { &*hub }
    }

    /// This thread's hub, if it has one. As [`here`](Hub::here).
    #[inline(always)]
    pub(crate) fn try_here<'a>() -> Option<&'a Hub> {
        // SAFETY: as in `here`, if it is not null.
        unsafe { word::get::<Hub>().as_ref() }
    }

    /// Calls `f` with this thread's hub, if it has one.
    #[inline(always)]
    pub(crate) fn try_with<R>(f: impl FnOnce(&Hub) -> R) -> Option<R> {
        Hub::try_here().map(f)
    }
}

fn late(hub: *const Hub) {
    // SAFETY: the hub has just been made, and is never freed.
    unsafe { &*hub }.shared().disown();
}

#[cold]
fn make() -> *const Hub {
    let hub = Box::into_raw(Box::new(Hub::new()));
    word::set(hub);
    // In the destructors of other thread-locals, once the owner's has run, this fails. Such a late hub is never ended: it is
    // a few kilobytes, and whoever waits that late gets what it asked for. But the deadlock report must not count on it.
    if OWNER.try_with(|_| ()).is_err() {
        late(hub);
    }
    hub
}
