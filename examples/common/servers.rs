//! Real servers from the distribution's packages: each on a free port of the loopback, in a directory of its own, and
//! gone, with all that it left, when its value is dropped.
#![allow(dead_code, reason = "no program uses all of it")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// No server takes so long until it answers, not even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A server that answers on `127.0.0.1`. It is ended by its drop.
#[derive(Debug)]
pub(crate) struct Server {
    // The process ends before its directory is removed.
    process: Process,
    pub(crate) port: u16,
    pub(crate) dir: Dir,
}

/// `redis-server`, empty, writing nothing to disk. `None`, with the reason printed, where it is not installed.
pub(crate) fn redis() -> Option<Server> {
    let program = program("redis-server")?;
    Some(start(Dir::new(), |dir, port| {
        let mut command = dir.server(&program, "KILL");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        (command, Ready::Says(b"PING\r\n", b"+PONG"))
    }))
}

/// `memcached`, empty. `None`, with the reason printed, where it is not installed.
pub(crate) fn memcached() -> Option<Server> {
    let program = program("memcached")?;
    Some(start(Dir::new(), |dir, port| {
        let mut command = dir.server(&program, "KILL");
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0"]);
        (command, Ready::Says(b"version\r\n", b"VERSION"))
    }))
}

/// `mariadbd`: everybody may do everything. `None`, with the reason printed, where it is not installed.
pub(crate) fn mariadb() -> Option<Server> {
    let (program, install) = (program("mariadbd")?, program("mariadb-install-db")?);
    let dir = Dir::new();
    let data = format!("--datadir={}", dir.0.join("data").display());
    run(dir.unprivileged(&install).args(["--no-defaults", &data, "--skip-test-db"]));
    Some(start(dir, |dir, port| {
        let mut command = dir.server(&program, "KILL");
        command.args(["--no-defaults", &data, "--bind-address=127.0.0.1", &format!("--port={port}")]);
        command.arg(format!("--socket={}", dir.0.join("socket").display()));
        command.args([
            "--skip-grant-tables",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=8M",
            "--max-connections=2000",
        ]);
        // The server speaks first: its version is in what it says.
        (command, Ready::Says(b"", b"MariaDB"))
    }))
}

/// `postgres`, with a superuser `greenlet` whom it trusts. Besides its port it has a socket in its directory. `None`, with
/// the reason printed, where it is not installed.
pub(crate) fn postgres() -> Option<Server> {
    let (program, initdb, is_ready) = (program("postgres")?, program("initdb")?, program("pg_isready")?);
    let dir = Dir::new();
    let data = dir.0.join("data");
    run(dir.unprivileged(&initdb).args(["-U", "greenlet", "-A", "trust", "--no-sync", "--locale=C", "-D"]).arg(&data));
    Some(start(dir, |dir, port| {
        // At QUIT it ends its children and lets go of its shared memory, which it cannot do when it is killed.
        let mut command = dir.server(&program, "QUIT");
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", dir.0.display()));
        command.args(["-c", "fsync=off", "-c", "max_connections=250"]);
        let mut is_ready = Command::new(&is_ready);
        is_ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
        (command, Ready::Program(is_ready))
    }))
}

/// How a server shows that it serves.
enum Ready {
    /// Who says the first to it hears something that contains the second.
    Says(&'static [u8], &'static [u8]),
    /// This program succeeds.
    Program(Command),
}

impl Ready {
    fn is_so(&mut self, port: u16) -> bool {
        match self {
            Ready::Says(request, answer) => hear(port, request, answer).unwrap_or(false),
            Ready::Program(command) => command.status().is_ok_and(|status| status.success()),
        }
    }
}

fn hear(port: u16, request: &[u8], expected: &[u8]) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(request)?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    Ok(answer[..length].windows(expected.len()).any(|part| part == expected))
}

/// Starts a server and waits until it serves. Another program may take the port before the server does: then this tries
/// another one.
fn start(dir: Dir, command: impl Fn(&Dir, u16) -> (Command, Ready)) -> Server {
    let log = dir.0.join("log");
    for _ in 0..3 {
        let port = free_port();
        let (mut command, mut ready) = command(&dir, port);
        let output = File::create(&log).expect("the directory is ours");
        command.stdin(Stdio::piped()).stderr(output.try_clone().expect("it is open")).stdout(output);
        let mut process = Process(command.spawn().unwrap_or_else(|err| panic!("cannot start {command:?}: {err}")));
        let begin = Instant::now();
        while begin.elapsed() < LIMIT && process.runs() {
            if ready.is_so(port) && process.runs() {
                return Server { process, port, dir };
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    panic!("the server does not start: {}", fs::read_to_string(log).unwrap_or_default());
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Runs a program to its end, which has to be a good one.
fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|err| panic!("cannot start {command:?}: {err}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// Finds a program, or prints that it is not there.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    // Where Debian keeps servers: not on everybody's path.
    dirs.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let postgres = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    dirs.extend(postgres.map(|version| version.path().join("bin")));
    let program = dirs.into_iter().map(|dir| dir.join(name)).find(|program| program.exists());
    if program.is_none() {
        println!("skipped: there is no {name} here");
    }
    program
}

/// A process that ends with its value, and also if ours is killed: a shell between the two sees that its stdin ends.
#[derive(Debug)]
struct Process(Child);

impl Process {
    /// The shell's arguments are the signal, the program and its arguments.
    const SHELL: &str = r#"
        exec 3<&0
        "$@" </dev/null &
        server=$!
        { cat <&3; kill -s $0 $server; } >/dev/null 2>&1 &
        wait $server
    "#;

    fn runs(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|end| end.is_none())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // What does not end by this is waited for, which is seen: better than to leave a server behind.
        let _ = self.0.wait();
    }
}

/// A directory that is removed with its value.
#[derive(Debug)]
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("greenlet-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap_or_else(|err| panic!("cannot make {}: {err}", dir.display()));
        Dir(dir)
    }

    /// The program as a server, which is ended by that signal.
    fn server(&self, program: &Path, end: &str) -> Command {
        let mut command = self.unprivileged(Path::new("sh"));
        command.args(["-c", Process::SHELL, end]).arg(program);
        command
    }

    /// The program in this directory; if we are root, as `nobody`, to whom the directory is given: most servers refuse to
    /// run as root.
    fn unprivileged(&self, program: &Path) -> Command {
        const NOBODY: u32 = 65534;
        let mut command = Command::new(program);
        command.current_dir(&self.0);
        if fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0) {
            chown(&self.0, Some(NOBODY), Some(NOBODY)).expect("root may");
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
