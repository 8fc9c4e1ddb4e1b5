//! What is lent first, sizes, colours, statistics.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use greenlet_core::{CoroutinePool, DEFAULT_STACK_SIZE, GUARD_SIZE, MIN_STACK_SIZE, Suspender};

use crate::support::{finish, suspended, until_zero};

#[test]
fn the_coroutine_that_came_back_last_is_lent_first() {
    let mut pool = CoroutinePool::new(until_zero);
    let mut coroutines: Vec<_> = (0..5).map(|_| suspended(&mut pool)).collect();
    coroutines.iter_mut().for_each(finish);
    let mut guards: Vec<_> = coroutines.iter().map(|coroutine| coroutine.guard()).collect();
    coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
    assert_eq!(pool.idle(), 5);
    let again: Vec<_> = (0..5).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
    guards.reverse();
    assert_eq!(again.iter().map(|coroutine| coroutine.guard()).collect::<Vec<_>>(), guards);
    assert_eq!(pool.statistics().stacks, 5);
}

#[test]
fn the_stride_of_neighbouring_slots_is_an_odd_number_of_pages() {
    // SAFETY: it has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let mut pool = CoroutinePool::new(until_zero);
    for size in [0, 1, MIN_STACK_SIZE + 1, 100_000, DEFAULT_STACK_SIZE, 1 << 20] {
        let first = pool.take(size).unwrap();
        let second = pool.take(size).unwrap();
        let stride = second.guard().start - first.guard().start;
        assert_eq!(stride % page, 0);
        assert_eq!(stride / page % 2, 1, "{size}");
        assert!(first.stack_size() >= size.max(MIN_STACK_SIZE));
        assert_eq!(first.guard().len() + first.stack_size(), stride);
        assert!(first.guard().len() >= GUARD_SIZE);
    }
}

#[test]
fn neighbouring_stacks_begin_on_different_cache_lines() {
    static ADDRESS: AtomicUsize = AtomicUsize::new(0);
    fn body(_: Suspender, _: usize) {
        let local = 0_u8;
        ADDRESS.store((&raw const local).addr(), Ordering::Relaxed);
    }
    let mut pool = CoroutinePool::new(body);
    let mut lines: Vec<_> = (0..20)
        .map(|_| {
            pool.take(DEFAULT_STACK_SIZE).unwrap().resume(0);
            ADDRESS.load(Ordering::Relaxed) % 4096 / 64
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 20);
}

#[test]
fn sizes_do_not_mix() {
    let mut pool = CoroutinePool::new(until_zero);
    let small = pool.take(MIN_STACK_SIZE).unwrap();
    let large = pool.take(1 << 20).unwrap();
    let (small_guard, large_guard) = (small.guard(), large.guard());
    pool.give(small);
    pool.give(large);
    let default = pool.take(DEFAULT_STACK_SIZE).unwrap();
    assert_eq!(default.stack_size(), DEFAULT_STACK_SIZE);
    assert_eq!(pool.take(1 << 20).unwrap().guard(), large_guard);
    assert_eq!(pool.take(1).unwrap().guard(), small_guard);
}

#[test]
fn a_wish_just_below_the_default_shares_its_stacks() {
    let mut pool = CoroutinePool::new(until_zero);
    let default = pool.take(DEFAULT_STACK_SIZE).unwrap();
    let guard = default.guard();
    pool.give(default);
    assert_eq!(pool.take(DEFAULT_STACK_SIZE - 100).unwrap().guard(), guard);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn absurd_sizes_are_errors() {
    let mut pool = CoroutinePool::new(until_zero);
    for size in [usize::MAX, usize::MAX - 4095, usize::MAX / 2, isize::MAX as usize, 1 << 50, (8 << 40) + 1] {
        assert_eq!(pool.take(size).unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{size}");
    }
    // Allowed, but sixteen of them are more than a process can address on x86-64.
    let taken: Vec<_> = (0..16).map(|_| pool.take(8 << 40)).collect();
    assert!(taken.into_iter().any(|taken| taken.is_err()));
    assert!(pool.take(DEFAULT_STACK_SIZE).is_ok());
}

#[test]
fn many_different_sizes_share_few_slabs() {
    let mut pool = CoroutinePool::new(until_zero);
    for size in (0..1 << 20).step_by(1000) {
        let coroutine = pool.take(size).unwrap();
        assert!(coroutine.stack_size() >= size);
        pool.give(coroutine);
    }
    assert!(pool.statistics().slabs < 50, "{pool:?}");
}

#[test]
fn a_coroutine_in_the_middle_of_its_job_is_not_taken_back() {
    let mut pool = CoroutinePool::new(until_zero);
    let coroutine = suspended(&mut pool);
    let refused = panic::catch_unwind(AssertUnwindSafe(|| pool.give(coroutine)));
    assert!(refused.is_err());
    assert_eq!(pool.idle(), 0);
}

#[test]
fn a_coroutine_of_another_pool_keeps_its_slab_for_as_long_as_it_is_used() {
    let mut one = CoroutinePool::new(until_zero);
    let mut coroutine = suspended(&mut one);
    finish(&mut coroutine);
    drop(one);
    let mut other = CoroutinePool::new(until_zero);
    other.give(coroutine);
    let mut again = suspended(&mut other);
    finish(&mut again);
    other.give(again);
}

#[test]
fn statistics_count_stacks_and_slabs() {
    let mut pool = CoroutinePool::new(until_zero);
    assert_eq!(pool.statistics().mapped, 0);
    let coroutines: Vec<_> = (0..300).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
    let statistics = pool.statistics();
    assert_eq!((statistics.stacks, statistics.idle, statistics.cold, statistics.slabs), (300, 0, 0, 2));
    assert_eq!(statistics.mapped, 512 * (DEFAULT_STACK_SIZE + GUARD_SIZE));
    coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
    assert_eq!(pool.statistics().idle, 300);
}
