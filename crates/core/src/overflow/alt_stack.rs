//! An alternate signal stack for threads that have none.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use crate::sys;

/// What the handlers need beyond the frame that the kernel pushes: ours takes about a kilobyte, the one
/// that it hands a foreign fault to is anybody's.
const HANDLER_SIZE: usize = 32 * 1024;

/// An alternate signal stack of the thread that made it, until it is dropped on that thread.
#[derive(Debug)]
pub struct AltStack {
    mapping: NonNull<u8>,
    mapped: usize,
    /// It belongs to its thread.
    not_send: PhantomData<*mut ()>,
}

impl AltStack {
    /// Gives the calling thread an alternate signal stack if it has none.
    ///
    /// `None` means that there is nothing to take away later: std's threads have one of their own (if
    /// `main` is Rust's), or there was no memory, in which case an overflow ends the process without the
    /// report.
    #[must_use = "dropping it takes the signal stack away"]
    pub fn ensure() -> Option<Self> {
        if current()?.ss_flags & libc::SS_DISABLE == 0 {
            return None;
        }
        let page = sys::page_size();
        let size = (sys::minimum_signal_stack() + HANDLER_SIZE).next_multiple_of(page);
        let mapped = page + size;
        let mapping = sys::reserve(mapped).ok()?;
        let stack = Self { mapping, mapped, not_send: PhantomData };
        // SAFETY: the first page of a mapping that is larger, and nothing is stored there yet.
        unsafe { sys::protect(mapping, page).ok()? };
        // SAFETY: the mapping is one page larger than the stack.
        let start = unsafe { mapping.add(page) };
        set(&libc::stack_t { ss_sp: start.as_ptr().cast(), ss_flags: 0, ss_size: size }).then_some(stack)
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let Some(current) = current() else { return };
        let lowest = self.mapping.addr().get();
        if (lowest..lowest + self.mapped).contains(&current.ss_sp.addr()) {
            let none = libc::stack_t {
                ss_sp: ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                // Ignored, but some systems check it all the same.
                ss_size: current.ss_size,
            };
            if !set(&none) {
                return;
            }
        }
        // SAFETY: the mapping is our own, and the thread it was the signal stack of, which is this one,
        // does not have it as such any more.
        unsafe { sys::release(self.mapping, self.mapped) };
    }
}

/// Reads the calling thread's alternate stack.
fn current() -> Option<libc::stack_t> {
    let mut stack = MaybeUninit::uninit();
    // SAFETY: only reads the setting, and the place for it is valid.
    let res = unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
    if res != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, so it has filled the structure in.
    Some(unsafe { stack.assume_init() })
}

/// Sets the calling thread's alternate stack; says whether that was possible.
fn set(stack: &libc::stack_t) -> bool {
    // SAFETY: the structure is valid, and it describes a mapping that outlives its use, or none.
    unsafe { libc::sigaltstack(stack, ptr::null_mut()) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_std_has_one_already() {
        std::thread::spawn(|| assert!(AltStack::ensure().is_none())).join().unwrap();
    }

    #[test]
    fn a_thread_without_one_gets_one_until_it_is_dropped() {
        std::thread::spawn(|| {
            let before = current().unwrap();
            let none = libc::stack_t { ss_flags: libc::SS_DISABLE, ..before };
            assert!(set(&none));
            let stack = AltStack::ensure().unwrap();
            assert_eq!(current().unwrap().ss_flags & libc::SS_DISABLE, 0);
            assert!(AltStack::ensure().is_none(), "the second one finds the first");
            drop(stack);
            assert_ne!(current().unwrap().ss_flags & libc::SS_DISABLE, 0);
            assert!(set(&before));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn one_that_was_replaced_is_not_taken_away() {
        std::thread::spawn(|| {
            let before = current().unwrap();
            assert!(set(&libc::stack_t { ss_flags: libc::SS_DISABLE, ..before }));
            let stack = AltStack::ensure().unwrap();
            assert!(set(&before));
            drop(stack);
            assert_eq!(current().unwrap().ss_sp, before.ss_sp);
        })
        .join()
        .unwrap();
    }
}
