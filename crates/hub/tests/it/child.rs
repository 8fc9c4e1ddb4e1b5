//! Tests whose process ends, or is looked at as a whole: they run themselves again in a child process.

use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus, exit};

const CHILD: &str = "GREENLET_HUB_TEST_CHILD";
/// A child that takes longer hangs, and is ended by a signal.
const SECONDS: u32 = 60;

/// How a child process ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails with all that the child said, unless it ended well.
    #[track_caller]
    pub(crate) fn check(&self) {
        assert!(self.status.success(), "{}\n{}", self.status, self.stderr);
    }

    /// How often the child said that on stderr.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.stderr.matches(text).count()
    }
}

/// Runs `body` in a child process, as the test `name` of this binary (with its modules, without the crate).
///
/// In the child this function does not return: the process exits with 0 if `body` does, with 101 if it panics.
pub(crate) fn in_child(name: &str, body: impl FnOnce()) -> Ended {
    in_child_with(&[], name, body)
}

/// As [`in_child`], with variables in the child's environment.
pub(crate) fn in_child_with(variables: &[(&str, &OsStr)], name: &str, body: impl FnOnce()) -> Ended {
    if is_child(name) {
        run(body);
    }
    start(variables, name)
}

/// As [`in_child`], but `body` is all that runs: the test harness's own thread, which waits for it, is left behind.
pub(crate) fn alone_in_child(name: &str, body: impl FnOnce()) -> Ended {
    alone_in_child_with(&[], name, body)
}

/// As [`alone_in_child`], with variables in the child's environment.
pub(crate) fn alone_in_child_with(variables: &[(&str, &OsStr)], name: &str, body: impl FnOnce()) -> Ended {
    if is_child(name) {
        // SAFETY: the other thread of the process, the harness's, only waits and holds no lock; the C library sees to its own.
        match unsafe { libc::fork() } {
            0 => run(body),
            pid => {
                assert!(pid > 0, "{}", std::io::Error::last_os_error());
                let mut status = 0;
                // SAFETY: `status` is room for the answer.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                let code =
                    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
                exit(code);
            }
        }
    }
    start(variables, name)
}

fn is_child(name: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == name)
}

fn run(body: impl FnOnce()) -> ! {
    // SAFETY: it has no preconditions.
    unsafe { libc::alarm(SECONDS) };
    exit(match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => 0,
        Err(_) => 101,
    })
}

fn start(variables: &[(&str, &OsStr)], name: &str) -> Ended {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .env_remove("RUST_BACKTRACE")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("running 1 test"), "no test is called {name}: {stdout}");
    Ended { status: output.status, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}
