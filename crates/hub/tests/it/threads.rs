//! Hubs of several threads, and threads without greenlets.
#![cfg(target_os = "linux")]

use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Handle, Outcome, Reason, Wait, WaitList, Waiter, joinall, sleep, spawn, wait_readable_timeout, yield_now,
};

use crate::child::in_child;
use crate::support::{HANG, cpu_micros, descriptors, status};

const MS: Duration = Duration::from_millis(1);

fn wait_readable_briefly() {
    let (near, _far) = UnixStream::pair().unwrap();
    assert!(!wait_readable_timeout(&near, Duration::from_micros(100)).unwrap());
}

#[test]
fn a_plain_thread_parks_and_makes_no_descriptor() {
    let ended = in_child("threads::a_plain_thread_parks_and_makes_no_descriptor", || {
        let before = descriptors();
        let list = Arc::new(WaitList::new());
        let waiting = (0..4).map(|_| {
            let list = Arc::clone(&list);
            thread::spawn(move || {
                let seen = descriptors().len();
                (list.wait(Reason::new("the test"), None, || false), seen)
            })
        });
        let waiting: Vec<_> = waiting.collect();
        let mut notified = 0;
        while notified < 4 {
            notified += list.notify_all();
            sleep(MS);
        }
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap().0));
        // Greenlets that wait for each other and for time need none either.
        joinall((0..10).map(|_| spawn(|| sleep(MS))));
        assert_eq!(descriptors(), before);
        wait_readable_briefly();
        assert!(descriptors().iter().any(|link| link.contains("eventpoll")));
    });
    ended.check();
}

#[test]
fn a_thread_that_waits_takes_no_processor_time() {
    let ended = in_child("threads::a_thread_that_waits_takes_no_processor_time", || {
        let (near, _far) = UnixStream::pair().unwrap();
        let idle = [
            thread::spawn(|| sleep(500 * MS)),
            thread::spawn(move || {
                wait_readable_timeout(&near, 500 * MS).unwrap();
            }),
        ];
        let before = cpu_micros();
        sleep(400 * MS);
        let took = cpu_micros() - before;
        assert!(took < 40_000, "{took} us");
        idle.into_iter().for_each(|thread| thread.join().unwrap());
    });
    ended.check();
}

#[test]
fn a_thousand_threads_that_wait_once_leave_nothing_behind() {
    let ended = in_child("threads::a_thousand_threads_that_wait_once_leave_nothing_behind", || {
        let live = |number: u32| {
            thread::spawn(move || {
                match number % 3 {
                    0 => sleep(Duration::from_micros(50)),
                    1 => wait_readable_briefly(),
                    _ => joinall((0..3).map(|_| spawn(yield_now))).into_iter().for_each(Result::unwrap),
                }
                Handle::current().id()
            })
        };
        let all = |numbers: std::ops::Range<u32>| {
            for number in numbers {
                live(number).join().unwrap();
            }
        };
        all(0..100);
        let (before, memory, size) = (descriptors().len(), status("VmRSS"), status("VmSize"));
        all(0..1000);
        assert_eq!(descriptors().len(), before);
        assert_eq!(status("Threads"), 2);
        assert!(status("VmRSS") < memory + 4096, "{memory} kB, then {}", status("VmRSS"));
        assert!(status("VmSize") < size + (256 << 10), "{size} kB, then {}", status("VmSize"));
    });
    ended.check();
}

#[test]
fn a_hub_that_ends_with_greenlets_waiting_leaves_no_descriptors_behind() {
    let ended = in_child("threads::a_hub_that_ends_with_greenlets_waiting_leaves_no_descriptors_behind", || {
        let live = || {
            thread::spawn(|| {
                spawn(|| WaitList::new().wait(Reason::new("nothing"), None, || false));
                wait_readable_briefly();
            })
        };
        live().join().unwrap();
        let before = descriptors();
        for _ in 0..100 {
            live().join().unwrap();
        }
        let after = descriptors();
        assert!(after.len() <= before.len() + 2, "{before:?}, then {} : {:?}", after.len(), after.last());
    });
    ended.check();
}

