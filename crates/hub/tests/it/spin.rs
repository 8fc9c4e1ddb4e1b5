//! A hub that polls before it sleeps: when it does, and when it stops. Each test is a process of its own.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{Reason, Wait, Waiter, sleep, spawn, wait_readable, yield_now};

use crate::child::{Ended, alone_in_child_with, in_child, in_child_with};
use crate::support::{HANG, timed, work};

/// In a child process whose hubs spin for so many microseconds.
fn spinning(micros: &str, name: &str, body: impl FnOnce()) -> Ended {
    in_child_with(&[("GREENLET_SPIN_US", OsStr::new(micros))], name, body)
}

/// So often the calling thread has gone to sleep in the kernel, and so long it has run.
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

#[test]
fn a_hub_that_spins_does_not_sleep_while_answers_come_in_time() {
    if !has_other_cores() {
        return;
    }
    let name = "spin::a_hub_that_spins_does_not_sleep_while_answers_come_in_time";
    spinning("1000000", name, || {
        // A page that has to be fetched or a lock of the kernel's is a sleep as well.
        let (took, (descriptor, messages)) = timed(|| (sleeps_in_round_trips(), sleeps_in_messages()));
        assert!(took < HANG / 2, "an answer was not seen: {took:?}");
        assert!(descriptor < ROUNDS as i64 / 2, "{descriptor} sleeps");
        assert!(messages < ROUNDS as i64 / 2, "{messages} sleeps");
    })
    .check();
}

#[test]
fn a_hub_that_was_told_nothing_sleeps() {
    in_child("spin::a_hub_that_was_told_nothing_sleeps", || {
        let (sleeps, cpu) = sleeps_and_cpu();
        sleep(Duration::from_millis(300));
        let (sleeps, cpu) = (sleeps_and_cpu().0 - sleeps, sleeps_and_cpu().1 - cpu);
        assert!(sleeps >= 1 && cpu < Duration::from_millis(30), "{sleeps} sleeps, {cpu:?}");
    })
    .check();
}

#[test]
fn an_idle_hub_spins_once_and_sleeps_then() {
    spinning("20000", "spin::an_idle_hub_spins_once_and_sleeps_then", || {
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
    spinning("1000000", "spin::timers_are_on_time_while_a_hub_spins", || {
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
    let name = "spin::a_wait_in_the_panic_hook_spins_and_sleeps_though_others_are_ready";
    spinning("20000", name, || {
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
    let name = "spin::hubs_that_spin_find_a_deadlock";
    let ended = alone_in_child_with(&[("GREENLET_SPIN_US", OsStr::new("1000000"))], name, || {
        let other = thread::spawn(|| spawn(|| Wait::begin(Reason::new("nothing")).notified(None)).join());
        spawn(|| Wait::begin(Reason::new("nothing")).notified(None)).join().unwrap();
        let _ = other.join();
    });
    assert!(ended.count("deadlock: nothing can wake any hub of this process") >= 1, "{}", ended.stderr);
}
