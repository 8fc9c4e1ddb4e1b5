//! `Pool`: slots, and the calls that spread work over them.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, Waitable, current, joinall, no_switch, shield, sleep, spawn, timeout, wait, yield_now};
use greenlet_sync::{AsyncResult, Event, Failure, Pool, PoolFull};

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

#[test]
fn spawning_waits_while_the_pool_is_full() {
    let pool = Pool::new(2);
    let (stop, spawned) = (Rc::new(Event::new()), Rc::new(Cell::new(0)));
    let spawner = spawn({
        let (pool, stop, spawned) = (pool.clone(), Rc::clone(&stop), Rc::clone(&spawned));
        move || {
            for _ in 0..3 {
                let stop = Rc::clone(&stop);
                pool.spawn(move || stop.wait());
                spawned.set(spawned.get() + 1);
            }
        }
    });
    for _ in 0..5 {
        yield_now();
    }
    assert_eq!((spawned.get(), pool.len(), pool.free_count()), (2, 2, 0));
    assert!(matches!(no_switch(|| pool.try_spawn(|| ())), Err(PoolFull(_))));
    assert!(pool.spawn_timeout(MS, || ()).is_err());
    assert!(timeout(MS, || pool.spawn(|| ())).is_err());
    assert!(!pool.wait_available_timeout(MS));
    stop.set();
    spawner.join().unwrap();
    pool.join();
    assert_eq!((spawned.get(), pool.len(), pool.free_count()), (3, 0, 2));
    no_switch(|| pool.spawn(|| ()));
    no_switch(|| pool.wait_available());
    no_switch(|| pool.try_spawn(|| ())).unwrap();
    assert!(pool.spawn_timeout(HANG, || 1).is_ok());
}

#[test]
fn slots_come_back_however_a_member_ends() {
    let pool = Pool::new(3);
    for _ in 0..4 {
        let panicking = pool.spawn(|| {
            if true {
                panic!("a member panics")
            }
        });
        let killed = pool.spawn(|| sleep(HANG));
        let never_run = pool.spawn(|| ());
        never_run.kill_nowait().unwrap();
        assert_eq!(pool.free_count(), 0);
        yield_now();
        killed.kill().unwrap();
        assert!(panicking.join().is_err() && never_run.join().is_err());
        assert_eq!((pool.free_count(), pool.len()), (3, 0));
    }
}

#[test]
fn spawners_that_give_up_lose_no_slot() {
    let pool = Pool::new(1);
    for kill_in_the_same_tick in [false, true] {
        let stop = Rc::new(Event::new());
        let member = pool.spawn({
            let stop = Rc::clone(&stop);
            move || stop.wait()
        });
        let spawners: Vec<_> = (0..3)
            .map(|i| {
                spawn({
                    let pool = pool.clone();
                    move || pool.spawn(move || i).join().unwrap()
                })
            })
            .collect();
        yield_now();
        if kill_in_the_same_tick {
            // The slot is handed to the first, who is killed before he runs.
            let (first, member) = (spawners[0].greenlet().clone(), member.greenlet().clone());
            spawn(move || {
                member.wait();
                first.kill_nowait().unwrap();
            });
            yield_now();
        } else {
            spawners[0].kill().unwrap();
        }
        stop.set();
        let values: Vec<_> = joinall(spawners).into_iter().map(Result::ok).collect();
        assert_eq!(values[1..], [Some(1), Some(2)]);
        assert_eq!(pool.free_count(), 1);
    }
}

#[test]
fn spawners_are_served_in_the_order_in_which_they_came() {
    let (pool, trace) = (Pool::new(1), Rc::new(RefCell::new(Vec::new())));
    let spawners: Vec<_> = (0..5)
        .map(|i| {
            let (pool, trace) = (pool.clone(), Rc::clone(&trace));
            spawn(move || {
                pool.spawn(move || {
                    trace.borrow_mut().push(i);
                    yield_now();
                });
            })
        })
        .collect();
    joinall(spawners);
    pool.join();
    assert_eq!(*trace.borrow(), [0, 1, 2, 3, 4]);
}

