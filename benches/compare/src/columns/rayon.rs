//! rayon with a pool of its own: jobs that never wait.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use super::{Column, Step, Wake, second, sum_below};
use crate::gauge::Alarm;
use crate::process::{self, LOAD_CORE};

pub(super) const COLUMN: Column = Column {
    name: "rayon",
    steps: &[&[Step::of("pool_spawn", "inside", spawns_inside), Step::of("pool_spawn", "outside", spawns_outside)]],
    wakes: &[Wake::of("pool", wakes_by_spawn)],
    ..Column::EMPTY
};

/// With a scope, which is joined as a whole and lets jobs borrow.
pub(super) const SCOPE: Column = Column {
    name: "rayon-scope",
    steps: &[&[Step::of("pool_spawn", "inside", scopes_inside), Step::of("pool_spawn", "outside", scopes_outside)]],
    ..Column::EMPTY
};

fn pool_of_two() -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(2).build().expect("two threads")
}

fn scopes_inside(jobs: usize) -> Duration {
    pool_of_two().install(|| second(|| checked(jobs, |results| rayon::scope(|scope| fill(scope, results)))))
}

fn scopes_outside(jobs: usize) -> Duration {
    let pool = pool_of_two();
    second(|| checked(jobs, |results| pool.in_place_scope(|scope| fill(scope, results))))
}

fn fill<'scope>(scope: &Scope<'scope>, results: &'scope [AtomicU64]) {
    for (number, result) in results.iter().enumerate() {
        scope.spawn(move |_| result.store(number as u64, Ordering::Relaxed));
    }
}

/// Lets `run` fill the results of so many jobs. None is 0 before: one that is lost is missing in the sum.
fn checked(jobs: usize, run: impl FnOnce(&[AtomicU64])) {
    let results: Vec<AtomicU64> = (0..jobs).map(|_| AtomicU64::new(u64::from(u32::MAX))).collect();
    run(&results);
    assert_eq!(results.into_iter().map(AtomicU64::into_inner).sum::<u64>(), sum_below(jobs));
}

/// Jobs that count themselves off.
struct Counted {
    results: Vec<AtomicU64>,
    left: AtomicUsize,
    waits: Thread,
}

impl Counted {
    /// Leaked, since a reference count would be one more word that all jobs write.
    fn new(jobs: usize) -> &'static Self {
        let results = (0..jobs).map(|_| AtomicU64::new(u64::from(u32::MAX))).collect();
        Box::leak(Box::new(Self { results, left: AtomicUsize::new(jobs), waits: thread::current() }))
    }

    fn run(&self, number: usize) {
        self.results[number].store(number as u64, Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::Release) == 1 {
            self.waits.unpark();
        }
    }

    fn is_done(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    fn check(&self) {
        let sum: u64 = self.results.iter().map(|result| result.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, sum_below(self.results.len()));
    }
}

/// The job that spawns helps until all are done, as `scope` does.
fn spawns_inside(jobs: usize) -> Duration {
    pool_of_two().install(|| {
        second(|| {
            let counted = Counted::new(jobs);
            for number in 0..jobs {
                rayon::spawn(move || counted.run(number));
            }
            while !counted.is_done() {
                rayon::yield_now();
            }
            counted.check();
        })
    })
}

fn spawns_outside(jobs: usize) -> Duration {
    let pool = pool_of_two();
    second(|| {
        let counted = Counted::new(jobs);
        for number in 0..jobs {
            pool.spawn(move || counted.run(number));
        }
        while !counted.is_done() {
            thread::park();
        }
        counted.check();
    })
}

fn wakes_by_spawn(alarm: &'static Alarm) -> Vec<Duration> {
    let pool = ThreadPoolBuilder::new().num_threads(1).start_handler(|_| process::pin(LOAD_CORE)).build();
    let pool = pool.expect("a thread");
    alarm.ring(|| pool.spawn(|| alarm.woke()))
}
