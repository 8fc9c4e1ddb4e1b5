//! Waits keyed by an address: what a greenlet that waits for a lock of somebody else's making waits in.
//!
//! The kernel keeps one such table for futexes. This is the same for greenlets, which the kernel does not know. A word in memory is the lock's state, and belongs to
//! the lock; the table knows only who waits for a change of it.
//!
//! ```text
//!   bucket (by a hash of the address)            stacks of those who wait
//!  ┌──────┬───────┬──────┐   ┌───────────────┐   ┌───────────────┐
//!  │ lock │ count │ head ├──►│ Node: key,    ├──►│ Node: key,    │
//!  │      │       │ tail ├─┐ │ greenlet      │   │ thread's word │
//!  └──────┴───────┴──────┘ │ └───────────────┘   └───────────────┘
//!                          └───────────────────────────┘
//! ```
//!
//! A node lies on the stack of whoever waits, so that nothing is allocated. (What remains: a wake-up for another hub is a boxed message, and a timer may grow
//! the hub's wheel.) It is a greenlet's, or that of a plain thread which waits natively for a word in its node: condition variables,
//! `pthread_once` and barriers need both in one line.
//!
//! **No wake-up is lost.** Who waits counts himself, puts his node in, and *then* looks at the lock's state (`check`), all under the bucket's lock; who wakes has changed the
//! state before, and then, after a full fence, looks at the count. The count's increment is sequentially consistent as well: so either he who wakes sees the count, takes the bucket's
//! lock and finds the node, or he who waits sees the changed state and does not sleep. The price of a wake-up that nobody waits for is a fence and a load.
//!
//! **A wake-up between the node's insertion and the sleep** ends the hub's wait early ([`Wait`] is begun before the node is put in), or sets the thread's word, and
//! the sleep does not happen: the wait's own word and the futex word decide that.
//!
//! **A wake-up and the deadline at once.** A greenlet's wait ends by exactly one of them. He who wakes takes the node out, under the lock, and then claims the wait. If the claim fails the
//! deadline has won: the next node gets the wake-up, and it is not counted. He who timed out takes his node out himself, under the lock, if it is still there. For a
//! thread the lock itself decides: a node that is no longer in was woken.
//!
//! **A node is touched under its bucket's lock only**, but by its owner, and it is out of the list before its wait is claimed or its word set. From that moment on the owner may return and its stack be used for
//! something else; the claim counts the greenlet's block, and a late `FUTEX_WAKE` at the place of a word that is gone wakes, at worst, somebody who looks again.
//! Wake-ups (the claims, the calls) are carried out with no lock held.
//!
//! **A requeue** moves nodes under both buckets' locks, taken in the order of their addresses. So the owner reads his node's key, locks its bucket, and looks whether it is
//! still that key's.
//!
//! **A hub that ends** leaks the stacks of its waiting greenlets: the nodes stay in, in valid memory. A claim of theirs fails, and the next node is tried. If one was woken
//! and its hub ends before it has run, the wake-up goes to the next: each hub has a list of its greenlets' nodes, and those that are not in their bucket's when it ends were woken.
//!
//! **Signal handlers.** The lock's word holds the thread pointer of who has it. A handler which runs on the thread that it interrupted in here, and wakes (`sem_post` may be
//! called there), would wait for itself: it leaves a mark instead, and who has the lock wakes the whole bucket after it, which is spurious for most and harmless, since all of them look again.
//!
//! **A look.** A wait may ask its check again from time to time, for what changes without a wake-up (a semaphore that a handler has posted to). It begins another of the hub's waits for the same
//! node, under the lock, so it keeps its place; if somebody has taken the node out just then and come too late for its wait, it was the first, and goes back there.
//!
//! `ci/models` has these interleavings in loom, over this very file.
//!
//! Waits that have been made stale do not pile up: nobody leaves before his node is out.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use greenlet_hub::patching::{self, Inside};
use greenlet_hub::{Claim, Outcome, Reason, Wait, Waiter, shield};

use super::native::{AtomicUsize, BUCKETS, KeptErrno, Lock, Ordering, Place, Word, fence};

