//! What the tests share.

use std::thread;
use std::time::{Duration, Instant};

/// A millisecond.
pub(crate) const MS: Duration = Duration::from_millis(1);

/// Runs a test on a thread of its own, with everything patched: a hub of its own, which ends with it.
pub(crate) fn patched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    greenlet_patch::patch_all();
    let tester = thread::spawn(|| {
        // From here on the thread has a hub.
        greenlet_hub::yield_now();
        test()
    });
    tester.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// How long it took.
pub(crate) fn timed<R>(f: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = f();
    (start.elapsed(), result)
}
