//! `no_switch`: a wait in it panics, anything else does not.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use greenlet_hub::{
    Io, Kind, Reason, Wait, WaitList, joinall, no_switch, sleep, sleep_until, spawn, wait_readable, yield_now,
};

/// What `f` panicked with inside `no_switch`.
fn panics(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| no_switch(f))).expect_err("it did not panic");
    *payload.downcast::<String>().expect("a message")
}

fn all_waits_panic() {
    let (stream, _peer) = UnixStream::pair().unwrap();
    let io = Io::new(stream.try_clone().unwrap(), Kind::Stream).unwrap();
    let other = spawn(|| ());
    let list = WaitList::new();
    assert!(panics(yield_now).contains("yield_now"));
    assert!(panics(|| sleep(Duration::ZERO)).contains("no_switch"));
    assert!(panics(|| sleep(Duration::from_millis(1))).contains("the end of a sleep"));
    assert!(panics(|| sleep_until(Instant::now())).contains("no_switch"));
    assert!(panics(|| other.wait()).contains("the end of greenlet"));
    assert!(panics(|| _ = other.wait_timeout(Duration::ZERO)).contains("the end of greenlet"));
    assert!(panics(|| _ = list.wait(Reason::new("a word"), None, || false)).contains("a word"));
    assert!(panics(|| _ = Wait::begin(Reason::with_number("number", 7)).notified(None)).contains("number 7"));
    assert!(panics(|| wait_readable(&stream).unwrap()).contains("descriptor"));
    assert!(panics(|| drop(io.read_with(None, |mut stream| stream.read(&mut [0])))).contains("descriptor"));
    // The panics have left nothing behind: all of it works afterwards.
    assert!(!list.notify_one());
    other.join().unwrap();
    yield_now();
    sleep(Duration::from_millis(1));
    let writer = spawn({
        let mut peer = _peer;
        move || peer.write_all(b"x")
    });
    assert_eq!(io.read_with(None, |mut stream| stream.read(&mut [0])).unwrap(), 1);
    writer.join().unwrap().unwrap();
}

#[test]
fn a_wait_panics_in_a_greenlet() {
    spawn(all_waits_panic).join().unwrap();
}

#[test]
fn a_wait_panics_on_the_main_greenlet() {
    all_waits_panic();
}

#[test]
fn what_is_ready_is_fine_and_no_budget_makes_it_yield() {
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (Io::new(near, Kind::Stream).unwrap(), Io::new(far, Kind::Stream).unwrap());
    let ended = spawn(|| 1);
    yield_now();
    let other = spawn(|| ());
    no_switch(|| {
        for _ in 0..1000 {
            assert_eq!(near.write_some_with(1, None, |mut stream| stream.write(b"x")).unwrap(), 1);
            assert_eq!(far.read_some_with(1, None, |mut stream| stream.read(&mut [0])).unwrap(), 1);
        }
        assert_eq!(ended.join().unwrap(), 1);
        spawn(|| ());
    });
    assert!(!other.is_started());
    other.join().unwrap();
}

#[test]
fn it_nests_and_ends_with_its_closure_even_by_a_panic() {
    no_switch(|| {
        no_switch(|| ());
        assert!(catch_unwind(yield_now).is_err());
    });
    yield_now();
    let caught = catch_unwind(|| no_switch(|| no_switch(|| std::panic::resume_unwind(Box::new(3)))));
    assert!(caught.is_err());
    yield_now();
}

#[test]
fn one_greenlet_in_it_leaves_the_others_alone() {
    let calm = |_| {
        spawn(|| {
            for _ in 0..10 {
                no_switch(|| ());
                yield_now();
            }
        })
    };
    let strict = spawn(|| catch_unwind(|| no_switch(yield_now)).is_err());
    assert!(joinall((0..3).map(calm)).into_iter().all(|ended| ended.is_ok()));
    assert!(strict.join().unwrap());
}
