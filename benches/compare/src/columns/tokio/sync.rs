//! tokio's primitives, and aborting its tasks.

use std::cell::Cell;
use std::future::{Future, pending};
use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio::task::{self, LocalSet};
use tokio::time::timeout;

use super::{SelfWake, runtime};
use crate::columns::frames::{Counted, FRAMES, dropped};
use crate::columns::{FAN_OUTS, FanOut, KILLED, PIPE, Step, WARM_UP};
use crate::process::{self, LOAD_CORE, SERVER_CORE};

/// On one core, and in `cross` two current-thread runtimes on two. There is no rendezvous: a channel of one is the nearest.
pub(super) const STEPS: &[Step] = &[
    Step::of("channel", "1", hops),
    Step::of("channel", "slot", hops),
    Step::of("queue", "ready", puts_and_gets),
    Step::of("lock", "semaphore", semaphores),
    Step::of("lock", "semaphore", semaphores_awaited),
    Step::of("lock", "lock", locks),
    Step::of("lock", "lock", locks_awaited),
    Step::of("cross", "pingpong", |count| round_trips(count, &TwoRuntimes)),
    Step::of("cross", "polling", |count| round_trips(count, &TwoRuntimes)),
    Step::of("cross", "pipe", |count| pipe(count, &TwoRuntimes)),
    Step::of("timeout", "ready", |count| timeouts(count, async || ())),
    Step::of("timeout", "yield", |count| timeouts(count, async || SelfWake::default().await)),
    Step::of("kill", "10", aborts),
];

/// On one runtime with two workers, which may run both tasks on the same one.
pub(super) const MULTI_THREAD_STEPS: &[Step] = &[
    Step::of("cross", "pingpong", |count| round_trips(count, &TwoWorkers::new())),
    Step::of("cross", "polling", |count| round_trips(count, &TwoWorkers::new())),
    Step::of("cross", "pipe", |count| pipe(count, &TwoWorkers::new())),
];

const LONG: Duration = Duration::from_secs(1);

fn hops(items: usize) -> Duration {
    runtime().block_on(async move {
        let (sender, mut receiver) = mpsc::channel(1);
        task::spawn(async move { send(WARM_UP + items, &sender).await });
        task::spawn(async move {
            receive(WARM_UP, &mut receiver).await;
            let start = Instant::now();
            receive(items, &mut receiver).await;
            start.elapsed()
        })
        .await
        .expect("the task does not panic")
    })
}

async fn send(items: usize, sender: &Sender<usize>) {
    for item in 0..items {
        sender.send(item).await.expect("the receiver lives until it has all");
    }
}

async fn receive(items: usize, receiver: &mut Receiver<usize>) {
    for _ in 0..items {
        black_box(receiver.recv().await.expect("the sender has more"));
    }
}

fn puts_and_gets(count: usize) -> Duration {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let start = Instant::now();
    for item in 0..count {
        sender.send(item).expect("the receiver lives");
        assert_eq!(receiver.try_recv(), Ok(item));
    }
    start.elapsed()
}

fn semaphores(count: usize) -> Duration {
    let semaphore = Semaphore::new(1);
    let start = Instant::now();
    for _ in 0..count {
        drop(black_box(semaphore.try_acquire().expect("it is free")));
    }
    start.elapsed()
}

fn semaphores_awaited(count: usize) -> Duration {
    let semaphore = Semaphore::new(1);
    runtime().block_on(async {
        let start = Instant::now();
        for _ in 0..count {
            drop(black_box(semaphore.acquire().await.expect("nobody closes it")));
        }
        start.elapsed()
    })
}

fn locks(count: usize) -> Duration {
    let lock = Mutex::new(0);
    let start = Instant::now();
    for _ in 0..count {
        *lock.try_lock().expect("it is free") += 1;
    }
    assert_eq!(lock.into_inner(), count);
    start.elapsed()
}

fn locks_awaited(count: usize) -> Duration {
    let lock = Mutex::new(0);
    runtime().block_on(async {
        let start = Instant::now();
        for _ in 0..count {
            *lock.lock().await += 1;
        }
        assert_eq!(lock.into_inner(), count);
        start.elapsed()
    })
}

/// Two places to run something at the same time, each on a core of its own.
trait Pair {
    /// Runs both to their end, and returns what the first one does.
    fn run(
        &self,
        first: impl Future<Output = Duration> + Send + 'static,
        second: impl Future<Output = ()> + Send + 'static,
    ) -> Duration;
}

/// Two threads with a current-thread runtime each.
struct TwoRuntimes;

impl Pair for TwoRuntimes {
    fn run(
        &self,
        first: impl Future<Output = Duration> + Send + 'static,
        second: impl Future<Output = ()> + Send + 'static,
    ) -> Duration {
        let other = thread::spawn(|| {
            process::pin(LOAD_CORE);
            let runtime = runtime();
            runtime.block_on(runtime.spawn(second)).expect("the task does not panic");
        });
        let runtime = runtime();
        let elapsed = runtime.block_on(runtime.spawn(first)).expect("the task does not panic");
        other.join().expect("the thread does not panic");
        elapsed
    }
}

/// One runtime with two workers.
struct TwoWorkers(Runtime);

impl TwoWorkers {
    fn new() -> Self {
        let workers = AtomicUsize::new(0);
        let pin = move || match workers.fetch_add(1, Ordering::Relaxed) {
            0 => process::pin(SERVER_CORE),
            _ => process::pin(LOAD_CORE),
        };
        Self(
            Builder::new_multi_thread().worker_threads(2).enable_all().on_thread_start(pin).build().expect("a runtime"),
        )
    }
}

