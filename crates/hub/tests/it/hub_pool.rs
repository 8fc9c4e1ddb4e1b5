//! Pools of hubs: where jobs run, how they are stolen, and what a pool tells of itself.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Handle, HubPool, JoinError, JoinHandle, Reason, WaitList, current, joinall, killall, sleep, spawn, wait_readable,
    yield_now,
};

use crate::child::in_child;
use crate::support::{HANG, OnDrop, timed, until, work};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

/// Keeps a hub from running anything else until it is dropped.
pub(crate) struct Computes(Arc<AtomicBool>);

impl Computes {
    /// Returns when the greenlet computes.
    pub(crate) fn on(hub: &Handle) -> Computes {
        let go_on = Arc::new(AtomicBool::new(false));
        let (begun, begins) = mpsc::channel();
        drop(hub.spawn({
            let go_on = Arc::clone(&go_on);
            move || {
                begun.send(()).unwrap();
                while !go_on.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            }
        }));
        begins.recv().unwrap();
        Computes(go_on)
    }
}

impl Drop for Computes {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

pub(crate) fn add_one(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

// ---- where jobs run ----

#[test]
fn jobs_run_on_the_pools_threads_and_stay_there() {
    let pool = HubPool::new(2).unwrap();
    let jobs = joinall((0..100).map(|_| {
        pool.spawn(|| {
            let before = (Handle::current(), thread::current().id());
            sleep(Duration::from_millis(1));
            (before, (Handle::current(), thread::current().id()))
        })
    }));
    for job in jobs {
        let (before, after) = job.unwrap();
        assert_eq!(before, after);
        assert!(pool.handles().contains(&before.0));
    }
    assert!(pool.shutdown(Duration::from_secs(60)).is_empty());
}

#[test]
fn a_hub_that_computes_keeps_no_job_from_the_others() {
    let pool = HubPool::new(2).unwrap();
    let (started, begun) = mpsc::channel();
    let go_on = Arc::new(AtomicUsize::new(0));
    let computes = pool.spawn({
        let (pool, go_on) = (pool.clone(), Arc::clone(&go_on));
        move || {
            // Into this hub's own queue.
            let jobs: Vec<_> = (0..100).map(|n| pool.spawn(move || (n, Handle::current()))).collect();
            started.send((Handle::current(), jobs)).unwrap();
            while go_on.load(Ordering::Acquire) == 0 {
                std::hint::spin_loop();
            }
        }
    });
    let (busy, jobs) = begun.recv().unwrap();
    for (n, job) in jobs.into_iter().enumerate() {
        let (number, hub) = job.join().unwrap();
        assert_eq!(n, number);
        assert_ne!(hub, busy);
    }
    go_on.store(1, Ordering::Release);
    computes.join().unwrap();
    let stolen: u64 = pool.metrics().hubs.iter().map(|hub| hub.stolen).sum();
    assert!(stolen >= 100, "{stolen}");
    pool.shutdown(Duration::ZERO);
}

#[test]
fn a_million_jobs_from_eight_threads_run_once_each() {
    const THREADS: usize = 8;
    let jobs = 1_000_000;
    let pool = HubPool::new(4).unwrap();
    let runs: Arc<Vec<AtomicUsize>> = Arc::new((0..jobs).map(|_| AtomicUsize::new(0)).collect());
    let start = Arc::new(Barrier::new(THREADS));
    let spawners: Vec<_> = (0..THREADS)
        .map(|spawner| {
            let (pool, runs, start) = (pool.clone(), Arc::clone(&runs), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let mine = (spawner..jobs).step_by(THREADS);
                let handles: Vec<_> = mine
                    .map(|job| {
                        let runs = Arc::clone(&runs);
                        pool.spawn(move || runs[job].fetch_add(1, Ordering::Relaxed))
                    })
                    .collect();
                assert!(joinall(handles).into_iter().all(|before| before.unwrap() == 0));
            })
        })
        .collect();
    for spawner in spawners {
        spawner.join().unwrap();
    }
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
    let metrics = pool.metrics();
    assert_eq!(metrics.hubs.iter().map(|hub| hub.started).sum::<u64>(), jobs as u64);
    assert_eq!(metrics.queued, 0);
    pool.shutdown(Duration::ZERO);
}

#[test]
fn a_pool_of_none_is_an_error() {
    let err = HubPool::new(0).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidInput);
    assert!(err.to_string().contains("one hub"), "{err}");
    assert!(HubPool::builder().hubs(0).build().is_err());
}