#[test]
fn a_thread_local_may_wait_in_its_destructor() {
    struct Waits(mpsc::Sender<u32>);
    impl Drop for Waits {
        fn drop(&mut self) {
            sleep(MS);
            let greenlet = spawn(|| {
                yield_now();
                3
            });
            self.0.send(greenlet.join().unwrap()).unwrap();
        }
    }
    thread_local! {
        static BEFORE: std::cell::RefCell<Option<Waits>> = const { std::cell::RefCell::new(None) };
        static AFTER: std::cell::RefCell<Option<Waits>> = const { std::cell::RefCell::new(None) };
    }
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        // The one is destroyed before, the other after the hub that is made in between.
        BEFORE.set(Some(Waits(send.clone())));
        yield_now();
        AFTER.set(Some(Waits(send)));
    });
    thread.join().unwrap();
    assert_eq!(receive.iter().collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn two_hubs_play_ping_pong() {
    const ROUNDS: u32 = 100_000;
    let lists = Arc::new([WaitList::new(), WaitList::new()]);
    let turn = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let play = move |side: u32| {
        let (lists, turn) = (Arc::clone(&lists), Arc::clone(&turn));
        move || {
            use std::sync::atomic::Ordering::{Acquire, Release};
            for round in 0..ROUNDS {
                let mine = 2 * round + side;
                while turn.load(Acquire) != mine {
                    let deadline = Some(Instant::now() + HANG);
                    let woken =
                        lists[side as usize].wait(Reason::new("the ball"), deadline, || turn.load(Acquire) == mine);
                    assert!(woken, "a wake-up was lost in round {round}");
                }
                turn.store(mine + 1, Release);
                lists[1 - side as usize].notify_one();
            }
        }
    };
    let (ping, pong) = (play.clone()(0), play(1));
    // One side a greenlet, the other a thread's own stack.
    let other = thread::spawn(move || spawn(pong).join().unwrap());
    ping();
    other.join().unwrap();
}

#[test]
fn of_notification_and_deadline_exactly_one_ends_a_wait() {
    const ROUNDS: u32 = 100_000;
    let (send, receive) = mpsc::channel::<Waiter>();
    let notifier = thread::spawn(move || receive.iter().map(|waiter| waiter.notify()).collect::<Vec<bool>>());
    let waiter = spawn(move || {
        let wait_once = |round: u32| {
            let wait = Wait::begin(Reason::new("the race"));
            send.send(wait.waiter()).unwrap();
            let deadline = Instant::now() + Duration::from_nanos(u64::from(round % 64) * 300);
            wait.until(Some(deadline)) == Outcome::Notified
        };
        (0..ROUNDS).map(wait_once).collect::<Vec<bool>>()
    });
    let ended = waiter.join().unwrap();
    let notified = notifier.join().unwrap();
    assert_eq!(ended.len(), ROUNDS as usize);
    assert!(ended == notified, "a notification was lost, or a wait ended twice");
    let count = ended.iter().filter(|notified| **notified).count();
    assert!((1..ROUNDS as usize).contains(&count), "no race: {count} were notified");
}

#[test]
fn many_threads_notify_and_no_notification_is_lost() {
    const EACH: usize = 5_000;
    let (list, granted) = (Arc::new(WaitList::new()), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let notifiers: Vec<_> = (0..3)
        .map(|_| {
            let list = Arc::clone(&list);
            thread::spawn(move || {
                let mut left = EACH;
                while left > 0 {
                    if list.notify_one() {
                        left -= 1;
                    } else {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let wait = |number: u64| {
        let (list, granted) = (Arc::clone(&list), Arc::clone(&granted));
        spawn(move || {
            use std::sync::atomic::Ordering::Relaxed;
            while granted.load(Relaxed) < 3 * EACH {
                let deadline = Instant::now() + Duration::from_micros(20 * number);
                if list.wait(Reason::new("a grant"), Some(deadline), || false) {
                    granted.fetch_add(1, Relaxed);
                }
            }
        })
    };
    joinall((0..50).map(wait)).into_iter().for_each(Result::unwrap);
    notifiers.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(granted.load(std::sync::atomic::Ordering::Relaxed), 3 * EACH);
}

#[test]
fn what_another_thread_wakes_runs_at_once() {
    let list = Arc::new(WaitList::new());
    let waiting = Arc::clone(&list);
    let (ready, is_ready) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        // A timer that is far away does not delay it.
        let far = spawn(|| sleep(Duration::from_secs(3600)));
        ready.send(()).unwrap();
        while !waiting.wait(Reason::new("the test"), Some(Instant::now() + HANG), || false) {}
        drop(far);
        Instant::now()
    });
    is_ready.recv().unwrap();
    while !list.notify_one() {
        thread::yield_now();
    }
    let notified = Instant::now();
    let woken = sleeper.join().unwrap();
    assert!(woken.saturating_duration_since(notified) < HANG / 2);
}
