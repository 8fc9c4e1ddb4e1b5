//! What async tasks wait for: greenlets' results, and whatever is waitable, on any thread.

use std::cell::Cell;
use std::panic::panic_any;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use greenlet_hub::{
    Greenlet, Handle, JoinError, JoinFuture, JoinHandle, Reason, TaskWait, WaitAsync, WaitList, Waitable, Waiter,
    block_on, joinall, local, sleep, spawn, wait, wait_async, yield_now,
};

use crate::child::{alone_in_child, in_child};
use crate::support::{SharedPermits, Trace, poll_once, run, waker};

/// A future and how often it was woken.
struct Polled<F> {
    future: Pin<Box<F>>,
    wakes: Arc<AtomicUsize>,
    waker: Waker,
}

impl<F: Future> Polled<F> {
    fn new(future: F) -> Polled<F> {
        let wakes = Arc::new(AtomicUsize::new(0));
        let waker = waker({
            let wakes = Arc::clone(&wakes);
            move || _ = wakes.fetch_add(1, Ordering::SeqCst)
        });
        Polled { future: Box::pin(future), wakes, waker }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

fn send<T: Send>(value: T) -> T {
    value
}

#[test]
fn futures_are_send_if_what_they_give_is() {
    fn unpin<T: Unpin>() {}
    fn all_threads<T: Send + Sync>() {}
    unpin::<JoinFuture<std::marker::PhantomPinned>>();
    unpin::<WaitAsync<&SharedPermits>>();
    all_threads::<TaskWait>();
    all_threads::<JoinFuture<u8>>();
    all_threads::<WaitAsync<&SharedPermits>>();
    all_threads::<WaitAsync<Greenlet>>();
}

#[test]
fn a_result_is_awaited_on_a_thread_that_has_no_hub_and_gets_none() {
    let ended = in_child("futures::a_result_is_awaited_on_a_thread_that_has_no_hub_and_gets_none", || {
        let here = Handle::current().id();
        let (send_handles, handles) = mpsc::channel::<JoinHandle<u32>>();
        let (done, all_done) = mpsc::channel();
        let other = thread::spawn(move || {
            let handles: Vec<_> = handles.iter().collect();
            let sum = handles.into_iter().map(|handle| run(async { handle.await.unwrap() })).sum::<u32>();
            // What is waitable as well, and what comes to nothing.
            let mut dropped = wait_async(SharedPermits::default());
            assert!(poll_once(&mut dropped).is_pending());
            drop(dropped);
            done.send(sum).unwrap();
        });
        for n in 0..10 {
            send_handles
                .send(spawn(move || {
                    sleep(Duration::from_millis(n.into()));
                    n
                }))
                .unwrap();
        }
        drop(send_handles);
        let all = loop {
            sleep(Duration::from_millis(1));
            if let Ok(sum) = all_done.try_recv() {
                break sum;
            }
        };
        assert_eq!(all, 45);
        other.join().unwrap();
        // The second hub of this process is the one that is made now.
        assert_eq!(thread::spawn(|| Handle::current().id()).join().unwrap(), here + 1);
    });
    ended.check();
}

#[test]
fn how_a_greenlet_ended_is_its_future_s_output() {
    assert_eq!(block_on(spawn(|| 1)).unwrap(), 1);
    block_on(async {
        assert!(matches!(spawn(|| panic_any(7)).await, Err(JoinError::Panicked(payload)) if payload.is::<i32>()));
        let sleeper = spawn(|| sleep(Duration::from_secs(60)));
        yield_now();
        sleeper.kill_nowait().unwrap();
        assert!(matches!(sleeper.await, Err(JoinError::Killed)));
        let ended = spawn(|| "ended");
        ended.wait();
        assert_eq!(ended.await.unwrap(), "ended");
    });
    // A hub that ends with its thread.
    let (sender, receiver) = mpsc::channel();
    let (polled, may_end) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        sender.send(spawn(|| sleep(Duration::from_secs(60)))).unwrap();
        yield_now();
        may_end.recv().unwrap();
    });
    let mut future = receiver.recv().unwrap().into_future();
    assert!(poll_once(&mut future).is_pending());
    polled.send(()).unwrap();
    assert!(matches!(run(future), Err(JoinError::HubEnded)));
    thread.join().unwrap();
}

