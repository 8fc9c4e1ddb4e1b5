//! The signal handler, and the handlers before it.

use std::ffi::{c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::OnceLock;

use super::Overflow;
use super::line::Line;
use crate::sys;

type Describe = fn(usize) -> Option<Overflow<'static>>;
type PlainHandler = extern "C" fn(c_int);
type InfoHandler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Reading a `OnceLock` is one atomic load, so the handler may.
static DESCRIBE: OnceLock<Describe> = OnceLock::new();
static BEFORE_SEGV: OnceLock<libc::sigaction> = OnceLock::new();
static BEFORE_BUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler for `SIGSEGV` and `SIGBUS`, once a process; later calls do nothing.
///
/// `describe` is called in the signal handler, on the thread that faulted, with the address of the fault: it
/// says whose stack has overflowed if the address lies in the guard of what runs now on this thread, else
/// `None`. It must be async-signal-safe: no allocation, no locks, nothing that may itself fault.
pub fn install(describe: fn(usize) -> Option<Overflow<'static>>) {
    DESCRIBE.get_or_init(|| {
        install_one(libc::SIGSEGV, &BEFORE_SEGV);
        install_one(libc::SIGBUS, &BEFORE_BUS);
        describe
    });
}

fn install_one(signal: c_int, before: &OnceLock<libc::sigaction>) {
    // The handler may run as soon as it is installed, so what it hands faults on to is noted before.
    let Some(previous) = exchange(signal, None) else {
        return;
    };
    let _ = before.set(previous);
    let mut action = previous;
    action.sa_sigaction = on_fault as *const () as usize;
    // The mask and SA_NODEFER are those that the handler before was promised. By itself this one does
    // without: a fault in `describe` must end the process, not come back here.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (previous.sa_flags & libc::SA_NODEFER);
    exchange(signal, Some(&action));
}

/// Reads a signal's action, after setting it if there is a new one.
fn exchange(signal: c_int, action: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    let mut previous = MaybeUninit::uninit();
    let action = action.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `action` is null or a valid action whose handler fits its flags; the other place is valid.
    let res = unsafe { libc::sigaction(signal, action, previous.as_mut_ptr()) };
    if res != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, so it has filled the structure in.
    Some(unsafe { previous.assume_init() })
}

/// Runs on the alternate stack, with nothing known of what was interrupted.
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = std::io::Error::last_os_error().raw_os_error();
    // SAFETY: the handler is installed with SA_SIGINFO, so the kernel has passed a valid structure, which
    // nobody else knows of.
    let details = unsafe { &*info };
    let is_fault = details.si_code > 0;
    // A signal that somebody sent (`kill`) has no address, only the sender there.
    if is_fault && let Some(describe) = DESCRIBE.get() {
        // SAFETY: for a fault the address is the member that is set.
        let address = unsafe { details.si_addr() };
        if let Some(overflow) = describe(address.addr()) {
            sys::write_stderr(Line::report(&overflow).as_bytes());
            // SAFETY: it has no preconditions.
            unsafe { libc::abort() };
        }
    }
    hand_on(signal, is_fault, info, context);
    if let Some(errno) = errno {
        sys::set_errno(errno);
    }
}

/// Does what would have happened without this handler.
fn hand_on(signal: c_int, is_fault: bool, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = if signal == libc::SIGBUS { &BEFORE_BUS } else { &BEFORE_SEGV };
    let Some(before) = before.get() else { return };
    match before.sa_sigaction {
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // The fault repeats when this handler returns, and then meets the action that was there
            // before; the kernel does not let it be ignored.
            exchange(signal, Some(before));
            if !is_fault {
                // A sent signal does not repeat. It is blocked until this handler returns.
                // SAFETY: it has no preconditions.
                unsafe { libc::raise(signal) };
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the action holds a function of this type.
            let handler = unsafe { mem::transmute::<usize, InfoHandler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO, and being none of the constants, it is a function of this type.
            let handler = unsafe { mem::transmute::<usize, PlainHandler>(handler) };
            handler(signal);
        }
    }
}
