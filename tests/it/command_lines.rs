//! The examples as programs: what they say and with which code they exit.

use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::thread;

use crate::support::{DEMOS, Server, bounded, example, has, run, run_command};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One line on stderr and that exit code.
#[track_caller]
fn assert_fails(example: &str, args: &[&str], code: i32, why: &str) {
    let output = run(example, args, b"");
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{example} {args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{example} {args:?}: {stderr}");
    assert!(stderr.contains(why), "{example} {args:?}: {stderr}");
}

#[test]
fn every_demo_checks_itself_and_ends_well() {
    for (example, args) in DEMOS {
        let output = run(example, args, b"");
        assert!(output.status.success(), "{example}: {}", stderr(&output));
        assert!(!output.stdout.is_empty(), "{example} prints how it went");
        assert_eq!(stderr(&output), "", "{example} draws a progress bar on terminals only");
    }
}

#[test]
fn the_demo_of_the_echo_server_prints_connections_rate_and_percentiles() {
    let stdout = stdout(&run("echo_server", &["--demo", "20"], b""));
    for part in ["20 connections", "1,000 messages", "messages/s", "p50 ", "p99 ", "p99.9 "] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn servers_on_several_hubs_serve_their_demos() {
    for (example, args) in
        [("echo_server", ["--demo", "20", "--hubs", "2"]), ("acceptor", ["--demo", "20", "--hubs", "3"])]
    {
        let output = run(example, &args, b"");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("20 connections, 1,000 messages"), "{}", stdout(&output));
    }
    let stdout = stdout(&run("acceptor", &["--demo", "20", "--hubs", "3"], b""));
    assert!(stdout.contains("hub 2 was busy for "), "{stdout}");
}

/// Lines that must come in this order; what depends on the clock is left out.
#[test]
fn the_examples_say_what_happens() {
    let promised: [(&str, &[&str]); 12] = [
        ("producer_consumer", &["put 1\n", " got 1\n", "put 8\nshut down\n", " got 8\n", "sum of all items is 36\n"]),
        ("events", &["started? false\n", "Ann runs\n", "Ben runs\n", " has arrived\n", "all have seen who won"]),
        ("worker_pool", &["worker 0 has done [0, ", "worker 4 has done [4, ", "25 tasks of 20ms took "]),
        ("limit_concurrency", &["20,000 jobs", "19,995 greenlets waited", "at the most 5 were at work"]),
        ("timeouts", &["Err(Empty)\n", "Ok(42)\n", "Err(Elapsed)\n", "Ok(Err(Elapsed))\n", "the second", "the first"]),
        ("task_group", &["Ok(\"<head><text><image>\")", "for image is closed\n", "Err(NotFound(\"broken text\"))"]),
        (
            "actors",
            &[
                "10 from Ann to Ben: true\n",
                "5 from Ann to Ben: false\n",
                "Ann has Ok(0), and Ben Ok(100)\n",
                "Err(Ended)",
            ],
        ),
        (
            "generators",
            &["0, 2, 8, 34", "abc acb bac", "Some(15.0)", "the sum is 6, and a clock has ticked meanwhile: true\n"],
        ),
        ("pipeline", &["NaN° F in the attic\n", "in the attic: 30.0 ", "in the cellar: 10.0 ", "in the garden: 2.5 "]),
        ("select", &["coffee 1 for the ", "coffee 4 for the counter\n", "7 orders served\nand nothing is left over\n"]),
        ("async_client", &["100 answers in "]),
        ("from_tokio", &["the answer is 42\n", "squares is 385\n", "left in the queue: an item\n", "ten tasks: done"]),
    ];
    for (example, parts) in promised {
        let (_, args) = DEMOS.into_iter().find(|(demo, _)| *demo == example).expect("it has a demo");
        let stdout = stdout(&run(example, args, b""));
        let mut rest = &*stdout;
        for part in parts {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("{example}, {part:?}: {stdout}")).1;
        }
    }
}

#[test]
fn a_demo_draws_a_progress_bar_on_a_terminal() {
    if !has("script") {
        return;
    }
    let command = format!("{} --demo 20", example("echo_server").display());
    let output = run_command(bounded("script").args(["-qec", &command, "/dev/null"]), b"");
    assert!(output.status.success());
    assert!(stdout(&output).contains('█'), "{}", stdout(&output));
}

