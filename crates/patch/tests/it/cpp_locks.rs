//! What C++'s library locks with, which stands on the C library's, between greenlets and threads.

use std::thread;

use greenlet_hub::{joinall, spawn};
use greenlet_patch::patch_all;

use crate::c_library::functions;

functions! { "cpp_locks": Locks {
    cpp_play(i32, i32, i32) -> i32;
    cpp_times_out() -> i32;
    cpp_recursive() -> i32;
    cpp_read() -> i32;
    cpp_write() -> i32;
    cpp_once() -> i32;
    cpp_static() -> i32;
    cpp_fails_once(i32) -> i32;
} }

/// Calls one of them.
macro_rules! cpp {
    ($locks:ident.$name:ident($($argument:expr),*)) => {{
        let function = $locks.$name;
        // SAFETY: it has no preconditions.
        unsafe { function($($argument),*) }
    }};
}

fn locks() -> Option<Locks> {
    patch_all();
    Locks::load()
}

#[test]
fn greenlets_and_threads_take_turns_by_a_condition_variable() {
    const ROUNDS: i32 = 500;
    let Some(locks) = locks() else { return };
    let threads = Vec::from_iter((0..2).map(|i| thread::spawn(move || cpp!(locks.cpp_play(i, 6, ROUNDS)))));
    let greenlets = Vec::from_iter((2..6).map(|i| spawn(move || cpp!(locks.cpp_play(i, 6, ROUNDS)))));
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
    let waits = Vec::from_iter((0..5).map(|_| spawn(move || cpp!(locks.cpp_times_out()))));
    assert!(joinall(waits).into_iter().all(|result| result.unwrap() == 1));
}

#[test]
fn cpp_mutexes_are_held_over_waits() {
    let Some(locks) = locks() else { return };
    let threads = Vec::from_iter((0..2).map(|_| thread::spawn(move || cpp!(locks.cpp_recursive()))));
    let greenlets = Vec::from_iter((0..10).map(|_| spawn(move || cpp!(locks.cpp_recursive()))));
    assert!(joinall(greenlets).into_iter().all(|result| result.unwrap() == 1));
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 1));

    let readers = Vec::from_iter((0..10).map(|_| spawn(move || cpp!(locks.cpp_read()))));
    let writers = Vec::from_iter((0..5).map(|_| spawn(move || cpp!(locks.cpp_write()))));
    assert!(joinall(writers).into_iter().all(|result| result.unwrap() == 1));
    assert_eq!(joinall(readers).into_iter().map(|result| result.unwrap()).max(), Some(10));
}

#[test]
fn call_once_calls_once() {
    let Some(locks) = locks() else { return };
    let thread = thread::spawn(move || cpp!(locks.cpp_once()));
    let greenlets = Vec::from_iter((0..10).map(|_| spawn(move || cpp!(locks.cpp_once()))));
    assert!(joinall(greenlets).into_iter().all(|result| result.unwrap() == 1));
    assert_eq!(thread.join().unwrap(), 1);
}

#[test]
fn call_once_calls_again_if_it_has_thrown() {
    let Some(locks) = locks() else { return };
    let greenlets = Vec::from_iter((0..5).map(|i| spawn(move || cpp!(locks.cpp_fails_once(i)))));
    assert_eq!(joinall(greenlets).into_iter().map(|result| result.unwrap()).sum::<i32>(), 1);
}

#[test]
fn a_static_of_a_function_is_initialised_by_one_while_the_others_wait() {
    let Some(locks) = locks() else { return };
    let thread = thread::spawn(move || cpp!(locks.cpp_static()));
    let greenlets = Vec::from_iter((0..10).map(|_| spawn(move || cpp!(locks.cpp_static()))));
    assert!(joinall(greenlets).into_iter().all(|result| result.unwrap() == 7));
    assert_eq!(thread.join().unwrap(), 7);
}
