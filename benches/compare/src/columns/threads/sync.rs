//! std's channels and its lock.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::mpsc::{self, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::columns::{PIPE, Step, WARM_UP};
use crate::process::{self, LOAD_CORE};

pub(super) const STEPS: &[Step] = &[
    Step::of("channel", "1", |items| pipe(items, 0, || ())),
    Step::of("channel", "slot", |items| pipe(items, 1, || ())),
    Step::of("queue", "ready", puts_and_gets),
    Step::of("lock", "lock", locks),
    Step::of("patched_mutex", "mutex", locks),
    Step::of("cross", "pingpong", round_trips),
    Step::of("cross", "pipe", |items| pipe(items, PIPE, to_the_other_core)),
];

fn to_the_other_core() {
    process::pin(LOAD_CORE);
}

/// Sends from a thread that begins with `move_away` to this one.
fn pipe(items: usize, room: usize, move_away: fn()) -> Duration {
    let (sender, receiver) = sync_channel(room);
    let producer = thread::spawn(move || {
        move_away();
        for item in 0..WARM_UP + items {
            sender.send(item).expect("the receiver lives until it has all");
        }
    });
    let receive = |items| {
        for _ in 0..items {
            black_box(receiver.recv().expect("the sender has more"));
        }
    };
    receive(WARM_UP);
    let start = Instant::now();
    receive(items);
    let elapsed = start.elapsed();
    producer.join().expect("the thread does not panic");
    elapsed
}

fn round_trips(count: usize) -> Duration {
    let (there, arrives) = sync_channel(1);
    let (back, comes_back) = sync_channel(1);
    let other = thread::spawn(move || {
        to_the_other_core();
        for item in arrives {
            back.send(item).expect("the other side lives");
        }
    });
    let rounds = |count| {
        for item in 0..count {
            there.send(item).expect("the other side lives");
            assert_eq!(comes_back.recv(), Ok(item));
        }
    };
    rounds(WARM_UP);
    let start = Instant::now();
    rounds(count);
    let elapsed = start.elapsed();
    drop(there);
    other.join().expect("the thread does not panic");
    elapsed
}

fn puts_and_gets(count: usize) -> Duration {
    let (sender, receiver) = mpsc::channel();
    let start = Instant::now();
    for item in 0..count {
        sender.send(item).expect("the receiver lives");
        assert_eq!(receiver.recv(), Ok(item));
    }
    start.elapsed()
}

pub(crate) fn locks(count: usize) -> Duration {
    let lock = Mutex::new(0);
    let start = Instant::now();
    for _ in 0..count {
        *black_box(&lock).lock().expect("nobody panics") += 1;
    }
    let elapsed = start.elapsed();
    assert_eq!(lock.into_inner().expect("nobody panics"), count);
    elapsed
}
