//! What has to be known of the insides of the C library's locks, found by a probe.
//!
//! The locks stay the C library's own: their state is changed by its functions alone. But some of what decides how to wait can be asked by no function: whether a lock is shared between
//! processes, which clock a condition counts by, how many a barrier waits for. So each is made twice, with and without, and what differs is where it stands. What does not differ in exactly
//! one byte is a C library that this crate does not know: then the C library's locks are left alone.

use std::mem::MaybeUninit;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_int;

use super::{allocator, mutex};
use crate::gate::{self, Group};

/// Gets the locks of those groups ready to be patched; returns the groups that can be.
pub(crate) fn prepare(groups: u32, notes: &mut Vec<String>) -> u32 {
    const PTHREAD: u32 = Group::PthreadLocks as u32;

    if groups & PTHREAD == 0 || gate::groups() & PTHREAD != 0 {
        return groups;
    }
    let reason = if allocator::locks_by_pthread() {
        "memory is allocated under them".to_owned()
    } else if let Err(unknown) = find() {
        format!("this C library's {unknown} is not known")
    } else {
        return groups;
    };
    notes.push(format!("the C library's locks are not patched: {reason}"));
    groups & !PTHREAD
}

/// A flag in a structure: the byte that it stands in, and the bits of it that are set or not.
#[derive(Debug)]
pub(crate) struct Flag(AtomicU32);

impl Flag {
    const fn new() -> Flag {
        Flag(AtomicU32::new(0))
    }

    /// Whether it is set in that structure.
    ///
    /// # Safety
    ///
    /// It is a live one of the kind that the flag was found in.
    #[inline]
    pub(crate) unsafe fn is_set<T>(&self, of: *const T) -> bool {
        let found = self.0.load(Ordering::Relaxed);
        let (offset, mask) = ((found >> 8) as usize, found as u8);
        // Within the structure, since it was found there.
        let place = of.cast::<u8>().wrapping_add(offset);
        // The bits do not change while the structure lives, but others in the same byte may.
        // SAFETY: it is live, as the caller promises.
        let byte = unsafe { place.read_volatile() };
        byte & mask != 0
    }

    /// Notes where two structures differ; false if that is not one byte, in which the second has bits that the first has not.
    fn find<T>(&self, without: &MaybeUninit<T>, with: &MaybeUninit<T>) -> bool {
        let mut differing = (bytes(without).iter().zip(bytes(with)).enumerate()).filter(|(_, (a, b))| a != b);
        let (Some((offset, (a, b))), None) = (differing.next(), differing.next()) else { return false };
        self.0.store((offset as u32) << 8 | u32::from(a ^ b), Ordering::Relaxed);
        a & b == *a
    }
}

/// The bytes of what was zeroed before it was made.
fn bytes<T>(of: &MaybeUninit<T>) -> &[u8] {
    // SAFETY: all of it was zeroed, and what was written over it are numbers.
    unsafe { slice::from_raw_parts(of.as_ptr().cast(), size_of::<T>()) }
}

pub(crate) static CONDITION_IS_SHARED: Flag = Flag::new();
pub(crate) static CONDITION_IS_MONOTONIC: Flag = Flag::new();
pub(crate) static RWLOCK_IS_SHARED: Flag = Flag::new();
pub(crate) static BARRIER_IS_SHARED: Flag = Flag::new();
pub(crate) static SEMAPHORE_IS_SHARED: Flag = Flag::new();
/// Where a barrier's count stands, and where a thread's number stands behind what `pthread_self` returns; 0: not found, which is where neither stands.
static BARRIER_COUNT: AtomicU32 = AtomicU32::new(0);
static THREAD_ID: AtomicU32 = AtomicU32::new(0);

/// How many the barrier waits for.
///
/// # Safety
///
/// It is a live barrier, and the layout was found.
pub(crate) unsafe fn barrier_count(barrier: *const libc::pthread_barrier_t) -> u32 {
    let offset = BARRIER_COUNT.load(Ordering::Relaxed) as usize;
    // SAFETY: within the structure, since it was found there.
    let place = unsafe { barrier.byte_add(offset) }.cast::<u32>();
    // SAFETY: it is live, as the caller promises.
    unsafe { place.read_volatile() }
}

/// The kernel's number of a thread; 0 if it has ended.
///
/// # Safety
///
/// It is a thread that has not been joined, and the layout was found.
pub(crate) unsafe fn thread_id(thread: libc::pthread_t) -> c_int {
    let offset = THREAD_ID.load(Ordering::Relaxed) as usize;
    let place = ptr::with_exposed_provenance::<u8>(thread as usize).wrapping_add(offset).cast::<c_int>();
    // SAFETY: it is the thread's control block, which lives as long as it can be joined.
    unsafe { place.read_volatile() }
}

/// Looks at all of them.
///
/// # Errors
///
/// Says which of them this crate does not know.
pub(crate) fn find() -> Result<(), &'static str> {
    find_thread_id().ok_or("a thread's number")?;
    mutex::check_layout().ok_or("pthread_mutex_t")?;
    find_condition().ok_or("pthread_cond_t")?;
    find_rwlock().ok_or("pthread_rwlock_t")?;
    find_barrier().ok_or("pthread_barrier_t")?;
    find_semaphore().ok_or("sem_t")
}

