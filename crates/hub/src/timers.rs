//! The timers of a hub: what is to be woken, and when.
//!
//! Two kinds of timers matter. Sleeps fire, at any distance, perhaps a million of them. I/O timeouts
//! are armed and cancelled again, nearly all of them, each a little later than the one before.
//!
//! ```text
//!  arm ─┬─► lists: 8 levels of 64, unsorted, a slot of level 0 is 2^20 ns, of level n+1 64 of level n
//!       │     │ pour: the first list, when its time comes or the next deadline is asked for
//!       │     ├─► of level 0: sorted ──────────────────────────────────► run ──┐
//!       │     ├─► higher, few entries: ──────────────────────────► heap        ├─► the earlier one fires
//!       │     └─► higher, many: back into lists of lower levels    ▲ └─────────┘
//!       └── too early for the lists, or few timers in all ─────────┘
//! ```
//!
//! The value lives in a *record*; lists, run and heap hold *entries* of a deadline and the record's
//! key. Cancelling empties the record and leaves the entry behind as a stale one, which is known by
//! its generation. Stale entries are dropped when they are met, and swept when they outnumber the
//! live ones, one list at a time.
//!
//! Invariants:
//! * An entry in a list is later than `tick`; which list depends on `tick` and its deadline alone.
//!   So equal deadlines are in one list, in arming order.
//! * Whatever is in the run is not later than `tick`, hence before everything in the lists.
//! * The heap may hold anything, but an entry there was armed before an equal deadline in the lists.
//!
//! # Rejected
//!
//! Figures in ns a timer, values of 16 bytes, the least of 7 interleaved runs. *Fire*: a million random
//! deadlines within a second, armed and fired; *cancel*: arm and cancel, 10,000 others pending;
//! *oldest*: the same, but it is the oldest that is cancelled, and the next deadline is asked for after
//! each 100; *mix*: 100,000 random deadlines within 10 s, replaced at random; *sleep*: arm and fire,
//! 1 or 1,000 pending.
//!
//! | | fire | cancel | oldest | mix | sleep 1 / 1,000 |
//! |---|--:|--:|--:|--:|--:|
//! | this file | 67 | 11 | 18 | 38 | 19 / 58 |
//! | 4-ary heap, cancelled lazily | 218 | 13 | 58 | 55 | 11 / 49 |
//! | std's binary heap, cancelled lazily | 299 | 12 | 59 | 62 | 11 / 50 |
//! | wheel of linked lists, heap for the nearest slot | 304 | 10 | 46 | 36 | 22 / 56 |
//!
//! A big heap misses the cache at each level of each removal, and sweeping it means building it anew.
//! The linked wheel cancels at once, but walks its lists from one cache miss to the next, each waiting
//! for the one before. Lists that are arrays are read ahead by the processor, and nothing but the
//! pour of a slot that is about to fire (and a sweep) looks at the records.
//!
//! A wheel that moves to the earliest timer whenever the hub sleeps is a mere heap until that timer
//! fires, be it a minute away. Hence the rule for few entries: they go to the heap and `tick` stays.
//! When the first list holds many, `tick` does move there; what is armed before it is in the heap then.
//!
//! # Costs
//!
//! A timer takes 41 bytes (a value of 16 included, a million armed at once); records keep the memory
//! of their peak. Pouring a list of a million that is seconds away takes 14 ms, once; the worst
//! `cancel` among a million took less than 1 ms.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::num::NonZeroU32;

/// A tick is 2^20 ns, about a millisecond.
const TICK_BITS: u32 = 20;

/// Enough levels of 6 bits for the 44 bits of a tick.
const LEVELS: usize = 8;

/// So many entries are cheaper in the heap than in lists of their own.
const FEW: usize = 64;

/// The `horizon` of empty lists. No list starts here: starts are multiples of a tick.
const NEVER: u64 = u64::MAX;

/// The end of the chain of free records.
const NO_SLOT: u32 = u32::MAX;

/// Names a timer that was armed.
///
/// Once the timer has fired or was cancelled, its key means nothing, and never means another timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    slot: u32,
    generation: NonZeroU32,
}

/// What is to happen, each at its deadline: nanoseconds since the hub's own epoch.
pub(crate) struct Timers<T> {
    records: Vec<Record<T>>,
    /// The first free record.
    free: u32,
    live: usize,

