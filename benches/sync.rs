//! What the primitives cost where nobody has to wait, and where one greenlet hands over to another. See `benches/hub.rs` for how to run it.

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use greenlet::sync::{AsyncResult, Channel, Event, Lock, Queue, RLock, RwLock, Semaphore};
use greenlet::{spawn, timeout, yield_now};

/// Runs in a greenlet, as it would in a program: only what has a hub knows whether its process has other threads.
fn in_a_greenlet(b: &mut Bencher<'_>, body: impl FnMut() + Clone + 'static) {
    b.iter_custom(|iterations| {
        let mut body = body.clone();
        let running = spawn(move || {
            let start = Instant::now();
            for _ in 0..iterations {
                body();
            }
            start.elapsed()
        });
        running.join().expect("the greenlet does not panic")
    });
}

fn ready(c: &mut Criterion) {
    let mut group = c.benchmark_group("ready");
    let semaphore = Rc::new(Semaphore::new(1));
    group.bench_function("semaphore", |b| {
        let semaphore = Rc::clone(&semaphore);
        in_a_greenlet(b, move || drop(black_box(semaphore.acquire())));
    });
    let lock = Rc::new(Lock::new(0_u64));
    group.bench_function("lock", |b| {
        let lock = Rc::clone(&lock);
        in_a_greenlet(b, move || *lock.lock() += 1);
    });
    let lock = Rc::new(RLock::new(0_u64));
    group.bench_function("rlock", |b| {
        let lock = Rc::clone(&lock);
        in_a_greenlet(b, move || drop(black_box(lock.lock())));
    });
    let lock = Rc::new(RwLock::new(0_u64));
    group.bench_function("rwlock, read", |b| {
        let lock = Rc::clone(&lock);
        in_a_greenlet(b, move || drop(black_box(lock.read())));
    });
    let queue = Rc::new(Queue::unbounded());
    group.bench_function("queue", |b| {
        let queue = Rc::clone(&queue);
        in_a_greenlet(b, move || {
            queue.put(7).expect("nobody shuts it down");
            black_box(queue.get().expect("nobody shuts it down"));
        });
    });
    let event = Rc::new(Event::new());
    event.set();
    group.bench_function("event", |b| {
        let event = Rc::clone(&event);
        in_a_greenlet(b, move || black_box(&event).wait());
    });
    group.bench_function("timeout", |b| {
        in_a_greenlet(b, || assert!(black_box(timeout(Duration::from_secs(1), || ())).is_ok()));
    });
    group.finish();
}

/// A macro, so that the calls stand in the greenlets' own loops: each frame between a loop and its wait costs a mispredicted return.
macro_rules! hand_over {
    ($group:expr, $name:literal, $channel:expr) => {
        $group.bench_function($name, |b| {
            b.iter_custom(|items| {
                let channel = Rc::new($channel);
                let into = Rc::clone(&channel);
                let producer = spawn(move || {
                    for item in 0..items {
                        into.put(item).expect("nobody shuts it down");
                    }
                });
                let start = Instant::now();
                let consumer = spawn(move || {
                    for _ in 0..items {
                        black_box(channel.get().expect("nobody shuts it down"));
                    }
                });
                consumer.join().expect("the greenlet does not panic");
                let elapsed = start.elapsed();
                producer.join().expect("the greenlet does not panic");
                elapsed
            });
        });
    };
}

fn hand_over(c: &mut Criterion) {
    let mut group = c.benchmark_group("hand over");
    hand_over!(group, "channel", Channel::new());
    hand_over!(group, "queue of 1", Queue::bounded(1));
    hand_over!(group, "queue of 64", Queue::bounded(64));
    group.finish();
}

fn wait_and_wake(c: &mut Criterion) {
    let mut group = c.benchmark_group("wait and wake");
    group.bench_function("async result", |b| {
        b.iter(|| {
            let result = Rc::new(AsyncResult::<u32>::new());
            let getter = spawn({
                let result = Rc::clone(&result);
                move || result.get()
            });
            yield_now();
            result.set(7);
            getter.join().expect("the greenlet does not panic")
        });
    });
    group.bench_function("event, 1000 waiters", |b| {
        let event = Rc::new(Event::new());
        for _ in 0..1_000 {
            let event = Rc::clone(&event);
            spawn(move || {
                loop {
                    event.wait();
                }
            });
        }
        // The queue is first come, first served: when it is the main greenlet's turn, all of them wait.
        yield_now();
        b.iter(|| {
            event.set();
            event.clear();
            yield_now();
        });
    });
    group.finish();
}

fn kill(c: &mut Criterion) {
    c.bench_function("kill", |b| {
        b.iter_custom(|iterations| {
            let never = Rc::new(Event::new());
            let mut elapsed = Duration::ZERO;
            for _ in 0..iterations {
                let never = Rc::clone(&never);
                let waiting = spawn(move || never.wait());
                yield_now();
                let start = Instant::now();
                waiting.kill().expect("it is not the main greenlet");
                elapsed += start.elapsed();
            }
            elapsed
        });
    });
}

criterion_group!(benches, ready, hand_over, wait_and_wake, kill);
criterion_main!(benches);
