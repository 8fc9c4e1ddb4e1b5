//! `select!`: one is taken, the others are left as they were.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{WaitList, Waitable, Waiter, joinall, no_switch, sleep, sleep_until, spawn, timeout, yield_now};
use greenlet_sync::select::Arm;
use greenlet_sync::{
    AsyncResult, Channel, Event, Group, LifoQueue, Lock, PriorityQueue, Queue, Semaphore, ShutDown, Shutdown,
    TryGetError, select,
};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

#[test]
fn the_arm_that_is_ready_is_taken_without_a_switch() {
    let (empty, queue) = (Queue::<u8>::unbounded(), Queue::unbounded());
    queue.put("it").unwrap();
    let got = no_switch(|| {
        select! {
            _ = empty.get() => unreachable!(),
            item = queue.get() => item.unwrap(),
        }
    });
    assert_eq!((got, queue.len()), ("it", 0));
}

#[test]
fn every_form_of_arm_is_understood() {
    struct Holder {
        queues: [Queue<u8>; 2],
    }

    let holder = Holder { queues: [Queue::unbounded(), Queue::unbounded()] };
    let (event, semaphore, channel) = (Event::new(), Arc::new(Semaphore::new(0)), Rc::new(Channel::<u8>::new()));
    let (full, least, lifo) =
        (Rc::new(Queue::bounded(1)), PriorityQueue::<u8>::unbounded(), LifoQueue::<u8>::unbounded());
    full.put('x').unwrap();
    let handle = spawn(|| sleep(HANG));
    let mut slot = Some(spawn(|| sleep(HANG)));
    let (reader, _writer) = io::pipe().unwrap();
    let mut seen = Vec::new();
    for round in 0..3 {
        if round == 1 {
            holder.queues[0].put(7).unwrap();
        }
        let index = || 0;
        select! {
            Ok(number) | Err(ShutDown(number)) = Number(&holder.queues[index()]) => { seen.push(number) }
            _ = holder.queues[1].get() => unreachable!(),
            _ = event.wait() => unreachable!(),
            permit = semaphore.acquire() => drop(permit),
            result = full.put('y') => { result.unwrap(); unreachable!() },
            _ = channel.get() => {}
            _ = channel.put(1) => (),
            _ = least.get() => (),
            _ = lifo.get() => (),
            _ = full.join() => (),
            _ = (&handle).join() => unreachable!(),
            result = slot.join() => result.unwrap(),
            _ = greenlet_hub::wait_readable(&reader) => unreachable!(),
            _ = sleep(HANG) => (),
            _ = sleep_until(Instant::now() + HANG) => (),
            default => seen.push(0),
        }
    }
    assert_eq!(seen, [0, 7, 0]);
    assert_eq!((full.len(), least.len(), slot.is_some()), (1, 0, true));
}

/// A queue's item, so that the error carries a number as well.
struct Number<'a>(&'a Queue<u8>);

impl Waitable for Number<'_> {
    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }
    fn subscribe(&self, waiter: &Waiter) {
        self.0.subscribe(waiter);
    }
    fn unsubscribe(&self, waiter: &Waiter) {
        self.0.unsubscribe(waiter);
    }
}

impl Arm for Number<'_> {
    type Output = Result<u8, ShutDown<u8>>;

    fn take(&mut self) -> Option<Self::Output> {
        match self.0.try_get() {
            Ok(number) => Some(Ok(number)),
            Err(TryGetError::ShutDown) => Some(Err(ShutDown(0))),
            Err(TryGetError::Empty) => None,
        }
    }
}

#[test]
fn the_expressions_are_evaluated_once_and_in_order() {
    let evaluated = Cell::new(0);
    let queues = [Queue::<u8>::unbounded(), Queue::unbounded()];
    let queue = |index: usize| {
        assert_eq!(evaluated.replace(index + 1), index);
        &queues[index]
    };
    select! {
        _ = queue(0).get() => unreachable!(),
        _ = queue(1).get() => unreachable!(),
        _ = sleep({ assert_eq!(evaluated.replace(3), 2); MS }) => {}
    }
    assert_eq!(evaluated.get(), 3);
}

