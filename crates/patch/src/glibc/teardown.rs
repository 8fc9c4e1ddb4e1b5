//! Nothing waits as greenlets do while a thread's thread-locals are destroyed: half of them are gone, and what a destructor calls is not expected to run
//! anybody else's code.
//!
//! Destructors are run by glibc, the last registered first; among them is the one that ends the thread's hub. Those that come after it find no hub, so their
//! calls are plain anyway. The others were registered after it, by calls that pass by here: each of them is followed by one of ours, which thus runs
//! before it, and marks the thread for good. The first of them is enough; the others cost a node of glibc's list each, which the destructor before it has as well.
//!
//! What is registered before its thread has a hub needs no mark. Only what was registered on a thread with a hub before the call of `patch_all` is missed, and of that only
//! what belongs to another thread than the one that calls it.

use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use greenlet_hub::patching::{Inside, has_hub};
use libc::c_int;

mod past {
    use std::ffi::c_void;

    use libc::c_int;

    use super::Destructor;

    crate::glibc::real::real! {
        /// The C library's.
        fn __cxa_thread_atexit_impl(destructor: Destructor, object: *mut c_void, dso: *mut c_void) -> c_int;
    }
}

type Destructor = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    /// What tells the object that this code is in.
    static __dso_handle: u8;
}

static MARKS: AtomicBool = AtomicBool::new(false);

/// From here on threads are marked, this one included.
pub(crate) fn begin() {
    if !MARKS.swap(true, Ordering::SeqCst) && has_hub() {
        register_mark();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_thread_atexit_impl(destructor: Destructor, object: *mut c_void, dso: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { past::__cxa_thread_atexit_impl(destructor, object, dso) };
    if result == 0 && MARKS.load(Ordering::Relaxed) && has_hub() {
        register_mark();
    }
    result
}

fn register_mark() {
    let dso = (&raw const __dso_handle).cast_mut().cast();
    // SAFETY: the function may be called at any time. Should there be no memory for it, so be it.
    unsafe { past::__cxa_thread_atexit_impl(mark, ptr::null_mut(), dso) };
}

unsafe extern "C" fn mark(_: *mut c_void) {
    mem::forget(Inside::enter());
}