#[test]
fn each_runs_once_on_every_hub_also_on_those_that_are_busy_with_other_jobs() {
    let pool = HubPool::new(3).unwrap();
    let others: Vec<_> = (0..100).map(|_| pool.spawn(|| (0..10).for_each(|_| yield_now()))).collect();
    for _ in 0..100 {
        let hubs = joinall(pool.each(Handle::current)).into_iter().map(Result::unwrap);
        assert!(hubs.eq(pool.handles().iter().cloned()));
    }
    joinall(others).into_iter().for_each(Result::unwrap);
    // What is spawned on a hub is no job of the pool.
    let started: u64 = pool.metrics().hubs.iter().map(|hub| hub.started).sum();
    assert_eq!(started, 100);
}

#[test]
fn the_current_pool_is_that_of_the_hub() {
    assert!(HubPool::current().is_none());
    let (one, two) = (HubPool::new(1).unwrap(), HubPool::new(1).unwrap());
    let handles = |pool: &HubPool| pool.spawn(|| HubPool::current().unwrap().handles().to_vec()).join().unwrap();
    assert_eq!(handles(&one), one.handles());
    assert_eq!(handles(&two), two.handles());
    // On a hub of another pool it is that one's.
    let hub = two.handles().to_vec();
    let there = one.spawn(move || hub[0].spawn(|| HubPool::current().unwrap().handles().to_vec()).join().unwrap());
    assert_eq!(there.join().unwrap(), two.handles());
    // Of what has been let go of there is none any more.
    let (let_go, is_let_go) = mpsc::channel();
    let late = one.spawn(move || {
        is_let_go.recv().unwrap();
        HubPool::current().is_none()
    });
    drop(one);
    let_go.send(()).unwrap();
    assert!(late.join().unwrap());
}

#[test]
fn a_job_that_panics_takes_nothing_else_with_it() {
    let ended = in_child("hub_pool::a_job_that_panics_takes_nothing_else_with_it", || {
        let pool = HubPool::new(2).unwrap();
        for round in 0..100 {
            let panics = pool.spawn(|| panic!("a job's"));
            let others: Vec<_> = (0..10).map(|n| pool.spawn(move || n)).collect();
            assert!(matches!(panics.join(), Err(JoinError::Panicked(_))), "round {round}");
            assert_eq!(joinall(others).into_iter().map(Result::unwrap).sum::<u32>(), 45);
        }
        assert!(pool.shutdown(LONG).is_empty());
    });
    ended.check();
}

#[test]
fn sixty_four_hubs_share_few_cores() {
    let pool = HubPool::new(64).unwrap();
    assert_eq!(joinall(pool.each(|| sleep(MS))).into_iter().filter(|ended| ended.is_ok()).count(), 64);
    let jobs: Vec<_> = (0..6400)
        .map(|n| {
            pool.spawn(move || {
                yield_now();
                n
            })
        })
        .collect();
    assert_eq!(joinall(jobs).into_iter().map(Result::unwrap).sum::<u32>(), 6400 * 6399 / 2);
    assert!(pool.shutdown(LONG).is_empty());
}

#[test]
fn jobs_notice_nothing_of_those_that_wait_while_they_unwind() {
    let pool = HubPool::new(1).unwrap();
    let (begun, begins) = mpsc::channel();
    let go_on = Arc::new((AtomicBool::new(false), WaitList::new()));
    let unwinds: Vec<JoinHandle<()>> = (0..4)
        .map(|_| {
            let (begun, go_on) = (begun.clone(), Arc::clone(&go_on));
            pool.spawn(move || {
                let _waits = OnDrop(|| {
                    assert!(thread::panicking());
                    begun.send(()).unwrap();
                    let is_over = || go_on.0.load(Ordering::Acquire);
                    while !is_over() {
                        go_on.1.wait(Reason::new("the test"), None, is_over);
                    }
                    assert!(thread::panicking());
                });
                sleep(LONG);
            })
        })
        .collect();
    until(|| unwinds.iter().all(|greenlet| greenlet.is_started()));
    unwinds.iter().for_each(|greenlet| greenlet.kill_nowait().unwrap());
    unwinds.iter().for_each(|_| begins.recv_timeout(HANG).unwrap());
    for _ in 0..100 {
        let mutex = Arc::new(Mutex::new(7));
        let job = pool.spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                let guard = mutex.lock().unwrap();
                (thread::panicking(), *guard)
            }
        });
        assert_eq!(job.join().unwrap(), (false, 7));
        assert!(!mutex.is_poisoned());
    }
    go_on.0.store(true, Ordering::Release);
    go_on.1.notify_all();
    assert!(joinall(unwinds).into_iter().all(|ended| matches!(ended, Err(JoinError::Killed))));
    assert!(pool.shutdown(LONG).is_empty());
}