#[test]
fn bodies_are_plain_code_of_their_function() {
    fn sum(queue: &Queue<u32>, done: &Event) -> Result<u32, ShutDown> {
        let mut sum = 0;
        'outer: loop {
            for _ in 0..2 {
                select! {
                    item = queue.get() => match item? {
                        0 => continue 'outer,
                        9 => break 'outer,
                        item => sum += item,
                    },
                    _ = done.wait() => return Ok(sum + 100)
                }
            }
        }
        Ok(sum)
    }

    let (queue, done) = (Queue::unbounded(), Event::new());
    [1, 0, 2, 3, 9].into_iter().for_each(|n| queue.put(n).unwrap());
    assert_eq!(sum(&queue, &done), Ok(6));
    done.set();
    assert_eq!(sum(&queue, &done), Ok(100));
    done.clear();
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(sum(&queue, &done), Err(ShutDown(())));
}

#[test]
fn what_was_borrowed_for_the_wait_is_free_in_the_bodies() {
    let mut slot = Some(spawn(|| 5));
    let taken = select! {
        result = slot.join() => {
            slot = None;
            result.unwrap()
        }
    };
    assert_eq!((taken, slot.is_none()), (5, true));
    let handle = spawn(|| 6);
    let result = select! {
        _ = (&handle).join() => handle.join(),
    };
    assert_eq!(result.unwrap(), 6);
    assert_eq!(select! { result = spawn(|| 7).join() => result.unwrap() }, 7);
}

#[test]
fn a_handle_whose_arm_is_not_chosen_detaches_its_greenlet() {
    let ran = Rc::new(Cell::new(false));
    let handle = spawn({
        let ran = Rc::clone(&ran);
        move || {
            sleep(2 * MS);
            ran.set(true);
        }
    });
    let greenlet = handle.greenlet().clone();
    select! {
        _ = handle.join() => unreachable!(),
        default => {}
    }
    greenlet.wait();
    assert!(ran.get());
}

#[test]
fn default_never_waits() {
    let channel = Rc::new(Channel::new());
    let putter = spawn({
        let channel = Rc::clone(&channel);
        move || channel.put(1)
    });
    no_switch(|| assert!(select! { _ = channel.get() => false, default => true }));
    yield_now();
    no_switch(|| assert_eq!(select! { item = channel.get() => item.ok(), default => None }, Some(1)));
    putter.join().unwrap().unwrap();
    let getter = spawn({
        let channel = Rc::clone(&channel);
        move || channel.get()
    });
    yield_now();
    no_switch(|| assert!(select! { put = channel.put(2) => put.is_ok(), default => false }));
    assert_eq!(getter.join().unwrap(), Ok(2));
}

#[test]
fn the_first_that_becomes_ready_ends_the_wait() {
    let (queue, event, start) = (Rc::new(Queue::unbounded()), Rc::new(Event::new()), Instant::now());
    for waits_for in 0..3 {
        let poker = spawn({
            let (queue, event) = (Rc::clone(&queue), Rc::clone(&event));
            move || match waits_for {
                0 => queue.put(0).unwrap(),
                // Set for a moment only.
                1 => {
                    event.set();
                    event.clear();
                }
                _ => {}
            }
        });
        // The time is one of the arms only where nothing else comes.
        let patience = if waits_for == 2 { 20 * MS } else { 3 * HANG };
        let chosen = select! {
            item = queue.get() => item.unwrap(),
            _ = event.wait() => 1,
            _ = sleep(patience) => 2,
        };
        assert_eq!(chosen, waits_for);
        poker.join().unwrap();
    }
    assert!(start.elapsed() >= 20 * MS && start.elapsed() < HANG);
}

#[test]
fn of_those_that_are_ready_each_has_its_share() {
    let queues = [(); 3].map(|()| Queue::unbounded());
    let rounds = 3000;
    let mut chosen = [0; 3];
    for queue in &queues {
        (0..rounds).for_each(|_| queue.put(()).unwrap());
    }
    for _ in 0..rounds {
        let which = select! {
            _ = queues[0].get() => 0,
            _ = queues[1].get() => 1,
            _ = queues[2].get() => 2,
        };
        chosen[which] += 1;
    }
    assert!(chosen.iter().all(|&count| (rounds / 4..rounds / 2).contains(&count)), "{chosen:?}");
}

