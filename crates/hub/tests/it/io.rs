//! `Io`: descriptors that stay registered, and the readiness that is remembered of them.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{Io, JoinHandle, Kind, joinall, spawn, yield_now};

use crate::child::in_child;
use crate::support::{HANG, Trace, timed};

const MS: Duration = Duration::from_millis(1);

pub(crate) fn pair() -> (Io<UnixStream>, Io<UnixStream>) {
    let (near, far) = UnixStream::pair().unwrap();
    (Io::new(near, Kind::Stream).unwrap(), Io::new(far, Kind::Stream).unwrap())
}

/// One read of up to `len` bytes.
pub(crate) fn read(io: &Io<UnixStream>, len: usize, timeout: Option<Duration>) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let read = io.read_some_with(len, timeout, |mut stream| stream.read(&mut buf))?;
    buf.truncate(read);
    Ok(buf)
}

pub(crate) fn write(io: &Io<UnixStream>, bytes: &[u8]) -> io::Result<usize> {
    io.write_some_with(bytes.len(), Some(HANG), |mut stream| stream.write(bytes))
}

/// Has it registered, by a wait that finds nothing.
pub(crate) fn register(io: &Io<UnixStream>) {
    assert_eq!(read(io, 1, Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_read_waits_for_data_and_for_the_end() {
    let ((near, far), (answers, questions)) = (pair(), pair());
    let reader = spawn(move || {
        let mut words = Vec::new();
        for _ in 0..3 {
            words.push(read(&far, 16, Some(HANG)).unwrap());
            write(&answers, b"!").unwrap();
        }
        words
    });
    for word in ["one", "two"] {
        write(&near, word.as_bytes()).unwrap();
        assert_eq!(read(&questions, 1, Some(HANG)).unwrap(), b"!");
    }
    drop(near);
    assert_eq!(reader.join().unwrap(), [b"one".to_vec(), b"two".to_vec(), vec![]]);
}

#[test]
fn data_and_end_that_come_together_for_a_waiting_reader_are_both_seen() {
    let (near, far) = pair();
    let reader = spawn(move || [read(&far, 64, Some(HANG)).unwrap(), read(&far, 64, Some(HANG)).unwrap()]);
    yield_now();
    write(&near, b"last words").unwrap();
    near.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap(), [b"last words".to_vec(), vec![]]);
}

#[test]
fn data_and_end_in_one_tcp_segment_before_the_first_wait_are_both_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for registered in [false, true] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = Io::new(listener.accept().unwrap().0, Kind::Stream).unwrap();
        let mut buf = [0; 1024];
        let mut read = |timeout| server.read_some_with(1024, timeout, |mut stream| stream.read(&mut buf));
        if registered {
            assert_eq!(read(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(Some(HANG)).unwrap(), 10);
        assert_eq!(read(Some(HANG)).unwrap(), 0);
        assert_eq!(read(Some(HANG)).unwrap(), 0);
    }
}

#[test]
fn a_short_read_forgets_no_later_data() {
    let (near, far) = pair();
    register(&far);
    for round in 0..200_u8 {
        // Sometimes there is more than one message before a read, and sometimes none.
        for _ in 0..round % 3 {
            write(&near, &[round]).unwrap();
        }
        if round % 3 == 0 {
            let writer = spawn({
                let stream = near.get_ref().try_clone().unwrap();
                move || (&stream).write(&[round]).unwrap()
            });
            assert_eq!(read(&far, 64, Some(HANG)).unwrap(), [round]);
            writer.join().unwrap();
        } else {
            let expected = vec![round; usize::from(round % 3)];
            assert_eq!(read(&far, 64, Some(HANG)).unwrap(), expected);
        }
    }
}

#[test]
fn a_read_that_fills_its_buffer_leaves_the_rest_for_the_next() {
    let (near, far) = pair();
    register(&far);
    write(&near, b"0123456789").unwrap();
    for expected in ["012", "345", "678", "9"] {
        assert_eq!(read(&far, 3, Some(HANG)).unwrap(), expected.as_bytes());
    }
    register(&far);
}

#[test]
fn a_read_into_an_empty_buffer_changes_nothing() {
    let (near, far) = pair();
    register(&far);
    write(&near, b"x").unwrap();
    assert_eq!(read(&far, 1, Some(HANG)).unwrap(), b"x");
    write(&near, b"y").unwrap();
    drop(read(&far, 0, Some(HANG)).unwrap());
    assert_eq!(read(&far, 1, Some(HANG)).unwrap(), b"y");
}

#[test]
fn a_peek_takes_nothing_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = Io::new(listener.accept().unwrap().0, Kind::Stream).unwrap();
    let peek = || server.read_with(Some(HANG), |stream| stream.peek(&mut [0; 64]));
    let writer = spawn(move || client.write_all(b"words").map(|()| client));
    for _ in 0..3 {
        assert_eq!(peek().unwrap(), 5);
    }
    assert_eq!(server.read_some_with(64, Some(HANG), |mut stream| stream.read(&mut [0; 64])).unwrap(), 5);
    drop(writer.join().unwrap().unwrap());
    assert_eq!(peek().unwrap(), 0);
}

#[test]
fn a_timeout_is_a_would_block_and_harms_nothing() {
    let (near, far) = pair();
    for _ in 0..3 {
        let (took, failed) = timed(|| read(&far, 8, Some(5 * MS)));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(took >= 5 * MS && took < HANG);
    }
    write(&near, b"x").unwrap();
    assert_eq!(read(&far, 8, Some(HANG)).unwrap(), b"x");
}

#[test]
fn a_full_stream_is_waited_for() {
    let (near, far) = pair();
    let written = spawn(move || {
        let mut written = 0;
        while written < 4_000_000 {
            written += near.write_some_with(100_000, Some(HANG), |mut stream| stream.write(&[1; 100_000])).unwrap();
        }
        drop(near);
        written
    });
    let mut seen = 0;
    loop {
        let read = read(&far, 70_000, Some(HANG)).unwrap().len();
        if read == 0 {
            break;
        }
        seen += read;
    }
    assert_eq!(written.join().unwrap(), seen);
}

#[test]
fn a_peer_that_is_gone_is_an_error_for_a_waiting_writer() {
    let (near, far) = pair();
    let writer = spawn(move || {
        loop {
            match near.write_some_with(65_536, Some(HANG), |mut stream| stream.write(&[0; 65_536])) {
                Ok(_) => {}
                Err(err) => return err.kind(),
            }
        }
    });
    yield_now();
    drop(far);
    assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);
}

