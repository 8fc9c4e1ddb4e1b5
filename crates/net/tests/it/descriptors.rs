//! Numbers of descriptors are used again; what was known of the old one must not be believed of the new one.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenlet_hub::{joinall, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream, UnixStream};

use crate::worlds::ANY;

const ROUNDS: usize = 50;

/// Numbers of descriptors belong to the process, so the tests that look at them take turns.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A pair whose first end has waited on this hub.
fn registered_pair() -> (UnixStream, UnixStream) {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let writer = spawn(move || {
        theirs.write_all(b"!").unwrap();
        theirs
    });
    ours.read_exact(&mut [0; 1]).unwrap();
    (ours, writer.join().unwrap())
}

/// Reads from a new pair: first nothing, then what is sent.
fn check_new(mut ours: UnixStream, mut theirs: UnixStream) {
    ours.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(ours.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    ours.set_read_timeout(None).unwrap();
    let reader = spawn(move || {
        let mut buf = [0; 8];
        (ours.read(&mut buf).unwrap(), ours.read(&mut buf).unwrap())
    });
    yield_now();
    theirs.write_all(b"new").unwrap();
    drop(theirs);
    let (first, second) = reader.join().unwrap();
    assert_eq!((first, second), (3, 0));
}

#[test]
fn a_reused_number_knows_nothing_of_its_former_owner() {
    let _alone = alone();
    let mut reused = 0;
    for _ in 0..ROUNDS {
        let (ours, mut theirs) = registered_pair();
        let number = ours.as_raw_fd();
        // Data and the end are pending with the kernel, and never asked for.
        theirs.write_all(b"old").unwrap();
        drop(theirs);
        drop(ours);
        let (ours, theirs) = UnixStream::pair().unwrap();
        reused += usize::from(ours.as_raw_fd() == number);
        check_new(ours, theirs);
    }
    println!("{reused} of {ROUNDS} numbers were reused");
}

#[test]
fn a_number_given_up_while_events_are_pending_is_not_mixed_up() {
    let _alone = alone();
    for _ in 0..ROUNDS {
        let (ours, mut theirs) = registered_pair();
        theirs.write_all(b"old").unwrap();
        // The new socket takes the number and waits before the hub has looked.
        drop(ours);
        let (mut new, mut other) = UnixStream::pair().unwrap();
        let reader = spawn(move || {
            let mut buf = [0; 8];
            (new.read(&mut buf).unwrap(), buf)
        });
        yield_now();
        yield_now();
        assert!(!reader.is_finished());
        other.write_all(b"n").unwrap();
        let (len, buf) = reader.join().unwrap();
        assert_eq!((len, buf[0]), (1, b'n'));
    }
}

#[test]
fn a_number_whose_duplicate_stays_open_is_not_mixed_up() {
    let _alone = alone();
    for _ in 0..ROUNDS {
        let (ours, mut theirs) = registered_pair();
        let clone = ours.try_clone().unwrap();
        drop(ours);
        let (new, other) = UnixStream::pair().unwrap();
        // An event of the old description, which the clone keeps alive.
        theirs.write_all(b"old").unwrap();
        check_new(new, other);
        let mut buf = [0; 8];
        assert_eq!((&clone).read(&mut buf).unwrap(), 3);
    }
}

#[test]
fn a_stream_dropped_on_another_thread_is_not_mixed_up() {
    let _alone = alone();
    for _ in 0..ROUNDS {
        let (ours, mut theirs) = registered_pair();
        theirs.write_all(b"old").unwrap();
        thread::spawn(move || drop(ours)).join().unwrap();
        let (new, other) = UnixStream::pair().unwrap();
        check_new(new, other);
    }
}

#[test]
fn streams_dropped_on_another_thread_while_this_hub_is_busy_are_not_mixed_up() {
    let _alone = alone();
    let (to_drop, dropped) = mpsc::channel::<UnixStream>();
    let dropper = thread::spawn(move || dropped.into_iter().for_each(drop));
    for _ in 0..ROUNDS {
        let (ours, theirs) = registered_pair();
        to_drop.send(ours).unwrap();
        drop(theirs);
        let (new, other) = UnixStream::pair().unwrap();
        check_new(new, other);
    }
    drop(to_drop);
    dropper.join().unwrap();
}

#[test]
fn connections_come_and_go_without_leaving_anything() {
    let _alone = alone();
    let open = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let round = || {
        let clients: Vec<_> = (0..20)
            .map(|_| {
                spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    stream.write_all(b"hello").unwrap();
                    stream.read_exact(&mut [0; 5]).unwrap();
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    // The server's end is closed, too, when the end of file is here.
                    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
                })
            })
            .collect();
        joinall(clients).into_iter().for_each(Result::unwrap);
    };
    round();
    let before = open();
    for _ in 0..10 {
        round();
    }
    // Tests beside this one open descriptors as well; two hundred leaked ones would show.
    assert!(open() < before + 100, "{before} descriptors became {}", open());
}