#[test]
fn a_result_that_was_awaited_is_not_dropped_twice_and_a_dropped_future_detaches() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = || {
        crate::support::OnDrop({
            let drops = Arc::clone(&drops);
            move || _ = drops.fetch_add(1, Ordering::SeqCst)
        })
    };
    let result = block_on(spawn({
        let value = counted();
        move || value
    }));
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(result);
    assert_eq!(drops.load(Ordering::SeqCst), 1);

    let handle = spawn({
        let value = counted();
        move || {
            yield_now();
            value
        }
    });
    let greenlet = handle.greenlet().clone();
    let mut future = handle.into_future();
    assert!(poll_once(&mut future).is_pending());
    drop(future);
    greenlet.wait();
    assert!(greenlet.is_successful());
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
#[should_panic(expected = "polled again")]
fn a_future_that_was_ready_is_not_polled_again() {
    let mut future = spawn(|| ()).into_future();
    yield_now();
    assert!(poll_once(&mut future).is_ready());
    let _ = poll_once(&mut future);
}

#[test]
fn a_task_is_woken_once_and_by_its_last_waker() {
    let handle = spawn(|| 1);
    let mut future = Polled::new(handle.into_future());
    assert!(future.poll().is_pending());
    assert!(future.poll().is_pending());
    let old = Arc::clone(&future.wakes);
    let new = Polled::new(async {});
    (future.waker, future.wakes) = (new.waker, new.wakes);
    assert!(future.poll().is_pending());
    assert_eq!(future.wakes(), 0);
    yield_now();
    assert_eq!((old.load(Ordering::SeqCst), future.wakes()), (0, 1));
    assert!(matches!(future.poll(), Poll::Ready(Ok(1))));
}

#[test]
fn a_waker_is_let_go_when_the_future_is() {
    let permits = SharedPermits::default();
    let mut future = Polled::new(wait_async(&permits));
    assert!(future.poll().is_pending());
    assert_eq!(Arc::strong_count(&future.wakes), 2);
    let Polled { future: waiting, wakes, waker } = future;
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 2);
    drop(waiting);
    // Though its waiter still stands in the list.
    assert_eq!(Arc::strong_count(&wakes), 1);
    assert!(!permits.waiting.is_empty());
    permits.release();
    assert!(permits.try_acquire());
}

#[test]
fn what_is_ready_is_found_ready_at_the_first_poll() {
    let permits = SharedPermits::default();
    permits.release();
    assert!(poll_once(&mut wait_async(&permits)).is_ready());
    assert!(poll_once(&mut wait_async(&permits as &dyn Waitable)).is_ready());
    assert!(permits.try_acquire());
    let mut future = wait_async(&permits);
    assert!(poll_once(&mut future).is_pending());
    assert!(poll_once(&mut future).is_pending());
    permits.release();
    assert!(poll_once(&mut future).is_ready());
}

#[test]
fn one_that_was_notified_for_nothing_waits_again() {
    let permits = SharedPermits::default();
    let mut future = Polled::new(wait_async(&permits));
    for round in 1..=100 {
        assert!(future.poll().is_pending());
        permits.release();
        assert_eq!(future.wakes(), round);
        // Another is quicker.
        assert!(permits.try_acquire());
    }
    assert!(future.poll().is_pending());
    permits.release();
    assert!(future.poll().is_ready());
}

#[test]
fn a_future_that_is_dropped_passes_its_notification_on() {
    let permits = Rc::new(SharedPermits::default());
    let mut future = Polled::new(wait_async(&*permits));
    assert!(future.poll().is_pending());
    let next = spawn({
        let permits = Rc::clone(&permits);
        move || {
            wait(&[&*permits], None, None);
            assert!(permits.try_acquire());
        }
    });
    yield_now();
    permits.release();
    assert_eq!(future.wakes(), 1);
    yield_now();
    assert!(!next.is_finished());
    drop(future);
    next.join().unwrap();
}