    /// Entries in lists, run and heap, stale ones included.
    entries: usize,
    /// `LEVELS` times 64, none before they are needed.
    lists: Vec<Vec<Entry>>,
    /// A bit for each list that has entries.
    occupied: [u64; LEVELS],
    /// Where the lists begin; they hold what is later. It runs ahead of `now` at times.
    tick: u64,
    /// Where the first occupied list begins, in nanoseconds: nothing in the lists is earlier.
    horizon: u64,
    /// The list that the next sweep looks at first.
    cursor: usize,

    /// The poured slot, the last one first.
    run: Vec<Entry>,
    /// The `sequence` when the run was poured: it decides between equal deadlines of run and heap.
    run_sequence: u64,
    /// By deadline, then by sequence.
    heap: BinaryHeap<Reverse<(u64, u64, TimerKey)>>,
    sequence: u64,

    now: u64,
}

struct Record<T> {
    value: Option<T>,
    /// Goes up when the timer ends. `None` after the last generation: such a record is not used again.
    generation: Option<NonZeroU32>,
    next_free: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    deadline: u64,
    key: TimerKey,
}

/// The place of a list among the others.
#[derive(Clone, Copy)]
struct Place {
    level: usize,
    index: usize,
}

impl<T> Timers<T> {
    /// Makes an empty store. Allocates nothing.
    pub(crate) const fn new() -> Self {
        Timers {
            records: Vec::new(),
            free: NO_SLOT,
            live: 0,
            entries: 0,
            lists: Vec::new(),
            occupied: [0; LEVELS],
            tick: 0,
            horizon: NEVER,
            cursor: 0,
            run: Vec::new(),
            run_sequence: 0,
            heap: BinaryHeap::new(),
            sequence: 0,
            now: 0,
        }
    }

    /// Arms a timer; a deadline in the past is due at once.
    #[inline]
    pub(crate) fn arm(&mut self, deadline: u64, value: T) -> TimerKey {
        if self.live == 0 {
            self.restart();
        }
        let key = self.record(value);
        self.live += 1;
        self.entries += 1;
        let entry = Entry { deadline, key };
        // With all lists empty no equal deadline can be waiting there, so the heap is as good.
        if self.horizon == NEVER && self.heap.len() < FEW {
            self.push_heap(entry);
        } else {
            self.place(entry);
        }
        key
    }

