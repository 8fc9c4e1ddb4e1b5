//! `pthread_once`: whoever comes while the routine runs waits in the table.
//!
//! The C library's own call runs the routine inside itself and wakes by a way that this crate does not see, so once patched all threads, plain ones too, come through here. The control word has the C library's values, 0 at first and 2 when it is
//! done. One that is under way *here* has a value that the C library's own would take for a leftover of a process before a `fork`; it never sees it, as all calls come here. One that
//! was under way in the C library when the calls were patched is waited for there.
//!
//! A routine that unwinds (a panic, a C++ exception, a kill) has not run: the next one tries. One that was under way in another thread when the process forked stays so in the child.
//!
//! libstdc++'s `std::call_once` hands its routine what it is to call in two thread-locals, which are those of all the thread's greenlets. Who has waited puts back what he handed over before it is
//! his turn to call it: meanwhile others have handed over theirs, and cleared them. (A libstdc++ that is linked statically into a library of its own is not found.)

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use greenlet_hub::Reason;
use libc::c_int;

use super::table::{self, ANY, Key, Kind, Options, Who};
use crate::gate::{self, Call};

pub(crate) mod real {
    use libc::c_int;

    use super::Routine;

    crate::glibc::real::real_unwinding! {
        /// Calls the routine, or waits for another who does.
        fn pthread_once(control: *mut c_int, routine: Routine) -> c_int;
    }
}

/// What is done once.
type Routine = unsafe extern "C-unwind" fn();

/// The C library's: the lowest bit is set while the routine runs, and the one above it when it has.
const UNDER_WAY: u32 = 1;
const DONE: u32 = 2;
/// Under way here.
const UNDER_WAY_HERE: u32 = 0x7FFF_FFFC | UNDER_WAY;

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn pthread_once(control: *mut c_int, routine: Routine) -> c_int {
    /// Says how it went, and wakes the others.
    struct Tell<'a> {
        control: &'a AtomicU32,
        state: u32,
    }

    impl Drop for Tell<'_> {
        fn drop(&mut self) {
            let key = key(self.control);
            self.control.store(self.state, Ordering::SeqCst);
            table::wake(key, usize::MAX, ANY);
        }
    }

    if !gate::is_watched(Call::pthread_once) {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_once(control, routine) };
    }
    // SAFETY: the caller promises a control word; all that touch it do so atomically.
    let word = unsafe { AtomicU32::from_ptr(control.cast()) };
    let mut handed = None;
    loop {
        let state = word.load(Ordering::Acquire);
        if state & DONE != 0 {
            return 0;
        }
        if state == UNDER_WAY_HERE {
            let who = if gate::may_wait(Call::pthread_once) { Who::Greenlet } else { Who::Thread };
            if who == Who::Greenlet && handed.is_none() {
                handed = Handed::look(routine);
            }
            let options = Options::new(key(word), None, Reason::new("what is done once (pthread_once)"));
            table::wait(who, options, |_| word.load(Ordering::SeqCst) == UNDER_WAY_HERE, || true);
        } else if state & UNDER_WAY != 0 {
            // SAFETY: the caller's promise.
            return unsafe { real::pthread_once(control, routine) };
        } else if word.compare_exchange(state, UNDER_WAY_HERE, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            let mut tell = Tell { control: word, state: 0 };
            if let Some(handed) = handed.take() {
                handed.put_back();
            }
            // SAFETY: the caller's promise.
            unsafe { routine() };
            tell.state = DONE;
            return 0;
        }
    }
}

/// What `std::call_once` has handed over in its thread-locals.
struct Handed {
    places: [*mut usize; 2],
    values: [usize; 2],
}

impl Handed {
    /// Looks, if that is what the routine is for.
    #[cold]
    fn look(routine: Routine) -> Option<Handed> {
        const LIBRARY: &CStr = c"libstdc++.so.6";
        const PLACES: [&CStr; 2] = [c"_ZSt15__once_callable", c"_ZSt11__once_call"];

        // It is in nobody's scope if a library brought it along that was opened later.
        // SAFETY: the name ends with a NUL byte; what is not loaded is not loaded by this, so no initialiser runs.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        if library.is_null() {
            return None;
        }
        // SAFETY: a library that is open, and a name that ends with a NUL byte.
        let find = |name: &CStr| unsafe { libc::dlsym(library, name.as_ptr()) };
        let is_for_it = ptr::eq(find(c"__once_proxy"), routine as *const c_void);
        let places = PLACES.map(|name| find(name).cast::<usize>());
        // SAFETY: it was opened above. Whoever called this has it open as well.
        unsafe { libc::dlclose(library) };
        if !is_for_it || places.iter().any(|place| place.is_null()) {
            return None;
        }
        // SAFETY: this thread's own, a pointer each, which live as long as it does.
        let values = places.map(|place| unsafe { place.read() });
        Some(Handed { places, values })
    }

    /// On the same thread.
    fn put_back(self) {
        for (place, value) in self.places.into_iter().zip(self.values) {
            // SAFETY: as in `look`: a greenlet stays on its thread.
            unsafe { place.write(value) };
        }
    }
}

fn key(control: &AtomicU32) -> Key {
    Key::new(Kind::Once, control)
}