#[test]
fn what_is_ready_for_a_moment_is_not_missed() {
    struct Pulse(Cell<u64>, WaitList);
    impl Waitable for Pulse {
        fn is_ready(&self) -> bool {
            false
        }
        fn subscribe(&self, waiter: &Waiter) {
            self.1.push(waiter.clone());
        }
        fn ticket(&self) -> u64 {
            self.0.get()
        }
        fn is_ready_since(&self, ticket: u64) -> bool {
            self.0.get() != ticket
        }
    }
    let pulse = Pulse(Cell::new(0), WaitList::new());
    let mut future = wait_async(&pulse);
    assert!(poll_once(&mut future).is_pending());
    pulse.0.set(1);
    assert_eq!(pulse.1.notify_all(), 1);
    assert!(poll_once(&mut future).is_ready());
    // From the call on.
    let mut future = wait_async(&pulse);
    pulse.0.set(2);
    assert!(poll_once(&mut future).is_ready());
}

#[test]
fn a_waker_that_panics_holds_nobody_up() {
    let list = WaitList::new();
    let mut waits: Vec<_> = (0..3).map(|_| TaskWait::new()).collect();
    let heard = Arc::new(AtomicUsize::new(0));
    for (index, wait) in waits.iter_mut().enumerate() {
        let heard = Arc::clone(&heard);
        let waker = waker(move || {
            heard.fetch_add(1, Ordering::SeqCst);
            assert!(index == 1, "the waker of {index}");
        });
        list.push(wait.begin(&mut Context::from_waker(&waker)));
    }
    assert_eq!(list.notify_all(), 3);
    assert_eq!(heard.load(Ordering::SeqCst), 3);
    // Also at the end of a greenlet, in the hub's loop.
    let greenlet = spawn(|| ()).greenlet().clone();
    let mut future = wait_async(&greenlet);
    let panicking = waker(|| panic!("in the loop"));
    assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&panicking)).is_pending());
    greenlet.wait();
    assert!(poll_once(&mut future).is_ready());
}

#[test]
fn a_waker_must_not_wait_and_spoils_nothing_if_it_does() {
    local! {
        static WAKES: Cell<u32> = Cell::new(0);
    }
    let reached = Arc::new(AtomicBool::new(false));
    let rude = waker({
        let reached = Arc::clone(&reached);
        move || {
            WAKES.with(|wakes| wakes.set(wakes.get() + 1));
            // What need not wait works.
            spawn(|| ());
            sleep(Duration::from_millis(1));
            reached.store(true, Ordering::SeqCst);
        }
    });
    let greenlet = spawn(|| ()).greenlet().clone();
    let mut future = wait_async(&greenlet);
    assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&rude)).is_pending());
    // The waker runs in the hub's loop, while this very stack sleeps.
    sleep(Duration::from_millis(5));
    assert!(greenlet.is_finished());
    // The same where a greenlet has begun a wait, and notifies before it sleeps.
    let list = WaitList::new();
    let mut task = TaskWait::new();
    list.push(task.begin(&mut Context::from_waker(&rude)));
    let own = greenlet_hub::Wait::begin(Reason::new("a word"));
    let waiter = own.waiter();
    assert!(list.notify_one());
    assert!(waiter.is_waiting());
    spawn(move || waiter.notify());
    assert!(own.notified(None));
    // And where that has ended before.
    let own = greenlet_hub::Wait::begin(Reason::new("a word"));
    assert!(own.waiter().notify());
    list.push(task.begin(&mut Context::from_waker(&rude)));
    assert!(list.notify_one());
    assert!(own.notified(None));
    assert!(!reached.load(Ordering::SeqCst));
    assert!(joinall([spawn(|| 1)])[0].is_ok());
}

#[test]
fn tasks_and_greenlets_stand_in_one_line() {
    let (list, trace) = (Rc::new(WaitList::new()), Trace::default());
    let greenlet = |name: &'static str| {
        let (list, trace) = (Rc::clone(&list), trace.clone());
        spawn(move || {
            list.wait(Reason::new("its turn"), None, || false);
            trace.note(name);
        });
        yield_now();
    };
    greenlet("first");
    let mut wait = TaskWait::new();
    let mut second = Polled::new(async {});
    list.push(wait.begin(&mut Context::from_waker(&second.waker)));
    greenlet("third");
    for (expected, wakes) in [("first", 0), ("", 1), ("third", 1)] {
        assert!(list.notify_one());
        yield_now();
        assert_eq!((trace.take().as_str(), second.wakes()), (expected, wakes));
    }
    assert!(!list.notify_one());
    assert!(second.poll().is_ready());
}

