//! A program that links the crate and never calls `patch_all` makes not one system call more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// How often a program makes each system call, by `strace`; `None` and a line that says why, where that cannot be told.
fn counts(program: &str) -> Option<BTreeMap<String, u64>> {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let program: PathBuf = path.join("examples").join(program);
    if !program.exists() {
        println!("skipped: {} has not been built", program.display());
        return None;
    }
    let Ok(output) = Command::new("strace").args(["-f", "-c", "-S", "name", "-U", "calls,name"]).arg(&program).output()
    else {
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