#[test]
fn applying_waits_for_the_value() {
    let pool = Pool::new(1);
    assert_eq!(pool.apply(|| 42).unwrap(), 42);
    assert!(matches!(
        pool.apply(|| if true {
            panic!("in a member")
        }),
        Err(JoinError::Panicked(_))
    ));
    // Inline in a member.
    let inner = pool.clone();
    let ids = pool.apply(move || (current().id(), inner.apply(|| current().id()).unwrap())).unwrap();
    assert_eq!(ids.0, ids.1);
    let inner = pool.clone();
    let panicked = pool.apply(move || {
        inner
            .apply(|| {
                if true {
                    panic!("inline")
                }
            })
            .is_err()
    });
    assert!(panicked.unwrap());
}

#[test]
fn an_interrupt_of_what_is_applied_inline_goes_through() {
    let pool = Pool::new(1);
    let inner = pool.clone();
    let member = pool.spawn(move || {
        assert!(timeout(MS, || inner.apply(|| sleep(HANG))).is_err());
        inner.apply(|| sleep(HANG))
    });
    sleep(5 * MS);
    member.kill().unwrap();
    assert!(matches!(member.join(), Err(JoinError::Killed)));
}

#[test]
fn a_caller_that_is_interrupted_kills_what_it_applied() {
    let pool = Pool::new(2);
    assert!(timeout(MS, || pool.apply(|| sleep(HANG))).is_err());
    pool.join();
    assert!(timeout(MS, || pool.map(0..10, |_| sleep(HANG))).is_err());
    pool.join();
    assert_eq!(pool.free_count(), 2);
}

#[test]
fn applying_later_never_switches() {
    let pool = Pool::new(1);
    let results: Vec<_> = no_switch(|| (0..5).map(|n| pool.apply_async(move || 10 / (n - 2))).collect());
    pool.join();
    assert!(results.iter().all(AsyncResult::is_ready));
    let values: Vec<_> = results.iter().map(|result| result.get().ok()).collect();
    assert_eq!(values, [Some(-5), Some(-10), None, Some(10), Some(5)]);
    assert!(matches!(results[2].get(), Err(Failure::Panicked(message)) if message.contains("divide by zero")));
}

#[test]
fn mapping_keeps_the_order_and_puts_errors_at_their_elements() {
    let (pool, busy) = (Pool::new(3), Rc::new(Cell::new((0, 0))));
    let results = pool.map(0..10_u32, {
        let busy = Rc::clone(&busy);
        move |n| {
            let now = busy.get().0 + 1;
            busy.set((now, busy.get().1.max(now)));
            sleep(MS * (10 - n) / 5);
            busy.set((busy.get().0 - 1, busy.get().1));
            assert_ne!(n, 4, "this one fails");
            n
        }
    });
    assert_eq!(busy.get().1, 3);
    let values: Vec<_> = results.into_iter().map(Result::ok).collect();
    assert_eq!(values, (0..10).map(|n| (n != 4).then_some(n)).collect::<Vec<_>>());
    // The input may borrow, and may panic.
    let names = ["a".to_owned(), "b".to_owned()];
    assert_eq!(pool.map(names.iter().map(|name| name.len()), |n| n).len(), 2);
    assert!(catch_unwind(AssertUnwindSafe(|| pool.map((0..3).inspect(|n| assert!(*n < 2)), |_| sleep(HANG)))).is_err());
    pool.join();
    assert!(pool.map(0..0, |n| n).is_empty());
}

#[test]
fn mapping_later_gives_one_result() {
    let pool = Pool::new(2);
    let doubled = no_switch(|| pool.map_async(0..4, |n| 2 * n));
    let failing = pool.map_async((0..3).inspect(|n| assert!(*n < 2, "the input fails")), |n| n);
    pool.join();
    let doubled: Vec<i32> = no_switch(|| doubled.get()).unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(doubled, [0, 2, 4, 6]);
    assert!(matches!(failing.get(), Err(Failure::Panicked(_))));
}

