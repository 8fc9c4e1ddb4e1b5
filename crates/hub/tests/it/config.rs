//! The settings of the process: what is installed, what the environment says, and what it does. Each test is a process of its own.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenlet_hub::{Config, ConfigError, Handle, HubPool, joinall, offload, sleep, spawn, yield_now};

use crate::child::{Ended, in_child, in_child_with};

/// As [`in_child_with`], with one variable.
fn with(variable: &str, value: &str, name: &str, body: impl FnOnce()) -> Ended {
    in_child_with(&[(variable, OsStr::new(value))], name, body)
}

// ---- what is used ----

#[test]
fn the_environment_is_used_where_nothing_was_installed() {
    let variables = [
        ("GREENLET_HUBS", "3"),
        ("GREENLET_STACK_SIZE", "64K"),
        ("GREENLET_BLOCKING_THREADS", "5"),
        ("GREENLET_DNS_THREADS", "6"),
        ("GREENLET_TICK", "7"),
        ("GREENLET_SPIN_US", "8"),
    ];
    let variables = variables.map(|(name, value)| (name, OsStr::new(value)));
    in_child_with(&variables, "config::the_environment_is_used_where_nothing_was_installed", || {
        let told = (Config::new().hubs(3).stack_size(64 << 10).blocking_threads(5).dns_threads(6).tick(7))
            .spin(Duration::from_micros(8));
        assert_eq!(Config::current(), told);
        yield_now();
        assert_eq!(Config::current(), told);
        assert_eq!(told.install(), Err(ConfigError::InUse));
    })
    .check();
}

#[test]
fn what_was_installed_wins_over_the_environment_even_over_a_bad_one() {
    let name = "config::what_was_installed_wins_over_the_environment_even_over_a_bad_one";
    with("GREENLET_TICK", "never", name, || {
        assert_eq!(Config::new().tick(9).install(), Ok(()));
        assert_eq!(Config::current(), Config::new().tick(9));
        spawn(|| ()).join().unwrap();
        assert_eq!(Config::current().get_tick(), 9);
    })
    .check();
}

#[test]
fn settings_are_installed_once_and_before_the_first_use() {
    in_child("config::settings_are_installed_once_and_before_the_first_use", || {
        assert!(matches!(Config::new().tick(0).install(), Err(ConfigError::BadValue { setting: "tick", .. })));
        assert_eq!(Config::new().tick(5).install(), Ok(()));
        assert_eq!(Config::new().tick(6).install(), Err(ConfigError::InUse));
        assert_eq!(Config::current().get_tick(), 5);
    })
    .check();
}

#[test]
fn a_hub_on_any_thread_is_a_use() {
    in_child("config::a_hub_on_any_thread_is_a_use", || {
        let _ = Config::current();
        thread::spawn(Handle::current).join().unwrap();
        let err = Config::new().install().unwrap_err();
        assert_eq!(err.to_string(), "the settings of the process are in use already, and cannot be changed");
    })
    .check();
}

// ---- bad values ----