#[test]
fn a_hundred_thousand_notifications_reach_tasks_on_other_threads() {
    const PERMITS: usize = 100_000;
    const TASKS: usize = 4;
    let permits = Arc::new(SharedPermits::default());
    let left = Arc::new(AtomicUsize::new(PERMITS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (permits, left) = (Arc::clone(&permits), Arc::clone(&left));
            thread::spawn(move || {
                run(async {
                    while left.load(Ordering::SeqCst) > 0 {
                        wait_async(&*permits).await;
                        let took = permits.try_acquire();
                        let before =
                            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(took.into()));
                        if took && before == Ok(1) {
                            // So that the others look once more.
                            (0..TASKS).for_each(|_| permits.release());
                        }
                    }
                });
            })
        })
        .collect();
    spawn(move || {
        for n in 0..PERMITS {
            permits.release();
            if n % 64 == 0 {
                yield_now();
            }
        }
    })
    .join()
    .unwrap();
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn a_task_that_changes_its_thread_at_each_poll_misses_nothing() {
    const ROUNDS: usize = 2_000;
    let permits = Arc::new(SharedPermits::default());
    // Two threads poll the same task in turns, whoever is woken for it.
    let (ready, queue) = mpsc::channel::<()>();
    let queue = Arc::new(Mutex::new(queue));
    let count = Arc::new(AtomicUsize::new(0));
    let task = {
        let (permits, count) = (Arc::clone(&permits), Arc::clone(&count));
        async move {
            while count.load(Ordering::SeqCst) < ROUNDS {
                wait_async(&*permits).await;
                if permits.try_acquire() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    };
    let task = Arc::new(Mutex::new(Some(Box::pin(send(task)))));
    ready.send(()).unwrap();
    let ready = Arc::new(Mutex::new(Some(ready)));
    let pollers: Vec<_> = (0..2)
        .map(|_| {
            let (queue, task, ready) = (Arc::clone(&queue), Arc::clone(&task), Arc::clone(&ready));
            thread::spawn(move || {
                loop {
                    let next = queue.lock().unwrap().recv();
                    if next.is_err() {
                        return;
                    }
                    let mut task = task.lock().unwrap();
                    let Some(future) = task.as_mut() else { return };
                    let sender = ready.lock().unwrap().clone();
                    let waker = waker(move || _ = sender.as_ref().map(|sender| sender.send(())));
                    if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                        *task = None;
                        *ready.lock().unwrap() = None;
                    }
                }
            })
        })
        .collect();
    spawn(move || {
        for _ in 0..ROUNDS {
            permits.release();
            yield_now();
        }
    })
    .join()
    .unwrap();
    pollers.into_iter().for_each(|poller| poller.join().unwrap());
    assert_eq!(count.load(Ordering::SeqCst), ROUNDS);
}

#[test]
fn a_greenlet_waits_for_a_task_that_waits_for_a_greenlet() {
    let (sender, receiver) = mpsc::channel::<JoinHandle<u32>>();
    let permits = Arc::new(SharedPermits::default());
    let task = thread::spawn({
        let permits = Arc::clone(&permits);
        move || {
            let handle = receiver.recv().unwrap();
            let sum = run(async { handle.await.unwrap() + 1 });
            permits.release();
            sum
        }
    });
    sender.send(spawn(|| 1)).unwrap();
    wait(&[&*permits], None, None);
    assert_eq!(task.join().unwrap(), 2);
}

#[test]
fn a_thread_that_runs_tasks_is_no_hub_that_sleeps_for_good() {
    let name = "futures::a_thread_that_runs_tasks_is_no_hub_that_sleeps_for_good";
    let ended = alone_in_child(name, || {
        // This thread has a hub, but does not wait in it.
        spawn(|| ()).join().unwrap();
        let permits = Arc::new(SharedPermits::default());
        let waiting = thread::spawn({
            let permits = Arc::clone(&permits);
            move || wait(&[&*permits], None, None)
        });
        // Longer than it takes a hub to find that nothing can wake it.
        thread::park_timeout(Duration::from_millis(2500));
        run(async { permits.release() });
        assert_eq!(waiting.join().unwrap(), [0]);
    });
    ended.check();
    assert_eq!(ended.count("deadlock"), 0, "{}", ended.stderr);
}

#[test]
fn a_pinned_future_can_be_polled_in_place() {
    let mut future = pin!(async { spawn(|| 3).await.unwrap() });
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    yield_now();
    assert_eq!(block_on(future), 3);
}
