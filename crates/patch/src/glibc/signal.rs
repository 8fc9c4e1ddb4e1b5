//! Handlers of signals run with the patch inert: the kernel gets a function of ours, which marks that what runs is not to switch, and calls the user's.
//!
//! A handler runs in the middle of anything: of the hub's loop, of a greenlet that holds a lock of ours. If a `write` in it waited as a greenlet does, the hub would switch in the
//! middle of its own work. (A handler that leaves by `longjmp` leaves the mark behind: unsupported.)
//!
//! # The table
//!
//! For each signal there are *two* places for a handler, and two functions of ours, one a place. A change writes the place that is not in use, then has
//! the kernel change over, with the new flags and mask in the same moment. So a signal that comes in the middle of a change finds the old handler or the new one, each with what belongs to it, and nobody
//! ever waits; a place is one word. What the kernel has installed says which place is in use, so a query needs nothing else, and one-shot handlers (`SA_RESETHAND`), `fork` and `siginterrupt` are right by themselves.
//!
//! Changes themselves take turns by a lock, with all signals blocked, since a handler may make one as well.
//!
//! # Bells
//!
//! `pause`, and calls that wait with another signal mask, end when a handler has run. A greenlet that waits so hangs up a *bell*: an eventfd that our function rings after the
//! user's handler. Of a handler that runs on another thread of the process it is told as well.

use std::cell::Cell;
use std::hint;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_hub::patching::Inside;
use libc::{c_int, c_void, sighandler_t, siginfo_t};

use super::mask;
use super::owned::{Foreign, Owned};
use super::raw;
use super::readiness::look_until;
use crate::gate::{self, Call};

/// The kernel's signals are 1 to 64.
const SIGNALS: usize = 65;
/// A place's bit that says that the handler takes three arguments; no function's address has it.
const HAS_INFO: usize = 1 << 63;
const SIG_HOLD: sighandler_t = 2;

/// A handler that is installed is ours, and calls the user's.
static WRAPS: AtomicBool = AtomicBool::new(false);

static PLACES: [[AtomicUsize; SIGNALS]; 2] = [const { [const { AtomicUsize::new(0) }; SIGNALS] }; 2];

mod past {
    use libc::c_int;

    crate::glibc::real::real! {
        /// The C library's.
        fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int;
    }
}
use past::sigaction as real_sigaction;

/// Wraps the handlers that are installed already. From here on those that are installed are wrapped.
pub(crate) fn wrap_installed() {
    if WRAPS.swap(true, Ordering::SeqCst) {
        return;
    }
    for signal in 1..SIGNALS as c_int {
        // Those of the C library's own are refused.
        let _turn = Turn::take();
        if let Some(action) = installed(signal)
            && is_handler(action.sa_sigaction)
        {
            // SAFETY: the action is the one that is installed.
            unsafe { install(signal, action, ptr::null_mut()) };
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // It is the probe's business alone who else calls it.
    gate::is_watched(Call::sigaction);
    if !WRAPS.load(Ordering::Relaxed) || !(1..SIGNALS as c_int).contains(&signal) {
        // SAFETY: the caller's promise.
        return unsafe { real_sigaction(signal, new, old) };
    }
    let _turn = Turn::take();
    // SAFETY: the caller's promise, if it is not null.
    let result = match unsafe { new.as_ref() } {
        // SAFETY: the caller's promise.
        Some(&action) if is_handler(action.sa_sigaction) => unsafe { install(signal, action, old) },
        // SAFETY: the caller's promise.
        _ => unsafe { real_sigaction(signal, new, old) },
    };
    // SAFETY: the caller's promise, if it is not null.
    if let Some(old) = unsafe { old.as_mut() }
        && result == 0
    {
        unwrap(signal, old);
    }
    result
}

macro_rules! simple {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(signal: c_int, handler: sighandler_t) -> sighandler_t {
                gate::is_watched(Call::$name);
                mod past {
                    crate::glibc::real::real! {
                        /// The C library's.
                        fn $name(signal: libc::c_int, handler: libc::sighandler_t) -> libc::sighandler_t;
                    }
                }
                // SAFETY: the caller's promise; the handler that it is called with is one.
                install_simply(signal, handler, |handler| unsafe { past::$name(signal, handler) })
            }
        )*
    };
}

simple! { signal bsd_signal ssignal sysv_signal __sysv_signal sigset }

/// One of the older calls, whose flags the C library knows: `real` makes it.
fn install_simply(
    signal: c_int,
    handler: sighandler_t,
    real: impl FnOnce(sighandler_t) -> sighandler_t,
) -> sighandler_t {
    if !WRAPS.load(Ordering::Relaxed) || !(1..SIGNALS as c_int).contains(&signal) {
        return real(handler);
    }
    let _turn = Turn::take();
    let before = installed(signal);
    let handler = match &before {
        Some(before) if is_handler(handler) => put(signal, before.sa_sigaction, handler),
        _ => handler,
    };
    let old = real(handler);
    place_of(old).map_or(old, |place| PLACES[place][signal as usize].load(Ordering::Acquire) & !HAS_INFO)
}

