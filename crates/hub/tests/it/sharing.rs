//! Descriptors that several use: owners and borrowers, other hubs, and numbers that are used again.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use greenlet_hub::{Io, Kind, joinall, spawn, wait_readable_timeout, wait_writable_timeout, yield_now};

use crate::io::{pair, read, register, write};
use crate::support::{HANG, timed};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_borrower_and_its_owner_wait_for_the_same_descriptor() {
    // The owner registers first, the borrower joins in.
    let (near, far) = pair();
    register(&far);
    let far = Rc::new(far);
    let borrower = spawn({
        let far = Rc::clone(&far);
        move || wait_readable_timeout(&*far, HANG).unwrap()
    });
    yield_now();
    write(&near, b"x").unwrap();
    assert!(borrower.join().unwrap());
    assert_eq!(read(&far, 8, Some(HANG)).unwrap(), b"x");
    register(&far);
    // What is ready is told to a borrower though the slot tells changes only.
    write(&near, b"y").unwrap();
    greenlet_hub::sleep(MS);
    assert!(wait_readable_timeout(&*far, HANG).unwrap());
    assert!(wait_readable_timeout(&*far, HANG).unwrap());
    assert!(wait_writable_timeout(&*far, HANG).unwrap());
}

#[test]
fn a_borrower_that_comes_before_its_owner_is_woken_too() {
    let (near, far) = pair();
    let far = Rc::new(far);
    let borrower = spawn({
        let far = Rc::clone(&far);
        move || timed(|| wait_readable_timeout(&*far, HANG).unwrap())
    });
    yield_now();
    let owner = spawn({
        let far = Rc::clone(&far);
        // It looks and leaves the data, so that both see it.
        move || {
            let mut looks = 0;
            far.read_with(Some(HANG), |stream| {
                looks += 1;
                wait_for_bytes(stream)
            })
        }
    });
    yield_now();
    write(&near, b"x").unwrap();
    assert!(owner.join().unwrap().is_ok());
    let (took, ready) = borrower.join().unwrap();
    assert!(ready && took < HANG / 2, "{ready} after {took:?}");
}

#[test]
fn two_owners_of_one_descriptor_are_both_woken() {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let far = Rc::new(far);
    let owner = |kind| {
        let far = Rc::clone(&far);
        spawn(move || {
            let io = Io::from_nonblocking(&*far, kind);
            io.read_with(Some(HANG), |stream| wait_for_bytes(stream)).map(|()| io.as_fd().as_raw_fd())
        })
    };
    let owners = [owner(Kind::Stream), owner(Kind::Datagram), owner(Kind::Listener)];
    yield_now();
    let (took, all) = timed(|| {
        (&near).write_all(b"x").unwrap();
        joinall(owners)
    });
    assert!(all.into_iter().all(|seen| seen.unwrap().is_ok()) && took < HANG / 2, "{took:?}");
}

#[test]
fn an_owner_that_ends_leaves_another_of_the_same_descriptor_registered() {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let (first, second) = (Io::from_nonblocking(&far, Kind::Stream), Io::from_nonblocking(&far, Kind::Stream));
    let read =
        |io: &Io<&UnixStream>, timeout| io.read_some_with(8, Some(timeout), |stream| (&**stream).read(&mut [0; 8]));
    assert!(read(&first, Duration::ZERO).is_err());
    assert!(read(&second, Duration::ZERO).is_err());
    first.into_inner();
    let writer = spawn(move || {
        (&near).write_all(b"x").unwrap();
        near
    });
    let (took, seen) = timed(|| read(&second, HANG));
    assert!(seen.is_ok() && took < HANG / 2, "{seen:?} after {took:?}");
    drop(writer.join().unwrap());
}

#[test]
fn a_borrower_of_what_is_ready_lets_the_others_run() {
    let (near, far) = pair();
    register(&far);
    write(&near, b"x").unwrap();
    let turns = Rc::new(std::cell::Cell::new(0));
    let yielder = spawn({
        let turns = Rc::clone(&turns);
        move || {
            for turn in 0..10 {
                turns.set(turn);
                yield_now();
            }
        }
    });
    let mut rounds = 0;
    while !yielder.is_finished() && rounds < 10_000 {
        assert!(wait_readable_timeout(&far, HANG).unwrap());
        rounds += 1;
    }
    assert!(yielder.is_finished(), "{} turns in {rounds} waits", turns.get());
}

