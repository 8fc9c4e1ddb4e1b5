//! Shells of the calls that sleep, and of the one that gives way.
//!
//! A sleep that is interrupted (a kill, a `timeout` that has expired) returns early *with success*: std asserts that `clock_nanosleep` fails by `EINTR` alone, and after that it
//! would sleep on. What is to be raised stays pending for the next native wait, and a loop of sleeps makes a trip through the run queue with each of them. The same holds for a signal's handler that runs meanwhile:
//! it does not end a sleep, which is as if std had slept on.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use greenlet_hub::patching;
use libc::{c_int, c_uint, clockid_t, timespec};

use super::raw;
use super::wait;
use crate::gate::{self, Call};

/// A clock that may be set, or that goes on while the machine is suspended, is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const NANOS_PER_SEC: i64 = 1_000_000_000;
/// What no sleep outlasts: 100 years.
const FAR_AWAY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    remaining: *mut timespec,
) -> c_int {
    if gate::may_wait(Call::clock_nanosleep) && Clock::of(clock).is_some() {
        // SAFETY: the caller's promise.
        return unsafe { clock_nanosleep_waiting(clock, flags, request, remaining) };
    }
    // The C library refuses that clock by itself; the kernel would say something else.
    if clock == libc::CLOCK_THREAD_CPUTIME_ID {
        return libc::EINVAL;
    }
    // SAFETY: the caller's promise.
    let result = unsafe { raw::syscall!(libc::SYS_clock_nanosleep, clock, flags, request, remaining) };
    -result as c_int
}

/// A function of its own, so that the others need not save what this needs room for.
#[inline(never)]
unsafe extern "C" fn clock_nanosleep_waiting(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    _remaining: *mut timespec,
) -> c_int {
    let Some(clock) = Clock::of(clock) else { return libc::EINVAL };
    // SAFETY: the caller's promise, if it is not null.
    let Some(&request) = (unsafe { request.as_ref() }) else { return libc::EFAULT };
    let Some(time) = duration_of(request) else { return libc::EINVAL };
    clock.sleep(time, flags & libc::TIMER_ABSTIME != 0);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int {
    if !gate::may_wait(Call::nanosleep) {
        // SAFETY: the caller's promise.
        return raw::give(unsafe { raw::syscall!(libc::SYS_nanosleep, request, remaining) }) as c_int;
    }
    // SAFETY: the caller's promise, if it is not null.
    let Some(&request) = (unsafe { request.as_ref() }) else { return fail(libc::EFAULT) };
    let Some(time) = duration_of(request) else { return fail(libc::EINVAL) };
    sleep_for(time);
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(micros: c_uint) -> c_int {
    let time = Duration::from_micros(micros.into());
    if !gate::may_wait(Call::usleep) {
        return raw::give(plainly(&mut timespec_of(time))) as c_int;
    }
    sleep_for(time);
    0
}

/// The seconds that are left: none, as it is not interrupted by signals, and ends with success if the greenlet is.
#[unsafe(no_mangle)]
unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    if !gate::may_wait(Call::sleep) {
        let mut time = timespec_of(Duration::from_secs(seconds.into()));
        // A handler of a signal ended it: what is left, in whole seconds, as the C library has it.
        return if raw::give(plainly(&mut time)) < 0 { time.tv_sec as c_uint } else { 0 };
    }
    sleep_for(Duration::from_secs(seconds.into()));
    0
}

/// Gives way to the other greenlets; to other threads as well if there are none, and now and then in any case: whoever spins with this may wait for a thread that needs this
/// processor. (The system call takes 450 ns, the trip 5.)
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    if gate::may_wait(Call::sched_yield) {
        let others = patching::has_ready();
        wait::trip();
        if others && !TRIPS.fetch_add(1, Ordering::Relaxed).is_multiple_of(REAL_EACH) {
            return 0;
        }
    }
    // SAFETY: a call without arguments.
    raw::give(unsafe { raw::syscall!(libc::SYS_sched_yield) }) as c_int
}

/// Of so many trips one gives way to other threads.
const REAL_EACH: u32 = 32;
static TRIPS: AtomicU32 = AtomicU32::new(0);

/// A clock that can be slept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// That of the hub's timers.
    Monotonic,
    /// It can be set, which moves the end of a sleep until a time, but of none for a time.
    Real,
    /// It goes on while the machine is suspended.
    Boot,
}

impl Clock {
    /// The clock of that number; of others a greenlet cannot sleep by.
    fn of(number: clockid_t) -> Option<Clock> {
        match number {
            libc::CLOCK_MONOTONIC => Some(Clock::Monotonic),
            libc::CLOCK_REALTIME => Some(Clock::Real),
            libc::CLOCK_BOOTTIME => Some(Clock::Boot),
            _ => None,
        }
    }

    fn now(self) -> Duration {
        let number = match self {
            Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::Real => libc::CLOCK_REALTIME,
            Clock::Boot => libc::CLOCK_BOOTTIME,
        };
        let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: there is room for the answer; every kernel has these clocks.
        unsafe { libc::clock_gettime(number, &raw mut now) };
        // One that was set to a time before 1970 is as good as at its beginning.
        duration_of(now).unwrap_or_default()
    }

    fn sleep(self, time: Duration, until: bool) {
        let end = match (self, until) {
            (Clock::Monotonic | Clock::Real, false) => return sleep_for(time),
            (Clock::Monotonic, true) => return sleep_for(time.saturating_sub(self.now())),
            (Clock::Boot, false) => self.now().saturating_add(time),
            (Clock::Real | Clock::Boot, true) => time,
        };
        loop {
            let left = end.saturating_sub(self.now());
            if !sleep_for_at_most(left.min(LOOK_AGAIN)) || left <= LOOK_AGAIN && end <= self.now() {
                return;
            }
        }
    }
}

/// Sleeps that long, or until the greenlet is interrupted.
fn sleep_for(time: Duration) {
    sleep_for_at_most(time);
}

/// False if it was interrupted.
fn sleep_for_at_most(time: Duration) -> bool {
    let time = time.min(FAR_AWAY);
    let slept = wait::interruptible(|| {
        if time.is_zero() {
            greenlet_hub::yield_now();
        } else {
            greenlet_hub::sleep_until(Instant::now() + time);
        }
        Ok(())
    });
    slept.is_ok()
}

/// The plain sleep, with what is left of it if a signal's handler ends it.
fn plainly(time: &mut timespec) -> isize {
    let time = &raw mut *time;
    // SAFETY: the kernel reads the one before it writes the other.
    unsafe { raw::syscall!(libc::SYS_nanosleep, time, time) }
}

/// A time as the kernel takes it; `None` if it does not.
pub(crate) fn duration_of(time: timespec) -> Option<Duration> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    (0..NANOS_PER_SEC).contains(&time.tv_nsec).then(|| Duration::new(seconds, time.tv_nsec as u32))
}

pub(crate) fn timespec_of(time: Duration) -> timespec {
    timespec { tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX), tv_nsec: time.subsec_nanos().into() }
}

/// The deadline of a call that waits so long; `None`: for ever.
pub(crate) fn deadline_after(timeout: Option<Duration>) -> Option<Instant> {
    timeout.map(|timeout| Instant::now() + timeout.min(FAR_AWAY))
}

fn fail(errno: c_int) -> c_int {
    raw::give_result(Err(io::Error::from_raw_os_error(errno))) as c_int
}