/// Two arms become ready in one tick, and only one of them is taken.
#[test]
fn what_is_not_chosen_is_left_for_the_next() {
    let queues = [(); 2].map(|()| Rc::new(Queue::unbounded()));
    let selecting = || {
        let queues = queues.clone();
        spawn(move || select! { item = queues[0].get() => item, item = queues[1].get() => item })
    };
    let both = [selecting(), selecting()];
    yield_now();
    queues[0].put(0).unwrap();
    queues[1].put(1).unwrap();
    let mut got = both.map(|greenlet| greenlet.join().unwrap().unwrap());
    got.sort_unstable();
    assert_eq!(got, [0, 1]);
}

/// A greenlet that selects between `arm` and what never comes, and is ended in the tick in which it is given something.
fn ended_in_the_same_tick<T: 'static>(select: impl Fn() -> T + Clone + 'static, give: impl Fn()) {
    let selecting = spawn(select.clone());
    let next = spawn(select.clone());
    yield_now();
    give();
    selecting.kill_nowait().unwrap();
    next.join().unwrap();
    assert!(selecting.join().is_err());

    // The same with a time-out.
    let deadline = Instant::now() + 3 * MS;
    let selecting = spawn({
        let select = select.clone();
        move || timeout(deadline - Instant::now(), select).is_err()
    });
    let next = spawn(select);
    spawn(move || {
        while Instant::now() < deadline + MS {
            std::hint::spin_loop();
        }
    });
    sleep_until(deadline - MS);
    give();
    next.join().unwrap();
    assert!(selecting.join().unwrap());
}

#[test]
fn an_item_goes_to_the_next_if_the_one_who_selects_is_ended() {
    let (queue, never) = (Rc::new(Queue::unbounded()), Rc::new(Event::new()));
    let select = {
        let queue = Rc::clone(&queue);
        move || select! { item = queue.get() => item.unwrap(), _ = never.wait() => {} }
    };
    ended_in_the_same_tick(select, || queue.put(()).unwrap());
    assert!(queue.is_empty());
}

#[test]
fn room_goes_to_the_next_if_the_one_who_selects_is_ended() {
    let (queue, never) = (Rc::new(Queue::bounded(1)), Rc::new(Event::new()));
    queue.put(()).unwrap();
    let select = {
        let queue = Rc::clone(&queue);
        move || select! { put = queue.put(()) => put.unwrap(), _ = never.wait() => {} }
    };
    ended_in_the_same_tick(select, || queue.try_get().unwrap());
    assert_eq!(queue.len(), 1);
}

#[test]
fn an_offer_goes_to_the_next_if_the_one_who_selects_is_ended() {
    let (channel, never) = (Rc::new(Channel::new()), Rc::new(Event::new()));
    let select = {
        let channel = Rc::clone(&channel);
        move || select! { item = channel.get() => item.unwrap(), _ = never.wait() => {} }
    };
    ended_in_the_same_tick(select, || channel.try_put(()).unwrap());
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
}

#[test]
fn a_permit_goes_to_the_next_if_the_one_who_selects_is_ended() {
    let (semaphore, never) = (Rc::new(Semaphore::new(0)), Rc::new(Event::new()));
    let select = {
        let semaphore = Rc::clone(&semaphore);
        move || select! { permit = semaphore.acquire() => permit.forget(), _ = never.wait() => {} }
    };
    ended_in_the_same_tick(select, || semaphore.release());
    assert_eq!(semaphore.available(), 0);
}

#[test]
fn an_offer_of_one_who_is_ended_is_gone() {
    let (channel, never) = (Rc::new(Channel::new()), Event::new());
    let offering = spawn({
        let channel = Rc::clone(&channel);
        move || select! { put = channel.put(1) => put.unwrap(), _ = never.wait() => {} }
    });
    yield_now();
    offering.kill_nowait().unwrap();
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
    assert!(offering.join().is_err());
    assert_eq!(channel.get_timeout(MS), Err(TryGetError::Empty));
}

#[test]
fn an_offer_that_was_taken_is_chosen_whatever_else_is_ready() {
    for _ in 0..20 {
        let (channel, event) = (Rc::new(Channel::new()), Rc::new(Event::new()));
        let offering = spawn({
            let (channel, event) = (Rc::clone(&channel), Rc::clone(&event));
            move || select! { put = channel.put(1) => put.is_ok(), _ = event.wait() => false }
        });
        yield_now();
        assert_eq!(channel.try_get(), Ok(1));
        event.set();
        assert!(offering.join().unwrap());
    }
}

