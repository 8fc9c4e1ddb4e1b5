//! Waits by which a *thread* is told from other threads: what stands on them does not work between greenlets, and must not hang without a word.
//!
//! `thread::park`, and with it `std::sync::mpsc`, `crossbeam-channel` and every `block_on`, keep their place to wait at in the thread; `parking_lot` does so in a
//! thread-local. All greenlets of a hub share those. Were one that waits there to switch, another could find the place in use, or take a wake-up that is not its own. So it
//! blocks the thread, as it would without this crate, and says so once.
//!
//! **std's place** lies in what a `Thread` points to, always at the same distance. That is found by a probe, once a process, on the thread that patches: a `park_timeout` of no time at all makes a
//! futex wait on it. If the thread had been unparked, it makes none, and the token is gone: a second one does then, and the token is given back. (An unparking that comes from another thread in just that
//! microsecond is lost.) It is not done when a wait is to be judged: that may be a `park` already, whose state the probe would take away.
//!
//! **Thread-locals** of the executable and of the libraries that were loaded with it lie at the same distance from each thread's pointer; that range is found once a process. Those of libraries
//! that were opened later lie on the heap, and are not recognised.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use greenlet_hub::{Handle, patching};

use super::native::thread_pointer;
use super::{report, wait};

/// What a futex wait of a greenlet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Something that belongs to no thread.
    Lock,
    /// Something that belongs to this thread: the wait blocks it.
    OfThread,
}

/// Says what a greenlet's futex wait is for, and warns of what does not work.
#[inline]
pub(crate) fn judge(address: usize) -> Verdict {
    let mut parker = patching::thread_word().unwrap_or(0);
    if parker == 0 {
        parker = parker_of(&thread::current());
        patching::set_thread_word(parker);
    }
    if address == parker {
        return warn(What::Parker);
    }
    if lies_in_thread_locals(address) {
        return warn(What::ThreadLocal);
    }
    Verdict::Lock
}

// ---- std's parker ----

/// How far behind what a `Thread` points to its parker lies; `NOWHERE` as long as that is not known.
static OFFSET: AtomicUsize = AtomicUsize::new(NOWHERE);
const NOWHERE: usize = usize::MAX;
/// It does not lie further away, if it lies there at all.
const NEAR: usize = 256;

/// The thread that probes, and what it has found.
static PROBER: AtomicUsize = AtomicUsize::new(0);
static PROBED: AtomicUsize = AtomicUsize::new(0);

/// Finds out where std parks threads. To be called when futexes are patched.
pub(crate) fn find() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        PROBER.store(thread_pointer(), Ordering::Relaxed);
        thread::park_timeout(Duration::ZERO);
        let had_token = PROBED.load(Ordering::Relaxed) == 0;
        if had_token {
            thread::park_timeout(Duration::ZERO);
        }
        PROBER.store(0, Ordering::Relaxed);
        let this = thread::current();
        if had_token {
            this.unpark();
        }
        let offset = PROBED.load(Ordering::Relaxed).wrapping_sub(pointer_of(&this));
        if offset < NEAR {
            OFFSET.store(offset, Ordering::Relaxed);
        }
    });
}

/// Whether a futex wait is the probe's, and none.
#[inline]
pub(crate) fn is_probe(address: usize) -> bool {
    let prober = PROBER.load(Ordering::Relaxed);
    if prober == 0 || prober != thread_pointer() {
        return false;
    }
    PROBED.store(address, Ordering::Relaxed);
    true
}

/// Where std parks a thread; an address that nothing has if that is not known.
fn parker_of(thread: &Thread) -> usize {
    match OFFSET.load(Ordering::Relaxed) {
        NOWHERE => NOWHERE,
        offset => pointer_of(thread).wrapping_add(offset),
    }
}

/// What a `Thread` points to.
fn pointer_of(thread: &Thread) -> usize {
    const { assert!(size_of::<Thread>() == size_of::<usize>()) };
    // It is only compared with addresses; were it no pointer at all, `find` would find nothing.
    // SAFETY: a word that is initialised: a `Thread` is one word, without padding.
    unsafe { (&raw const *thread).cast::<usize>().read() }
}

/// What belongs to a thread.
#[derive(Clone, Copy)]
enum What {
    Parker,
    ThreadLocal,
}

#[cold]
fn warn(what: What) -> Verdict {
    static SAID: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
    if SAID[what as usize].load(Ordering::Relaxed) || is_alone() || SAID[what as usize].swap(true, Ordering::Relaxed) {
        return Verdict::OfThread;
    }
    let greenlet = greenlet_hub::current();
    let name = greenlet.name().map_or(String::new(), |name| format!(" '{name}'"));
    let (id, spawned_at) = (greenlet.id(), greenlet.spawned_at());
    let what = match what {
        What::Parker => "parks (thread::park, or what stands on it: std::sync::mpsc, crossbeam-channel, a block_on)",
        What::ThreadLocal => "waits in a thread-local (as parking_lot does)",
    };
    report::line(format_args!(
        "greenlet {id}{name}, spawned at {spawned_at}, {what}, by which all greenlets of its thread are one: the thread blocks, and none of \
         them runs meanwhile. Use std's or greenlet's own locks and queues, or do it on a thread of its own: greenlet::offload"
    ));
    Verdict::OfThread
}

/// Whether no greenlet would be held up: what runs is the thread's own stack, and there is no other.
fn is_alone() -> bool {
    let hub = Handle::current();
    if hub.load() != 0 {
        return false;
    }
    // Those that have not started are not counted. They start now.
    wait::trip();
    hub.load() == 0
}

// ---- thread-locals ----

/// How far below and above the thread pointer the static thread-locals reach; 0 and 0: not looked yet.
static BELOW: AtomicUsize = AtomicUsize::new(0);
static ABOVE: AtomicUsize = AtomicUsize::new(0);

fn lies_in_thread_locals(address: usize) -> bool {
    let (mut below, mut above) = (BELOW.load(Ordering::Relaxed), ABOVE.load(Ordering::Relaxed));
    if below == 0 && above == 0 {
        (below, above) = reach();
        BELOW.store(below, Ordering::Relaxed);
        ABOVE.store(above, Ordering::Relaxed);
    }
    let pointer = thread_pointer();
    address < pointer.saturating_add(above) && address >= pointer.saturating_sub(below)
}

/// Looks at the thread-locals of all that is loaded.
#[cold]
fn reach() -> (usize, usize) {
    /// Those that are further away were not there when the process began, and lie on the heap.
    const FAR: usize = 1 << 16;

    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
        // SAFETY: what the C library calls this with.
        let info = unsafe { &*info };
        // SAFETY: what `reach` has handed over.
        let (below, above) = unsafe { &mut *found.cast::<(usize, usize)>() };
        let start = info.dlpi_tls_data.addr();
        // SAFETY: the C library's array, of that length.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let size =
            headers.iter().find(|header| header.p_type == libc::PT_TLS).map_or(0, |header| header.p_memsz as usize);
        let pointer = thread_pointer();
        if start != 0 && start.abs_diff(pointer) < FAR {
            *below = (*below).max(pointer.saturating_sub(start));
            *above = (*above).max((start + size).saturating_sub(pointer));
        }
        0
    }

    let mut found = (0, 0);
    // SAFETY: `look` gets what it expects, and nobody else has it meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
    // One who has none at all looks once all the same.
    if found == (0, 0) { (1, 0) } else { found }
}