#[test]
fn help_is_the_comment_that_heads_the_example() {
    for example in DEMOS.map(|(example, _)| example).into_iter().chain(["echo_client"]) {
        let output = run(example, &["--help"], b"");
        assert!(output.status.success() && output.stderr.is_empty());
        let usage = format!("cargo run --release --example {example}");
        let usage = usage.replace("--release --example ordering", "--example ordering");
        assert!(stdout(&output).contains(&usage), "{}", stdout(&output));
    }
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_code_2() {
    for (example, _) in DEMOS {
        assert_fails(example, &["--bogus"], 2, "unknown flag '--bogus'");
    }
    for example in ["echo_server", "acceptor"] {
        assert_fails(example, &["--hubs"], 2, "--hubs");
        assert_fails(example, &["--hubs", "two"], 2, "'two' is not a number of hubs");
        assert_fails(example, &["--hubs", "0"], 2, "1 at the least");
    }
    for example in ["echo_server", "acceptor", "udp_echo", "chat_server"] {
        assert_fails(example, &["--listen"], 2, "--listen");
        assert_fails(example, &["stray"], 2, "unexpected argument 'stray'");
        assert_fails(example, &["--demo", "many"], 2, "'many' is not a number");
        assert_fails(example, &["--demo", "1", "2"], 2, "unexpected argument '2'");
    }
    for (example, _) in DEMOS.into_iter().filter(|(_, args)| args.is_empty()) {
        assert_fails(example, &["stray"], 2, "unexpected argument 'stray'");
    }
    assert_fails("limit_concurrency", &["many"], 2, "'many' is not a number of jobs");
    assert_fails("limit_concurrency", &["1", "2"], 2, "unexpected argument '2'");
    assert_fails("port_forwarder", &[], 2, "missing argument");
    assert_fails("port_forwarder", &["127.0.0.1:0"], 2, "missing argument");
    assert_fails("port_scanner", &[], 2, "missing argument");
    assert_fails("port_scanner", &["127.0.0.1", "--timeout", "soon"], 2, "'soon'");
    assert_fails("echo_client", &["127.0.0.1:1", "stray"], 2, "unexpected argument 'stray'");
}

#[test]
fn more_clients_than_descriptors_is_one_line_and_exit_code_2() {
    assert_fails("echo_server", &["--demo", "100000000"], 2, "hard limit");
    assert_fails("echo_server", &["--demo", &usize::MAX.to_string()], 2, "hard limit");
}

#[test]
fn an_address_that_cannot_be_used_is_one_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for example in ["echo_server", "chat_server"] {
        assert_fails(example, &["--listen", &taken], 1, "in use");
    }
    assert_fails("port_forwarder", &[&taken, "127.0.0.1:1"], 1, "in use");
    for example in ["echo_server", "udp_echo", "chat_server"] {
        assert_fails(example, &["--listen", "nowhere"], 1, "invalid socket address");
        assert_fails(example, &["--listen", "127.0.0.1:port"], 1, "invalid port value");
        assert_fails(example, &["--listen", "192.0.2.1:80"], 1, "cannot");
    }
    assert_fails("echo_client", &["nowhere"], 1, "invalid socket address");
}

#[test]
fn the_client_sends_what_is_piped_in_and_prints_the_echo() {
    let server = Server::start("echo_server");
    let text: String = (0..100_000).map(|line| format!("line {line}\n")).collect();
    let text = text + "and one without an end";
    let output = run("echo_client", &[&server.addr.to_string()], text.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output) == text, "the echo is not what was sent");
}

#[test]
fn the_client_reads_a_file_and_no_input_at_all() {
    let server = Server::start("echo_server");
    let client = example("echo_client").display().to_string();
    for (from, expected) in [("Cargo.toml", std::fs::read("Cargo.toml").unwrap()), ("/dev/null", Vec::new())] {
        let script = format!("{client} {} < {from}", server.addr);
        let output = run_command(bounded("sh").args(["-c", &script]), b"");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(output.stdout, expected);
    }
}

#[test]
fn the_client_says_when_it_cannot_connect_and_when_the_server_hangs_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || drop(listener.accept().unwrap()));
    let mut client = bounded(example("echo_client"));
    let client = client.arg(&addr).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    // Its stdin stays open, so nothing but the server can end it.
    let stdin = client.stdin.take();
    let output = client.wait_with_output().unwrap();
    drop(stdin);
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "the server closed the connection\n");
    assert_fails("echo_client", &[&addr], 1, "cannot connect");
}

/// In a network namespace of its own nobody else comes and goes, so the result must be exact on 127.0.0.1 as well. There a
/// scan connects some sockets to themselves: each port of the ephemeral range is looked for by a socket that has a port of it.
#[test]
fn the_scanner_does_not_take_its_own_sockets_for_open_ports() {
    if !has("unshare") || !has("ip") {
        return;
    }
    let script = "ip link set lo up && \"$0\" --demo 127.0.0.1 && \"$0\" --demo 127.0.0.1 && \"$0\" --demo 127.0.0.1";
    let mut command = bounded("unshare");
    let output = run_command(command.args(["-rn", "sh", "-c", script]).arg(example("port_scanner")), b"");
    if stderr(&output).contains("unshare failed") || stderr(&output).contains("not permitted") {
        println!("skipped: no network namespace can be made here: {}", stderr(&output));
        return;
    }
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).matches("5 are open, 5 of them our own").count(), 3, "{}", stdout(&output));
}
