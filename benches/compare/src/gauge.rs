//! What a column is measured with while its tasks wait or sleep.

use std::cell::Cell;
use std::fs;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys;

/// Measures a crowd of waiting tasks, by time or by memory.
pub(crate) struct Gauge {
    tasks: usize,
    what: What,
}

enum What {
    Time(Instant),
    Memory(Memory),
}

impl Gauge {
    /// Measures how long it takes until all wait.
    pub(crate) fn time(tasks: usize) -> Self {
        Self { tasks, what: What::Time(Instant::now()) }
    }

    /// Measures what memory those who wait keep.
    pub(crate) fn memory(tasks: usize) -> Self {
        Self { tasks, what: What::Memory(Memory::default()) }
    }

    /// Marks the moment when the runtime stands and no task has been spawned.
    pub(crate) fn begin(&mut self) {
        match &mut self.what {
            What::Time(start) => *start = Instant::now(),
            What::Memory(before) => *before = Memory::now(),
        }
    }

    /// Prints the figures per task and ends the process: taking a million tasks down is no part of any case.
    pub(crate) fn all_wait(&self) -> ! {
        let tasks = self.tasks as f64;
        match self.what {
            What::Time(start) => println!("{}", start.elapsed().as_nanos() as f64 / tasks),
            What::Memory(before) => {
                let now = Memory::now();
                println!("{}", (now.resident - before.resident) / tasks);
                println!("{}", (now.page_tables - before.page_tables) / tasks);
            }
        }
        process::exit(0)
    }
}

/// Memory of this process in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    resident: f64,
    page_tables: f64,
}

impl Memory {
    fn now() -> Self {
        Self {
            // The counters in `status` lag behind by some pages per core, this file counts the pages themselves.
            resident: field("/proc/self/smaps_rollup", "Rss:"),
            page_tables: field("/proc/self/status", "VmPTE:"),
        }
    }
}

/// Reads a line of the form `Name:   123 kB`.
fn field(path: &str, name: &str) -> f64 {
    let text = fs::read_to_string(path).expect("Linux shows a process its own memory");
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<f64>().ok());
    kilobytes.expect("Linux shows a process its own memory") * 1_024.0
}

/// A crowd of sleeping tasks.
///
/// A column first makes all tasks sleep until [`Sleepers::warm_until`], all at the same time, so that whatever a task
/// needs has been made; then it calls [`Sleepers::begin`], makes task `i` sleep for [`Sleepers::delay`] and report its
/// deadline by [`Sleepers::woke`], and when it has joined all it calls [`Sleepers::end`].
pub(crate) struct Sleepers {
    tasks: usize,
    longest: Duration,
    before: Cell<Duration>,
}

/// By how much the latest of all tasks was late, in nanoseconds. A static, since tasks of some columns must be `'static`.
static LATEST: AtomicU64 = AtomicU64::new(0);

impl Sleepers {
    /// A crowd that sleeps between nothing and `longest`.
    pub(crate) fn new(tasks: usize, longest: Duration) -> Self {
        Self { tasks, longest, before: Cell::new(Duration::ZERO) }
    }

    /// Returns the size of the crowd.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks
    }

    /// Returns a deadline by which all tasks of the warm-up sleep together: five microseconds for each of them.
    pub(crate) fn warm_until(&self) -> Instant {
        Instant::now() + Duration::from_micros(5) * self.tasks as u32
    }

    /// Marks the moment when the warm-up is over.
    pub(crate) fn begin(&self) {
        self.before.set(sys::usage().cpu);
    }

    /// Returns how long a task sleeps: evenly spread, in no order, the same in each run.
    pub(crate) fn delay(&self, task: usize) -> Duration {
        // The golden ratio's multiples modulo 1 fill the range evenly.
        let share = (task as f64 * 0.618_033_988_749_894_9).fract();
        self.longest.mul_f64(share)
    }

    /// Notes that a task woke that had this deadline.
    pub(crate) fn woke(deadline: Instant) {
        let late = deadline.elapsed().as_nanos() as u64;
        if late > LATEST.load(Ordering::Relaxed) {
            LATEST.fetch_max(late, Ordering::Relaxed);
        }
    }

    /// Prints the CPU time per task in nanoseconds, and the greatest lateness in milliseconds.
    pub(crate) fn end(&self) {
        let cpu = sys::usage().cpu - self.before.get();
        println!("{}", cpu.as_nanos() as f64 / self.tasks as f64);
        println!("{}", LATEST.load(Ordering::Relaxed) as f64 / 1e6);
    }
}

/// Wakes a sleeping thread again and again, and measures from just before the call that wakes until the sleeper runs.
///
/// Thread and sleeper stand on a core each. The one who wakes sleeps between two times for so long that the other one, and whatever
/// watches for work for a moment before it sleeps, is asleep by then; it looks at what the sleeper noted only after that, so
/// that nobody runs beside the one who wakes up.
pub(crate) struct Alarm {
    rounds: usize,
    epoch: Instant,
    /// When the sleeper woke, in nanoseconds since the epoch. 0: it has not.
    woke: AtomicU64,
}

/// Every sleep is over by then, and every spin before it.
const PAUSE: Duration = Duration::from_millis(2);
/// Rounds before those that count.
const WARM_UP: usize = 5;

impl Alarm {
    /// Wakes about as often as fits into so many seconds.
    pub(crate) fn new(seconds: f64) -> Self {
        let rounds = (seconds / PAUSE.as_secs_f64()).max(1.0) as usize;
        Self { rounds, epoch: Instant::now(), woke: AtomicU64::new(0) }
    }

    /// Returns how often the sleeper is woken.
    pub(crate) fn times(&self) -> usize {
        WARM_UP + self.rounds
    }

    /// The sleeper's part, when it runs again.
    pub(crate) fn woke(&self) {
        self.woke.store(self.epoch.elapsed().as_nanos() as u64, Ordering::Release);
    }

    /// The part of the one who wakes, by `wake`, [`Alarm::times`] times.
    pub(crate) fn ring(&self, mut wake: impl FnMut()) -> Vec<Duration> {
        thread::sleep(PAUSE);
        let mut took: Vec<Duration> = (0..self.times())
            .map(|_| {
                self.woke.store(0, Ordering::Release);
                let start = self.epoch.elapsed();
                wake();
                loop {
                    thread::sleep(PAUSE);
                    match self.woke.load(Ordering::Acquire) {
                        0 => {}
                        woke => break Duration::from_nanos(woke).saturating_sub(start),
                    }
                }
            })
            .collect();
        took.split_off(WARM_UP)
    }
}
