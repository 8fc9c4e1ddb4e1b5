//! Descriptors that are closed, or replaced, while somebody waits for them; and their numbers, which are others' at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use greenlet_hub::{JoinHandle, joinall, sleep, spawn, timeout, yield_now};

use crate::calls::{self, Said, settle};
use crate::support::{MS, patched_alone, timed};

/// A descriptor that nothing comes out of; its number is the test's to close. The other end.
fn silent() -> (RawFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours.into_raw_fd(), theirs)
}

/// A socket that takes nothing more.
fn full() -> (RawFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while { &ours }.write(&[0; 4096]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    (ours.into_raw_fd(), theirs)
}

fn listener() -> RawFd {
    TcpListener::bind("127.0.0.1:0").unwrap().into_raw_fd()
}

/// Greenlets that wait for what never comes, in each call that can wait for a socket; the number that each waits for.
fn waiting_in_each_call() -> Vec<(&'static str, RawFd, JoinHandle<Said>, Option<UnixStream>)> {
    let mut all = Vec::new();
    let (fd, other) = silent();
    all.push(("recv", fd, spawn(move || calls::recv(fd, &mut [0; 8], 0)), Some(other)));
    let (fd, other) = silent();
    all.push(("read", fd, spawn(move || calls::read(fd, &mut [0; 8])), Some(other)));
    let (fd, other) = silent();
    all.push(("peek", fd, spawn(move || calls::recv(fd, &mut [0; 8], libc::MSG_PEEK)), Some(other)));
    let (fd, other) = silent();
    all.push(("wait for all", fd, spawn(move || calls::recv(fd, &mut [0; 8], libc::MSG_WAITALL)), Some(other)));
    let (fd, other) = full();
    all.push(("send", fd, spawn(move || calls::send(fd, &[0; 8], 0)), Some(other)));
    let (fd, other) = full();
    all.push(("write", fd, spawn(move || calls::write(fd, &[0; 8])), Some(other)));
    let fd = listener();
    all.push(("accept", fd, spawn(move || calls::accept(fd).map(|_| 0)), None));
    all
}

#[test]
fn a_close_ends_each_call_that_waits() {
    patched_alone("close::a_close_ends_each_call_that_waits", || {
        let all = waiting_in_each_call();
        settle();
        for (name, fd, greenlet, _other) in all {
            assert!(!greenlet.is_finished(), "{name}");
            calls::close(fd).unwrap();
            assert_eq!(greenlet.join().unwrap(), Err(libc::EBADF), "{name}");
        }
    });
}

#[test]
fn a_kill_and_a_time_out_are_told_by_each_call_that_waits() {
    patched_alone("close::a_kill_and_a_time_out_are_told_by_each_call_that_waits", || {
        let all = waiting_in_each_call();
        settle();
        for (name, fd, greenlet, _other) in all {
            greenlet.kill_nowait().unwrap();
            assert_eq!(greenlet.join().unwrap(), Err(libc::ECANCELED), "{name}");
            calls::close(fd).unwrap();
        }
        let (fd, _other) = silent();
        let (full, _slow) = full();
        let listener = listener();
        let expires = |call: &dyn Fn() -> Said| {
            let ended = timeout(5 * MS, || {
                assert_eq!(call(), Err(libc::ETIMEDOUT));
                // Not once only.
                assert_eq!(call(), Err(libc::ETIMEDOUT));
                yield_now();
            });
            assert!(ended.is_err());
        };
        expires(&|| calls::recv(fd, &mut [0; 8], 0));
        expires(&|| calls::recv(fd, &mut [0; 8], libc::MSG_WAITALL));
        expires(&|| calls::read(fd, &mut [0; 8]));
        expires(&|| calls::send(full, &[0; 8], 0));
        expires(&|| calls::write(full, &[0; 8]));
        expires(&|| calls::accept(listener).map(|_| 0));
        expires(&|| calls::poll(fd, libc::POLLIN, -1).map(|_| 0));
        [fd, full, listener].into_iter().for_each(|fd| assert_eq!(calls::close(fd), Ok(0)));
    });
}

#[test]
fn a_dup2_over_it_ends_each_call_that_waits() {
    patched_alone("close::a_dup2_over_it_ends_each_call_that_waits", || {
        let (new, mut other) = UnixStream::pair().unwrap();
        for from_here in [true, false] {
            let all = waiting_in_each_call();
            settle();
            for (name, fd, greenlet, _other) in all {
                let number = new.as_raw_fd();
                if from_here {
                    calls::dup2(number, fd).unwrap();
                } else {
                    thread::spawn(move || calls::dup2(number, fd).unwrap()).join().unwrap();
                }
                assert_eq!(greenlet.join().unwrap(), Err(libc::EBADF), "{name}");
                // It is the new one.
                other.write_all(b"x").unwrap();
                assert_eq!(calls::recv(fd, &mut [0; 8], 0), Ok(1), "{name}");
                calls::close(fd).unwrap();
            }
        }
    });
}

#[test]
fn a_plain_threads_close_ends_each_call_that_waits() {
    patched_alone("close::a_plain_threads_close_ends_each_call_that_waits", || {
        let all = waiting_in_each_call();
        settle();
        let fds = Vec::from_iter(all.iter().map(|(_, fd, ..)| *fd));
        let closer = thread::spawn(move || fds.into_iter().for_each(|fd| assert_eq!(calls::close(fd), Ok(0))));
        for (name, _, greenlet, _other) in all {
            assert_eq!(greenlet.join().unwrap(), Err(libc::EBADF), "{name}");
        }
        closer.join().unwrap();
    });
}

#[test]
fn another_hubs_close_ends_each_call_that_waits() {
    patched_alone("close::another_hubs_close_ends_each_call_that_waits", || {
        let all = waiting_in_each_call();
        settle();
        let fds = Vec::from_iter(all.iter().map(|(_, fd, ..)| *fd));
        let closer = thread::spawn(move || {
            let close = |fd| spawn(move || assert_eq!(calls::close(fd), Ok(0)));
            joinall(fds.into_iter().map(close)).into_iter().for_each(Result::unwrap);
        });
        for (name, _, greenlet, _other) in all {
            assert_eq!(greenlet.join().unwrap(), Err(libc::EBADF), "{name}");
        }
        closer.join().unwrap();
    });
}

#[test]
fn a_close_ends_a_connect() {
    patched_alone("close::a_close_ends_a_connect", || {
        // A backlog that is full: the kernel does not answer any more.
        let (listener, _clients) = deaf_listener();
        let addr = listener.local_addr().unwrap();
        for closes in [true, false] {
            // SAFETY: plain numbers.
            let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
            let connect = spawn(move || calls::connect(fd, addr));
            settle();
            assert!(!connect.is_finished());
            if closes {
                calls::close(fd).unwrap();
                assert_eq!(connect.join().unwrap(), Err(libc::EBADF));
            } else {
                connect.kill_nowait().unwrap();
                settle();
                assert_eq!(connect.join().unwrap(), Err(libc::ECANCELED));
                calls::close(fd).unwrap();
            }
        }
    });
}

/// A listener that takes no more connections, and those that it has.
fn deaf_listener() -> (TcpListener, Vec<TcpStream>) {
    let listener = calls::listen(0);
    let addr = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect_timeout(&addr, 200 * MS) {
        clients.push(client);
    }
    (listener, clients)
}

#[test]
fn a_poll_learns_that_its_descriptor_is_closed() {
    patched_alone("close::a_poll_learns_that_its_descriptor_is_closed", || {
        let (fd, _other) = silent();
        let poller = spawn(move || calls::poll(fd, libc::POLLIN, 60_000));
        settle();
        calls::close(fd).unwrap();
        assert_eq!(poller.join().unwrap(), Ok(libc::POLLNVAL));
    });
}

#[test]
fn a_number_that_is_used_again_at_once_is_another_descriptor() {
    patched_alone("close::a_number_that_is_used_again_at_once_is_another_descriptor", || {
        for _ in 0..20 {
            let (fd, _other) = silent();
            let old = Vec::from_iter((0..3).map(|_| spawn(move || calls::recv(fd, &mut [0; 8], 0))));
            settle();
            calls::close(fd).unwrap();
            let (new, mut other) = UnixStream::pair().unwrap();
            assert_eq!(new.as_raw_fd(), fd);
            // There before those who waited have run.
            other.write_all(b"new").unwrap();
            let reader = spawn(move || {
                let mut buf = [0; 8];
                let len = { &new }.read(&mut buf).unwrap();
                buf[..len].to_vec()
            });
            assert!(joinall(old).into_iter().all(|end| end.unwrap() == Err(libc::EBADF)));
            assert_eq!(reader.join().unwrap(), b"new");
        }
    });
}

#[test]
fn a_number_may_change_what_it_is_the_number_of() {
    patched_alone("close::a_number_may_change_what_it_is_the_number_of", || {
        // A listener, a stream, a pipe, a datagram socket, whose waits differ in kind, all with one number.
        let number = listener();
        for round in 0..3 {
            let waiter = spawn(move || calls::accept(number).map(drop));
            settle();
            let (stream, mut other) = UnixStream::pair().unwrap();
            assert_eq!(calls::dup2(stream.as_raw_fd(), number), Ok(number as usize));
            assert_eq!(waiter.join().unwrap(), Err(libc::EBADF), "{round}");
            let waiter = spawn(move || calls::recv(number, &mut [0; 8], 0));
            settle();
            other.write_all(b"12345").unwrap();
            assert_eq!(waiter.join().unwrap(), Ok(5));
            let waiter = spawn(move || calls::recv(number, &mut [0; 8], 0));
            settle();
            let (ours, mut theirs) = std::io::pipe().unwrap();
            calls::dup2(ours.as_raw_fd(), number).unwrap();
            assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
            let waiter = spawn(move || calls::read(number, &mut [0; 8]));
            settle();
            theirs.write_all(b"123").unwrap();
            assert_eq!(waiter.join().unwrap(), Ok(3));
            let waiter = spawn(move || calls::read(number, &mut [0; 8]));
            settle();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            calls::dup2(socket.as_raw_fd(), number).unwrap();
            assert_eq!(waiter.join().unwrap(), Err(libc::EBADF));
            let waiter = spawn(move || calls::recv(number, &mut [0; 8], 0));
            settle();
            socket.send_to(b"1234", socket.local_addr().unwrap()).unwrap();
            assert_eq!(waiter.join().unwrap(), Ok(4));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            calls::dup2(listener.as_raw_fd(), number).unwrap();
            let waiter = spawn(move || calls::accept(number).is_ok());
            settle();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(waiter.join().unwrap());
        }
        calls::close(number).unwrap();
    });
}

#[test]
fn the_time_outs_of_a_socket_are_not_those_of_the_pipe_that_gets_its_number() {
    patched_alone("close::the_time_outs_of_a_socket_are_not_those_of_the_pipe_that_gets_its_number", || {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(10 * MS)).unwrap();
        { &ours }.read(&mut [0; 8]).unwrap_err();
        let number = ours.as_raw_fd();
        drop(ours);
        let (mut ours, mut theirs) = std::io::pipe().unwrap();
        assert_eq!(ours.as_raw_fd(), number);
        let writer = spawn(move || {
            sleep(40 * MS);
            theirs.write_all(b"late")
        });
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 4);
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_known_of_a_terminal_or_an_eventfd_is_forgotten_when_it_is_closed() {
    patched_alone("close::what_is_known_of_a_terminal_or_an_eventfd_is_forgotten_when_it_is_closed", || {
        // SAFETY: plain numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        let reader = spawn(move || calls::read(fd, &mut [0; 8]));
        settle();
        // What a call may have changed is asked for again.
        calls::set_nonblocking(fd, false);
        let (took, _) = timed(|| {
            calls::close(fd).unwrap();
            assert_eq!(reader.join().unwrap(), Err(libc::EBADF));
        });
        assert!(took < 900 * MS, "{took:?}");
    });
}

#[test]
fn a_dup2_that_fails_ends_no_wait() {
    patched_alone("close::a_dup2_that_fails_ends_no_wait", || {
        let (fd, mut other) = silent();
        let reader = spawn(move || calls::recv(fd, &mut [0; 8], 0));
        settle();
        assert_eq!(calls::dup2(-1, fd), Err(libc::EBADF));
        assert_eq!(calls::dup2(fd, -1), Err(libc::EBADF));
        assert_eq!(calls::dup2(fd, fd), Ok(fd as usize));
        // SAFETY: plain numbers; the flag is none.
        assert_eq!(calls::said(unsafe { libc::dup3(0, fd, 1) } as isize), Err(libc::EINVAL));
        // SAFETY: plain numbers.
        assert_eq!(calls::said(unsafe { libc::dup3(fd, fd, 0) } as isize), Err(libc::EINVAL));
        settle();
        assert!(!reader.is_finished());
        other.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap(), Ok(1));
        calls::close(fd).unwrap();
    });
}

#[test]
fn a_duplicate_lives_on() {
    patched_alone("close::a_duplicate_lives_on", || {
        let (fd, mut other) = silent();
        // SAFETY: a plain number.
        let twin = unsafe { libc::dup(fd) };
        let both = [fd, twin].map(|fd| spawn(move || calls::recv(fd, &mut [0; 1], 0)));
        settle();
        calls::close(fd).unwrap();
        let [first, second] = both;
        assert_eq!(first.join().unwrap(), Err(libc::EBADF));
        settle();
        assert!(!second.is_finished());
        other.write_all(b"x").unwrap();
        assert_eq!(second.join().unwrap(), Ok(1));
        // The number is a duplicate's again, of the same file.
        assert_eq!(calls::dup2(twin, fd), Ok(fd as usize));
        let both = [fd, twin].map(|fd| spawn(move || calls::recv(fd, &mut [0; 1], 0)));
        settle();
        other.write_all(b"xy").unwrap();
        assert!(both.into_iter().all(|reader| reader.join().unwrap() == Ok(1)));
        calls::close(fd).unwrap();
        calls::close(twin).unwrap();
    });
}

/// Two hubs wait for sockets that a third thread closes and replaces as fast as it can. What is sent to a socket is its number in the order of their making: whoever
/// receives it has waited for that one, or for one that was gone.
#[test]
fn close_and_reuse_on_other_threads_mixes_nothing_up() {
    const ROUNDS: u32 = 3000;
    patched_alone("close::close_and_reuse_on_other_threads_mixes_nothing_up", || {
        let (low, other) = silent();
        // A number that nobody else gets.
        let fd = 700;
        calls::dup2(low, fd).unwrap();
        calls::close(low).unwrap();
        let made = Arc::new(AtomicU32::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let readers = Vec::from_iter((0..2).map(|_| {
            let (made, over) = (Arc::clone(&made), Arc::clone(&over));
            thread::spawn(move || {
                yield_now();
                let reading = (0..3).map(|_| {
                    let (made, over) = (Arc::clone(&made), Arc::clone(&over));
                    spawn(move || {
                        let mut received = 0;
                        while !over.load(Ordering::Relaxed) {
                            let before = made.load(Ordering::SeqCst);
                            let mut buf = [0; 4];
                            match calls::recv(fd, &mut buf, 0) {
                                Ok(4) => {
                                    received += 1;
                                    // A call that has begun before is not for what came two later.
                                    let after = made.load(Ordering::SeqCst);
                                    let number = u32::from_ne_bytes(buf);
                                    assert!((before..=after).contains(&number), "{before} {number} {after}");
                                }
                                said => assert!(matches!(said, Ok(0) | Err(libc::EBADF)), "{said:?}"),
                            }
                            yield_now();
                        }
                        received
                    })
                });
                joinall(reading).into_iter().map(|count| count.unwrap()).sum::<u32>()
            })
        }));
        let closer = thread::spawn(move || {
            let mut other = Some(other);
            for round in 1..=ROUNDS {
                let (new, mut end) = UnixStream::pair().unwrap();
                if round % 2 == 0 {
                    calls::dup2(new.as_raw_fd(), fd).unwrap();
                } else {
                    calls::close(fd).unwrap();
                    calls::dup2(new.as_raw_fd(), fd).unwrap();
                }
                made.store(round, Ordering::SeqCst);
                drop(new);
                if round % 3 == 0 {
                    thread::yield_now();
                }
                if round % 7 == 0 {
                    thread::sleep(MS / 4);
                }
                end.write_all(&round.to_ne_bytes()).unwrap();
                other = Some(end);
            }
            over.store(true, Ordering::Relaxed);
            calls::close(fd).unwrap();
            drop(other);
        });
        closer.join().unwrap();
        let received = readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u32>();
        assert!(received <= ROUNDS);
        println!("{received} of {ROUNDS} were received");
    });
}

#[test]
fn a_number_that_was_closed_past_the_patch_serves_who_has_it_next() {
    patched_alone("close::a_number_that_was_closed_past_the_patch_serves_who_has_it_next", || {
        let (reader, _writer) = std::io::pipe().unwrap();
        let fd = reader.into_raw_fd();
        let waiting = spawn(move || calls::read(fd, &mut [0; 8]));
        settle();
        waiting.kill_nowait().unwrap();
        assert_eq!(waiting.join().unwrap(), Err(libc::ECANCELED));
        // SAFETY: it is this test's.
        assert_eq!(unsafe { libc::syscall(libc::SYS_close, fd) }, 0);
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(reader.as_raw_fd(), fd);
        let reading = [0, 1].map(|_| spawn(move || calls::read(fd, &mut [0; 1])));
        settle();
        writer.write_all(b"12").unwrap();
        let (took, ended) = timed(|| reading.map(|one| one.join().unwrap()));
        assert_eq!(ended, [Ok(1), Ok(1)]);
        assert!(took < 20_000 * MS, "{took:?}");
    });
}
