//! Flags of calls and of descriptors: what waits, and what does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::rc::Rc;

use greenlet_hub::{sleep, spawn};

use crate::calls::{self, said, settle};
use crate::support::{MS, patched, tcp_pair, timed};

#[test]
fn who_wants_all_gets_all_or_what_there_was_at_the_end() {
    patched(|| {
        let (ours, mut theirs) = tcp_pair();
        let fd = ours.as_raw_fd();
        let reader = spawn(move || {
            let mut buf = [0; 10];
            (calls::recv(fd, &mut buf, libc::MSG_WAITALL), buf)
        });
        for part in [&b"abc"[..], b"defg", b"hijklm"] {
            settle();
            assert!(!reader.is_finished());
            theirs.write_all(part).unwrap();
        }
        assert_eq!(reader.join().unwrap(), (Ok(10), *b"abcdefghij"));
        let reader = spawn(move || calls::recv(fd, &mut [0; 10], libc::MSG_WAITALL));
        settle();
        drop(theirs);
        assert_eq!(reader.join().unwrap(), Ok(3));
        drop(ours);
        // At the time-out, what has come.
        let (ours, mut theirs) = tcp_pair();
        ours.set_read_timeout(Some(20 * MS)).unwrap();
        theirs.write_all(b"abc").unwrap();
        assert_eq!(calls::recv(ours.as_raw_fd(), &mut [0; 10], libc::MSG_WAITALL), Ok(3));
        assert_eq!(calls::recv(ours.as_raw_fd(), &mut [0; 10], libc::MSG_WAITALL), Err(libc::EAGAIN));
    });
}

#[test]
fn who_peeks_for_all_waits_for_all() {
    patched(|| {
        let (ours, mut theirs) = tcp_pair();
        let fd = ours.as_raw_fd();
        let peeker = spawn(move || calls::recv(fd, &mut [0; 10], libc::MSG_PEEK | libc::MSG_WAITALL));
        theirs.write_all(b"abc").unwrap();
        settle();
        assert!(!peeker.is_finished());
        theirs.write_all(b"defghij").unwrap();
        assert_eq!(peeker.join().unwrap(), Ok(10));
        let peeker = spawn(move || calls::recv(fd, &mut [0; 20], libc::MSG_PEEK | libc::MSG_WAITALL));
        settle();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peeker.join().unwrap(), Ok(10));
        let mut all = Vec::new();
        { ours }.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcdefghij");
    });
}

#[test]
fn who_peeks_takes_nothing_and_who_reads_after_it_finds_all() {
    patched(|| {
        let (ours, mut theirs) = tcp_pair();
        let writer = spawn(move || {
            sleep(5 * MS);
            theirs.write_all(b"hello").unwrap();
            theirs
        });
        let mut buf = [0; 3];
        assert_eq!(ours.peek(&mut buf).unwrap(), 3);
        assert_eq!(ours.peek(&mut buf).unwrap(), 3);
        let mut buf = [0; 64];
        assert_eq!({ &ours }.read(&mut buf).unwrap(), 5);
        let mut theirs = writer.join().unwrap();
        let late = spawn(move || {
            sleep(5 * MS);
            theirs.write_all(b"again").unwrap();
        });
        assert_eq!(ours.peek(&mut buf).unwrap(), 5);
        assert_eq!({ &ours }.read(&mut buf[..2]).unwrap(), 2);
        assert_eq!({ &ours }.read(&mut buf).unwrap(), 3);
        assert_eq!({ &ours }.read(&mut buf).unwrap(), 0);
        late.join().unwrap();
    });
}

#[test]
fn a_call_that_is_not_to_wait_does_not() {
    patched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        let reader = spawn(move || calls::recv(fd, &mut [0; 8], 0));
        settle();
        // Beside one that waits.
        assert_eq!(calls::recv(fd, &mut [0; 8], libc::MSG_DONTWAIT), Err(libc::EAGAIN));
        while calls::send(fd, &[0; 4096], libc::MSG_DONTWAIT).is_ok() {}
        assert_eq!(calls::send(fd, &[0; 4096], libc::MSG_DONTWAIT), Err(libc::EAGAIN));
        calls::send(theirs.as_raw_fd(), b"x", 0).unwrap();
        assert_eq!(reader.join().unwrap(), Ok(1));
    });
}

