//! Resuming, suspending, finishing, panicking, dropping.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use greenlet_core::{Coroutine, CoroutinePool, DEFAULT_STACK_SIZE, MIN_STACK_SIZE, Resumed, Suspender};

use crate::child::in_child;
use crate::support::{finish, recurse_to, suspend, suspended, until_zero};

/// What a body and its test share, by address in the first message.
#[derive(Default)]
struct Shared {
    values: std::cell::RefCell<Vec<usize>>,
    dropped: Cell<bool>,
    address: Cell<usize>,
}

impl Shared {
    fn message(&self) -> usize {
        std::ptr::from_ref(self).expose_provenance()
    }

    fn of(message: usize) -> &'static Self {
        // SAFETY: the tests send the address of a `Shared` that outlives the job, as its first message.
        unsafe { &*std::ptr::with_exposed_provenance(message) }
    }
}

#[test]
fn messages_go_in_and_the_state_comes_out() {
    fn body(suspender: Suspender, message: usize) {
        let shared = Shared::of(message);
        for _ in 0..3 {
            let value = suspend(suspender);
            shared.values.borrow_mut().push(value);
        }
    }
    let shared = Shared::default();
    let mut coroutine = CoroutinePool::new(body).take(DEFAULT_STACK_SIZE).unwrap();
    assert!(coroutine.is_idle());
    assert_eq!(coroutine.resume(shared.message()), Resumed::Suspended);
    assert!(!coroutine.is_idle());
    assert_eq!(coroutine.resume(7), Resumed::Suspended);
    assert_eq!(coroutine.resume(0), Resumed::Suspended);
    assert_eq!(coroutine.resume(usize::MAX), Resumed::Finished);
    assert!(coroutine.is_idle());
    assert_eq!(*shared.values.borrow(), [7, 0, usize::MAX]);
}

#[test]
fn one_coroutine_runs_many_jobs() {
    fn body(_: Suspender, message: usize) {
        let shared = Shared::of(message);
        let job = shared.values.borrow().len();
        shared.values.borrow_mut().push(job);
    }
    let shared = Shared::default();
    let mut coroutine = CoroutinePool::new(body).take(DEFAULT_STACK_SIZE).unwrap();
    for _ in 0..1000 {
        assert_eq!(coroutine.resume(shared.message()), Resumed::Finished);
    }
    assert_eq!(*shared.values.borrow(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_coroutine_is_as_small_as_a_pointer_and_moves_while_it_is_suspended() {
    assert_eq!(size_of::<Option<Coroutine>>(), size_of::<usize>());
    let mut pool = CoroutinePool::new(until_zero);
    let mut coroutines: Vec<_> = (0..10).map(|_| suspended(&mut pool)).collect();
    coroutines.rotate_left(3);
    let mut moved: Vec<_> = coroutines.into_iter().rev().map(Box::new).collect();
    moved.iter_mut().for_each(|coroutine| finish(coroutine));
}

#[test]
fn panics_that_the_body_catches_stay_on_their_stacks() {
    struct CountDrop<'a>(&'a Shared);
    impl Drop for CountDrop<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            self.0.values.borrow_mut().push(1);
        }
    }
    fn body(suspender: Suspender, message: usize) {
        let shared = Shared::of(message);
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            let _count = CountDrop(shared);
            let number = suspend(suspender);
            panic!("number {number}");
        }));
        let payload = caught.unwrap_err();
        let number = suspend(suspender);
        assert_eq!(*payload.downcast_ref::<String>().unwrap(), format!("number {number}"));
    }
    let shared = Shared::default();
    let mut pool = CoroutinePool::new(body);
    for _ in 0..3 {
        let mut coroutines: Vec<_> = (0..20).map(|_| pool.take(MIN_STACK_SIZE).unwrap()).collect();
        for coroutine in &mut coroutines {
            assert_eq!(coroutine.resume(shared.message()), Resumed::Suspended);
        }
        for (number, coroutine) in coroutines.iter_mut().enumerate().rev() {
            assert_eq!(coroutine.resume(number), Resumed::Suspended);
            assert!(!std::thread::panicking());
        }
        for (number, mut coroutine) in coroutines.into_iter().enumerate() {
            assert_eq!(coroutine.resume(number), Resumed::Finished);
            pool.give(coroutine);
        }
    }
    assert_eq!(shared.values.borrow().len(), 60);
}

