//! The primitives between the hubs of a pool, and plain threads: nothing is lost, and whoever is woken runs at once.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Handle, HubPool, JoinError, JoinHandle, iwait, joinall, killall, sleep, spawn, timeout, wait, yield_now,
};
use greenlet_sync::{
    AsyncResult, Barrier, BoundedSemaphore, Channel, Condition, Event, Group, LifoQueue, Lock, OnceCell, PriorityQueue,
    Queue, RLock, Reply, RwLock, Semaphore, Shutdown, actor, as_completed, select,
};

/// Operations of each test, on all sides together.
const OPERATIONS: usize = if cfg!(debug_assertions) { 100_000 } else { 400_000 };
/// For so long nobody waits, unless something is lost.
const HANG: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);

const HUBS: usize = 4;
const THREADS: usize = 2;
/// Two greenlets on each hub, two jobs for whichever is free, and the threads.
const WORKERS: usize = 2 * HUBS + 2 + THREADS;

/// What it ended with; fails if it does not end.
#[track_caller]
fn result<T>(greenlet: JoinHandle<T>) -> T {
    match greenlet.join_timeout(HANG) {
        Ok(ended) => ended.unwrap(),
        Err(hangs) => panic!("{hangs:?} hangs"),
    }
}

/// Runs `work` with the numbers from 0 to `WORKERS`, on all hubs of a pool and on plain threads.
#[track_caller]
fn everywhere(pool: &HubPool, work: impl Fn(usize) + Send + Sync + 'static) {
    let work = Arc::new(work);
    let run = |number: usize| {
        let work = Arc::clone(&work);
        move || work(number)
    };
    let hubs = pool.handles().iter().chain(pool.handles()).enumerate();
    let mut greenlets: Vec<_> = hubs.map(|(number, hub)| hub.spawn(run(number))).collect();
    greenlets.extend((2 * HUBS..2 * HUBS + 2).map(|number| pool.spawn(run(number))));
    let threads: Vec<_> = (2 * HUBS + 2..WORKERS).map(|number| thread::spawn(run(number))).collect();
    greenlets.into_iter().for_each(result);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Jobs of the pool that do `work` again and again and are killed in the middle, until this is dropped.
struct Victims(Arc<AtomicBool>, Option<thread::JoinHandle<usize>>);

impl Victims {
    fn of(pool: &HubPool, work: impl Fn() + Send + Sync + 'static) -> Victims {
        let (over, work) = (Arc::new(AtomicBool::new(false)), Arc::new(work));
        let killer = thread::spawn({
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            move || {
                let mut killed = 0;
                while !over.load(Ordering::Relaxed) {
                    let victims: Vec<_> = (0..4)
                        .map(|_| {
                            let work = Arc::clone(&work);
                            pool.spawn(move || {
                                loop {
                                    work();
                                    yield_now();
                                }
                            })
                        })
                        .collect();
                    for _ in 0..killed % 50 {
                        thread::yield_now();
                    }
                    assert!(killall(&victims, Some(HANG)).unwrap(), "one that was killed does not end");
                    killed += joinall(victims).into_iter().filter(|end: &Result<(), _>| end.is_err()).count();
                }
                killed
            }
        });
        Victims(over, Some(killer))
    }
}

impl Drop for Victims {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        assert!(self.1.take().unwrap().join().unwrap() > 0);
    }
}

fn pool() -> HubPool {
    HubPool::new(HUBS).unwrap()
}

// ---- what is held ----

/// All count under what `enter` holds, while jobs that hold it are killed.
fn all_are_counted(most: usize, enter: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
    let pool = pool();
    let (inside, count, enter) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(enter));
    let come_in = move |inside: &AtomicUsize| {
        assert!(inside.fetch_add(1, Ordering::AcqRel) < most, "too many are inside");
        inside.fetch_sub(1, Ordering::AcqRel);
    };
    let victims = Victims::of(&pool, {
        let (inside, enter) = (Arc::clone(&inside), Arc::clone(&enter));
        move || {
            enter(&mut || {
                come_in(&inside);
                // Killed while it holds it, as often as while it waits.
                yield_now();
            });
        }
    });
    everywhere(&pool, {
        let count = Arc::clone(&count);
        move |_| {
            for round in 0..OPERATIONS / WORKERS {
                enter(&mut || {
                    come_in(&inside);
                    count.fetch_add(1, Ordering::Relaxed);
                    if round.is_multiple_of(16) {
                        yield_now();
                    }
                });
            }
        }
    });
    drop(victims);
    assert_eq!(count.load(Ordering::Relaxed), OPERATIONS / WORKERS * WORKERS);
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn a_lock_is_held_by_one_of_all_hubs() {
    let lock = Lock::new(());
    all_are_counted(1, move |inside| {
        let _guard = lock.lock();
        inside();
    });
}

