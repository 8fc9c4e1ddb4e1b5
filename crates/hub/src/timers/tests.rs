//! Tests of the timer store, most of them against a model.

use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;
use std::rc::Rc;

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn arm_all(timers: &mut Timers<u64>, deadline: u64, values: Range<u64>) {
    for value in values {
        timers.arm(deadline, value);
    }
}

fn drain<T>(timers: &mut Timers<T>, now: u64) -> Vec<T> {
    iter::from_fn(|| timers.pop_due(now)).collect()
}

/// Bytes of all buffers.
fn memory<T>(timers: &Timers<T>) -> usize {
    let lists: usize = timers.lists.iter().map(Vec::capacity).sum();
    timers.records.capacity() * size_of::<Record<T>>()
        + (lists + timers.run.capacity()) * size_of::<Entry>()
        + timers.heap.capacity() * size_of::<(u64, u64, TimerKey)>()
}

/// Does the same to a store and to an ordered map, and compares all answers.
struct Model {
    timers: Timers<usize>,
    expected: BTreeMap<(u64, usize), ()>,
    keys: Vec<(TimerKey, u64)>,
    now: u64,
}

impl Model {
    fn arm(&mut self, deadline: u64) {
        let order = self.keys.len();
        self.keys.push((self.timers.arm(deadline, order), deadline));
        self.expected.insert((deadline, order), ());
    }

    fn cancel(&mut self, order: usize) {
        let (key, deadline) = self.keys[order];
        let expected = self.expected.remove(&(deadline, order)).map(|()| order);
        assert_eq!(self.timers.cancel(key), expected);
    }

    fn pop(&mut self) -> bool {
        let first = self.expected.first_entry();
        let due = first.filter(|first| first.key().0 <= self.now);
        let expected = due.map(|due| due.remove_entry().0.1);
        assert_eq!(self.timers.pop_due(self.now), expected);
        expected.is_some()
    }

    fn check(&mut self) {
        let expected = self.expected.keys().next().map(|&(deadline, _)| deadline);
        assert_eq!(self.timers.next_deadline(), expected);
    }
}

#[test]
fn a_random_history_agrees_with_an_ordered_map() {
    const SCALES: [u64; 7] = [2, 1_000, MS, 70 * MS, 5 * SECOND, 400 * SECOND, 90_000 * SECOND];
    for seed in 1..=8_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut model = Model {
            timers: Timers::new(),
            expected: BTreeMap::new(),
            keys: Vec::new(),
            now: random.below(2) * 1_000 * SECOND,
        };
        for _ in 0..100_000 {
            let scale = SCALES[random.below(SCALES.len() as u64) as usize];
            match random.below(100) {
                0 => model.arm(u64::MAX - random.below(2)),
                1..4 => model.arm(model.now.saturating_sub(random.below(scale))),
                // Coarse deadlines, so that many are equal.
                4..30 => model.arm(model.now + random.below(8) * scale),
                30..42 => model.arm(model.now + random.below(scale)),
                42 if random.below(10) == 0 => {
                    let base = model.now + random.below(scale);
                    (0..300).for_each(|_| model.arm(base + random.below(scale)));
                }
                42..70 if !model.keys.is_empty() => {
                    let recent = (model.keys.len() as u64).min(1 + scale);
                    let order = model.keys.len() as u64 - 1 - random.below(recent);
                    model.cancel(order as usize);
                }
                70..80 => model.check(),
                80..98 => {
                    model.pop();
                }
                98 => model.now += random.below(scale),
                _ if random.below(100) == 0 => while model.pop() {},
                _ if random.below(400) == 0 => (0..model.keys.len()).for_each(|order| model.cancel(order)),
                _ => model.check(),
            }
            assert_eq!(model.timers.len(), model.expected.len());
        }
        model.now = u64::MAX;
        while model.pop() {}
        assert!(model.timers.is_empty());
        assert_eq!(model.timers.entries, 0);
    }
}

#[test]
fn a_new_store_is_empty_and_allocates_nothing() {
    let mut timers = Timers::<u64>::new();
    assert_eq!(memory(&timers), 0);
    assert_eq!((timers.next_deadline(), timers.pop_due(u64::MAX)), (None, None));
    assert!(timers.is_empty());
}

#[test]
fn equal_deadlines_fire_in_arming_order_wherever_they_wait() {
    let mut timers = Timers::new();
    // The first few wait in the heap, the others in a list, the last come when that was poured.
    arm_all(&mut timers, 3 * SECOND, 0..500);
    assert_eq!(timers.next_deadline(), Some(3 * SECOND));
    arm_all(&mut timers, 3 * SECOND, 500..600);
    assert_eq!(timers.pop_due(3 * SECOND - 1), None);
    assert_eq!(timers.pop_due(3 * SECOND), Some(0));
    arm_all(&mut timers, 3 * SECOND, 600..700);
    assert_eq!(drain(&mut timers, 3 * SECOND), (1..700).collect::<Vec<_>>());
}