#[test]
fn two_selects_meet_in_a_channel() {
    let (channel, never) = (Rc::new(Channel::new()), Rc::new(Event::new()));
    let rounds = 1000;
    for putter_is_first in [false, true] {
        let putter = || {
            let (channel, never) = (Rc::clone(&channel), Rc::clone(&never));
            spawn(move || {
                for item in 0..rounds {
                    select! { put = channel.put(item) => put.unwrap(), _ = never.wait() => {} }
                }
                0
            })
        };
        let getter = || {
            let (channel, never) = (Rc::clone(&channel), Rc::clone(&never));
            spawn(move || {
                let mut sum = 0;
                for _ in 0..rounds {
                    select! { _ = never.wait() => {} item = channel.get() => sum += item.unwrap() }
                }
                sum
            })
        };
        let both = joinall(if putter_is_first { [putter(), getter()] } else { [getter(), putter()] });
        assert_eq!(both.into_iter().map(Result::unwrap).sum::<u32>(), rounds * (rounds - 1) / 2);
    }
}

#[test]
fn a_lock_is_taken_among_others_and_goes_to_the_next_if_it_is_not() {
    let (lock, queue) = (Rc::new(Lock::new(0)), Rc::new(Queue::unbounded()));
    let held = lock.lock();
    let select = || {
        let (lock, queue) = (Rc::clone(&lock), Rc::clone(&queue));
        spawn(move || {
            select! {
                mut guard = lock.lock() => { *guard += 1; "lock" }
                item = queue.get() => item.unwrap(),
            }
        })
    };
    let (first, second) = (select(), select());
    yield_now();
    drop(held);
    first.greenlet().kill_nowait().unwrap();
    assert_eq!(second.join().unwrap(), "lock");
    assert_eq!(*lock.try_lock().unwrap(), 1);
}

#[test]
fn one_select_does_not_meet_itself() {
    let channel = Rc::new(Channel::new());
    let start = Instant::now();
    select! {
        _ = channel.put(1) => unreachable!(),
        _ = channel.get() => unreachable!(),
        _ = sleep(5 * MS) => {}
    }
    assert!(start.elapsed() >= 5 * MS);
    let getter = spawn({
        let channel = Rc::clone(&channel);
        move || channel.get()
    });
    let put = select! {
        put = channel.put(1) => put.is_ok(),
        _ = channel.get() => false,
    };
    assert!(put);
    assert_eq!(getter.join().unwrap(), Ok(1));
}

#[test]
fn descriptors_are_waited_for_among_others() {
    let ((mut reader, mut writer), queue) = (io::pipe().unwrap(), Rc::new(Queue::<u8>::unbounded()));
    for round in 0..3 {
        let start = Instant::now();
        let is_readable = select! {
            ready = wait_readable(&reader) => { ready.unwrap(); true }
            _ = queue.get() => unreachable!(),
            _ = sleep(2 * MS) => false,
        };
        assert!(!is_readable && start.elapsed() >= 2 * MS, "round {round}");
        let write = spawn({
            let mut writer = writer.try_clone().unwrap();
            move || writer.write_all(b"x").unwrap()
        });
        let mut byte = [0];
        select! {
            ready = wait_readable(&reader) => { ready.unwrap(); reader.read_exact(&mut byte).unwrap(); }
            _ = queue.get() => unreachable!(),
        }
        assert_eq!(&byte, b"x");
        write.join().unwrap();
    }
    select! {
        ready = wait_writable(&writer) => ready.unwrap(),
        _ = queue.get() => unreachable!(),
    }
    let waiting = spawn(move || select! { ready = wait_readable(&reader) => ready.is_ok() });
    yield_now();
    waiting.kill().unwrap();
    // Its end of the pipe went with it, and nothing of the wait is left.
    assert!(writer.write_all(b"x").is_err());
}