#[test]
fn one_hub_starts_jobs_from_outside_in_their_order_but_for_one_at_each_look() {
    let pool = HubPool::new(1).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let busy = Computes::on(&pool.handles()[0]);
    let jobs: Vec<_> = (0..1000)
        .map(|n| {
            let order = Arc::clone(&order);
            pool.spawn(move || order.lock().unwrap().push(n))
        })
        .collect();
    drop(busy);
    joinall(jobs).into_iter().for_each(Result::unwrap);
    // The one that each look takes from outside goes ahead of those that came in with the last batch, 32 at the most.
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 1000);
    assert!(order.iter().enumerate().all(|(place, job): (usize, &usize)| place.abs_diff(*job) <= 32), "{order:?}");
}

// ---- jobs that have not started ----

#[test]
fn a_job_that_is_killed_before_it_starts_never_runs_and_its_joiners_are_told() {
    let pool = HubPool::new(2).unwrap();
    for round in 0..100 {
        let busy: Vec<Computes> = pool.handles().iter().map(Computes::on).collect();
        let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs: Vec<JoinHandle<()>> = (0..10)
            .map(|_| {
                let (ran, dropped) = (Arc::clone(&ran), Arc::clone(&dropped));
                let value = OnDrop(move || add_one(&dropped));
                pool.spawn(move || {
                    let _value = value;
                    ran.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let joiner = spawn({
            let first = jobs[0].greenlet().clone();
            move || first.wait()
        });
        for job in jobs.iter().step_by(2) {
            assert!(!job.is_started());
            job.kill_nowait().unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 0, "by the killer");
        drop(busy);
        for (n, job) in jobs.into_iter().enumerate() {
            let started = job.greenlet().clone();
            match job.join() {
                Err(JoinError::Killed) => assert!(n.is_multiple_of(2) && !started.is_started()),
                Ok(()) => assert!(!n.is_multiple_of(2) && started.is_started()),
                Err(err) => panic!("round {round}: {err}"),
            }
        }
        joiner.join().unwrap();
        assert_eq!((ran.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed)), (5, 10));
    }
}

#[test]
fn jobs_that_are_killed_while_they_start_end_once_each() {
    const JOBS: usize = 20_000;
    let pool = HubPool::new(2).unwrap();
    let (started, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..JOBS)
        .map(|_| {
            let (started, dropped) = (Arc::clone(&started), Arc::clone(&dropped));
            let value = OnDrop(move || add_one(&dropped));
            let job = pool.spawn(move || {
                let _value = value;
                started.fetch_add(1, Ordering::Relaxed);
                sleep(LONG);
            });
            job.kill_nowait().unwrap();
            job
        })
        .collect();
    assert!(joinall(jobs).into_iter().all(|job| matches!(job, Err(JoinError::Killed))));
    assert_eq!(dropped.load(Ordering::Relaxed), JOBS);
    assert!(started.load(Ordering::Relaxed) < JOBS);
}

#[test]
fn a_long_job_in_front_of_many_holds_up_none() {
    let pool = HubPool::new(2).unwrap();
    for _ in 0..20 {
        let go_on = Arc::new(AtomicBool::new(false));
        let long = pool.spawn({
            let go_on = Arc::clone(&go_on);
            move || {
                while !go_on.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                Handle::current()
            }
        });
        let others: Vec<_> = (0..200).map(|_| pool.spawn(Handle::current)).collect();
        let others: HashSet<u32> = joinall(others).into_iter().map(|hub| hub.unwrap().id()).collect();
        go_on.store(true, Ordering::Release);
        let long = long.join().unwrap();
        // It may have started after some of the others.
        assert!(others.iter().any(|hub| *hub != long.id()));
    }
}

#[test]
fn a_hub_that_is_called_and_computes_something_else_leaves_no_job_behind() {
    let pool = HubPool::new(2).unwrap();
    for round in 0..500 {
        // Both sleep, or are about to.
        until(|| pool.handles().iter().all(|hub| hub.load() == 0));
        let busy = &pool.handles()[round % 2];
        let go_on = Arc::new(AtomicBool::new(false));
        let computes = |go_on: &Arc<AtomicBool>| {
            let go_on = Arc::clone(go_on);
            busy.spawn(move || {
                while !go_on.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            })
        };
        // Before and behind the job, in whichever order the hub sees them.
        let mut computing = vec![computes(&go_on)];
        let jobs: Vec<_> = (0..1 + round % 3).map(|n| pool.spawn(move || n)).collect();
        computing.push(computes(&go_on));
        for (n, job) in jobs.into_iter().enumerate() {
            let job = job
                .join_timeout(HANG)
                .unwrap_or_else(|_| panic!("round {round}: a job waits behind one that computes"));
            assert_eq!(job.unwrap(), n);
        }
        go_on.store(true, Ordering::Release);
        joinall(computing).into_iter().for_each(Result::unwrap);
    }
}

#[test]
fn a_hub_that_is_never_idle_takes_jobs_all_the_same() {
    let pool = HubPool::new(1).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            pool.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    yield_now();
                }
            })
        })
        .collect();
    // From outside, from inside, and onto it.
    for _ in 0..100 {
        pool.spawn(|| ()).join().unwrap();
        pool.handles()[0].spawn(|| HubPool::current().unwrap().spawn(|| ()).join().unwrap()).join().unwrap();
    }
    over.store(true, Ordering::Relaxed);
    joinall(busy).into_iter().for_each(Result::unwrap);
}

