//! Sleeps and giving way.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use greenlet_hub::{JoinError, joinall, sleep, spawn, timeout, yield_now};

use crate::support::{MS, patched, timed};

#[test]
fn sleeps_of_std_overlap() {
    patched(|| {
        let (took, ended) = timed(|| joinall((0..50).map(|_| spawn(|| thread::sleep(100 * MS)))));
        assert!(ended.into_iter().all(|end| end.is_ok()));
        assert!((100 * MS..2000 * MS).contains(&took), "{took:?}");
    });
}

#[test]
fn the_main_greenlet_sleeps_as_the_others_do() {
    patched(|| {
        let ran = Rc::new(Cell::new(0));
        let other = spawn({
            let ran = Rc::clone(&ran);
            move || {
                for _ in 0..3 {
                    ran.set(ran.get() + 1);
                    thread::sleep(MS);
                }
            }
        });
        while ran.get() < 3 {
            thread::sleep(5 * MS);
        }
        other.join().unwrap();
    });
}

#[test]
fn all_calls_that_sleep_let_the_others_run() {
    patched(|| {
        // SAFETY: calls with plain numbers.
        let usleep = || unsafe { libc::usleep(20_000) };
        let nanosleep = || nanosleep(0, 20_000_000).0;
        let monotonic = || clock_nanosleep(libc::CLOCK_MONOTONIC, 0, time(0, 20_000_000));
        let real = || clock_nanosleep(libc::CLOCK_REALTIME, 0, time(0, 20_000_000));
        let boot = || clock_nanosleep(libc::CLOCK_BOOTTIME, 0, time(0, 20_000_000));
        let until = |clock| clock_nanosleep(clock, libc::TIMER_ABSTIME, later(clock, 20_000_000));
        let calls: Vec<Box<dyn Fn() -> i32>> = vec![
            Box::new(usleep),
            Box::new(nanosleep),
            Box::new(monotonic),
            Box::new(real),
            Box::new(boot),
            Box::new(move || until(libc::CLOCK_MONOTONIC)),
            Box::new(move || until(libc::CLOCK_REALTIME)),
            Box::new(move || until(libc::CLOCK_BOOTTIME)),
        ];
        for call in calls {
            let turns = Rc::new(Cell::new(0));
            let other = spawn({
                let turns = Rc::clone(&turns);
                move || {
                    for _ in 0..10 {
                        turns.set(turns.get() + 1);
                        yield_now();
                    }
                }
            });
            let (took, result) = timed(call);
            assert_eq!((result, turns.get()), (0, 10));
            assert!(took >= 19 * MS, "{took:?}");
            other.join().unwrap();
        }
    });
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    patched(|| {
        assert_eq!(nanosleep(0, -1), (-1, libc::EINVAL));
        assert_eq!(nanosleep(0, 1_000_000_000), (-1, libc::EINVAL));
        assert_eq!(nanosleep(-1, 0), (-1, libc::EINVAL));
        // This one returns the number.
        assert_eq!(clock_nanosleep(libc::CLOCK_MONOTONIC, 0, time(0, 1_000_000_000)), libc::EINVAL);
        assert_eq!(clock_nanosleep(4711, 0, time(0, 0)), libc::EINVAL);
        assert_eq!(clock_nanosleep(libc::CLOCK_THREAD_CPUTIME_ID, 0, time(0, 0)), libc::EINVAL);
        // SAFETY: a null pointer is what it is about.
        let null = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, std::ptr::null(), std::ptr::null_mut()) };
        assert_eq!(null, libc::EFAULT);
    });
}

#[test]
fn a_time_that_has_passed_is_not_slept_for() {
    patched(|| {
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME] {
            let (took, result) = timed(|| clock_nanosleep(clock, libc::TIMER_ABSTIME, time(1, 0)));
            assert!(result == 0 && took < 500 * MS, "{took:?}");
        }
    });
}

#[test]
fn a_greenlet_that_is_killed_in_a_sleep_of_std_ends_at_its_next_native_wait() {
    patched(|| {
        let reached = Rc::new(Cell::new(false));
        let sleeper = spawn({
            let reached = Rc::clone(&reached);
            move || {
                thread::sleep(Duration::from_secs(60));
                // It returned early, and with success.
                reached.set(true);
                sleep(Duration::from_secs(60));
                unreachable!("it is killed");
            }
        });
        yield_now();
        let (took, killed) = timed(|| sleeper.kill());
        killed.unwrap();
        assert!(reached.get() && took < 2000 * MS);
        assert!(matches!(sleeper.join(), Err(JoinError::Killed)));
    });
}

#[test]
fn a_loop_of_sleeps_that_is_killed_does_not_hold_up_the_others() {
    patched(|| {
        let stop = Rc::new(Cell::new(false));
        let sleeper = spawn({
            let stop = Rc::clone(&stop);
            move || {
                while !stop.get() {
                    thread::sleep(Duration::from_secs(60));
                }
            }
        });
        yield_now();
        sleeper.kill_nowait().unwrap();
        // Others go on while it makes trips through the run queue.
        for _ in 0..100 {
            yield_now();
        }
        assert!(!sleeper.is_finished());
        stop.set(true);
        sleeper.join().unwrap();
    });
}

#[test]
fn a_timeout_ends_a_sleep_of_std() {
    patched(|| {
        let (took, ended) = timed(|| {
            timeout(10 * MS, || {
                thread::sleep(Duration::from_secs(60));
                yield_now();
            })
        });
        assert!(ended.is_err() && took < 2000 * MS);
        // And is over with that.
        thread::sleep(MS);
    });
}

#[test]
fn giving_way_runs_the_others() {
    patched(|| {
        let ran = Rc::new(Cell::new(false));
        spawn({
            let ran = Rc::clone(&ran);
            move || ran.set(true)
        });
        thread::yield_now();
        assert!(ran.get());
    });
}

#[test]
fn giving_way_is_not_interrupted() {
    patched(|| {
        let greenlet = spawn(|| {
            thread::yield_now();
            thread::yield_now();
            7
        });
        yield_now();
        greenlet.kill_nowait().unwrap();
        assert_eq!(greenlet.join().unwrap(), 7);
    });
}

fn time(tv_sec: i64, tv_nsec: i64) -> libc::timespec {
    libc::timespec { tv_sec, tv_nsec }
}

fn later(clock: libc::clockid_t, nanos: i64) -> libc::timespec {
    let mut now = time(0, 0);
    // SAFETY: there is room for the answer.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut now) }, 0);
    let nanos = now.tv_nsec + nanos;
    time(now.tv_sec + nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn nanosleep(seconds: i64, nanos: i64) -> (i32, i32) {
    // SAFETY: the time outlives the call.
    let result = unsafe { libc::nanosleep(&time(seconds, nanos), std::ptr::null_mut()) };
    (result, if result == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() })
}

fn clock_nanosleep(clock: libc::clockid_t, flags: i32, time: libc::timespec) -> i32 {
    // SAFETY: the time outlives the call.
    unsafe { libc::clock_nanosleep(clock, flags, &raw const time, std::ptr::null_mut()) }
}
