//! Takes the count of panics off a thread while a coroutine waits in the middle of its own unwinding.
//!
//! std counts for each thread how many panics are under way on it. `thread::panicking()`, and with it the poisoning
//! of mutexes, is nothing but the question whether that count is zero. A coroutine that suspends inside a `Drop`
//! while it unwinds leaves its panic in the count of its thread: whoever runs there next seems to be unwinding, and
//! what was unwinding seems to have recovered if somebody else's panic ends first. So it has to take its count along:
//!
//! ```
//! # struct WaitsOnDrop;
//! impl Drop for WaitsOnDrop {
//!     fn drop(&mut self) {
//!         let taken = greenlet_core::take_panic_count().expect("no memory");
//!         assert!(!std::thread::panicking());
//!         // Here the coroutine suspends, and others run.
//!         taken.restore();
//!         assert!(std::thread::panicking());
//!     }
//! }
//! # let caught = std::panic::catch_unwind(|| {
//! #     let _waits = WaitsOnDrop;
//! #     std::panic::resume_unwind(Box::new(()));
//! # });
//! # assert!(caught.is_err());
//! ```
//!
//! # Tokens
//!
//! std has no function that sets the count, but two that change it: `resume_unwind` raises the count of the thread
//! that calls it, `catch_unwind` lowers the count of the thread that catches. A *token* is a coroutine that is parked
//! between the two:
//!
//! ```text
//!      ┌─────────────────────────┐ ◄─ base
//!      │ corosensei's entry      │
//!      │ `caught`: catch_unwind  │    lowers the count, when the token is finished
//!      │ `thrown`: its cleanup   │    resume_unwind, whose frames are gone, has raised it
//!      │ `Park::drop`: suspended │ ◄─ stack pointer
//!      ├─────────────────────────┤
//!      ~ untouched               ~
//!      ├─────────────────────────┤
//!      │ guard                   │
//!      └─────────────────────────┘
//! ```
//!
//! Starting it adds one to the count of the thread that starts it, finishing it takes one from the thread that
//! finishes it. All tokens are the same, and the counts are numbers only, so any token will do for any panic. Those
//! that are parked lie in a bank, for all threads; `take` finishes some, `restore` starts as many. While the bank has
//! none left, `take` lets a short-lived thread start one, and that thread's count ends with it.
//!
//! A take and its restore cost about 2.5 µs together, 1.4 times as much as throwing and catching a panic with
//! `resume_unwind` in one frame, if the bank has a token. A new one costs a thread, about 0.1 ms (the first in a
//! process more). A token occupies one page of memory and 80 KiB of address space, and is never freed: there are as
//! many as were needed at the same time. They count as panics in std's counter for the whole process, so from the
//! first one on `thread::panicking()`, and with it each lock of a mutex, looks at the thread's own counter as well;
//! the difference could not be measured.
//!
//! # Why a token may be finished by another thread
//!
//! A live Rust stack must not change its thread, since nobody knows what lies on it. Here it is known, which is why
//! this is the one exception:
//!
//! * **Frames.** While a token is parked its stack has the frames of the picture, all of them written here or in
//!   corosensei, and all without a thread-local. The unwinder has left: it jumped into the cleanup of `thrown`, which
//!   calls `Park::drop` as a plain function and then `_Unwind_Resume`. Between the two it keeps its state in the
//!   exception, a block on the heap that knows addresses of this stack and of static data; libgcc's and LLVM's keep
//!   nothing per thread (the setjmp/longjmp unwinders do, which no supported platform uses).
//! * **Values.** The exception and the payload, a `Box<()>`, are `Send`; any thread may free the one, and the other
//!   has no memory.
//! * **Thread-locals.** The compiler may keep the address of a thread-local over a call, which is what makes moving a
//!   stack dangerous. The only one here is std's count. It is raised in `resume_unwind`, below `thrown`, and lowered
//!   in `catch_unwind`, below `caught`. Neither of the two is ever inlined, so no function has both, even where fat
//!   LTO inlines std's parts into them (it does with the latter), and neither has a loop out of which an address
//!   could be moved. What the allocator does in between ends before the token parks, or begins afterwards.
//! * **The parent.** Where a token returns to is written anew by each resume.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use corosensei::stack::valgrind::ValgrindStackRegistration;
use corosensei::stack::{Stack, StackPointer};

