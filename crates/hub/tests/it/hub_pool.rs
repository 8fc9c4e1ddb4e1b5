//! Pools of hubs: where jobs run, how they are stolen, and how a pool ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{Handle, HubPool, JoinError, joinall, sleep};

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
    let jobs = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
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
fn each_job_that_is_spawned_during_a_shutdown_runs_or_is_refused() {
    for _ in 0..20 {
        let pool = HubPool::new(2).unwrap();
        let spawner = thread::spawn({
            let pool = pool.clone();
            move || {
                let mut ended = (0, 0);
                loop {
                    match pool.spawn(|| ()).join() {
                        Ok(()) => ended.0 += 1,
                        Err(JoinError::HubEnded) => ended.1 += 1,
                        Err(err) => panic!("{err}"),
                    }
                    if ended.1 == 100 {
                        return;
                    }
                }
            }
        });
        thread::sleep(Duration::from_millis(1));
        assert!(pool.shutdown(Duration::from_secs(60)).is_empty());
        spawner.join().unwrap();
    }
}

#[test]
fn a_pool_that_is_let_go_of_runs_what_was_spawned() {
    let pool = HubPool::new(2).unwrap();
    let hub = pool.handles()[0].clone();
    let mut jobs: Vec<_> = (0..10).map(|_| pool.spawn(|| sleep(Duration::from_millis(20)))).collect();
    // These lie in the hubs' inboxes when the pool is let go of.
    jobs.extend(pool.each(|| sleep(Duration::from_millis(20))));
    drop(pool);
    assert!(joinall(jobs).into_iter().all(|job| job.is_ok()));
    let start = Instant::now();
    while hub.is_alive() {
        assert!(start.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(1));
    }
}
