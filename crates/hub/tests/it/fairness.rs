//! What one greenlet can take from the others: not much, whatever it does.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Io, JoinHandle, Kind, Reason, WaitList, joinall, sleep, sleep_until, spawn, wait_readable, yield_now,
};

use crate::support::work;

const MS: Duration = Duration::from_millis(1);
/// Ten times what is promised.
const LATE: Duration = Duration::from_millis(50);

/// Sleeps for a millisecond again and again until told to stop: how late it was, at the worst.
fn lateness_of_timers(stop: &Rc<Cell<bool>>) -> JoinHandle<Duration> {
    let stop = Rc::clone(stop);
    spawn(move || {
        let mut worst = Duration::ZERO;
        while !stop.get() {
            let deadline = Instant::now() + MS;
            sleep_until(deadline);
            worst = worst.max(deadline.elapsed());
        }
        worst
    })
}

/// A thread writes the time, a greenlet reads it: how late it was, at the worst.
fn lateness_of_descriptors(stop: &Rc<Cell<bool>>) -> JoinHandle<Duration> {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let start = Instant::now();
    let writer = thread::spawn(move || {
        loop {
            let now = start.elapsed().as_nanos() as u64;
            if far.write_all(&now.to_ne_bytes()).is_err() || far.read_exact(&mut [0]).is_err() {
                return;
            }
        }
    });
    let stop = Rc::clone(stop);
    spawn(move || {
        let mut worst = Duration::ZERO;
        while !stop.get() {
            wait_readable(&near).unwrap();
            let mut sent = [0; 8];
            near.read_exact(&mut sent).unwrap();
            worst = worst.max(start.elapsed() - Duration::from_nanos(u64::from_ne_bytes(sent)));
            near.write_all(b"x").unwrap();
        }
        drop(near);
        writer.join().unwrap();
        worst
    })
}

/// What a storm must not delay. Timers that are due and descriptors that are ready stand in line among themselves.
#[derive(Clone, Copy, PartialEq)]
enum Measured {
    Timers,
    Descriptors,
    Both,
}

/// Runs a storm while timers or descriptors are measured: up to ten times, since the machine may have other work.
fn in_a_storm(measured: Measured, mut storm: impl FnMut()) {
    let mut once = || {
        let stop = Rc::new(Cell::new(false));
        let late = [lateness_of_timers(&stop), lateness_of_descriptors(&stop)];
        // Both are under way before it begins.
        sleep(5 * MS);
        storm();
        stop.set(true);
        let late: Vec<Duration> = joinall(late).into_iter().map(Result::unwrap).collect();
        let worst = match measured {
            Measured::Timers => late[0],
            Measured::Descriptors => late[1],
            Measured::Both => late[0].max(late[1]),
        };
        (worst >= LATE).then(|| format!("timers {:?}, descriptors {:?} late", late[0], late[1]))
    };
    let mut late = Vec::new();
    while late.len() < 10 {
        match once() {
            None => return,
            Some(again) => late.push(again),
        }
    }
    panic!("{late:?}");
}

#[test]
fn a_storm_of_yields_delays_neither_timers_nor_descriptors() {
    in_a_storm(Measured::Both, || {
        let end = Instant::now() + 300 * MS;
        let busy = |_| {
            spawn(move || {
                while Instant::now() < end {
                    work(Duration::from_micros(50));
                    yield_now();
                }
            })
        };
        // In turn they need 100 ms: were they all run before the next look, every timer would be as late.
        joinall((0..2000).map(busy));
    });
}

/// Has greenlets wait, wakes them all at once, and lets each work for a while.
fn wake_many(notify: impl Fn(&Arc<WaitList>)) {
    const COUNT: usize = 20_000;
    in_a_storm(Measured::Both, || {
        let list = Arc::new(WaitList::new());
        let wait = |_| {
            let list = Arc::clone(&list);
            spawn(move || {
                list.wait(Reason::new("the storm"), None, || false);
                work(Duration::from_micros(10));
            })
        };
        let greenlets: Vec<_> = (0..COUNT).map(wait).collect();
        while !greenlets.last().unwrap().is_started() {
            yield_now();
        }
        notify(&list);
        joinall(greenlets);
    });
}