use crate::guard::{self, GuardKind};
use crate::layout::GUARD_SIZE;
use crate::sys;

/// What [`take_panic_count`] took off its thread: so many panics are under way, and nobody sees them.
///
/// Dropping it instead of calling [`restore`](Self::restore) is for a coroutine that will never be resumed, because
/// it is leaked: its panics are then counted nowhere for ever, as is right for panics that nobody will catch. If it
/// unwinds further all the same, the count of its thread falls below zero, and the thread is taken to be panicking
/// for the rest of its life.
///
/// The panics are those of a stack, which stays on its thread, and so must this:
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<greenlet_core::TakenPanicCount>();
/// ```
#[must_use = "the panics are under way still, and must be counted again before their unwinding goes on"]
pub struct TakenPanicCount {
    // So many of the bank's idle stacks are kept for `restore`.
    count: u32,
    not_send: PhantomData<*const ()>,
}

/// Lowers the thread's count of panics to zero and returns what it was.
///
/// Afterwards `thread::panicking()` is false. Call it if `thread::panicking()` is true, before a coroutine, or the
/// thread's own stack, gives way to others; otherwise it does nothing, not as fast as not calling it. The panics must
/// all be those of the stack that calls it: each has to take its own along.
///
/// Not to be called in a panic hook: std marks the thread as being in the hook in the same place, and starting or
/// finishing a token removes the mark.
///
/// # Errors
///
/// Those of `mmap` and `pthread_create`, when a token has to be made; `Unsupported` where panics do not unwind
/// (`panic = "abort"`); `Other` for more than 256 panics within each other. The count is what it was before, then.
///
/// # Examples
///
/// ```
/// // Nothing is under way here.
/// let taken = greenlet_core::take_panic_count()?;
/// assert_eq!(taken.count(), 0);
/// taken.restore();
/// # std::io::Result::Ok(())
/// ```
pub fn take_panic_count() -> io::Result<TakenPanicCount> {
    let mut taken = TakenPanicCount { count: 0, not_send: PhantomData };
    while thread::panicking() {
        match next_token(taken.count) {
            Ok(token) => {
                let stack = token.finish();
                bank().keep_for_restore(stack);
                taken.count += 1;
            }
            Err(err) => {
                taken.restore();
                return Err(err);
            }
        }
    }
    Ok(taken)
}

impl TakenPanicCount {
    /// Raises the thread's count of panics by what was taken.
    ///
    /// Call it when the coroutine has been resumed, before anything else. It cannot fail: what it needs has been kept
    /// for it.
    pub fn restore(mut self) {
        while self.count > 0 {
            let stack = bank().kept_for_restore();
            self.count -= 1;
            let token = Token::start(stack);
            bank().parked.push(token);
        }
    }

    /// Returns how many panics were under way.
    ///
    /// More than one, if a destructor that ran in an unwind has itself caught a panic in the middle of which it was
    /// taken.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl Drop for TakenPanicCount {
    fn drop(&mut self) {
        if self.count > 0 {
            bank().promised -= self.count as usize;
        }
    }
}

impl fmt::Debug for TakenPanicCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TakenPanicCount").field(&self.count).finish()
    }
}

/// All tokens of the process, and the stacks of those that are not started.
///
/// Its lock is never held while a token is started or finished, while memory is mapped or a thread is made.
struct Bank {
    parked: Vec<Token>,
    // At least `promised` of them.
    idle: Vec<TokenStack>,
    // What all `TakenPanicCount`s have taken together.
    promised: usize,
    // All stacks there are, here and in use. Both lists have room for so many, so that `restore` allocates nothing.
    made: usize,
}

static BANK: Mutex<Bank> = Mutex::new(Bank { parked: Vec::new(), idle: Vec::new(), promised: 0, made: 0 });

/// Locks the bank. It is changed in single steps, so it is right even if somebody panicked with it in hand.
fn bank() -> MutexGuard<'static, Bank> {
    BANK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds what [`take_panic_count`] takes from as long as it lives: see [`hold_panic_counts`].