#[test]
fn an_earlier_timer_is_first_though_later_ones_were_poured() {
    let mut timers = Timers::new();
    for value in 0..1_000 {
        timers.arm(60 * SECOND + value, value);
    }
    assert_eq!(timers.next_deadline(), Some(60 * SECOND));
    timers.arm(5, 1_000);
    assert_eq!(timers.next_deadline(), Some(5));
    timers.arm(3, 1_001);
    timers.arm(SECOND, 1_002);
    assert_eq!(drain(&mut timers, 2 * SECOND), [1_001, 1_000, 1_002]);
    assert_eq!(timers.next_deadline(), Some(60 * SECOND));
}

#[test]
fn a_key_of_a_timer_that_ended_is_harmless() {
    let mut timers = Timers::new();
    let fired = timers.arm(1, "fired");
    assert_eq!(timers.pop_due(1), Some("fired"));
    let cancelled = timers.arm(2, "cancelled");
    assert_eq!(timers.cancel(cancelled), Some("cancelled"));
    let armed = timers.arm(3, "armed");
    assert_eq!((fired.slot, cancelled.slot), (armed.slot, armed.slot));
    assert_eq!((timers.cancel(fired), timers.cancel(cancelled)), (None, None));
    assert_eq!((timers.cancel(armed), timers.cancel(armed)), (Some("armed"), None));
}

#[test]
fn a_record_whose_generations_are_used_up_is_not_used_again() {
    let mut timers = Timers::new();
    let first = timers.arm(1, 1);
    timers.cancel(first);
    timers.records[0].generation = Some(NonZeroU32::MAX);
    let last = timers.arm(1, 2);
    assert_eq!((last.slot, timers.cancel(last)), (0, Some(2)));
    let next = timers.arm(1, 3);
    assert_eq!((next.slot, timers.cancel(last), timers.cancel(first)), (1, None, None));
    assert_eq!(timers.pop_due(1), Some(3));
    (0..10).for_each(|value| assert_eq!(timers.arm(1, value).slot, 1 + value));
}

#[test]
fn the_far_future_waits_and_the_past_is_due_at_once() {
    let mut timers = Timers::new();
    arm_all(&mut timers, u64::MAX, 0..200);
    timers.arm(u64::MAX - 1, 200);
    assert_eq!(timers.next_deadline(), Some(u64::MAX - 1));
    assert_eq!(timers.pop_due(1_000_000 * SECOND), None);
    timers.arm(0, 201);
    timers.arm(7, 202);
    assert_eq!(timers.next_deadline(), Some(0));
    assert_eq!(drain(&mut timers, u64::MAX - 2), [201, 202]);
    assert_eq!(timers.pop_due(u64::MAX - 1), Some(200));
    assert_eq!(drain(&mut timers, u64::MAX), (0..200).collect::<Vec<_>>());
}

#[test]
fn memory_stays_bounded_when_nearly_all_are_cancelled() {
    for (others, oldest_first) in [(0, false), (100, false), (100, true), (10_000, false), (10_000, true)] {
        let mut timers = Timers::new();
        let mut keys: Vec<_> = (0..others as u64).map(|at| timers.arm(30 * SECOND + at * 10 * MS, at)).collect();
        let bound = memory(&timers) + 1024 * 1024;
        for at in 0..1_000_000 {
            let mut key = timers.arm(31 * SECOND + at * MS / 10, at);
            if oldest_first {
                mem::swap(&mut key, &mut keys[at as usize % others]);
            }
            assert!(timers.cancel(key).is_some());
            if at % 64 == 0 {
                assert_eq!(timers.pop_due(at * 1_000), None);
                timers.next_deadline();
            }
            assert!(timers.entries <= 2 * timers.live + FEW + LEVELS * 64);
        }
        assert!(memory(&timers) <= bound, "{} bytes for {others}", memory(&timers));
        assert!(timers.records.len() <= others + 1);
    }
}

#[test]
fn a_deadline_where_a_list_begins_is_due_on_the_nanosecond() {
    for bits in [TICK_BITS, TICK_BITS + 6, TICK_BITS + 12, 63] {
        let mut timers = Timers::new();
        arm_all(&mut timers, 1 << bits, 0..200);
        assert_eq!(timers.pop_due((1 << bits) - 1), None);
        assert_eq!(drain(&mut timers, 1 << bits), (0..200).collect::<Vec<_>>());
    }
}

#[test]
fn values_are_dropped_once_and_at_once_when_cancelled() {
    let value = Rc::new(());
    let mut timers = Timers::new();
    let keys: Vec<_> = (0..300).map(|at| timers.arm(at * MS, value.clone())).collect();
    keys.iter().step_by(2).for_each(|&key| drop(timers.cancel(key)));
    assert_eq!(Rc::strong_count(&value), 151);
    drop(timers.pop_due(MS));
    assert_eq!(Rc::strong_count(&value), 150);
    drop(timers);
    assert_eq!(Rc::strong_count(&value), 1);
}