#[test]
fn those_who_spawn_without_end_keep_no_job_from_outside_out() {
    /// Spawns its successor on the pool.
    fn again(over: Arc<AtomicBool>, left: Arc<(AtomicUsize, WaitList)>) {
        if !over.load(Ordering::Relaxed) {
            let pool = HubPool::current().unwrap();
            drop(pool.spawn(move || again(over, left)));
        } else if left.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            left.1.notify_all();
        }
    }
    let pool = HubPool::new(2).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let left = Arc::new((AtomicUsize::new(20), WaitList::new()));
    for _ in 0..20 {
        let (over, left) = (Arc::clone(&over), Arc::clone(&left));
        pool.spawn(move || again(over, left));
    }
    for _ in 0..200 {
        let outside = pool.spawn(|| 7).join_timeout(HANG).expect("a job from outside starves");
        assert_eq!(outside.unwrap(), 7);
    }
    over.store(true, Ordering::Relaxed);
    let none_left = || left.0.load(Ordering::Acquire) == 0;
    while !none_left() {
        assert!(left.1.wait(Reason::new("the last"), Some(Instant::now() + HANG), none_left));
    }
}

// ---- storms ----

#[test]
fn a_storm_of_jobs_of_one_hub_runs_on_all_once_each() {
    const JOBS: usize = if cfg!(debug_assertions) { 30_000 } else { 100_000 };
    let pool = HubPool::new(4).unwrap();
    let runs: Arc<Vec<AtomicUsize>> = Arc::new((0..JOBS).map(|_| AtomicUsize::new(0)).collect());
    let source = pool.handles()[0].spawn({
        let (pool, runs) = (pool.clone(), Arc::clone(&runs));
        move || {
            let jobs = (0..JOBS).map(|job| {
                let runs = Arc::clone(&runs);
                pool.spawn(move || {
                    match job % 3 {
                        0 => sleep(Duration::ZERO),
                        1 => yield_now(),
                        _ => {}
                    }
                    runs[job].fetch_add(1, Ordering::Relaxed);
                    Handle::current().id()
                })
            });
            joinall(jobs).into_iter().map(Result::unwrap).collect::<HashSet<u32>>()
        }
    });
    let hubs = source.join().unwrap();
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
    assert!(hubs.len() > 1, "nobody stole");
    let metrics = pool.metrics();
    assert_eq!(metrics.hubs.iter().map(|hub| hub.started).sum::<u64>(), JOBS as u64);
    assert!(metrics.hubs.iter().all(|hub| hub.queued == 0));
    assert!(pool.shutdown(LONG).is_empty());
}

