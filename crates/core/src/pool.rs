//! The pool: hot idle coroutines first, then recycled stacks, then new slots.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;

use crate::coroutine::{Body, Coroutine};
use crate::guard::GuardKind;
use crate::layout::{self, DEFAULT_STACK_SIZE, SlotLayout};
use crate::slab::{Slab, Slot};
use crate::sys;

/// The most coroutines that one [`CoroutinePool::trim`] finishes: at 1.7 µs each (measured, nearly all of it
/// the system call) it keeps a hub from its other work for less than a millisecond.
pub const TRIM_BATCH: usize = 512;

/// Lends coroutines that all run the same [`Body`], and keeps their stacks.
///
/// An idle coroutine keeps its memory, and the one that came back last is lent first: its stack is still
/// in the cache. What stays idle is given back to the kernel by [`trim`](Self::trim), and only there.
///
/// Dropping the pool unmaps the slabs all of whose slots have come back; a coroutine that is still out, or
/// leaked, keeps its slab.
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<greenlet_core::CoroutinePool>();
/// ```
pub struct CoroutinePool {
    body: Body,
    guards: GuardKind,
    // The size that is asked for most; its stacks are found without a search.
    default_size: usize,
    default: Class,
    // The other sizes that were asked for, by stride.
    others: Vec<Class>,
    slots: usize,
    slabs: usize,
    mapped: usize,
}

/// What a [`CoroutinePool`] has and has out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// Stacks that were ever made; each is lent, leaked, idle or cold.
    pub stacks: usize,
    /// Idle coroutines, with their memory.
    pub idle: usize,
    /// Stacks that have no coroutine and no memory, only addresses and a guard.
    pub cold: usize,
    /// Slabs that were mapped, one `mmap` each.
    pub slabs: usize,
    /// The address space of these slabs, in bytes.
    pub mapped: usize,
}

impl CoroutinePool {
    /// Makes a pool that has nothing yet. Maps no memory.
    pub fn new(body: Body) -> Self {
        let layout = SlotLayout::default_for(sys::page_size());
        Self::with_layout(body, DEFAULT_STACK_SIZE, layout)
    }

    /// Makes a pool of which stacks of another size than [`DEFAULT_STACK_SIZE`] are asked for most. Maps no memory.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a size beyond any address space.
    pub fn with_stack_size(body: Body, stack_size: usize) -> io::Result<Self> {
        let layout = SlotLayout::for_stack_size(stack_size, sys::page_size())?;
        Ok(Self::with_layout(body, stack_size, layout))
    }

    fn with_layout(body: Body, default_size: usize, layout: SlotLayout) -> Self {
        let (guards, default) = (GuardKind::Best, Class::new(layout));
        Self { body, guards, default_size, default, others: Vec::new(), slots: 0, slabs: 0, mapped: 0 }
    }

    /// Lends a coroutine with a stack of at least `stack_size` bytes (see
    /// [`MIN_STACK_SIZE`](crate::MIN_STACK_SIZE)).
    ///
    /// The idle one that came back last, without a system call; if there is none, a new coroutine on a
    /// stack that was trimmed, or on a new one.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a size beyond any address space; otherwise those of `mmap` and `mprotect`, in
    /// general `OutOfMemory`: no address space left (`RLIMIT_AS`), or, where guards are mappings, too
    /// many of them (`vm.max_map_count`). The pool stays as it was.
    #[inline]
    pub fn take(&mut self, stack_size: usize) -> io::Result<Coroutine> {
        if stack_size == self.default_size
            && let Some(coroutine) = self.default.take_idle()
        {
            return Ok(coroutine);
        }
        self.take_slow(stack_size)
    }

    /// Takes an idle coroutine back. No system call.
    ///
    /// It is to be one of this pool's own: another pool's goes on with that pool's [`Body`].
    ///
    /// # Panics
    ///
    /// If the coroutine is suspended in the middle of a job. It is leaked then.
    #[inline]
    pub fn give(&mut self, coroutine: Coroutine) {
        assert!(coroutine.is_idle(), "a coroutine was given back in the middle of its job");
        if coroutine.layout() == self.default.layout {
            self.default.idle.push_back(coroutine);
        } else {
            self.give_other(coroutine);
        }
    }

    /// Gives the memory of coroutines that nobody needed back to the kernel; returns how many.
    ///
    /// Those are finished that stayed idle all the time since the last call, the coldest first, except
    /// for `keep` of them; their stacks are kept, without memory, for later. To be called now and then by
    /// a hub that has time; one call finishes at most [`TRIM_BATCH`], the next one goes on.
    pub fn trim(&mut self, keep: usize) -> usize {
        let mut keep = keep;
        let mut left = TRIM_BATCH;
        for class in std::iter::once(&mut self.default).chain(&mut self.others) {
            left -= class.trim(&mut keep, left);
        }
        TRIM_BATCH - left
    }

    /// Returns how many coroutines are idle, memory and all.
    pub fn idle(&self) -> usize {
        self.classes().map(|class| class.idle.len()).sum()
    }

