//! Stacks: overflow, none to be had, very many.
#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{Builder, JoinError, JoinHandle, Reason, WaitList, joinall, sleep, spawn, yield_now};

use crate::child::in_child;
use crate::support::status;

/// Uses `depth` frames of 256 bytes at the least.
#[inline(never)]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth as u8; 256]);
    if depth == 0 { 0 } else { recurse(depth - 1) + usize::from(frame[depth % 256] == depth as u8) }
}

#[test]
fn an_overflow_ends_the_process_with_one_line() {
    let ended = in_child("stacks::an_overflow_ends_the_process_with_one_line", || {
        let other = spawn(yield_now);
        let deep = Builder::new().name("the deep one").spawn(|| recurse(1 << 20));
        drop((deep.join(), other.join()));
    });
    assert!(!ended.status.success());
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("the deep one")).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert!(lines[0].contains("249856 bytes") && lines[0].contains("stack_size"), "{}", ended.stderr);
}

#[test]
fn an_overflow_on_another_hub_names_its_greenlet_and_its_size() {
    let ended = in_child("stacks::an_overflow_on_another_hub_names_its_greenlet_and_its_size", || {
        let deep = || {
            let deep = Builder::new().name("on a thread").stack_size(512 << 10).spawn(|| {
                sleep(Duration::from_millis(1));
                recurse(1 << 20)
            });
            drop(deep.join());
        };
        std::thread::spawn(deep).join().unwrap();
    });
    assert!(!ended.status.success());
    assert_eq!(ended.count("on a thread"), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("bytes"), "{}", ended.stderr);
}

#[test]
fn a_larger_stack_holds_more() {
    let big = Builder::new().stack_size(64 << 20).spawn(|| recurse(50_000));
    assert_eq!(big.join().unwrap(), 50_000);
    let small = Builder::new().stack_size(0).spawn(|| recurse(10));
    assert_eq!(small.join().unwrap(), 10);
}

#[test]
fn a_stack_that_is_too_large_for_the_machine_is_an_error_of_that_job_only() {
    for size in [1 << 46, usize::MAX / 2, usize::MAX] {
        let other = spawn(|| 1);
        let held = Rc::new(());
        let huge = Builder::new().stack_size(size).spawn({
            let held = Rc::clone(&held);
            move || drop(held)
        });
        let end = huge.greenlet().clone();
        let joined = huge.join();
        assert!(matches!(&joined, Err(JoinError::NoStack(_))), "{size:#x}: {joined:?}");
        assert!(!end.is_started() && end.is_finished() && !end.is_successful());
        // Its closure was dropped, here.
        assert_eq!(Rc::strong_count(&held), 1);
        assert_eq!(other.join().unwrap(), 1);
    }
}

#[test]
fn a_closure_that_gets_no_stack_may_wait_while_it_is_dropped() {
    struct Waits(Rc<Cell<bool>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            sleep(Duration::from_millis(2));
            yield_now();
            self.0.set(true);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let waits = Waits(Rc::clone(&dropped));
    let others: Vec<_> = (0..3).map(|_| spawn(|| sleep(Duration::from_millis(1)))).collect();
    let huge = Builder::new().stack_size(1 << 46).spawn(move || drop(waits));
    assert!(matches!(huge.join(), Err(JoinError::NoStack(_))));
    assert!(dropped.get());
    assert!(joinall(others).into_iter().all(|ended| ended.is_ok()));
}

/// Lets this process map so many bytes more than it has mapped now.
fn limit_address_space(more: u64) {
    let limit = (status("VmSize") << 10) + more;
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the structure is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

#[test]
fn when_address_space_is_short_jobs_end_with_an_error_and_others_go_on() {
    let name = "stacks::when_address_space_is_short_jobs_end_with_an_error_and_others_go_on";
    let ended = in_child(name, || {
        limit_address_space(150 << 20);
        let (list, dropped) = (Rc::new(WaitList::new()), Rc::new(Cell::new(0)));
        struct Counts(Rc<Cell<usize>>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let spawn_one = |_| {
            let (list, counts) = (Rc::clone(&list), Counts(Rc::clone(&dropped)));
            spawn(move || {
                let _counts = counts;
                list.wait(Reason::new("the test"), None, || false)
            })
        };
        let greenlets: Vec<JoinHandle<bool>> = (0..2000).map(spawn_one).collect();
        yield_now();
        let refused = greenlets.iter().filter(|greenlet| greenlet.is_finished()).count();
        assert!((500..1900).contains(&refused), "{refused}");
        assert_eq!(dropped.get(), refused);
        // Those that run go on, and their stacks serve others afterwards.
        assert_eq!(list.notify_all(), 2000 - refused);
        let results = joinall(greenlets);
        let errors = results.iter().filter(|result| matches!(result, Err(JoinError::NoStack(_)))).count();
        assert_eq!(errors, refused);
        assert_eq!(results.iter().filter(|result| matches!(result, Ok(true))).count(), 2000 - refused);
        assert_eq!(spawn(|| recurse(100)).join().unwrap(), 100);
    });
    ended.check();
}

#[test]
fn two_hundred_thousand_greenlets_wait_at_once_each_guarded() {
    let name = "stacks::two_hundred_thousand_greenlets_wait_at_once_each_guarded";
    let ended = in_child(name, || {
        let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let before = mappings();
        let list = Rc::new(WaitList::new());
        let wait = |_| {
            let list = Rc::clone(&list);
            spawn(move || list.wait(Reason::new("the test"), None, || false))
        };
        let mut greenlets: Vec<_> = (0..1000).map(wait).collect();
        yield_now();
        if mappings() > before + 500 {
            eprintln!("skipped: this kernel has no guard markers, each guard is a mapping");
        } else {
            greenlets.extend((1000..200_000).map(wait));
            yield_now();
            assert!(mappings() < before + 5_000, "{} mappings", mappings());
            assert!(greenlets.iter().all(|greenlet| greenlet.is_started() && !greenlet.is_finished()));
            // The guard of one of them, in the middle of all.
            let deep = Builder::new().name("number 200,001").spawn(|| recurse(1 << 20));
            list.notify_all();
            joinall(greenlets).into_iter().for_each(|notified| assert!(notified.unwrap()));
            eprintln!("all have ended");
            drop(deep.join());
        }
        std::process::exit(0);
    });
    if ended.count("skipped") == 1 {
        println!("skipped: no guard markers");
        return;
    }
    // The last one runs between the others, and off its stack.
    assert!(!ended.status.success(), "{}", ended.stderr);
    assert_eq!(ended.count("number 200,001"), 1, "{}", ended.stderr);
}

#[test]
fn stacks_are_used_again() {
    let ended = in_child("stacks::stacks_are_used_again", || {
        let round = || joinall((0..500).map(|_| spawn(|| recurse(100)))).len();
        round();
        let before = status("VmSize");
        for _ in 0..100 {
            assert_eq!(round(), 500);
        }
        assert!(status("VmSize") < before + (16 << 10), "{} kB, then {}", before, status("VmSize"));
    });
    ended.check();
}