#[test]
fn urgent_data_is_had_at_once_and_stops_no_stream() {
    patched(|| {
        let (ours, theirs) = tcp_pair();
        let (ours_fd, theirs_fd) = (ours.as_raw_fd(), theirs.as_raw_fd());
        // There is none, and none is waited for.
        assert_eq!(calls::recv(ours_fd, &mut [0; 1], libc::MSG_OOB), Err(libc::EINVAL));
        let reader = spawn(move || {
            let mut read = Vec::new();
            while read.len() < 3 {
                let mut buf = [0; 16];
                let len = calls::recv(ours_fd, &mut buf, 0).unwrap();
                assert!(len > 0);
                read.extend_from_slice(&buf[..len]);
            }
            read
        });
        settle();
        calls::send(theirs_fd, b"abc", 0).unwrap();
        settle();
        calls::send(theirs_fd, b"!", libc::MSG_OOB).unwrap();
        assert_eq!(reader.join().unwrap(), b"abc");
        let mut urgent = [0];
        assert_eq!(calls::recv(ours_fd, &mut urgent, libc::MSG_OOB), Ok(1));
        assert_eq!(&urgent, b"!");
        let reader = spawn(move || {
            let mut buf = [0; 16];
            let len = calls::recv(ours_fd, &mut buf, 0).unwrap();
            buf[..len].to_vec()
        });
        settle();
        calls::send(theirs_fd, b"def", 0).unwrap();
        assert_eq!(reader.join().unwrap(), b"def");
    });
}

#[test]
fn a_user_makes_it_nonblocking_in_every_way_there_is() {
    patched(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(5 * MS)).unwrap();
        let fd = ours.as_raw_fd();
        let would_wait = |fd| timed(|| calls::recv(fd, &mut [0; 1], 0));
        let twin = ours.try_clone().unwrap();
        let waits = |fd| {
            let (took, said) = would_wait(fd);
            assert_eq!(said, Err(libc::EAGAIN));
            took >= 5 * MS
        };
        assert!(waits(fd) && waits(twin.as_raw_fd()));
        // No bound from above: of one that does not wait it is the syscalls that are told by `strace` elsewhere.
        ours.set_nonblocking(true).unwrap();
        assert!(calls::is_nonblocking(fd) && calls::is_nonblocking(twin.as_raw_fd()));
        let never = |fd| assert_eq!(greenlet_hub::no_switch(|| calls::recv(fd, &mut [0; 1], 0)), Err(libc::EAGAIN));
        never(fd);
        never(twin.as_raw_fd());
        let switches = switches_of(|| assert_eq!(calls::recv(twin.as_raw_fd(), &mut [0; 1], 0), Err(libc::EAGAIN)));
        assert_eq!(switches, 0);
        calls::set_nonblocking(twin.as_raw_fd(), false);
        assert!(waits(fd) && waits(twin.as_raw_fd()));
        calls::set_nonblocking(fd, true);
        let switches = switches_of(|| assert_eq!(calls::recv(twin.as_raw_fd(), &mut [0; 1], 0), Err(libc::EAGAIN)));
        assert_eq!(switches, 0);
        calls::set_nonblocking(fd, false);
        // And a listener, which is only ever made so for the length of a call.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.as_raw_fd();
        let accepter = spawn(move || calls::accept(number).is_ok());
        settle();
        assert!(!calls::is_nonblocking(number));
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        listener.set_nonblocking(false).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(accepter.join().unwrap());
        assert!(!calls::is_nonblocking(number) && !calls::is_nonblocking(client.as_raw_fd()));
    });
}

/// How often another greenlet ran meanwhile.
fn switches_of(f: impl FnOnce()) -> u32 {
    let turns = crate::support::counting();
    f();
    turns.get()
}

#[test]
fn time_outs_are_of_every_call_of_theirs() {
    patched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let at_least = |f: &mut dyn FnMut()| {
            let (took, ()) = timed(f);
            assert!(took >= 20 * MS && took < 5000 * MS, "{took:?}");
        };
        ours.set_read_timeout(Some(20 * MS)).unwrap();
        ours.set_write_timeout(Some(20 * MS)).unwrap();
        let fd = ours.as_raw_fd();
        at_least(&mut || assert_eq!(calls::read(fd, &mut [0; 1]), Err(libc::EAGAIN)));
        at_least(&mut || assert_eq!(calls::recv(fd, &mut [0; 1], libc::MSG_PEEK), Err(libc::EAGAIN)));
        at_least(&mut || assert!(calls::write(fd, &[0; 10_000_000]).unwrap() < 10_000_000));
        at_least(&mut || assert_eq!(calls::send(fd, &[0; 1000], 0), Err(libc::EAGAIN)));
        // A reader who takes a little again and again does not make it longer.
        let slow = spawn(move || {
            let mut buf = vec![0; 10_000_000];
            for _ in 0..500 {
                sleep(10 * MS);
                if { &theirs }.read(&mut buf).unwrap() == 0 {
                    return;
                }
            }
        });
        let (took, said) = timed(|| calls::write(fd, &vec![0; 60_000_000]));
        // If the machine is busy the reader comes too late for anything at all.
        let in_time = said.map_or_else(|errno| errno == libc::EAGAIN, |moved| moved < 60_000_000);
        assert!(in_time && took < 2000 * MS, "{said:?} {took:?}");
        drop(ours);
        slow.join().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        calls::set_timeout(&listener, libc::SO_RCVTIMEO, 20 * MS);
        at_least(&mut || assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock));
        at_least(&mut || assert_eq!(calls::accept(listener.as_raw_fd()).unwrap_err(), libc::EAGAIN));
    });
}

