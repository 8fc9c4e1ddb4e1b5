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

    /// What is to happen, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.records.iter().filter_map(|record| record.value.as_ref())
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
            if self.live == 0 { self.drop_all() } else { self.sweep() }
        }
        Some(value)
    }

    /// Cancels all of which `keep` says no. Allocates nothing.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for slot in 0..self.records.len() {
            let record = &self.records[slot];
            if let (Some(value), Some(generation)) = (&record.value, record.generation)
                && !keep(value)
            {
                self.take(TimerKey { slot: slot as u32, generation });
            }
        }
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
            return TimerKey { slot: free, generation };
        }
        let slot = self.records.len() as u32;
        assert!(slot != NO_SLOT, "fewer than 2^32 timers");
        let generation = NonZeroU32::MIN;
        self.records.push(Record { value: Some(value), generation: Some(generation), next_free: NO_SLOT });
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
        self.heap.push(Reverse((entry.deadline, self.sequence, entry.key)));
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
        self.first_place().map_or(NEVER, |place| place.start(self.tick) << TICK_BITS)
    }

    /// Drops the stale entries of the next list, or, after the last one, of run and heap.
    ///
    /// Called by each `cancel` while there are too many: one round over all lists removes them all.
    #[cold]
    #[inline(never)]
    fn sweep(&mut self) {
        let records = &self.records;
        let end = if self.horizon == NEVER { 0 } else { LEVELS * 64 };
        for list in self.cursor..end {
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
        self.heap.retain(|&Reverse((_, _, key))| is_live(records, key));
        self.entries -= before - self.run.len() - self.heap.len();
    }

    /// Begins anew at `now`: nothing is armed, and whatever is left is stale.
    #[inline]
    fn restart(&mut self) {
        // A few stale entries in the heap are in nobody's way.
        if self.horizon != NEVER || self.entries > FEW {
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
        if self.heap.capacity() > 4 * FEW {
            self.heap.shrink_to(FEW);
        }
        self.entries = 0;
    }
}

impl Place {
    /// The list for `tick`, seen from an earlier one: the level is that of the highest differing digit,
    /// so it stays the same until `from` enters the list's own span.
    #[inline]
    fn of(tick: u64, from: u64) -> Place {
        let level = (tick ^ from).ilog2() as usize / 6;
        Place { level, index: (tick >> (6 * level)) as usize % 64 }
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
mod tests;
