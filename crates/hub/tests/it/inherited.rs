//! Values that greenlets inherit from those that spawn them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenlet_hub::{inherited_local, scope, sleep, spawn, spawn_later, task_group, yield_now};

use crate::support::OnDrop;

const MS: Duration = Duration::from_millis(1);

inherited_local! {
    static REQUEST: u32 = 7;
    static USER: String = String::from("nobody");
}

#[test]
fn a_greenlet_begins_with_what_its_spawner_has_at_the_spawn() {
    REQUEST.set(1);
    let child = spawn(|| {
        let inherited = *REQUEST.get();
        REQUEST.set(100);
        let grandchild = spawn(|| *REQUEST.get());
        (inherited, grandchild.join().unwrap())
    });
    let later = spawn_later(MS, || *REQUEST.get());
    REQUEST.set(2);
    assert_eq!(child.join().unwrap(), (1, 100));
    assert_eq!(later.join().unwrap(), 1);
    assert_eq!(*REQUEST.get(), 2);
    assert_eq!(*USER.get(), "nobody");
}

#[test]
fn children_of_scopes_and_groups_inherit_as_well() {
    REQUEST.with_value(3, || {
        assert_eq!(scope(|s| s.spawn(|| *REQUEST.get()).join().unwrap()), 3);
        let got: Result<u32, ()> = task_group(|group| Ok(group.spawn(|| Ok(*REQUEST.get())).join().unwrap()));
        assert_eq!(got, Ok(3));
    });
}

#[test]
fn a_value_for_the_length_of_a_closure_is_restored_also_by_an_unwind() {
    USER.set(String::from("outer"));
    let inner = USER.with_value(String::from("inner"), || spawn(|| USER.get().to_string()));
    assert_eq!(*USER.get(), "outer");
    assert_eq!(inner.join().unwrap(), "inner");
    let caught = catch_unwind(AssertUnwindSafe(|| {
        USER.with_value(String::from("unwinds"), || resume_unwind(Box::new(())));
    }));
    assert!(caught.is_err());
    assert_eq!(*USER.get(), "outer");
    // What was not set is not set afterwards.
    let greenlet = spawn(|| {
        REQUEST.with_value(1, || ());
        *REQUEST.get()
    });
    assert_eq!(greenlet.join().unwrap(), 7);
}

#[test]
fn a_kill_restores_it_too() {
    let greenlet = spawn(|| {
        let seen = catch_unwind(|| REQUEST.with_value(1, || sleep(Duration::from_secs(60))));
        assert!(seen.is_err());
        *REQUEST.get()
    });
    yield_now();
    greenlet.kill().unwrap();
    assert_eq!(greenlet.join().unwrap(), 7);
}

#[test]
fn other_threads_begin_with_the_initial_value() {
    REQUEST.set(5);
    assert_eq!(thread::spawn(|| *REQUEST.get()).join().unwrap(), 7);
}

#[test]
fn values_are_shared_and_dropped_with_the_last_who_has_them() {
    inherited_local! { static HELD: Option<Counted> = None; }
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            // It may wait, and ask for others.
            yield_now();
            assert!(*REQUEST.get() > 0);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let drops = Arc::new(AtomicUsize::new(0));
    let count = || drops.load(Ordering::Relaxed);
    let parent = spawn({
        let drops = Arc::clone(&drops);
        move || {
            HELD.set(Some(Counted(drops)));
            spawn(|| sleep(5 * MS))
        }
    });
    let child = parent.join().unwrap();
    assert_eq!(count(), 0, "the child has it");
    child.join().unwrap();
    assert_eq!(count(), 1);
    // Replaced, and never run.
    let replaced = spawn({
        let drops = Arc::clone(&drops);
        move || {
            HELD.set(Some(Counted(drops)));
            let never = spawn(|| ());
            HELD.set(None);
            never.kill().unwrap();
        }
    });
    replaced.join().unwrap();
    assert_eq!(count(), 2);
}

#[test]
fn a_drop_that_spawns_ends_after_all() {
    inherited_local! { static SPAWNS: Option<OnDrop<Box<dyn FnMut() + Send + Sync>>> = None; }
    let ran = Arc::new(AtomicUsize::new(0));
    let greenlet = spawn({
        let ran = Arc::clone(&ran);
        move || {
            let spawn_one = move || {
                let ran = Arc::clone(&ran);
                drop(spawn(move || ran.fetch_add(1, Ordering::Relaxed)));
            };
            SPAWNS.set(Some(OnDrop(Box::new(spawn_one))));
        }
    });
    greenlet.join().unwrap();
    yield_now();
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[test]
fn a_hub_that_ends_drops_its_main_greenlet_s() {
    inherited_local! { static HELD: Option<OnDrop<Box<dyn FnMut() + Send + Sync>>> = None; }
    let dropped = Arc::new(AtomicUsize::new(0));
    let thread = thread::spawn({
        let dropped = Arc::clone(&dropped);
        move || {
            HELD.set(Some(OnDrop(Box::new(move || {
                dropped.fetch_add(1, Ordering::Relaxed);
            }))))
        }
    });
    thread.join().unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}
