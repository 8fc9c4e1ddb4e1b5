//! `poll`, `select`, `epoll_wait`, and an event loop in a greenlet.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{joinall, spawn, timeout, yield_now};
use libc::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLPRI, POLLRDHUP, pollfd};

use crate::child::in_child;
use crate::support::{MS, counting, patched, tcp_pair, timed};

const LONG: i32 = 60_000;

#[test]
fn a_poll_of_one_descriptor_lets_the_others_run() {
    patched(|| {
        let (reader, mut writer) = pipe().unwrap();
        let other = spawn(move || {
            yield_now();
            writer.write_all(b"x").unwrap();
            writer
        });
        let mut fds = [asked(&reader, POLLIN)];
        assert_eq!(poll(&mut fds, LONG), 1);
        assert_eq!(fds[0].revents, POLLIN);
        drop(other.join().unwrap());
        assert_eq!(poll(&mut fds, -1), 1);
        assert_eq!(fds[0].revents, POLLIN | POLLHUP);
    });
}

#[test]
fn fifty_polls_time_out_together() {
    patched(|| {
        let pipes = Vec::from_iter((0..50).map(|_| pipe().unwrap()));
        let (took, ended) = timed(|| {
            joinall(pipes.into_iter().map(|(reader, writer)| {
                spawn(move || {
                    let mut fds = [asked(&reader, POLLIN)];
                    let found = poll(&mut fds, 100);
                    drop(writer);
                    (found, fds[0].revents)
                })
            }))
        });
        assert!(ended.into_iter().all(|end| end.unwrap() == (0, 0)));
        assert!((99 * MS..2000 * MS).contains(&took), "{took:?}");
    });
}

#[test]
fn a_poll_of_nothing_is_a_sleep() {
    patched(|| {
        let turns = counting();
        let (took, found) = timed(|| poll(&mut [], 20));
        assert!(found == 0 && took >= 19 * MS && turns.get() > 0);
        // A negative number is nothing as well.
        let mut fds = [pollfd { fd: -1, events: POLLIN, revents: 1 }];
        let (took, found) = timed(|| poll(&mut fds, 20));
        assert!(found == 0 && took >= 19 * MS && fds[0].revents == 0);
    });
}

#[test]
fn several_descriptors_duplicates_and_negative_ones_are_polled_at_once() {
    patched(|| {
        let (one, _one_writer) = pipe().unwrap();
        let (two, mut two_writer) = pipe().unwrap();
        let mut fds = [
            asked(&one, POLLIN),
            asked(&two, POLLIN),
            pollfd { fd: -5, events: POLLIN, revents: 0 },
            asked(&two, 0),
            asked(&two, POLLIN | POLLPRI),
        ];
        let (took, found) = timed(|| poll(&mut fds, 20));
        assert!(found == 0 && took >= 19 * MS);
        let other = spawn(move || {
            two_writer.write_all(b"x").unwrap();
            two_writer
        });
        assert_eq!(poll(&mut fds, LONG), 2);
        assert_eq!(fds.map(|fd| fd.revents), [0, POLLIN, 0, 0, POLLIN]);
        other.join().unwrap();
    });
}

#[test]
fn a_regular_file_among_others_is_ready_and_one_that_nothing_is_asked_of_is_not() {
    patched(|| {
        let (reader, mut writer) = pipe().unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let mut fds = [asked(&reader, POLLIN), asked(&file, POLLIN)];
        assert_eq!(poll(&mut fds, LONG), 1);
        assert_eq!(fds.map(|fd| fd.revents), [0, POLLIN]);
        let mut fds = [asked(&reader, POLLIN), asked(&file, POLLPRI)];
        let mut other = writer.try_clone().unwrap();
        let other = spawn(move || other.write_all(b"x"));
        assert_eq!(poll(&mut fds, LONG), 1);
        assert_eq!(fds.map(|fd| fd.revents), [POLLIN, 0]);
        other.join().unwrap().unwrap();
        writer.flush().unwrap();
    });
}