/// The leaves below a job that spawns two on the pool and joins them.
fn fork_and_join(depth: u32) -> u64 {
    if depth == 0 {
        return 1;
    }
    let pool = HubPool::current().unwrap();
    let halves = [pool.spawn(move || fork_and_join(depth - 1)), pool.spawn(move || fork_and_join(depth - 1))];
    halves.map(|half| half.join().unwrap()).iter().sum()
}

#[test]
fn trees_of_jobs_that_join_their_children_grow_and_end() {
    let pool = HubPool::new(2).unwrap();
    // From outside, and from a greenlet of one of the hubs.
    assert_eq!(pool.spawn(|| fork_and_join(12)).join().unwrap(), 1 << 12);
    let trees: Vec<_> = pool.each(|| fork_and_join(9));
    let outside: Vec<_> = (0..4).map(|_| pool.spawn(|| fork_and_join(8))).collect();
    assert_eq!(joinall(trees).into_iter().map(Result::unwrap).sum::<u64>(), 2 << 9);
    assert_eq!(joinall(outside).into_iter().map(Result::unwrap).sum::<u64>(), 4 << 8);
    assert!(pool.shutdown(LONG).is_empty());
}

#[test]
fn trees_that_are_killed_in_the_middle_end() {
    let pool = HubPool::new(2).unwrap();
    for _ in 0..10 {
        // A job that is killed kills no children: those end by themselves, or with the pool.
        let trees: Vec<_> = (0..4).map(|_| pool.spawn(|| fork_and_join(6))).collect();
        yield_now();
        assert!(killall(&trees, Some(HANG)).unwrap());
    }
    assert!(pool.shutdown(LONG).is_empty());
}

#[test]
fn a_pool_that_falls_asleep_again_and_again_sleeps_through_nothing() {
    const ROUNDS: usize = 5_000;
    let pool = HubPool::new(4).unwrap();
    // Each job is spawned while the hubs are about to sleep after the one before; by two who take turns with nobody.
    let spawner = |pool: HubPool, pause: u32| {
        move || {
            for round in 0..ROUNDS {
                let job = pool.spawn(move || round).join_timeout(HANG).expect("a job was slept through");
                assert_eq!(job.unwrap(), round);
                (0..pause * (round as u32 % 50)).for_each(|_| std::hint::spin_loop());
            }
        }
    };
    let other = thread::spawn(spawner(pool.clone(), 7));
    spawner(pool.clone(), 100)();
    other.join().unwrap();
}

// ---- idle pools ----

#[cfg(target_os = "linux")]
#[test]
fn an_idle_pool_takes_no_time_and_never_wakes() {
    /// Voluntary switches of each thread, by number.
    fn switches() -> Vec<(String, u64)> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let switches = tasks.map(|task| {
            let path = task.unwrap().path();
            let status = std::fs::read_to_string(path.join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim().to_owned()
            };
            (field("Name:"), field("voluntary_ctxt_switches:").parse().unwrap())
        });
        let mut switches: Vec<_> = switches.collect();
        switches.sort();
        switches
    }

    fn cpu() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: there is room for the answer.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    let ended = in_child("hub_pool::an_idle_pool_takes_no_time_and_never_wakes", || {
        let pool = HubPool::builder().hubs(4).name("idle").build().unwrap();
        let check_idle = |when: &str| {
            let (before, cpu_before) = (switches(), cpu());
            thread::sleep(2200 * MS);
            let (after, took) = (switches(), cpu() - cpu_before);
            let of_pool = |switches: &[(String, u64)]| {
                let pools = switches.iter().filter(|(name, _)| name.starts_with("idle-"));
                pools.map(|(_, count)| count).sum::<u64>()
            };
            let woken = of_pool(&after) - of_pool(&before);
            assert!(woken <= 4, "{when}: the hubs woke {woken} times\n{before:?}\n{after:?}");
            assert!(took < 40 * MS, "{when}: {took:?}");
        };
        joinall(pool.each(|| ()));
        check_idle("new");
        // With stacks to be trimmed, descriptors that were registered, and timers that were cancelled.
        let jobs = (0..1000).map(|_| pool.spawn(|| sleep(10 * MS)));
        joinall(jobs);
        joinall(pool.each(|| {
            let (near, far) = UnixStream::pair().unwrap();
            let reader = spawn(move || wait_readable(&near).unwrap());
            yield_now();
            drop(far);
            reader.join().unwrap();
            let sleeper = spawn(|| sleep(LONG));
            yield_now();
            sleeper.kill().unwrap();
        }));
        // What is idle for a second is trimmed then.
        thread::sleep(1500 * MS);
        check_idle("after work");
        // One greenlet waits for another thread, as those of an idle server do: the deadlock's looks apart it is idle too.
        let list = Arc::new(WaitList::new());
        let waits = pool.spawn({
            let list = Arc::clone(&list);
            move || list.wait(Reason::new("a thread"), None, || false)
        });
        let before = switches();
        thread::sleep(1500 * MS);
        let count = |switches: Vec<(String, u64)>| switches.iter().map(|(_, count)| count).sum::<u64>();
        let woken = count(switches()) - count(before);
        assert!(woken < 15, "{woken} switches with one that waits");
        while !list.notify_one() {
            thread::yield_now();
        }
        waits.join().unwrap();
        assert!(pool.shutdown(LONG).is_empty());
    });
    ended.check();
    assert_eq!(ended.stderr, "");
}

