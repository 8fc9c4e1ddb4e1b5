//! `syscall`, the door through which std's locks go to the kernel: a greenlet's futex wait becomes a wait in the table.
//!
//! std's `Mutex`, `RwLock`, `Condvar`, `Once`, `OnceLock`, `LazyLock` and `Barrier` are futexes. They make no call as long as there is nobody to wait for or to wake, so they cost
//! what they cost without this crate. All other calls of `syscall` pass straight on.
//!
//! * **A futex that is not private** may be woken by another process, which knows the kernel's table alone. Most are not (libstdc++ waits so for its function-local statics), so a greenlet waits for it in the
//!   table as well, but looks again every 20 ms, as if it had been woken for nothing. Those with priority inheritance, which the kernel itself hands over, are the kernel's.
//! * **A wait** of a greenlet is not interruptible, as the locks that stand on it expect no failure: std takes any error of a futex wait for a wake-up, and would spin. So it never says EINTR.
//! * **A wake-up**, by whatever thread, looks into the table first and then has the kernel wake the rest. Greenlets would starve threads that wait for the same lock; so each bucket's
//!   eighth wake-up asks the kernel first.
//! * **`FUTEX_WAKE_OP`** is done here altogether: were the operation left to the kernel, a greenlet could go to sleep between a look into the table and the operation.
//! * A time-out by the real-time clock is measured when the wait begins, and once more when it ends: one that is set back meanwhile is honoured, one that is set forward is seen late.
//! * An address that is not mapped is a fault, not EFAULT.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use libc::{c_int, c_long, timespec};

use greenlet_hub::{Reason, patching};

use super::clock::Deadline;
use super::parker;
use super::raw;
use super::table::{self, Ended, Key, Kind, Options, Who};
use crate::gate::{self, Call};

/// The shell. Not variadic, which the caller cannot tell on the machines that this crate is for.
///
/// # Safety
///
/// That of the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    if number == libc::SYS_futex && gate::is_watched(Call::syscall) && !is_wake_of_threads(a, b) {
        // SAFETY: the caller's promise.
        return unsafe { watched(number, a, b, c, d, e, f) };
    }
    // SAFETY: the caller's promise.
    raw::give(unsafe { raw::call(number, [a, b, c, d, e, f]) }) as c_long
}

/// Whether a call wakes those who wait for a private futex, and only the kernel knows any: what most of those calls are that come from outside of greenlets.
#[inline(always)]
fn is_wake_of_threads(address: usize, op: usize) -> bool {
    op as c_int == libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG
        && table::is_empty(Key::new(Kind::Futex, address as *const u32))
}

/// A function of its own, so that the calls that pass straight on need not save what this needs room for.
///
/// # Safety
///
/// That of the call.
#[inline(never)]
unsafe extern "C" fn watched(_: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    // SAFETY: the caller's promise.
    raw::give(unsafe { futex(Arguments { address: a, op: b, value: c, timeout: d, second: e, third: f }) }) as c_long
}

/// The arguments of a futex call, as they are.
#[derive(Clone, Copy)]
struct Arguments {
    address: usize,
    op: usize,
    value: usize,
    /// A time, or a second count.
    timeout: usize,
    second: usize,
    third: usize,
}

impl Arguments {
    fn op(self) -> c_int {
        self.op as c_int
    }

    /// The flag of a futex that no other process knows, or none.
    fn scope(self) -> c_int {
        self.op() & libc::FUTEX_PRIVATE_FLAG
    }

    fn value(self) -> u32 {
        self.value as u32
    }

    /// A count of those to wake: it is signed, and the kernel wakes one at the least.
    fn most(count: usize) -> usize {
        (count as c_int).max(1) as usize
    }

    fn bits(self) -> u32 {
        self.third as u32
    }

    fn key(self) -> Key {
        Key::new(Kind::Futex, self.address as *const u32)
    }

    fn second_key(self) -> Key {
        Key::new(Kind::Futex, self.second as *const u32)
    }
}

/// A futex call, of which the kernel need not hear. Returns what it does.
///
/// # Safety
///
/// That of the call.
unsafe fn futex(call: Arguments) -> isize {
    const MODIFIERS: c_int = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
    let is_ours = |address: usize| address != 0 && address.is_multiple_of(align_of::<u32>());
    if !is_ours(call.address) {
        // SAFETY: the caller's promise.
        return unsafe { real(call) };
    }
    match call.op() & !MODIFIERS {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET | libc::FUTEX_WAKE | libc::FUTEX_WAKE_BITSET => {}
        // SAFETY: the caller's promise.
        _ if call.scope() != libc::FUTEX_PRIVATE_FLAG => return unsafe { real(call) },
        _ => {}
    }
    match call.op() & !MODIFIERS {
        // SAFETY: the caller's promise, for all of them.
        libc::FUTEX_WAIT => unsafe { wait(call, table::ANY, From::Now) },
        // SAFETY: as above.
        libc::FUTEX_WAIT_BITSET => unsafe { wait(call, call.bits(), From::Zero) },
        libc::FUTEX_WAKE => wake(call.key(), Arguments::most(call.value), table::ANY, call.scope()),
        libc::FUTEX_WAKE_BITSET if call.bits() != 0 => {
            wake(call.key(), Arguments::most(call.value), call.bits(), call.scope())
        }
        // SAFETY: as above.
        libc::FUTEX_REQUEUE if is_ours(call.second) => unsafe { requeue(call, false) },
        // SAFETY: as above.
        libc::FUTEX_CMP_REQUEUE if is_ours(call.second) => unsafe { requeue(call, true) },
        // SAFETY: as above.
        libc::FUTEX_WAKE_OP if is_ours(call.second) => unsafe { wake_op(call) },
        // SAFETY: as above.
        _ => unsafe { real(call) },
    }
}

