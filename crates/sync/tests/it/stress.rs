//! Two hubs and plain threads at one primitive, as hard as they can, with kills in between: nothing is lost, and nobody sleeps on.
//!
//! Who makes no progress for long is reported with what everybody was doing last, instead of hanging for ever.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{Greenlet, JoinError, joinall, sleep, spawn, yield_now};
use greenlet_sync::{
    AsyncResult, Channel, Condition, Event, Lock, Queue, Semaphore, ShutDown, Shutdown, TryGetError, TryPutError,
    select,
};

/// Operations of each test, on all sides together.
const OPERATIONS: u64 = if cfg!(debug_assertions) { 40_000 } else { 1_000_000 };
/// For so long nobody is stuck who only waits for others.
const STUCK: Duration = Duration::from_secs(30);

// ---- who works, and who watches them ----

/// One who works: what he does, and how often he has done it.
struct Worker {
    name: String,
    doing: Mutex<&'static str>,
    steps: AtomicU64,
}

impl Worker {
    fn does(&self, what: &'static str) {
        *self.doing.lock().unwrap() = what;
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// All who work at something, and the thread that sees whether they go on.
struct Watch {
    workers: Arc<Mutex<Vec<Arc<Worker>>>>,
    done: Arc<AtomicBool>,
    watchdog: Option<thread::JoinHandle<()>>,
}

impl Watch {
    fn new(test: &'static str) -> Watch {
        let (workers, done) = (Arc::new(Mutex::new(Vec::<Arc<Worker>>::new())), Arc::new(AtomicBool::new(false)));
        let watchdog = thread::spawn({
            let (workers, done) = (Arc::clone(&workers), Arc::clone(&done));
            move || {
                let (mut before, mut since) = (0, Instant::now());
                while !done.load(Ordering::Acquire) {
                    thread::park_timeout(Duration::from_millis(200));
                    let workers = workers.lock().unwrap();
                    let steps = workers.iter().map(|worker| worker.steps.load(Ordering::Relaxed)).sum::<u64>();
                    if steps != before {
                        (before, since) = (steps, Instant::now());
                    } else if since.elapsed() > STUCK {
                        let mut report = format!("{test}: nobody has gone on for {STUCK:?}\n");
                        for worker in &*workers {
                            let (doing, steps) = (worker.doing.lock().unwrap(), worker.steps.load(Ordering::Relaxed));
                            let _ = writeln!(report, "  {}: {doing}, after {steps} steps", worker.name);
                        }
                        // Past what the test harness collects, which dies with the process.
                        let _ = std::io::stderr().write_all(report.as_bytes());
                        std::process::abort();
                    }
                }
            }
        });
        Watch { workers, done, watchdog: Some(watchdog) }
    }

    fn worker(&self, name: String) -> Arc<Worker> {
        let worker = Arc::new(Worker { name, doing: Mutex::new("nothing yet"), steps: AtomicU64::new(0) });
        self.workers.lock().unwrap().push(Arc::clone(&worker));
        worker
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        let watchdog = self.watchdog.take().unwrap();
        watchdog.thread().unpark();
        watchdog.join().unwrap();
    }
}

/// Greenlets of each of the hubs, and threads beside them.
const HUBS: usize = 2;
const GREENLETS: usize = 3;
const THREADS: usize = 2;
const WORKERS: usize = HUBS * GREENLETS + THREADS;

/// Runs `work` with the numbers from 0 to `WORKERS`: in greenlets of two hubs, and on plain threads.
fn everywhere(watch: &Watch, work: impl Fn(usize, &Worker) + Send + Sync + 'static) {
    let work = Arc::new(work);
    let start = |hub: usize| {
        let work = Arc::clone(&work);
        let workers = (0..GREENLETS).map(|number| {
            let number = hub * GREENLETS + number;
            (number, watch.worker(format!("greenlet {number} of hub {hub}")))
        });
        let workers: Vec<_> = workers.collect();
        thread::spawn(move || {
            let greenlets = workers.into_iter().map(|(number, worker)| {
                let work = Arc::clone(&work);
                spawn(move || work(number, &worker))
            });
            joinall(greenlets).into_iter().for_each(|joined| joined.unwrap());
        })
    };
    let mut threads: Vec<_> = (0..HUBS).map(start).collect();
    for number in HUBS * GREENLETS..WORKERS {
        let (work, worker) = (Arc::clone(&work), watch.worker(format!("thread {number}")));
        threads.push(thread::spawn(move || work(number, &worker)));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Greenlets that do `work` until they are killed, by another thread, again and again; until what is returned is dropped.
fn victims(work: impl Fn() + Send + Sync + 'static) -> Victims {
    let (over, work) = (Arc::new(AtomicBool::new(false)), Arc::new(work));
    let living = Arc::new(Mutex::new(VecDeque::<Greenlet>::new()));
    let kills = Arc::new(AtomicUsize::new(0));
    let hub = thread::spawn({
        let (over, living) = (Arc::clone(&over), Arc::clone(&living));
        move || {
            while !over.load(Ordering::Acquire) {
                let work = Arc::clone(&work);
                let victim = spawn(move || {
                    loop {
                        work();
                        yield_now();
                    }
                });
                living.lock().unwrap().push_back(victim.greenlet().clone());
                assert!(matches!(victim.join(), Err(JoinError::Killed)));
            }
        }
    });
    let killer = thread::spawn({
        let (over, kills) = (Arc::clone(&over), Arc::clone(&kills));
        move || {
            loop {
                let victim = living.lock().unwrap().pop_front();
                match victim {
                    Some(victim) => {
                        thread::yield_now();
                        victim.kill_nowait().unwrap();
                        kills.fetch_add(1, Ordering::Relaxed);
                    }
                    // The last one has been killed, if its hub knows that it is the last.
                    None if over.load(Ordering::Acquire) && hub.is_finished() => break,
                    None => thread::yield_now(),
                }
            }
            hub.join().unwrap();
        }
    });
    Victims { over, killer: Some(killer), kills }
}

struct Victims {
    over: Arc<AtomicBool>,
    killer: Option<thread::JoinHandle<()>>,
    kills: Arc<AtomicUsize>,
}

impl Drop for Victims {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.killer.take().unwrap().join().unwrap();
        assert!(self.kills.load(Ordering::Relaxed) > 0);
    }
}

// ---- what is handed over ----

/// What queues and channels have in common.
trait Pipe: Send + Sync + 'static {
    fn put(&self, item: u64) -> Result<(), ShutDown<u64>>;
    fn put_timeout(&self, item: u64, timeout: Duration) -> Result<(), TryPutError<u64>>;
    fn get(&self) -> Result<u64, ShutDown>;
    fn get_timeout(&self, timeout: Duration) -> Result<u64, TryGetError>;
    fn shutdown(&self);
}

macro_rules! pipe {
    ($($Pipe:ident)+) => {$(
        impl Pipe for $Pipe<u64> {
            fn put(&self, item: u64) -> Result<(), ShutDown<u64>> {
                $Pipe::put(self, item)
            }
            fn put_timeout(&self, item: u64, timeout: Duration) -> Result<(), TryPutError<u64>> {
                $Pipe::put_timeout(self, item, timeout)
            }
            fn get(&self) -> Result<u64, ShutDown> {
                $Pipe::get(self)
            }
            fn get_timeout(&self, timeout: Duration) -> Result<u64, TryGetError> {
                $Pipe::get_timeout(self, timeout)
            }
            fn shutdown(&self) {
                $Pipe::shutdown(self, Shutdown::Graceful);
            }
        }
    )+};
}

pipe! { Queue Channel }

/// Half of the workers put, half get; in between some are killed that would get, and would put zeros.
fn all_that_is_put_is_got(test: &'static str, pipe: impl Pipe, timeouts: bool) {
    let (watch, pipe) = (Watch::new(test), Arc::new(pipe));
    let each = OPERATIONS / WORKERS as u64;
    let putters = AtomicUsize::new(WORKERS / 2);
    // What the killed have got before.
    let (lost_count, lost_sum) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (count, sum) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let getters = victims({
        let (pipe, lost_count, lost_sum) = (Arc::clone(&pipe), Arc::clone(&lost_count), Arc::clone(&lost_sum));
        move || match pipe.get() {
            Ok(0) | Err(_) => {}
            Ok(item) => {
                lost_count.fetch_add(1, Ordering::Relaxed);
                lost_sum.fetch_add(item, Ordering::Relaxed);
            }
        }
    });
    let zeros = victims({
        let pipe = Arc::clone(&pipe);
        move || pipe.put_timeout(0, Duration::from_millis(1)).unwrap_or(())
    });
    everywhere(&watch, {
        let (pipe, count, sum) = (Arc::clone(&pipe), Arc::clone(&count), Arc::clone(&sum));
        move |number, worker| {
            if number.is_multiple_of(2) {
                for item in (number as u64 * each + 1..).take(each as usize) {
                    worker.does("puts");
                    if timeouts && item.is_multiple_of(8) {
                        let mut left = pipe.put_timeout(item, Duration::ZERO);
                        while let Err(TryPutError::Full(item)) = left {
                            left = pipe.put_timeout(item, Duration::from_micros(50));
                        }
                        left.unwrap();
                    } else {
                        pipe.put(item).unwrap();
                    }
                }
                if putters.fetch_sub(1, Ordering::AcqRel) == 1 {
                    pipe.shutdown();
                }
                return;
            }
            loop {
                worker.does("gets");
                let item = if timeouts && count.load(Ordering::Relaxed).is_multiple_of(8) {
                    match pipe.get_timeout(Duration::from_micros(50)) {
                        Err(TryGetError::Empty) => continue,
                        item => item.map_err(|_| ShutDown(())),
                    }
                } else {
                    pipe.get()
                };
                match item {
                    Ok(0) => {}
                    Ok(item) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        sum.fetch_add(item, Ordering::Relaxed);
                    }
                    Err(ShutDown(())) => break,
                }
            }
        }
    });
    drop(getters);
    drop(zeros);
    let put = (0..WORKERS as u64).step_by(2).flat_map(|number| (number * each + 1..).take(each as usize));
    let (put_count, put_sum) = put.fold((0, 0), |(count, sum), item| (count + 1, sum + item));
    assert_eq!(count.load(Ordering::Relaxed) + lost_count.load(Ordering::Relaxed), put_count);
    assert_eq!(sum.load(Ordering::Relaxed) + lost_sum.load(Ordering::Relaxed), put_sum);
}

#[test]
fn an_unbounded_queue_loses_nothing() {
    all_that_is_put_is_got("an unbounded queue", Queue::unbounded(), false);
}

#[test]
fn a_queue_of_one_loses_nothing() {
    all_that_is_put_is_got("a queue of one", Queue::bounded(1), false);
}

#[test]
fn a_queue_of_64_loses_nothing_with_timeouts_in_between() {
    all_that_is_put_is_got("a queue of 64", Queue::bounded(64), true);
}

#[test]
fn a_channel_loses_nothing() {
    all_that_is_put_is_got("a channel", Channel::new(), false);
}

#[test]
fn a_channel_loses_nothing_with_timeouts_in_between() {
    all_that_is_put_is_got("a channel with timeouts", Channel::new(), true);
}

#[test]
fn a_select_over_queues_loses_nothing() {
    let watch = Watch::new("select!");
    let each = OPERATIONS / WORKERS as u64;
    let pipes = Arc::new((Queue::unbounded(), Queue::bounded(1), Channel::new(), Event::new()));
    let (putters, got) = (AtomicUsize::new(WORKERS / 2), Arc::new(AtomicU64::new(0)));
    let killed = victims({
        let (pipes, got) = (Arc::clone(&pipes), Arc::clone(&got));
        move || {
            select! {
                item = pipes.0.get() => drop(got.fetch_add(item.unwrap_or(0), Ordering::Relaxed)),
                item = pipes.1.get() => drop(got.fetch_add(item.unwrap_or(0), Ordering::Relaxed)),
                item = pipes.2.get() => drop(got.fetch_add(item.unwrap_or(0), Ordering::Relaxed)),
            }
        }
    });
    everywhere(&watch, {
        let (pipes, got) = (Arc::clone(&pipes), Arc::clone(&got));
        move |number, worker| {
            if number.is_multiple_of(2) {
                for round in 0..each {
                    worker.does("puts");
                    match round % 4 {
                        0 => pipes.0.put(1).unwrap(),
                        1 => pipes.1.put(1).unwrap(),
                        2 => pipes.2.put(1).unwrap(),
                        _ => select! {
                            result = pipes.1.put(1) => result.unwrap(),
                            result = pipes.2.put(1) => result.unwrap(),
                        },
                    }
                }
                if putters.fetch_sub(1, Ordering::AcqRel) == 1 {
                    pipes.3.set();
                }
                return;
            }
            loop {
                worker.does("selects");
                let item: Result<u64, ShutDown> = select! {
                    item = pipes.0.get() => item,
                    item = pipes.1.get() => item,
                    item = pipes.2.get() => item,
                    _ = pipes.3.wait() => break,
                };
                got.fetch_add(item.unwrap(), Ordering::Relaxed);
            }
        }
    });
    // So that those who are to be killed do not take what is counted here.
    drop(killed);
    let left = std::iter::from_fn(|| pipes.0.try_get().or(pipes.1.try_get()).or(pipes.2.try_get()).ok()).sum::<u64>();
    assert_eq!(got.load(Ordering::Relaxed) + left, each * (WORKERS / 2) as u64);
}

// ---- what is held ----

/// All count under something that `enter` holds; the greatest number of those inside at once.
fn all_are_counted(test: &'static str, most: usize, enter: impl Fn(&dyn Fn()) + Send + Sync + 'static) {
    let watch = Watch::new(test);
    let each = OPERATIONS / WORKERS as u64;
    let (inside, count, enter) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(enter));
    let come_in = move |inside: &AtomicUsize| {
        assert!(inside.fetch_add(1, Ordering::AcqRel) < most, "too many are inside");
        inside.fetch_sub(1, Ordering::AcqRel);
    };
    let killed = victims({
        let (inside, enter) = (Arc::clone(&inside), Arc::clone(&enter));
        move || enter(&|| come_in(&inside))
    });
    everywhere(&watch, {
        let count = Arc::clone(&count);
        move |_, worker| {
            for round in 0..each {
                worker.does("enters");
                enter(&|| {
                    come_in(&inside);
                    count.fetch_add(1, Ordering::Relaxed);
                    // Now and then it is held over a switch.
                    if round.is_multiple_of(16) {
                        yield_now();
                    }
                });
            }
        }
    });
    drop(killed);
    assert_eq!(count.load(Ordering::Relaxed), each * WORKERS as u64);
}

