//! Two threads that wake each other: each waits in `epoll_wait` for an eventfd of its own, which the other writes.
//!
//! What is handed over is one word in memory. The eventfds are edge-triggered, so nobody has to read them: two system calls for
//! each way are the least that two threads can do that wait for descriptors as well.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libc::{EPOLLET, EPOLLIN};

use super::{Column, Step, WARM_UP, Wake};
use crate::gauge::Alarm;
use crate::process::{self, LOAD_CORE};
use crate::sys::{self, Epoll, Event};

pub(super) const COLUMN: Column = Column {
    name: "raw-eventfd",
    steps: &[&[Step::of("cross", "pingpong", round_trips), Step::of("cross", "polling", round_trips)]],
    wakes: &[Wake::of("polling", wakes), Wake::of("parked", wakes), Wake::of("spawn", wakes), Wake::of("pool", wakes)],
    ..Column::EMPTY
};

/// A place for one word and a thread that waits for it; 0 is none.
struct Slot {
    word: AtomicUsize,
    bell: File,
    epoll: Epoll,
}

impl Slot {
    fn new() -> io::Result<Self> {
        let bell: File = sys::eventfd()?.into();
        let epoll = Epoll::new()?;
        epoll.add(&bell, EPOLLIN | EPOLLET, 0)?;
        Ok(Self { word: AtomicUsize::new(0), bell, epoll })
    }

    fn put(&self, word: usize) {
        self.word.store(word, Ordering::Release);
        (&self.bell).write_all(&1_u64.to_ne_bytes()).expect("the counter does not overflow");
    }

    fn get(&self) -> usize {
        loop {
            let word = self.word.swap(0, Ordering::AcqRel);
            if word != 0 {
                return word;
            }
            self.epoll.wait(&mut [Event::EMPTY], -1).expect("epoll");
        }
    }
}

fn round_trips(count: usize) -> Duration {
    let there = Arc::new(Slot::new().expect("an eventfd"));
    let back = Arc::new(Slot::new().expect("an eventfd"));
    let other = {
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        thread::spawn(move || {
            process::pin(LOAD_CORE);
            for _ in 0..WARM_UP + count {
                back.put(there.get());
            }
        })
    };
    let rounds = |count| {
        for round in 1..=count {
            there.put(round);
            assert_eq!(back.get(), round);
        }
    };
    rounds(WARM_UP);
    let start = Instant::now();
    rounds(count);
    let elapsed = start.elapsed();
    other.join().expect("the other thread does not panic");
    elapsed
}

/// The sleeper does nothing but note that it woke: the least for every kind of wake-up that a loop around epoll can be given.
fn wakes(alarm: &'static Alarm) -> Vec<Duration> {
    let slot = Arc::new(Slot::new().expect("an eventfd"));
    let sleeper = {
        let slot = Arc::clone(&slot);
        thread::spawn(move || {
            process::pin(LOAD_CORE);
            for _ in 0..alarm.times() {
                slot.get();
                alarm.woke();
            }
        })
    };
    let took = alarm.ring(|| slot.put(1));
    sleeper.join().expect("the other thread does not panic");
    took
}