    /// Counts stacks and slabs.
    pub fn statistics(&self) -> PoolStatistics {
        PoolStatistics {
            stacks: self.slots,
            idle: self.idle(),
            cold: self.classes().map(|class| class.cold.len()).sum(),
            slabs: self.slabs,
            mapped: self.mapped,
        }
    }

    fn classes(&self) -> impl Iterator<Item = &Class> {
        std::iter::once(&self.default).chain(&self.others)
    }

    #[cold]
    fn take_slow(&mut self, stack_size: usize) -> io::Result<Coroutine> {
        let layout = SlotLayout::for_stack_size(stack_size, sys::page_size())?;
        let class = self.class(layout);
        if let Some(coroutine) = class.take_idle() {
            return Ok(coroutine);
        }
        let slot = match class.cold.pop() {
            Some(slot) => slot,
            None => self.carve(layout)?,
        };
        Ok(Coroutine::new(slot, self.body))
    }

    fn carve(&mut self, layout: SlotLayout) -> io::Result<Slot> {
        let colour = layout::colour(self.slots);
        let guards = self.guards;
        let class = self.class(layout);
        let slab = match &class.slab {
            Some(slab) if !slab.is_used_up() => Rc::clone(slab),
            _ => {
                let slab = Slab::map(layout)?;
                class.slab = Some(Rc::clone(&slab));
                self.slabs += 1;
                self.mapped += slab.size();
                slab
            }
        };
        let slot = slab.carve(colour, guards)?;
        self.slots += 1;
        self.class(layout).make_room();
        Ok(slot)
    }

    #[cold]
    fn give_other(&mut self, coroutine: Coroutine) {
        let layout = coroutine.layout();
        self.class(layout).idle.push_back(coroutine);
    }

    fn class(&mut self, layout: SlotLayout) -> &mut Class {
        if layout == self.default.layout {
            return &mut self.default;
        }
        let index = match self.others.binary_search_by_key(&layout.stride(), |class| class.layout.stride()) {
            Ok(index) => index,
            Err(index) => {
                self.others.insert(index, Class::new(layout));
                index
            }
        };
        &mut self.others[index]
    }
}

impl Drop for CoroutinePool {
    fn drop(&mut self) {
        for class in std::iter::once(&mut self.default).chain(&mut self.others) {
            // A coroutine that is merely dropped keeps its slot.
            class.idle.drain(..).for_each(|coroutine| drop(coroutine.into_slot()));
        }
    }
}

impl fmt::Debug for CoroutinePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoroutinePool").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}

/// The stacks of one size.
#[derive(Debug)]
struct Class {
    layout: SlotLayout,
    // The back is the hottest. Has room for all stacks of the class.
    idle: VecDeque<Coroutine>,
    stacks: usize,
    // The fewest that were idle since the last trim: these nobody needed.
    low_water: usize,
    cold: Vec<Slot>,
    // The slab that new slots are carved from. The others are held by their slots.
    slab: Option<Rc<Slab>>,
}

impl Class {
    fn new(layout: SlotLayout) -> Self {
        Self { layout, idle: VecDeque::new(), stacks: 0, low_water: 0, cold: Vec::new(), slab: None }
    }

    #[inline]
    fn take_idle(&mut self) -> Option<Coroutine> {
        let coroutine = self.idle.pop_back();
        // The next one is taken soon, if many are: its stack may be cold.
        if let Some(next) = self.idle.back() {
            next.prefetch_idle();
        }
        self.low_water = self.low_water.min(self.idle.len());
        coroutine
    }

    /// Counts a new stack, and makes sure that giving it back will not allocate.
    fn make_room(&mut self) {
        self.stacks += 1;
        self.idle.reserve(self.stacks.saturating_sub(self.idle.len()));
    }