/// How long a greenlet that waits for a futex of several processes sleeps before it looks again.
const LOOK: timespec = timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// What a wait's time-out counts from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Now,
    /// The zero of its clock.
    Zero,
}

/// # Safety
///
/// That of the call.
unsafe fn wait(call: Arguments, bits: u32, from: From) -> isize {
    if parker::is_probe(call.address) {
        return -(libc::ETIMEDOUT as isize);
    }
    let deadline = if call.timeout == 0 {
        Some(Deadline::NEVER)
    } else {
        // SAFETY: the caller promises a time there.
        let time = unsafe { (call.timeout as *const timespec).read() };
        match from {
            _ if time.tv_sec < 0 => None,
            From::Now => Deadline::after(time),
            From::Zero if call.op() & libc::FUTEX_CLOCK_REALTIME != 0 => Deadline::at(libc::CLOCK_REALTIME, time),
            From::Zero => Deadline::at(libc::CLOCK_MONOTONIC, time),
        }
    };
    let Some(deadline) = deadline.filter(|_| bits != 0) else {
        // The kernel says what is wrong.
        // SAFETY: the caller's promise.
        return unsafe { real(call) };
    };
    if !gate::may_wait(Call::syscall) {
        // SAFETY: the caller's promise.
        return unsafe { wait_plainly(call, bits, deadline) };
    }
    match parker::judge(call.address) {
        parker::Verdict::Lock => {}
        // SAFETY: the caller's promise.
        parker::Verdict::OfThread => return unsafe { real(call) },
    }
    // SAFETY: the caller promises that the word is there; everybody changes it atomically.
    let word = unsafe { AtomicU32::from_ptr(call.address as *mut u32) };
    // Another process changes the word, and then wakes by the kernel's table alone.
    let looks_in = Deadline::after(LOOK)
        .filter(|looks_in| call.scope() != libc::FUTEX_PRIVATE_FLAG && looks_in.is_before(deadline));
    loop {
        let until = looks_in.unwrap_or(deadline).instant();
        let options = Options { bits, ..Options::new(call.key(), until, Reason::new("a lock (futex)")) };
        match table::wait(Who::Greenlet, options, |_| word.load(Ordering::SeqCst) == call.value(), || true) {
            Ended::Woken => return 0,
            Ended::Refused => return -(libc::EAGAIN as isize),
            Ended::TimedOut if deadline.is_over() => return -(libc::ETIMEDOUT as isize),
            // Whoever waits for a futex looks again, since it may be woken for nothing.
            Ended::TimedOut if looks_in.is_some() => return 0,
            // The clock was set back.
            Ended::TimedOut => {}
        }
    }
}