/// So many wake-ups are carried out between two holds of a bucket's lock.
const BATCH: usize = 16;
/// Every so many of a bucket's wake-ups look into the kernel first, so that greenlets do not starve threads.
const TURNS: u8 = 8;

/// What waits are for: the same address may be that of several things, such as a structure and its first field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    Futex,
    Mutex,
    Condition,
    RwLock,
    Once,
    Barrier,
    Semaphore,
}

/// An address, and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(usize);

impl Key {
    /// The place of the kind, above all addresses that a process has.
    const SHIFT: u32 = 57;

    pub(crate) fn new<T>(kind: Kind, address: *const T) -> Key {
        Key(address.addr() & ((1 << Self::SHIFT) - 1) | (kind as usize) << Self::SHIFT)
    }

    pub(crate) fn address(self) -> usize {
        self.0 & ((1 << Self::SHIFT) - 1)
    }

    fn kind(self) -> usize {
        self.0 >> Self::SHIFT
    }

    fn bucket(self) -> &'static Bucket {
        // Fibonacci's hash, whose upper bits depend on all of the address.
        let hash = (self.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &TABLE[(hash >> (u64::BITS - BUCKETS.ilog2())) as usize]
    }
}

/// Those bits of a futex's wait and wake-up that have to meet: all of them, if nobody says otherwise.
pub(crate) const ANY: u32 = u32::MAX;

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The greenlet that runs.
    Greenlet,
    /// The thread, which stands still.
    Thread,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Woken,
    TimedOut,
    /// It did not begin: the check said no.
    Refused,
}

/// What a wait is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) key: Key,
    pub(crate) bits: u32,
    pub(crate) deadline: Option<Instant>,
    pub(crate) reason: Reason,
    /// Ahead of all others: one who was woken, and found the thing taken.
    pub(crate) first: bool,
    /// How long it takes at the most until the check is asked again, without a wake-up and without losing the place. For greenlets only.
    pub(crate) look: Option<Duration>,
}

impl Options {
    pub(crate) fn new(key: Key, deadline: Option<Instant>, reason: Reason) -> Options {
        Options { key, bits: ANY, deadline, reason, first: false, look: None }
    }

    /// Until when to sleep.
    fn until(&self) -> Option<Instant> {
        let look = self.look.map(|look| Instant::now() + look);
        self.deadline.into_iter().chain(look).min()
    }

    /// Whether one that has slept until then is to look again.
    fn looks_again(&self) -> bool {
        self.look.is_some() && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }
}

/// Waits until it is woken, or the deadline has come; nothing interrupts it.
///
/// `check` looks, under the bucket's lock (whose list it is shown), whether there is anything to wait for: it is short and neither waits nor wakes. `then` runs when the wait has begun, and with no lock held; if it
/// says no, there is no wait either.
pub(crate) fn wait(who: Who, options: Options, check: impl FnMut(&List) -> bool, then: impl FnOnce() -> bool) -> Ended {
    let _errno = KeptErrno::keep();
    match who {
        Who::Greenlet => shield(|| wait_as_greenlet(options, check, then)),
        Who::Thread => wait_as_thread(options, check, then),
    }
}

fn wait_as_greenlet(options: Options, mut check: impl FnMut(&List) -> bool, then: impl FnOnce() -> bool) -> Ended {
    // Should anything in here wait, an allocator for instance, that would be another wait, and end this one.
    let inside = Inside::enter();
    let mut wait = Wait::begin(options.reason);
    let node = Node::new(options, Sleeper::Greenlet(UnsafeCell::new(Some(wait.waiter()))));
    let Some(entry) = Entry::insert(&node, options.first, &mut check) else { return Ended::Refused };
    if !then() {
        return entry.give_up();
    }
    drop(inside);
    let _of_hub = OfHub::enter(&node);
    loop {
        match wait.until(options.until()) {
            Outcome::Notified => return entry.was_woken(),
            Outcome::TimedOut if options.looks_again() => {
                let _inside = Inside::enter();
                wait = Wait::begin(options.reason);
                if !entry.look_again(wait.waiter(), &mut check) {
                    return Ended::Refused;
                }
            }
            // The claim of who may have taken the node out has failed: the wake-up is another's.
            Outcome::TimedOut => return Ended::TimedOut,
            Outcome::Interrupted(interrupted) => {
                // In a shield that is a deadlock.
                drop(entry);
                super::wait::give_up(interrupted)
            }
        }
    }
}

