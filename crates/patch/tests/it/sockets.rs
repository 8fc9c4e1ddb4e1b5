//! std's sockets, in greenlets.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use greenlet_hub::{joinall, sleep, spawn, timeout, yield_now};

use crate::support::{MS, patched, patched_alone, timed};

#[test]
fn fifty_clients_and_their_server_share_a_thread() {
    patched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            for stream in listener.incoming().take(50) {
                let mut stream = stream.unwrap();
                spawn(move || {
                    let mut buf = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut buf) {
                        stream.write_all(&buf[..n]).unwrap();
                    }
                });
            }
        });
        let clients = joinall((0..50_u8).map(|n| {
            spawn(move || {
                let mut stream = TcpStream::connect(addr).unwrap();
                for round in 0..20 {
                    stream.write_all(&[n, round]).unwrap();
                    let mut answer = [0; 2];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [n, round]);
                }
            })
        }));
        assert!(clients.into_iter().all(|client| client.is_ok()));
        server.join().unwrap();
    });
}

#[test]
fn a_read_timeout_of_the_users_is_honoured_to_the_others_benefit() {
    patched(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(50 * MS)).unwrap();
        let ran = spawn(|| {
            for _ in 0..10 {
                sleep(MS);
            }
        });
        let (took, read) = timed(|| (&ours).read(&mut [0; 1]));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(took >= 50 * MS && took < 5000 * MS, "{took:?}");
        assert!(ran.is_finished());
    });
}

#[test]
fn what_the_user_made_nonblocking_never_waits() {
    patched(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            assert_eq!((&ours).read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        // And back.
        ours.set_nonblocking(false).unwrap();
        let writer = spawn(move || {
            sleep(5 * MS);
            theirs.write_all(b"x")
        });
        assert_eq!((&ours).read(&mut [0; 1]).unwrap(), 1);
        writer.join().unwrap().unwrap();
        ours.set_nonblocking(true).unwrap();
        assert_eq!((&ours).read(&mut [0; 1]).unwrap(), 0); // the end
    });
}

#[test]
fn a_closed_descriptor_ends_the_waits_of_others_and_its_number_is_another_one() {
    patched_alone("sockets::a_closed_descriptor_ends_the_waits_of_others_and_its_number_is_another_one", || {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&ours);
        let ours = Rc::new(std::cell::RefCell::new(Some(ours)));
        let reader = spawn(move || {
            let mut byte = [0_u8];
            // SAFETY: one writable byte.
            let read = unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) };
            (read, io::Error::last_os_error().raw_os_error())
        });
        yield_now();
        yield_now();
        drop(ours.take());
        let (again, mut other) = UnixStream::pair().unwrap();
        assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&again), fd);
        assert_eq!(reader.join().unwrap(), (-1, Some(libc::EBADF)));
        let second = spawn(move || (&again).read(&mut [0; 1]));
        yield_now();
        other.write_all(b"x").unwrap();
        assert_eq!(second.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn a_killed_reader_fails_with_ecanceled_and_unwinds_at_its_next_native_wait() {
    patched(|| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (send, seen) = (Rc::new(std::cell::Cell::new(None)), Rc::new(std::cell::Cell::new(0)));
        let reader = spawn({
            let (send, seen) = (Rc::clone(&send), Rc::clone(&seen));
            move || {
                for _ in 0..3 {
                    send.set((&ours).read(&mut [0; 1]).unwrap_err().raw_os_error());
                    seen.set(seen.get() + 1);
                }
                sleep(Duration::from_secs(60));
                seen.set(100);
            }
        });
        yield_now();
        yield_now();
        assert!(reader.kill_timeout(10_000 * MS).unwrap());
        assert_eq!((send.get(), seen.get()), (Some(libc::ECANCELED), 3));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let ended = timeout(5 * MS, || {
            let err = (&ours).read(&mut [0; 1]).unwrap_err();
            assert_eq!(err.raw_os_error(), Some(libc::ETIMEDOUT));
            sleep(Duration::from_secs(60));
        });
        assert!(ended.is_err());
    });
}

#[test]
fn large_writes_to_a_slow_reader_are_whole() {
    patched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let data: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = data.clone();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&ours);
        let writer = spawn(move || {
            // SAFETY: readable bytes.
            let written = unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) };
            ours.shutdown(Shutdown::Write).unwrap();
            written
        });
        let mut read = Vec::new();
        { &theirs }.read_to_end(&mut read).unwrap();
        assert_eq!(writer.join().unwrap(), 2_000_000);
        assert!(read == expected);
    });
}

#[test]
fn several_wait_for_datagrams_in_the_order_in_which_they_came() {
    patched(|| {
        let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let addr = socket.local_addr().unwrap();
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let readers: Vec<_> = (0..5)
            .map(|n| {
                let (socket, order) = (Rc::clone(&socket), Rc::clone(&order));
                spawn(move || {
                    let mut byte = [0];
                    socket.recv_from(&mut byte).unwrap();
                    order.borrow_mut().push((n, byte[0]));
                })
            })
            .collect();
        yield_now();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..5 {
            sender.send_to(&[n], addr).unwrap();
        }
        joinall(readers);
        assert_eq!(*order.borrow(), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
    });
}

#[test]
fn pipes_wait() {
    patched(|| {
        let (mut ours, mut theirs) = io::pipe().unwrap();
        let data = vec![7; 300_000];
        let writer = spawn(move || theirs.write_all(&data));
        let mut read = Vec::new();
        ours.read_to_end(&mut read).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(read.len(), 300_000);
    });
}
