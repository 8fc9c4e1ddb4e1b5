//! What the tests share.

use std::cell::Cell;
use std::net::{TcpListener, TcpStream};
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
