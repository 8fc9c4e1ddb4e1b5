//! The settings of the process: what is installed, what the environment says, and what it does. Each test is a process of its own.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Config, ConfigError, Handle, HubPool, Reason, Wait, Waiter, sleep, spawn, wait_readable, yield_now,
};

use crate::child::{Ended, alone_in_child_with, in_child, in_child_with};
use crate::support::{HANG, timed, work};

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

// ---- spin ----

/// So often the calling thread has gone to sleep in the kernel, and so long it has run.
#[cfg(target_os = "linux")]
fn sleeps_and_cpu() -> (i64, Duration) {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: there is room for the answer.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) }, 0);
    // SAFETY: the call has filled it in, and all zeros would do as well.
    let usage = unsafe { usage.assume_init() };
    let cpu = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    (usage.ru_nvcsw, cpu(usage.ru_utime) + cpu(usage.ru_stime))
}

fn has_other_cores() -> bool {
    // SAFETY: it has no preconditions.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) > 1 }
}

const ROUNDS: usize = 100;

/// How often the hub slept while a thread answered so many times, through a descriptor.
#[cfg(target_os = "linux")]
fn sleeps_in_round_trips() -> i64 {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let answers = thread::spawn(move || {
        let mut byte = [0];
        while let Ok(1) = far.read(&mut byte) {
            far.write_all(&byte).unwrap();
        }
    });
    let (before, _) = sleeps_and_cpu();
    for _ in 0..ROUNDS {
        near.write_all(b"x").unwrap();
        wait_readable(&near).unwrap();
        near.read_exact(&mut [0]).unwrap();
    }
    let (after, _) = sleeps_and_cpu();
    drop(near);
    answers.join().unwrap();
    after - before
}

/// The same, through messages that come a little too late for the short look that hubs take by themselves.
#[cfg(target_os = "linux")]
fn sleeps_in_messages() -> i64 {
    let (send, receive) = std::sync::mpsc::channel::<Waiter>();
    let answers = thread::spawn(move || {
        for waiter in receive {
            work(Duration::from_millis(1));
            waiter.notify();
        }
    });
    let (before, _) = sleeps_and_cpu();
    for _ in 0..ROUNDS {
        let wait = Wait::begin(Reason::new("an answer"));
        send.send(wait.waiter()).unwrap();
        assert!(wait.notified(Some(Instant::now() + HANG)));
    }
    let (after, _) = sleeps_and_cpu();
    drop(send);
    answers.join().unwrap();
    after - before
}

#[cfg(target_os = "linux")]
#[test]
fn a_hub_that_spins_does_not_sleep_while_answers_come_in_time() {
    if !has_other_cores() {
        return;
    }
    let name = "config::a_hub_that_spins_does_not_sleep_while_answers_come_in_time";
    with("GREENLET_SPIN_US", "1000000", name, || {
        // A page that has to be fetched or a lock of the kernel's is a sleep as well.
        let (took, (descriptor, messages)) = timed(|| (sleeps_in_round_trips(), sleeps_in_messages()));
        assert!(took < HANG / 2, "an answer was not seen: {took:?}");
        assert!(descriptor < ROUNDS as i64 / 2, "{descriptor} sleeps");
        assert!(messages < ROUNDS as i64 / 2, "{messages} sleeps");
    })
    .check();
}

#[cfg(target_os = "linux")]
#[test]
fn a_hub_that_was_told_nothing_sleeps() {
    in_child("config::a_hub_that_was_told_nothing_sleeps", || {
        let (sleeps, cpu) = sleeps_and_cpu();
        sleep(Duration::from_millis(300));
        let (sleeps, cpu) = (sleeps_and_cpu().0 - sleeps, sleeps_and_cpu().1 - cpu);
        assert!(sleeps >= 1 && cpu < Duration::from_millis(30), "{sleeps} sleeps, {cpu:?}");
    })
    .check();
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_hub_spins_once_and_sleeps_then() {
    with("GREENLET_SPIN_US", "20000", "config::an_idle_hub_spins_once_and_sleeps_then", || {
        // Something is watched, so it sleeps in its poller; the second time it has only messages to wait for.
        let (near, far) = UnixStream::pair().unwrap();
        let watcher = spawn(move || wait_readable(&far).unwrap());
        for _ in 0..2 {
            let (sleeps, cpu) = sleeps_and_cpu();
            sleep(Duration::from_millis(600));
            let (sleeps, cpu) = (sleeps_and_cpu().0 - sleeps, sleeps_and_cpu().1 - cpu);
            assert!(sleeps >= 1 && cpu < Duration::from_millis(200), "{sleeps} sleeps, {cpu:?}");
            watcher.kill().unwrap();
        }
        drop(near);
    })
    .check();
}

#[test]
fn timers_are_on_time_while_a_hub_spins() {
    with("GREENLET_SPIN_US", "1000000", "config::timers_are_on_time_while_a_hub_spins", || {
        for watched in [false, true] {
            let (_near, far) = UnixStream::pair().unwrap();
            let watcher = watched.then(|| spawn(move || wait_readable(&far).unwrap()));
            let (took, ()) = timed(|| sleep(Duration::from_millis(5)));
            assert!(took >= Duration::from_millis(5) && took < Duration::from_millis(500), "{took:?}");
            watcher.inspect(|watcher| watcher.kill().unwrap());
        }
    })
    .check();
}

#[test]
fn a_wait_in_the_panic_hook_spins_and_sleeps_though_others_are_ready() {
    let name = "config::a_wait_in_the_panic_hook_spins_and_sleeps_though_others_are_ready";
    with("GREENLET_SPIN_US", "20000", name, || {
        yield_now();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref() == Some(&"waits") {
                let (took, cpu) = (Instant::now(), sleeps_and_cpu().1);
                sleep(Duration::from_millis(600));
                let (took, cpu) = (took.elapsed(), sleeps_and_cpu().1 - cpu);
                assert!(took >= Duration::from_millis(600) && cpu < Duration::from_millis(200), "{took:?}, {cpu:?}");
                eprintln!("waited");
            }
            hook(info);
        }));
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        let ready = spawn(move || wait_readable(&far).unwrap());
        let panics = spawn(|| panic!("waits"));
        assert!(panics.join().is_err());
        ready.join().unwrap();
    })
    .check();
}

#[test]
fn hubs_that_spin_find_a_deadlock() {
    let name = "config::hubs_that_spin_find_a_deadlock";
    let ended = alone_in_child_with(&[("GREENLET_SPIN_US", OsStr::new("1000000"))], name, || {
        let other = thread::spawn(|| spawn(|| Wait::begin(Reason::new("nothing")).notified(None)).join());
        spawn(|| Wait::begin(Reason::new("nothing")).notified(None)).join().unwrap();
        let _ = other.join();
    });
    assert!(ended.count("deadlock: nothing can wake any hub of this process") >= 1, "{}", ended.stderr);
}
