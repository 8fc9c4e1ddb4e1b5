//! Pools of OS threads: who runs what when, and what becomes of jobs, threads and those who wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Elapsed, Greenlet, Handle, JoinError, JoinHandle, OffloadHandle, Reason, ThreadPool, Wait, Waitable, joinall,
    no_switch, sleep, spawn, timeout, wait, yield_now,
};

use crate::child::{alone_in_child, in_child};
use crate::support::{HANG, OnDrop, cpu_micros, descriptors, status};

const MS: Duration = Duration::from_millis(1);

/// Where jobs block their threads until the test lets them go on.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Gate {
    /// Blocks the thread until the gate is open.
    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.1 += 1;
        self.0.1.notify_all();
        drop(self.0.1.wait_while(state, |state| !state.0).unwrap());
    }

    /// Blocks the thread until so many stand before it, or have passed.
    fn wait_for(&self, count: usize) {
        let state = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(state, HANG, |state| state.1 < count).unwrap();
        assert!(!waited.1.timed_out(), "{} instead of {count} came", waited.0.1);
    }

    fn open(&self) {
        self.0.0.lock().unwrap().0 = true;
        self.0.1.notify_all();
    }

    fn came(&self) -> usize {
        self.0.0.lock().unwrap().1
    }
}

/// Waits until it is so, for the hub as well.
#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "it never came true");
        sleep(MS);
    }
}

fn block(pool: &ThreadPool, gate: &Gate) -> OffloadHandle<()> {
    let gate = gate.clone();
    pool.spawn(move || gate.pass())
}

fn panic_text<T>(result: Result<T, JoinError>) -> String {
    match result {
        Err(JoinError::Panicked(payload)) => (*payload.downcast::<&str>().expect("a message")).to_owned(),
        Err(err) => panic!("{err}"),
        Ok(_) => panic!("it should have failed"),
    }
}

#[test]
fn one_thread_runs_jobs_in_the_order_in_which_they_came() {
    let (pool, gate) = (ThreadPool::new(1), Gate::default());
    let blocked = block(&pool, &gate);
    let order = Arc::new(Mutex::new(Vec::new()));
    let handles = Vec::from_iter((0..100).map(|number| {
        let order = Arc::clone(&order);
        pool.spawn(move || order.lock().unwrap().push(number))
    }));
    gate.open();
    blocked.join().unwrap();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..100));
}

#[test]
fn no_more_threads_than_the_size_are_started_and_the_rest_is_queued() {
    let (pool, gate) = (ThreadPool::new(3), Gate::default());
    let handles = Vec::from_iter((0..5).map(|_| block(&pool, &gate)));
    gate.wait_for(3);
    let metrics = pool.metrics();
    assert_eq!((metrics.threads, metrics.idle, metrics.queued, metrics.completed), (3, 0, 2, 0));
    assert!(handles.iter().all(|handle| !handle.is_finished()));
    gate.open();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!((pool.metrics().queued, pool.metrics().completed), (0, 5));
}

#[test]
fn a_thread_is_started_only_when_none_is_free() {
    let pool = ThreadPool::new(8);
    for _ in 0..1000 {
        pool.apply(|| ());
        assert_eq!(pool.metrics().idle, 1);
    }
    assert_eq!(pool.metrics().threads, 1);
}

/// The thread of a job whose result nobody takes is busy until that is dropped, which may need the pool.
#[test]
fn a_result_that_is_dropped_on_the_thread_may_block_it() {
    struct Blocks(Gate);
    impl Drop for Blocks {
        fn drop(&mut self) {
            self.0.pass();
        }
    }
    let (pool, begun, gate) = (ThreadPool::new(2), Gate::default(), Gate::default());
    let (passed, blocks) = (begun.clone(), Blocks(gate.clone()));
    drop(pool.spawn(move || {
        passed.pass();
        blocks
    }));
    begun.wait_for(1);
    begun.open();
    gate.wait_for(1);
    assert_eq!((pool.metrics().threads, pool.metrics().idle), (1, 0));
    assert_eq!(pool.apply(|| 1), 1);
    assert_eq!(pool.metrics().threads, 2);
    gate.open();
    until(|| pool.metrics().completed == 2);
}