impl Pair for TwoWorkers {
    fn run(
        &self,
        first: impl Future<Output = Duration> + Send + 'static,
        second: impl Future<Output = ()> + Send + 'static,
    ) -> Duration {
        self.0.spawn(second);
        self.0.block_on(self.0.spawn(first)).expect("the task does not panic")
    }
}

fn round_trips(count: usize, pair: &impl Pair) -> Duration {
    let (there, mut arrives) = mpsc::channel(1);
    let (back, mut comes_back) = mpsc::channel(1);
    let first = async move {
        for item in 0..WARM_UP {
            there.send(item).await.expect("the other side lives");
            assert_eq!(comes_back.recv().await, Some(item));
        }
        let start = Instant::now();
        for item in 0..count {
            there.send(item).await.expect("the other side lives");
            assert_eq!(comes_back.recv().await, Some(item));
        }
        start.elapsed()
    };
    let second = async move {
        while let Some(item) = arrives.recv().await {
            back.send(item).await.expect("the other side lives");
        }
    };
    pair.run(first, second)
}

fn pipe(items: usize, pair: &impl Pair) -> Duration {
    let (sender, mut receiver) = mpsc::channel(PIPE);
    let first = async move {
        receive(WARM_UP, &mut receiver).await;
        let start = Instant::now();
        receive(items, &mut receiver).await;
        start.elapsed()
    };
    pair.run(first, async move { send(WARM_UP + items, &sender).await })
}

fn timeouts(count: usize, body: impl AsyncFn()) -> Duration {
    runtime().block_on(async {
        let start = Instant::now();
        for number in 0..count {
            let body = async {
                body().await;
                number
            };
            assert!(black_box(timeout(LONG, body).await).is_ok());
        }
        start.elapsed()
    })
}

fn aborts(count: usize) -> Duration {
    let before = dropped();
    let elapsed = runtime().block_on(async {
        let mut elapsed = Duration::ZERO;
        for first in (0..count).step_by(KILLED) {
            let handles: Vec<_> =
                (first..count.min(first + KILLED)).map(|_| task::spawn(for_ever_below(FRAMES))).collect();
            // So often that all of them have been polled.
            for _ in 0..WARM_UP {
                SelfWake::default().await;
            }
            let start = Instant::now();
            for handle in handles {
                handle.abort();
                assert!(handle.await.is_err_and(|err| err.is_cancelled()));
            }
            elapsed += start.elapsed();
        }
        elapsed
    });
    assert_eq!(dropped() - before, FRAMES * count);
    elapsed
}

/// So many futures inside each other, each with something to be dropped.
fn for_ever_below(frames: usize) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let counted = Counted;
        match frames {
            1 => pending().await,
            _ => for_ever_below(frames - 1).await,
        }
        black_box(&counted);
    })
}

pub(super) fn fan_out(waiters: usize) -> FanOut {
    LocalSet::new().block_on(&runtime(), async move {
        let crowd = Rc::new(Crowd::default());
        for _ in 0..waiters {
            let crowd = Rc::clone(&crowd);
            task::spawn_local(async move {
                loop {
                    crowd.event.notified().await;
                    crowd.one_runs();
                }
            });
        }
        crowd.all_wait().await;
        crowd.round(waiters).await;
        let mut all = Duration::MAX;
        for _ in 0..FAN_OUTS {
            all = all.min(crowd.round(waiters).await);
        }

        let longest = Rc::new(Cell::new(Duration::ZERO));
        let (left, right) = UnixStream::pair().expect("a socket pair");
        let epoch = Instant::now();
        for (stream, serves) in [(left, true), (right, false)] {
            let longest = Rc::clone(&longest);
            task::spawn_local(async move { send_back(stream, serves, epoch, &longest).await });
        }
        for _ in 0..1_000 {
            task::yield_now().await;
        }
        longest.set(Duration::ZERO);
        for _ in 0..FAN_OUTS {
            crowd.round(waiters).await;
        }
        FanOut { all, longest_delay: longest.get() }
    })
}

#[derive(Default)]
struct Crowd {
    event: Notify,
    left: Cell<usize>,
    all_ran: Notify,
}

impl Crowd {
    /// Waits until all tasks spawned before have run for the first time: this one runs after them.
    async fn all_wait(&self) {
        task::spawn_local(async {}).await.expect("the task does not panic");
    }

    fn one_runs(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.all_ran.notify_one();
        }
    }

    async fn round(&self, waiters: usize) -> Duration {
        self.left.set(waiters);
        let start = Instant::now();
        self.event.notify_waiters();
        self.all_ran.notified().await;
        start.elapsed()
    }
}

async fn send_back(mut stream: UnixStream, serves: bool, epoch: Instant, longest: &Cell<Duration>) -> io::Result<()> {
    let mut buffer = [0; 8];
    let now = || (epoch.elapsed().as_nanos() as u64).to_ne_bytes();
    if serves {
        stream.write_all(&now()).await?;
    }
    loop {
        stream.read_exact(&mut buffer).await?;
        let sent = Duration::from_nanos(u64::from_ne_bytes(buffer));
        longest.set(longest.get().max(epoch.elapsed().saturating_sub(sent)));
        stream.write_all(&now()).await?;
    }
}
