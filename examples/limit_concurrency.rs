//! 100,000 greenlets, of which five at a time may do what is scarce: a `Semaphore` lets them.
//!
//!     cargo run --release --example limit_concurrency -- [JOBS]             JOBS: 100000
//!
//! Those that wait cost no time, and each a page of its stack: 440 MB in all. They are served in the order in which they came.

use std::cell::Cell;
use std::time::Instant;

use greenlet::sync::Semaphore;
use greenlet::{scope, yield_now};
use indicatif::HumanCount;

mod common;

const LIMIT: usize = 5;

fn main() {
    let [jobs] = common::operands(common::arguments(include_str!("limit_concurrency.rs")));
    let jobs = common::number(jobs, 100_000, "jobs");
    let semaphore = Semaphore::new(LIMIT);
    let (running, peak, waiting, next) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let start = Instant::now();
    scope(|s| {
        let (semaphore, running, peak, waiting, next) = (&semaphore, &running, &peak, &waiting, &next);
        for job in 0..jobs {
            s.spawn(move || {
                waiting.set(waiting.get().max(job + 1 - next.get()));
                let _permit = semaphore.acquire(); // given back when it is dropped, however this ends
                common::check(next.replace(job + 1) == job, "the jobs run in the order in which they came");
                running.set(running.get() + 1);
                peak.set(peak.get().max(running.get()));
                for _ in 0..3 {
                    yield_now(); // what is scarce is used here
                }
                running.set(running.get() - 1);
            });
        }
    });
    let [done, waited] = [next.get(), waiting.get()].map(|number| HumanCount(number as u64));
    println!("{done} jobs in {:.2?}; {waited} greenlets waited at a time", start.elapsed());
    println!("at the most {} were at work at a time", peak.get());
    common::check(next.get() == jobs, "all jobs have run");
    common::check(peak.get() == LIMIT.min(jobs), "five were at work at a time, and never more");
}
