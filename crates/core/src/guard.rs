//! Guards: markers where the kernel has them, `mprotect` elsewhere.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys;

/// Which kind of guard to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardKind {
    /// Markers if this kernel has them and takes them for this memory, else protection.
    Best,
    /// Protection, as on a kernel without markers.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests force what old kernels do"))]
    Protected,
}

/// What the first guard of the process taught about this kernel.
static MARKERS: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const PRESENT: u8 = 1;
const ABSENT: u8 = 2;

/// Makes every access to these pages fault, for as long as they are mapped.
///
/// # Errors
///
/// Those of `mprotect`: `ENOMEM` when the process has as many mappings as `vm.max_map_count` allows.
///
/// # Safety
///
/// `start` and `len` are multiples of the page size and lie in a mapping of [`sys::reserve`]; nothing is
/// stored there.
pub(crate) unsafe fn install(start: NonNull<u8>, len: usize, kind: GuardKind) -> io::Result<()> {
    if kind == GuardKind::Best && MARKERS.load(Ordering::Relaxed) != ABSENT {
        // SAFETY: as promised by the caller.
        match unsafe { sys::install_guard_markers(start, len) } {
            Ok(()) => {
                MARKERS.store(PRESENT, Ordering::Relaxed);
                return Ok(());
            }
            // Kernels without markers refuse always, the others refuse locked memory (`mlockall`). If the
            // very first one is refused for that, the process has protected guards, which is no more
            // than a limit on their number.
            Err(_) => {
                let _ = MARKERS.compare_exchange(UNKNOWN, ABSENT, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }
    // SAFETY: as promised by the caller.
    unsafe { sys::protect(start, len) }
}