/// A greenlet's wait, in the list of its hub's, as long as it lives. Only the hub's thread touches that.
struct OfHub<'a> {
    node: &'a Node,
}

impl<'a> OfHub<'a> {
    fn enter(node: &'a Node) -> OfHub<'a> {
        let first = ptr::with_exposed_provenance::<Node>(patching::waits());
        node.hubs_next.set(first);
        // SAFETY: nobody leaves before his node is out.
        if let Some(first) = unsafe { first.as_ref() } {
            first.hubs_previous.set(node);
        }
        patching::set_waits((&raw const *node).expose_provenance());
        OfHub { node }
    }
}

impl Drop for OfHub<'_> {
    fn drop(&mut self) {
        let (previous, next) = (self.node.hubs_previous.get(), self.node.hubs_next.get());
        // SAFETY: as in `enter`.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.hubs_next.set(next),
            None => patching::set_waits(next.expose_provenance()),
        }
        // SAFETY: as in `enter`.
        if let Some(next) = unsafe { next.as_ref() } {
            next.hubs_previous.set(previous);
        }
    }
}

/// Has wake-ups passed on that came for greenlets whose hubs have ended.
pub(crate) fn pass_on_lost_wakes() {
    patching::on_end(|first| {
        let mut next = ptr::with_exposed_provenance::<Node>(first);
        // SAFETY: they lie in frames that were not left, on stacks that are leaked; and their thread is this one.
        while let Some(node) = unsafe { next.as_ref() } {
            next = node.hubs_next.get();
            let entry = ManuallyDrop::new(Entry { node });
            let list = entry.lock();
            let was_woken = !node.is_in.get();
            drop(list);
            if was_woken {
                wake(node.key(), 1, node.bits.get());
            }
        }
    });
}

fn wait_as_thread(options: Options, check: impl FnMut(&List) -> bool, then: impl FnOnce() -> bool) -> Ended {
    let node = Node::new(options, Sleeper::Thread(Word::new()));
    let Some(entry) = Entry::insert(&node, options.first, check) else { return Ended::Refused };
    if !then() {
        return entry.give_up();
    }
    let Sleeper::Thread(word) = &node.sleeper else { unreachable!("it was made so") };
    while !word.is_set() {
        if !word.sleep(options.deadline) {
            // One that has been taken out was woken.
            return if entry.remove() { Ended::TimedOut } else { Ended::Woken };
        }
    }
    entry.was_woken()
}

/// Wakes up to `most` who wait for the key and have one of these bits, those who came first before the others; returns how many. Never switches.
///
/// The caller has changed what their checks look at.
#[inline]
pub(crate) fn wake(key: Key, most: usize, bits: u32) -> usize {
    let bucket = key.bucket();
    if is_empty(key) { 0 } else { wake_some(bucket, key, most, bits) }
}

#[inline(never)]
fn wake_some(bucket: &'static Bucket, key: Key, most: usize, bits: u32) -> usize {
    if most == 1 {
        let mut wakes = Wakes::<1>::new();
        let Some(mut list) = bucket.lock() else { return bucket.leave_for_holder() };
        list.take(key, 1, bits, &mut wakes);
        drop(list);
        return wakes.carry_out();
    }
    let mut left = most;
    let mut woken = 0;
    while left > 0 {
        let mut wakes = Wakes::<BATCH>::new();
        let Some(mut list) = bucket.lock() else { return bucket.leave_for_holder() };
        if woken == 0 {
            // No more than wait now: who waits again meanwhile, waits for the next.
            left = left.min(list.count(key));
        }
        list.take(key, left, bits, &mut wakes);
        drop(list);
        let batch = wakes.carry_out();
        if batch == 0 {
            break;
        }
        woken += batch;
        left -= batch;
    }
    woken
}

