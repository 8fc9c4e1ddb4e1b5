//! `pthread_mutex_*`: a greenlet that finds one taken waits in the table.
//!
//! The state stays the C library's own. To lock is its `trylock`; who finds the mutex taken puts himself into the table, tries once more, and sleeps. To unlock is its `unlock`, which wakes a thread in the kernel, and then one in
//! the table: both try. A waiter that was woken and finds the mutex taken again is first in line for the next unlocking.
//!
//! **Owners are greenlets.** To the C library the owner of a recursive mutex, or of one that checks errors, is the OS thread: it would let in every greenlet of the thread that has it. So the greenlet's number is kept beside it, in
//! `__list`, which the C library uses for robust and priority-inheriting mutexes only. It is written and read by the owning thread alone, so there is nothing to order. Numbers are those of the process's greenlets; 0 stands for a
//! thread's own stack, whether it has a hub yet or not.
//!
//! ```text
//!   0 lock   4 count   8 owner   12 nusers   16 kind   20 spins   24 __list: the greenlet's number   32 unused
//! ```
//!
//! Robust, priority-inheriting, priority-protected and process-shared mutexes are the C library's altogether: they block the thread.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use greenlet_hub::{Reason, current_id, patching};
use libc::{c_int, clockid_t, pthread_mutex_t, timespec};

use super::acquire::Taken;
use super::clock::Deadline;
use super::layout::{self, so, worked};
use super::table::{self, Key, Kind};
use super::{allocator, report};
use crate::gate::{self, Call};

pub(crate) mod real {
    use libc::{c_int, clockid_t, pthread_mutex_t, timespec};

    crate::glibc::real::real! {
        /// Locks.
        fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int;
        /// Locks if it is free.
        fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int;
        /// Locks, until a time of the real-time clock.
        fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, time: *const timespec) -> c_int;
        /// Locks, until a time of some clock.
        fn pthread_mutex_clocklock(mutex: *mut pthread_mutex_t, clock: clockid_t, time: *const timespec) -> c_int;
        /// Unlocks.
        fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int;
    }
}

/// What is known of the C library's mutex.
#[repr(C)]
struct Inside {
    lock: AtomicU32,
    count: AtomicU32,
    owner: AtomicU32,
    users: AtomicU32,
    kind: AtomicU32,
    spins: AtomicU32,
    greenlet: AtomicU64,
    unused: AtomicU64,
}

const TYPE: u32 = 3;
const RECURSIVE: u32 = 1;
const CHECKING: u32 = 2;
/// Robust, priority-inheriting, priority-protected, process-shared.
const NOT_OURS: u32 = 16 | 32 | 64 | 128;

/// A mutex of somebody's.
#[derive(Clone, Copy)]
struct Mutex<'a> {
    mutex: *mut pthread_mutex_t,
    inside: &'a Inside,
}

impl<'a> Mutex<'a> {
    /// # Safety
    ///
    /// It is a live mutex, which the caller may use as its functions do, for as long as this is used.
    #[inline]
    unsafe fn new(mutex: *mut pthread_mutex_t) -> Mutex<'a> {
        // SAFETY: it is live, and large enough (`check_layout`); all that touch it do so atomically.
        Mutex { mutex, inside: unsafe { &*mutex.cast::<Inside>() } }
    }

    fn kind(self) -> u32 {
        self.inside.kind.load(Ordering::Relaxed)
    }

    /// Whether it is the C library's altogether.
    #[inline]
    fn is_not_ours(self) -> bool {
        self.kind() & NOT_OURS != 0
    }

    /// Whether it knows its owner.
    #[inline]
    fn has_owner(self) -> bool {
        matches!(self.kind() & TYPE, RECURSIVE | CHECKING)
    }

    /// Whether the C library takes what runs for the owner.
    fn is_this_threads(self) -> bool {
        // SAFETY: it has no preconditions.
        let me = unsafe { libc::pthread_self() };
        // SAFETY: this thread lives, and the layout was found before anything was patched.
        let me = unsafe { layout::thread_id(me) };
        self.inside.owner.load(Ordering::Relaxed) == me as u32
    }

    /// Whether another greenlet of this thread has it. Of a mutex with an owner.
    fn is_of_another_greenlet(self) -> bool {
        self.is_this_threads() && self.inside.greenlet.load(Ordering::Relaxed) != number()
    }

    /// Locks it if it is free.
    fn attempt(self) -> c_int {
        if self.has_owner() && self.is_of_another_greenlet() {
            return libc::EBUSY;
        }
        // SAFETY: it is live.
        let result = unsafe { real::pthread_mutex_trylock(self.mutex) };
        if result == 0 && self.has_owner() {
            self.inside.greenlet.store(number(), Ordering::Relaxed);
        }
        result
    }

    /// Locks it; the thread stands still meanwhile.
    fn lock_plainly(self, real: impl FnOnce() -> c_int) -> c_int {
        if !self.has_owner() {
            return real();
        }
        if self.is_of_another_greenlet() {
            report::fatal(format_args!(
                "a mutex that another greenlet of this thread has is locked where nothing may switch: that would never end"
            ));
        }
        let result = real();
        if result == 0 {
            self.inside.greenlet.store(number(), Ordering::Relaxed);
        }
        result
    }

    /// Locks it; others run meanwhile.
    fn lock_as_greenlet(self, deadline: impl FnOnce() -> Option<Deadline>) -> c_int {
        if self.kind() & TYPE == CHECKING && self.is_this_threads() && !self.is_of_another_greenlet() {
            return libc::EDEADLK;
        }
        match self.attempt() {
            libc::EBUSY => {}
            result => return result,
        }
        let Some(deadline) = deadline() else { return libc::EINVAL };
        let reason = Reason::new("a lock (pthread_mutex)");
        Taken { key: self.key(), reason, error: libc::EBUSY, look: None, keeps_place: true }
            .wait(deadline, || self.attempt())
    }

    fn unlock(self) -> c_int {
        if self.has_owner() && self.is_this_threads() {
            if self.is_of_another_greenlet() {
                return libc::EPERM;
            }
            if self.kind() & TYPE != RECURSIVE || self.inside.count.load(Ordering::Relaxed) == 1 {
                self.inside.greenlet.store(0, Ordering::Relaxed);
            }
        }
        let key = self.key();
        // SAFETY: it is live. From here on it may be gone: its address serves as a name only.
        let result = unsafe { real::pthread_mutex_unlock(self.mutex) };
        if result == 0 {
            table::wake(key, 1, table::ANY);
        }
        result
    }

    fn key(self) -> Key {
        Key::new(Kind::Mutex, self.mutex)
    }
}

