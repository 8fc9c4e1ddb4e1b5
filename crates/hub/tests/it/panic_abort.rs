//! A program in which nothing can be unwound: an example, built again with `panic = "abort"`.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

fn run(what: &str) -> Output {
    Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--example", "panic_abort"])
        .args(["--config", "profile.dev.panic='abort'", "--config", "profile.dev.debug=false"])
        .args(["--target-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/panic_abort"), "--", what])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // What cargo tells a test is not for the one in it.
        .env_remove("RUSTFLAGS")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

#[test]
fn kill_says_so_and_what_needs_unwinding_panics_at_the_call() {
    let left_alone = run("kill");
    let stderr = String::from_utf8_lossy(&left_alone.stderr);
    assert!(left_alone.status.success(), "{stderr}");
    assert_eq!(left_alone.stdout, b"left alone\n", "{stderr}");
    for what in ["timeout", "task_group"] {
        let aborted = run(what);
        let stderr = String::from_utf8_lossy(&aborted.stderr);
        // Of the example or, as some versions of cargo put it, of cargo itself.
        let by_signal = aborted.status.signal() == Some(libc::SIGABRT) || stderr.contains("SIGABRT");
        assert!(by_signal || aborted.status.code() == Some(128 + libc::SIGABRT), "{:?} {stderr}", aborted.status);
        assert!(stderr.contains(&format!("{what} needs unwinding")), "{stderr}");
    }
}