#[test]
fn results_come_in_order_or_as_they_are_made() {
    let pool = Pool::new(5);
    let work = |n: u32| {
        sleep(MS * (5 - n) * 4);
        n
    };
    let in_order: Vec<_> = pool.imap(0..5, 5, work).map(Result::unwrap).collect();
    assert_eq!(in_order, [0, 1, 2, 3, 4]);
    let as_made: Vec<_> = pool.imap_unordered(0..5, 5, work).map(Result::unwrap).collect();
    assert_eq!(as_made, [4, 3, 2, 1, 0]);
}

#[test]
fn an_endless_input_is_asked_only_for_what_has_room() {
    for in_order in [true, false] {
        let (pool, asked) = (Pool::new(2), Rc::new(Cell::new(0)));
        let input = {
            let asked = Rc::clone(&asked);
            (0_u32..).inspect(move |n| asked.set(n + 1))
        };
        let mut results = if in_order { pool.imap(input, 4, |n| n) } else { pool.imap_unordered(input, 4, |n| n) };
        for _ in 0..20 {
            yield_now();
        }
        assert_eq!(asked.get(), 4, "begun without being asked, and stopped by the buffer");
        assert_eq!(results.by_ref().take(10).map(Result::unwrap).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        for _ in 0..20 {
            yield_now();
        }
        assert_eq!(asked.get(), 14);
        drop(results);
        pool.join();
        assert_eq!((asked.get(), pool.free_count()), (14, 2));
    }
}

#[test]
fn an_error_is_at_its_element_and_the_iteration_goes_on() {
    for in_order in [true, false] {
        let pool = Pool::new(2);
        let fail = |n: u32| {
            assert_ne!(n, 1, "this one fails");
            n
        };
        let results = if in_order { pool.imap(0..4, 1, fail) } else { pool.imap_unordered(0..4, 1, fail) };
        let values: Vec<_> = results.map(Result::ok).collect();
        assert_eq!(values, [Some(0), None, Some(2), Some(3)]);
    }
}

#[test]
fn members_that_are_killed_are_errors_too() {
    for in_order in [true, false] {
        let pool = Pool::new(3);
        let slow = |n: u32| {
            if n < 3 {
                sleep(HANG);
            }
            n
        };
        let results = if in_order { pool.imap(0..5, 5, slow) } else { pool.imap_unordered(0..5, 5, slow) };
        yield_now();
        yield_now();
        assert_eq!(pool.len(), 3);
        for member in pool.iter() {
            member.kill_nowait().unwrap();
        }
        let values: Vec<_> = results.map(Result::ok).collect();
        assert_eq!(values, [None, None, None, Some(3), Some(4)]);
    }
}

#[test]
fn dropping_the_results_stops_the_members() {
    let pool = Pool::new(2);
    let mut results = pool.imap(0_u64.., 10, |n| {
        if n > 0 {
            sleep(HANG);
        }
    });
    assert!(results.next().is_some());
    yield_now();
    assert_eq!(pool.len(), 2);
    drop(results);
    assert!(pool.join_timeout(HANG));
    assert_eq!(pool.free_count(), 2);
    // Before anything has run.
    drop(pool.imap_unordered(0_u64.., 10, |n| n));
    yield_now();
    assert!(pool.is_empty());
}

#[test]
fn a_consumer_that_is_interrupted_loses_nothing() {
    let pool = Pool::new(2);
    for in_order in [true, false] {
        let slow = |n: u32| {
            sleep(5 * MS);
            n
        };
        let mut results = if in_order { pool.imap(0..6, 2, slow) } else { pool.imap_unordered(0..6, 2, slow) };
        let mut values = Vec::new();
        loop {
            match timeout(MS, || results.next()) {
                Ok(Some(value)) => values.push(value.unwrap()),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        assert_eq!(values, [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn an_input_that_panics_ends_the_iteration_with_that_panic() {
    let pool = Pool::new(2);
    let mut results = pool.imap((0..5).inspect(|n| assert!(*n < 2, "no more input")), 5, |n| n);
    assert_eq!(results.next().unwrap().unwrap(), 0);
    assert_eq!(results.next().unwrap().unwrap(), 1);
    assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
    assert!(results.next().is_none());
}

#[test]
fn killing_the_pool_ends_members_and_what_waits_for_a_slot() {
    let pool = Pool::new(2);
    let ran = Rc::new(Cell::new(0));
    let results: Vec<_> = (0..5)
        .map(|_| {
            let ran = Rc::clone(&ran);
            pool.apply_async(move || {
                ran.set(ran.get() + 1);
                sleep(HANG);
            })
        })
        .collect();
    yield_now();
    pool.kill().unwrap();
    assert_eq!((ran.get(), pool.len(), pool.free_count()), (2, 0, 2));
    assert!(results.iter().all(|result| matches!(no_switch(|| result.get()), Err(Failure::Killed))));

    pool.spawn(|| shield(|| sleep(20 * MS)));
    yield_now();
    assert!(!pool.kill_timeout(MS).unwrap());
    assert!(pool.kill_timeout(HANG).unwrap());
}

#[test]
fn a_member_may_join_or_kill_its_pool() {
    let pool = Pool::new(3);
    let other = pool.spawn(|| sleep(MS));
    let joining = pool.clone();
    pool.spawn(move || joining.join()).join().unwrap();
    assert!(other.is_finished());
    let (other, killing) = (pool.spawn(|| sleep(HANG)), pool.clone());
    assert!(matches!(pool.spawn(move || killing.kill()).join(), Err(JoinError::Killed)));
    assert!(other.is_finished());
}

#[test]
fn a_pool_is_waited_for_with_other_things() {
    let (pool, event) = (Pool::new(1), Event::new());
    pool.spawn(yield_now);
    let objects: [&dyn Waitable; 2] = [&event, &pool];
    assert_eq!(wait(&objects, Some(1), Some(HANG)), [1]);
    assert_eq!(pool.free_count(), 1);
}

#[test]
fn threads_share_a_pool() {
    const JOBS: usize = 200;
    let (pool, busy, most) = (Pool::new(3), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (pool, busy, most) = (pool.clone(), Arc::clone(&busy), Arc::clone(&most));
            std::thread::spawn(move || {
                let results = pool.map(0..JOBS, move |n| {
                    most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    yield_now();
                    busy.fetch_sub(1, Ordering::SeqCst);
                    n
                });
                results.into_iter().map(Result::unwrap).eq(0..JOBS)
            })
        })
        .collect();
    let start = Instant::now();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    assert!(start.elapsed() < HANG);
    assert!(most.load(Ordering::SeqCst) <= 3);
    pool.join();
    assert_eq!(pool.free_count(), 3);
}

#[test]
fn a_pool_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Pool>();
    check::<AsyncResult<u32>>();
    assert_eq!(format!("{:?}", Pool::new(4)), "Pool { size: 4, len: 0, .. }");
}

#[test]
fn a_map_within_a_member_of_a_full_pool_runs_inline() {
    let pool = Pool::new(1);
    let inner = pool.clone();
    let sums = pool.apply(move || inner.map(1..=3, |n| n * n).into_iter().map(Result::unwrap).sum::<i32>());
    assert_eq!(sums.unwrap(), 14);
}

#[test]
fn a_kill_ends_an_imap_over_an_endless_input() {
    let pool = Pool::new(2);
    let mut results = pool.imap(0_u64.., usize::MAX, |n| n);
    assert_eq!(results.next().unwrap().unwrap(), 0);
    pool.kill().unwrap();
    // Those that were made, and the kill at the end.
    let rest: Vec<_> = results.collect();
    assert!(matches!(rest.last(), Some(Err(JoinError::Killed))));
}