/// What stands for the greenlet that runs; 0 for a thread's own stack.
fn number() -> u64 {
    if patching::is_main_greenlet() { 0 } else { current_id() }
}

/// Locks a mutex, after a wait for a condition.
///
/// # Safety
///
/// That of `pthread_mutex_lock`.
pub(crate) unsafe fn lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    let real = || unsafe { real::pthread_mutex_lock(mutex) };
    // SAFETY: the caller's promise.
    unsafe { lock_until(mutex, || Some(Deadline::NEVER), real) }
}

/// Unlocks a mutex, whatever waits for it.
///
/// # Safety
///
/// That of `pthread_mutex_unlock`.
pub(crate) unsafe fn unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    let ours = unsafe { Mutex::new(mutex) };
    if ours.is_not_ours() {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_mutex_unlock(mutex) };
    }
    ours.unlock()
}

/// # Safety
///
/// That of `pthread_mutex_lock`. `real` is the plain call.
unsafe fn lock_until(
    mutex: *mut pthread_mutex_t,
    deadline: impl FnOnce() -> Option<Deadline>,
    real: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let ours = unsafe { Mutex::new(mutex) };
    if ours.is_not_ours() {
        real()
    } else if gate::may_wait(Call::pthread_mutex_lock) {
        ours.lock_as_greenlet(deadline)
    } else {
        ours.lock_plainly(real)
    }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    if !gate::is_watched(Call::pthread_mutex_lock) {
        allocator::note();
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_mutex_lock(mutex) };
    }
    if !patching::has_hub() {
        // There are no greenlets that it could be told from; and nobody has left a greenlet's number there.
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_mutex_lock(mutex) };
    }
    // SAFETY: the caller's promise.
    unsafe { lock_with_hub(mutex) }
}

/// A function of its own, so that a thread without a hub saves nothing for it.
///
/// # Safety
///
/// That of the C library's function.
#[inline(never)]
unsafe extern "C" fn lock_with_hub(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock(mutex) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int {
    if !gate::is_watched(Call::pthread_mutex_trylock) {
        allocator::note();
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_mutex_trylock(mutex) };
    }
    // SAFETY: the caller's promise.
    let ours = unsafe { Mutex::new(mutex) };
    if ours.is_not_ours() {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_mutex_trylock(mutex) };
    }
    ours.attempt()
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, time: *const timespec) -> c_int {
    // SAFETY: the caller's promise.
    let real = || unsafe { real::pthread_mutex_timedlock(mutex, time) };
    if !gate::is_watched(Call::pthread_mutex_timedlock) {
        return real();
    }
    // SAFETY: the caller promises a time there.
    let deadline = || Deadline::at(libc::CLOCK_REALTIME, unsafe { *time });
    // SAFETY: the caller's promise.
    unsafe { lock_until(mutex, deadline, real) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    time: *const timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    let real = || unsafe { real::pthread_mutex_clocklock(mutex, clock, time) };
    if !gate::is_watched(Call::pthread_mutex_clocklock) || !Deadline::knows(clock) {
        return real();
    }
    // SAFETY: the caller promises a time there.
    let deadline = || Deadline::at(clock, unsafe { *time });
    // SAFETY: the caller's promise.
    unsafe { lock_until(mutex, deadline, real) }
}

/// # Safety
///
/// That of the C library's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    if !gate::is_watched(Call::pthread_mutex_unlock) {
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_mutex_unlock(mutex) };
    }
    if !patching::has_hub() {
        // As for the lock.
        // SAFETY: the caller's promise. From here on it may be gone: its address serves as a name only.
        let result = unsafe { real::pthread_mutex_unlock(mutex) };
        let key = Key::new(Kind::Mutex, mutex);
        if result == 0 && !table::is_empty(key) {
            wake_one(key);
        }
        return result;
    }
    // SAFETY: the caller's promise.
    unsafe { unlock_with_hub(mutex) }
}