/// Whether nobody waits for anything in the key's bucket. As [`wake`], after a change of what their checks look at.
#[inline]
pub(crate) fn is_empty(key: Key) -> bool {
    fence(Ordering::SeqCst);
    WAITING.load(Ordering::Relaxed) == 0 || key.bucket().count.load(Ordering::Relaxed) == 0
}

/// Whether it is the kernel's turn to be asked for somebody to wake before the table is.
pub(crate) fn is_kernels_turn(key: Key) -> bool {
    let Some(list) = key.bucket().lock() else { return false };
    let turn = list.bucket.turn.get() % TURNS + 1;
    list.bucket.turn.set(turn);
    turn == TURNS
}

/// What [`requeue`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requeued {
    pub(crate) woken: usize,
    pub(crate) moved: usize,
}

/// Wakes up to `wake` who wait for `from`, and has up to `most` others wait for `to` instead; `None` if `check`, which is called under the locks, says no. Never switches.
pub(crate) fn requeue(
    from: Key,
    to: Key,
    wake: usize,
    most: usize,
    mut check: impl FnMut() -> bool,
) -> Option<Requeued> {
    let mut done = Requeued::default();
    let (source, target) = (from.bucket(), to.bucket());
    loop {
        let mut wakes = Wakes::<BATCH>::new();
        let (source_list, mut target_list) = match (&raw const *source).cmp(&&raw const *target) {
            std::cmp::Ordering::Equal => (source.lock(), None),
            std::cmp::Ordering::Less => {
                let list = source.lock();
                (list, target.lock())
            }
            std::cmp::Ordering::Greater => {
                let list = target.lock();
                (source.lock(), list)
            }
        };
        // In the handler of a signal that has come in here nobody is woken: see `leave_for_holder`.
        let Some(mut source_list) = source_list else {
            source.leave_for_holder();
            return Some(done);
        };
        if !check() {
            return (done != Requeued::default()).then_some(done);
        }
        let left = wake - done.woken;
        source_list.take(from, left, ANY, &mut wakes);
        let batch_is_full = wakes.len == BATCH && left > BATCH;
        if !batch_is_full {
            done.moved = source_list.move_to(target_list.as_mut(), from, to, most);
        }
        drop(target_list);
        drop(source_list);
        done.woken += wakes.carry_out();
        if !batch_is_full {
            return Some(done);
        }
    }
}

/// Counts those who wait for the key, together with the caller: if they are as many as are `wanted`, all of them are woken and the caller need not wait (`None`); if not, he waits as one of them.
///
/// What a barrier is.
pub(crate) fn gather(who: Who, options: Options, wanted: usize) -> Option<Ended> {
    /// Who waits for others to come; and whoever need not any more, but was not woken yet.
    const WAITING: u32 = 1;
    const RELEASED: u32 = 2;
    let mut is_last = false;
    let ended = wait(
        who,
        Options { bits: WAITING, ..options },
        |list| {
            // The caller's own node is in the list, and is taken back if it is the last.
            let waiting = || list.nodes().filter(|node| node.key() == options.key && node.bits.get() == WAITING);
            is_last = waiting().count() >= wanted;
            if is_last {
                // Under this hold of the lock, so that nobody of the next round is taken for one of this.
                waiting().for_each(|node| node.bits.set(RELEASED));
            }
            !is_last
        },
        || true,
    );
    if is_last {
        wake(options.key, wanted.saturating_sub(1), RELEASED);
        return None;
    }
    Some(ended)
}

/// Wakes all who wait for a lock of the bucket, spuriously: in place of a signal handler that could not look for the right ones.
#[cold]
fn wake_all_of(bucket: &'static Bucket) {
    loop {
        let mut wakes = Wakes::<BATCH>::new();
        let Some(mut list) = bucket.lock() else { return };
        list.take_spuriously(&mut wakes);
        drop(list);
        if wakes.carry_out() == 0 {
            return;
        }
    }
}

/// Forgets all who wait: in a forked child, where none of them is. What runs there waits for nothing.
///
/// # Safety
///
/// The process has no other thread.
pub(crate) unsafe fn forget_all() {
    for bucket in TABLE.iter() {
        // Perhaps somebody was in the middle of changing it who is not here.
        bucket.head.set(ptr::null());
        bucket.tail.set(ptr::null());
        bucket.count.store(0, Ordering::Relaxed);
        bucket.left_over.store(false, Ordering::Relaxed);
        bucket.lock.give();
    }
    WAITING.store(0, Ordering::Relaxed);
}