#[test]
fn a_connects_time_out_is_the_kernels_word_for_it() {
    patched(|| {
        let listener = calls::listen(0);
        let addr = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        while let Ok(client) = std::net::TcpStream::connect_timeout(&addr, 200 * MS) {
            clients.push(client);
        }
        // SAFETY: plain numbers.
        let fd = said(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } as isize).unwrap() as i32;
        // SAFETY: it is new.
        let socket: std::net::TcpStream = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
        socket.set_write_timeout(Some(20 * MS)).unwrap();
        let (took, said) = timed(|| calls::connect(fd, addr));
        assert_eq!(said, Err(libc::EINPROGRESS));
        assert!(took >= 20 * MS && took < 5000 * MS, "{took:?}");
    });
}

#[test]
fn a_shutdown_ends_every_wait_at_once() {
    patched(|| {
        for how in [libc::SHUT_RD, libc::SHUT_RDWR] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let ours = Rc::new(ours);
            let reader = spawn({
                let ours = Rc::clone(&ours);
                move || calls::recv(ours.as_raw_fd(), &mut [0; 1], 0)
            });
            settle();
            calls::shutdown(&*ours, how).unwrap();
            assert_eq!(reader.join().unwrap(), Ok(0));
            drop(theirs);
            // A blocking receive returns 0; one that does not wait says "would block" for ever.
            let (ours, _theirs) = UnixDatagram::pair().unwrap();
            let ours = Rc::new(ours);
            let readers = [0, 1].map(|_| {
                let ours = Rc::clone(&ours);
                spawn(move || ours.recv(&mut [0; 1]).unwrap())
            });
            settle();
            calls::shutdown(&*ours, how).unwrap();
            assert_eq!(readers.map(|reader| reader.join().unwrap()), [0, 0]);
            assert_eq!(ours.recv(&mut [0; 1]).unwrap(), 0);
            let twin = ours.try_clone().unwrap();
            assert_eq!(twin.recv(&mut [0; 1]).unwrap(), 0);
            // UDP without a peer says an error, and is shut down.
            let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            let reader = spawn({
                let socket = Rc::clone(&socket);
                move || socket.recv(&mut [0; 1]).unwrap()
            });
            settle();
            assert_eq!(calls::shutdown(&*socket, how), Err(libc::ENOTCONN));
            assert_eq!(reader.join().unwrap(), 0);
        }
        // Both kinds of listeners say EINVAL to whoever accepts.
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = tcp.as_raw_fd();
        let accepter = spawn(move || calls::accept(number).map(drop));
        settle();
        calls::shutdown(&tcp, libc::SHUT_RDWR).unwrap();
        assert_eq!(accepter.join().unwrap(), Err(libc::EINVAL));
        let path = std::env::temp_dir().join(format!("greenlet-patch-{}-shutdown", std::process::id()));
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let number = unix.as_raw_fd();
        let accepter = spawn(move || calls::accept(number).map(drop));
        settle();
        calls::shutdown(&unix, libc::SHUT_RDWR).unwrap();
        let ended = accepter.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ended, Err(libc::EINVAL));
        assert_eq!(calls::accept(number).unwrap_err(), libc::EINVAL);
    });
}