#[test]
fn try_spawn_gives_the_closure_back_rather_than_queue_it() {
    let (pool, gate) = (ThreadPool::new(2), Gate::default());
    let try_block = || {
        let gate = gate.clone();
        pool.try_spawn(move || gate.pass())
    };
    let running = [try_block().ok().unwrap(), try_block().ok().unwrap()];
    assert!(try_block().is_err());
    gate.wait_for(2);
    let number = Box::new(5);
    let f = pool.try_spawn(move || *number).expect_err("both are busy");
    assert_eq!(f(), 5);
    assert_eq!(pool.metrics().queued, 0);
    gate.open();
    running.map(OffloadHandle::join).into_iter().for_each(Result::unwrap);
    assert_eq!(pool.try_spawn(|| 6).ok().expect("both are free").join().unwrap(), 6);
}

#[test]
fn a_panic_comes_back_and_the_thread_goes_on() {
    let pool = ThreadPool::new(1);
    let own_thread = || thread::current().id();
    let before = pool.apply(own_thread);
    let failed: OffloadHandle<()> = pool.spawn(|| std::panic::resume_unwind(Box::new("a word")));
    assert_eq!(panic_text(failed.join()), "a word");
    assert_eq!(pool.apply(own_thread), before);
    let caught: Result<(), _> = catch_unwind(|| pool.apply(|| std::panic::resume_unwind(Box::new(7))));
    assert_eq!(*caught.unwrap_err().downcast::<i32>().unwrap(), 7);
    assert_eq!(pool.apply(own_thread), before);
    assert_eq!(pool.metrics().completed, 5);
}