// ---- the buckets ----

#[cfg(not(greenlet_loom))]
static TABLE: [Bucket; BUCKETS] = [const { Bucket::new() }; BUCKETS];

/// So many nodes are in all lists. Where there are none, which is most of the time, a wake-up need not even know its bucket.
#[cfg(not(greenlet_loom))]
static WAITING: AtomicUsize = AtomicUsize::new(0);

#[cfg(greenlet_loom)]
loom::lazy_static! {
    static ref TABLE: [Bucket; BUCKETS] = std::array::from_fn(|_| Bucket::new());
    static ref WAITING: AtomicUsize = AtomicUsize::new(0);
}

/// A list of nodes, and its lock.
#[repr(align(64))]
struct Bucket {
    lock: Lock,
    /// So many nodes are in the list; changed under the lock, and read without.
    count: AtomicUsize,
    // These under the lock only.
    head: Cell<*const Node>,
    tail: Cell<*const Node>,
    turn: Cell<u8>,
    /// A signal handler has interrupted who has the lock, and wanted to wake somebody.
    left_over: AtomicBool,
}

/// Loom's atomics are not made at compile time.
macro_rules! const_but_in_loom {
    ($($function:tt)*) => {
        #[cfg(not(greenlet_loom))]
        const $($function)*
        #[cfg(greenlet_loom)]
        $($function)*
    };
}

// SAFETY: the cells are touched under the lock only.
unsafe impl Sync for Bucket {}

impl Bucket {
    const_but_in_loom! {
        fn new() -> Bucket {
            Bucket {
                lock: Lock::new(),
                count: AtomicUsize::new(0),
                head: Cell::new(ptr::null()),
                tail: Cell::new(ptr::null()),
                turn: Cell::new(0),
                left_over: AtomicBool::new(false),
            }
        }
    }

    /// Counts a node, before it is put in.
    fn one_more(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        WAITING.fetch_add(1, Ordering::SeqCst);
    }

    /// A node is out.
    fn one_less(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }

    /// Locks it; `None` if this very thread has it, of which this is a signal handler then.
    fn lock(&'static self) -> Option<List> {
        self.lock.take().then(|| List { bucket: self })
    }

    /// In a signal handler: whoever has the lock, below it on this thread, wakes everybody after it.
    #[cold]
    fn leave_for_holder(&self) -> usize {
        self.left_over.store(true, Ordering::Relaxed);
        0
    }
}

/// A bucket that is locked.
pub(crate) struct List {
    bucket: &'static Bucket,
}

impl Drop for List {
    fn drop(&mut self) {
        self.bucket.lock.give();
        if self.bucket.left_over.load(Ordering::Relaxed) {
            self.bucket.left_over.store(false, Ordering::Relaxed);
            wake_all_of(self.bucket);
        }
    }
}

impl List {
    fn push_back(&mut self, node: &Node) {
        let last = self.bucket.tail.replace(node);
        node.previous.set(last);
        node.next.set(ptr::null());
        // SAFETY: the nodes of the list live, since their owners take them out before they go.
        match unsafe { last.as_ref() } {
            Some(last) => last.next.set(node),
            None => self.bucket.head.set(node),
        }
        node.is_in.set(true);
    }

    fn push_front(&mut self, node: &Node) {
        let first = self.bucket.head.replace(node);
        node.previous.set(ptr::null());
        node.next.set(first);
        // SAFETY: as in `push_back`.
        match unsafe { first.as_ref() } {
            Some(first) => first.previous.set(node),
            None => self.bucket.tail.set(node),
        }
        node.is_in.set(true);
    }

