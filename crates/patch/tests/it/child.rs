//! Tests whose process ends, or is looked at as a whole: they run themselves again in a child process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus, exit};

const CHILD: &str = "GREENLET_PATCH_TEST_CHILD";
/// A child that takes longer hangs, and is ended by a signal.
const SECONDS: u32 = 60;

/// How a child process ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Ended {
    /// How often the child said that on stderr, provided that it ended well.
    #[track_caller]
    pub(crate) fn count(&self, text: &str) -> usize {
        assert!(self.status.success(), "{}\n{}", self.status, self.stderr);
        self.stderr.matches(text).count()
    }
}

/// Runs `body` in a child process, as the test `name` of this binary (with its modules, without the crate).
///
/// In the child this function does not return: the process exits with 0 if `body` does, with 101 if it panics.
pub(crate) fn in_child(name: &str, body: impl FnOnce()) -> Ended {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        // SAFETY: it has no preconditions.
        unsafe { libc::alarm(SECONDS) };
        let result = catch_unwind(AssertUnwindSafe(body));
        exit(if result.is_ok() { 0 } else { 101 });
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("running 1 test"), "no test is called {name}: {stdout}");
    Ended { status: output.status, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}
