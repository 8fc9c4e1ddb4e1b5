//! Waiting for descriptors that are only borrowed.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use greenlet_hub::{
    Reason, Wait, Waitable, joinall, readable, spawn, wait, wait_readable, wait_readable_timeout, wait_writable,
    wait_writable_timeout, writable, yield_now,
};

use crate::support::{HANG, Trace, timed};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_pipe_becomes_readable_when_it_is_written_to() {
    let (mut reader, mut writer) = pipe().unwrap();
    assert!(!wait_readable_timeout(&reader, MS).unwrap());
    let writing = spawn(move || writer.write_all(b"x"));
    wait_readable(&reader).unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
    writing.join().unwrap().unwrap();
    // The writer is gone, and the end of file is something to read.
    wait_readable(&reader).unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_pipe_becomes_writable_when_it_is_read_from() {
    let (mut reader, mut writer) = pipe().unwrap();
    wait_writable(&writer).unwrap();
    // SAFETY: a call with plain integers on an open descriptor.
    assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }, 0);
    while writer.write(&[0; 4096]).is_ok() {}
    assert!(!wait_writable_timeout(&writer, MS).unwrap());
    let reading = spawn(move || {
        reader.read_exact(&mut [0; 65_536]).unwrap();
        reader
    });
    wait_writable(&writer).unwrap();
    assert!(writer.write(b"x").is_ok());
    drop(reading.join().unwrap());
    // Nobody will read: an error, which is something to be told at the next write.
    wait_writable(&writer).unwrap();
    assert_eq!(writer.write(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn what_is_ready_already_is_told_and_switches_all_the_same() {
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"x").unwrap();
    let trace = Trace::default();
    let other = spawn({
        let trace = trace.clone();
        move || trace.note("other")
    });
    wait_readable(&far).unwrap();
    assert_eq!(trace.take(), "other");
    assert!(wait_readable_timeout(&far, Duration::ZERO).unwrap());
    assert!(wait_writable_timeout(&far, Duration::ZERO).unwrap());
    other.join().unwrap();
}

#[test]
fn data_wins_over_a_timeout_of_the_same_turn() {
    let (mut near, far) = UnixStream::pair().unwrap();
    for _ in 0..100 {
        let waiter = {
            let far = far.try_clone().unwrap();
            spawn(move || wait_readable_timeout(&far, MS / 10).unwrap())
        };
        yield_now();
        near.write_all(b"x").unwrap();
        // Both are ripe when the hub looks.
        crate::support::work(MS / 5);
        assert!(waiter.join().unwrap());
        assert_eq!((&far).read(&mut [0; 8]).unwrap(), 1);
    }
}

#[test]
fn a_timeout_is_kept() {
    let (near, _far) = UnixStream::pair().unwrap();
    let (took, ready) = timed(|| wait_readable_timeout(&near, 10 * MS).unwrap());
    assert!(!ready && took >= 10 * MS && took < HANG, "{took:?}");
    assert!(!wait_readable_timeout(&near, Duration::ZERO).unwrap());
}

#[test]
fn a_peer_that_hangs_up_ends_a_wait() {
    let (near, far) = UnixStream::pair().unwrap();
    let closer = spawn(move || drop(far));
    wait_readable(&near).unwrap();
    assert_eq!((&near).read(&mut [0; 8]).unwrap(), 0);
    wait_readable(&near).unwrap();
    wait_writable(&near).unwrap();
    closer.join().unwrap();
}

#[test]
fn all_who_wait_for_a_descriptor_are_woken() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let far = Rc::new(far);
    let wait = |_| {
        let far = Rc::clone(&far);
        spawn(move || wait_readable_timeout(far.as_fd(), HANG).unwrap())
    };
    let greenlets: Vec<_> = (0..10).map(wait).collect();
    yield_now();
    near.write_all(b"x").unwrap();
    assert!(joinall(greenlets).into_iter().all(Result::unwrap));
}

#[test]
fn those_who_give_up_leave_the_others_waiting() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let far = Rc::new(far);
    let wait = |timeout| {
        let far = Rc::clone(&far);
        spawn(move || wait_readable_timeout(far.as_fd(), timeout).unwrap())
    };
    let (first, stays, last) = (wait(MS), wait(HANG), wait(2 * MS));
    assert!(!first.join().unwrap());
    assert!(!last.join().unwrap());
    near.write_all(b"x").unwrap();
    assert!(stays.join().unwrap());
}

#[test]
fn one_waits_to_read_and_one_to_write() {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    while (&near).write(&[0; 4096]).is_ok() {}
    let near = Rc::new(near);
    let reader = spawn({
        let near = Rc::clone(&near);
        move || wait_readable_timeout(near.as_fd(), HANG).unwrap()
    });
    let writer = spawn({
        let near = Rc::clone(&near);
        move || wait_writable_timeout(near.as_fd(), HANG).unwrap()
    });
    yield_now();
    (&far).write_all(b"x").unwrap();
    assert!(reader.join().unwrap());
    assert!(!writer.is_finished());
    far.set_nonblocking(true).unwrap();
    while (&far).read(&mut [0; 65_536]).is_ok() {}
    assert!(writer.join().unwrap());
}

#[test]
fn regular_files_are_always_ready() {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    wait_readable(&file).unwrap();
    assert!(wait_writable_timeout(&file, Duration::ZERO).unwrap());
}

