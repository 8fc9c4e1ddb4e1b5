//! What the table of waits needs of the machine: atomics, a lock for a few instructions, and how a thread sleeps. (`ci/models` has others in their place.)

use std::hint;
use std::ptr;
use std::time::Instant;

use super::raw;

pub(crate) use std::sync::atomic::{AtomicUsize, Ordering, fence};

use std::sync::atomic::AtomicU32;

/// So many lists of waits.
pub(crate) const BUCKETS: usize = 1024;
/// Looks at a taken lock before the processor is given away.
const SPINS: u32 = 64;

/// A lock that knows which thread has it.
pub(crate) struct Lock {
    /// The thread pointer of who has it; 0 if nobody has.
    holder: AtomicUsize,
}

impl Lock {
    pub(crate) const fn new() -> Lock {
        Lock { holder: AtomicUsize::new(0) }
    }

    /// Takes it; false if this very thread has it, of which this is a signal's handler then.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        let me = thread_pointer();
        let mut round = 0_u32;
        loop {
            match self.holder.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(holder) if holder == me => return false,
                Err(_) => {}
            }
            while self.holder.load(Ordering::Relaxed) != 0 {
                round = round.wrapping_add(1);
                if round.is_multiple_of(SPINS) {
                    // Whoever has it does not run.
                    // SAFETY: it has no preconditions.
                    unsafe { raw::syscall!(libc::SYS_sched_yield) };
                } else {
                    hint::spin_loop();
                }
            }
        }
    }

    /// Gives it back. Only for who has it; or in a forked child, if that thread is not there.
    #[inline]
    pub(crate) fn give(&self) {
        self.holder.store(0, Ordering::Release);
    }
}

/// What no other thread that lives has: the address that its thread-locals lie at.
#[inline(always)]
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the word there is its own address, as the ABI has it.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem));
    }
    pointer
}

/// The thread's error number, as it was, once this is dropped: others of its greenlets may run meanwhile, and locks leave it alone.
pub(crate) struct KeptErrno(libc::c_int);

impl KeptErrno {
    pub(crate) fn keep() -> KeptErrno {
        KeptErrno(raw::errno())
    }
}

impl Drop for KeptErrno {
    fn drop(&mut self) {
        raw::set_errno(self.0);
    }
}

/// What a thread sleeps on, until it is set: once.
pub(crate) struct Word(AtomicU32);

impl Word {
    pub(crate) fn new() -> Word {
        Word(AtomicU32::new(0))
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Sets it. Its thread may run on from here, and the word be gone; if it sleeps, what this returns wakes it.
    pub(crate) fn set(&self) -> Place {
        let place = Place(self.0.as_ptr());
        self.0.store(1, Ordering::Release);
        place
    }

    /// Sleeps as long as it is not set; false once the deadline has come. May return for no reason.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) -> bool {
        let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let mut timeout: *const libc::timespec = ptr::null();
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            spec.tv_sec = left.as_secs().try_into().unwrap_or(libc::time_t::MAX);
            spec.tv_nsec = left.subsec_nanos().into();
            timeout = &raw const spec;
        }
        let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the word and the time live longer than the call.
        unsafe { raw::syscall!(libc::SYS_futex, self.0.as_ptr(), op, 0, timeout) };
        true
    }
}

/// Where a word was.
pub(crate) struct Place(*mut u32);

impl Place {
    /// Wakes the thread that sleeps there. If the word is gone by now that is nobody, or somebody who looks again.
    pub(crate) fn wake(self) {
        let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the call does not read the place.
        unsafe { raw::syscall!(libc::SYS_futex, self.0, op, 1) };
    }
}
