//! A coroutine that runs one job after another on one stack.

use std::convert::Infallible;
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ops::Range;
use std::ptr::{self, NonNull};

use corosensei::CoroutineResult;

use crate::layout::{HEADER_SIZE, SlotLayout};
use crate::slab::Slot;
use crate::sys;

/// What a coroutine runs: one job, from its first message on.
///
/// A body must not unwind: there is nobody on its stack to hand a panic to. If it does, the process is
/// aborted with a line on stderr.
pub type Body = fn(Suspender, usize);

/// How a [`Coroutine::resume`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumed {
    /// The body suspended; the next resume continues it.
    Suspended,
    /// The body returned from this job. The coroutine is idle; the next resume starts another job.
    Finished,
}

/// `Resumed` and the message travel in registers; the root never returns.
type Inner = corosensei::Coroutine<usize, Resumed, Infallible, Slot>;
type Yielder = corosensei::Yielder<usize, Resumed>;

/// A coroutine with its stack, lent by a [`CoroutinePool`](crate::CoroutinePool).
///
/// It is as small as a pointer, and what it points to never moves.
///
/// Dropping it is the same as [`leak`](Self::leak): what lies on its stack is never unwound, and the stack
/// is never reused or unmapped, since something may still point into it. To have the stack back, resume
/// it until it says [`Resumed::Finished`] and give it to its pool.
///
/// A live stack never changes its thread:
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<greenlet_core::Coroutine>();
/// ```
pub struct Coroutine {
    // Lies above the first frame of the stack, and is this coroutine's alone: there is no copy of the
    // pointer but this one.
    header: NonNull<Header>,
}

/// So much of a stack is prefetched, from its end: the frames of a wait and of the call that waits.
const PREFETCHED_LINES: usize = 8;

/// So much of it where there are too many stacks for the caches.
const SPARE_LINES: usize = 3;

/// So much of a stack the root and the first frames of a job take.
const IDLE_LINES: usize = 6;

/// What there is to know of a coroutine, at the top of its own stack.
///
/// There it costs no allocation, a coroutine is moved in one register (moving the 40 bytes and more of
/// corosensei's in and out of a pool cost 20 ns, in loads that wait for narrower stores), and the part that
/// a resume needs shares one cache line with the parent link below it.
#[repr(C)]
pub(crate) struct Header {
    // Never dropped: corosensei would unwind the stack, which its frames may resist, and free it.
    inner: ManuallyDrop<Inner>,
    // Whether no job is under way, which makes `CoroutinePool::give` a safe function. Written by `root`, at both ends of a
    // job: a resume in between does not pay for it.
    idle: bool,
    // corosensei's parent link, written by `root`, before anybody can suspend.
    yielder: *const Yielder,
    // What the slot knows, which corosensei lends to nobody, and a signal handler may ask.
    guard_start: usize,
    layout: SlotLayout,
}

const _: () = assert!(size_of::<Header>() <= HEADER_SIZE && align_of::<Header>() <= 16);

impl Coroutine {
    /// Makes an idle coroutine on `slot`. Touches the topmost page of the stack.
    pub(crate) fn new(slot: Slot, body: Body) -> Self {
        let place = slot.header();
        let header = Header {
            guard_start: slot.start(),
            layout: slot.layout(),
            inner: ManuallyDrop::new(Inner::with_stack(slot, move |yielder, message| {
                root(yielder, place, body, message)
            })),
            idle: true,
            yielder: ptr::null(),
        };
        // SAFETY: the slot keeps this place, aligned and large enough, for the header of the coroutine that
        // owns it.
        unsafe { place.write(header) };
        Self { header: place }
    }

    /// Switches to the coroutine and returns when it suspends or finishes its job.
    ///
    /// `message` is the first message of a new job if the coroutine is idle, otherwise what its
    /// [`Suspender::suspend`] returns.
    #[inline(always)]
    pub fn resume(&mut self, message: usize) -> Resumed {
        let header = self.header.as_ptr();
        // SAFETY: the header lives as long as its coroutine, and `inner` is used with `&mut self` only.
        let inner = unsafe { &mut (*header).inner };
        match inner.resume(message) {
            CoroutineResult::Yield(resumed) => resumed,
            CoroutineResult::Return(never) => match never {},
        }
    }

    /// Brings what a resume touches first into the cache, without waiting for it: what lies above `resume_point`, which is what
    /// [`stack_pointer`](crate::stack_pointer) said where the coroutine suspended. The caller keeps it, for on the stack itself it would
    /// have to be waited for.
    ///
    /// Worth its few instructions for a coroutine that has not run for a while and will be resumed after the next one:
    /// with many of them each resume finds its stack in main memory.
    #[inline]
    pub fn prefetch(&self, resume_point: *const u8) {
        let header = self.header.as_ptr().cast::<u8>();
        for line in 0..2 {
            sys::prefetch(header.wrapping_add(64 * line));
        }
        for line in 0..PREFETCHED_LINES {
            sys::prefetch(resume_point.wrapping_add(64 * line));
        }
    }

