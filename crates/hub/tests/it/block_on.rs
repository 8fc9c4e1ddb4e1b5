//! `block_on` and `spawn_future`: a greenlet runs a future, and waits where that has to.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Elapsed, JoinError, block_on, current_id, joinall, no_switch, shield, sleep, spawn, spawn_future, timeout,
    yield_now,
};

use crate::child::alone_in_child;
use crate::support::{HANG, OnDrop, Trace};

/// Opens once; those who have asked are woken.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    fn open(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1.push(cx.waker().clone());
        Poll::Pending
    }

    async fn passed(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Whoever has asked, to be woken for nothing.
    fn wakers(&self) -> Vec<Waker> {
        self.0.lock().unwrap().1.clone()
    }
}

#[test]
fn a_future_that_is_ready_does_not_switch() {
    let ran = Rc::new(Cell::new(false));
    let other = spawn({
        let ran = Rc::clone(&ran);
        move || ran.set(true)
    });
    assert_eq!(block_on(ready(1)), 1);
    assert_eq!(no_switch(|| block_on(async { ready(2).await })), 2);
    assert!(!ran.get());
    other.join().unwrap();
}

#[test]
fn the_others_run_while_a_greenlet_waits_for_a_future() {
    let (gate, trace) = (Gate::default(), Trace::default());
    let waiting = spawn({
        let (gate, trace) = (gate.clone(), trace.clone());
        move || {
            trace.note("asks");
            // Borrows, and is not `Send`.
            block_on(async {
                gate.passed().await;
                trace.note("passes");
            });
        }
    });
    yield_now();
    trace.note("opens");
    gate.open();
    trace.note("opened");
    waiting.join().unwrap();
    assert_eq!(trace.take(), "asks opens opened passes");
}

#[test]
fn it_works_on_the_main_greenlet_and_on_plain_threads() {
    let here = |name: &str| {
        let gate = Gate::default();
        let opener = thread::spawn({
            let gate = gate.clone();
            move || {
                while gate.wakers().is_empty() {
                    thread::yield_now();
                }
                gate.open();
            }
        });
        block_on(gate.passed());
        opener.join().expect(name);
    };
    here("main");
    thread::spawn(move || here("plain")).join().unwrap();
    // On the main greenlet the others run as well.
    let gate = Gate::default();
    spawn({
        let gate = gate.clone();
        move || gate.open()
    });
    block_on(gate.passed());
}

#[test]
fn a_wake_while_it_is_polled_is_seen_after_the_others_have_run() {
    let trace = Trace::default();
    let other = spawn({
        let trace = trace.clone();
        move || {
            trace.note("other");
            yield_now();
            trace.note("other");
        }
    });
    let mut polls = 0;
    block_on(poll_fn(|cx| {
        trace.note("poll");
        polls += 1;
        cx.waker().wake_by_ref();
        if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
    }));
    other.join().unwrap();
    assert_eq!(trace.take(), "poll other poll other poll");
}

#[test]
fn a_future_that_always_wakes_itself_can_be_killed_and_times_out() {
    let restless = || {
        block_on(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
    };
    assert_eq!(timeout(Duration::from_millis(5), restless), Err(Elapsed));
    let greenlet = spawn(restless);
    yield_now();
    greenlet.kill().unwrap();
    assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
    // Where nothing may switch it is polled on.
    let mut polls = 0;
    no_switch(|| {
        block_on(poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls == 1000 { Poll::Ready(()) } else { Poll::Pending }
        }));
    });
}

#[test]
fn it_is_polled_once_for_all_wakes_that_came_meanwhile() {
    let gate = Gate::default();
    let polls = Rc::new(Cell::new(0));
    let waiting = spawn({
        let (gate, polls) = (gate.clone(), Rc::clone(&polls));
        move || {
            block_on(poll_fn(|cx| {
                polls.set(polls.get() + 1);
                gate.poll(cx)
            }));
        }
    });
    yield_now();
    for round in 1..=10 {
        assert_eq!(polls.get(), round);
        let waker = gate.wakers().pop().unwrap();
        for _ in 0..5 {
            waker.wake_by_ref();
            let another = waker.clone();
            another.wake();
        }
        yield_now();
        yield_now();
    }
    gate.open();
    waiting.join().unwrap();
    assert_eq!(polls.get(), 12);
}