#[test]
fn errors_are_waited_for_where_nothing_is_asked() {
    patched(|| {
        let (reader, writer) = pipe().unwrap();
        let mut fds = [asked(&writer, 0)];
        let other = spawn(move || drop(reader));
        assert_eq!(poll(&mut fds, LONG), 1);
        assert_eq!(fds[0].revents, POLLERR);
        other.join().unwrap();
    });
}

#[test]
fn a_peers_half_close_and_urgent_data_are_told() {
    patched(|| {
        let (ours, theirs) = tcp_pair();
        let mut fds = [asked(&ours, POLLRDHUP)];
        let other = spawn(move || {
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            theirs
        });
        assert_eq!(poll(&mut fds, LONG), 1);
        assert_eq!(fds[0].revents, POLLRDHUP);
        other.join().unwrap();
        let (ours, theirs) = tcp_pair();
        let mut fds = [asked(&ours, POLLPRI)];
        let other = spawn(move || {
            // SAFETY: one readable byte.
            assert_eq!(unsafe { libc::send(theirs.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) }, 1);
            theirs
        });
        assert_eq!(poll(&mut fds, LONG), 1);
        assert_eq!(fds[0].revents, POLLPRI);
        let _theirs = other.join().unwrap();
        // The urgent byte is no input: this waits, and does not keep the processor busy.
        let mut fds = [asked(&ours, POLLIN)];
        let before = cpu();
        assert_eq!(poll(&mut fds, 200), 0);
        assert!(cpu() - before < 100 * MS, "{:?}", cpu() - before);
    });
}

#[test]
fn what_poll_refuses_is_refused() {
    patched(|| {
        let mut fds = [pollfd { fd: 9999, events: POLLIN, revents: 0 }];
        assert_eq!(poll(&mut fds, LONG), 1);
        assert_eq!(fds[0].revents, POLLNVAL);
        // SAFETY: a bad pointer is what it is about.
        assert_eq!(errno(unsafe { libc::poll(8 as *mut pollfd, 1, LONG) }), libc::EFAULT);
        // SAFETY: the kernel refuses so many before it looks at them.
        assert_eq!(errno(unsafe { libc::poll(fds.as_mut_ptr(), u64::MAX, LONG) }), libc::EINVAL);
        let bad = libc::timespec { tv_sec: 0, tv_nsec: -1 };
        // SAFETY: all of it outlives the call.
        let result = unsafe { libc::ppoll(fds.as_mut_ptr(), 1, &raw const bad, ptr::null()) };
        assert_eq!(errno(result), libc::EINVAL);
    });
}

#[test]
fn a_poll_that_is_interrupted_fails_and_a_loop_of_them_does_not_hold_up_the_others() {
    patched(|| {
        let (reader, _writer) = pipe().unwrap();
        let ended = timeout(10 * MS, || {
            let mut fds = [asked(&reader, POLLIN)];
            assert_eq!(errno(poll(&mut fds, -1)), libc::ETIMEDOUT);
            yield_now();
        });
        assert!(ended.is_err());
        let stop = Rc::new(Cell::new(false));
        let poller = spawn({
            let stop = Rc::clone(&stop);
            move || {
                let (reader, _writer) = pipe().unwrap();
                while !stop.get() {
                    let mut fds = [asked(&reader, POLLIN), asked(&reader, POLLPRI)];
                    assert_eq!(errno(poll(&mut fds, -1)), libc::ECANCELED);
                }
            }
        });
        yield_now();
        poller.kill_nowait().unwrap();
        for _ in 0..50 {
            yield_now();
        }
        stop.set(true);
        poller.join().unwrap();
    });
}

#[test]
fn who_polls_without_waiting_does_not_hold_up_the_others() {
    patched(|| {
        let turns = counting();
        let (reader, _writer) = pipe().unwrap();
        while turns.get() < 5 {
            assert_eq!(poll(&mut [asked(&reader, POLLIN)], 0), 0);
        }
    });
}

