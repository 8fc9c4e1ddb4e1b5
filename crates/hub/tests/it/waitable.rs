//! `wait` and `iwait` over anything that can be waited for.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Greenlet, JoinError, JoinHandle, Reason, WaitList, WaitQueue, Waitable, Waiter, iwait, joinall, readable, scope,
    sleep, spawn, timeout, wait, wait_until_any, yield_now,
};

use crate::support::{HANG, SharedPermits, timed};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

/// Counted permits, of which a waiter is told one by one; and who has subscribed and not unsubscribed.
#[derive(Default)]
struct Permits {
    free: Cell<u32>,
    waiting: WaitList,
    subscribed: Cell<u32>,
    /// Whether somebody unsubscribed whose wait was not over.
    too_early: Cell<bool>,
}

impl Permits {
    fn release(&self) {
        self.free.set(self.free.get() + 1);
        self.waiting.notify_one();
    }
}

impl Waitable for Permits {
    fn is_ready(&self) -> bool {
        self.free.get() > 0
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.subscribed.set(self.subscribed.get() + 1);
        self.waiting.push(waiter.clone());
    }
    fn unsubscribe(&self, waiter: &Waiter) {
        self.subscribed.set(self.subscribed.get() - 1);
        self.too_early.set(self.too_early.get() || waiter.is_waiting());
        if self.is_ready() {
            self.waiting.notify_one();
        }
    }
}

/// Is ready for a moment only.
#[derive(Default)]
struct Pulse {
    count: Cell<u64>,
    waiting: WaitList,
}

impl Waitable for Pulse {
    fn is_ready(&self) -> bool {
        false
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.waiting.push(waiter.clone());
    }
    fn ticket(&self) -> u64 {
        self.count.get()
    }
    fn is_ready_since(&self, ticket: u64) -> bool {
        self.count.get() > ticket
    }
}

/// Becomes ready by itself.
struct Alarm(Instant);

impl Waitable for Alarm {
    fn is_ready(&self) -> bool {
        Instant::now() >= self.0
    }
    fn subscribe(&self, _: &Waiter) {}
    fn deadline(&self) -> Option<Instant> {
        Some(self.0)
    }
}

fn objects<W: Waitable>(objects: &[W]) -> Vec<&dyn Waitable> {
    objects.iter().map(|object| object as &dyn Waitable).collect()
}

/// Greenlets that end in the order of their numbers, so far apart that each is seen by itself.
fn sleepers<const N: usize>(order: [u32; N]) -> [JoinHandle<()>; N] {
    order.map(|place| spawn(move || sleep(30 * place * MS)))
}

#[test]
fn they_come_in_the_order_in_which_they_became_ready() {
    let all = sleepers([3, 1, 2]);
    assert_eq!(wait(&objects(&all), None, None), [1, 2, 0]);
    // All ready: in the order given, without a switch.
    let ran = Rc::new(Cell::new(false));
    spawn({
        let ran = Rc::clone(&ran);
        move || ran.set(true)
    });
    assert_eq!(wait(&objects(&all), None, None), [0, 1, 2]);
    assert!(!ran.get());
}

#[test]
fn a_count_is_enough_and_none_is_none() {
    let all = sleepers([2, 1, 2000]);
    assert_eq!(wait(&objects(&all), Some(0), None), []);
    assert_eq!(wait(&[], None, None), []);
    assert_eq!(wait(&objects(&all), Some(2), None), [1, 0]);
    assert_eq!(wait(&objects(&all[..2]), Some(9), None), [0, 1]);
    all[2].kill().unwrap();
}

#[test]
fn fewer_come_when_the_time_has_passed() {
    let all = sleepers([1, 2000]);
    let (took, ready) = timed(|| wait(&objects(&all), None, Some(100 * MS)));
    assert_eq!(ready, [0]);
    assert!(took >= 100 * MS && took < HANG);
    assert_eq!(wait(&objects(&all), None, Some(Duration::ZERO)), [0]);
    assert_eq!(wait(&objects(&all[1..]), Some(1), Some(Duration::ZERO)), []);
    all[1].kill().unwrap();
}

#[test]
fn what_became_ready_while_the_caller_was_busy_is_not_lost_to_the_time() {
    let all = sleepers([1, 2]);
    let list = objects(&all);
    let mut ready = iwait(&list, None, Some(100 * MS));
    assert_eq!(ready.next(), Some(0));
    sleep(120 * MS);
    // The data wins over the call's own time.
    assert_eq!(ready.next(), Some(1));
    assert_eq!(ready.next(), None);
    assert_eq!(ready.next(), None);
}

