//! Several who accept from one listener; and loops that ignore errors.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use greenlet_hub::{JoinError, joinall, sleep, spawn, timeout, yield_now};

use crate::calls::{self, settle};
use crate::support::{MS, patched, timed};

#[test]
fn those_who_accept_are_served_in_the_order_in_which_they_came() {
    patched(|| {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap();
        let order = Rc::new(Cell::new(0));
        let accepters = Vec::from_iter((0..5).map(|_| {
            let (listener, order) = (Rc::clone(&listener), Rc::clone(&order));
            spawn(move || {
                listener.accept().unwrap();
                order.replace(order.get() + 1)
            })
        }));
        settle();
        for n in 1..=5 {
            let _client = TcpStream::connect(addr).unwrap();
            while order.get() < n {
                sleep(MS);
            }
        }
        let ended = joinall(accepters).into_iter().map(|place| place.unwrap());
        assert!(ended.eq(0..5));
    });
}

#[test]
fn hubs_and_threads_accept_from_one_listener_and_nothing_is_lost() {
    const EACH: u32 = 150;
    patched(|| {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicU32::new(0));
        let accept = {
            let accepted = Arc::clone(&accepted);
            move |listener: &TcpListener| {
                while accepted.fetch_add(1, Ordering::SeqCst) < 6 * EACH {
                    listener.accept().unwrap().0.write_all(b"welcome").unwrap();
                }
            }
        };
        let hubs = [0, 1].map(|_| {
            let (listener, accept) = (Arc::clone(&listener), accept.clone());
            thread::spawn(move || {
                yield_now();
                let all = (0..3).map(|_| {
                    let (listener, accept) = (Arc::clone(&listener), accept.clone());
                    spawn(move || accept(&listener))
                });
                joinall(all).into_iter().for_each(Result::unwrap);
            })
        });
        let plain = [0, 1].map(|_| {
            let (listener, accept) = (Arc::clone(&listener), accept.clone());
            thread::spawn(move || accept(&listener))
        });
        let clients = joinall((0..6).map(|_| {
            spawn(move || {
                for _ in 0..EACH {
                    let mut text = String::new();
                    TcpStream::connect(addr).unwrap().read_to_string(&mut text).unwrap();
                    assert_eq!(text, "welcome");
                }
            })
        }));
        clients.into_iter().for_each(Result::unwrap);
        hubs.into_iter().chain(plain).for_each(|one| one.join().unwrap());
        assert!(!calls::is_nonblocking(listener.as_raw_fd()));
    });
}

#[test]
fn a_killed_accept_loop_that_ignores_errors_holds_up_nobody_and_dies_at_its_next_native_wait() {
    patched(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Rc::new(Cell::new(false));
        let errors = Rc::new(Cell::new(0));
        let server = spawn({
            let (stop, errors) = (Rc::clone(&stop), Rc::clone(&errors));
            move || {
                for stream in listener.incoming() {
                    if let Err(err) = stream {
                        assert_eq!(err.raw_os_error(), Some(libc::ECANCELED));
                        errors.set(errors.get() + 1);
                    }
                    if stop.get() {
                        sleep(60_000 * MS);
                        unreachable!("it is killed");
                    }
                }
            }
        });
        settle();
        server.kill_nowait().unwrap();
        // The others go on: turn by turn, and by the clock.
        for _ in 0..50 {
            yield_now();
        }
        let (took, ()) = timed(|| sleep(10 * MS));
        assert!(took < 2000 * MS && errors.get() > 10, "{took:?} {}", errors.get());
        stop.set(true);
        assert!(matches!(server.join(), Err(JoinError::Killed)));
    });
}

#[test]
fn a_kill_ends_one_accept_and_the_next_connection_is_for_the_others() {
    patched(|| {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap();
        let [first, second] = [0, 1].map(|_| {
            let listener = Rc::clone(&listener);
            spawn(move || calls::accept(listener.as_raw_fd()).map(drop))
        });
        settle();
        // In the same turn: whom the connection is for is gone.
        let _client = TcpStream::connect(addr).unwrap();
        first.kill_nowait().unwrap();
        let ended = first.join().unwrap();
        if ended == Err(libc::ECANCELED) {
            assert_eq!(second.join().unwrap(), Ok(()));
        } else {
            let _client = TcpStream::connect(addr).unwrap();
            assert_eq!(second.join().unwrap(), Ok(()));
        }
        let ended = timeout(10 * MS, || {
            let said = calls::accept(listener.as_raw_fd()).map(drop);
            assert_eq!(said, Err(libc::ETIMEDOUT));
            yield_now();
        });
        assert!(ended.is_err());
    });
}

#[test]
fn with_no_more_descriptors_an_accept_says_so_and_loses_nobody() {
    crate::support::patched_alone("accept::with_no_more_descriptors_an_accept_says_so_and_loses_nobody", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let client = spawn(move || {
            let mut text = String::new();
            TcpStream::connect(addr).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        settle();
        let mut all = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            all.push(file);
        }
        for _ in 0..300 {
            assert_eq!(calls::accept(listener.as_raw_fd()).unwrap_err(), libc::EMFILE);
        }
        drop(all);
        listener.accept().unwrap().0.write_all(b"welcome").unwrap();
        assert_eq!(client.join().unwrap(), "welcome");
    });
}
