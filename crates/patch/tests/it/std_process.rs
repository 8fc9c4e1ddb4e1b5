//! What std's documentation shows of `std::process`, in both worlds.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::worlds::in_both_worlds;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

in_both_worlds! {
    fn the_output_of_a_child_is_had_whole() {
        let output = shell("sleep 0.02; echo out; echo err >&2; exit 3").output().unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(output.status.code(), Some(3));
        assert!(shell("sleep 0.02").status().unwrap().success());
        // More than a pipe has room for, on both.
        let output = shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2").output().unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 300_000));
        assert!(Command::new("/there/is/no/such/program").spawn().is_err());
    }

    fn a_child_is_talked_to() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for n in 0..5 {
            writeln!(input, "line {n}").unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), format!("line {n}"));
        }
        drop(input);
        assert!(lines.next().is_none() && child.wait().unwrap().success());
        // By two at once, more than the pipes have room for.
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = spawn(move || input.write_all(&vec![b'x'; 500_000]));
        let mut all = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
        writer.join().unwrap().unwrap();
        assert!(all.len() == 500_000 && child.wait().unwrap().success());
    }

    fn one_childs_output_is_anothers_input() {
        let mut first = shell("sleep 0.02; echo b; echo a").stdout(Stdio::piped()).spawn().unwrap();
        let second = Command::new("sort").stdin(first.stdout.take().unwrap()).output().unwrap();
        assert_eq!(second.stdout, b"a\nb\n");
        assert!(first.wait().unwrap().success());
    }

    fn a_child_is_killed_and_asked_after() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        let killer = spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            child.kill().unwrap();
            child.wait().unwrap()
        });
        assert!(!killer.join().unwrap().success());
    }

    fn children_run_at_the_same_time() {
        let start = Instant::now();
        let all = Vec::from_iter((0..8).map(|n| spawn(move || {
            let output = shell(&format!("sleep 0.5; echo {n}")).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })));
        for (n, one) in all.into_iter().enumerate() {
            assert_eq!(one.join().unwrap(), format!("{n}\n"));
        }
        assert!(start.elapsed() >= Duration::from_millis(500) && start.elapsed() < Duration::from_secs(3));
    }
}
