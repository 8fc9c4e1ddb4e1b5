//! Five workers take tasks from a queue; `join` waits until all tasks have been dealt with.
//!
//!     cargo run --release --example worker_pool
//!
//! Each task tells with `task_done` that it is over, so `join` returns when the last one is, and not when it has only been taken. (If
//! all that you need is "at most five at a time", `greenlet::sync::Pool` has `map`, `imap` and the like.)

use std::cell::RefCell;
use std::time::{Duration, Instant};

use greenlet::sync::{Queue, Shutdown};
use greenlet::{scope, sleep};

mod common;

const WORKERS: usize = 5;
const TASKS: usize = 25;
const TAKES: Duration = Duration::from_millis(20);

fn main() {
    common::no_arguments(include_str!("worker_pool.rs"));
    let tasks = Queue::unbounded();
    let done = RefCell::new(vec![Vec::new(); WORKERS]);
    let start = Instant::now();
    scope(|s| {
        let (tasks, done) = (&tasks, &done);
        for worker in 0..WORKERS {
            s.spawn(move || {
                for task in tasks {
                    sleep(TAKES); // the work
                    done.borrow_mut()[worker].push(task);
                    tasks.task_done().expect("it was put");
                }
            });
        }
        for task in 0..TASKS {
            tasks.put(task).expect("it is not shut down yet");
        }
        tasks.join();
        common::check(done.borrow().iter().map(Vec::len).sum::<usize>() == TASKS, "all is done when join returns");
        tasks.shutdown(Shutdown::Graceful); // which ends the workers' loops, and so the scope
    });
    let took = start.elapsed();
    for (worker, tasks) in done.borrow().iter().enumerate() {
        println!("worker {worker} has done {tasks:?}");
        common::check(!tasks.is_empty(), "each worker has had something to do");
    }
    let alone = TAKES * TASKS as u32;
    println!("{TASKS} tasks of {TAKES:?} took {took:.0?}; one worker would have needed {alone:?}");
    common::check(took >= alone / WORKERS as u32, "no more than five were at work at a time");
}