#[cfg(target_os = "linux")]
#[test]
fn many_pools_leave_no_threads_and_no_descriptors_behind() {
    use crate::support::{descriptors, status};

    let ended = in_child("hub_pool::many_pools_leave_no_threads_and_no_descriptors_behind", || {
        let live = |shut_down: bool| {
            let pool = HubPool::new(3).unwrap();
            let jobs: Vec<_> = (0..20)
                .map(|n: u32| {
                    pool.spawn(move || {
                        yield_now();
                        n
                    })
                })
                .collect();
            joinall(pool.each(|| {
                let (near, mut far) = UnixStream::pair().unwrap();
                spawn(move || std::io::Write::write_all(&mut far, b"x").unwrap());
                wait_readable(&near).unwrap();
            }));
            if shut_down {
                assert!(pool.shutdown(LONG).is_empty());
            } else {
                drop(pool);
            }
            assert_eq!(joinall(jobs).into_iter().map(Result::unwrap).sum::<u32>(), 190);
        };
        let all_gone = || until(|| status("Threads") == 2);
        (0..20).for_each(|round| live(round % 2 == 0));
        all_gone();
        let (before, memory) = (descriptors().len(), status("VmRSS"));
        (0..200).for_each(|round| live(round % 2 == 0));
        all_gone();
        assert_eq!(descriptors().len(), before);
        assert!(status("VmRSS") < memory + 8192, "{memory} kB, then {}", status("VmRSS"));
    });
    ended.check();
}

#[test]
fn a_pool_is_let_go_of_in_its_own_job() {
    let pool = HubPool::new(2).unwrap();
    let hubs = pool.handles().to_vec();
    let (go, gone) = mpsc::channel();
    let job = pool.clone().spawn(move || {
        gone.recv().unwrap();
        // The last handle on it.
        drop(pool);
        assert!(HubPool::current().is_none());
        sleep(MS);
        7
    });
    go.send(()).unwrap();
    assert_eq!(job.join().unwrap(), 7);
    until(|| hubs.iter().all(|hub| !hub.is_alive()));
}

// ---- fairness ----

#[test]
fn a_flooded_pool_serves_timers_and_descriptors_on_each_hub() {
    let pool = HubPool::new(2).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..2)
        .map(|_| {
            let (pool, over) = (pool.clone(), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // Never more than some thousand ahead of the hubs.
                    let jobs: Vec<_> = (0..1000).map(|_| pool.spawn(|| work(Duration::from_micros(5)))).collect();
                    until(|| pool.metrics().queued < 2000);
                    drop(jobs);
                }
            })
        })
        .collect();
    let rounds = |pool: &HubPool| {
        pool.each(|| {
            let mut latest = Duration::ZERO;
            for _ in 0..20 {
                let (took, ()) = timed(|| sleep(MS));
                latest = latest.max(took - MS);
                let (near, mut far) = UnixStream::pair().unwrap();
                let reader = spawn(move || {
                    wait_readable(&near).unwrap();
                    Instant::now()
                });
                yield_now();
                let written = Instant::now();
                std::io::Write::write_all(&mut far, b"x").unwrap();
                latest = latest.max(reader.join().unwrap().saturating_duration_since(written));
            }
            latest
        })
    };
    for latest in joinall(rounds(&pool)) {
        // A look comes after 61 jobs of 5 µs; the rest is for threads that share their cores with others.
        let latest = latest.unwrap();
        assert!(latest < 500 * MS, "{latest:?}");
    }
    over.store(true, Ordering::Relaxed);
    flood.into_iter().for_each(|thread| thread.join().unwrap());
}