#[test]
fn many_waiters_that_are_woken_at_once_do_not_stop_the_loop() {
    wake_many(|list| assert_eq!(list.notify_all(), 20_000));
}

#[test]
fn many_waiters_that_another_thread_wakes_at_once_do_not_stop_the_loop() {
    wake_many(|list| {
        let list = Arc::clone(list);
        assert_eq!(thread::spawn(move || list.notify_all()).join().unwrap(), 20_000);
    });
}

#[test]
fn many_sleepers_that_wake_at_once_do_not_stop_the_loop() {
    in_a_storm(Measured::Descriptors, || {
        let deadline = Instant::now() + 50 * MS;
        let sleeper = |_| {
            spawn(move || {
                sleep_until(deadline);
                work(Duration::from_micros(10));
            })
        };
        joinall((0..20_000).map(sleeper));
    });
}

#[test]
fn many_descriptors_that_are_ready_at_once_do_not_stop_the_loop() {
    let pairs: Vec<_> = (0..2000).map(|_| UnixStream::pair().unwrap()).collect();
    in_a_storm(Measured::Timers, || {
        let wait = |(near, _): &(UnixStream, UnixStream)| {
            let near = near.try_clone().unwrap();
            spawn(move || {
                wait_readable(&near).unwrap();
                assert_eq!((&near).read(&mut [0; 8]).unwrap(), 1);
                work(Duration::from_micros(80));
            })
        };
        let greenlets: Vec<_> = pairs.iter().map(wait).collect();
        yield_now();
        pairs.iter().for_each(|(_, far)| assert_eq!((&mut &*far).write(b"x").unwrap(), 1));
        joinall(greenlets);
    });
}

#[test]
fn an_always_ready_descriptor_starves_nobody() {
    let zeroes = std::fs::File::open("/dev/zero").unwrap();
    let io = Io::new(zeroes, Kind::Datagram).unwrap();
    let (turns, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let reader = spawn({
        let stop = Rc::clone(&stop);
        move || {
            let mut reads = 0;
            while !stop.get() {
                io.read_with(None, |mut file| file.read(&mut [0; 16])).unwrap();
                reads += 1;
            }
            reads
        }
    });
    let yielder = spawn({
        let turns = Rc::clone(&turns);
        move || {
            for _ in 0..50 {
                turns.set(turns.get() + 1);
                yield_now();
            }
            stop.set(true);
        }
    });
    yielder.join().unwrap();
    let reads: usize = reader.join().unwrap();
    assert_eq!(turns.get(), 50);
    // A switch every 128 reads, and not at each of them.
    assert!((49 * 128..=51 * 128).contains(&reads), "{reads} reads");
}

#[test]
fn an_always_ready_descriptor_does_not_delay_a_timer() {
    let io = Io::new(std::fs::File::open("/dev/zero").unwrap(), Kind::Datagram).unwrap();
    in_a_storm(Measured::Both, || {
        let end = Instant::now() + 200 * MS;
        while Instant::now() < end {
            io.read_with(None, |mut file| file.read(&mut [0; 16])).unwrap();
        }
    });
}

#[test]
fn wake_ups_by_another_thread_do_not_starve_what_is_ready() {
    let list = Arc::new(WaitList::new());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let notifier = thread::spawn({
        let (list, stop) = (Arc::clone(&list), Arc::clone(&stop));
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                list.notify_all();
            }
        }
    });
    let woken = |_| {
        let (list, stop) = (Arc::clone(&list), Arc::clone(&stop));
        spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                list.wait(Reason::new("the thread"), Some(Instant::now() + MS), || false);
            }
        })
    };
    let greenlets: Vec<_> = (0..100).map(woken).collect();
    let yielder = spawn(|| {
        for _ in 0..1000 {
            yield_now();
        }
    });
    assert!(yielder.join_timeout(crate::support::HANG).is_ok());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    joinall(greenlets);
    notifier.join().unwrap();
}