#[test]
fn who_reads_on_a_thread_is_not_told_to_come_again_while_a_greenlet_sends_a_file() {
    patched(|| {
        let (ours, theirs) = tcp_pair();
        let twin = ours.try_clone().unwrap();
        // So that the patch knows of it.
        let fd = ours.as_raw_fd();
        let waiter = spawn(move || calls::recv(fd, &mut [0; 1], 0));
        settle();
        { &theirs }.write_all(b"x").unwrap();
        waiter.join().unwrap().unwrap();
        let reader = std::thread::spawn(move || {
            let mut count = 0;
            loop {
                match { &twin }.read(&mut [0; 1]) {
                    Ok(0) => return count,
                    Ok(_) => count += 1,
                    Err(err) => panic!("{err}"),
                }
            }
        });
        let echo = std::thread::spawn(move || {
            let mut buf = vec![0; 1 << 16];
            let mut read = 0_usize;
            let mut written = 0;
            while let Ok(len @ 1..) = { &theirs }.read(&mut buf) {
                read += len;
                // One byte back for each.
                { &theirs }.write_all(&[0; 1]).unwrap();
                written += 1;
            }
            drop(theirs);
            (read, written)
        });
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let len = file.metadata().unwrap().len().min(20_000_000) as usize;
        for _ in 0..10 {
            let mut offset = 0;
            while (offset as usize) < len {
                let left = len - offset as usize;
                // SAFETY: the offset outlives the call.
                said(unsafe { libc::sendfile(fd, file.as_raw_fd(), &raw mut offset, left) }).unwrap();
            }
        }
        ours.shutdown(Shutdown::Write).unwrap();
        let (read, written) = echo.join().unwrap();
        assert_eq!(read, 10 * len);
        assert_eq!(reader.join().unwrap(), written);
    });
}

#[test]
fn a_listener_with_two_numbers_stays_blocking_whoever_accepts_by_which() {
    const EACH: usize = 300;
    patched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let accept = |listener: TcpListener| {
            move || {
                greenlet_hub::yield_now();
                for _ in 0..EACH {
                    listener.accept().unwrap().0.write_all(b"x").unwrap();
                }
            }
        };
        let twin = listener.try_clone().unwrap();
        let third = listener.try_clone().unwrap();
        let plain = listener.try_clone().unwrap();
        let hubs = [twin, third].map(|listener| std::thread::spawn(accept(listener)));
        let plain = std::thread::spawn(move || {
            for _ in 0..EACH {
                plain.accept().unwrap().0.write_all(b"x").unwrap();
            }
        });
        let clients = [0, 1, 2].map(|_| {
            std::thread::spawn(move || {
                for _ in 0..EACH {
                    let mut stream = std::net::TcpStream::connect(addr).unwrap();
                    stream.read_exact(&mut [0]).unwrap();
                }
            })
        });
        clients.into_iter().for_each(|client| client.join().unwrap());
        hubs.into_iter().for_each(|hub| hub.join().unwrap());
        plain.join().unwrap();
        assert!(!calls::is_nonblocking(listener.as_raw_fd()));
    });
}

#[test]
fn an_error_that_comes_after_a_part_is_told_by_the_next_call() {
    patched(|| {
        let reset = |stream: std::net::TcpStream| {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            let (fd, len) = (stream.as_raw_fd(), size_of_val(&linger) as u32);
            // SAFETY: an option of that length.
            let set =
                unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len) };
            assert_eq!(set, 0);
        };
        let plainly_or_not = |greenlet: bool| {
            let run = |f: Box<dyn FnOnce() -> Vec<calls::Said> + Send>| {
                if greenlet { spawn(f).join().unwrap() } else { std::thread::spawn(f).join().unwrap() }
            };
            let (ours, mut theirs) = tcp_pair();
            theirs.write_all(b"abc").unwrap();
            let fd = ours.as_raw_fd();
            let closer = std::thread::spawn(move || {
                std::thread::sleep(20 * MS);
                reset(theirs);
            });
            let received = run(Box::new(move || {
                let receive = || calls::recv(fd, &mut [0; 10], libc::MSG_WAITALL);
                vec![receive(), receive(), receive()]
            }));
            closer.join().unwrap();
            let (ours, theirs) = tcp_pair();
            let fd = ours.as_raw_fd();
            let closer = std::thread::spawn(move || {
                std::thread::sleep(20 * MS);
                reset(theirs);
            });
            let much = vec![0; 50_000_000];
            let sent = run(Box::new(move || {
                let part = calls::send(fd, &much, 0);
                vec![
                    part.map(|part| usize::from(part > 0 && part < much.len())),
                    calls::send(fd, &much, 0),
                    calls::send(fd, &much, 0),
                ]
            }));
            closer.join().unwrap();
            (received, sent)
        };
        let (received, sent) = plainly_or_not(true);
        assert_eq!(received, [Ok(3), Err(libc::ECONNRESET), Ok(0)]);
        assert_eq!(sent, [Ok(1), Err(libc::ECONNRESET), Err(libc::EPIPE)]);
        assert_eq!((received, sent), plainly_or_not(false));
    });
}