/// `Some` if a C function says that it has worked.
pub(crate) fn worked(result: c_int) -> Option<()> {
    (result == 0).then_some(())
}

/// `Some` if so.
pub(crate) fn so(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// Whether the thread's number can be found. Also asked for by itself, for `pthread_join`.
pub(crate) fn find_thread_id() -> Option<()> {
    /// As far as the control block surely reaches.
    const REACH: usize = 1024;

    if THREAD_ID.load(Ordering::Relaxed) != 0 {
        return Some(());
    }
    // SAFETY: it has no preconditions.
    let me = unsafe { libc::gettid() };
    // SAFETY: it has no preconditions.
    let block = ptr::with_exposed_provenance::<c_int>(unsafe { libc::pthread_self() } as usize);
    let numbers = REACH / size_of::<c_int>();
    // SAFETY: the control block is larger than that.
    let mut offsets = (0..numbers).filter(|index| unsafe { block.wrapping_add(*index).read_volatile() } == me);
    let index = offsets.next()?;
    THREAD_ID.store((index * size_of::<c_int>()) as u32, Ordering::Relaxed);
    so(offsets.next().is_none())
}

fn find_condition() -> Option<()> {
    let make = |shared: c_int, clock: c_int| {
        let mut attributes = MaybeUninit::<libc::pthread_condattr_t>::zeroed();
        let mut condition = MaybeUninit::<libc::pthread_cond_t>::zeroed();
        // SAFETY: room for it.
        worked(unsafe { libc::pthread_condattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it was made above.
        worked(unsafe { libc::pthread_condattr_setpshared(attributes.as_mut_ptr(), shared) })?;
        // SAFETY: as above.
        worked(unsafe { libc::pthread_condattr_setclock(attributes.as_mut_ptr(), clock) })?;
        // SAFETY: room for it. It is never used, so it need not be destroyed.
        worked(unsafe { libc::pthread_cond_init(condition.as_mut_ptr(), attributes.as_ptr()) })?;
        Some(condition)
    };
    let plain = make(libc::PTHREAD_PROCESS_PRIVATE, libc::CLOCK_REALTIME)?;
    so(bytes(&plain).iter().all(|byte| *byte == 0))?;
    so(CONDITION_IS_SHARED.find(&plain, &make(libc::PTHREAD_PROCESS_SHARED, libc::CLOCK_REALTIME)?))?;
    so(CONDITION_IS_MONOTONIC.find(&plain, &make(libc::PTHREAD_PROCESS_PRIVATE, libc::CLOCK_MONOTONIC)?))
}

fn find_rwlock() -> Option<()> {
    let make = |shared: c_int| {
        let mut attributes = MaybeUninit::<libc::pthread_rwlockattr_t>::zeroed();
        let mut lock = MaybeUninit::<libc::pthread_rwlock_t>::zeroed();
        // SAFETY: room for it.
        worked(unsafe { libc::pthread_rwlockattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it was made above.
        worked(unsafe { libc::pthread_rwlockattr_setpshared(attributes.as_mut_ptr(), shared) })?;
        // SAFETY: room for it. It is never used, so it need not be destroyed.
        worked(unsafe { libc::pthread_rwlock_init(lock.as_mut_ptr(), attributes.as_ptr()) })?;
        Some(lock)
    };
    so(RWLOCK_IS_SHARED.find(&make(libc::PTHREAD_PROCESS_PRIVATE)?, &make(libc::PTHREAD_PROCESS_SHARED)?))
}

fn find_barrier() -> Option<()> {
    const COUNT: u32 = 0x0123_4567;
    let make = |shared: c_int| {
        let mut attributes = MaybeUninit::<libc::pthread_barrierattr_t>::zeroed();
        let mut barrier = MaybeUninit::<libc::pthread_barrier_t>::zeroed();
        // SAFETY: room for it.
        worked(unsafe { libc::pthread_barrierattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it was made above.
        worked(unsafe { libc::pthread_barrierattr_setpshared(attributes.as_mut_ptr(), shared) })?;
        // SAFETY: room for it. It is never used, so it need not be destroyed.
        worked(unsafe { libc::pthread_barrier_init(barrier.as_mut_ptr(), attributes.as_ptr(), COUNT) })?;
        Some(barrier)
    };
    let plain = make(libc::PTHREAD_PROCESS_PRIVATE)?;
    so(BARRIER_IS_SHARED.find(&plain, &make(libc::PTHREAD_PROCESS_SHARED)?))?;
    let words = bytes(&plain).chunks_exact(size_of::<u32>());
    let mut places = words.enumerate().filter(|(_, word)| **word == COUNT.to_ne_bytes());
    let (index, _) = places.next()?;
    BARRIER_COUNT.store((index * size_of::<u32>()) as u32, Ordering::Relaxed);
    so(places.next().is_none())
}

fn find_semaphore() -> Option<()> {
    let make = |shared: c_int| {
        let mut semaphore = MaybeUninit::<libc::sem_t>::zeroed();
        // SAFETY: room for it. It is never used, so it need not be destroyed.
        worked(unsafe { libc::sem_init(semaphore.as_mut_ptr(), shared, 0) })?;
        Some(semaphore)
    };
    so(SEMAPHORE_IS_SHARED.find(&make(0)?, &make(1)?))
}