#[test]
fn a_lock_is_held_by_one_and_wakes_all() {
    let lock = Lock::new(());
    all_are_counted("a lock", 1, move |inside| {
        let _guard = lock.lock();
        inside();
    });
}

#[test]
fn a_semaphore_lets_in_so_many_and_wakes_all() {
    let semaphore = Arc::new(Semaphore::new(2));
    let shared = Arc::clone(&semaphore);
    all_are_counted("a semaphore", 2, move |inside| {
        let _permit = shared.acquire();
        inside();
    });
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn a_semaphore_wakes_all_with_timeouts_in_between() {
    let semaphore = Arc::new(Semaphore::new(1));
    let shared = Arc::clone(&semaphore);
    all_are_counted("a semaphore with timeouts", 1, move |inside| {
        loop {
            if let Some(_permit) = shared.acquire_timeout(Duration::from_micros(50)) {
                return inside();
            }
        }
    });
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn a_condition_loses_no_notification() {
    let watch = Watch::new("a condition");
    let each = OPERATIONS / WORKERS as u64;
    // Things that half of the workers make and half take, one notification each.
    let shared = Arc::new((Lock::new(0_u64), Condition::new()));
    let killed = victims({
        let shared = Arc::clone(&shared);
        move || drop(shared.1.wait(shared.0.lock()))
    });
    everywhere(&watch, {
        let shared = Arc::clone(&shared);
        move |number, worker| {
            for _ in 0..each {
                if number.is_multiple_of(2) {
                    worker.does("makes");
                    *shared.0.lock() += 1;
                    shared.1.notify_all();
                } else {
                    worker.does("takes");
                    *shared.1.wait_for(shared.0.lock(), |things| *things > 0) -= 1;
                }
            }
        }
    });
    drop(killed);
    assert_eq!(*shared.0.lock(), 0);
}

#[test]
fn a_condition_hands_on_what_the_killed_were_notified_of() {
    let watch = Watch::new("a condition, one by one");
    let each = OPERATIONS / WORKERS as u64;
    let shared = Arc::new((Lock::new(0_u64), Condition::new()));
    let taken = Arc::new(AtomicU64::new(0));
    let killed = victims({
        let (shared, taken) = (Arc::clone(&shared), Arc::clone(&taken));
        move || {
            *shared.1.wait_for(shared.0.lock(), |things| *things > 0) -= 1;
            taken.fetch_add(1, Ordering::Relaxed);
        }
    });
    let makers = AtomicUsize::new(WORKERS / 2);
    let over = AtomicBool::new(false);
    everywhere(&watch, {
        let (shared, taken) = (Arc::clone(&shared), Arc::clone(&taken));
        move |number, worker| {
            if number.is_multiple_of(2) {
                for _ in 0..each {
                    worker.does("makes");
                    *shared.0.lock() += 1;
                    // One for each: if one is lost, one thing is left with somebody waiting for it.
                    shared.1.notify_one();
                }
                if makers.fetch_sub(1, Ordering::AcqRel) == 1 {
                    while *shared.0.lock() > 0 {
                        sleep(Duration::from_millis(1));
                    }
                    over.store(true, Ordering::Release);
                    drop(shared.0.lock());
                    shared.1.notify_all();
                }
                return;
            }
            loop {
                worker.does("takes");
                let is_over = || over.load(Ordering::Acquire);
                let mut things = shared.1.wait_for(shared.0.lock(), |things| *things > 0 || is_over());
                if *things == 0 {
                    break;
                }
                *things -= 1;
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    drop(killed);
    assert_eq!(taken.load(Ordering::Relaxed), each * (WORKERS / 2) as u64);
}

// ---- what is said ----

#[test]
fn an_event_wakes_all_each_time() {
    let watch = Watch::new("an event");
    let rounds = OPERATIONS / WORKERS as u64;
    // The last to arrive sets the event of the next round, and clears the one after it.
    let events = Arc::new([Event::new(), Event::new(), Event::new()]);
    let arrived = Arc::new(AtomicUsize::new(0));
    let killed = victims({
        let (events, next) = (Arc::clone(&events), AtomicUsize::new(0));
        move || events[next.fetch_add(1, Ordering::Relaxed) % 3].wait()
    });
    everywhere(&watch, {
        let events = Arc::clone(&events);
        move |_, worker| {
            for round in 0..rounds as usize {
                worker.does("waits for the event of its round");
                if arrived.fetch_add(1, Ordering::AcqRel) + 1 == WORKERS {
                    arrived.store(0, Ordering::Release);
                    events[(round + 1) % 3].clear();
                    events[round % 3].set();
                } else {
                    events[round % 3].wait();
                }
            }
        }
    });
    events.iter().for_each(Event::set);
    drop(killed);
}

#[test]
fn a_result_reaches_all_who_wait() {
    let watch = Watch::new("results");
    // One sets the results one after the other, no more than a few ahead of the others, who get all of them.
    const AHEAD: usize = 4;
    let rounds = OPERATIONS / WORKERS as u64;
    let results: Arc<Vec<_>> = Arc::new((0..rounds).map(|_| AsyncResult::<u64, ()>::new()).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let got = Semaphore::new(AHEAD * (WORKERS - 1));
    let killed = victims({
        let (results, next) = (Arc::clone(&results), Arc::clone(&next));
        move || {
            if let Some(result) = results.get(next.load(Ordering::Relaxed) + 1) {
                result.get().unwrap();
            }
        }
    });
    everywhere(&watch, move |number, worker| {
        for (round, result) in results.iter().enumerate() {
            if number == 0 {
                worker.does("sets");
                (1..WORKERS).for_each(|_| got.acquire().forget());
                next.store(round, Ordering::Relaxed);
                result.set(round as u64);
            } else {
                worker.does("gets");
                assert_eq!(result.get(), Ok(round as u64));
                got.release();
            }
        }
    });
    drop(killed);
}