#[test]
fn an_event_that_never_comes_keeps_no_waiters() {
    /// Counts how many waiters it has been left with.
    #[derive(Default)]
    struct Counted(WaitList);

    impl Waitable for Counted {
        fn is_ready(&self) -> bool {
            false
        }
        fn subscribe(&self, waiter: &Waiter) {
            self.0.push(waiter.clone());
        }
    }

    let rounds = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    let memory = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0)
    };
    let (event, queue, channel, never) =
        (Event::new(), Rc::new(Queue::bounded(1)), Channel::<u8>::new(), Counted::default());
    let (semaphore, empty) = (Semaphore::new(0), Queue::<u8>::unbounded());
    let putter = spawn({
        let queue = Rc::clone(&queue);
        move || (0..rounds).for_each(|n| queue.put(n).unwrap())
    });
    let mut before = 0;
    for n in 0..rounds {
        if n == rounds / 10 {
            before = memory();
        }
        select! {
            item = queue.get() => assert_eq!(item, Ok(n)),
            _ = event.wait() => unreachable!(),
            _ = channel.get() => unreachable!(),
            _ = channel.put(1) => unreachable!(),
            _ = empty.get() => unreachable!(),
            _ = semaphore.acquire() => unreachable!(),
            _ = never.wait() => unreachable!(),
            _ = sleep(HANG) => unreachable!(),
        }
    }
    putter.join().unwrap();
    // Each list holds a few dozens; 100 bytes a round would be 100 MB. Other tests run beside this one.
    assert!(memory() < before + 8192, "{before} pages became {}", memory());
}

#[test]
fn several_threads_select_from_the_same_queues() {
    let rounds: u64 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    let (queue, channel) = (Arc::new(Queue::bounded(4)), Arc::new(Channel::new()));
    let (end, sums) = (Arc::new(Event::new()), Arc::new(Queue::unbounded()));
    let getters: Vec<_> = (0..2)
        .map(|_| {
            let (queue, channel, end, sums) =
                (Arc::clone(&queue), Arc::clone(&channel), Arc::clone(&end), Arc::clone(&sums));
            std::thread::spawn(move || {
                let mut sum = 0;
                loop {
                    select! {
                        item = queue.get() => sum += item.unwrap(),
                        item = channel.get() => sum += item.unwrap(),
                        _ = end.wait() => break,
                    }
                }
                sums.put(sum).unwrap();
            })
        })
        .collect();
    let putters = (0..2).map(|_| {
        let (queue, channel) = (Arc::clone(&queue), Arc::clone(&channel));
        std::thread::spawn(move || {
            for n in 0..rounds {
                select! {
                    put = queue.put(n) => put.unwrap(),
                    put = channel.put(n) => put.unwrap(),
                }
            }
        })
    });
    let putters: Vec<_> = putters.collect();
    putters.into_iter().for_each(|putter| putter.join().unwrap());
    // What a `put` handed over without waiting may be on its way still.
    let left: u64 = std::iter::from_fn(|| queue.try_get().or_else(|_| channel.try_get()).ok()).sum();
    end.set();
    getters.into_iter().for_each(|getter| getter.join().unwrap());
    let left: u64 = left + std::iter::from_fn(|| queue.try_get().or_else(|_| channel.try_get()).ok()).sum::<u64>();
    assert_eq!(sums.get().unwrap() + sums.get().unwrap() + left, rounds * (rounds - 1));
}

#[test]
fn a_plain_thread_selects() {
    let queue = Arc::new(Queue::unbounded());
    let threads = (0..2).map(|_| {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || select! { item = queue.get() => item.ok(), _ = sleep(HANG) => None })
    });
    let threads: Vec<_> = threads.collect();
    joinall((0..2).map(|_| {
        spawn({
            let queue = Arc::clone(&queue);
            move || queue.put(1).unwrap()
        })
    }));
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Some(1)));
}

#[test]
fn results_and_groups_are_arms_too() {
    let (result, group, never) = (AsyncResult::<i32>::new(), Group::new(), Event::new());
    group.spawn({
        let result = result.clone();
        move || result.set(7)
    });
    let value = select! {
        value = result.get() => value.unwrap(),
        _ = never.wait() => unreachable!("nobody sets it"),
    };
    assert_eq!(value, 7);
    select! {
        _ = group.join() => assert!(group.is_empty()),
        _ = never.wait() => unreachable!("nobody sets it"),
    }
}