#[test]
fn the_same_one_twice_counts_twice() {
    let greenlet = spawn(yield_now);
    assert_eq!(wait(&[&greenlet, &greenlet], None, None), [0, 1]);
}

#[test]
fn anything_waitable_may_be_mixed() {
    let (permits, pulse) = (Rc::new(Permits::default()), Rc::new(Pulse::default()));
    let alarm = Alarm(Instant::now() + 200 * MS);
    let handle = spawn({
        let (permits, pulse) = (Rc::clone(&permits), Rc::clone(&pulse));
        move || {
            yield_now();
            pulse.count.set(1);
            pulse.waiting.notify_all();
            yield_now();
            permits.release();
        }
    });
    let greenlet: Greenlet = handle.greenlet().clone();
    let mixed: [&dyn Waitable; 5] = [&alarm, &greenlet, &*permits, &*pulse, &handle];
    let ready = wait(&mixed, None, None);
    assert_eq!(ready.len(), 5);
    assert_eq!((ready[0], ready[4]), (3, 0), "{ready:?}");
    assert_eq!(permits.free.get(), 1, "nothing is consumed");
    assert!(permits.subscribed.get() == 0 && !permits.too_early.get());
    scope(|s| {
        let child = s.spawn(|| sleep(MS));
        assert_eq!(wait(&[&child], None, None), [0]);
    });
}

#[test]
fn an_alarm_before_the_deadline_is_ready_and_one_after_it_is_not() {
    let (soon, late) = (Alarm(Instant::now() + 5 * MS), Alarm(Instant::now() + LONG));
    assert_eq!(wait(&[&late, &soon], None, Some(20 * MS)), [1]);
}

#[test]
fn leaving_early_leaves_nothing_linked() {
    let permits: Vec<Rc<Permits>> = (0..3).map(|_| Rc::default()).collect();
    let list: Vec<&dyn Waitable> = permits.iter().map(|permits| &**permits as &dyn Waitable).collect();
    spawn({
        let second = Rc::clone(&permits[1]);
        move || second.release()
    });
    assert_eq!(iwait(&list, None, None).next(), Some(1));
    assert!(permits.iter().all(|permits| permits.subscribed.get() == 0));
    assert!(timeout(MS, || wait(&list, None, None)).is_err());
    assert_eq!(wait(&list, None, Some(MS)), [1]);
    let killed = spawn({
        let permits = permits.clone();
        move || {
            let list: Vec<&dyn Waitable> = permits.iter().map(|permits| &**permits as &dyn Waitable).collect();
            wait(&list, None, None).len()
        }
    });
    yield_now();
    killed.kill().unwrap();
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    assert!(permits.iter().all(|permits| permits.subscribed.get() == 0 && !permits.too_early.get()));
}

#[test]
fn an_object_is_told_of_the_end_only_when_the_wait_is_over() {
    // What is notified after it has unsubscribed would be lost: it was, when something was ready at once, and in a panic.
    let permits = Permits::default();
    assert!(wait_until_any([&permits as &dyn Waitable].into_iter(), || true, None));
    assert!(!permits.too_early.get());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        wait_until_any([&permits as &dyn Waitable].into_iter(), || std::panic::resume_unwind(Box::new(())), None)
    }));
    assert!(caught.is_err() && !permits.too_early.get() && permits.subscribed.get() == 0);
}

#[test]
fn a_notification_of_one_that_takes_another_goes_on() {
    // Both are notified in one tick; the first takes one permit only, and the other one is for the second.
    let (one, other) = (Rc::new(Permits::default()), Rc::new(Permits::default()));
    let got = Rc::new(RefCell::new(Vec::new()));
    let first = spawn({
        let (one, other) = (Rc::clone(&one), Rc::clone(&other));
        move || wait(&[&*one, &*other], Some(1), None)
    });
    let second = spawn({
        let (other, got) = (Rc::clone(&other), Rc::clone(&got));
        move || {
            got.borrow_mut().push(wait(&[&*other], None, None));
        }
    });
    yield_now();
    one.release();
    other.release();
    assert_eq!(first.join().unwrap(), [0]);
    assert!(second.join_timeout(HANG).expect("the notification was lost").is_ok());
    assert_eq!(*got.borrow(), [[0]]);
}

