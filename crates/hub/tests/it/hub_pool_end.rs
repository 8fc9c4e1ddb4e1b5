//! The end of pools: `shutdown`, and pools that are let go of.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Builder, Handle, HubPool, JoinError, JoinHandle, current, joinall, shield, sleep, spawn, spawn_later, timeout,
    yield_now,
};

use crate::child::in_child;
use crate::hub_pool::{Computes, add_one};
use crate::support::{HANG, OnDrop, timed, until};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

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

#[test]
fn what_ends_in_time_is_let_run_out_and_the_rest_is_killed() {
    let pool = HubPool::new(2).unwrap();
    let cleaned = Arc::new(AtomicUsize::new(0));
    let quick: Vec<_> = (0..10).map(|_| pool.spawn(|| sleep(20 * MS))).collect();
    let slow: Vec<_> = (0..10)
        .map(|_| {
            let cleaned = Arc::clone(&cleaned);
            pool.spawn(move || {
                // A cleanup that waits, also for the other hub.
                let _cleanup = OnDrop(|| {
                    sleep(20 * MS);
                    yield_now();
                    cleaned.fetch_add(1, Ordering::Relaxed);
                });
                sleep(LONG);
            })
        })
        .collect();
    until(|| slow.iter().all(|slow| slow.is_started()));
    let (took, left) = timed(|| pool.shutdown(300 * MS));
    assert!(left.is_empty() && took >= 300 * MS && took < HANG, "{took:?}");
    assert!(joinall(quick).into_iter().all(|quick| quick.is_ok()));
    let killed = joinall(slow).into_iter().filter(|slow| matches!(slow, Err(JoinError::Killed))).count();
    assert_eq!((killed, cleaned.load(Ordering::Relaxed)), (10, 10));
    assert!(pool.handles().iter().all(|hub| !hub.is_alive() && hub.load() == 0));
    assert!(matches!(pool.spawn(|| ()).join(), Err(JoinError::HubEnded)));
    assert!(pool.each(|| ()).into_iter().all(|each| matches!(each.join(), Err(JoinError::HubEnded))));
}

#[test]
fn it_returns_as_soon_as_all_have_ended() {
    for _ in 0..50 {
        let pool = HubPool::new(2).unwrap();
        let jobs: Vec<_> = (0..10).map(|_| pool.spawn(|| sleep(MS))).collect();
        let (took, left) = timed(|| pool.shutdown(LONG));
        assert!(left.is_empty() && took < HANG);
        assert!(joinall(jobs).into_iter().all(|job| job.is_ok()));
    }
}

#[test]
fn what_was_spawned_before_it_runs_even_if_the_pool_is_new() {
    for round in 0..300 {
        let pool = HubPool::new(2).unwrap();
        let each = pool.each(Handle::current);
        let jobs: Vec<_> = (0..3).map(|n| pool.spawn(move || n)).collect();
        let over_there = pool.handles()[round % 2].spawn(|| 7);
        if round % 3 == 0 {
            drop(pool);
        } else {
            assert!(pool.shutdown(LONG).is_empty());
        }
        assert_eq!(joinall(jobs).into_iter().map(Result::unwrap).sum::<i32>(), 3);
        assert!(joinall(each).into_iter().all(|each| each.is_ok()), "round {round}");
        assert_eq!(over_there.join().unwrap(), 7);
    }
}

#[test]
fn what_the_pools_own_greenlets_spawn_meanwhile_still_runs() {
    let pool = HubPool::new(2).unwrap();
    let (begun, begins) = mpsc::channel();
    let go_on = Arc::new(AtomicBool::new(false));
    let job = pool.spawn({
        let go_on = Arc::clone(&go_on);
        move || {
            begun.send(()).unwrap();
            while !go_on.load(Ordering::Acquire) {
                yield_now();
            }
            let pool = HubPool::current().unwrap();
            let children: Vec<_> = (0..100).map(|n| pool.spawn(move || n)).collect();
            joinall(children).into_iter().map(Result::unwrap).sum::<u32>()
        }
    });
    begins.recv().unwrap();
    let ended = thread::spawn({
        let pool = pool.clone();
        move || pool.shutdown(LONG).is_empty()
    });
    // Until jobs from outside are refused.
    while pool.spawn(|| ()).join().is_ok() {}
    go_on.store(true, Ordering::Release);
    assert_eq!(job.join().unwrap(), 4950);
    assert!(ended.join().unwrap());
}