#[test]
fn a_reentrant_lock_is_held_by_one_of_all_hubs() {
    let lock = RLock::new(());
    all_are_counted(1, move |inside| {
        let _guard = lock.lock();
        let _again = lock.lock();
        inside();
    });
}

#[test]
fn a_bounded_semaphore_lets_in_three_of_all_hubs() {
    let semaphore = Arc::new(BoundedSemaphore::new(3));
    let shared = Arc::clone(&semaphore);
    all_are_counted(3, move |inside| {
        let _permit = shared.acquire();
        inside();
    });
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn permits_that_time_out_on_other_hubs_are_not_lost() {
    let semaphore = Arc::new(Semaphore::new(2));
    let shared = Arc::clone(&semaphore);
    all_are_counted(2, move |inside| {
        loop {
            if let Some(_permit) = shared.acquire_timeout(Duration::from_micros(100)) {
                return inside();
            }
        }
    });
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn a_lock_with_timeouts_around_it_is_not_lost() {
    let lock = Arc::new(Lock::new(()));
    let shared = Arc::clone(&lock);
    all_are_counted(1, move |inside| {
        let mut done = false;
        while !done {
            // The time-out may come while it waits, and while it is inside.
            let _ = timeout(Duration::from_micros(200), || {
                let _guard = shared.lock();
                if !done {
                    done = true;
                    inside();
                }
            });
        }
    });
    assert!(lock.try_lock().is_some());
}

#[test]
fn a_reader_writer_lock_keeps_writers_alone_on_all_hubs() {
    let pool = pool();
    let lock = Arc::new(RwLock::new((0_u64, 0_u64)));
    let writes = Arc::new(AtomicU64::new(0));
    let victims = Victims::of(&pool, {
        let lock = Arc::clone(&lock);
        move || {
            let guard = lock.read();
            assert_eq!(guard.0, guard.1);
            yield_now();
            drop(guard);
            let _guard = lock.write();
            yield_now();
        }
    });
    everywhere(&pool, {
        let (lock, writes) = (Arc::clone(&lock), Arc::clone(&writes));
        move |number| {
            for round in 0..OPERATIONS / WORKERS / 2 {
                if (round + number).is_multiple_of(4) {
                    let mut guard = lock.write();
                    guard.0 += 1;
                    if round.is_multiple_of(16) {
                        yield_now();
                    }
                    guard.1 += 1;
                    writes.fetch_add(1, Ordering::Relaxed);
                } else {
                    let guard = lock.read();
                    assert_eq!(guard.0, guard.1);
                }
            }
        }
    });
    drop(victims);
    let guard = lock.read();
    assert_eq!((guard.0, guard.1), (writes.load(Ordering::Relaxed), writes.load(Ordering::Relaxed)));
    drop(guard);
    assert!(pool.shutdown(HANG).is_empty());
}

// ---- what is handed over ----

macro_rules! all_that_is_put_is_got {
    ($queue:expr, $item:expr) => {{
        let pool = pool();
        let queue = Arc::new($queue);
        let each = OPERATIONS / WORKERS;
        let (putters, sum, count) = (AtomicUsize::new(WORKERS / 2), AtomicU64::new(0), AtomicU64::new(0));
        let totals = Arc::new((sum, count));
        // Jobs that get are killed; what they have got is counted too.
        let victims = Victims::of(&pool, {
            let (queue, totals) = (Arc::clone(&queue), Arc::clone(&totals));
            move || {
                if let Ok(item) = queue.get() {
                    totals.0.fetch_add(item, Ordering::Relaxed);
                    totals.1.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        everywhere(&pool, {
            let (queue, totals) = (Arc::clone(&queue), Arc::clone(&totals));
            move |number| {
                if number.is_multiple_of(2) {
                    for item in (number * each + 1..).take(each) {
                        queue.put($item(item)).unwrap();
                    }
                    if putters.fetch_sub(1, Ordering::AcqRel) == 1 {
                        queue.shutdown(Shutdown::Graceful);
                    }
                    return;
                }
                while let Ok(item) = queue.get() {
                    totals.0.fetch_add(item, Ordering::Relaxed);
                    totals.1.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        drop(victims);
        let put = (0..WORKERS).step_by(2).flat_map(|number| (number * each + 1..).take(each)).map($item);
        let (put_sum, put_count) = put.fold((0, 0), |(sum, count), item: u64| (sum + item, count + 1));
        assert_eq!((totals.0.load(Ordering::Relaxed), totals.1.load(Ordering::Relaxed)), (put_sum, put_count));
        assert!(pool.shutdown(HANG).is_empty());
    }};
}

#[test]
fn a_queue_between_all_hubs_loses_nothing() {
    all_that_is_put_is_got!(Queue::bounded(8), |item: usize| item as u64);
}

#[test]
fn a_lifo_queue_between_all_hubs_loses_nothing() {
    all_that_is_put_is_got!(LifoQueue::bounded(8), |item: usize| item as u64);
}

#[test]
fn a_priority_queue_between_all_hubs_loses_nothing() {
    all_that_is_put_is_got!(PriorityQueue::bounded(8), |item: usize| item as u64);
}

#[test]
fn a_channel_between_all_hubs_loses_nothing() {
    all_that_is_put_is_got!(Channel::new(), |item: usize| item as u64);
}

#[test]
fn a_select_on_all_hubs_takes_each_thing_once() {
    let pool = pool();
    let each = OPERATIONS / WORKERS;
    let queues = Arc::new((Queue::bounded(1), Channel::new(), Semaphore::new(0), Event::new()));
    let (givers, taken) = (AtomicUsize::new(WORKERS / 2), Arc::new(AtomicUsize::new(0)));
    everywhere(&pool, {
        let (queues, taken) = (Arc::clone(&queues), Arc::clone(&taken));
        move |number| {
            let (queue, channel, semaphore, over) = &*queues;
            if number.is_multiple_of(2) {
                for round in 0..each {
                    match round % 3 {
                        0 => select! {
                            put = queue.put(()) => put.unwrap(),
                            put = channel.put(()) => put.unwrap(),
                        },
                        1 => channel.put(()).unwrap(),
                        _ => semaphore.release(),
                    }
                }
                if givers.fetch_sub(1, Ordering::AcqRel) == 1 {
                    over.set();
                }
                return;
            }
            loop {
                select! {
                    item = queue.get() => item.unwrap(),
                    item = channel.get() => item.unwrap(),
                    permit = semaphore.acquire() => permit.forget(),
                    _ = over.wait() => break,
                }
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (queue, channel, semaphore, _) = &*queues;
    let left = std::iter::from_fn(|| queue.try_get().or(channel.try_get()).ok()).count() + semaphore.available();
    assert_eq!(taken.load(Ordering::Relaxed) + left, each * (WORKERS / 2));
    assert!(pool.shutdown(HANG).is_empty());
}

// ---- what is said ----

#[test]
fn a_barrier_lets_all_hubs_through_together() {
    let pool = pool();
    let rounds = OPERATIONS / WORKERS / 4;
    let (barrier, arrived, leaders) = (Barrier::new(WORKERS), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    everywhere(&pool, {
        let leaders = Arc::clone(&leaders);
        move |_| {
            for round in 0..rounds {
                arrived.fetch_add(1, Ordering::AcqRel);
                leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::Relaxed);
                let arrived = arrived.load(Ordering::Acquire);
                assert!(arrived >= (round + 1) * WORKERS, "{arrived} have arrived in round {round}");
            }
        }
    });
    assert_eq!(leaders.load(Ordering::Relaxed), rounds);
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn a_cell_is_initialised_once_by_one_of_all_hubs() {
    let pool = pool();
    let cells: Arc<Vec<OnceCell<usize>>> = Arc::new((0..OPERATIONS / WORKERS).map(|_| OnceCell::new()).collect());
    let made = Arc::new(AtomicUsize::new(0));
    everywhere(&pool, {
        let (cells, made) = (Arc::clone(&cells), Arc::clone(&made));
        move |number| {
            for (round, cell) in cells.iter().enumerate() {
                // Some that would make it fail, so that the next one has to.
                let result = cell.get_or_try_init(|| {
                    yield_now();
                    if number == round % WORKERS { Err(()) } else { Ok(made.fetch_add(1, Ordering::Relaxed)) }
                });
                if result.is_err() {
                    cell.get_or_init(|| made.fetch_add(1, Ordering::Relaxed));
                }
            }
        }
    });
    assert_eq!(made.load(Ordering::Relaxed), cells.len());
    let values: HashSet<usize> = cells.iter().map(|cell| *cell.get().unwrap()).collect();
    assert_eq!(values.len(), cells.len());
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn an_actor_serves_all_hubs_in_each_ones_order() {
    enum Message {
        Tell { from: usize, number: usize },
        Count(Reply<usize>),
    }
    let pool = pool();
    let (send, receive) = std::sync::mpsc::channel();
    let home = pool.handles()[0].clone();
    let server = home.spawn(move || {
        let (mut last, mut count, here) = ([0; WORKERS], 0, thread::current().id());
        let actor = actor(move |message| {
            assert_eq!(thread::current().id(), here);
            match message {
                Message::Tell { from, number } => {
                    assert_eq!(last[from] + 1, number);
                    last[from] = number;
                    count += 1;
                }
                Message::Count(reply) => reply.send(count),
            }
        });
        let greenlet = actor.greenlet().clone();
        send.send(actor).unwrap();
        greenlet.wait();
    });
    let actor = receive.recv().unwrap();
    everywhere(&pool, {
        let actor = actor.clone();
        move |from| {
            for number in 1..=OPERATIONS / WORKERS {
                actor.tell(Message::Tell { from, number }).unwrap();
                if number.is_multiple_of(16) {
                    assert!(actor.ask(Message::Count).unwrap() >= number);
                }
            }
        }
    });
    assert_eq!(actor.ask(Message::Count).unwrap(), OPERATIONS / WORKERS * WORKERS);
    drop(actor);
    result(server);
    assert!(pool.shutdown(HANG).is_empty());
}

// ---- jobs that wait for jobs ----

#[test]
fn jobs_that_wait_for_later_ones_do_not_keep_those_out() {
    const JOBS: usize = 3000;
    let pool = HubPool::new(2).unwrap();
    let events: Arc<Vec<Event>> = Arc::new((0..=JOBS).map(|_| Event::new()).collect());
    let jobs: Vec<_> = (0..JOBS)
        .map(|n| {
            let events = Arc::clone(&events);
            pool.spawn(move || {
                events[n + 1].wait();
                events[n].set();
            })
        })
        .collect();
    events[JOBS].set();
    jobs.into_iter().for_each(result);
    assert!(events[0].is_set());
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn jobs_come_out_as_they_are_completed_and_groups_hold_them() {
    let pool = pool();
    let events: Arc<Vec<Event>> = Arc::new((0..20).map(|_| Event::new()).collect());
    let start = |n: usize| {
        let events = Arc::clone(&events);
        pool.spawn(move || {
            events[n].wait();
            n
        })
    };
    // The last one first.
    let mut completed = as_completed((0..20).map(start));
    for n in (0..20).rev() {
        events[n].set();
        assert_eq!(completed.next().unwrap().unwrap(), n);
    }
    assert!(completed.next().is_none());
    events.iter().for_each(Event::clear);
    // As things that are waited for among others.
    let jobs: Vec<_> = (0..3).map(start).collect();
    let idle = Event::new();
    events[1].set();
    assert_eq!(wait(&[&idle, &jobs[0], &jobs[1], &jobs[2]], Some(1), Some(HANG)), [2]);
    events[2].set();
    events[0].set();
    let mut ready: Vec<_> = iwait(&[&jobs[2], &jobs[0]], None, Some(HANG)).collect();
    ready.sort_unstable();
    assert_eq!(ready, [0, 1]);
    // In a group of another hub, which joins and kills them.
    let group = Group::new();
    let jobs: Vec<_> = (3..10).map(start).collect();
    jobs.iter().for_each(|job| group.add(job));
    events[3].set();
    assert!(!group.join_timeout(Duration::from_millis(10)));
    group.kill().unwrap();
    assert!(group.is_empty());
    let ends: Vec<_> = joinall(jobs);
    assert!(ends[1..].iter().all(|end| matches!(end, Err(JoinError::Killed))) && matches!(ends[0], Ok(3)));
    // And as results, and in a `select!`.
    let one = AsyncResult::<usize, greenlet_sync::Failure>::of(pool.spawn(|| 7));
    assert_eq!(one.get().unwrap(), 7);
    let late = pool.spawn(|| sleep(LONG));
    let chosen = select! {
        _ = late.wait() => unreachable!("it sleeps"),
        _ = select::sleep(Duration::from_millis(5)) => "time",
    };
    assert_eq!(chosen, "time");
    late.kill().unwrap();
    assert!(pool.shutdown(HANG).is_empty());
}

#[test]
fn what_is_not_send_is_made_and_kept_on_one_hub_of_a_pool() {
    let pool = pool();
    let kept = joinall(pool.each(|| {
        let lock = std::rc::Rc::new(Lock::new(Vec::new()));
        let greenlets = (0..10).map(|n| {
            let lock = std::rc::Rc::clone(&lock);
            spawn(move || {
                let mut guard = lock.lock();
                yield_now();
                guard.push(n);
            })
        });
        joinall(greenlets).into_iter().for_each(Result::unwrap);
        std::rc::Rc::into_inner(lock).unwrap().into_inner()
    }));
    assert!(kept.into_iter().all(|kept| kept.unwrap().into_iter().eq(0..10)));
}

// ---- wake-ups ----

/// How long the other side took to answer, from fastest to slowest: `there` answers what `here` has asked, each time from its sleep.
fn answers(there: impl Fn() + Send + 'static, here: impl Fn()) -> Vec<Duration> {
    const ROUNDS: usize = 200;
    let pool = HubPool::new(2).unwrap();
    // Timers far away, so that a wake-up that is only found at the next one takes too long.
    pool.each(|| sleep(LONG)).into_iter().for_each(drop);
    let far = spawn(|| sleep(LONG));
    let answers = pool.spawn(move || (0..ROUNDS).for_each(|_| there()));
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            here();
            start.elapsed()
        })
        .collect();
    result(answers);
    far.kill().unwrap();
    assert!(pool.shutdown(Duration::ZERO).is_empty());
    took.sort_unstable();
    took
}

/// A question and its answer are two wake-ups of a sleeping thread, 0.1 ms; whoever polls is found out by the fastest.
#[track_caller]
fn at_once(took: Vec<Duration>) {
    let (fastest, median) = (took[0], took[took.len() / 2]);
    assert!(fastest < Duration::from_millis(1), "{took:?}");
    assert!(median < Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_queue_wakes_another_hub_at_once() {
    let (ask, answer) = (Arc::new(Queue::unbounded()), Arc::new(Queue::bounded(1)));
    let there = (Arc::clone(&ask), Arc::clone(&answer));
    at_once(answers(
        move || there.1.put(there.0.get().unwrap()).unwrap(),
        || {
            ask.put(7).unwrap();
            assert_eq!(answer.get().unwrap(), 7);
        },
    ));
}

#[test]
fn a_channel_wakes_another_hub_at_once() {
    let (ask, answer) = (Arc::new(Channel::new()), Arc::new(Channel::new()));
    let there = (Arc::clone(&ask), Arc::clone(&answer));
    at_once(answers(
        move || there.1.put(there.0.get().unwrap()).unwrap(),
        || {
            ask.put(7).unwrap();
            assert_eq!(answer.get().unwrap(), 7);
        },
    ));
}

#[test]
fn a_semaphore_wakes_another_hub_at_once() {
    let semaphores = Arc::new([Semaphore::new(0), Semaphore::new(0)]);
    let there = Arc::clone(&semaphores);
    at_once(answers(
        move || {
            there[0].acquire().forget();
            there[1].release();
        },
        || {
            semaphores[0].release();
            semaphores[1].acquire().forget();
        },
    ));
}

#[test]
fn an_event_wakes_another_hub_at_once() {
    let events = Arc::new([Event::new(), Event::new()]);
    let there = Arc::clone(&events);
    at_once(answers(
        move || {
            there[0].wait();
            there[0].clear();
            there[1].set();
        },
        || {
            events[0].set();
            events[1].wait();
            events[1].clear();
        },
    ));
}

#[test]
fn a_condition_wakes_another_hub_at_once() {
    let turn = Arc::new((Lock::new(0), Condition::new()));
    let there = Arc::clone(&turn);
    let pass = |turn: &(Lock<i32>, Condition), from: i32, to: i32| {
        let mut guard = turn.1.wait_for(turn.0.lock(), |turn| *turn == from);
        *guard = to;
        turn.1.notify_all();
    };
    at_once(answers(
        move || pass(&there, 1, 2),
        || {
            pass(&turn, 0, 1);
            pass(&turn, 2, 0);
        },
    ));
}

#[test]
fn a_select_wakes_another_hub_at_once() {
    let queues = Arc::new((Queue::unbounded(), Queue::unbounded(), Queue::unbounded()));
    let there = Arc::clone(&queues);
    let count = AtomicUsize::new(0);
    at_once(answers(
        move || {
            select! {
                item = there.0.get() => there.2.put(item.unwrap()).unwrap(),
                item = there.1.get() => there.2.put(item.unwrap()).unwrap(),
                _ = select::sleep(LONG) => unreachable!("it is asked before"),
            }
        },
        || {
            match count.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => queues.0.put(7).unwrap(),
                _ => queues.1.put(7).unwrap(),
            }
            assert_eq!(queues.2.get().unwrap(), 7);
        },
    ));
}

#[test]
fn spawns_joins_and_kills_wake_another_hub_at_once() {
    let pool = HubPool::new(2).unwrap();
    pool.each(|| sleep(LONG)).into_iter().for_each(drop);
    let hubs: Vec<Handle> = pool.handles().to_vec();
    let times = |act: &dyn Fn(usize)| {
        let mut took: Vec<Duration> = (0..200)
            .map(|round| {
                let start = Instant::now();
                act(round);
                start.elapsed()
            })
            .collect();
        took.sort_unstable();
        took
    };
    at_once(times(&|round| result(hubs[round % 2].spawn(|| ()))));
    at_once(times(&|_| result(pool.spawn(|| ()))));
    at_once(times(&|round| {
        let job = hubs[round % 2].spawn(|| sleep(LONG));
        job.kill().unwrap();
    }));
    // From one of its hubs to the other.
    at_once(times(&|round| {
        let other = hubs[1 - round % 2].clone();
        result(hubs[round % 2].spawn(move || result(other.spawn(|| ()))));
    }));
    assert!(pool.shutdown(Duration::ZERO).is_empty());
}

#[test]
fn a_chain_of_hubs_passes_things_on_at_once() {
    const LINKS: usize = 50;
    let pool = pool();
    let queues: Arc<Vec<Queue<u32>>> = Arc::new((0..=LINKS).map(|_| Queue::unbounded()).collect());
    for n in 0..LINKS {
        let queues = Arc::clone(&queues);
        pool.handles()[n % HUBS].spawn(move || {
            while let Ok(item) = queues[n].get() {
                queues[n + 1].put(item + 1).unwrap();
            }
            queues[n + 1].shutdown(Shutdown::Graceful);
        });
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    for round in 0..50 {
        queues[0].put(round).unwrap();
        seen.lock().unwrap().push(queues[LINKS].get_timeout(HANG).unwrap());
    }
    assert!(seen.lock().unwrap().iter().copied().eq((0..50).map(|round| round + LINKS as u32)));
    queues[0].shutdown(Shutdown::Graceful);
    assert!(queues[LINKS].get().is_err());
    assert!(pool.shutdown(HANG).is_empty());
}