    /// Finishes at most `most` of those that stayed idle, `keep` excepted, of which it uses up its share.
    fn trim(&mut self, keep: &mut usize, most: usize) -> usize {
        let kept = self.low_water.min(*keep);
        *keep -= kept;
        let excess = self.low_water - kept;
        let trimmed = excess.min(most);
        for coroutine in self.idle.drain(..trimmed) {
            let mut slot = coroutine.into_slot();
            slot.discard();
            self.cold.push(slot);
        }
        self.low_water = if trimmed < excess {
            // The rest is for the next call.
            self.low_water - trimmed
        } else {
            self.idle.len()
        };
        trimmed
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::child::in_child;
    use crate::{Resumed, Suspender};

    fn until_zero(suspender: Suspender, message: usize) {
        let mut message = message;
        while message != 0 {
            // SAFETY: this is the stack of the coroutine that the suspender was made for.
            message = unsafe { suspender.suspend() };
        }
    }

    fn protected() -> CoroutinePool {
        let mut pool = CoroutinePool::new(until_zero);
        pool.guards = GuardKind::Protected;
        pool
    }

    /// Asks the kernel whether a byte can be read, which fails without a signal.
    fn is_readable(address: usize) -> bool {
        let mut pipe = [0; 2];
        // SAFETY: the array has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: the kernel checks the address.
        let written = unsafe { libc::write(pipe[1], std::ptr::without_provenance(address), 1) };
        for fd in pipe {
            // SAFETY: the descriptors were made above and are used nowhere else.
            unsafe { libc::close(fd) };
        }
        written == 1
    }

    #[test]
    fn a_pool_of_another_size_finds_its_own_and_the_default_size() {
        let mut pool = CoroutinePool::with_stack_size(until_zero, 1 << 20).unwrap();
        for size in [1 << 20, DEFAULT_STACK_SIZE] {
            let coroutine = pool.take(size).unwrap();
            let (stack, guard) = (coroutine.stack_size(), coroutine.guard());
            assert!((size..=size + size / 8).contains(&stack), "{stack}");
            pool.give(coroutine);
            let again = pool.take(size).unwrap();
            assert_eq!(again.guard(), guard, "the idle one was not found");
            pool.give(again);
        }
        assert!(CoroutinePool::with_stack_size(until_zero, usize::MAX).is_err());
    }

    #[test]
    fn guards_of_both_kinds_cover_16_kib_and_nothing_of_the_stack() {
        for mut pool in [CoroutinePool::new(until_zero), protected()] {
            let coroutines: Vec<_> = (0..3).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
            for coroutine in &coroutines {
                let guard = coroutine.guard();
                assert!(guard.clone().step_by(4096).all(|address| !is_readable(address)));
                assert!(!is_readable(guard.end - 1));
                assert!(is_readable(guard.end));
                assert!(is_readable(guard.end + coroutine.stack_size() - 1));
            }
        }
    }

    #[test]
    fn guards_of_both_kinds_survive_a_trim() {
        for mut pool in [CoroutinePool::new(until_zero), protected()] {
            let coroutine = pool.take(DEFAULT_STACK_SIZE).unwrap();
            let guard = coroutine.guard();
            pool.give(coroutine);
            pool.trim(0);
            assert_eq!(pool.trim(0), 1);
            assert!(!is_readable(guard.start));
            assert!(!is_readable(guard.end - 1));
        }
    }

    #[test]
    fn coroutines_run_behind_protected_guards() {
        let mut pool = protected();
        for _ in 0..3 {
            let mut coroutines: Vec<_> = (0..300).map(|_| pool.take(DEFAULT_STACK_SIZE).unwrap()).collect();
            assert!(coroutines.iter_mut().all(|coroutine| coroutine.resume(1) == Resumed::Suspended));
            assert!(coroutines.iter_mut().all(|coroutine| coroutine.resume(0) == Resumed::Finished));
            coroutines.into_iter().for_each(|coroutine| pool.give(coroutine));
        }
        assert_eq!(pool.statistics().stacks, 300);
    }

    #[test]
    fn memory_that_is_locked_gets_protected_guards_and_only_that() {
        let name = "pool::tests::memory_that_is_locked_gets_protected_guards_and_only_that";
        let ended = in_child(name, || {
            let mut pool = CoroutinePool::new(until_zero);
            let first = pool.take(DEFAULT_STACK_SIZE).unwrap();
            // Locks what is mapped, as far as it is ever touched.
            // SAFETY: it has no preconditions.
            if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT) } != 0 {
                // Not allowed here (RLIMIT_MEMLOCK): nothing to see.
                return;
            }
            let locked = pool.take(DEFAULT_STACK_SIZE).unwrap();
            for guard in [first.guard(), locked.guard()] {
                assert!(!is_readable(guard.start) && !is_readable(guard.end - 1) && is_readable(guard.end));
            }
        });
        assert!(ended.status.success(), "{ended:?}");
    }

    #[test]
    fn too_many_mappings_are_an_error_and_lose_no_slot() {
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        if limit.trim().parse::<usize>().unwrap() > 100_000 {
            // Reaching the limit would take gigabytes.
            return;
        }
        let name = "pool::tests::too_many_mappings_are_an_error_and_lose_no_slot";
        let ended = in_child(name, || {
            let mut pool = protected();
            let mut other = protected();
            let mut coroutines = Vec::with_capacity(100_000);
            for _ in 0..100 {
                let coroutine = other.take(DEFAULT_STACK_SIZE).unwrap();
                coroutines.push(coroutine);
            }
            coroutines.drain(..).for_each(|coroutine| other.give(coroutine));
            let err = loop {
                match pool.take(DEFAULT_STACK_SIZE) {
                    Ok(coroutine) => coroutines.push(coroutine),
                    Err(err) => break err,
                }
            };
            assert_eq!(err.kind(), io::ErrorKind::OutOfMemory);
            let before = pool.statistics();
            assert!(before.stacks > 10_000 && before.stacks == coroutines.len());
            // The end of the other pool makes room: the slot that could not be guarded is the next one.
            drop(other);
            let next = pool.take(DEFAULT_STACK_SIZE).unwrap();
            let stride = SlotLayout::default_for(4096).stride();
            let last = coroutines.last().unwrap().guard();
            assert_eq!(pool.statistics().stacks, before.stacks + 1);
            if pool.statistics().slabs == before.slabs {
                assert_eq!(next.guard().start, last.start + stride);
            }
        });
        assert!(ended.status.success(), "{ended:?}");
    }
}