#[test]
fn a_killed_one_that_was_notified_passes_it_on() {
    let permits = Rc::new(Permits::default());
    let wait_for = || {
        let permits = Rc::clone(&permits);
        spawn(move || wait(&[&*permits], None, None).len())
    };
    let (first, second) = (wait_for(), wait_for());
    yield_now();
    permits.release();
    first.kill_nowait().unwrap();
    assert_eq!(second.join_timeout(HANG).expect("the notification was lost").unwrap(), 1);
    assert!(matches!(first.join(), Err(JoinError::Killed)));
}

#[test]
fn no_notification_is_lost_between_threads() {
    const EACH: u32 = 5000;
    let permits = [Arc::new(SharedPermits::default()), Arc::new(SharedPermits::default())];
    let taker = |permits: [Arc<SharedPermits>; 2]| {
        let mut taken = 0;
        while taken < EACH {
            let ready = wait(&[&*permits[0], &*permits[1]], Some(1), Some(HANG));
            assert!(!ready.is_empty(), "a notification was lost");
            taken += u32::from(ready.into_iter().any(|index| permits[index].try_acquire()));
        }
    };
    let takers: Vec<_> = (0..2)
        .map(|_| {
            let permits = permits.clone();
            thread::spawn(move || {
                let another = spawn({
                    let permits = permits.clone();
                    move || taker(permits)
                });
                taker(permits);
                another.join().unwrap();
            })
        })
        .collect();
    let giver = thread::spawn({
        let permits = permits.clone();
        move || {
            for round in 0..4 * EACH {
                permits[round as usize % 2].release();
            }
        }
    });
    giver.join().unwrap();
    for taker in takers {
        taker.join().unwrap();
    }
    assert!(permits.iter().all(|permits| !permits.is_ready()));
}

#[test]
fn greenlets_of_other_hubs_are_waited_for() {
    let (send, receive) = mpsc::channel::<Greenlet>();
    let other = thread::spawn(move || {
        let greenlets = sleepers([2, 1, 3]);
        for greenlet in &greenlets {
            send.send(greenlet.greenlet().clone()).unwrap();
        }
        drop(send);
        joinall(greenlets);
    });
    let greenlets: Vec<Greenlet> = receive.iter().collect();
    assert_eq!(wait(&objects(&greenlets), None, None), [1, 0, 2]);
    other.join().unwrap();
}

#[test]
fn many_waits_do_not_fill_the_list_of_what_never_comes() {
    #[derive(Default)]
    struct Never(RefCell<WaitQueue>);
    impl Waitable for Never {
        fn is_ready(&self) -> bool {
            false
        }
        fn subscribe(&self, waiter: &Waiter) {
            self.0.borrow_mut().push_back(waiter.clone());
        }
    }

    let never = Never::default();
    for _ in 0..10_000 {
        let soon = spawn(|| ());
        assert_eq!(wait(&[&never, &soon], Some(1), None), [1]);
    }
    let waiters = format!("{:?}", never.0).matches("Waiter {").count();
    assert!((1..=64).contains(&waiters), "{waiters}");
}

#[test]
fn what_becomes_ready_in_one_turn_comes_in_that_order() {
    let gates: Vec<Rc<WaitList>> = (0..4).map(|_| Rc::default()).collect();
    let waiting = gates.iter().map(|gate| {
        let gate = Rc::clone(gate);
        spawn(move || gate.wait(Reason::new("the gate"), None, || false))
    });
    let waiting: Vec<_> = waiting.collect();
    let opener = spawn({
        let gates = gates.clone();
        move || {
            for index in [2, 0, 3, 1] {
                gates[index].notify_one();
            }
        }
    });
    let objects: Vec<&dyn Waitable> = waiting.iter().map(|greenlet| greenlet as &dyn Waitable).collect();
    assert_eq!(wait(&objects, None, None), [2, 0, 3, 1]);
    opener.join().unwrap();
}

#[test]
fn descriptors_are_waited_for_beside_others() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (other, _kept) = std::io::pipe().unwrap();
    let (ready, never) = (readable(&reader), readable(&other));
    let soon = spawn(yield_now);
    spawn(move || {
        yield_now();
        yield_now();
        std::io::Write::write_all(&mut writer, b"x").unwrap();
        sleep(LONG);
    });
    let objects: [&dyn Waitable; 3] = [&never, &ready, &soon];
    assert_eq!(wait(&objects, Some(2), None), [2, 1]);
    assert_eq!(wait(&objects[..1], None, Some(MS)), []);
}