/// Waits until a handler of a signal has run, on whichever thread of the process.
#[unsafe(no_mangle)]
unsafe extern "C" fn pause() -> c_int {
    if !gate::may_wait(Call::pause) {
        // SAFETY: the arguments are none, or outlive the call.
        #[cfg(target_arch = "x86_64")]
        let result = unsafe { raw::syscall!(libc::SYS_pause) };
        // SAFETY: no descriptors, no time and no mask are allowed.
        #[cfg(not(target_arch = "x86_64"))]
        let result = unsafe { raw::syscall!(libc::SYS_ppoll, 0, 0, 0, 0, 0) };
        return raw::give(result) as c_int;
    }
    raw::give(look_until(None, std::iter::empty(), || 0)) as c_int
}

// ---- the table ----

/// What the kernel calls.
unsafe extern "C" fn called<const PLACE: usize>(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // What the handler does to it is its own business; what is done here must not be seen.
    let handler = PLACES[PLACE][signal as usize].load(Ordering::Acquire);
    {
        let _inside = Inside::enter();
        let _running = Running::enter();
        let address = (handler & !HAS_INFO) as *const ();
        if handler & HAS_INFO != 0 {
            // SAFETY: the user has installed it as a function of this type.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = unsafe { std::mem::transmute(address) };
            handler(signal, info, context);
        } else {
            // SAFETY: the user has installed it as a function of this type.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(address) };
            handler(signal);
        }
    }
    ring();
}

thread_local! {
    /// How many handlers run on this thread, each in the middle of the one before. Read in handlers: so it has neither an initialiser nor a destructor.
    static RUNNING: Cell<u32> = const { Cell::new(0) };
}

/// Whether what runs is a handler, on whatever thread: it may be in the middle of an allocation.
pub(crate) fn in_handler() -> bool {
    RUNNING.get() != 0
}

/// Counts a handler while it lives.
struct Running;

impl Running {
    fn enter() -> Running {
        RUNNING.set(RUNNING.get() + 1);
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// The address of the function that calls the handler of a place.
fn caller_of(place: usize) -> sighandler_t {
    let callers: [unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void); 2] = [called::<0>, called::<1>];
    callers[place] as sighandler_t
}

/// The place that an installed function calls the handler of, if it is one of ours.
fn place_of(installed: sighandler_t) -> Option<usize> {
    (0..2).find(|&place| caller_of(place) == installed)
}

/// Whether it is a function, rather than one of the numbers that say what else is to happen.
fn is_handler(handler: sighandler_t) -> bool {
    !matches!(handler, libc::SIG_DFL | libc::SIG_IGN | SIG_HOLD | libc::SIG_ERR)
}

/// Writes a handler into the place that is not in use; returns what calls it.
fn put(signal: c_int, installed: sighandler_t, handler: usize) -> sighandler_t {
    if let Some(place) = place_of(handler & !HAS_INFO) {
        // Somebody has ours in hand, by a call that went past us.
        return caller_of(place);
    }
    let place = 1 - place_of(installed).unwrap_or(1);
    PLACES[place][signal as usize].store(handler, Ordering::Release);
    caller_of(place)
}

/// Installs a handler; `old` is filled with what the kernel has.
///
/// # Safety
///
/// That of `sigaction`.
unsafe fn install(signal: c_int, mut action: libc::sigaction, old: *mut libc::sigaction) -> c_int {
    let Some(before) = installed(signal) else {
        // It says what is wrong.
        // SAFETY: the caller's promise.
        return unsafe { real_sigaction(signal, &raw const action, old) };
    };
    let has_info = if action.sa_flags & libc::SA_SIGINFO != 0 { HAS_INFO } else { 0 };
    action.sa_sigaction = put(signal, before.sa_sigaction, action.sa_sigaction | has_info);
    // Always asked for, since ours takes it.
    action.sa_flags |= libc::SA_SIGINFO;
    // SAFETY: the caller's promise.
    unsafe { real_sigaction(signal, &raw const action, old) }
}

/// Makes what the kernel has into what the user has installed.
fn unwrap(signal: c_int, action: &mut libc::sigaction) {
    if let Some(place) = place_of(action.sa_sigaction) {
        let handler = PLACES[place][signal as usize].load(Ordering::Acquire);
        action.sa_sigaction = handler & !HAS_INFO;
        if handler & HAS_INFO == 0 {
            action.sa_flags &= !libc::SA_SIGINFO;
        }
    }
}

/// What the kernel has for a signal; `None` if the C library keeps it for itself.
fn installed(signal: c_int) -> Option<libc::sigaction> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: there is room for the answer.
    let result = unsafe { real_sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call has filled it.
    (result == 0).then(|| unsafe { action.assume_init() })
}

/// One change at a time, with all signals blocked.
struct Turn {
    blocked: mask::Signals,
}

/// The process whose thread has its turn, or 0. A child that was forked in the middle of one, by another thread, finds its parent's.
static TURN: AtomicI32 = AtomicI32::new(0);

impl Turn {
    fn take() -> Turn {
        let blocked = mask::set_blocked(!0);
        // SAFETY: a call without arguments.
        let own = unsafe { raw::syscall!(libc::SYS_getpid) } as i32;
        let mut free = 0;
        while let Err(holder) = TURN.compare_exchange_weak(free, own, Ordering::Acquire, Ordering::Relaxed) {
            free = if holder == own { 0 } else { holder };
            hint::spin_loop();
        }
        Turn { blocked }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.store(0, Ordering::Release);
        mask::set_blocked(self.blocked);
    }
}

// ---- bells ----

/// So many greenlets wait for handlers, of all threads, at the most; more look from time to time.
const BELLS: usize = 32;

/// How long those sleep.
const PAUSE: Duration = Duration::from_millis(20);

/// How many handlers have run.
static RUNS: AtomicU64 = AtomicU64::new(0);
/// How many bells hang.
static HANGING: AtomicUsize = AtomicUsize::new(0);
static HOOKS: [Hook; BELLS] = [const { Hook { taken: AtomicBool::new(false), eventfd: AtomicI32::new(-1) } }; BELLS];

/// A place for a bell. Its eventfd is never closed, for a handler may be about to write to it.
struct Hook {
    taken: AtomicBool,
    eventfd: AtomicI32,
}

/// Tells a greenlet that a handler has run since it was hung up.
pub(crate) struct Bell {
    hook: Option<&'static Hook>,
    runs: u64,
}

impl Bell {
    pub(crate) fn hang() -> Bell {
        HANGING.fetch_add(1, Ordering::SeqCst);
        let runs = RUNS.load(Ordering::SeqCst);
        let hook = HOOKS.iter().find(|hook| !hook.taken.swap(true, Ordering::AcqRel));
        if let Some(hook) = hook {
            hook.make_eventfd();
            // What was rung for the one before.
            hook.silence();
        }
        Bell { hook, runs }
    }

