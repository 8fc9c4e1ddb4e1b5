//! What many tests need: suspending, finishing, running off the stack.

use std::hint::black_box;

use greenlet_core::{Coroutine, CoroutinePool, DEFAULT_STACK_SIZE, Resumed, Suspender};

/// Suspends the coroutine that runs.
pub(crate) fn suspend(suspender: Suspender) -> usize {
    // SAFETY: the bodies of these tests use the suspender that they were given, on their own stack.
    unsafe { suspender.suspend() }
}

/// A body that suspends until it gets a 0.
pub(crate) fn until_zero(suspender: Suspender, message: usize) {
    let mut message = message;
    while message != 0 {
        message = suspend(suspender);
    }
}

/// Takes a default coroutine and runs `until_zero` up to its first suspension.
pub(crate) fn suspended(pool: &mut CoroutinePool) -> Coroutine {
    let mut coroutine = pool.take(DEFAULT_STACK_SIZE).unwrap();
    assert_eq!(coroutine.resume(1), Resumed::Suspended);
    coroutine
}

/// Ends the job of a coroutine that runs `until_zero`.
pub(crate) fn finish(coroutine: &mut Coroutine) {
    assert_eq!(coroutine.resume(0), Resumed::Finished);
}

/// Recurses until a local lies less than 4 KiB above `bottom`; returns how deep it came.
#[inline(never)]
pub(crate) fn recurse_to(bottom: usize, depth: usize) -> usize {
    let frame = black_box([depth as u8; 256]);
    if frame.as_ptr().addr() < bottom + 4096 {
        return depth;
    }
    let deepest = recurse_to(bottom, depth + 1);
    // The frame is still needed, so the call is no tail call.
    assert_eq!(frame[depth % 256], depth as u8);
    deepest
}