    /// Cancels a timer and gives its value back; `None` when it has fired or was cancelled before.
    #[inline]
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let value = self.take(key)?;
        if self.entries > 2 * self.live + FEW {
            self.sweep();
        }
        Some(value)
    }

    /// Returns the earliest deadline, exactly.
    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        self.settle(u64::MAX)
    }

    /// Takes the earliest timer out if it is due at `now`; among equal deadlines the one armed first.
    ///
    /// `now` must not go back from call to call.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<T> {
        self.now = now;
        match self.settle(now) {
            Some(deadline) if deadline <= now => {
                let key = self.pop()?;
                self.take(key)
            }
            // No list begins at or before `now`, so all entries stay where they belong.
            _ => {
                self.tick = self.tick.max(now >> TICK_BITS);
                None
            }
        }
    }

    /// Returns how many timers are armed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Says whether no timer is armed.
    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Stores a value in a free record.
    #[inline]
    fn record(&mut self, value: T) -> TimerKey {
        let free = self.free;
        if let Some(record) = self.records.get_mut(free as usize)
            && let Some(generation) = record.generation
        {
            self.free = record.next_free;
            record.value = Some(value);
            return TimerKey {
                slot: free,
                generation,
            };
        }
        let slot = self.records.len() as u32;
        assert!(slot != NO_SLOT, "fewer than 2^32 timers");
        let generation = NonZeroU32::MIN;
        self.records.push(Record {
            value: Some(value),
            generation: Some(generation),
            next_free: NO_SLOT,
        });
        TimerKey { slot, generation }
    }

    /// Ends a timer: frees its record and makes its entry stale.
    #[inline]
    fn take(&mut self, key: TimerKey) -> Option<T> {
        let record = self.records.get_mut(key.slot as usize)?;
        if record.generation != Some(key.generation) {
            return None;
        }
        record.generation = key.generation.checked_add(1);
        if record.generation.is_some() {
            record.next_free = self.free;
            self.free = key.slot;
        }
        self.live -= 1;
        record.value.take()
    }

    /// Puts an entry where its deadline belongs.
    #[inline]
    fn place(&mut self, entry: Entry) {
        let tick = entry.deadline >> TICK_BITS;
        if tick <= self.tick {
            return self.push_heap(entry);
        }
        if self.lists.is_empty() {
            self.lists.resize_with(LEVELS * 64, Vec::new);
        }
        let place = Place::of(tick, self.tick);
        self.occupied[place.level] |= 1 << place.index;
        self.horizon = self.horizon.min(place.start(self.tick) << TICK_BITS);
        self.lists[place.list()].push(entry);
    }

    #[inline]
    fn push_heap(&mut self, entry: Entry) {
        self.sequence += 1;
        self.heap
            .push(Reverse((entry.deadline, self.sequence, entry.key)));
    }

    /// Pours lists and drops stale entries until the earliest timer is at hand, and returns its deadline.
    ///
    /// Lists that begin after `limit` are left alone; then the deadline may not be the earliest, but
    /// none is earlier than `limit`.
    #[inline]
    fn settle(&mut self, limit: u64) -> Option<u64> {
        loop {
            let first = self.peek();
            let bound = first.map_or(limit, |first| first.deadline.min(limit));
            if self.horizon <= bound && self.horizon != NEVER {
                self.pour();
                continue;
            }
            let first = first?;
            if is_live(&self.records, first.key) {
                return Some(first.deadline);
            }
            self.pop();
        }
    }

    /// The first entry of run and heap.
    #[inline]
    fn peek(&self) -> Option<Entry> {
        if self.heap_is_first() {
            let &Reverse((deadline, _, key)) = self.heap.peek()?;
            Some(Entry { deadline, key })
        } else {
            self.run.last().copied()
        }
    }

    /// Removes what `peek` shows.
    #[inline]
    fn pop(&mut self) -> Option<TimerKey> {
        let key = if self.heap_is_first() {
            let Reverse((_, _, key)) = self.heap.pop()?;
            key
        } else {
            self.run.pop()?.key
        };
        self.entries -= 1;
        Some(key)
    }

    #[inline]
    fn heap_is_first(&self) -> bool {
        match (self.heap.peek(), self.run.last()) {
            (Some(&Reverse((deadline, sequence, _))), Some(run)) => {
                (deadline, sequence) <= (run.deadline, self.run_sequence)
            }
            (heap, _) => heap.is_some(),
        }
    }

    /// Empties the first list: into the run, into the heap, or into lists of lower levels.
    #[cold]
    #[inline(never)]
    fn pour(&mut self) {
        let Some(place) = self.first_place() else {
            return;
        };
        self.occupied[place.level] &= !(1 << place.index);
        let mut list = mem::take(&mut self.lists[place.list()]);
        if place.level == 0 {
            debug_assert!(self.run.is_empty(), "the run is before all lists");
            self.tick = place.start(self.tick);
            let before = list.len();
            // Touching all records here, independently of each other, has them in the cache when they fire.
            list.retain(|entry| is_live(&self.records, entry.key));
            self.entries -= before - list.len();
            // A stable sort, of last to first: equal deadlines end up with the first one last.
            list.reverse();
            list.sort_by_key(|entry| Reverse(entry.deadline));
            self.run_sequence = self.sequence;
            list = mem::replace(&mut self.run, list);
        } else if list.len() <= FEW {
            list.iter().for_each(|&entry| self.push_heap(entry));
        } else {
            self.tick = place.start(self.tick);
            list.iter().for_each(|&entry| self.place(entry));
        }
        self.horizon = self.first_start();
        list.clear();
        trim(&mut list);
        self.lists[place.list()] = list;
    }

    fn first_place(&self) -> Option<Place> {
        // Within a level, and from level to level, all lists lie ahead of `tick` and in order.
        let level = self.occupied.iter().position(|&occupied| occupied != 0)?;
        let index = self.occupied[level].trailing_zeros() as usize;
        Some(Place { level, index })
    }

    fn first_start(&self) -> u64 {
        self.first_place()
            .map_or(NEVER, |place| place.start(self.tick) << TICK_BITS)
    }

    /// Drops the stale entries of the next list, or, after the last one, of run and heap.
    ///
    /// Called by each `cancel` while there are too many: one round over all lists removes them all.
    #[cold]
    #[inline(never)]
    fn sweep(&mut self) {
        let records = &self.records;
        for list in self.cursor..LEVELS * 64 {
            let (level, index) = (list / 64, list % 64);
            if self.occupied[level] & 1 << index == 0 {
                continue;
            }
            let entries = &mut self.lists[list];
            let before = entries.len();
            entries.retain(|entry| is_live(records, entry.key));
            self.entries -= before - entries.len();
            trim(entries);
            if entries.is_empty() {
                self.occupied[level] &= !(1 << index);
                self.horizon = self.first_start();
            }
            self.cursor = list + 1;
            return;
        }
        self.cursor = 0;
        let before = self.run.len() + self.heap.len();
        self.run.retain(|entry| is_live(records, entry.key));
        self.heap
            .retain(|&Reverse((_, _, key))| is_live(records, key));
        self.entries -= before - self.run.len() - self.heap.len();
    }

    /// Begins anew at `now`: nothing is armed, and whatever is left is stale.
    #[inline]
    fn restart(&mut self) {
        if self.entries != 0 {
            self.drop_all();
        }
        self.tick = self.now >> TICK_BITS;
    }

    #[cold]
    fn drop_all(&mut self) {
        while let Some(place) = self.first_place() {
            self.occupied[place.level] &= !(1 << place.index);
            let list = &mut self.lists[place.list()];
            list.clear();
            trim(list);
        }
        self.horizon = NEVER;
        self.run.clear();
        trim(&mut self.run);
        self.heap.clear();
        self.heap.shrink_to(FEW);
        self.entries = 0;
    }
}

