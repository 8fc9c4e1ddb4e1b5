//! Raw corosensei: the mechanism alone, resumed in turn, without queue, hub or handles.

use std::mem;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};

use super::{Column, FAN_OUTS, FanOut, WARM_UP};
use crate::gauge::Gauge;
use crate::sys::{self, SlotStack};

pub(super) const COLUMN: Column = Column {
    name: "corosensei",
    yields: &[yields],
    spawns: &[spawns],
    hold: Some(hold),
    fan_out: Some(fan_out),
    ..Column::EMPTY
};

type Raw = Coroutine<(), (), (), SlotStack>;

fn yields(tasks: usize, each: usize) -> Duration {
    let mut coroutines = suspended_for_ever(tasks);
    let mut rounds = |count| {
        for _ in 0..count {
            for coroutine in &mut coroutines {
                coroutine.resume(());
            }
        }
    };
    rounds(WARM_UP);
    let start = Instant::now();
    rounds(each);
    let elapsed = start.elapsed();
    // Suspended for ever: to drop them would be to unwind them, which is no part of the mechanism measured here.
    mem::forget(coroutines);
    elapsed
}

/// All coroutines are made before the first of them runs; their stacks come from a pool.
fn spawns(tasks: usize, rounds: usize) -> Duration {
    let mut pool: Vec<SlotStack> = stacks(tasks).collect();
    let mut alive: Vec<Raw> = Vec::with_capacity(tasks);
    let mut round = || {
        alive.extend(pool.drain(..).map(|stack| Coroutine::with_stack(stack, |_, ()| ())));
        for mut coroutine in alive.drain(..) {
            assert!(matches!(coroutine.resume(()), CoroutineResult::Return(())));
            pool.push(coroutine.into_stack());
        }
    };
    round();
    let start = Instant::now();
    for _ in 0..rounds {
        round();
    }
    start.elapsed()
}

fn hold(tasks: usize, mut gauge: Gauge) {
    gauge.begin();
    let mut waiting: Vec<Raw> = Vec::with_capacity(tasks);
    for stack in stacks(tasks) {
        let mut coroutine = Coroutine::with_stack(stack, |yielder, ()| yielder.suspend(()));
        coroutine.resume(());
        waiting.push(coroutine);
    }
    gauge.all_wait()
}

/// Nobody is told of anything: all are resumed once, in the order in which they were suspended.
fn fan_out(tasks: usize) -> FanOut {
    let mut coroutines = suspended_for_ever(tasks);
    let mut round = || {
        let start = Instant::now();
        for coroutine in &mut coroutines {
            coroutine.resume(());
        }
        start.elapsed()
    };
    // The first makes them start.
    round();
    round();
    let all = (0..FAN_OUTS).map(|_| round()).min().unwrap_or_default();
    mem::forget(coroutines);
    FanOut { all, longest_delay: Duration::ZERO }
}

fn suspended_for_ever(tasks: usize) -> Vec<Raw> {
    let coroutine = |stack| {
        Coroutine::with_stack(stack, |yielder, ()| {
            loop {
                yielder.suspend(());
            }
        })
    };
    stacks(tasks).map(coroutine).collect()
}

fn stacks(count: usize) -> impl Iterator<Item = SlotStack> {
    let stacks = sys::stacks(count).expect("address space for the stacks");
    stacks.map(|stack| stack.expect("a guard for each stack"))
}
