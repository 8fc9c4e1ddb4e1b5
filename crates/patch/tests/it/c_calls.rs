//! A C library that knows nothing of greenlets, in greenlets.

use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;

use greenlet_hub::{joinall, sleep, spawn};

use crate::c_library::functions;
use crate::calls::settle;
use crate::support::{MS, patched, timed};

functions! {
    "calls": Calls {
        c_recv(i32, usize) -> i32;
        c_recvfrom(i32, usize) -> i32;
        c_read(i32, usize) -> i32;
        c_poll(i32, usize) -> i32;
        c_select(i32, usize) -> i32;
        c_locked(i32, usize) -> i32;
        c_nanosleep(i32, usize) -> i32;
        c_stream(i32, usize) -> i32;
    }
}

/// A function of the library.
type Function = unsafe extern "C-unwind" fn(i32, usize) -> i32;

impl Calls {
    fn all(self) -> [(&'static str, Function); 6] {
        [
            ("recv", self.c_recv),
            ("recvfrom", self.c_recvfrom),
            ("read", self.c_read),
            ("poll", self.c_poll),
            ("select", self.c_select),
            ("recv under a lock", self.c_locked),
        ]
    }
}

#[test]
fn calls_of_a_c_library_let_the_others_run() {
    patched(|| {
        let Some(calls) = Calls::load() else { return };
        for (name, function) in calls.all() {
            let (ends, waiting): (Vec<_>, Vec<_>) = (0..20_u8)
                .map(|n| {
                    let (ours, mut theirs) = UnixStream::pair().unwrap();
                    let ends = spawn(move || {
                        sleep(5 * MS);
                        theirs.write_all(&[n]).unwrap();
                        theirs
                    });
                    let waiting = spawn(move || {
                        // SAFETY: the library takes any number.
                        unsafe { function(ours.as_raw_fd(), 1) }
                    });
                    (ends, waiting)
                })
                .unzip();
            // Whoever sends is a greenlet of the same thread: it would never run if one of them blocked it.
            let got = joinall(waiting).into_iter().map(|byte| byte.unwrap());
            assert!(got.eq(0..20), "{name}");
            joinall(ends).into_iter().for_each(|end| drop(end.unwrap()));
        }
    });
}

#[test]
fn sleeps_of_a_c_library_overlap() {
    patched(|| {
        let Some(calls) = Calls::load() else { return };
        let (took, ended) = timed(|| {
            joinall((0..50).map(|_| {
                spawn(move || {
                    // SAFETY: it only sleeps.
                    unsafe { (calls.c_nanosleep)(50, 0) }
                })
            }))
        });
        assert!(ended.into_iter().all(|end| end.unwrap() == 0));
        assert!(took >= 50 * MS && took < 2000 * MS, "{took:?}");
    });
}

#[test]
fn a_kill_is_an_error_number_to_a_c_library() {
    patched(|| {
        let Some(calls) = Calls::load() else { return };
        for (name, function) in calls.all() {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let waiting = spawn(move || {
                // SAFETY: the library takes any number.
                unsafe { function(ours.as_raw_fd(), 1) }
            });
            settle();
            waiting.kill_nowait().unwrap();
            assert_eq!(waiting.join().unwrap(), -libc::ECANCELED, "{name}");
            drop(theirs);
        }
    });
}

#[test]
fn a_stream_of_cs_that_is_closed_ends_the_waits_for_its_descriptor() {
    patched(|| {
        let Some(calls) = Calls::load() else { return };
        let (ours, theirs) = UnixStream::pair().unwrap();
        { &theirs }.write_all(b"x").unwrap();
        let fd = ours.into_raw_fd();
        let waiting = spawn(move || crate::calls::write(fd, &vec![0; 10_000_000]));
        settle();
        // SAFETY: it takes over the descriptor.
        assert_eq!(unsafe { (calls.c_stream)(fd, 1) }, i32::from(b'x'));
        // A part has gone.
        assert!(waiting.join().unwrap().unwrap() < 10_000_000);
        drop(theirs);
    });
}