impl Place {
    /// The list for `tick`, seen from an earlier one: the level is that of the highest differing digit,
    /// so it stays the same until `from` enters the list's own span.
    #[inline]
    fn of(tick: u64, from: u64) -> Place {
        let level = (tick ^ from).ilog2() as usize / 6;
        Place {
            level,
            index: (tick >> (6 * level)) as usize % 64,
        }
    }

    /// The first tick of the list.
    #[inline]
    fn start(self, from: u64) -> u64 {
        let shift = 6 * self.level;
        (from >> shift & !63 | self.index as u64) << shift
    }

    #[inline]
    fn list(self) -> usize {
        self.level * 64 + self.index
    }
}

#[inline]
fn is_live<T>(records: &[Record<T>], key: TimerKey) -> bool {
    records[key.slot as usize].generation == Some(key.generation)
}

/// Gives memory back that a list has outgrown; small lists keep theirs for the next use.
fn trim(list: &mut Vec<Entry>) {
    if list.capacity() > FEW.max(4 * list.len()) {
        list.shrink_to(2 * list.len());
    }
}

#[cfg(test)]
mod tests {
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
        const SCALES: [u64; 7] = [
            2,
            1_000,
            MS,
            70 * MS,
            5 * SECOND,
            400 * SECOND,
            90_000 * SECOND,
        ];
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
                    _ if random.below(400) == 0 => {
                        (0..model.keys.len()).for_each(|order| model.cancel(order))
                    }
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
        assert_eq!(
            (timers.next_deadline(), timers.pop_due(u64::MAX)),
            (None, None)
        );
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
        assert_eq!(
            (timers.cancel(fired), timers.cancel(cancelled)),
            (None, None)
        );
        assert_eq!(
            (timers.cancel(armed), timers.cancel(armed)),
            (Some("armed"), None)
        );
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
        assert_eq!(
            (next.slot, timers.cancel(last), timers.cancel(first)),
            (1, None, None)
        );
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
        for (others, oldest_first) in [
            (0, false),
            (100, false),
            (100, true),
            (10_000, false),
            (10_000, true),
        ] {
            let mut timers = Timers::new();
            let mut keys: Vec<_> = (0..others as u64)
                .map(|at| timers.arm(30 * SECOND + at * 10 * MS, at))
                .collect();
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
            assert!(
                memory(&timers) <= bound,
                "{} bytes for {others}",
                memory(&timers)
            );
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
        let keys: Vec<_> = (0..300)
            .map(|at| timers.arm(at * MS, value.clone()))
            .collect();
        keys.iter()
            .step_by(2)
            .for_each(|&key| drop(timers.cancel(key)));
        assert_eq!(Rc::strong_count(&value), 151);
        drop(timers.pop_due(MS));
        assert_eq!(Rc::strong_count(&value), 150);
        drop(timers);
        assert_eq!(Rc::strong_count(&value), 1);
    }
}