#[test]
fn a_select_waits_and_says_what_is_left() {
    patched(|| {
        let (one, mut one_writer) = pipe().unwrap();
        let (two, _two_writer) = pipe().unwrap();
        let turns = counting();
        let (mut read, mut except) = (set(&[&one, &two]), set(&[&one]));
        let mut left = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        let (took, found) = timed(|| select(&mut read, Some(&mut except), &mut left));
        assert!(found == 0 && took >= 19 * MS && turns.get() > 0);
        assert!(!has(&read, &one) && !has(&read, &two) && !has(&except, &one));
        assert_eq!((left.tv_sec, left.tv_usec), (0, 0));
        let other = spawn(move || {
            yield_now();
            one_writer.write_all(b"x").unwrap();
            one_writer
        });
        let mut read = set(&[&one, &two]);
        let mut left = libc::timeval { tv_sec: 59, tv_usec: 1_500_000 };
        assert_eq!(select(&mut read, None, &mut left), 1);
        assert!(has(&read, &one) && !has(&read, &two));
        assert!((1..=60).contains(&left.tv_sec) && left.tv_usec < 1_000_000);
        other.join().unwrap();
    });
}

#[test]
fn a_select_for_exceptions_does_not_spin_on_a_hang_up() {
    patched(|| {
        let (ours, theirs) = tcp_pair();
        drop(theirs);
        // Both ways, so that epoll tells of it whether it was asked or not.
        ours.shutdown(std::net::Shutdown::Both).unwrap();
        let before = cpu();
        let mut except = set(&[&ours]);
        let mut left = libc::timeval { tv_sec: 0, tv_usec: 200_000 };
        let none = ptr::null_mut();
        // SAFETY: the set and the time outlive the call.
        let (took, found) = timed(|| unsafe { libc::select(1024, none, none, &raw mut except, &raw mut left) });
        assert!(found == 0 && took >= 199 * MS, "{found} {took:?}");
        assert!(cpu() - before < 100 * MS, "{:?}", cpu() - before);
    });
}

#[test]
fn what_select_refuses_is_refused_and_the_sets_stay_as_they_were() {
    // In a process of its own: which numbers are open decides.
    let test = || {
        let (reader, _writer) = pipe().unwrap();
        let mut read = set(&[&reader]);
        let mut bad = libc::timeval { tv_sec: -1, tv_usec: 0 };
        assert_eq!(errno(select(&mut read, None, &mut bad)), libc::EINVAL);
        let ended = timeout(10 * MS, || {
            let mut long = libc::timeval { tv_sec: 60, tv_usec: 0 };
            assert_eq!(errno(select(&mut read, None, &mut long)), libc::ETIMEDOUT);
            yield_now();
        });
        assert!(ended.is_err() && has(&read, &reader));
        // SAFETY: a number that is not open is an error.
        unsafe { libc::FD_SET(63, &raw mut read) };
        let mut long = libc::timeval { tv_sec: 60, tv_usec: 0 };
        assert_eq!(errno(select(&mut read, None, &mut long)), libc::EBADF);
        // Numbers that the kernel has no room for in this process are not looked at.
        let mut read = set(&[&reader]);
        // SAFETY: as above.
        unsafe { libc::FD_SET(1023, &raw mut read) };
        let mut short = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        // A process keeps the room that its parent had; where there is room, the number is not open.
        let said = select(&mut read, None, &mut short);
        assert!(said == 0 || errno(said) == libc::EBADF, "{said}");
        let none = ptr::null_mut();
        // SAFETY: null pointers are allowed.
        assert_eq!(errno(unsafe { libc::select(-1, none, none, none, &raw mut long) }), libc::EINVAL);
    };
    let ended = in_child("poll::what_select_refuses_is_refused_and_the_sets_stay_as_they_were", || patched(test));
    assert!(ended.status.success(), "{}", ended.stderr);
}

