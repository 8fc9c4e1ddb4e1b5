//! Children: every measurement and every server is a fresh process of this same binary, pinned to one core unless the case is about two.

use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cases::{Case, Run};
use crate::columns::Column;
use crate::sys::{self, Usage};

/// The core of the servers, and of the cases without sockets.
pub(crate) const SERVER_CORE: usize = 0;
/// The core of the load.
pub(crate) const LOAD_CORE: usize = 1;

/// The hidden sub-command that serves: `--serve CASE COLUMN`.
pub(crate) const SERVE: &str = "--serve";
/// The hidden sub-command that measures: `--measure CASE COLUMN PARAM SECONDS`.
pub(crate) const MEASURE: &str = "--measure";
/// The hidden sub-command that makes calls, for their instructions to be counted: `--calls COLUMN PARAM COUNT`.
pub(crate) const CALLS: &str = "--calls";

/// The longest that a measurement without sockets may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Keeps this thread on a core; says so and goes on where that is impossible.
pub(crate) fn pin(core: usize) {
    pin_to(&[core]);
}

/// Lets this thread, and what it starts from now on, move between the two cores.
pub(crate) fn use_both_cores() {
    pin_to(&[SERVER_CORE, LOAD_CORE]);
}

fn pin_to(cores: &[usize]) {
    if let Err(err) = sys::pin(cores) {
        eprintln!("compare: not kept on cores {cores:?} ({err}): the figures are worth little");
    }
}

/// Tells whether a program can be started.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok()
}

/// Measures in a child and returns what it printed, a figure a line.
///
/// # Errors
///
/// The child could not be started, took too long, or did not end well: then with the first line that it complained with.
pub(crate) fn measure(case: &str, column: &str, param: &str, seconds: f64) -> io::Result<Vec<f64>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([MEASURE, case, column, param, &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let complaint = child.stderr.take().map(|stderr| thread::spawn(move || first_line(stderr)));
    let status = wait(&mut child)?;
    if !status.success() {
        let complaint = complaint.and_then(|reader| reader.join().ok()).unwrap_or_default();
        return Err(io::Error::other(format!("{status}: {complaint}")));
    }
    let mut figures = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut figures)?;
    }
    let figures: Result<Vec<f64>, _> = figures.lines().map(str::parse).collect();
    figures.map_err(io::Error::other)
}

/// Reads to the end, so that the child never waits for room in the pipe, and returns the first line.
fn first_line(stderr: impl Read) -> String {
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or_default();
    lines.for_each(drop);
    first
}

fn wait(child: &mut Child) -> io::Result<process::ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("no result in {} s", PATIENCE.as_secs())));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// An echo server in a child.
pub(crate) struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Server {
    /// Starts the server that a column has for a case, and waits until it listens.
    ///
    /// # Errors
    ///
    /// The child could not be started, or ended before it told its port.
    pub(crate) fn start(case: &str, column: &str) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVE, case, column])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take().expect("stdin was asked for");
        let stdout = child.stdout.take().expect("stdout was asked for");
        let mut stdout = BufReader::new(stdout).lines();
        let port = answer(&mut stdout)?;
        let port: u16 = port.parse().map_err(io::Error::other)?;
        Ok(Self { child, stdin, stdout, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks the server how much CPU time it has used so far.
    ///
    /// # Errors
    ///
    /// The server has ended.
    pub(crate) fn usage(&mut self) -> io::Result<Usage> {
        self.stdin.write_all(b"usage\n")?;
        let line = answer(&mut self.stdout)?;
        let micros: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [cpu, user] = micros[..] else {
            return Err(io::Error::other(format!("the server answered {line:?}")));
        };
        Ok(Usage { cpu: Duration::from_micros(cpu), user: Duration::from_micros(user) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(stdout: &mut Lines<BufReader<ChildStdout>>) -> io::Result<String> {
    stdout.next().unwrap_or_else(|| Err(io::Error::other("the server has ended")))
}

/// The child's side of [`Server`]: serves until its standard input ends.
pub(crate) fn serve(case: &Case, column: &Column) -> io::Result<()> {
    let Some(serve) = column.server_of(case.name) else {
        return Err(io::Error::other("this column has no server"));
    };
    sys::raise_descriptor_limit()?;
    match case.run {
        Run::LoadBeside(_) => use_both_cores(),
        _ => pin(SERVER_CORE),
    }
    // A thread of its own, asleep while the load runs: a column's loop needs to know nothing of this.
    thread::spawn(|| {
        for _request in io::stdin().lines().map_while(Result::ok) {
            let Usage { cpu, user } = sys::usage();
            println!("{} {}", cpu.as_micros(), user.as_micros());
        }
        process::exit(0);
    });
    serve(&|address| println!("{}", address.port()));
    Err(io::Error::other("the server ended by itself"))
}