#[test]
fn a_panic_is_reported_once() {
    let ended = in_child("thread_pool::a_panic_is_reported_once", || {
        let pool = ThreadPool::builder().name("the pool").build();
        let greenlet = spawn(move || {
            pool.apply(|| {
                if HANG > MS {
                    panic!("a word")
                }
            })
        });
        assert_eq!(panic_text(greenlet.join()), "a word");
    });
    ended.check();
    assert_eq!(ended.count("a word"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("panicked"), 1, "{}", ended.stderr);
    assert_eq!(ended.count("'the pool'"), 1, "{}", ended.stderr);
}

#[test]
fn a_greenlet_that_is_killed_is_free_while_its_job_blocks_and_the_result_is_dropped() {
    let (pool, gate) = (Arc::new(ThreadPool::new(1)), Gate::default());
    let drops = Arc::new(AtomicUsize::new(0));
    let greenlet = spawn({
        let (pool, gate, drops) = (Arc::clone(&pool), gate.clone(), Arc::clone(&drops));
        move || {
            pool.apply(move || {
                gate.pass();
                OnDrop(move || {
                    drops.fetch_add(1, Ordering::Relaxed);
                })
            });
        }
    });
    yield_now();
    gate.wait_for(1);
    assert!(greenlet.kill_timeout(HANG).unwrap());
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    assert_eq!((pool.metrics().completed, drops.load(Ordering::Relaxed)), (0, 0));
    gate.open();
    until(|| drops.load(Ordering::Relaxed) == 1);
    assert_eq!(pool.apply(|| 1), 1);
}

#[test]
fn a_time_out_frees_greenlets_and_the_main_one() {
    let (pool, gate) = (Arc::new(ThreadPool::new(2)), Gate::default());
    let wait_in_vain = {
        let (pool, gate) = (Arc::clone(&pool), gate.clone());
        move || timeout(5 * MS, || pool.apply(move || gate.pass()))
    };
    assert_eq!(wait_in_vain.clone()(), Err(Elapsed));
    assert_eq!(spawn(wait_in_vain).join().unwrap(), Err(Elapsed));
    let handle = block(&pool, &gate);
    assert!(!handle.wait_timeout(MS));
    let handle = handle.join_timeout(MS).expect_err("it blocks");
    gate.open();
    assert!(handle.join_timeout(HANG).expect("it ends").is_ok());
}

#[test]
fn the_hub_runs_others_while_a_job_blocks() {
    let pool = ThreadPool::new(1);
    let (send, receive) = mpsc::channel();
    let other = spawn(move || {
        for number in 0..10 {
            sleep(MS);
            send.send(number).unwrap();
        }
    });
    assert_eq!(pool.apply(move || receive.iter().sum::<u32>()), 45);
    assert!(other.is_finished());
}

#[test]
fn what_is_pending_is_raised_before_a_job_begins() {
    let pool = Arc::new(ThreadPool::new(1));
    let began = Arc::new(AtomicBool::new(false));
    let greenlet = spawn({
        let (pool, began) = (Arc::clone(&pool), Arc::clone(&began));
        move || {
            greenlet_hub::current().kill_nowait().unwrap();
            pool.apply(move || began.store(true, Ordering::Relaxed));
        }
    });
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    let began_here = Arc::clone(&began);
    let refused = catch_unwind(AssertUnwindSafe(|| {
        no_switch(|| pool.apply(move || began_here.store(true, Ordering::Relaxed)));
    }));
    assert!(refused.is_err());
    assert_eq!(pool.metrics().threads, 0);
    assert!(!began.load(Ordering::Relaxed));
    // A handle of a job that has ended can be joined anywhere.
    let handle = pool.spawn(|| 3);
    handle.wait();
    assert_eq!(no_switch(|| handle.join()).unwrap(), 3);
}

#[test]
fn idle_threads_end_after_their_time() {
    let pool = ThreadPool::builder().size(4).idle_timeout(20 * MS).build();
    for _ in 0..2 {
        let gate = Gate::default();
        let handles = [(); 4].map(|()| block(&pool, &gate));
        gate.wait_for(4);
        assert_eq!(pool.metrics().threads, 4);
        gate.open();
        handles.map(OffloadHandle::join).into_iter().for_each(Result::unwrap);
        until(|| pool.metrics().threads == 0);
        assert_eq!(pool.metrics().idle, 0);
    }
}

#[test]
fn a_token_that_a_job_leaves_behind_wakes_nobody() {
    let pool = ThreadPool::builder().size(1).idle_timeout(Duration::MAX).build();
    for number in 0..100 {
        assert_eq!(
            pool.apply(move || {
                thread::current().unpark();
                number
            }),
            number
        );
        yield_now();
    }
    assert_eq!((pool.metrics().threads, pool.metrics().completed), (1, 100));
}

#[test]
fn a_dropped_pool_runs_what_is_queued() {
    let (pool, gate) = (ThreadPool::new(2), Gate::default());
    let handles = Vec::from_iter((0..20).map(|_| block(&pool, &gate)));
    gate.wait_for(2);
    drop(pool);
    gate.open();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    assert_eq!(gate.came(), 20);
}

#[test]
fn join_waits_for_what_is_queued_and_for_the_threads() {
    let ended = in_child("thread_pool::join_waits_for_what_is_queued_and_for_the_threads", || {
        let (pool, gate) = (ThreadPool::new(2), Gate::default());
        (0..20).for_each(|_| drop(block(&pool, &gate)));
        gate.wait_for(2);
        let opener = spawn({
            let gate = gate.clone();
            move || {
                assert_eq!(gate.came(), 2);
                gate.open();
            }
        });
        pool.join();
        opener.join().unwrap();
        assert_eq!(gate.came(), 20);
        // They have left the pool, and end.
        until(|| status("Threads") == 2);
        // With idle threads, and without any.
        let pool = ThreadPool::new(2);
        pool.apply(|| ());
        pool.join();
        ThreadPool::new(2).join();
    });
    ended.check();
}

#[test]
fn a_pool_that_is_joined_by_its_own_job_does_not_wait() {
    let pool = Arc::new(Mutex::new(Some(ThreadPool::new(1))));
    let taken = Arc::clone(&pool);
    let handle =
        pool.lock().unwrap().as_ref().map(|pool| pool.spawn(move || taken.lock().unwrap().take().unwrap().join()));
    handle.unwrap().join().unwrap();
}

#[test]
fn jobs_of_a_pool_that_need_it_themselves_run_where_they_are() {
    let pool = Arc::new(ThreadPool::new(1));
    let inner = Arc::clone(&pool);
    let (outer, inner, sums) = pool.apply(move || {
        let own = || thread::current().id();
        (own(), inner.apply(own), inner.map([1, 2], |number| (thread::current().id(), number + 1)))
    });
    assert_eq!(outer, inner);
    assert_eq!(sums, [(outer, 2), (outer, 3)]);
    // Another pool's thread is another thread.
    let (first, second) = (Arc::new(ThreadPool::new(1)), ThreadPool::new(1));
    assert_ne!(second.apply(move || first.apply(|| thread::current().id())), second.apply(|| thread::current().id()));
}

#[test]
fn map_keeps_the_order_and_raises_the_first_panic_after_all_have_ended() {
    let pool = ThreadPool::new(4);
    assert_eq!(pool.map(0..1000, |number| number * 2), Vec::from_iter((0..1000).map(|number| number * 2)));
    assert!(pool.map(Vec::<u32>::new(), |number| number).is_empty());
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        pool.map(0..100_u32, move |number| {
            if number % 30 == 10 {
                std::panic::resume_unwind(Box::new(number));
            }
            counted.fetch_add(1, Ordering::Relaxed)
        })
    }));
    assert_eq!(*failed.unwrap_err().downcast::<u32>().unwrap(), 10);
    assert_eq!(done.load(Ordering::Relaxed), 97);
}

