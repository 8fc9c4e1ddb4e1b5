//! The examples that patch libc: libraries of others that block, in greenlets of one thread.

use std::process::Output;

use crate::support::run;

/// The examples, and what their demos say, if there is a server.
const DEMOS: [(&str, &str); 3] = [
    ("patched_http", "the server had up to 20 requests at once\n"),
    ("patched_redis", "20 clients wait in redis at once\neach of the 20 got what was sent to it"),
    ("patched_sql", "the server saw up to "),
];

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_fails(example: &str, args: &[&str], code: i32, why: &str) {
    let output = run(example, args, b"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{example} {args:?}: {stderr}");
    assert!(stderr.lines().count() == 1 && stderr.contains(why), "{example} {args:?}: {stderr}");
}

#[test]
fn their_demos_check_themselves_and_say_what_overlapped() {
    for (example, said) in DEMOS {
        let output = run(example, &["--demo", "20"], b"");
        let stdout = stdout(&output);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(stdout.contains(said) || stdout.starts_with("skipped: there is no "), "{example}: {stdout}");
    }
}

#[test]
fn their_command_lines_are_polite() {
    for (example, _) in DEMOS {
        let help = stdout(&run(example, &["--help"], b""));
        assert!(help.contains(&format!("cargo run --release --example {example} --features patch")), "{help}");
        assert_fails(example, &[], 2, "missing argument: URL is needed");
        assert_fails(example, &["--bogus"], 2, "unknown flag '--bogus'");
        assert_fails(example, &["--demo", "many"], 2, "'many' is not a number");
        assert_fails(example, &["--demo", "1", "2"], 2, "unexpected argument '2'");
        assert_fails(example, &["--demo", "100000000"], 2, "hard limit");
    }
    assert_fails("patched_http", &["http://127.0.0.1:1/"], 1, "http://127.0.0.1:1/: ");
    assert_fails("patched_redis", &["redis://127.0.0.1:1/"], 1, "refused");
    assert_fails("patched_redis", &["127.0.0.1"], 1, "URL");
    assert_fails("patched_sql", &["mysql://127.0.0.1:1/"], 1, "refused");
    assert_fails("patched_sql", &["127.0.0.1"], 1, "");
}
