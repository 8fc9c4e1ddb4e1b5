//! An allocator that locks by the C library's mutexes, as jemalloc does: those are left alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;

use greenlet_hub::{joinall, spawn, yield_now};
use greenlet_patch::{is_patched, patch_all};

struct Locking(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is for all threads.
unsafe impl Sync for Locking {}

impl Locking {
    fn locked<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: a live mutex.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.0.get()) }, 0);
        let result = f();
        // SAFETY: it is locked.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
        result
    }
}

// SAFETY: it is the system's.
unsafe impl GlobalAlloc for Locking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        self.locked(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        self.locked(|| unsafe { System.dealloc(place, layout) });
    }
}

#[global_allocator]
static ALLOCATOR: Locking = Locking(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

#[test]
fn the_c_librarys_locks_are_left_alone_if_memory_is_allocated_under_them() {
    let patched = patch_all().to_string();
    assert!(patched.contains("memory is allocated under them"), "{patched}");
    assert!(!is_patched("pthread_mutex_lock") && is_patched("syscall"));
    let greenlets = (0..10).map(|i| {
        spawn(move || {
            let text = i.to_string();
            yield_now();
            text
        })
    });
    assert_eq!(joinall(greenlets).into_iter().map(Result::unwrap).collect::<String>(), "0123456789");
}
