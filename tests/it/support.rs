//! Programs that the tests run, each bounded in time, and what the kernel says of them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// No program and no answer takes so long, unless something hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// All examples, and how the demo of each is called.
pub(crate) const DEMOS: [(&str, &[&str]); 19] = [
    ("echo_server", &["--demo", "200"]),
    ("acceptor", &["--demo", "200", "--hubs", "2"]),
    ("udp_echo", &["--demo"]),
    ("chat_server", &["--demo"]),
    ("port_forwarder", &["--demo"]),
    ("port_scanner", &["--demo"]),
    ("ordering", &["--demo"]),
    ("producer_consumer", &[]),
    ("events", &[]),
    ("worker_pool", &[]),
    ("limit_concurrency", &["20000"]),
    ("timeouts", &[]),
    ("task_group", &[]),
    ("actors", &[]),
    ("generators", &[]),
    ("pipeline", &[]),
    ("select", &[]),
    ("async_client", &[]),
    ("from_tokio", &[]),
];

/// The program of an example: `cargo test` has built it.
pub(crate) fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("this program has a path");
    let profile = tests.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{} is not there: build it with `cargo build --examples`", program.display());
    program
}

/// A command that is killed after the limit: then its exit code is 124.
pub(crate) fn bounded(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("timeout");
    command.arg(LIMIT.as_secs().to_string()).arg(program.as_ref());
    command
}

/// Runs an example to its end.
pub(crate) fn run(name: &str, args: &[&str], stdin: &[u8]) -> Output {
    run_command(bounded(example(name)).args(args), stdin)
}

/// Runs a command to its end.
pub(crate) fn run_command(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = (command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))
        .spawn()
        .expect("the program starts");
    let (mut input, bytes) = (child.stdin.take().expect("it is piped"), stdin.to_vec());
    // A program may end without having read all of it.
    let writer = thread::spawn(move || drop(input.write_all(&bytes)));
    let output = child.wait_with_output().expect("it can be waited for");
    writer.join().expect("writing does not panic");
    output
}

/// Whether there is such a command; if not, the test's output says that it was skipped.
pub(crate) fn has(command: &str) -> bool {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(command).exists()));
    if !found {
        println!("skipped: there is no {command} here");
    }
    found
}

/// Waits until it is so; a failure if it never is.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server in a process of its own, which ends with the test.
pub(crate) struct Server {
    process: Child,
    pub(crate) addr: SocketAddr,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// An example with `--listen`, on a free port.
    pub(crate) fn start(name: &str) -> Server {
        Server::spawn(Command::new(example(name)).args(["--listen", "127.0.0.1:0"]))
    }

    /// The same with a hard limit of descriptors.
    pub(crate) fn start_with_descriptors(name: &str, limit: usize) -> Server {
        let script = format!("ulimit -n {limit} && exec \"$0\" --listen 127.0.0.1:0");
        Server::spawn(Command::new("sh").arg("-c").arg(script).arg(example(name)))
    }

    /// A program that says `listening on ADDR` in its first such line.
    pub(crate) fn spawn(command: &mut Command) -> Server {
        let mut process = (command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
            .spawn()
            .expect("the server starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let (lines, all) = (BufReader::new(process.stderr.take().expect("it is piped")), Arc::clone(&stderr));
        let reader = thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                all.lock().expect("nobody panics with it").push_str(&(line + "\n"));
            }
        });
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut lines = stdout.lines().map_while(Result::ok);
        let addr = lines.find_map(|line| line.strip_prefix("listening on ")?.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("the server did not start: {}", stderr.lock().expect("as above")));
        Server { process, addr, stderr, reader: Some(reader) }
    }

    /// A client that gives up after the limit rather than hang.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("the server accepts");
        stream.set_read_timeout(Some(LIMIT)).expect("it is not zero");
        stream.set_write_timeout(Some(LIMIT)).expect("it is not zero");
        stream
    }

    /// What it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("nobody panics with it").clone()
    }

    /// Memory in use, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("it is a number")
    }

    /// Descriptors in use.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it runs").count()
    }

    /// Ends it; all that it wrote to stderr.
    pub(crate) fn end(mut self) -> String {
        self.kill();
        self.stderr()
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a message and waits for its echo; how long that took.
pub(crate) fn round_trip(stream: &mut TcpStream, message: &[u8]) -> Duration {
    let start = Instant::now();
    stream.write_all(message).expect("it can be sent");
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo).expect("it is echoed");
    assert_eq!(echo, message);
    start.elapsed()
}
