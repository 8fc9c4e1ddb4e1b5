//! Child processes.

#![allow(clippy::zombie_processes, reason = "they are waited for by other calls")]

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::ptr;

use greenlet_hub::{JoinError, joinall, sleep, spawn, timeout, yield_now};

use crate::support::{MS, patched, patched_alone, timed};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// One whose end comes when its standard input does.
fn waiting() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn twenty_children_are_waited_for_at_once() {
    patched(|| {
        let (took, ended) =
            timed(|| joinall((0..20).map(|code| spawn(move || shell(&format!("sleep 0.2; exit {code}")).status()))));
        for (code, status) in (0..).zip(ended) {
            assert_eq!(status.unwrap().unwrap().code(), Some(code));
        }
        assert!(took < 3000 * MS, "{took:?}");
    });
}

#[test]
fn what_children_say_is_read_while_others_run() {
    patched(|| {
        let script = "echo said; sleep 0.2; echo complained >&2";
        let (took, ended) = timed(|| joinall((0..20).map(|_| spawn(move || shell(script).output()))));
        for output in ended {
            let output = output.unwrap().unwrap();
            assert!(output.status.success());
            assert_eq!((&*output.stdout, &*output.stderr), (&b"said\n"[..], &b"complained\n"[..]));
        }
        assert!(took < 3000 * MS, "{took:?}");
    });
}

#[test]
fn a_child_that_has_ended_is_not_waited_for() {
    patched(|| {
        let mut child = shell("exit 3").stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        // Its status is taken once.
        assert_eq!(errno(waitpid(child.id() as i32, 0).0), libc::ECHILD);
    });
}

#[test]
fn a_wait_for_a_child_is_interrupted_and_takes_nothing() {
    patched(|| {
        let mut child = waiting();
        let id = child.id() as i32;
        let ended = timeout(10 * MS, || {
            assert_eq!(errno(waitpid(id, 0).0), libc::ETIMEDOUT);
            yield_now();
        });
        assert!(ended.is_err());
        let waiter = spawn(move || {
            assert_eq!(errno(waitpid(id, 0).0), libc::ECANCELED);
            sleep(60_000 * MS);
        });
        yield_now();
        waiter.kill().unwrap();
        assert!(matches!(waiter.join(), Err(JoinError::Killed)));
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn whichever_child_ends_is_waited_for() {
    patched_alone("process::whichever_child_ends_is_waited_for", || {
        let mut children: Vec<Child> = (0..4).map(|_| waiting()).collect();
        let any = |_| spawn(|| waitpid(-1, 0));
        // One that gives up takes nothing.
        assert!(timeout(10 * MS, || waitpid(-1, 0)).is_ok_and(|(pid, _)| pid == -1));
        let waiters = Vec::from_iter((0..3).map(any));
        yield_now();
        for child in &mut children[..3] {
            drop(child.stdin.take());
        }
        let mut found = Vec::from_iter(joinall(waiters).into_iter().map(|end| end.unwrap().0));
        let mut ids = Vec::from_iter(children[..3].iter().map(|child| child.id() as i32));
        found.sort_unstable();
        ids.sort_unstable();
        assert_eq!(found, ids);
        drop(children[3].stdin.take());
        // SAFETY: null is allowed.
        assert_eq!(unsafe { libc::wait(ptr::null_mut()) }, children[3].id() as i32);
        // SAFETY: null is allowed.
        assert_eq!(errno(unsafe { libc::wait(ptr::null_mut()) }), libc::ECHILD);
    });
}

#[test]
fn a_child_that_stops_is_waited_for() {
    patched(|| {
        let mut child = waiting();
        let id = child.id() as i32;
        let waiter = spawn(move || waitpid(id, libc::WUNTRACED));
        yield_now();
        // SAFETY: it is our child, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(id, libc::SIGSTOP) }, 0);
        let (pid, status) = waiter.join().unwrap();
        assert!(pid == id && libc::WIFSTOPPED(status));
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(id, libc::SIGCONT) }, 0);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn waitid_fills_in_what_it_has_found() {
    patched(|| {
        let mut child = waiting();
        let id = child.id();
        let waiter = spawn(move || {
            // SAFETY: any bytes will do.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            // SAFETY: there is room for the answer.
            let result = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
            // SAFETY: it is that of a child.
            (result, info.si_signo, unsafe { info.si_pid() })
        });
        yield_now();
        drop(child.stdin.take());
        assert_eq!(waiter.join().unwrap(), (0, libc::SIGCHLD, id as i32));
        // It was left to be waited for.
        // SAFETY: null is allowed.
        assert_eq!(unsafe { libc::waitid(libc::P_PID, id, ptr::null_mut(), libc::WEXITED) }, 0);
        // SAFETY: null is allowed.
        assert_eq!(errno(unsafe { libc::waitid(libc::P_PID, id, ptr::null_mut(), libc::WEXITED) }), libc::ECHILD);
        // SAFETY: null is allowed.
        assert_eq!(errno(unsafe { libc::waitid(libc::P_PID, id, ptr::null_mut(), 0) }), libc::EINVAL);
    });
}

fn waitpid(pid: i32, options: i32) -> (i32, i32) {
    let mut status = 0;
    // SAFETY: there is room for the answer.
    (unsafe { libc::waitpid(pid, &raw mut status, options) }, status)
}

#[track_caller]
fn errno(result: i32) -> i32 {
    let err = io::Error::last_os_error();
    assert_eq!(result, -1);
    err.raw_os_error().unwrap()
}
