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

/// Waits until another thread of this process sleeps in the kernel, in a wait for a futex. The thread that asks goes on running.
pub(crate) fn wait_until_it_sleeps(thread: libc::pid_t) {
    let begin = format!("{} ", libc::SYS_futex);
    while !std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap().starts_with(&begin) {
        thread::yield_now();
    }
}