/// `WouldBlock` unless there is something to read, which is left there.
fn wait_for_bytes(stream: &UnixStream) -> io::Result<()> {
    let mut byte = 0_u8;
    // SAFETY: room for one byte.
    let seen =
        unsafe { libc::recv(stream.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    if seen == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn a_borrower_that_gives_up_does_not_take_its_owners_registration_away() {
    let (near, far) = pair();
    let far = Rc::new(far);
    let borrower = spawn({
        let far = Rc::clone(&far);
        move || wait_readable_timeout(&*far, 2 * MS).unwrap()
    });
    yield_now();
    let owner = spawn({
        let far = Rc::clone(&far);
        move || timed(|| read(&far, 8, Some(HANG)))
    });
    yield_now();
    assert!(!borrower.join().unwrap());
    write(&near, b"x").unwrap();
    let (took, data) = owner.join().unwrap();
    assert!(data.is_ok() && took < HANG / 2, "{data:?} after {took:?}");
}

#[test]
fn it_is_used_on_two_hubs_in_turn() {
    let (near, far) = pair();
    let far = Arc::new(far);
    for round in 0..20_u8 {
        register(&far);
        // Registered there as well, and the data comes when this hub does not wait for it.
        let (registered, is_registered) = mpsc::channel();
        let there = thread::spawn({
            let far = Arc::clone(&far);
            move || {
                register(&far);
                registered.send(()).unwrap();
                read(&far, 8, Some(HANG)).unwrap()
            }
        });
        is_registered.recv().unwrap();
        write(&near, &[round]).unwrap();
        assert_eq!(there.join().unwrap(), [round]);
        let here = spawn({
            let far = Arc::clone(&far);
            move || read(&far, 8, Some(HANG)).unwrap()
        });
        yield_now();
        write(&near, &[round, round]).unwrap();
        assert_eq!(here.join().unwrap(), [round, round]);
    }
}

#[test]
fn it_is_read_on_one_hub_and_written_on_another() {
    let (near, far) = pair();
    let near = Arc::new(near);
    let writer = thread::spawn({
        let near = Arc::clone(&near);
        move || {
            for _ in 0..2_000 {
                let mut left = 1000;
                while left > 0 {
                    left -=
                        near.write_some_with(left, Some(HANG), |mut stream| stream.write(&[7; 1000][..left])).unwrap();
                }
            }
        }
    });
    let echo = thread::spawn(move || {
        let mut left = 2_000_000;
        while left > 0 {
            let bytes = read(&far, 4096, Some(HANG)).unwrap();
            left -= bytes.len();
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                bytes = &bytes[write(&far, bytes).unwrap()..];
            }
        }
        far
    });
    let mut seen = 0;
    while seen < 2_000_000 {
        seen += read(&near, 4096, Some(HANG)).unwrap().len();
    }
    writer.join().unwrap();
    drop(echo.join().unwrap());
}

#[test]
fn one_that_is_dropped_on_another_thread_leaves_nothing_to_mix_up() {
    for _ in 0..300 {
        let (near, far) = pair();
        register(&far);
        // It is closed there, and its number is free for the next.
        thread::spawn(move || drop(far)).join().unwrap();
        let (peer, next) = pair();
        register(&next);
        let reader = spawn(move || read(&next, 8, Some(HANG)).unwrap());
        yield_now();
        drop(near);
        write(&peer, b"x").unwrap();
        assert_eq!(reader.join().unwrap(), b"x");
    }
}

#[test]
fn a_number_that_is_used_again_is_another_descriptor() {
    for round in 0..300_u32 {
        let (near, far) = pair();
        register(&far);
        write(&near, b"for the old one").unwrap();
        drop(far);
        let (peer, next) = pair();
        if round % 2 == 0 {
            register(&next);
        }
        assert!(!wait_readable_timeout(&next, Duration::ZERO).unwrap());
        write(&peer, b"new").unwrap();
        assert_eq!(read(&next, 64, Some(HANG)).unwrap(), b"new");
    }
}

#[test]
fn what_is_taken_out_can_be_put_in_again() {
    let (near, mut far) = pair();
    for _ in 0..10 {
        register(&far);
        let stream = far.into_inner();
        assert!(!wait_readable_timeout(&stream, Duration::ZERO).unwrap());
        far = Io::from_nonblocking(stream, Kind::Stream);
        write(&near, b"x").unwrap();
        assert_eq!(read(&far, 8, Some(HANG)).unwrap(), b"x");
    }
}

#[test]
fn duplicates_are_registered_by_themselves() {
    let (near, far) = pair();
    let duplicate = Io::from_nonblocking(far.get_ref().try_clone().unwrap(), Kind::Stream);
    far.mark_duplicated();
    duplicate.mark_duplicated();
    register(&far);
    register(&duplicate);
    drop(far);
    let reader = spawn(move || (read(&duplicate, 8, Some(HANG)).unwrap(), duplicate));
    yield_now();
    write(&near, b"x").unwrap();
    let (bytes, duplicate) = reader.join().unwrap();
    assert_eq!(bytes, b"x");
    let third = Io::from_nonblocking(duplicate.get_ref().try_clone().unwrap(), Kind::Stream);
    third.mark_duplicated();
    drop(duplicate);
    register(&third);
    write(&near, b"y").unwrap();
    assert_eq!(read(&third, 8, Some(HANG)).unwrap(), b"y");
}