#[test]
fn a_second_reader_of_a_stream_is_told_by_name() {
    let (near, far) = pair();
    let (near, far) = (Rc::new(near), Rc::new(far));
    let first = spawn({
        let far = Rc::clone(&far);
        move || read(&far, 8, Some(HANG)).unwrap()
    });
    yield_now();
    let err = read(&far, 8, Some(HANG)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ResourceBusy);
    assert!(err.to_string().contains("reading"), "{err}");
    // One who writes is fine meanwhile.
    write(&far, b"y").unwrap();
    write(&near, b"x").unwrap();
    assert_eq!(first.join().unwrap(), b"x");
    assert_eq!(read(&near, 8, Some(HANG)).unwrap(), b"y");
    // And the next reader is the only one.
    register(&far);
}

#[test]
fn shutting_down_ends_a_wait_at_once() {
    let (near, far) = pair();
    let far = Rc::new(far);
    let reader = spawn({
        let far = Rc::clone(&far);
        move || read(&far, 8, Some(HANG)).unwrap()
    });
    yield_now();
    far.get_ref().shutdown(Shutdown::Both).unwrap();
    assert!(reader.join().unwrap().is_empty());
    drop(near);
}

#[test]
fn two_datagrams_before_the_first_wait_are_both_seen() {
    for registered in [false, true] {
        let (near, far) = UnixDatagram::pair().unwrap();
        let far = Io::new(far, Kind::Datagram).unwrap();
        let receive = |timeout| far.read_with(timeout, |socket| socket.recv(&mut [0; 64]));
        if registered {
            assert_eq!(receive(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        near.send(b"one").unwrap();
        near.send(b"three").unwrap();
        assert_eq!(receive(Some(HANG)).unwrap(), 3);
        assert_eq!(receive(Some(HANG)).unwrap(), 5);
        assert_eq!(receive(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

/// Greenlets that receive one datagram each, and write their numbers down.
fn receivers(
    io: &Rc<Io<UnixDatagram>>,
    trace: &Trace,
    numbers: std::ops::Range<u32>,
) -> Vec<JoinHandle<io::Result<usize>>> {
    let receive = |number| {
        let (io, trace) = (Rc::clone(io), trace.clone());
        spawn(move || {
            let received = io.read_with(Some(HANG), |socket| socket.recv(&mut [0; 64]));
            trace.note(number);
            received
        })
    };
    numbers.map(receive).collect()
}

#[test]
fn those_who_wait_for_datagrams_are_served_in_order() {
    // However many come together, and however often the hub looks in between.
    for pattern in [[3, 1, 2], [1, 1, 1], [2, 0, 5], [4, 4, 0], [1, 7, 2]] {
        let (near, far) = UnixDatagram::pair().unwrap();
        let (io, trace) = (Rc::new(Io::new(far, Kind::Datagram).unwrap()), Trace::default());
        let greenlets = receivers(&io, &trace, 0..40);
        yield_now();
        let mut sent = 0;
        for step in 0.. {
            let together = pattern[step % 3].min(40 - sent);
            (0..together).for_each(|_| assert_eq!(near.send(b"x").unwrap(), 1));
            sent += together;
            if sent == 40 {
                break;
            }
            if step % 2 == 0 {
                greenlet_hub::sleep(MS / 20);
            } else {
                (0..step).for_each(|_| yield_now());
            }
        }
        joinall(greenlets).into_iter().for_each(|received| assert_eq!(received.unwrap().unwrap(), 1));
        let expected: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        assert_eq!(trace.take(), expected.join(" "), "{pattern:?}");
    }
}

/// One who was woken by the receiver before it waited at the end of the run queue, while a look found the next datagram and woke the next
/// receiver, who was ahead of it.
#[test]
fn a_look_behind_a_long_run_queue_wakes_no_receiver_out_of_turn() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let (io, trace) = (Rc::new(Io::new(far, Kind::Datagram).unwrap()), Trace::default());
    let greenlets = receivers(&io, &trace, 0..12);
    let done = Rc::new(Cell::new(false));
    let busy = Vec::from_iter((0..300).map(|_| {
        let done = Rc::clone(&done);
        spawn(move || {
            while !done.get() {
                yield_now()
            }
        })
    }));
    yield_now();
    // Each time that its turn comes, the hub has looked some five times.
    let sender = spawn(move || {
        for _ in 0..6 {
            near.send(b"x").unwrap();
            near.send(b"x").unwrap();
            (0..2).for_each(|_| yield_now());
        }
        near
    });
    joinall(greenlets).into_iter().for_each(|received| assert_eq!(received.unwrap().unwrap(), 1));
    done.set(true);
    joinall(busy);
    drop(sender.join().unwrap());
    assert_eq!(trace.take(), "0 1 2 3 4 5 6 7 8 9 10 11");
}

#[test]
fn many_receivers_of_datagrams_do_not_keep_the_others_from_running() {
    let far = Rc::new(Io::new(UdpSocket::bind("127.0.0.1:0").unwrap(), Kind::Datagram).unwrap());
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    near.connect(far.get_ref().local_addr().unwrap()).unwrap();
    let (turns, order) = (Rc::new(Cell::new(0)), Trace::default());
    let receivers = Vec::from_iter((0..200).map(|number| {
        let (far, turns, order) = (Rc::clone(&far), Rc::clone(&turns), order.clone());
        spawn(move || {
            far.read_with(Some(HANG), |socket| socket.recv(&mut [0; 8])).unwrap();
            order.note(number);
            turns.get()
        })
    }));
    yield_now();
    (0..200).for_each(|_| assert_eq!(near.send(b"x").unwrap(), 1));
    let done = Rc::new(Cell::new(false));
    let other = spawn({
        let (turns, done) = (Rc::clone(&turns), Rc::clone(&done));
        move || {
            while !done.get() {
                turns.set(turns.get() + 1);
                yield_now();
            }
        }
    });
    let turns = Vec::from_iter(joinall(receivers).into_iter().map(Result::unwrap));
    done.set(true);
    other.join().unwrap();
    assert!(turns[199] > turns[0], "{turns:?}");
    assert_eq!(order.take(), Vec::from_iter((0..200).map(|number| number.to_string())).join(" "));
}

#[test]
fn all_who_wait_until_a_descriptor_is_writable_are_woken() {
    for registered in [false, true] {
        let (near, far) = UnixDatagram::pair().unwrap();
        let near = Rc::new(Io::new(near, Kind::Datagram).unwrap());
        if registered {
            assert!(near.wait_writable(Some(HANG)).unwrap());
            // It is, and nothing has changed since.
            assert!(near.wait_writable(Some(HANG)).unwrap());
        }
        while near.get_ref().send(b"x").is_ok() {}
        let waiting = [(); 3].map(|()| {
            let near = Rc::clone(&near);
            spawn(move || near.wait_writable(Some(HANG)).unwrap())
        });
        yield_now();
        while far.set_nonblocking(true).is_ok() && far.recv(&mut [0; 8]).is_ok() {}
        joinall(waiting).into_iter().for_each(|woken| assert!(woken.unwrap(), "{registered}"));
    }
}

#[test]
fn a_receiver_that_gave_up_swallows_no_datagram() {
    let (near, far) = UnixDatagram::pair().unwrap();
    let (io, trace) = (Rc::new(Io::new(far, Kind::Datagram).unwrap()), Trace::default());
    let gives_up = spawn({
        let io = Rc::clone(&io);
        move || io.read_with(Some(2 * MS), |socket| socket.recv(&mut [0; 64])).is_err()
    });
    yield_now();
    let stays = receivers(&io, &trace, 0..1);
    yield_now();
    assert!(gives_up.join().unwrap());
    near.send(b"x").unwrap();
    assert_eq!(joinall(stays).remove(0).unwrap().unwrap(), 1);
}

/// In the panic hook the thread waits alone, so that a deadline and a datagram come before anybody can run.
#[test]
fn a_datagram_for_one_who_has_just_given_up_goes_to_the_next() {
    let ended = in_child("io::a_datagram_for_one_who_has_just_given_up_goes_to_the_next", || {
        let (near, far) = UnixDatagram::pair().unwrap();
        std::panic::set_hook(Box::new(move |_| {
            greenlet_hub::sleep(10 * MS);
            near.send(b"x").unwrap();
            greenlet_hub::sleep(10 * MS);
        }));
        let io = Rc::new(Io::new(far, Kind::Datagram).unwrap());
        let receive = |timeout| {
            let io = Rc::clone(&io);
            spawn(move || io.read_with(Some(timeout), |socket| socket.recv(&mut [0; 8])))
        };
        let (first, second) = (receive(5 * MS), receive(HANG));
        yield_now();
        assert!(std::panic::catch_unwind(|| panic!("waits in the hook")).is_err());
        drop(std::panic::take_hook());
        let (took, received) = timed(|| second.join().unwrap());
        assert!(received.is_ok() && took < HANG / 2, "{received:?} after {took:?}");
        assert!(first.join().unwrap().is_err());
    });
    ended.check();
}

#[test]
fn those_who_accept_are_served_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (io, trace) = (Rc::new(Io::new(listener, Kind::Listener).unwrap()), Trace::default());
    let accept = |number| {
        let (io, trace) = (Rc::clone(&io), trace.clone());
        spawn(move || {
            let accepted = io.read_with(Some(HANG), |listener| listener.accept());
            trace.note(number);
            accepted.map(drop)
        })
    };
    let greenlets: Vec<_> = (0..6).map(accept).collect();
    yield_now();
    let clients: Vec<_> = (0..6).map(|_| TcpStream::connect(addr).unwrap()).collect();
    joinall(greenlets).into_iter().for_each(|accepted| accepted.unwrap().unwrap());
    assert_eq!(trace.take(), "0 1 2 3 4 5");
    assert_eq!(clients.len(), 6);
    // Nobody accepts, and the loop does not spin; then somebody does.
    let late = TcpStream::connect(addr).unwrap();
    greenlet_hub::sleep(2 * MS);
    assert!(io.read_with(Some(HANG), |listener| listener.accept()).is_ok());
    let none = io.read_with(Some(MS), |listener| listener.accept());
    assert_eq!(none.unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(late);
}

#[test]
fn regular_files_never_wait() {
    let file = Io::new(File::open(std::env::current_exe().unwrap()).unwrap(), Kind::Datagram).unwrap();
    let mut buf = [0; 4];
    assert_eq!(file.read_with(None, |mut file| file.read(&mut buf)).unwrap(), 4);
    assert_eq!(&buf, b"\x7fELF");
    assert!(file.wait_writable(None).unwrap());
}

#[test]
fn errors_of_the_call_are_given_as_they_are() {
    let (near, _far) = pair();
    let failed = near.read_with(None, |_| io::Result::<()>::Err(io::Error::from_raw_os_error(libc::ENOTCONN)));
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    assert!(format!("{near:?}").starts_with("Io(UnixStream"));
    assert_eq!(near.as_fd().as_raw_fd(), near.get_ref().as_raw_fd());
}
