//! `wake`: of a thread that sleeps.

use std::io;

use super::{Case, Run, best};
use crate::columns::Column;
use crate::gauge::Alarm;

/// `polling`: a task waits for an event, on a hub or worker that sleeps where it also watches descriptors (epoll). `parked`: the same on
/// a hub that has no descriptors, beside std's `park`. `spawn`: the thread of a sleeping hub or runtime is given a job, `pool`: a pool of one worker is.
///
/// Who wakes is a plain thread on core 0, who sleeps is on core 1, alone there, in each column. It really sleeps, for 2 ms each time: the
/// cost of a wake-up is mostly that of the kernel and of a core that idles, and so the columns differ by little.
/// `raw-eventfd` is one write, one return of `epoll_wait`, nothing else.
pub(super) const CASE: Case = Case {
    name: "wake",
    about: "from before the call that wakes a thread asleep on the other core until its task runs; polling: it also watches \
            descriptors, parked: it does not, spawn: it is given a new job, pool: a pool of one is",
    params: &["polling", "parked", "spawn", "pool"],
    quick: &["polling", "parked", "spawn", "pool"],
    units: &["p50_ns", "p99_ns"],
    seconds: 1.0,
    has: |column, param| column.wakes_of(param).next().is_some(),
    run: Run::Pair(run),
};

fn run(column: &Column, param: &str, seconds: f64) -> io::Result<()> {
    let mut percentiles = [Vec::new(), Vec::new()];
    for wake in column.wakes_of(param) {
        // Sleepers of some columns must be `'static`.
        let mut took = wake(Box::leak(Box::new(Alarm::new(seconds))));
        took.sort();
        for (times, share) in percentiles.iter_mut().zip([0.5, 0.99]) {
            let index = (took.len() as f64 * share) as usize;
            times.push(took[index].as_nanos() as f64);
        }
    }
    for times in percentiles {
        println!("{}", best(times.into_iter()));
    }
    Ok(())
}