#[test]
fn the_first_use_panics_once_with_what_is_wrong_with_the_environment() {
    let name = "config::the_first_use_panics_once_with_what_is_wrong_with_the_environment";
    let bad: [(&str, &[u8], &str); 7] = [
        ("GREENLET_HUBS", b"0", r#"GREENLET_HUBS is "0", but must be a whole number from 1 to 1024"#),
        (
            "GREENLET_STACK_SIZE",
            b"1K",
            r#"GREENLET_STACK_SIZE is "1K", but must be a whole number of bytes, KiB or MiB"#,
        ),
        ("GREENLET_BLOCKING_THREADS", b"many", r#"GREENLET_BLOCKING_THREADS is "many", but must be a whole number"#),
        ("GREENLET_DNS_THREADS", b"99999", r#"GREENLET_DNS_THREADS is "99999", but must be a whole number"#),
        ("GREENLET_TICK", b"", r#"GREENLET_TICK is "", but must be a whole number from 1 to 1000000"#),
        ("GREENLET_TICK", b"1\xff", r#"GREENLET_TICK is "1\xFF", but must be"#),
        (
            "GREENLET_SPIN_US",
            b"-1",
            r#"GREENLET_SPIN_US is "-1", but must be a whole number of microseconds from 0 to 1000000"#,
        ),
    ];
    for (variable, value, text) in bad {
        let ended = in_child_with(&[(variable, OsStr::from_bytes(value))], name, || {
            spawn(|| ());
        });
        assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
        assert_eq!(
            (ended.count(text), ended.count("panicked"), ended.count("GREENLET")),
            (1, 1, 1),
            "{}",
            ended.stderr
        );
        assert_eq!((ended.count("abort"), ended.count("Poison")), (0, 0), "{}", ended.stderr);
    }
}

#[test]
fn a_wait_in_a_destructor_on_the_way_out_does_not_end_the_process() {
    struct Waits;

    impl Drop for Waits {
        fn drop(&mut self) {
            yield_now();
        }
    }

    let name = "config::a_wait_in_a_destructor_on_the_way_out_does_not_end_the_process";
    let ended = with("GREENLET_TICK", "often", name, || {
        let _waits = Waits;
        spawn(|| ());
    });
    assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
    assert_eq!((ended.count("GREENLET_TICK"), ended.count("panicked")), (1, 1), "{}", ended.stderr);
}

#[test]
fn who_has_seen_the_panic_can_install_something_better() {
    let ended = with("GREENLET_TICK", "often", "config::who_has_seen_the_panic_can_install_something_better", || {
        assert!(catch_unwind(yield_now).is_err());
        assert!(catch_unwind(Config::current).is_err());
        assert!(catch_unwind(yield_now).is_err());
        assert!(matches!(Config::from_env(), Err(ConfigError::BadValue { setting: "GREENLET_TICK", .. })));
        Config::new().install().unwrap();
        assert_eq!(spawn(|| 7).join().unwrap(), 7);
    });
    ended.check();
    assert_eq!(ended.count("GREENLET_TICK"), 3, "{}", ended.stderr);
}

// ---- what they do ----

#[test]
fn the_stack_of_a_greenlet_has_the_size_that_was_set() {
    let name = "config::the_stack_of_a_greenlet_has_the_size_that_was_set";
    with("GREENLET_STACK_SIZE", "2M", name, || {
        // Either would be the end of the process with a stack of 244 KiB.
        let deep = || {
            let big = std::hint::black_box([1_u8; 1 << 20]);
            assert_eq!(big[1 << 19], 1);
        };
        spawn(deep).join().unwrap();
        thread::spawn(move || spawn(deep).join().unwrap()).join().unwrap();
    })
    .check();
}

#[test]
fn the_global_pool_has_as_many_hubs_as_were_set() {
    with("GREENLET_HUBS", "3", "config::the_global_pool_has_as_many_hubs_as_were_set", || {
        assert_eq!(HubPool::global().handles().len(), 3);
        assert_eq!(HubPool::builder().build().unwrap().handles().len(), 3);
        assert_eq!(HubPool::new(1).unwrap().handles().len(), 1);
    })
    .check();
}

#[test]
fn no_more_threads_run_what_is_offloaded_than_were_set() {
    let name = "config::no_more_threads_run_what_is_offloaded_than_were_set";
    with("GREENLET_BLOCKING_THREADS", "2", name, || {
        let running = Arc::new(AtomicUsize::new(0));
        let most = joinall((0..6).map(|_| {
            let running = Arc::clone(&running);
            spawn(move || {
                offload(move || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    thread::sleep(Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                    now
                })
            })
        }));
        let most = most.into_iter().map(Result::unwrap).max().unwrap();
        assert!(most <= 2, "{most}");
    })
    .check();
}

#[test]
fn a_pool_tells_its_maker_what_is_wrong_with_the_environment_once() {
    let name = "config::a_pool_tells_its_maker_what_is_wrong_with_the_environment_once";
    let ended = with("GREENLET_TICK", "0", name, || {
        let _ = HubPool::new(2);
    });
    assert_eq!(ended.status.code(), Some(101), "{}", ended.stderr);
    assert_eq!((ended.count("GREENLET_TICK"), ended.count("panicked")), (1, 1), "{}", ended.stderr);
}

/// So many runs from the run queue there are between two looks.
fn runs_between_looks() -> u64 {
    let runs = Rc::new(Cell::new(0));
    let stop = Rc::new(Cell::new(false));
    let busy = spawn({
        let (runs, stop) = (Rc::clone(&runs), Rc::clone(&stop));
        move || {
            while !stop.get() {
                runs.set(runs.get() + 1);
                yield_now();
            }
        }
    });
    let sleeper = spawn(move || {
        let mut least = u64::MAX;
        for _ in 0..10 {
            // A look has ended the first sleep, and the next look ends the second.
            sleep(Duration::from_nanos(1));
            let before = runs.get();
            sleep(Duration::from_nanos(1));
            least = least.min(runs.get() - before);
        }
        stop.set(true);
        least
    });
    let least = sleeper.join().unwrap();
    busy.join().unwrap();
    least
}

#[test]
fn a_tick_is_so_many_runs_between_two_looks() {
    let name = "config::a_tick_is_so_many_runs_between_two_looks";
    for tick in ["1", "61", "1000"] {
        with("GREENLET_TICK", tick, name, || {
            let tick = u64::from(Config::current().get_tick());
            assert_eq!(runs_between_looks(), tick);
            assert_eq!(thread::spawn(runs_between_looks).join().unwrap(), tick);
        })
        .check();
    }
    assert_eq!(runs_between_looks(), 61);
}
