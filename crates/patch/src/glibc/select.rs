//! Shells of `select` and `pselect`.
//!
//! The real call overwrites the sets by what it has found, so copies of them are kept, and each look begins with those. Sets may be longer than an
//! `fd_set`: the kernel reads as many bits as the call says, but no more than the process has room for descriptors, so neither may the copies be longer.

use std::ptr;
use std::time::{Duration, Instant};

use libc::{c_int, c_ulong, fd_set, sigset_t, timespec, timeval};

use super::mask::{self, Mask};
use super::raw;
use super::readiness::Interest;
use super::sleep::{duration_of, timespec_of};
use crate::gate::{self, Call};

type Word = c_ulong;
const BITS: usize = Word::BITS as usize;
const MICROS_PER_SEC: i64 = 1_000_000;

#[unsafe(no_mangle)]
unsafe extern "C" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the caller's promise, if it is not null.
    let mut timeout = unsafe { timeout.as_mut() };
    let time = match timeout.as_ref().map(|timeout| duration_of_timeval(**timeout)) {
        None => None,
        Some(Some(time)) => Some(time),
        Some(None) => return raw::give(-(libc::EINVAL as isize)) as c_int,
    };
    let sets = [read, write, except];
    let (found, left) = if gate::may_wait(Call::select) {
        let start = Instant::now();
        // SAFETY: the caller's promise.
        let found = unsafe { wait_for(count, sets, time, Mask::Same) };
        (found, time.map(|time| time.saturating_sub(start.elapsed())))
    } else {
        let mut left = time.map(timespec_of);
        // SAFETY: the caller's promise.
        let found = unsafe { real_pselect(count, sets, left.as_mut(), ptr::null()) };
        (found, left.and_then(duration_of))
    };
    // As Linux does, and others do not.
    if let (Some(timeout), Some(left)) = (&mut timeout, left) {
        timeout.tv_sec = left.as_secs().try_into().unwrap_or(libc::time_t::MAX);
        timeout.tv_usec = left.subsec_micros().into();
    }
    raw::give(found) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's promise, if it is not null.
    let mut timeout = unsafe { timeout.as_ref() }.copied();
    let sets = [read, write, except];
    if !gate::may_wait(Call::pselect) {
        // SAFETY: the caller's promise.
        return raw::give(unsafe { real_pselect(count, sets, timeout.as_mut(), mask) }) as c_int;
    }
    let time = match timeout.map(duration_of) {
        None => None,
        Some(Some(time)) => Some(time),
        Some(None) => return raw::give(-(libc::EINVAL as isize)) as c_int,
    };
    // SAFETY: the caller's promise.
    let mask = unsafe { Mask::of(mask) };
    // SAFETY: the caller's promise.
    raw::give(unsafe { wait_for(count, sets, time, mask) }) as c_int
}

/// # Safety
///
/// That of `pselect`.
unsafe fn wait_for(count: c_int, sets: [*mut fd_set; 3], timeout: Option<Duration>, mask: Mask) -> isize {
    let Ok(bits) = usize::try_from(count) else { return -(libc::EINVAL as isize) };
    let bits = bits.min(room_for_descriptors(bits));
    // SAFETY: the caller promises that the sets have so many bits.
    let asked = sets.map(|set| unsafe { Asked::copy(set, bits) });
    let put_back = || asked.iter().for_each(Asked::put_back);
    let look = || {
        put_back();
        match &mask {
            // SAFETY: the caller's promise.
            Mask::Same => unsafe { real_pselect(count, sets, Some(&mut timespec_of(Duration::ZERO)), ptr::null()) },
            Mask::Other(other) => {
                // SAFETY: the caller's promise; the mask outlives the call.
                unsafe { real_pselect(count, sets, Some(&mut timespec_of(Duration::ZERO)), other.set()) }
            }
        }
    };
    let found = mask.wait(timeout, Interests { asked: &asked, bits, next: 0 }, look);
    if found < 0 {
        // What fails leaves the sets as they were.
        put_back();
    }
    found
}

/// One of the three sets, as the caller has filled it.
struct Asked {
    set: *mut Word,
    words: Vec<Word>,
}

impl Asked {
    /// # Safety
    ///
    /// The set is null, or has so many bits, which nobody else uses as long as this lives.
    unsafe fn copy(set: *mut fd_set, bits: usize) -> Asked {
        let set = set.cast::<Word>();
        let len = if set.is_null() { 0 } else { bits.div_ceil(BITS) };
        let mut words = vec![0; len];
        // SAFETY: the caller's promise; both have so many words.
        unsafe { ptr::copy_nonoverlapping(set, words.as_mut_ptr(), len) };
        Asked { set, words }
    }

    fn put_back(&self) {
        // SAFETY: the promise of `copy`.
        unsafe { ptr::copy_nonoverlapping(self.words.as_ptr(), self.set, self.words.len()) };
    }

    fn word(&self, index: usize) -> Word {
        self.words.get(index).copied().unwrap_or(0)
    }
}

/// What the sets ask for, descriptor by descriptor.
#[derive(Clone)]
struct Interests<'a> {
    asked: &'a [Asked; 3],
    bits: usize,
    next: usize,
}

impl Iterator for Interests<'_> {
    type Item = Interest;

    fn next(&mut self) -> Option<Interest> {
        const EVENTS: [u32; 3] = [Interest::READ, Interest::WRITE, libc::EPOLLPRI as u32];
        while self.next < self.bits {
            let (index, bit) = (self.next / BITS, self.next % BITS);
            let words = self.asked.each_ref().map(|asked| asked.word(index) >> bit);
            // Words without any are passed over at once.
            let Some(skip) = words.iter().filter(|word| **word != 0).map(|word| word.trailing_zeros()).min() else {
                self.next += BITS - bit;
                continue;
            };
            self.next += skip as usize + 1;
            let events = words.iter().zip(EVENTS).filter(|(word, _)| **word >> skip & 1 != 0);
            let events = events.fold(0, |all, (_, events)| all | events);
            let fd = self.next - 1;
            return (fd < self.bits).then_some(Interest { fd: fd as c_int, events });
        }
        None
    }
}

/// How many descriptors the kernel has made room for in this process, if that could be fewer than the call says: it looks at no more.
fn room_for_descriptors(bits: usize) -> usize {
    if bits <= libc::FD_SETSIZE {
        return bits;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse().ok());
    size.unwrap_or(libc::FD_SETSIZE)
}

/// A time as the C library takes it: more than a million microseconds are seconds. `None` if it is negative.
fn duration_of_timeval(time: timeval) -> Option<Duration> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let micros = u64::try_from(time.tv_usec).ok()?;
    let per_second = MICROS_PER_SEC as u64;
    Some(Duration::new(seconds.saturating_add(micros / per_second), (micros % per_second) as u32 * 1000))
}

/// What the kernel takes instead of a sixth and a seventh argument.
#[repr(C)]
struct MaskArgument {
    mask: *const sigset_t,
    bytes: usize,
}

/// The real call, which writes into `timeout` what is left.
///
/// # Safety
///
/// That of `pselect`.
unsafe fn real_pselect(
    count: c_int,
    [read, write, except]: [*mut fd_set; 3],
    timeout: Option<&mut timespec>,
    mask: *const sigset_t,
) -> isize {
    let timeout = timeout.map_or(ptr::null_mut(), ptr::from_mut);
    let mask = MaskArgument { mask, bytes: mask::BYTES };
    // SAFETY: the caller's promise; time and mask outlive the call.
    unsafe { raw::syscall!(libc::SYS_pselect6, count, read, write, except, timeout, &raw const mask) }
}
