//! Where a patched call is the plain one; and destructors that wait while their greenlet unwinds.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Mutex;
use std::thread;

use greenlet_hub::{JoinError, no_switch, sleep, spawn, yield_now};

use crate::calls::{self, settle};
use crate::support::{MS, child, counting, is_child, patched, patched_alone, tcp_pair, timed};

/// A plain thread that sends a byte after some time, so that a call which blocks its thread ends.
fn late_byte() -> UnixStream {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        thread::sleep(10 * MS);
        theirs.write_all(b"x")
    });
    ours
}

#[test]
fn nobody_else_runs_where_nothing_may_switch() {
    patched(|| {
        let stream = late_byte();
        let turns = counting();
        // As it is: it blocks the thread.
        assert_eq!(no_switch(|| { &stream }.read(&mut [0; 8]).unwrap()), 1);
        no_switch(|| thread::sleep(MS));
        let (reader, writer) = std::io::pipe().unwrap();
        no_switch(|| { &writer }.write_all(b"pipe").unwrap());
        assert_eq!(no_switch(|| { &reader }.read(&mut [0; 8]).unwrap()), 4);
        assert_eq!(turns.get(), 0);
        yield_now();
        assert_eq!(turns.get(), 1);
    });
}

#[test]
fn nobody_else_runs_in_a_panic_hook() {
    const NAME: &str = "inert::nobody_else_runs_in_a_panic_hook";
    thread_local!(static TURNS: RefCell<Option<Rc<Cell<u32>>>> = const { RefCell::new(None) });
    static IN_HOOK: Mutex<Option<u32>> = Mutex::new(None);
    if is_child(NAME) {
        // Before there is a hub, which wraps it.
        std::panic::set_hook(Box::new(|_| {
            let stream = late_byte();
            assert_eq!({ &stream }.read(&mut [0; 8]).unwrap(), 1);
            thread::sleep(MS);
            *IN_HOOK.lock().unwrap() = TURNS.with_borrow(|turns| turns.as_ref().map(|turns| turns.get()));
        }));
    }
    patched_alone(NAME, || {
        let turns = counting();
        TURNS.set(Some(Rc::clone(&turns)));
        let before = turns.get();
        assert!(catch_unwind(|| panic!("for the hook")).is_err());
        assert_eq!(*IN_HOOK.lock().unwrap(), Some(before));
        yield_now();
        assert!(turns.get() > before);
    });
}

#[test]
fn a_thread_without_a_hub_gets_none() {
    patched(|| {
        let made = thread::spawn(|| {
            let stream = late_byte();
            assert_eq!({ &stream }.read(&mut [0; 8]).unwrap(), 1);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            listener.accept().unwrap();
            thread::sleep(MS);
            drop(Mutex::new(()).lock().unwrap());
            Command::new("true").status().unwrap();
            greenlet_hub::patching::thread_word().is_some()
        });
        assert!(!made.join().unwrap());
    });
}

#[test]
fn destructors_of_thread_locals_make_plain_calls() {
    patched(|| {
        struct Late(UnixStream);
        static READ: Mutex<Option<usize>> = Mutex::new(None);
        impl Drop for Late {
            fn drop(&mut self) {
                *READ.lock().unwrap() = Some(self.0.read(&mut [0; 8]).unwrap());
                thread::sleep(MS);
            }
        }
        thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
        let ended = thread::spawn(|| {
            LATE.set(Some(Late(late_byte())));
            // The thread has a hub, and one who would like to run.
            yield_now();
            let turns = counting();
            sleep(MS);
            assert!(turns.get() > 0);
        });
        ended.join().unwrap();
        assert_eq!(*READ.lock().unwrap(), Some(1));
    });
}

#[test]
fn a_killed_greenlet_flushes_a_socket_of_std_in_a_destructor_and_nobody_notices() {
    patched(|| {
        struct Flush(TcpStream);
        impl Drop for Flush {
            fn drop(&mut self) {
                assert!(thread::panicking());
                // More than there is room for: it waits, and is not interrupted again.
                self.0.write_all(&vec![7; 8_000_000]).unwrap();
                let mut answer = [0];
                self.0.read_exact(&mut answer).unwrap();
                thread::sleep(MS);
                assert!(thread::panicking());
            }
        }
        let (ours, mut theirs) = tcp_pair();
        let writer = spawn(move || {
            let _flush = Flush(ours);
            sleep(60_000 * MS);
        });
        settle();
        writer.kill_nowait().unwrap();
        let reader = spawn(move || {
            let lock = Mutex::new(());
            let mut all = vec![0; 8_000_000];
            for part in all.chunks_mut(500_000) {
                theirs.read_exact(part).unwrap();
                assert!(!thread::panicking());
                drop(lock.lock().unwrap());
            }
            sleep(5 * MS);
            assert!(!lock.is_poisoned());
            theirs.write_all(b"!").unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| std::panic::resume_unwind(Box::new(())))).is_err());
            all.iter().all(|&byte| byte == 7)
        });
        assert!(reader.join().unwrap());
        assert!(matches!(writer.join(), Err(JoinError::Killed)));
    });
}

#[test]
fn a_sockets_destructor_in_a_greenlet_that_never_ran_ends_the_waits_of_others() {
    patched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        let reader = spawn(move || calls::recv(fd, &mut [0; 8], 0));
        settle();
        // Its closure is dropped by the hub's own code.
        let never = spawn(move || drop(ours));
        never.kill_nowait().unwrap();
        let (took, ended) = timed(|| {
            let ended = never.join();
            drop(theirs);
            (ended, reader.join().unwrap())
        });
        assert!(matches!(ended.0, Err(JoinError::Killed)));
        assert!(matches!(ended.1, Err(libc::EBADF) | Ok(0)), "{:?}", ended.1);
        assert!(took < 900 * MS, "{took:?}");
    });
}

#[test]
fn standard_output_blocks_its_thread_and_standard_input_does_not() {
    const NAME: &str = "inert::standard_output_blocks_its_thread_and_standard_input_does_not";
    if is_child(NAME) {
        return patched(|| {
            let turns = counting();
            // Its other end writes when it has seen all of the output.
            let before = turns.get();
            println!("{}", "x".repeat(300_000));
            eprintln!("{}", "y".repeat(300_000));
            assert_eq!(turns.get(), before, "somebody else ran while a standard stream was full");
            println!("all is out");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            assert_eq!(line, "go on\n");
            assert!(turns.get() > before, "nobody else ran while the standard input was waited for");
        });
    }
    let mut started = child(NAME).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (started.stdout.take().unwrap(), started.stderr.take().unwrap());
    // Slowly, so that the pipe is full.
    let slowly = |stream: &mut dyn Read, end: &str| {
        let mut said = String::new();
        let mut buf = [0; 4096];
        loop {
            thread::sleep(MS / 10);
            let len = stream.read(&mut buf).unwrap();
            said.push_str(&String::from_utf8_lossy(&buf[..len]));
            if len == 0 || !end.is_empty() && said.contains(end) {
                return said;
            }
        }
    };
    let errors = thread::spawn(move || slowly(&mut stderr, ""));
    let said = slowly(&mut stdout, "all is out");
    thread::sleep(20 * MS);
    // It may have failed before that.
    let _ = started.stdin.take().unwrap().write_all(b"go on\n");
    let rest = slowly(&mut stdout, "");
    let ended = started.wait().unwrap();
    let errors = errors.join().unwrap();
    assert!(ended.success(), "{}", errors.trim_start_matches('y'));
    assert!(said.matches('x').count() >= 300_000 && rest.contains("1 passed"));
}
