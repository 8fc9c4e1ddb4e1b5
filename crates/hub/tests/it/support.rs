//! What many tests need: traces, work that takes a while, and a look at the process.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use greenlet_hub::{WaitList, Waitable, Waiter};

/// So long no step of a test takes, unless it hangs.
pub(crate) const HANG: Duration = Duration::from_secs(20);

/// What happened, in order, as greenlets of one hub wrote it down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    pub(crate) fn note(&self, what: impl ToString) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// All of it, with spaces in between; begins anew.
    pub(crate) fn take(&self) -> String {
        self.0.take().join(" ")
    }
}

/// Calls its function when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Aborts the test if it is dropped on another thread than the one that made it, and counts its drops.
pub(crate) struct Bound {
    home: ThreadId,
    drops: Arc<AtomicUsize>,
    // Makes it `!Send`, as what it stands for.
    _rc: Rc<()>,
}

impl Bound {
    pub(crate) fn new(drops: &Arc<AtomicUsize>) -> Bound {
        Bound { home: thread::current().id(), drops: Arc::clone(drops), _rc: Rc::new(()) }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if thread::current().id() != self.home {
            eprintln!("dropped on a foreign thread");
            std::process::abort();
        }
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps the processor busy for so long.
pub(crate) fn work(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// How long `f` took, with what it returned.
pub(crate) fn timed<R>(f: impl FnOnce() -> R) -> (Duration, R) {
    let start = Instant::now();
    let result = f();
    (start.elapsed(), result)
}

/// What the open descriptors of this process refer to.
#[cfg(target_os = "linux")]
pub(crate) fn descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    // Without the one that lists them.
    let links = links.map(|link| link.display().to_string()).filter(|link| !link.starts_with("/proc/"));
    links.collect()
}

/// A field of `/proc/self/status`, a number.
#[cfg(target_os = "linux")]
pub(crate) fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The processor time that this process has taken, in microseconds.
pub(crate) fn cpu_micros() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is room for the answer.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) }, 0);
    // SAFETY: the call has filled it.
    let usage = unsafe { usage.assume_init() };
    let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

/// The least executor there is: polls on this thread, and parks it.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}

/// A waker that calls its function.
pub(crate) struct OnWake<F>(pub(crate) F);

impl<F: Fn()> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

pub(crate) fn waker(wake: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(OnWake(wake)))
}

/// Polls once, with a waker that nobody hears.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Permits that several threads use.
#[derive(Default)]
pub(crate) struct SharedPermits {
    pub(crate) free: AtomicUsize,
    pub(crate) waiting: WaitList,
}

impl SharedPermits {
    pub(crate) fn release(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        self.waiting.notify_one();
    }
    pub(crate) fn try_acquire(&self) -> bool {
        self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)).is_ok()
    }
}

impl Waitable for SharedPermits {
    fn is_ready(&self) -> bool {
        self.free.load(Ordering::SeqCst) > 0
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.waiting.push(waiter.clone());
    }
    fn unsubscribe(&self, _: &Waiter) {
        if self.is_ready() {
            self.waiting.notify_one();
        }
    }
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANG);
        thread::yield_now();
    }
}