/// # Safety
///
/// That of the C library's function.
#[inline(never)]
unsafe extern "C" fn unlock_with_hub(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { unlock(mutex) }
}

#[cold]
#[inline(never)]
fn wake_one(key: Key) {
    table::wake(key, 1, table::ANY);
}

/// Whether the C library's mutex is as it is drawn above.
pub(crate) fn check_layout() -> Option<()> {
    so(size_of::<Inside>() <= size_of::<pthread_mutex_t>())?;
    so(align_of::<Inside>() <= align_of::<pthread_mutex_t>().max(align_of::<u64>()))?;
    for kind in [libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK] {
        let mut mutex = make(|attributes| {
            // SAFETY: it was made by `make`.
            unsafe { libc::pthread_mutexattr_settype(attributes, kind) }
        })?;
        check_use(mutex.as_mut_ptr(), kind as u32)?;
    }
    let shared = make(|attributes| {
        // SAFETY: it was made by `make`.
        unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) }
    })?;
    let robust = make(|attributes| {
        // SAFETY: it was made by `make`.
        unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) }
    })?;
    let inheriting = make(|attributes| {
        // SAFETY: it was made by `make`.
        unsafe { libc::pthread_mutexattr_setprotocol(attributes, libc::PTHREAD_PRIO_INHERIT) }
    })?;
    for (mutex, bit) in [(shared, 128), (robust, 16), (inheriting, 32)] {
        // SAFETY: it was zeroed, and is never used as a mutex.
        let inside = unsafe { &*mutex.as_ptr().cast::<Inside>() };
        so(inside.kind.load(Ordering::Relaxed) & bit != 0)?;
    }
    Some(())
}

/// A mutex with such attributes, which need not be destroyed.
fn make(set: impl FnOnce(*mut libc::pthread_mutexattr_t) -> c_int) -> Option<MaybeUninit<pthread_mutex_t>> {
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::zeroed();
    let mut mutex = MaybeUninit::<pthread_mutex_t>::zeroed();
    // SAFETY: room for it.
    worked(unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) })?;
    worked(set(attributes.as_mut_ptr()))?;
    // SAFETY: room for it.
    worked(unsafe { libc::pthread_mutex_init(mutex.as_mut_ptr(), attributes.as_ptr()) })?;
    Some(mutex)
}

/// Locks and unlocks it, and looks at it meanwhile.
fn check_use(mutex: *mut pthread_mutex_t, kind: u32) -> Option<()> {
    // SAFETY: it has no preconditions.
    let me = unsafe { libc::gettid() } as u32;
    // SAFETY: it was zeroed and made; all that touch it do so atomically, or from this thread.
    let inside = unsafe { &*mutex.cast::<Inside>() };
    let rest = || (inside.greenlet.load(Ordering::Relaxed), inside.unused.load(Ordering::Relaxed));
    so(inside.kind.load(Ordering::Relaxed) & (TYPE | NOT_OURS) == kind && rest() == (0, 0))?;
    // What the C library does not touch stays as it is.
    const MARK: u64 = 0x0123_4567_89AB_CDEF;
    inside.greenlet.store(MARK, Ordering::Relaxed);
    // SAFETY: it was made.
    worked(unsafe { real::pthread_mutex_trylock(mutex) })?;
    so(inside.owner.load(Ordering::Relaxed) == me && inside.lock.load(Ordering::Relaxed) == 1)?;
    if kind == RECURSIVE {
        so(inside.count.load(Ordering::Relaxed) == 1)?;
        // SAFETY: as above.
        worked(unsafe { real::pthread_mutex_trylock(mutex) })?;
        so(inside.count.load(Ordering::Relaxed) == 2)?;
        // SAFETY: it is locked, twice.
        worked(unsafe { real::pthread_mutex_unlock(mutex) })?;
    }
    // SAFETY: it is locked.
    worked(unsafe { real::pthread_mutex_unlock(mutex) })?;
    so(inside.owner.load(Ordering::Relaxed) == 0 && rest() == (MARK, 0))
}