    /// As [`prefetch`](Self::prefetch), for one of tens of thousands that are resumed one after the other: no more than what a resume and the return from a
    /// short wait touch, since the memory's bandwidth is what there is least of.
    #[inline]
    pub fn prefetch_sparingly(&self, resume_point: *const u8) {
        sys::prefetch(self.header.as_ptr().cast::<u8>());
        for line in 0..SPARE_LINES {
            sys::prefetch(resume_point.wrapping_add(64 * line));
        }
    }

    /// As [`prefetch`](Self::prefetch), for one that is idle: it stands in its root, just below the header.
    #[inline]
    pub(crate) fn prefetch_idle(&self) {
        self.prefetch(self.header.as_ptr().cast::<u8>().wrapping_sub(64 * IDLE_LINES));
    }

    /// Says whether no job is under way: it is new, or its last resume said [`Resumed::Finished`].
    #[inline]
    pub fn is_idle(&self) -> bool {
        // SAFETY: the header lives as long as its coroutine, which does not run while somebody can ask.
        unsafe { (*self.header.as_ptr()).idle }
    }

    /// Returns the size of the stack in bytes, without the guard.
    ///
    /// Less than a page of it lies unused above the first frame: the stack's colour, and the runtime's own.
    #[inline]
    pub fn stack_size(&self) -> usize {
        self.layout().stack_size()
    }

    /// Returns the addresses of the guard: a fault in there is an overflow of this stack.
    ///
    /// May be called in a signal handler, and while the coroutine runs.
    #[inline]
    pub fn guard(&self) -> Range<usize> {
        // SAFETY: the header lives as long as its coroutine, and this field never changes.
        let start = unsafe { (*self.header.as_ptr()).guard_start };
        start..start + self.layout().guard_size()
    }

    /// Gives the coroutine up where it stands: its frames are never unwound, its stack is never reused
    /// and stays mapped for the rest of the process.
    pub fn leak(self) {
        // There is no `Drop`, so letting go is leaking: the slot lies in the header, and keeps its slab.
    }

    #[inline]
    pub(crate) fn layout(&self) -> SlotLayout {
        // SAFETY: the header lives as long as its coroutine, and this field never changes.
        unsafe { (*self.header.as_ptr()).layout }
    }

    /// Takes the stack from an idle coroutine.
    pub(crate) fn into_slot(self) -> Slot {
        debug_assert!(self.is_idle());
        // SAFETY: the header lives as long as its coroutine, which ends here, so it is read just once.
        let header = unsafe { self.header.read() };
        let mut inner = ManuallyDrop::into_inner(header.inner);
        // SAFETY: the coroutine is idle, so the only frames on its stack are corosensei's entry and `root`
        // at its suspension between two jobs (or none, before the first): no value there needs to be
        // dropped, and nothing points to them.
        unsafe { inner.force_reset() };
        inner.into_stack()
    }
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine")
            .field("guard", &format_args!("{:#x?}", self.guard()))
            .field("stack_size", &self.stack_size())
            .field("is_idle", &self.is_idle())
            .finish()
    }
}

/// What a [`Body`] suspends its coroutine with.
///
/// It belongs to one stack for the whole life of the coroutine, and to its thread:
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<greenlet_core::Suspender>();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Suspender {
    // At the top of the coroutine's stack.
    header: NonNull<Header>,
}

impl Suspender {
    /// Switches back to whoever resumed the coroutine; returns the message of the next resume.
    ///
    /// # Safety
    ///
    /// Called on the stack of the coroutine whose body was given this suspender, while that coroutine is
    /// the one that runs: not on a stack that it has resumed, nor on another thread.
    #[inline(always)]
    pub unsafe fn suspend(self) -> usize {
        let header = self.header.as_ptr();
        // SAFETY: the header lies on the stack that this very code runs on, above all frames of the body, and this field was written
        // before the body began.
        let yielder = unsafe { (*header).yielder };
        // SAFETY: the yielder lies above all frames of the body, too.
        unsafe { &*yielder }.suspend(Resumed::Suspended)
    }
}

/// The first function on each stack: runs job after job, and never returns.
///
/// [`Coroutine::into_slot`] cuts it off at its `suspend`: nothing that needs to be dropped may live there.
fn root(yielder: &Yielder, header: NonNull<Header>, body: Body, mut message: usize) -> Infallible {
    // SAFETY: the header lies above, on this stack; whoever resumed it does not touch this field.
    unsafe { (*header.as_ptr()).yielder = yielder };
    let suspender = Suspender { header };
    loop {
        // SAFETY: as above.
        unsafe { (*header.as_ptr()).idle = false };
        let abort = AbortOnUnwind;
        body(suspender, message);
        mem::forget(abort);
        // SAFETY: as above.
        unsafe { (*header.as_ptr()).idle = true };
        message = yielder.suspend(Resumed::Finished);
    }
}

/// Ends the process when a body unwinds: there is no frame below it that could go on.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        sys::write_stderr(b"greenlet-core: the body of a coroutine has unwound, which it must not\n");
        std::process::abort();
    }
}
