//! Which pages are resident: waiting, trimmed, unmapped.
#![cfg(target_os = "linux")]

use greenlet_core::{Coroutine, CoroutinePool, DEFAULT_STACK_SIZE, Resumed, Suspender, TRIM_BATCH};

use crate::support::{finish, recurse_to, suspended, until_zero};

const PAGE: usize = 4096;

/// Counts the pages of a coroutine's stack that are resident; `None` if it is not mapped.
fn resident(bottom: usize, size: usize) -> Option<usize> {
    let mut pages = vec![0_u8; size / PAGE];
    let start = std::ptr::without_provenance_mut(bottom);
    // SAFETY: only asks; the vector has one byte for each page.
    let res = unsafe { libc::mincore(start, size, pages.as_mut_ptr()) };
    (res == 0).then(|| pages.iter().filter(|page| **page & 1 != 0).count())
}

fn resident_of(coroutine: &Coroutine) -> usize {
    resident(coroutine.guard().end, coroutine.stack_size()).unwrap()
}

/// Touches nearly all of the stack.
fn wide(_: Suspender, bottom: usize) {
    recurse_to(bottom, 0);
}

fn used(pool: &mut CoroutinePool) -> Coroutine {
    let mut coroutine = pool.take(DEFAULT_STACK_SIZE).unwrap();
    let bottom = coroutine.guard().end;
    assert_eq!(coroutine.resume(bottom), Resumed::Finished);
    assert!(resident_of(&coroutine) > 50);
    coroutine
}

fn has_pages_of_4_kib() -> bool {
    // SAFETY: it has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) == PAGE as libc::c_long }
}

#[test]
fn a_suspended_coroutine_occupies_one_page_whatever_its_colour() {
    if !has_pages_of_4_kib() {
        return;
    }
    let mut pool = CoroutinePool::new(until_zero);
    let mut coroutines: Vec<_> = (0..200).map(|_| suspended(&mut pool)).collect();
    assert!(coroutines.iter().all(|coroutine| resident_of(coroutine) == 1));
    coroutines.iter_mut().for_each(finish);
}

#[test]
fn what_comes_back_keeps_its_memory_until_it_is_trimmed() {
    if !has_pages_of_4_kib() {
        return;
    }
    let mut pool = CoroutinePool::new(wide);
    let coroutines: Vec<_> = (0..10).map(|_| used(&mut pool)).collect();
    let stacks: Vec<_> = coroutines.iter().map(|coroutine| coroutine.guard().end).collect();
    let pages = |stack: &usize| resident(*stack, DEFAULT_STACK_SIZE).unwrap();
    coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
    assert!(stacks.iter().all(|stack| pages(stack) > 50));

    // They came back after the last call, so they may be needed again.
    assert_eq!(pool.trim(0), 0);
    assert!(stacks.iter().all(|stack| pages(stack) > 50));
    // Nobody needed them; the hottest three are kept.
    assert_eq!(pool.trim(3), 7);
    assert_eq!(stacks.iter().filter(|stack| pages(stack) == 0).count(), 7);
    assert!(stacks[7..].iter().all(|stack| pages(stack) > 50));
    assert_eq!((pool.idle(), pool.statistics().cold), (3, 7));

    // Trimmed stacks are used again before new ones are made, and their guards are still there.
    let again: Vec<_> = (0..10).map(|_| used(&mut pool)).collect();
    assert_eq!(pool.statistics().stacks, 10);
    again.into_iter().for_each(|coroutine| pool.give(coroutine));
}

#[test]
fn what_was_needed_since_the_last_trim_is_kept() {
    let mut pool = CoroutinePool::new(until_zero);
    let coroutines: Vec<_> = (0..10).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
    coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
    pool.trim(0);
    // Six of ten are needed for a while.
    let coroutines: Vec<_> = (0..6).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
    coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
    assert_eq!(pool.trim(0), 4);
    assert_eq!(pool.idle(), 6);
}

#[test]
fn trimming_spares_some_across_all_sizes() {
    let mut pool = CoroutinePool::new(until_zero);
    for size in [DEFAULT_STACK_SIZE, 1 << 20] {
        let coroutines: Vec<_> = (0..4).map(|_| pool.take(size).unwrap()).collect();
        coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
    }
    pool.trim(0);
    assert_eq!(pool.trim(6), 2);
    assert_eq!(pool.trim(0), 6);
    assert_eq!(pool.statistics().cold, 8);
}

#[test]
fn a_trim_is_bounded_and_the_next_one_goes_on() {
    let mut pool = CoroutinePool::new(until_zero);
    let number = TRIM_BATCH + 10;
    let coroutines: Vec<_> = (0..number).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
    coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
    assert_eq!(pool.trim(0), 0);
    assert_eq!(pool.trim(0), TRIM_BATCH);
    assert_eq!(pool.trim(0), 10);
    assert_eq!(pool.idle(), 0);
}

/// In a child: in this process another thread might map something in the same place.
#[test]
fn the_end_of_a_pool_unmaps_slabs_that_are_whole_and_only_those() {
    let name = "memory::the_end_of_a_pool_unmaps_slabs_that_are_whole_and_only_those";
    let ended = crate::child::in_child(name, || {
        let mut pool = CoroutinePool::new(until_zero);
        let mut coroutines: Vec<_> = (0..512).map(|_| suspended(&mut pool)).collect();
        assert_eq!(pool.statistics().slabs, 2);
        let stacks: Vec<_> = coroutines.iter().map(|coroutine| coroutine.guard().end).collect();
        let mut second = coroutines.split_off(256);
        for mut coroutine in coroutines.into_iter().chain(second.drain(1..)) {
            finish(&mut coroutine);
            pool.give(coroutine);
        }
        // Some of the first slab's are cold, some idle.
        pool.trim(0);
        assert_eq!(pool.trim(100), 411);
        drop(pool);
        assert!(stacks[..256].iter().all(|stack| resident(*stack, PAGE).is_none()));
        assert!(stacks[256..].iter().all(|stack| resident(*stack, PAGE).is_some()));
        let mut last = second.pop().unwrap();
        finish(&mut last);
    });
    assert!(ended.status.success(), "{ended:?}");
}
