//! A thread that is parked, and one for each blocking call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::columns::{Step, Wake};
use crate::gauge::Alarm;
use crate::process::{self, LOAD_CORE};

pub(super) const STEPS: &[Step] = &[Step::of("offload", "1", spawns)];

pub(super) const WAKES: &[Wake] = &[Wake::of("parked", wakes)];

fn spawns(calls: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        thread::spawn(|| ()).join().expect("an empty thread does not panic");
    }
    start.elapsed()
}

fn wakes(alarm: &'static Alarm) -> Vec<Duration> {
    let rung = Arc::new(AtomicBool::new(false));
    let sleeper = {
        let rung = Arc::clone(&rung);
        thread::spawn(move || {
            process::pin(LOAD_CORE);
            for _ in 0..alarm.times() {
                while !rung.swap(false, Ordering::Acquire) {
                    thread::park();
                }
                alarm.woke();
            }
        })
    };
    let took = alarm.ring(|| {
        rung.store(true, Ordering::Release);
        sleeper.thread().unpark();
    });
    sleeper.join().expect("the thread does not panic");
    took
}
