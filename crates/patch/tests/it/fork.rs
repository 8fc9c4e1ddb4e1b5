//! A forked child under the patch.

use std::io::{Read, Write, pipe};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use greenlet_hub::patching::may_wait;
use greenlet_hub::{joinall, spawn, yield_now};

use crate::support::{MS, patched, timed};

/// Runs `body` in a forked child; its code, or 101 if it panics.
fn in_child(body: impl FnOnce()) -> i32 {
    // SAFETY: the child uses what no other thread was in the middle of; the patch and the hub see to theirs.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: it has no preconditions. A child that hangs is ended by a signal.
            unsafe { libc::alarm(60) };
            // Until its first native wait all calls are plain.
            assert!(!may_wait());
            yield_now();
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err();
            // SAFETY: it has no preconditions.
            unsafe { libc::_exit(if panicked { 101 } else { 0 }) }
        }
        pid => {
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            let mut status = 0;
            // Greenlets run meanwhile.
            // SAFETY: `status` is room for the answer.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
        }
    }
}

/// What std does there, over and over, by greenlets that wait for each other.
fn use_std() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let echo = spawn(move || {
        let mut buf = [0; 8];
        let count = far.read(&mut buf).unwrap();
        thread::sleep(MS);
        far.write_all(&buf[..count]).unwrap();
    });
    near.write_all(b"hello").unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello");
    echo.join().unwrap();
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let counting = (0..10).map(|_| {
        let shared = Arc::clone(&shared);
        spawn(move || {
            let mut count = shared.0.lock().unwrap();
            thread::sleep(MS);
            *count += 1;
            shared.1.notify_all();
        })
    });
    let counting = Vec::from_iter(counting);
    drop(shared.1.wait_while(shared.0.lock().unwrap(), |count| *count < 10).unwrap());
    assert!(joinall(counting).iter().all(Result::is_ok));
    let (took, _) = timed(|| joinall((0..20).map(|_| spawn(|| thread::sleep(100 * MS)))));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn the_child_of_a_greenlet_waits_as_greenlets_do() {
    patched(|| {
        use_std();
        let held = Arc::new(Mutex::new(()));
        let ticking = Arc::new(AtomicBool::new(true));
        let others = Vec::from_iter((0..10).map(|_| {
            let (held, ticking) = (Arc::clone(&held), Arc::clone(&ticking));
            spawn(move || {
                while ticking.load(Ordering::Relaxed) {
                    let _held = held.lock().unwrap();
                    thread::sleep(MS);
                }
            })
        }));
        yield_now();
        for _ in 0..5 {
            assert_eq!(spawn(|| in_child(use_std)).join().unwrap(), 0);
            // Of main, and of a child's.
            assert_eq!(in_child(|| assert_eq!(in_child(use_std), 0)), 0);
        }
        ticking.store(false, Ordering::Relaxed);
        assert!(joinall(others).iter().all(Result::is_ok));
        use_std();
    });
}

#[test]
fn a_descriptor_that_greenlets_of_the_parent_wait_for_is_used_by_the_child() {
    patched(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let waiting = spawn({
            let mut near = near.try_clone().unwrap();
            move || near.read(&mut [0; 8]).unwrap()
        });
        yield_now();
        let code = in_child(|| {
            let writing = spawn(move || {
                thread::sleep(MS);
                writer.write_all(b"x").unwrap();
                far.write_all(b"for the child").unwrap();
            });
            assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
            assert_eq!(near.read(&mut [0; 3]).unwrap(), 3);
            writing.join().unwrap();
        });
        assert_eq!(code, 0);
        // The rest, and an event of its own for it.
        assert_eq!(waiting.join().unwrap(), 8);
    });
}

#[test]
fn what_pre_exec_calls_is_plain() {
    patched(|| {
        let others = Vec::from_iter((0..5).map(|_| spawn(|| thread::sleep(50 * MS))));
        yield_now();
        let mut command = Command::new("/bin/sh");
        let lock = Arc::new(Mutex::new(()));
        let locks = Arc::clone(&lock);
        let plain = move || {
            assert!(!may_wait());
            thread::sleep(MS);
            drop(locks.lock());
            Ok(())
        };
        // SAFETY: what it calls makes system calls only.
        unsafe { command.args(["-c", "exit 7"]).pre_exec(plain) };
        assert_eq!(command.status().unwrap().code(), Some(7));
        assert!(joinall(others).iter().all(Result::is_ok));
    });
}

#[test]
fn a_child_waits_for_whichever_child_ends_whatever_other_threads_were_in_the_middle_of() {
    patched(|| {
        const FORKS: usize = 150;
        // There is a child to be waited for, which does not end.
        let mut endless = Command::new("sleep").arg("1000").spawn().unwrap();
        let goes_on = Arc::new(AtomicBool::new(true));
        // They look into the list of who waits for children over and over.
        let look = |goes_on: &AtomicBool| {
            while goes_on.load(Ordering::Relaxed) {
                // SAFETY: all bits are allowed.
                let mut info = unsafe { std::mem::zeroed() };
                // SAFETY: there is room for the answer.
                let wait = || unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
                let _ = greenlet_hub::timeout(Duration::from_micros(1), wait);
                yield_now();
            }
        };
        let threads = [(); 2].map(|()| {
            let goes_on = Arc::clone(&goes_on);
            thread::spawn(move || {
                joinall((0..20).map(|_| {
                    let goes_on = Arc::clone(&goes_on);
                    spawn(move || look(&goes_on))
                }))
                .len()
            })
        });
        for _ in 0..FORKS {
            let code = in_child(|| {
                // SAFETY: the child's child calls only what is made for it.
                let own = unsafe { libc::fork() };
                if own == 0 {
                    // So that it is waited for.
                    // SAFETY: a call with a plain number.
                    unsafe { libc::usleep(1000) };
                    // SAFETY: it has no preconditions.
                    unsafe { libc::_exit(0) }
                }
                // SAFETY: no status is asked for.
                assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) }, own);
            });
            assert_eq!(code, 0);
        }
        goes_on.store(false, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 20));
        endless.kill().unwrap();
        endless.wait().unwrap();
    });
}

#[test]
fn a_kill_that_is_pending_when_its_greenlet_forks_is_pending_in_the_child_as_well() {
    patched(|| {
        let killed = spawn(|| {
            // Returns early, with the kill pending.
            thread::sleep(Duration::from_secs(60));
            // SAFETY: the child uses what the hub has made for it.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let raised = std::panic::catch_unwind(yield_now).is_err();
                // SAFETY: it has no preconditions.
                unsafe { libc::_exit(i32::from(!raised)) }
            }
            let mut status = -1;
            // A wait for it would be interrupted.
            // SAFETY: `status` is room for the answer.
            let reap = || unsafe { libc::waitpid(pid, &raw mut status, 0) };
            assert_eq!(greenlet_hub::no_switch(reap), pid);
            assert_eq!(status, 0);
            // It was not raised here meanwhile.
            assert!(std::panic::catch_unwind(yield_now).is_err());
        });
        yield_now();
        killed.kill().unwrap();
        assert!(killed.join().is_ok());
    });
}

#[test]
fn greenlets_of_several_hubs_fork_at_once() {
    patched(|| {
        let pool = greenlet_hub::HubPool::builder().hubs(3).build().unwrap();
        for _ in 0..10 {
            let forking = Vec::from_iter((0..12).map(|_| pool.spawn(|| in_child(yield_now))));
            assert!(joinall(forking).into_iter().all(|code| code.unwrap() == 0));
        }
    });
}