/// A wait that blocks the thread. On one with a hub, where nothing may switch, nobody else runs who could end it: if it lasts long, that is said.
///
/// # Safety
///
/// That of the call.
unsafe fn wait_plainly(call: Arguments, bits: u32, deadline: Deadline) -> isize {
    const LONG: timespec = timespec { tv_sec: 10, tv_nsec: 0 };
    static SAID: AtomicBool = AtomicBool::new(false);
    // The hub's own sleeps may be as long as they like.
    if patching::thread_word().is_some() && !patching::is_inside() && !SAID.load(Ordering::Relaxed) {
        let looks_in = Deadline::after(LONG).filter(|looks_in| looks_in.is_before(deadline));
        if let Some(looks_in) = looks_in {
            let time = looks_in.time();
            let op = libc::FUTEX_WAIT_BITSET | call.scope();
            // SAFETY: the caller's promise for the word; a time of ours.
            let result =
                unsafe { raw::syscall!(libc::SYS_futex, call.address, op, call.value(), &raw const time, 0, bits) };
            if result != -(libc::ETIMEDOUT as isize) {
                return result;
            }
            if !SAID.swap(true, Ordering::Relaxed) {
                super::report::line(format_args!(
                    "for 10 s a lock has been waited for where nothing may switch (in no_switch or in the panic hook); \
                     if a greenlet of this thread has it, that never ends"
                ));
            }
            if call.op() & libc::FUTEX_CMD_MASK == libc::FUTEX_WAIT && call.timeout != 0 {
                // Its time counts from the call, and not from now.
                let time = deadline.time();
                // SAFETY: as above.
                return unsafe {
                    raw::syscall!(libc::SYS_futex, call.address, op, call.value(), &raw const time, 0, bits)
                };
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { real(call) }
}

/// Wakes up to `most`, of greenlets and threads.
fn wake(key: Key, most: usize, bits: u32, scope: c_int) -> isize {
    if table::is_empty(key) {
        return wake_threads(key, most, bits, scope);
    }
    if table::is_kernels_turn(key) {
        let threads = wake_threads(key, most, bits, scope);
        if threads < 0 || threads as usize >= most {
            return threads;
        }
        return threads + table::wake(key, most - threads as usize, bits) as isize;
    }
    let greenlets = table::wake(key, most, bits);
    if greenlets >= most {
        return greenlets as isize;
    }
    match wake_threads(key, most - greenlets, bits, scope) {
        // Greenlets were woken: that is no error.
        error if error < 0 && greenlets > 0 => greenlets as isize,
        threads => threads + greenlets as isize,
    }
}

fn wake_threads(key: Key, most: usize, bits: u32, scope: c_int) -> isize {
    let op = libc::FUTEX_WAKE_BITSET | scope;
    // SAFETY: the call does not read the place.
    unsafe { raw::syscall!(libc::SYS_futex, key.address(), op, most, 0, 0, bits) }
}

/// # Safety
///
/// That of the call.
unsafe fn requeue(call: Arguments, compares: bool) -> isize {
    let (wake, most) = (call.value as c_int, call.timeout as c_int);
    let (Ok(wake), Ok(most)) = (usize::try_from(wake), usize::try_from(most)) else {
        // SAFETY: the caller's promise.
        return unsafe { real(call) };
    };
    if table::is_empty(call.key()) {
        // SAFETY: the caller's promise.
        return unsafe { real(call) };
    }
    // SAFETY: the caller promises that the word is there; everybody changes it atomically.
    let word = unsafe { AtomicU32::from_ptr(call.address as *mut u32) };
    let check = || !compares || word.load(Ordering::SeqCst) == call.bits();
    let Some(done) = table::requeue(call.key(), call.second_key(), wake, most, check) else {
        return -(libc::EAGAIN as isize);
    };
    // Both, whether it compares or not: so the kernel counts, other than its manual says.
    let ours = (done.woken + done.moved) as isize;
    let left = Arguments { value: wake - done.woken, timeout: most - done.moved, ..call };
    // SAFETY: the caller's promise; only the counts are others.
    match unsafe { real(left) } {
        error if error < 0 && done != table::Requeued::default() => ours,
        error if error < 0 => error,
        threads => threads + ours,
    }
}

/// # Safety
///
/// That of the call.
unsafe fn wake_op(call: Arguments) -> isize {
    let encoded = call.bits();
    let sign_extended = |shift: u32| ((encoded << (20 - shift)) as i32) >> 20;
    let (operation, comparison) = ((encoded >> 28) & 0xF, (encoded >> 24) & 0xF);
    let (mut operand, compared) = (sign_extended(12) as u32, sign_extended(0));
    if operation & 8 != 0 {
        operand = 1_u32.wrapping_shl(operand & 31);
    }
    // SAFETY: the caller promises that the word is there; everybody changes it atomically.
    let word = unsafe { AtomicU32::from_ptr(call.second as *mut u32) };
    let before = match operation & 7 {
        0 => word.swap(operand, Ordering::SeqCst),
        1 => word.fetch_add(operand, Ordering::SeqCst),
        2 => word.fetch_or(operand, Ordering::SeqCst),
        3 => word.fetch_and(!operand, Ordering::SeqCst),
        4 => word.fetch_xor(operand, Ordering::SeqCst),
        _ => return -(libc::ENOSYS as isize),
    } as i32;
    let holds = match comparison {
        0 => before == compared,
        1 => before != compared,
        2 => before < compared,
        3 => before <= compared,
        4 => before > compared,
        5 => before >= compared,
        _ => return -(libc::ENOSYS as isize),
    };
    let first = wake(call.key(), Arguments::most(call.value), table::ANY, call.scope());
    if first < 0 || !holds {
        return first;
    }
    match wake(call.second_key(), Arguments::most(call.timeout), table::ANY, call.scope()) {
        error if error < 0 => first,
        second => first + second,
    }
}

/// The call, as it is.
///
/// # Safety
///
/// That of the call.
unsafe fn real(call: Arguments) -> isize {
    let Arguments { address, op, value, timeout, second, third } = call;
    // SAFETY: the caller's promise.
    unsafe { raw::call(libc::SYS_futex, [address, op, value, timeout, second, third]) }
}
