//! Tests whose process ends: they run themselves again in a child process.

use std::process::{Command, ExitStatus};

const CHILD: &str = "GREENLET_CORE_TEST_CHILD";

/// How a child process ended and what it said.
#[derive(Debug)]
#[allow(dead_code, reason = "the unit tests, which share this file, look at the status only")]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

/// Runs `body` in a child process, as the test `name` of this binary (with its modules, without the crate).
///
/// In the child this function does not return: the process exits with 0 if `body` does.
pub(crate) fn in_child(name: &str, body: impl FnOnce()) -> Ended {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        body();
        std::process::exit(0);
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("running 1 test"), "no test is called {name}: {stdout}");
    Ended { status: output.status, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}