#[must_use = "it is held until this is dropped"]
pub struct HeldPanicCounts {
    _bank: MutexGuard<'static, Bank>,
}

impl fmt::Debug for HeldPanicCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldPanicCounts").finish_non_exhaustive()
    }
}

/// Waits until no thread is in the middle of [`take_panic_count`] or [`TakenPanicCount::restore`], and keeps all of them out as long as what it returns lives.
///
/// For a handler of `pthread_atfork`: a thread that the child does not have must not hold in it what the child needs. The calling thread must not take or restore
/// anything meanwhile.
///
/// # Examples
///
/// ```
/// let held = greenlet_core::hold_panic_counts();
/// // Here the process forks.
/// drop(held);
/// ```
pub fn hold_panic_counts() -> HeldPanicCounts {
    HeldPanicCounts { _bank: bank() }
}

impl Bank {
    fn keep_for_restore(&mut self, stack: TokenStack) {
        self.idle.push(stack);
        self.promised += 1;
    }

    fn kept_for_restore(&mut self) -> TokenStack {
        self.promised -= 1;
        match self.idle.pop() {
            Some(stack) => stack,
            None => unreachable!("each panic that was taken has left a stack"),
        }
    }

    /// Takes a stack that no `TakenPanicCount` will ask for: one of them was dropped.
    fn left_over(&mut self) -> Option<TokenStack> {
        if self.idle.len() > self.promised { self.idle.pop() } else { None }
    }

    /// Makes room for one stack more than there are.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    fn count_one_more(&mut self) -> io::Result<()> {
        let all = self.made + 1;
        self.parked.try_reserve(all - self.parked.len())?;
        self.idle.try_reserve(all - self.idle.len())?;
        self.made = all;
        Ok(())
    }
}

/// The most panics that one stack may have under way: more are none, but a count that has fallen below zero.
const MAX_COUNT: u32 = 256;

/// Takes a parked token out of the bank, or has one made, for a thread that has finished `count` of them.
///
/// # Errors
///
/// Those of [`take_panic_count`].
fn next_token(count: u32) -> io::Result<Token> {
    if count == MAX_COUNT {
        return Err(io::Error::other("the thread's count of panics is wrong: more were counted than can be under way"));
    }
    let parked = bank().parked.pop();
    match parked {
        Some(token) => Ok(token),
        None => start_elsewhere(),
    }
}

/// The stack of the thread that starts a token: std's part of a thread, and one resume.
const HELPER_STACK_SIZE: usize = 128 * 1024;

/// Starts a token on a thread that ends before this returns: the count of no thread is raised.
///
/// # Errors
///
/// When there is no memory for the stack, or no thread; `Unsupported` where panics do not unwind.
#[cold]
fn start_elsewhere() -> io::Result<Token> {
    if cfg!(not(panic = "unwind")) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "panics do not unwind in this program"));
    }
    let left_over = bank().left_over();
    let stack = match left_over {
        Some(stack) => stack,
        None => {
            let stack = TokenStack::map()?;
            bank().count_one_more()?;
            stack
        }
    };
    thread::Builder::new()
        .name("greenlet-panics".to_owned())
        .stack_size(HELPER_STACK_SIZE)
        .spawn(move || Token::start(stack))
        .and_then(|helper| helper.join().map_err(|_| io::Error::other("the thread that starts a token has panicked")))
        // The stack has gone with the closure.
        .inspect_err(|_| bank().made -= 1)
}

type Inner = corosensei::Coroutine<(), (), (), TokenStack>;
type Yielder = corosensei::Yielder<(), ()>;

/// A coroutine parked in the middle of an unwind; see the module.
struct Token {
    // Never dropped while it is parked: corosensei would unwind it, which is not built in.
    coroutine: ManuallyDrop<Inner>,
}

// SAFETY: nothing on the stack of a parked token depends on the thread; the module's page has the argument. No other
// thread sees it while it runs, for `start` and `finish` own it.
unsafe impl Send for Token {}

impl Token {
    /// Raises the count of this thread by one.
    fn start(stack: TokenStack) -> Self {
        let mut coroutine = ManuallyDrop::new(Inner::with_stack(stack, |yielder, ()| caught(yielder)));
        coroutine.resume(());
        debug_assert!(!coroutine.done(), "it parks before it has finished");
        Self { coroutine }
    }

