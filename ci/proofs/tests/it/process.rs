//! `std::process`: pipes, `waitpid`, and starting programs.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::process::{Command, Stdio};

use crate::at_once::{CONCURRENT, at_once};
use crate::gate;

/// Each child says on stderr that it is there, and ends 200 ms after the end of its stdin, which they share.
const CHILD: &str = "printf . >&2; read line; sleep 0.2; echo output $0; exit $0";

#[test]
fn outputs_of_children_overlap() {
    let gate = Children::start();
    let (stdin, stderr) = (gate.stdin, gate.stderr);
    let answers = at_once(move |number| {
        let mut command = child(number, &stdin, &stderr);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    });
    assert_eq!(
        answers,
        (0..CONCURRENT).map(|number| (Some(number as i32), format!("output {number}\n"))).collect::<Vec<_>>()
    );
    assert_eq!(gate.watcher.join().unwrap(), CONCURRENT, "children at once");
}

#[test]
fn waits_for_children_overlap() {
    let gate = Children::start();
    let (stdin, stderr) = (gate.stdin, gate.stderr);
    let answers = at_once(move |number| {
        let mut child = child(number, &stdin, &stderr).stdout(Stdio::null()).spawn().unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        child.wait().unwrap().code()
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| Some(number as i32)).collect::<Vec<_>>());
    assert_eq!(gate.watcher.join().unwrap(), CONCURRENT, "children at once");
}

fn child(number: usize, stdin: &PipeReader, stderr: &PipeWriter) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", CHILD, &number.to_string()]);
    command.stdin(stdin.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    command
}

/// The children's standard streams, and who counts them.
struct Children {
    stdin: PipeReader,
    stderr: PipeWriter,
    watcher: std::thread::JoinHandle<usize>,
}

impl Children {
    fn start() -> Children {
        let ((stdin, end), (mut dots, stderr)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let mut there = 0;
        let count = move |_: &mut Option<PipeWriter>| {
            there += dots.read(&mut [0; CONCURRENT]).unwrap();
            there
        };
        let watcher = gate::watch(|| Some(end), count, |end| drop(end.take()));
        Children { stdin, stderr, watcher }
    }
}