    /// A descriptor that becomes readable with it.
    pub(crate) fn number(&self) -> Option<c_int> {
        let number = self.hook?.eventfd.load(Ordering::Relaxed);
        (number >= 0).then_some(number)
    }

    /// Waits until it rings.
    pub(crate) fn wait(&self) -> io::Result<()> {
        while !self.has_rung() {
            match self.number() {
                Some(number) => greenlet_hub::wait_readable(Foreign(number))?,
                None => greenlet_hub::sleep(PAUSE),
            }
        }
        Ok(())
    }

    /// To be asked after each wait for its descriptor.
    pub(crate) fn has_rung(&self) -> bool {
        let has_run = || RUNS.load(Ordering::SeqCst) != self.runs;
        if has_run() {
            return true;
        }
        // A ring that came late, of a handler that had run before: it must not wake again.
        if let Some(hook) = self.hook {
            hook.silence();
        }
        has_run()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(hook) = self.hook {
            hook.taken.store(false, Ordering::Release);
        }
        HANGING.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Hook {
    fn make_eventfd(&self) {
        if self.eventfd.load(Ordering::Relaxed) >= 0 {
            return;
        }
        // SAFETY: a call with plain integers.
        let made = Owned::made(unsafe { raw::syscall!(libc::SYS_eventfd2, 0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) });
        if let Ok(made) = made {
            self.eventfd.store(made.number(), Ordering::SeqCst);
            std::mem::forget(made);
        }
    }

    fn silence(&self) {
        let mut count = 0_u64;
        let number = self.eventfd.load(Ordering::Relaxed);
        // SAFETY: there is room for the count. If there is none to be read, so much the better.
        unsafe { raw::syscall!(libc::SYS_read, number, &raw mut count, 8) };
    }
}

/// In a forked child, which has its parent's bells: what rang or silenced them here would be heard there. Those who wait by them are left behind; but the greenlet that has forked may be
/// one of them (in a handler), and then looks from time to time.
pub(crate) fn begin_anew_in_child() {
    for hook in &HOOKS {
        let number = hook.eventfd.swap(-1, Ordering::SeqCst);
        if number >= 0 {
            // SAFETY: nobody else has it in this process, which has one thread.
            unsafe { raw::syscall!(libc::SYS_close, number) };
        }
    }
    TURN.store(0, Ordering::Release);
}

/// Tells those who wait that a handler has run. Called in a signal's handler.
fn ring() {
    RUNS.fetch_add(1, Ordering::SeqCst);
    if HANGING.load(Ordering::SeqCst) == 0 {
        return;
    }
    for hook in &HOOKS {
        let number = hook.eventfd.load(Ordering::SeqCst);
        if number >= 0 && hook.taken.load(Ordering::Relaxed) {
            let one = 1_u64;
            // SAFETY: eight readable bytes. It cannot be full.
            unsafe { raw::syscall!(libc::SYS_write, number, &raw const one, 8) };
        }
    }
}
