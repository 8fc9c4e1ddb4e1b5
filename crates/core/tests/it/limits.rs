//! Many stacks, and none to be had.
#![cfg(target_os = "linux")]

use std::io;

use greenlet_core::{CoroutinePool, DEFAULT_STACK_SIZE};

use crate::child::in_child;
use crate::support::{finish, suspended, until_zero};

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn more_guarded_stacks_than_the_kernel_allows_mappings() {
    let mut pool = CoroutinePool::new(until_zero);
    let before = mappings();
    let mut coroutines: Vec<_> = (0..1000).map(|_| suspended(&mut pool)).collect();
    if mappings() > before + 100 {
        // This kernel has no guard markers: each guard is a mapping.
        return;
    }
    coroutines.extend((1000..70_000).map(|_| suspended(&mut pool)));
    for mut coroutine in coroutines {
        finish(&mut coroutine);
        pool.give(coroutine);
    }
    assert_eq!(pool.idle(), 70_000);
}

#[test]
fn when_address_space_is_short_slabs_are_smaller_and_then_there_is_an_error() {
    let name = "limits::when_address_space_is_short_slabs_are_smaller_and_then_there_is_an_error";
    let ended = in_child(name, || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split(' ').next().unwrap().parse().unwrap();
        // Less than the 65 MiB of a slab.
        let limit = (pages * 4096 + (50 << 20)) as libc::rlim_t;
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: the structure is valid.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);

        let mut pool = CoroutinePool::new(until_zero);
        let mut coroutines = Vec::new();
        let err = loop {
            match pool.take(DEFAULT_STACK_SIZE) {
                Ok(mut coroutine) => {
                    coroutine.resume(1);
                    coroutines.push(coroutine);
                }
                Err(err) => break err,
            }
        };
        assert_eq!(err.kind(), io::ErrorKind::OutOfMemory);
        assert!(coroutines.len() > 150, "{pool:?}");
        assert_eq!(pool.statistics().stacks, coroutines.len());
        assert!(pool.take(DEFAULT_STACK_SIZE).is_err());
        // The pool goes on with what it has.
        let mut coroutine = coroutines.pop().unwrap();
        finish(&mut coroutine);
        pool.give(coroutine);
        assert!(pool.take(DEFAULT_STACK_SIZE).is_ok());
    });
    assert!(ended.status.success(), "{ended:?}");
}