// Each look took a batch from outside and started its first: the rest waited in the hub's own queue, behind which jobs never came.
#[test]
fn among_greenlets_that_are_always_ready_jobs_start_in_order_and_none_keeps_the_others_out() {
    const OUTSIDE: usize = 200;
    const OWN: usize = 10;
    let pool = HubPool::new(1).unwrap();
    let (order, left) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let note = |number: usize| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(number)
    };
    let own: Vec<_> = (0..OWN).map(|number| note(OUTSIDE + number)).collect();
    let (begun, begins) = mpsc::channel();
    let ready = pool.spawn({
        let (pool, order, left) = (pool.clone(), Arc::clone(&order), Arc::clone(&left));
        move || {
            begun.send(()).unwrap();
            until(|| left.load(Ordering::Acquire));
            let own: Vec<_> = own.into_iter().map(|own| pool.spawn(own)).collect();
            while order.lock().unwrap().len() < OUTSIDE + OWN {
                yield_now();
            }
            drop(own);
        }
    });
    // From here on there is always one ready.
    begins.recv().unwrap();
    let outside: Vec<_> = (0..OUTSIDE).map(|number| pool.spawn(note(number))).collect();
    left.store(true, Ordering::Release);
    ready.join().unwrap();
    joinall(outside);
    let order = order.lock().unwrap();
    let places = |of: fn(&usize) -> bool| -> Vec<usize> { order.iter().copied().filter(of).collect() };
    assert!(places(|number| *number < OUTSIDE).is_sorted(), "{order:?}");
    assert!(places(|number| *number >= OUTSIDE).is_sorted(), "{order:?}");
    let last = order.iter().position(|number| *number == OUTSIDE + OWN - 1).unwrap();
    assert!(last <= 2 * OWN, "{order:?}");
}

// ---- what it tells ----

#[test]
fn the_metrics_tell_what_is_queued_while_all_hubs_compute() {
    let pool = HubPool::new(2).unwrap();
    let busy: Vec<Computes> = pool.handles().iter().map(Computes::on).collect();
    let jobs: Vec<_> = (0..10).map(|_| pool.spawn(|| ())).collect();
    let metrics = pool.metrics();
    assert_eq!(metrics.queued, 10);
    assert!(metrics.hubs.iter().all(|hub| hub.greenlets == 1 && hub.started == 0 && hub.queued == 0), "{metrics:?}");
    drop(busy);
    joinall(jobs).into_iter().for_each(Result::unwrap);
    assert_eq!(pool.metrics().queued, 0);
    // And in a hub's own queue.
    let other = Computes::on(&pool.handles()[1]);
    let queued = pool.handles()[0].spawn({
        let pool = pool.clone();
        move || {
            let jobs: Vec<_> = (0..10).map(|_| pool.spawn(|| ())).collect();
            (pool.metrics(), jobs)
        }
    });
    let (metrics, jobs) = queued.join().unwrap();
    assert_eq!((metrics.queued, metrics.hubs[0].queued, metrics.hubs[1].queued), (0, 10, 0));
    joinall(jobs).into_iter().for_each(Result::unwrap);
    drop(other);
    let started: u64 = pool.metrics().hubs.iter().map(|hub| hub.started).sum();
    assert_eq!(started, 20);
}

#[test]
fn the_metrics_tell_how_busy_the_hubs_are() {
    let pool = HubPool::new(2).unwrap();
    let before = pool.metrics();
    joinall(pool.each(|| (0..1000).for_each(|_| yield_now())));
    let busy = Computes::on(&pool.handles()[0]);
    // Some of their lives: the one computes, the other sleeps.
    thread::sleep(200 * MS);
    let after = pool.metrics();
    drop(busy);
    for (before, after) in before.hubs.iter().zip(&after.hubs) {
        assert!(after.turns > before.turns, "{after:?}");
        assert!((0.0..=1.0).contains(&before.busy_share) && (0.0..=1.0).contains(&after.busy_share), "{after:?}");
    }
    assert!(after.hubs[0].busy_share > after.hubs[1].busy_share, "{after:?}");
    assert!(after.hubs[0].busy_share > 0.5, "{after:?}");
    assert!(format!("{pool:?} {after:?}").contains("busy_share"));
}