#[test]
fn a_map_on_the_pool_s_own_thread_ends_with_its_greenlet() {
    let pool = Arc::new(ThreadPool::new(1));
    let own = Arc::clone(&pool);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let (killed, elapsed) = pool.apply(move || {
        let map = move || {
            let count = Arc::clone(&count);
            own.map(0..3, move |item| {
                count.fetch_add(1, Ordering::Relaxed);
                if item == 0 {
                    sleep(HANG);
                }
            })
        };
        let greenlet = spawn(map.clone());
        yield_now();
        greenlet.kill().unwrap();
        (matches!(greenlet.join(), Err(JoinError::Killed)), timeout(MS, map).is_err())
    });
    assert!(killed && elapsed);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn handles_are_waited_for_with_others_and_from_any_thread() {
    let (pool, gate) = (ThreadPool::new(2), Gate::default());
    let (slow, quick) = (block(&pool, &gate), pool.spawn(|| 1));
    let both: [&dyn Waitable; 2] = [&slow, &quick];
    assert_eq!(wait(&both, Some(1), Some(HANG)), [1]);
    assert!(wait(&both[..1], None, Some(MS)).is_empty());
    let slow = Arc::new(slow);
    let waiting = (0..3).map(|_| {
        let slow = Arc::clone(&slow);
        thread::spawn(move || slow.wait())
    });
    let waiting = Vec::from_iter(waiting);
    let greenlets = Vec::from_iter((0..3).map(|_| {
        let slow = Arc::clone(&slow);
        spawn(move || wait(&[&*slow], None, None))
    }));
    yield_now();
    gate.open();
    joinall(greenlets).into_iter().for_each(|found| assert_eq!(found.unwrap(), [0]));
    waiting.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(thread::spawn(move || quick.join().unwrap()).join().unwrap(), 1);
}

#[test]
fn a_hub_that_a_job_makes_ends_with_it() {
    let ended = in_child("thread_pool::a_hub_that_a_job_makes_ends_with_it", || {
        let pool = ThreadPool::new(1);
        let with_greenlets = || {
            let finished = spawn(|| 5);
            assert_eq!(finished.join().unwrap(), 5);
            let waiting: JoinHandle<()> = spawn(|| {
                let _ = Wait::begin(Reason::new("nothing")).until(None);
            });
            let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
            assert!(!greenlet_hub::wait_readable_timeout(&near, MS).unwrap());
            (Handle::current(), waiting)
        };
        let (first, waiting) = pool.apply(with_greenlets);
        let greenlet: Greenlet = waiting.greenlet().clone();
        assert!(greenlet.is_finished() && !greenlet.is_successful());
        assert!(matches!(waiting.join(), Err(JoinError::HubEnded)));
        let (second, waiting) = pool.apply(with_greenlets);
        assert!(matches!(waiting.join(), Err(JoinError::HubEnded)));
        assert_ne!(first, second);
        let before = descriptors().len();
        for _ in 0..200 {
            drop(pool.apply(with_greenlets));
        }
        assert_eq!(descriptors().len(), before);
        assert_eq!(pool.metrics().threads, 1);
    });
    ended.check();
}

#[test]
fn locals_of_a_job_are_dropped_with_its_hub() {
    struct Note;
    impl Drop for Note {
        fn drop(&mut self) {
            // A local's destructor may use the greenlet API again, and make a hub by it.
            yield_now();
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    greenlet_hub::local! {
        static NOTE: Note = Note;
    }
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let pool = ThreadPool::new(1);
    for round in 0..3 {
        pool.apply(|| NOTE.with(|_| ()));
        assert_eq!(DROPS.load(Ordering::Relaxed), round + 1);
    }
}

#[test]
fn a_result_whose_drop_panics_ends_no_thread() {
    let ended = in_child("thread_pool::a_result_whose_drop_panics_ends_no_thread", || {
        struct Fails;
        impl Drop for Fails {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        let (pool, gate) = (ThreadPool::new(1), Gate::default());
        let passed = gate.clone();
        drop(pool.spawn(move || {
            passed.pass();
            Fails
        }));
        gate.open();
        assert_eq!(pool.apply(|| 1), 1);
        assert_eq!((pool.metrics().threads, pool.metrics().completed), (1, 2));
    });
    ended.check();
    assert_eq!(ended.count("in drop"), 1, "{}", ended.stderr);
}

/// With so little address space no thread gets a stack.
fn without_room<R>(f: impl FnOnce() -> R) -> R {
    let limit = |bytes: u64| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is room for the answer.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        // SAFETY: `limit` is the question.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
    };
    limit((status("VmSize") << 10) + (1 << 20));
    let result = f();
    limit(u64::MAX);
    result
}

#[test]
fn a_pool_that_gets_no_thread_says_so() {
    let ended = in_child("thread_pool::a_pool_that_gets_no_thread_says_so", || {
        let pool = ThreadPool::new(2);
        let (refused, applied, tried) = without_room(|| {
            let refused = pool.spawn(|| 1).join();
            let applied = catch_unwind(AssertUnwindSafe(|| pool.apply(|| 1)));
            (refused, applied, pool.try_spawn(|| 1).map(drop))
        });
        assert!(matches!(refused, Err(JoinError::NoThread(_))), "{refused:?}");
        let text = *applied.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("no thread could be started"), "{text}");
        assert_eq!(tried.expect_err("no thread")(), 1);
        assert_eq!(pool.metrics(), Default::default());
        // There is room again.
        assert_eq!(pool.apply(|| 2), 2);
        // With a thread that lives the job is queued.
        let gate = Gate::default();
        let blocked = block(&pool, &gate);
        gate.wait_for(1);
        let (queued, tried) = without_room(|| (pool.spawn(|| 3), pool.try_spawn(|| 4).map(drop)));
        assert_eq!(tried.expect_err("no second thread")(), 4);
        assert_eq!((pool.metrics().threads, pool.metrics().queued), (1, 1));
        gate.open();
        assert_eq!(queued.join().unwrap(), 3);
        blocked.join().unwrap();
    });
    ended.check();
}

#[test]
fn threads_that_could_not_be_started_are_started_when_there_is_room_again() {
    let ended = in_child("thread_pool::threads_that_could_not_be_started_are_started_when_there_is_room_again", || {
        let pool = ThreadPool::new(4);
        let (first, others) = (Gate::default(), Gate::default());
        let blocked = block(&pool, &first);
        first.wait_for(1);
        let queued = without_room(|| [(); 3].map(|()| block(&pool, &others)));
        assert_eq!((pool.metrics().threads, pool.metrics().queued), (1, 3));
        first.open();
        // One thread alone would be held by the first of them.
        others.wait_for(3);
        others.open();
        queued.into_iter().chain([blocked]).for_each(|handle| handle.join().unwrap());
        assert_eq!(pool.metrics().threads, 3);
    });
    ended.check();
}

#[test]
#[should_panic(expected = "a pool of no threads")]
fn a_pool_of_no_threads_is_refused() {
    let _ = ThreadPool::new(0);
}

/// Threads that end almost at once, so that all ways of a job to a thread are taken.
#[test]
fn no_job_is_lost_under_stress() {
    const EACH: usize = 16_000;
    let pool = Arc::new(ThreadPool::builder().size(3).idle_timeout(Duration::from_micros(100)).build());
    let runs = Arc::new(AtomicUsize::new(0));
    let feed = {
        let (pool, runs) = (Arc::clone(&pool), Arc::clone(&runs));
        move |seed: usize| {
            let mut handles = Vec::new();
            for number in 0..EACH {
                let runs = Arc::clone(&runs);
                let job = move || {
                    runs.fetch_add(1, Ordering::Relaxed);
                    number
                };
                match (number + seed) % 64 {
                    0 => assert_eq!(pool.apply(job), number),
                    1 => match pool.try_spawn(job) {
                        Ok(handle) => handles.push((number, handle)),
                        Err(job) => assert_eq!(job(), number),
                    },
                    2 => drop(pool.spawn(job)),
                    3 => {
                        sleep(Duration::from_micros(seed as u64 * 50));
                        handles.push((number, pool.spawn(job)));
                    }
                    _ => handles.push((number, pool.spawn(job))),
                }
            }
            for (number, handle) in handles {
                let result = handle.join_timeout(HANG).expect("a job was lost");
                assert_eq!(result.unwrap(), number);
            }
        }
    };
    let plain = (0..2).map(|seed| {
        let feed = feed.clone();
        thread::spawn(move || feed(seed))
    });
    let plain = Vec::from_iter(plain);
    let other_hub = thread::spawn({
        let feed = feed.clone();
        move || {
            let greenlets = (2..4).map(|seed| {
                let feed = feed.clone();
                spawn(move || feed(seed))
            });
            joinall(greenlets).into_iter().for_each(Result::unwrap);
        }
    });
    let greenlets = (4..7).map(|seed| {
        let feed = feed.clone();
        spawn(move || feed(seed))
    });
    joinall(greenlets).into_iter().for_each(Result::unwrap);
    plain.into_iter().chain([other_hub]).for_each(|thread| thread.join().unwrap());
    until(|| runs.load(Ordering::Relaxed) == 7 * EACH);
    until(|| pool.metrics().threads == 0);
}

#[test]
fn idle_threads_take_no_processor_time() {
    let ended = in_child("thread_pool::idle_threads_take_no_processor_time", || {
        let (pool, gate) = (ThreadPool::new(16), Gate::default());
        let handles = [(); 16].map(|()| block(&pool, &gate));
        gate.wait_for(16);
        gate.open();
        handles.map(OffloadHandle::join).into_iter().for_each(Result::unwrap);
        // So that watching pays, until now.
        (0..1000).for_each(|_| pool.apply(|| ()));
        assert_eq!(pool.metrics().threads, 16);
        sleep(10 * MS);
        let before = cpu_micros();
        sleep(400 * MS);
        let took = cpu_micros() - before;
        assert!(took < 40_000, "{took} us");
    });
    ended.check();
}

/// Waits for what never comes; what the wait panicked with.
fn wait_in_vain() -> String {
    let waited = catch_unwind(|| Wait::begin(Reason::new("Godot")).notified(None));
    *waited.expect_err("it ended").downcast::<String>().expect("a message")
}

#[test]
fn threads_that_only_wait_for_jobs_are_no_hope() {
    let ended = alone_in_child("thread_pool::threads_that_only_wait_for_jobs_are_no_hope", || {
        let pools = [ThreadPool::new(3), ThreadPool::builder().idle_timeout(Duration::MAX).build()];
        let gate = Gate::default();
        let handles = pools.each_ref().map(|pool| [block(pool, &gate), block(pool, &gate)]);
        gate.open();
        handles.into_iter().flatten().for_each(|handle| handle.join().unwrap());
        // With a hub of its own, which has ended.
        pools[0].apply(|| sleep(MS));
        // Those of the process are threads like these.
        greenlet_hub::offload(|| ());
        greenlet_hub::lookup_host("localhost", 1).unwrap();
        let report = wait_in_vain();
        assert!(report.contains("waits for Godot"), "{report}");
        assert!(pools.iter().any(|pool| pool.metrics().threads > 0));
    });
    ended.check();
}

#[test]
fn a_job_that_runs_is_hope_even_if_nobody_waits_for_it() {
    let ended = alone_in_child("thread_pool::a_job_that_runs_is_hope_even_if_nobody_waits_for_it", || {
        let pool = ThreadPool::new(2);
        pool.apply(|| ());
        // Waited for, for longer than it takes to look twice.
        pool.apply(|| thread::sleep(2300 * MS));
        // Its handle is gone, and it ends another wait.
        let wait = Wait::begin(Reason::new("the job"));
        let waiter = wait.waiter();
        drop(pool.spawn(move || {
            thread::sleep(2300 * MS);
            waiter.notify()
        }));
        assert!(wait.notified(None));
        // The same with a thread that has a hub of its own in the meantime.
        let wait = Wait::begin(Reason::new("the job's hub"));
        let waiter = wait.waiter();
        drop(pool.spawn(move || {
            sleep(2300 * MS);
            waiter.notify()
        }));
        assert!(wait.notified(None));
        assert!(wait_in_vain().contains("waits for Godot"));
    });
    ended.check();
    assert_eq!(ended.count("nothing can wake any hub"), 1, "{}", ended.stderr);
}

#[test]
fn a_job_whose_hub_waits_in_vain_is_no_hope() {
    let ended = alone_in_child("thread_pool::a_job_whose_hub_waits_in_vain_is_no_hope", || {
        let pool = ThreadPool::new(2);
        let vain = pool.spawn(wait_in_vain);
        assert!(wait_in_vain().contains("main greenlet of thread 'thread_pool::"));
        let report = vain.join().unwrap();
        assert!(report.contains("main greenlet of thread 'greenlet-pool' waits for Godot"), "{report}");
    });
    ended.check();
}

#[test]
fn closures_and_results_are_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = || {
        let drops = Arc::clone(&drops);
        OnDrop(move || {
            drops.fetch_add(1, Ordering::Relaxed);
        })
    };
    let pool = ThreadPool::new(2);
    for _ in 0..100 {
        let (captured, result) = (counted(), counted());
        let made = pool.apply(move || {
            let _captured = captured;
            result
        });
        drop(made);
        let unwanted = counted();
        drop(pool.spawn(move || unwanted));
    }
    pool.join();
    assert_eq!(drops.load(Ordering::Relaxed), 300);
}