#[test]
fn a_waker_is_the_same_at_each_poll_and_may_outlive_the_future() {
    let mut seen: Option<Waker> = None;
    block_on(poll_fn(|cx| {
        if let Some(seen) = &seen {
            assert!(seen.will_wake(cx.waker()));
            return Poll::Ready(());
        }
        seen = Some(cx.waker().clone());
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    let late = seen.unwrap();
    late.wake_by_ref();
    let other = block_on(async { poll_fn(|cx| Poll::Ready(cx.waker().clone())).await });
    assert!(!late.will_wake(&other));
    // Woken after the end, on another thread and while the same greenlet waits for something else.
    let waker = thread::spawn(move || {
        for _ in 0..1000 {
            late.wake_by_ref();
            other.wake_by_ref();
        }
    });
    sleep(Duration::from_millis(2));
    waker.join().unwrap();
}

#[test]
fn a_hundred_thousand_wakes_from_another_thread_are_all_heard() {
    const ROUNDS: usize = 100_000;
    let turn = Arc::new(AtomicUsize::new(0));
    let (asked, askers) = mpsc::channel::<(usize, Waker)>();
    let other = thread::spawn({
        let turn = Arc::clone(&turn);
        move || {
            for (round, waker) in askers {
                turn.store(round, Ordering::Release);
                waker.wake();
            }
        }
    });
    let greenlet = spawn(move || {
        for round in 1..=ROUNDS {
            let mut sent = false;
            block_on(poll_fn(|cx| {
                // Sent at the first poll only: a wake that is lost would hang.
                if !sent {
                    sent = true;
                    asked.send((round, cx.waker().clone())).unwrap();
                }
                if turn.load(Ordering::Acquire) == round { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
    });
    greenlet.join().unwrap();
    other.join().unwrap();
}

#[test]
fn several_threads_wake_several_greenlets() {
    const GREENLETS: usize = 50;
    const ROUNDS: usize = 200;
    let gates: Arc<Vec<AtomicUsize>> = Arc::new((0..GREENLETS).map(|_| AtomicUsize::new(0)).collect());
    let (asked, askers) = mpsc::channel::<(usize, usize, Waker)>();
    let askers = Arc::new(Mutex::new(askers));
    let wakers: Vec<_> = (0..3)
        .map(|_| {
            let (askers, gates) = (Arc::clone(&askers), Arc::clone(&gates));
            thread::spawn(move || {
                loop {
                    let next = askers.lock().unwrap().recv();
                    let Ok((index, round, waker)) = next else { return };
                    gates[index].store(round, Ordering::Release);
                    waker.wake();
                }
            })
        })
        .collect();
    let greenlets: Vec<_> = (0..GREENLETS)
        .map(|index| {
            let (asked, gates) = (asked.clone(), Arc::clone(&gates));
            spawn_future(async move {
                for round in 1..=ROUNDS {
                    let mut sent = false;
                    poll_fn(|cx| {
                        if !std::mem::replace(&mut sent, true) {
                            asked.send((index, round, cx.waker().clone())).unwrap();
                        }
                        if gates[index].load(Ordering::Acquire) == round { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                }
            })
        })
        .collect();
    drop(asked);
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    wakers.into_iter().for_each(|waker| waker.join().unwrap());
}

/// Starts `wait` with a future that never ends; the future is to be dropped by that greenlet, before its cleanup goes on.
#[track_caller]
fn drops_the_future(wait: impl FnOnce(&dyn Fn())) {
    let (gate, trace) = (Gate::default(), Trace::default());
    wait(&|| {
        let own = current_id();
        let _cleanup = OnDrop(|| trace.note("cleanup"));
        block_on(async {
            let _in_future = OnDrop(|| {
                assert_eq!(current_id(), own);
                // A destructor may wait, also while it unwinds.
                sleep(Duration::from_millis(1));
                trace.note("future");
            });
            gate.passed().await;
            trace.note("passed");
        });
    });
    assert_eq!(trace.take(), "future cleanup");
    // Too late for all of them.
    gate.open();
    yield_now();
    assert_eq!(trace.take(), "");
}

#[test]
fn a_timeout_drops_the_future_and_a_late_wake_does_nothing() {
    drops_the_future(|wait| assert_eq!(timeout(Duration::from_millis(2), wait), Err(Elapsed)));
    drops_the_future(|wait| {
        greenlet_hub::scope(|s| {
            s.spawn(|| assert_eq!(timeout(Duration::from_millis(2), wait), Err(Elapsed))).join().unwrap()
        });
    });
}

#[test]
fn a_kill_drops_the_future_and_a_late_wake_does_nothing() {
    drops_the_future(|wait| {
        greenlet_hub::scope(|s| {
            let waiting = s.spawn(wait);
            yield_now();
            waiting.kill().unwrap();
            assert!(matches!(waiting.join(), Err(JoinError::Killed)));
        });
    });
}

#[test]
fn a_kill_that_comes_with_the_wake_wins() {
    let gate = Gate::default();
    let passed = Rc::new(Cell::new(false));
    let waiting = spawn({
        let (gate, passed) = (gate.clone(), Rc::clone(&passed));
        move || {
            block_on(gate.passed());
            passed.set(true);
        }
    });
    yield_now();
    gate.open();
    waiting.kill_nowait().unwrap();
    assert!(matches!(waiting.join(), Err(JoinError::Killed)));
    assert!(!passed.get());
}

#[test]
fn nothing_is_raised_in_a_shield() {
    let gate = Gate::default();
    let waiting = spawn({
        let gate = gate.clone();
        move || {
            shield(|| block_on(gate.passed()));
            sleep(HANG);
        }
    });
    yield_now();
    waiting.kill_nowait().unwrap();
    yield_now();
    assert!(!waiting.is_finished());
    gate.open();
    assert!(matches!(waiting.join(), Err(JoinError::Killed)));
}

#[test]
fn a_panic_of_the_future_goes_through() {
    let panics = || {
        block_on(async {
            if true {
                panic!("in the future")
            }
        })
    };
    assert_eq!(*catch_unwind(panics).unwrap_err().downcast::<&str>().unwrap(), "in the future");
    assert!(matches!(
        spawn_future(async {
            if true {
                panic!("in its greenlet")
            }
        })
        .join(),
        Err(JoinError::Panicked(_))
    ));
    // After a wait as well.
    let gate = Gate::default();
    let waiting = spawn_future({
        let gate = gate.clone();
        async move {
            gate.passed().await;
            if true {
                panic!("behind the gate");
            }
        }
    });
    yield_now();
    gate.open();
    assert!(matches!(waiting.join(), Err(JoinError::Panicked(_))));
    assert_eq!(block_on(ready(1)), 1);
}

#[test]
fn where_nothing_may_switch_waiting_panics() {
    let gate = Gate::default();
    let waited = catch_unwind(AssertUnwindSafe(|| no_switch(|| block_on(gate.passed()))));
    let text = waited.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("no_switch: a future"), "{text}");
    gate.open();
    block_on(gate.passed());
}

#[test]
fn two_of_them_interleave_on_one_hub() {
    let (trace, gates) = (Trace::default(), [(); 4].map(|()| Gate::default()));
    let greenlets: Vec<_> = [[0, 2], [1, 3]]
        .into_iter()
        .map(|steps| {
            let (trace, gates) = (trace.clone(), gates.clone());
            spawn_future(async move {
                for step in steps {
                    gates[step].passed().await;
                    trace.note(step);
                }
            })
        })
        .collect();
    for gate in gates {
        yield_now();
        gate.open();
    }
    joinall(greenlets);
    assert_eq!(trace.take(), "0 1 2 3");
}

#[test]
fn a_poll_may_wait_as_a_greenlet_and_misses_no_wake_meanwhile() {
    let (gate, trace) = (Gate::default(), Trace::default());
    let waiting = spawn({
        let (gate, trace) = (gate.clone(), trace.clone());
        move || {
            block_on(poll_fn(|cx| {
                let passed = gate.poll(cx);
                // The waits of the greenlet's own end each other, but not what the waker does.
                yield_now();
                sleep(Duration::from_millis(1));
                spawn(|| ()).join().unwrap();
                trace.note("polled");
                passed
            }));
        }
    });
    yield_now();
    gate.open();
    waiting.join().unwrap();
    assert_eq!(trace.take(), "polled polled");
}

#[test]
fn a_poll_may_run_another_future() {
    let (outer, inner) = (Gate::default(), Gate::default());
    let waiting = spawn({
        let (outer, inner) = (outer.clone(), inner.clone());
        move || {
            block_on(async {
                outer.passed().await;
                block_on(inner.passed());
                block_on(async { block_on(ready(1)) })
            })
        }
    });
    yield_now();
    outer.open();
    yield_now();
    // The outer one is awake: it is in the inner one that it waits.
    for waker in outer.wakers() {
        waker.wake();
    }
    yield_now();
    assert!(!waiting.is_finished());
    inner.open();
    assert_eq!(waiting.join().unwrap(), 1);

    // A wake of the outer one while the inner one waits is not lost.
    let (gate, inner) = (Gate::default(), Gate::default());
    let waiting = spawn({
        let (gate, inner) = (gate.clone(), inner.clone());
        move || {
            block_on(poll_fn(|cx| {
                let passed = gate.poll(cx);
                block_on(inner.passed());
                passed
            }));
        }
    });
    yield_now();
    gate.open();
    yield_now();
    inner.open();
    waiting.join().unwrap();
}

#[test]
fn spawned_futures_may_share_what_is_not_send() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let greenlets = (0..3).map(|n| {
        let log = Rc::clone(&log);
        spawn_future(async move {
            spawn(yield_now).await.unwrap();
            log.borrow_mut().push(n);
        })
    });
    joinall(greenlets);
    assert_eq!(*log.borrow(), [0, 1, 2]);
    let greenlet = spawn_future(async {});
    assert_eq!(greenlet.spawned_at().file(), file!());
    assert_eq!(greenlet.spawned_at().line(), line!() - 2);
}

#[test]
fn a_wait_for_a_future_is_no_deadlock() {
    let ended = alone_in_child("block_on::a_wait_for_a_future_is_no_deadlock", || {
        let start = Instant::now();
        let other = spawn(|| block_on(pending::<()>()));
        assert_eq!(timeout(Duration::from_millis(2500), || other.wait()), Err(Elapsed));
        assert!(start.elapsed() >= Duration::from_millis(2500));
        other.kill().unwrap();
        // Once nobody waits for a future any more, there are deadlocks again.
        assert!(
            catch_unwind(|| greenlet_hub::WaitList::new().wait(greenlet_hub::Reason::new("it"), None, || false))
                .is_err()
        );
    });
    ended.check();
}
