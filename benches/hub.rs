//! What the hub's own operations cost: a switch, a yield, a spawn with its join, timers, waking another thread's greenlet.
//!
//! Run all with `cargo bench`, and each once with `cargo bench -- --test`. Comparisons with others are in `benches/compare`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use greenlet::hub::{Reason, WaitList};
use greenlet::{joinall, sleep, spawn, yield_now};

/// Two players who take turns.
#[derive(Default)]
struct Table {
    turn: AtomicUsize,
    waiting: [WaitList; 2],
}

impl Table {
    fn play(&self, player: usize, rounds: u64, timeout: Option<Duration>) {
        for _ in 0..rounds {
            let is_my_turn = || self.turn.load(Ordering::Acquire) == player;
            while !is_my_turn() {
                let deadline = timeout.map(|timeout| Instant::now() + timeout);
                self.waiting[player].wait(Reason::new("its turn"), deadline, is_my_turn);
            }
            self.turn.store(1 - player, Ordering::Release);
            self.waiting[1 - player].notify_one();
        }
    }
}

/// A round in which both players of one hub have their turn: two notifications, two switches.
fn take_turns(rounds: u64, timeout: Option<Duration>) -> Duration {
    let table = Arc::new(Table::default());
    let players = [0, 1].map(|player| {
        let table = Arc::clone(&table);
        spawn(move || table.play(player, rounds, timeout))
    });
    time(|| joinall(players))
}

fn time<R>(f: impl FnOnce() -> R) -> Duration {
    let start = Instant::now();
    black_box(f());
    start.elapsed()
}

/// So many rounds that all of `greenlets` together have at least `iterations`; per iteration that is the time given back.
fn shared_out(iterations: u64, greenlets: u64, f: impl FnOnce(u64) -> Duration) -> Duration {
    let rounds = iterations.div_ceil(greenlets);
    f(rounds).mul_f64(iterations as f64 / (rounds * greenlets) as f64)
}

fn switch(c: &mut Criterion) {
    c.bench_function("switch/take turns", |b| b.iter_custom(|rounds| take_turns(rounds, None)));
}

fn yields(c: &mut Criterion) {
    let mut group = c.benchmark_group("yield");
    for greenlets in [2, 1000] {
        group.bench_function(BenchmarkId::from_parameter(greenlets), |b| {
            b.iter_custom(|iterations| {
                shared_out(iterations, greenlets, |rounds| {
                    let greenlets = (0..greenlets).map(|_| spawn(move || (0..rounds).for_each(|_| yield_now())));
                    let greenlets: Vec<_> = greenlets.collect();
                    time(|| joinall(greenlets))
                })
            });
        });
    }
}

fn spawn_and_join(c: &mut Criterion) {
    let mut group = c.benchmark_group("spawn+join");
    for alive in [1, 1000, 20_000] {
        group.bench_function(BenchmarkId::from_parameter(alive), |b| {
            b.iter_custom(|iterations| {
                shared_out(iterations, alive, |rounds| {
                    time(|| (0..rounds).for_each(|_| drop(joinall((0..alive).map(|number| spawn(move || number))))))
                })
            });
        });
    }
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    group.bench_function("armed and cancelled", |b| {
        b.iter_custom(|rounds| take_turns(rounds, Some(Duration::from_secs(60))));
    });
    group.bench_function("armed and fired, 1000 at a time", |b| {
        b.iter_custom(|iterations| {
            shared_out(iterations, 1000, |rounds| {
                let sleeper = move || (0..rounds).for_each(|_| sleep(Duration::from_nanos(1)));
                let sleepers: Vec<_> = (0..1000).map(|_| spawn(sleeper)).collect();
                time(|| joinall(sleepers))
            })
        });
    });
}

fn wake_across_threads(c: &mut Criterion) {
    c.bench_function("wake across threads/there and back", |b| {
        b.iter_custom(|rounds| {
            let table = Arc::new(Table::default());
            let other = Arc::clone(&table);
            let other = thread::spawn(move || spawn(move || other.play(1, rounds, None)).join());
            let elapsed = time(|| spawn(move || table.play(0, rounds, None)).join());
            other.join().expect("a thread that plays ends").expect("its greenlet as well");
            elapsed
        });
    });
}

criterion_group!(benches, switch, yields, spawn_and_join, timers, wake_across_threads);
criterion_main!(benches);