    /// Takes a node out. Who wakes its owner does so afterwards.
    fn unlink(&mut self, node: &Node) {
        let (previous, next) = (node.previous.get(), node.next.get());
        // SAFETY: as in `push_back`.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.bucket.head.set(next),
        }
        // SAFETY: as in `push_back`.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.bucket.tail.set(previous),
        }
        node.is_in.set(false);
    }

    /// The nodes, as long as the list is not changed.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let mut next = self.bucket.head.get();
        std::iter::from_fn(move || {
            // SAFETY: as in `push_back`.
            let node = unsafe { next.as_ref() }?;
            next = node.next.get();
            Some(node)
        })
    }

    fn count(&self, key: Key) -> usize {
        self.nodes().filter(|node| node.key() == key).count()
    }

    /// Takes those out who are to be woken, and ends their waits; no more than there is room for.
    fn take<const N: usize>(&mut self, key: Key, most: usize, bits: u32, wakes: &mut Wakes<N>) {
        self.take_those(most, wakes, |node| node.key() == key && node.bits.get() & bits != 0);
    }

    fn take_spuriously<const N: usize>(&mut self, wakes: &mut Wakes<N>) {
        // Who waits at a barrier does not look again.
        self.take_those(N, wakes, |node| node.key().kind() != Kind::Barrier as usize);
    }

    fn take_those<const N: usize>(&mut self, most: usize, wakes: &mut Wakes<N>, matches: impl Fn(&Node) -> bool) {
        let most = most.min(N);
        let mut next = self.bucket.head.get();
        while wakes.len < most {
            // SAFETY: as in `push_back`.
            let Some(node) = (unsafe { next.as_ref() }) else { break };
            next = node.next.get();
            if matches(node) {
                self.unlink(node);
                self.bucket.one_less();
                // From here on the node is its owner's, who may be gone in a moment.
                if let Some(wake) = node.end() {
                    wakes.push(wake);
                }
            }
        }
    }

    /// Has up to `most` who wait for `from`, in this bucket, wait for `to` in the `target`, if that is another.
    fn move_to(&mut self, mut target: Option<&mut List>, from: Key, to: Key, most: usize) -> usize {
        let mut moved = 0;
        let mut next = self.bucket.head.get();
        let last = self.bucket.tail.get();
        while moved < most {
            // SAFETY: as in `push_back`.
            let Some(node) = (unsafe { next.as_ref() }) else { break };
            // In one bucket those who are moved come behind it.
            let is_last = ptr::eq(node, last);
            next = node.next.get();
            if node.key() == from {
                // Counted in both for a moment, never in none.
                to.bucket().count.fetch_add(1, Ordering::SeqCst);
                self.unlink(node);
                node.key.store(to.0, Ordering::Relaxed);
                match &mut target {
                    Some(target) => target.push_back(node),
                    None => self.push_back(node),
                }
                self.bucket.count.fetch_sub(1, Ordering::Relaxed);
                moved += 1;
            }
            if is_last {
                break;
            }
        }
        moved
    }
}

// ---- the nodes ----

/// One wait. It stays where it is until it is out of its list.
struct Node {
    // These under the lock of the key's bucket only.
    next: Cell<*const Node>,
    previous: Cell<*const Node>,
    is_in: Cell<bool>,
    /// Changed under the locks of both keys' buckets.
    key: AtomicUsize,
    bits: Cell<u32>,
    sleeper: Sleeper,
    /// The list of its hub's, if it is a greenlet's; for the hub's thread only.
    hubs_next: Cell<*const Node>,
    hubs_previous: Cell<*const Node>,
    _pinned: PhantomPinned,
}

/// Who sleeps, and how he is woken.
enum Sleeper {
    /// Taken by whoever takes the node out.
    Greenlet(UnsafeCell<Option<Waiter>>),
    /// Set.
    Thread(Word),
}

impl Node {
    fn new(options: Options, sleeper: Sleeper) -> Node {
        Node {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            is_in: Cell::new(false),
            key: AtomicUsize::new(options.key.0),
            bits: Cell::new(options.bits),
            sleeper,
            hubs_next: Cell::new(ptr::null()),
            hubs_previous: Cell::new(ptr::null()),
            _pinned: PhantomPinned,
        }
    }

    fn key(&self) -> Key {
        Key(self.key.load(Ordering::Relaxed))
    }

