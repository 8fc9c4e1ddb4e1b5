//! may's channels and locks.

use std::hint::black_box;
use std::time::{Duration, Instant};

use may::go;
use may::sync::{Mutex, Semphore, mpsc, spsc};

use super::on_the_worker;
use crate::columns::{Step, WARM_UP};

/// Its channels are unbounded, so the items go there and back: each hop ends with a wait, as with a channel that has no room.
pub(super) const STEPS: &[Step] = &[
    Step::of("channel", "1", hops_by_mpsc),
    Step::of("channel", "1", hops_by_spsc),
    Step::of("channel", "slot", hops_by_mpsc),
    Step::of("channel", "slot", hops_by_spsc),
    Step::of("queue", "ready", puts_and_gets),
    Step::of("lock", "semaphore", semaphores),
    Step::of("lock", "lock", locks),
];

macro_rules! hops {
    ($name:ident, $channel:path) => {
        fn $name(items: usize) -> Duration {
            on_the_worker(move || {
                use $channel as channel;
                let (there, arrives) = channel::channel();
                let (back, comes_back) = channel::channel();
                let other = go!(move || {
                    while let Ok(item) = arrives.recv() {
                        // Nobody waits for the last one.
                        let _ = back.send(item);
                    }
                });
                let round_trips = |count: usize| {
                    for item in 0..count {
                        there.send(item).expect("the other side lives");
                        assert_eq!(comes_back.recv(), Ok(item));
                    }
                };
                round_trips(WARM_UP);
                let start = Instant::now();
                round_trips(items.div_ceil(2));
                let elapsed = start.elapsed();
                drop(there);
                other.join().expect("the coroutine does not panic");
                elapsed
            })
        }
    };
}

hops!(hops_by_mpsc, mpsc);
hops!(hops_by_spsc, spsc);

fn puts_and_gets(count: usize) -> Duration {
    on_the_worker(move || {
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        for item in 0..count {
            sender.send(item).expect("the receiver lives");
            assert_eq!(receiver.recv(), Ok(item));
        }
        start.elapsed()
    })
}

fn semaphores(count: usize) -> Duration {
    on_the_worker(move || {
        let semaphore = Semphore::new(1);
        let start = Instant::now();
        for _ in 0..count {
            semaphore.wait();
            semaphore.post();
        }
        start.elapsed()
    })
}

fn locks(count: usize) -> Duration {
    on_the_worker(move || {
        let lock = Mutex::new(0);
        let start = Instant::now();
        for _ in 0..count {
            *black_box(&lock).lock().expect("nobody panics") += 1;
        }
        let elapsed = start.elapsed();
        assert_eq!(*lock.lock().expect("nobody panics"), count);
        elapsed
    })
}