#[test]
fn datagrams_and_listeners_are_waited_for() {
    let (here, there) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    assert!(!wait_readable_timeout(&here, MS).unwrap());
    for message in ["one", "two"] {
        there.send_to(message.as_bytes(), here.local_addr().unwrap()).unwrap();
    }
    // Two were there before the first wait; each wait sees that there is one.
    for message in ["one", "two"] {
        wait_readable(&here).unwrap();
        let mut buf = [0; 8];
        let len = here.recv(&mut buf).unwrap();
        assert_eq!(&buf[..len], message.as_bytes());
    }
    assert!(!wait_readable_timeout(&here, MS).unwrap());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(!wait_readable_timeout(&listener, MS).unwrap());
    let addr = listener.local_addr().unwrap();
    let client = thread::spawn(move || TcpStream::connect(addr).unwrap());
    wait_readable(&listener).unwrap();
    drop((listener.accept().unwrap(), client.join().unwrap()));
}

#[test]
fn a_number_that_is_used_again_is_another_descriptor() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let number = far.as_raw_fd();
    near.write_all(b"x").unwrap();
    wait_readable(&far).unwrap();
    drop(far);
    // The lowest free number is given out, but other tests may be quicker.
    let again: Vec<OwnedFd> = (0..50).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap().into()).collect();
    if let Some(same) = again.iter().find(|fd| fd.as_raw_fd() == number) {
        assert!(!wait_readable_timeout(same, MS).unwrap());
        assert!(wait_writable_timeout(same, HANG).unwrap());
    }
}

#[test]
fn a_duplicate_that_stays_open_disturbs_nothing() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let duplicate = far.try_clone().unwrap();
    assert!(!wait_readable_timeout(&far, MS).unwrap());
    drop(far);
    near.write_all(b"x").unwrap();
    assert!(!wait_readable_timeout(&near, MS).unwrap());
    wait_readable(&duplicate).unwrap();
    let again = duplicate.try_clone().unwrap();
    wait_readable(&again).unwrap();
}

#[test]
fn a_descriptor_is_waited_for_on_two_hubs() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let other = far.try_clone().unwrap();
    let waiting = thread::spawn(move || wait_readable_timeout(&other, HANG).unwrap());
    let here = spawn(move || wait_readable_timeout(&far, HANG).unwrap());
    yield_now();
    near.write_all(b"x").unwrap();
    assert!(here.join().unwrap() && waiting.join().unwrap());
}

#[test]
fn many_waits_for_one_descriptor_that_never_comes_leave_nothing_behind() {
    let (mut near, far) = UnixStream::pair().unwrap();
    for _ in 0..20_000 {
        assert!(!wait_readable_timeout(&far, Duration::ZERO).unwrap());
    }
    near.write_all(b"x").unwrap();
    wait_readable(&far).unwrap();
}

#[test]
fn an_unfit_descriptor_is_an_error_and_the_next_wait_is_fine() {
    struct Closed;
    impl AsFd for Closed {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            // SAFETY: a number that is never given out; the kernel refuses it.
            unsafe { std::os::fd::BorrowedFd::borrow_raw(1 << 21) }
        }
    }
    assert_eq!(wait_readable(Closed).unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(wait_writable(Closed).unwrap_err().raw_os_error(), Some(libc::EBADF));
    let (_near, far) = UnixStream::pair().unwrap();
    wait_writable(&far).unwrap();
}

#[test]
fn several_descriptors_are_waited_for_at_once() {
    let (idle, (reader, mut writer)) = (pipe().unwrap(), pipe().unwrap());
    let (silent, speaking) = (readable(&idle.0), readable(&reader));
    assert_eq!(wait(&[&silent, &speaking], None, Some(MS)), []);
    spawn(move || writer.write_all(b"x").unwrap());
    // The same one twice is two of them.
    assert_eq!(wait(&[&silent, &speaking, &speaking], Some(2), None), [1, 2]);
    assert_eq!(wait(&[&writable(&idle.1)], None, None), [0]);
    // What was waited for in vain is waited for again.
    assert!(!wait_readable_timeout(&idle.0, MS).unwrap());
}

#[test]
fn a_regular_file_is_always_ready_among_others() {
    let (file, idle) = (File::open("/proc/self/status").unwrap(), pipe().unwrap());
    assert_eq!(wait(&[&readable(&idle.0), &readable(&file)], Some(1), None), [1]);
}

#[test]
fn one_who_is_killed_among_others_leaves_nothing_in_the_poller() {
    let (reader, mut writer) = pipe().unwrap();
    let waiting = spawn(move || wait(&[&readable(&reader)], None, None));
    yield_now();
    waiting.kill().unwrap();
    assert!(waiting.join().is_err() && writer.write_all(b"x").is_err());
    // The number is used again.
    let (mut reader, mut writer) = pipe().unwrap();
    let reading = spawn(move || {
        wait_readable(&reader).unwrap();
        reader.read(&mut [0; 8]).unwrap()
    });
    yield_now();
    writer.write_all(b"y").unwrap();
    assert_eq!(reading.join().unwrap(), 1);
}

#[test]
fn a_readiness_that_is_dropped_before_its_wait_ends_is_taken_out() {
    let (mut reader, mut writer) = pipe().unwrap();
    let begun = Wait::begin(Reason::new("the test"));
    let ready = readable(&reader);
    ready.subscribe(&begun.waiter());
    ready.subscribe(&begun.waiter());
    drop(ready);
    writer.write_all(b"x").unwrap();
    yield_now();
    drop(begun);
    wait_readable(&reader).unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
}