#[test]
fn an_epoll_instance_is_waited_for() {
    patched(|| {
        let (reader, mut writer) = pipe().unwrap();
        // SAFETY: a call with a plain number.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLONESHOT) as u32, u64: 7 };
        let control = |operation, event: &mut libc::epoll_event| {
            // SAFETY: the event outlives the call.
            let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, reader.as_raw_fd(), event) };
            assert_eq!(result, 0);
        };
        control(libc::EPOLL_CTL_ADD, &mut event);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        let (took, found) = timed(|| epoll_wait(&epoll, &mut events, 20));
        assert!(found == 0 && took >= 19 * MS);
        let other = spawn(move || {
            yield_now();
            writer.write_all(b"x").unwrap();
            writer
        });
        assert_eq!(epoll_wait(&epoll, &mut events, LONG), 1);
        assert_eq!({ events[0].u64 }, 7);
        // Told once, as it was asked.
        assert_eq!(epoll_wait(&epoll, &mut events, 20), 0);
        control(libc::EPOLL_CTL_MOD, &mut event);
        let time = libc::timespec { tv_sec: 60, tv_nsec: 0 };
        // SAFETY: all of it outlives the call.
        let found =
            unsafe { libc::epoll_pwait2(epoll.as_raw_fd(), events.as_mut_ptr(), 4, &raw const time, ptr::null()) };
        assert_eq!(found, 1);
        other.join().unwrap();
        assert_eq!(errno(epoll_wait(&epoll, &mut [], LONG)), libc::EINVAL);
        // SAFETY: a number that is not open is an error.
        assert_eq!(errno(unsafe { libc::epoll_wait(9999, events.as_mut_ptr(), 4, LONG) }), libc::EBADF);
        // SAFETY: a descriptor that is none of an epoll instance is an error.
        let not_epoll = unsafe { libc::epoll_wait(reader.as_raw_fd(), events.as_mut_ptr(), 4, LONG) };
        assert_eq!(errno(not_epoll), libc::EINVAL);
    });
}

#[test]
fn a_thousand_descriptors_are_polled() {
    patched(|| {
        let pipes: Vec<(PipeReader, PipeWriter)> = (0..300).map(|_| pipe().unwrap()).collect();
        let mut fds = Vec::from_iter(pipes.iter().map(|(reader, _)| asked(reader, POLLIN)));
        for round in 0..3 {
            let mut writer = pipes[round * 100].1.try_clone().unwrap();
            let other = spawn(move || writer.write_all(b"x"));
            assert_eq!(poll(&mut fds, LONG), 1);
            assert_eq!(fds[round * 100].revents, POLLIN);
            other.join().unwrap().unwrap();
            (&pipes[round * 100].0).read_exact(&mut [0]).unwrap();
        }
    });
}

fn asked(fd: &impl AsRawFd, events: i16) -> pollfd {
    pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
}

fn poll(fds: &mut [pollfd], timeout: i32) -> i32 {
    // SAFETY: so many there are.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as u64, timeout) }
}

fn select(read: &mut libc::fd_set, except: Option<&mut libc::fd_set>, left: &mut libc::timeval) -> i32 {
    // SAFETY: the sets and the time outlive the call.
    unsafe { libc::select(1024, read, ptr::null_mut(), except.map_or(ptr::null_mut(), ptr::from_mut), left) }
}

fn epoll_wait(epoll: &OwnedFd, events: &mut [libc::epoll_event], timeout: i32) -> i32 {
    // SAFETY: so many there is room for.
    unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, timeout) }
}

fn set(members: &[&dyn AsRawFd]) -> libc::fd_set {
    // SAFETY: no bits are set.
    let mut set = unsafe { std::mem::zeroed() };
    for member in members {
        // SAFETY: its number is less than 1,024.
        unsafe { libc::FD_SET(member.as_raw_fd(), &raw mut set) };
    }
    set
}

fn has(set: &libc::fd_set, member: &impl AsRawFd) -> bool {
    // SAFETY: its number is less than 1,024.
    unsafe { libc::FD_ISSET(member.as_raw_fd(), set) }
}

fn owned(fd: RawFd) -> OwnedFd {
    assert!(fd >= 0);
    // SAFETY: it was made just now.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The number of the error of a call that must have failed.
#[track_caller]
fn errno(result: i32) -> i32 {
    let err = io::Error::last_os_error();
    assert_eq!(result, -1);
    err.raw_os_error().unwrap()
}

/// The processor time that this thread has taken.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
