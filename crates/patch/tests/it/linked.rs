//! A program that links the crate and never calls `patch_all` makes not one system call more.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;

use greenlet_hub::{spawn, yield_now};

use crate::support::{child, is_child, patched, tcp_pair};

/// How often an example makes each system call; `None` and a line that says why, where that cannot be told.
fn counts(program: &str) -> Option<BTreeMap<String, u64>> {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let program: PathBuf = path.join("examples").join(program);
    if !program.exists() {
        println!("skipped: {} has not been built", program.display());
        return None;
    }
    counts_of(&Command::new(program))
}

/// How often a program makes each system call, by `strace`.
fn counts_of(program: &Command) -> Option<BTreeMap<String, u64>> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-S", "name", "-U", "calls,name"]).arg(program.get_program()).args(program.get_args());
    strace.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(output) = strace.output() else {
        println!("skipped: there is no strace");
        return None;
    };
    let table = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() && table.contains("ptrace") {
        println!("skipped: nothing may be traced here: {table}");
        return None;
    }
    assert!(output.status.success(), "{table}");
    let lines = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let count = words.next()?.parse().ok()?;
        Some((words.next()?.to_string(), count))
    });
    Some(lines.filter(|(name, _)| name != "total").collect())
}

#[test]
fn a_program_that_never_patches_makes_the_system_calls_of_one_without_the_crate() {
    // Threads and the loader differ from run to run in what they do about memory and signals, so several are made: one of them is the same.
    for round in 1.. {
        let (Some(plain), Some(linked)) = (counts("inert_plain"), counts("inert_linked")) else { return };
        assert!(plain.contains_key("accept4") && plain.contains_key("futex"), "{plain:?}");
        let more = Vec::from_iter(linked.iter().filter(|&(name, count)| plain.get(name) != Some(count)));
        if more.is_empty() && plain.len() == linked.len() {
            return;
        }
        let fewer = Vec::from_iter(more.iter().map(|(name, _)| plain.get(*name)));
        assert!(round < 10, "linked: {more:?}, without: {fewer:?}");
    }
}

#[test]
fn a_call_on_a_socket_that_is_ready_costs_no_system_call_more() {
    const NAME: &str = "linked::a_call_on_a_socket_that_is_ready_costs_no_system_call_more";
    const ROUNDS: u64 = 5000;
    if is_child(NAME) {
        return patched(|| {
            let (mut ours, mut theirs) = tcp_pair();
            // All is known of it, and it is registered.
            let waiting = spawn(move || {
                ours.read_exact(&mut [0]).unwrap();
                ours
            });
            yield_now();
            theirs.write_all(b"x").unwrap();
            let mut ours = waiting.join().unwrap();
            for _ in 0..ROUNDS {
                theirs.write_all(b"x").unwrap();
                assert_eq!(ours.peek(&mut [0; 8]).unwrap(), 1);
                assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
            }
        });
    }
    let Some(counts) = counts_of(&child(NAME)) else { return };
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert!((ROUNDS..ROUNDS + 20).contains(&count("sendto")), "{counts:?}");
    assert!((2 * ROUNDS..2 * ROUNDS + 20).contains(&count("recvfrom")), "{counts:?}");
    // The turns of the budget.
    assert!(count("epoll_pwait2") < ROUNDS / 5, "{counts:?}");
    let others = counts.iter().filter(|(name, _)| !matches!(&***name, "sendto" | "recvfrom" | "epoll_pwait2"));
    assert!(others.clone().map(|(_, count)| count).sum::<u64>() < ROUNDS, "{counts:?}");
}