#[test]
fn jobs_that_have_not_started_when_it_is_over_never_do() {
    let ended = in_child("hub_pool_end::jobs_that_have_not_started_when_it_is_over_never_do", || {
        let pool = HubPool::new(2).unwrap();
        let busy: Vec<Computes> = pool.handles().iter().map(Computes::on).collect();
        let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let queued: Vec<_> = (0..10)
            .map(|_| {
                let (ran, dropped) = (Arc::clone(&ran), Arc::clone(&dropped));
                let value = OnDrop(move || add_one(&dropped));
                pool.spawn(move || {
                    let _value = value;
                    ran.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let (took, left) = timed(|| pool.shutdown(50 * MS));
        // A greenlet that computes is no resistance that could be named.
        assert!(left.is_empty() && took >= 1000 * MS && took < HANG / 2, "{took:?}");
        // Those who join them are told, though both hubs compute on.
        for job in queued {
            let joined = job.join_timeout(HANG).expect("a job that will never run is joined for ever");
            assert!(matches!(joined, Err(JoinError::HubEnded)));
        }
        drop(busy);
        let start = Instant::now();
        while pool.handles().iter().any(Handle::is_alive) {
            assert!(start.elapsed() < HANG);
            thread::yield_now();
        }
        assert_eq!((ran.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed)), (0, 10));
    });
    ended.check();
    assert_eq!(ended.count("computes on and is left behind"), 2, "{}", ended.stderr);
}

// Up to 61 jobs were started one after the other before the hub looked at the clock.
#[test]
fn a_hub_that_computes_when_it_is_over_starts_no_more_than_one_job() {
    let pool = HubPool::new(1).unwrap();
    let busy = Computes::on(&pool.handles()[0]);
    let ran = Arc::new(AtomicUsize::new(0));
    let jobs: Vec<_> = (0..40)
        .map(|_| {
            let ran = Arc::clone(&ran);
            pool.spawn(move || add_one(&ran))
        })
        .collect();
    let start = Instant::now();
    let ended = thread::spawn({
        let pool = pool.clone();
        move || pool.shutdown(20 * MS).is_empty()
    });
    while pool.spawn(|| ()).join_timeout(Duration::ZERO).is_err() || start.elapsed() < 100 * MS {
        thread::yield_now();
    }
    drop(busy);
    assert!(ended.join().unwrap());
    let ended = joinall(jobs).into_iter().filter(|job| matches!(job, Err(JoinError::HubEnded))).count();
    // The one that it takes before main's turn comes.
    let ran = ran.load(Ordering::Relaxed);
    assert!(ran <= 1 && ended == 40 - ran, "{ran} ran, {ended} were refused");
}

#[test]
fn jobs_behind_one_that_computes_beyond_the_grace_never_start() {
    let pool = HubPool::new(1).unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let busy = Computes::on(&pool.handles()[0]);
    let queued: Vec<_> = (0..100)
        .map(|_| {
            let ran = Arc::clone(&ran);
            pool.spawn(move || add_one(&ran))
        })
        .collect();
    let ended = thread::spawn({
        let pool = pool.clone();
        move || pool.shutdown(Duration::ZERO).is_empty()
    });
    // Told at once, though the hub has no time for it.
    for job in queued {
        let joined = job.join_timeout(HANG).expect("a job that will never run is joined for ever");
        assert!(matches!(joined, Err(JoinError::HubEnded)));
    }
    drop(busy);
    assert!(ended.join().unwrap());
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[test]
fn what_resists_is_returned_and_reported_by_name() {
    let ended = in_child("hub_pool_end::what_resists_is_returned_and_reported_by_name", || {
        let pool = HubPool::new(2).unwrap();
        let shielded = Builder::new().name("shielded").spawn_in(&pool, || shield(|| sleep(LONG)));
        let swallows: JoinHandle<()> = Builder::new().name("swallows").spawn_in(&pool, || {
            loop {
                let _ = std::panic::catch_unwind(|| sleep(LONG));
            }
        });
        let obeys = pool.spawn(|| sleep(LONG));
        until(|| shielded.is_started() && swallows.is_started() && obeys.is_started());
        let (took, left) = timed(|| pool.shutdown(10 * MS));
        assert!(took >= Duration::from_secs(1) && took < HANG, "{took:?}");
        let mut names: Vec<_> = left.iter().map(|left| left.name().unwrap_or("?").to_owned()).collect();
        names.sort();
        assert_eq!(names, ["shielded", "swallows"]);
        assert!(matches!(obeys.join(), Err(JoinError::Killed)));
        // They are leaked with their hubs.
        assert!(matches!(shielded.join(), Err(JoinError::HubEnded)));
        assert!(matches!(swallows.join(), Err(JoinError::HubEnded)));
    });
    ended.check();
    assert_eq!(ended.count("resists its end"), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("'shielded'") && ended.stderr.contains("'swallows'"), "{}", ended.stderr);
    assert_eq!(ended.count("computes on"), 0, "{}", ended.stderr);
}

#[test]
fn a_hub_that_computes_on_is_left_behind() {
    let ended = in_child("hub_pool_end::a_hub_that_computes_on_is_left_behind", || {
        let pool = HubPool::builder().hubs(2).name("sums").build().unwrap();
        let busy = Computes::on(&pool.handles()[1]);
        let quick = pool.spawn(|| 7);
        let (took, left) = timed(|| pool.shutdown(200 * MS));
        assert!(left.is_empty() && took >= 1200 * MS && took < HANG / 2, "{took:?}");
        assert_eq!(quick.join().unwrap(), 7);
        // Once it stops, its hub ends by itself.
        drop(busy);
        let start = Instant::now();
        while pool.handles()[1].is_alive() {
            assert!(start.elapsed() < HANG);
            thread::yield_now();
        }
    });
    ended.check();
    assert_eq!(ended.count("hub 'sums-1' computes on and is left behind"), 1, "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn a_second_call_waits_as_well_and_returns_nothing() {
    let pool = HubPool::new(2).unwrap();
    pool.spawn(|| sleep(20 * MS));
    assert!(pool.shutdown(LONG).is_empty());
    let (took, left) = timed(|| pool.shutdown(LONG));
    assert!(left.is_empty() && took < HANG);
    // Two at once: both return when it is over.
    for _ in 0..50 {
        let pool = HubPool::new(2).unwrap();
        let job = pool.spawn(|| sleep(5 * MS));
        let start = Arc::new(Barrier::new(2));
        let callers = [0, 1].map(|_| {
            let (pool, start) = (pool.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                assert!(pool.shutdown(LONG).is_empty());
                assert!(matches!(pool.spawn(|| ()).join(), Err(JoinError::HubEnded)));
            })
        });
        for caller in callers {
            caller.join().unwrap();
        }
        job.join().unwrap();
    }
}

#[test]
fn a_second_call_with_less_grace_does_not_say_that_those_who_wait_compute() {
    let name = "hub_pool_end::a_second_call_with_less_grace_does_not_say_that_those_who_wait_compute";
    let ended = in_child(name, || {
        let pool = HubPool::new(2).unwrap();
        let job = pool.spawn(|| sleep(2500 * MS));
        let first = thread::spawn({
            let pool = pool.clone();
            move || pool.shutdown(LONG).is_empty()
        });
        while pool.spawn(|| ()).join().is_ok() {}
        // The grace is the first one's.
        assert!(pool.shutdown(Duration::ZERO).is_empty());
        assert!(job.is_finished());
        job.join().unwrap();
        assert!(first.join().unwrap());
    });
    ended.check();
    assert_eq!(ended.stderr, "");
}

#[test]
fn one_of_its_own_greenlets_that_calls_it_is_told_so() {
    let ended = in_child("hub_pool_end::one_of_its_own_greenlets_that_calls_it_is_told_so", || {
        let pool = HubPool::new(2).unwrap();
        let own = pool.spawn({
            let pool = pool.clone();
            move || pool.shutdown(LONG).len()
        });
        assert!(matches!(own.join(), Err(JoinError::Panicked(_))));
        // Nothing has happened to the pool.
        assert_eq!(pool.spawn(|| 7).join().unwrap(), 7);
        // Another pool's greenlets may.
        let other = HubPool::new(1).unwrap();
        let ended = other.spawn(move || pool.shutdown(LONG).len());
        assert_eq!(ended.join().unwrap(), 0);
    });
    ended.check();
    assert_eq!(ended.count("not shut down by one of its own greenlets"), 1, "{}", ended.stderr);
}

#[test]
fn a_time_out_ends_the_wait_for_it_and_others_run_meanwhile() {
    let pool = HubPool::new(2).unwrap();
    let job = pool.spawn(|| sleep(LONG));
    let ran = spawn({
        let main = current();
        move || {
            sleep(MS);
            assert!(!main.is_finished());
            7
        }
    });
    let waits = spawn({
        let pool = pool.clone();
        move || timeout(50 * MS, || pool.shutdown(LONG)).is_err()
    });
    assert!(waits.join().unwrap());
    assert_eq!(ran.join().unwrap(), 7);
    assert!(!job.is_finished());
    // It goes on ending by itself.
    job.kill().unwrap();
    assert!(pool.shutdown(LONG).is_empty());
}

#[test]
fn one_that_is_killed_while_it_waits_for_it_ends() {
    let pool = HubPool::new(2).unwrap();
    let job = pool.spawn(|| sleep(LONG));
    let waits = spawn({
        let pool = pool.clone();
        move || pool.shutdown(LONG).len()
    });
    yield_now();
    waits.kill().unwrap();
    assert!(matches!(waits.join(), Err(JoinError::Killed)));
    job.kill().unwrap();
    assert!(pool.shutdown(LONG).is_empty());
}

#[test]
fn greenlets_that_leave_successors_for_ever_do_not_keep_it() {
    fn again(pool: HubPool) {
        drop(pool.clone().spawn(move || again(pool)));
    }
    fn again_there(hubs: Vec<Handle>, turn: usize) {
        drop(hubs[turn % hubs.len()].clone().spawn(move || again_there(hubs, turn + 1)));
    }
    for _ in 0..5 {
        let pool = HubPool::new(2).unwrap();
        (0..4).for_each(|_| drop(pool.spawn(|| again(HubPool::current().unwrap()))));
        let hubs = pool.handles().to_vec();
        pool.spawn(move || again_there(hubs, 0));
        let (took, left) = timed(|| pool.shutdown(20 * MS));
        assert!(left.is_empty() && took < HANG / 2, "{took:?} {left:?}");
    }
}

#[test]
fn what_a_timer_was_to_start_never_runs() {
    let pool = HubPool::new(2).unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let later = joinall(pool.each({
        let ran = Arc::clone(&ran);
        move || {
            let ran = Arc::clone(&ran);
            spawn_later(LONG, move || add_one(&ran)).greenlet().clone()
        }
    }));
    let (took, left) = timed(|| pool.shutdown(LONG));
    assert!(left.is_empty() && took < HANG, "{took:?}");
    assert!(later.into_iter().all(|later| later.unwrap().is_finished()));
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[test]
fn greenlets_of_its_hubs_that_wait_for_each_other_are_ended() {
    let pool = HubPool::new(2).unwrap();
    let mut last: JoinHandle<()> = pool.spawn(|| sleep(LONG));
    for n in 0..500 {
        let before = last.greenlet().clone();
        last = pool.handles()[n % 2].spawn(move || before.wait());
    }
    until(|| last.is_started());
    let (took, left) = timed(|| pool.shutdown(Duration::ZERO));
    assert!(left.is_empty() && last.is_finished() && took < HANG, "{took:?}");
}

#[test]
fn destructors_that_spawn_on_a_pool_that_ends_are_told_so() {
    let pool = HubPool::new(2).unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let jobs: Vec<_> = (0..20)
        .map(|_| {
            let (pool, refused) = (pool.clone(), Arc::clone(&refused));
            pool.clone().spawn(move || {
                let _spawns = OnDrop(|| {
                    if matches!(pool.spawn(|| ()).join(), Err(JoinError::HubEnded)) {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                });
                sleep(LONG);
            })
        })
        .collect();
    until(|| jobs.iter().all(|job| job.is_started()));
    assert!(pool.shutdown(Duration::ZERO).is_empty());
    assert!(joinall(jobs).into_iter().all(|job| matches!(job, Err(JoinError::Killed))));
    assert_eq!(refused.load(Ordering::Relaxed), 20);
}

#[test]
fn pools_that_shut_each_other_down_end() {
    let pools = [HubPool::new(1).unwrap(), HubPool::new(1).unwrap()];
    let calls = [0, 1].map(|n| {
        let other = pools[1 - n].clone();
        pools[n].spawn(move || other.shutdown(50 * MS).len())
    });
    for call in calls {
        assert!(matches!(call.join(), Ok(0) | Err(JoinError::Killed | JoinError::HubEnded)));
    }
    let (took, ()) = timed(|| pools.iter().for_each(|pool| drop(pool.shutdown(LONG))));
    assert!(took < HANG);
}

// A hub that had nothing left ended at once, although a greenlet of another one was still to spawn: what it spawned then had one hub less.
#[test]
fn the_hubs_end_together() {
    for let_go in [false, true] {
        let pool = HubPool::new(2).unwrap();
        let root = pool.spawn({
            let pool = pool.clone();
            move || {
                // Until the other hub has had nothing to do for long.
                sleep(Duration::from_millis(50));
                let meet = Arc::new(Barrier::new(2));
                let both = [0, 1].map(|_| {
                    let meet = Arc::clone(&meet);
                    // It blocks its thread, so each needs a hub.
                    pool.spawn(move || meet.wait().is_leader())
                });
                both.map(|one| one.join().unwrap())
            }
        });
        if let_go {
            drop(pool);
        } else {
            assert!(pool.shutdown(LONG).is_empty());
        }
        let leaders = root.join().unwrap();
        assert_ne!(leaders[0], leaders[1]);
    }
}

#[test]
fn what_greenlets_spawn_on_every_hub_during_a_shutdown_runs() {
    for _ in 0..200 {
        let pool = HubPool::new(3).unwrap();
        let root = pool.spawn({
            let pool = pool.clone();
            move || {
                for _ in 0..3 {
                    joinall(pool.each(|| ())).into_iter().for_each(Result::unwrap);
                    joinall((0..3).map(|_| pool.spawn(yield_now))).into_iter().for_each(Result::unwrap);
                }
            }
        });
        assert!(pool.shutdown(LONG).is_empty());
        root.join().unwrap();
    }
}