#[test]
fn the_metrics_of_a_pool_that_has_ended_are_its_own() {
    let pool = HubPool::new(2).unwrap();
    joinall((0..10).map(|_| pool.spawn(|| ())));
    pool.shutdown(LONG);
    // These have the places of those that have ended.
    let next = HubPool::new(2).unwrap();
    joinall(next.each(|| (0..10_000).for_each(|_| yield_now())));
    let metrics = pool.metrics();
    assert_eq!(metrics.hubs.iter().map(|hub| hub.started).sum::<u64>(), 10);
    assert!(
        metrics.hubs.iter().all(|hub| hub.turns == 0 && hub.busy_share == 0.0 && hub.greenlets == 0),
        "{metrics:?}"
    );
    assert_eq!(metrics, pool.metrics(), "they change no more");
}

// ---- between its hubs ----

#[test]
fn greenlets_of_its_hubs_join_link_and_kill_each_other() {
    const ROUNDS: u64 = 5_000;
    let pool = HubPool::new(2).unwrap();
    let hubs = pool.handles().to_vec();
    let (linked, ran) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let sides = [0, 1].map(|side| {
        let (hubs, linked, ran) = (hubs.clone(), Arc::clone(&linked), Arc::clone(&ran));
        hubs[side].clone().spawn(move || {
            let own = thread::current().id();
            for round in 0..ROUNDS {
                let other = hubs[1 - side].spawn(move || {
                    if round.is_multiple_of(2) {
                        sleep(LONG);
                    }
                    round
                });
                let linked = Arc::clone(&linked);
                other.link(move |_| {
                    assert_eq!(thread::current().id(), own);
                    linked.fetch_add(1, Ordering::Relaxed);
                });
                if round.is_multiple_of(2) {
                    other.kill_nowait().unwrap();
                    assert!(matches!(other.join(), Err(JoinError::Killed)));
                } else {
                    assert_eq!(other.join().unwrap(), round);
                }
                ran.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for side in sides {
        side.join().unwrap();
    }
    // The last one's link may have been made after the end, and is ready then.
    assert!(pool.shutdown(LONG).is_empty());
    assert_eq!(ran.load(Ordering::Relaxed), 2 * ROUNDS);
    assert_eq!(linked.load(Ordering::Relaxed), 2 * ROUNDS);
}

#[test]
fn one_job_is_joined_by_all_hubs_at_once() {
    let pool = HubPool::new(4).unwrap();
    for round in 0..500 {
        let job = pool.spawn(move || {
            if round % 2 == 0 {
                yield_now();
            }
        });
        let greenlet = job.greenlet().clone();
        let joiners = pool.each(move || {
            greenlet.wait();
            greenlet.is_successful()
        });
        assert!(joinall(joiners).into_iter().all(Result::unwrap));
        job.join().unwrap();
    }
    assert!(!current().is_finished());
}

#[test]
fn values_go_from_job_to_job_and_are_dropped_once_each() {
    let pool = HubPool::new(2).unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let log = Arc::new(Mutex::new(Vec::new()));
    let jobs: Vec<_> = (0..2_000)
        .map(|n| {
            let (made, log) = (Arc::clone(&made), Arc::clone(&log));
            pool.spawn(move || {
                made.fetch_add(1, Ordering::Relaxed);
                OnDrop(move || log.lock().unwrap().push(n))
            })
        })
        .collect();
    // Some are joined, some let go of before they have ended, some after.
    for (n, job) in jobs.into_iter().enumerate() {
        match n % 3 {
            0 => drop(job.join().unwrap()),
            1 => drop(job),
            _ => {
                job.wait();
                drop(job);
            }
        }
    }
    assert!(pool.shutdown(LONG).is_empty());
    let mut log = log.lock().unwrap();
    log.sort_unstable();
    assert!(log.iter().copied().eq(0..2_000) && made.load(Ordering::Relaxed) == 2_000);
}