    /// Lowers the count of this thread by one.
    fn finish(self) -> TokenStack {
        let mut coroutine = ManuallyDrop::into_inner(self.coroutine);
        coroutine.resume(());
        debug_assert!(coroutine.done(), "it parks just once");
        coroutine.into_stack()
    }
}

/// Lowers the count, on the thread that finishes the token. Alone in its function: see the module.
#[inline(never)]
fn caught(yielder: &Yielder) {
    let caught = panic::catch_unwind(AssertUnwindSafe(|| thrown(yielder)));
    debug_assert!(caught.is_err());
}

/// Raises the count, on the thread that starts the token, and parks. Alone in its function: see the module.
#[inline(never)]
fn thrown(yielder: &Yielder) {
    struct Park<'a>(&'a Yielder);
    impl Drop for Park<'_> {
        fn drop(&mut self) {
            self.0.suspend(());
        }
    }
    let _park = Park(yielder);
    // Without the panic hook, and nothing to allocate for the payload.
    panic::resume_unwind(Box::new(()));
}

/// The size of a token's stack without its guard. What std and libgcc's unwinder do on it takes less than two pages
/// (x86-64); the program's allocator runs there, too.
const STACK_SIZE: usize = 64 * 1024;

/// A guarded stack in a mapping of its own: the slots of slabs stay on their threads.
struct TokenStack {
    start: NonNull<u8>,
    size: usize,
    // Dropped before the memory is unmapped.
    registration: ManuallyDrop<ValgrindStackRegistration>,
}

// SAFETY: it owns its mapping, which any thread may use and unmap, and a number that valgrind gave it.
unsafe impl Send for TokenStack {}

impl TokenStack {
    /// Maps a stack.
    ///
    /// # Errors
    ///
    /// Those of `mmap` and `mprotect`.
    fn map() -> io::Result<Self> {
        let page = sys::page_size();
        let guard_size = GUARD_SIZE.next_multiple_of(page);
        let size = guard_size + STACK_SIZE.next_multiple_of(page);
        let start = sys::reserve(size)?;
        // SAFETY: page-aligned, at the start of a new mapping that is larger than its guard.
        if let Err(err) = unsafe { guard::install(start, guard_size, GuardKind::Best) } {
            // SAFETY: nobody else knows the mapping.
            unsafe { sys::release(start, size) };
            return Err(err);
        }
        // SAFETY: the guard is smaller than the mapping.
        let stack = unsafe { start.add(guard_size) };
        let registration = ValgrindStackRegistration::new(stack.as_ptr(), size - guard_size);
        Ok(Self { start, size, registration: ManuallyDrop::new(registration) })
    }
}

impl Drop for TokenStack {
    fn drop(&mut self) {
        // SAFETY: dropped here only, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.registration) };
        // SAFETY: the mapping is this stack's own. No coroutine is suspended on it, for a parked token is never
        // dropped.
        unsafe { sys::release(self.start, self.size) };
    }
}

// SAFETY: `base` is the end of a mapping, so aligned to a page; below it lie `STACK_SIZE` bytes of memory, below
// these the guard down to `limit`, mapped for as long as the stack exists and used by nobody else.
unsafe impl Stack for TokenStack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.start.addr().saturating_add(self.size)
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.start.addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stacks_of_dropped_counts_are_used_again() {
        struct TakesAndDrops;
        impl Drop for TakesAndDrops {
            fn drop(&mut self) {
                drop(take_panic_count().unwrap());
            }
        }
        for _ in 0..20 {
            // The thread ends with a count that is wrong, and takes it along.
            let thread = thread::spawn(|| {
                let caught = panic::catch_unwind(|| {
                    let _takes = TakesAndDrops;
                    panic::resume_unwind(Box::new(()));
                });
                assert!(caught.is_err());
            });
            thread.join().unwrap();
        }
        let bank = bank();
        assert_eq!((bank.made, bank.idle.len(), bank.parked.len(), bank.promised), (1, 1, 0, 0));
        assert!(bank.idle.capacity() >= 1 && bank.parked.capacity() >= 1);
    }
}