#[test]
fn a_body_that_unwinds_aborts_the_process_with_a_line() {
    let ended = in_child("coroutine::a_body_that_unwinds_aborts_the_process_with_a_line", || {
        let mut pool = CoroutinePool::new(|_, _| panic!("nobody catches this"));
        pool.take(DEFAULT_STACK_SIZE).unwrap().resume(0);
    });
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
    assert!(ended.stderr.contains("the body of a coroutine has unwound"), "{ended:?}");
}

#[test]
fn a_panic_with_a_backtrace_fits_on_the_smallest_stack() {
    fn body(_: Suspender, _: usize) {
        let caught = panic::catch_unwind(|| panic!("{:?} {}", [1.5; 3], "x"));
        assert!(caught.is_err());
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        assert!(trace.contains("fits_on_the_smallest_stack"), "{trace}");
    }
    let mut coroutine = CoroutinePool::new(body).take(0).unwrap();
    assert!(coroutine.stack_size() < MIN_STACK_SIZE + 3 * 4096);
    assert_eq!(coroutine.resume(0), Resumed::Finished);
}

#[test]
fn a_deep_recursion_has_the_whole_stack() {
    fn body(_: Suspender, bottom: usize) {
        assert!(recurse_to(bottom, 0) > 30);
    }
    let mut pool = CoroutinePool::new(body);
    for size in [0, 100_000, DEFAULT_STACK_SIZE, 8 << 20] {
        let mut coroutine = pool.take(size).unwrap();
        assert!(coroutine.stack_size() >= size);
        let bottom = coroutine.guard().end;
        assert_eq!(coroutine.resume(bottom), Resumed::Finished);
    }
}

/// A body with a value on its stack, whose address and drop the test sees.
fn keeps_a_value(suspender: Suspender, message: usize) {
    struct Kept(usize, &'static Shared);
    impl Drop for Kept {
        fn drop(&mut self) {
            self.1.dropped.set(true);
        }
    }
    let kept = Kept(0xC0FFEE, Shared::of(message));
    kept.1.address.set((&raw const kept.0).expose_provenance());
    suspend(suspender);
}

fn value_at(address: usize) -> usize {
    // SAFETY: the address is that of a value on a stack that was given up, and so is never freed.
    unsafe { std::ptr::with_exposed_provenance::<usize>(address).read_volatile() }
}

#[test]
fn dropping_a_suspended_coroutine_neither_unwinds_nor_frees_its_stack() {
    let shared = Shared::default();
    let mut pool = CoroutinePool::new(keeps_a_value);
    let mut coroutine = pool.take(DEFAULT_STACK_SIZE).unwrap();
    assert_eq!(coroutine.resume(shared.message()), Resumed::Suspended);
    let _: Option<()> = Some(coroutine).map(|_dropped_here| ());
    // Others come and go on the same slab, and even the pool goes.
    let mut other = pool.take(DEFAULT_STACK_SIZE).unwrap();
    let dropped = Shared::default();
    other.resume(dropped.message());
    assert_eq!(other.resume(0), Resumed::Finished);
    assert!(dropped.dropped.get());
    pool.give(other);
    drop(pool);
    assert!(!shared.dropped.get());
    assert_eq!(value_at(shared.address.get()), 0xC0FFEE);
}

#[test]
fn a_leaked_coroutine_keeps_its_slab_when_the_pool_goes() {
    let shared = Shared::default();
    let mut pool = CoroutinePool::new(keeps_a_value);
    let mut coroutine = pool.take(DEFAULT_STACK_SIZE).unwrap();
    assert_eq!(coroutine.resume(shared.message()), Resumed::Suspended);
    coroutine.leak();
    drop(pool);
    assert!(!shared.dropped.get());
    assert_eq!(value_at(shared.address.get()), 0xC0FFEE);
}

#[test]
fn a_coroutine_outlives_its_pool() {
    let shared = Shared::default();
    let mut pool = CoroutinePool::new(keeps_a_value);
    let mut coroutine = pool.take(DEFAULT_STACK_SIZE).unwrap();
    assert_eq!(coroutine.resume(shared.message()), Resumed::Suspended);
    drop(pool);
    assert_eq!(coroutine.resume(0), Resumed::Finished);
    assert!(shared.dropped.get());
}
