//! What a call does that waits with another signal mask: `ppoll`, `pselect`, `epoll_pwait`.
//!
//! The kernel puts such a mask on for the length of the call, so that a signal which is blocked otherwise ends the call, and no other place of the program sees it.
//! A greenlet's wait is not one call, and the thread's mask is every greenlet's. So what the mask unblocks is waited for by a signalfd, as one more descriptor,
//! and delivered by the real call with the mask and no time to wait, which then says `EINTR`. A handler of a signal that was not blocked in the first place ends the call as well.
//!
//! What the mask blocks *besides* is not blocked meanwhile: that would be for all greenlets of the thread.

use std::time::Duration;

use libc::sigset_t;

use super::owned::Owned;
use super::raw;
use super::readiness::{Interest, look_until};
use super::signal::Bell;

/// The kernel's signal sets have a bit for each of 64 signals; the C library's type has room for more.
pub(crate) const BYTES: usize = 8;

/// A signal set as the kernel has it: signal 1 is bit 0.
pub(crate) type Signals = u64;

/// The mask that a call is to wait with.
pub(crate) enum Mask {
    /// That of the thread.
    Same,
    Other(Other),
}

/// A mask that differs from the thread's.
pub(crate) struct Other {
    mask: Signals,
    unblocked: Signals,
}

impl Mask {
    /// The mask of a call, null if it has none.
    ///
    /// # Safety
    ///
    /// It is null or points to a signal set.
    pub(crate) unsafe fn of(mask: *const sigset_t) -> Mask {
        // SAFETY: the caller's promise; the C library's sets begin with the kernel's.
        let Some(&mask) = (unsafe { mask.cast::<Signals>().as_ref() }) else { return Mask::Same };
        let blocked = blocked();
        if mask == blocked { Mask::Same } else { Mask::Other(Other { mask, unblocked: blocked & !mask }) }
    }

    /// As [`look_until`], with this mask; `look` makes the real call with it.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        interests: impl Iterator<Item = Interest> + Clone,
        mut look: impl FnMut() -> isize,
    ) -> isize {
        let Mask::Other(other) = self else { return look_until(timeout, interests, look) };
        let found = look();
        if found != 0 || timeout == Some(Duration::ZERO) {
            return found;
        }
        // Before the next look, which thus sees what comes from now on.
        let bell = Bell::hang();
        let signals = match other.descriptor() {
            Ok(signals) => signals,
            Err(err) => return -(raw::errno_of(&err) as isize),
        };
        let ours = [Some(Interest::readable(signals.number())), bell.number().map(Interest::readable)];
        let interests = interests.chain(ours.into_iter().flatten());
        look_until(timeout, interests, || match look() {
            0 if bell.has_rung() => -(libc::EINTR as isize),
            found => found,
        })
    }
}

impl Other {
    pub(crate) fn set(&self) -> *const sigset_t {
        (&raw const self.mask).cast()
    }

    /// Whether a signal waits to be delivered that this mask lets through.
    pub(crate) fn is_due(&self) -> bool {
        let mut pending: Signals = 0;
        // SAFETY: there is room for the kernel's set.
        unsafe { raw::syscall!(libc::SYS_rt_sigpending, &raw mut pending, BYTES) };
        pending & self.unblocked != 0
    }

    /// A descriptor that is readable while such a signal waits.
    fn descriptor(&self) -> std::io::Result<Owned> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set outlives the call.
        Owned::made(unsafe { raw::syscall!(libc::SYS_signalfd4, -1_isize, &raw const self.unblocked, BYTES, flags) })
    }
}

/// What the thread blocks.
pub(crate) fn blocked() -> Signals {
    let mut blocked: Signals = 0;
    let none = std::ptr::null::<Signals>();
    // SAFETY: there is room for the kernel's set.
    unsafe { raw::syscall!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, none, &raw mut blocked, BYTES) };
    blocked
}

/// Sets what the thread blocks; what it was.
pub(crate) fn set_blocked(signals: Signals) -> Signals {
    let mut before: Signals = 0;
    let new = &raw const signals;
    // SAFETY: both outlive the call.
    unsafe { raw::syscall!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, new, &raw mut before, BYTES) };
    before
}