    /// Ends the wait; `None` if it was over. The node is out of its list, and is not touched afterwards. Called under the lock.
    fn end(&self) -> Option<Wake> {
        match &self.sleeper {
            Sleeper::Greenlet(waiter) => {
                // SAFETY: touched under the lock, once the node has been made.
                let waiter = unsafe { &mut *waiter.get() }.take();
                waiter.and_then(Waiter::claim).map(Wake::Greenlet)
            }
            Sleeper::Thread(word) => Some(Wake::Thread(word.set())),
        }
    }
}

/// A node that is in the table, perhaps; taken out when it is dropped.
struct Entry<'a> {
    node: &'a Node,
}

impl<'a> Entry<'a> {
    /// Puts it in and calls `check`; `None` if that says no: it is out again.
    fn insert(node: &'a Node, first: bool, mut check: impl FnMut(&List) -> bool) -> Option<Entry<'a>> {
        let bucket = node.key().bucket();
        let Some(mut list) = bucket.lock() else { wait_in_handler() };
        bucket.one_more();
        // Of this and the fence in `is_empty` one comes first: the other sees what was written before it.
        fence(Ordering::SeqCst);
        if first {
            list.push_front(node);
        } else {
            list.push_back(node);
        }
        if check(&list) {
            return Some(Entry { node });
        }
        list.unlink(node);
        bucket.one_less();
        None
    }

    /// Goes on with another wait, in its place; false if `check` says no: it is out.
    fn look_again(&self, waiter: Waiter, mut check: impl FnMut(&List) -> bool) -> bool {
        let Sleeper::Greenlet(place) = &self.node.sleeper else { unreachable!("only greenlets look again") };
        let mut list = self.lock();
        // SAFETY: touched under the lock, once the node has been made.
        *unsafe { &mut *place.get() } = Some(waiter);
        if !self.node.is_in.get() {
            // Whoever has taken it out to wake it came too late for that, and it was the first.
            list.bucket.one_more();
            fence(Ordering::SeqCst);
            list.push_front(self.node);
        }
        if check(&list) {
            return true;
        }
        list.unlink(self.node);
        list.bucket.one_less();
        false
    }

    /// It was woken: so it is out, which was done before.
    fn was_woken(self) -> Ended {
        std::mem::forget(self);
        Ended::Woken
    }

    /// There is no wait after all. If it was woken meanwhile, that is for the next.
    fn give_up(self) -> Ended {
        if !self.remove() {
            wake(self.node.key(), 1, self.node.bits.get());
        }
        std::mem::forget(self);
        Ended::Refused
    }

    /// Takes it out; false if somebody has.
    fn remove(&self) -> bool {
        let mut list = self.lock();
        if !self.node.is_in.get() {
            return false;
        }
        list.unlink(self.node);
        list.bucket.one_less();
        true
    }

    /// Locks the bucket that it is in, or was in last.
    fn lock(&self) -> List {
        loop {
            let key = self.node.key();
            let Some(list) = key.bucket().lock() else { wait_in_handler() };
            // It may have been moved meanwhile.
            if self.node.key() == key {
                return list;
            }
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A handler of a signal waits for a lock, on the thread that it has interrupted in here.
#[cold]
fn wait_in_handler() -> ! {
    super::report::fatal(format_args!("a signal handler waits for a lock, in the middle of a wait for one"))
}

/// A wake-up that is still to be carried out, with no lock held.
enum Wake {
    /// Dropping it is what wakes.
    Greenlet(Claim),
    Thread(Place),
}

/// Some of them. Not a `Vec`: nothing is allocated.
struct Wakes<const N: usize> {
    wakes: [Option<Wake>; N],
    len: usize,
}

impl<const N: usize> Wakes<N> {
    fn new() -> Wakes<N> {
        Wakes { wakes: [const { None }; N], len: 0 }
    }

    fn push(&mut self, wake: Wake) {
        self.wakes[self.len] = Some(wake);
        self.len += 1;
    }

    /// Carries them out; returns how many there were.
    fn carry_out(self) -> usize {
        for wake in self.wakes {
            match wake {
                None => break,
                Some(Wake::Greenlet(claim)) => drop(claim),
                Some(Wake::Thread(place)) => place.wake(),
            }
        }
        self.len
    }
}
