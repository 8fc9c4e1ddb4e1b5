//! What the tests share.

use std::cell::Cell;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{spawn, yield_now};

/// A millisecond.
pub(crate) const MS: Duration = Duration::from_millis(1);

/// Runs a test on a thread of its own, with everything patched: a hub of its own, which ends with it.
pub(crate) fn patched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    greenlet_patch::patch_all();
    let tester = thread::spawn(|| {
        // From here on the thread has a hub.
        yield_now();
        test()
    });
    tester.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// How long it took.
pub(crate) fn timed<R>(f: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = f();
    (start.elapsed(), result)
}

/// Waits until another thread of this process sleeps in the kernel, in a wait for a futex. The thread that asks goes on running.
pub(crate) fn wait_until_it_sleeps(thread: libc::pid_t) {
    let begin = format!("{} ", libc::SYS_futex);
    while !std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap().starts_with(&begin) {
        thread::yield_now();
    }
}

/// A greenlet that counts how often it runs.
pub(crate) fn counting() -> Rc<Cell<u32>> {
    let turns = Rc::new(Cell::new(0));
    spawn({
        let turns = Rc::clone(&turns);
        move || {
            while turns.get() < 1000 {
                turns.set(turns.get() + 1);
                yield_now();
            }
        }
    });
    turns
}

/// The two ends of a connection.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0)
}

/// Whether this is the process that [`child`] starts for that test.
pub(crate) fn is_child(name: &str) -> bool {
    std::env::var_os(CHILD).is_some_and(|child| child == name)
}

const CHILD: &str = "GREENLET_PATCH_TEST_CHILD";

/// This program again, to run that one test (with its module) in a process of its own.
pub(crate) fn child(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, name).env("RUST_BACKTRACE", "0");
    command
}

/// As [`patched`], in a process of its own: for what is the whole process's, as the numbers of descriptors are.
#[track_caller]
pub(crate) fn patched_alone(name: &str, body: impl FnOnce() + Send + 'static) {
    if is_child(name) {
        return patched(body);
    }
    let output = child(name).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "there is no test {name}");
}
