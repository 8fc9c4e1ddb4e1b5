//! Queues: who gets what, when a putter waits, and that nothing is lost.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, JoinHandle, joinall, no_switch, sleep_until, spawn, timeout, wait, yield_now};
use greenlet_sync::{LifoQueue, PriorityQueue, Queue, ShutDown, Shutdown, TooManyDone, TryGetError, TryPutError};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

type Trace = Rc<RefCell<Vec<String>>>;

fn note(trace: &Trace, what: impl ToString) {
    trace.borrow_mut().push(what.to_string());
}

/// A greenlet that gets one item.
fn getter<T: 'static>(queue: &Rc<Queue<T>>) -> JoinHandle<Result<T, ShutDown>> {
    let queue = Rc::clone(queue);
    spawn(move || queue.get())
}

fn putter<T: 'static>(queue: &Rc<Queue<T>>, item: T) -> JoinHandle<Result<(), ShutDown<T>>> {
    let queue = Rc::clone(queue);
    spawn(move || queue.put(item))
}

#[test]
fn what_need_not_wait_does_not_switch() {
    no_switch(|| {
        let queue = Queue::bounded(3);
        assert_eq!((queue.is_empty(), queue.is_full(), queue.capacity()), (true, false, Some(3)));
        queue.put(1).unwrap();
        queue.try_put(2).unwrap();
        queue.put_timeout(3, MS).unwrap();
        assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (3, false, true));
        assert_eq!(queue.try_put(4), Err(TryPutError::Full(4)));
        assert_eq!((queue.peek(), queue.try_peek(), queue.peek_timeout(MS)), (Ok(1), Ok(1), Ok(1)));
        assert_eq!((queue.get(), queue.try_get(), queue.get_timeout(MS)), (Ok(1), Ok(2), Ok(3)));
        assert_eq!((queue.try_get(), queue.try_peek()), (Err(TryGetError::Empty), Err(TryGetError::Empty)));
        let unbounded = Queue::<u8>::unbounded();
        assert_eq!((unbounded.capacity(), unbounded.is_full()), (None, false));
    });
}

#[test]
fn the_three_orders() {
    let (fifo, lifo, least) = (Queue::unbounded(), LifoQueue::unbounded(), PriorityQueue::unbounded());
    for n in [3, 1, 2] {
        fifo.put(n).unwrap();
        lifo.put(n).unwrap();
        least.put(n).unwrap();
    }
    assert_eq!((fifo.peek(), lifo.peek(), least.peek()), (Ok(3), Ok(2), Ok(1)));
    fifo.shutdown(Shutdown::Graceful);
    lifo.shutdown(Shutdown::Graceful);
    least.shutdown(Shutdown::Graceful);
    assert_eq!(fifo.iter().collect::<Vec<_>>(), [3, 1, 2]);
    assert_eq!(lifo.iter().collect::<Vec<_>>(), [2, 1, 3]);
    assert_eq!((&least).into_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
#[should_panic(expected = "room for one item at the least")]
fn there_is_no_queue_without_room() {
    let _ = Queue::<u8>::bounded(0);
}

#[test]
fn a_producer_waits_at_the_second_put_into_a_queue_of_one() {
    let (queue, trace) = (Rc::new(Queue::bounded(1)), Trace::default());
    let producer = spawn({
        let (queue, trace) = (Rc::clone(&queue), Rc::clone(&trace));
        move || {
            for n in 0..3 {
                note(&trace, format!("put {n}"));
                queue.put(n).unwrap();
                note(&trace, format!("done {n}"));
            }
        }
    });
    yield_now();
    assert_eq!(trace.take(), ["put 0", "done 0", "put 1"]);
    assert_eq!((0..3).map(|_| queue.get().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    producer.join().unwrap();
}

#[test]
fn an_item_may_be_taken_back_while_a_getter_waits() {
    let queue = Rc::new(Queue::unbounded());
    let getter = getter(&queue);
    yield_now();
    no_switch(|| {
        queue.put("own").unwrap();
        assert_eq!(queue.try_get(), Ok("own"));
    });
    yield_now();
    assert!(!getter.is_finished());
    queue.put("his").unwrap();
    assert_eq!(getter.join().unwrap(), Ok("his"));
}

#[test]
fn getters_are_served_in_the_order_in_which_they_came() {
    let queue = Rc::new(Queue::unbounded());
    let getters: Vec<_> = (0..5).map(|_| getter(&queue)).collect();
    yield_now();
    (0..5).for_each(|n| queue.put(n).unwrap());
    let got: Vec<_> = joinall(getters).into_iter().map(|got| got.unwrap().unwrap()).collect();
    assert_eq!(got, [0, 1, 2, 3, 4]);
}

#[test]
fn putters_are_served_in_the_order_in_which_they_came() {
    let queue = Rc::new(Queue::bounded(1));
    queue.put(0).unwrap();
    let putters: Vec<_> = (1..5).map(|n| putter(&queue, n)).collect();
    yield_now();
    assert_eq!((0..5).map(|_| queue.get().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(joinall(putters).into_iter().all(|put| put.unwrap().is_ok()));
}

#[test]
fn a_getter_that_was_passed_over_is_handed_the_next_item() {
    let queue = Rc::new(Queue::unbounded());
    let first = getter(&queue);
    yield_now();
    queue.put(1).unwrap();
    assert_eq!(queue.try_get(), Ok(1));
    yield_now();
    let second = getter(&queue);
    yield_now();
    queue.put(2).unwrap();
    // Kept for the first.
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    queue.put(3).unwrap();
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (Ok(2), Ok(3)));
}

#[test]
fn a_putter_that_was_passed_over_is_handed_the_next_room() {
    let queue = Rc::new(Queue::bounded(1));
    queue.put(0).unwrap();
    let waiting = putter(&queue, 1);
    yield_now();
    assert_eq!(queue.try_get(), Ok(0));
    queue.try_put(10).unwrap();
    yield_now();
    assert_eq!(queue.try_get(), Ok(10));
    assert_eq!(queue.try_put(11), Err(TryPutError::Full(11)));
    waiting.join().unwrap().unwrap();
    assert_eq!(queue.try_get(), Ok(1));
}

#[test]
fn a_get_that_times_out_takes_nothing() {
    let queue = Rc::new(Queue::unbounded());
    let start = Instant::now();
    assert_eq!(queue.get_timeout(5 * MS), Err(TryGetError::Empty));
    assert_eq!(queue.peek_timeout(MS), Err(TryGetError::Empty));
    assert!(start.elapsed() >= 5 * MS && start.elapsed() < HANG);
    queue.put(1).unwrap();
    assert_eq!(queue.get(), Ok(1));
}

#[test]
fn a_put_that_times_out_gives_its_item_back() {
    let queue = Queue::bounded(1);
    queue.put(1).unwrap();
    assert_eq!(queue.put_timeout(2, 2 * MS), Err(TryPutError::Full(2)));
    assert_eq!((queue.get(), queue.len()), (Ok(1), 0));
}

#[test]
fn an_item_that_comes_as_the_time_runs_out_is_got() {
    let queue = Rc::new(Queue::unbounded());
    let deadline = Instant::now() + 5 * MS;
    let getter = spawn({
        let queue = Rc::clone(&queue);
        move || queue.get_timeout(deadline - Instant::now())
    });
    yield_now();
    // Both are ripe when the hub looks next.
    while Instant::now() < deadline + MS {
        std::hint::spin_loop();
    }
    queue.put(1).unwrap();
    assert_eq!(getter.join().unwrap(), Ok(1));
}

#[test]
fn room_that_comes_as_the_time_runs_out_is_taken() {
    let queue = Rc::new(Queue::bounded(1));
    queue.put(1).unwrap();
    let deadline = Instant::now() + 5 * MS;
    let putter = spawn({
        let queue = Rc::clone(&queue);
        move || queue.put_timeout(2, deadline - Instant::now())
    });
    yield_now();
    while Instant::now() < deadline + MS {
        std::hint::spin_loop();
    }
    assert_eq!(queue.try_get(), Ok(1));
    assert_eq!(putter.join().unwrap(), Ok(()));
    assert_eq!(queue.try_get(), Ok(2));
}

#[test]
fn a_killed_getter_leaves_its_item_to_the_next() {
    let queue = Rc::new(Queue::unbounded());
    let (first, second) = (getter(&queue), getter(&queue));
    yield_now();
    // In one tick: it is woken for the item, and killed.
    queue.put("it").unwrap();
    first.kill_nowait().unwrap();
    assert_eq!(second.join().unwrap(), Ok("it"));
    assert!(matches!(first.join(), Err(JoinError::Killed)));
}

#[test]
fn a_killed_getter_that_was_promised_an_item_leaves_it_to_the_next() {
    let queue = Rc::new(Queue::unbounded());
    let first = getter(&queue);
    yield_now();
    queue.put(0).unwrap();
    assert_eq!(queue.try_get(), Ok(0));
    yield_now();
    let second = getter(&queue);
    yield_now();
    queue.put(1).unwrap();
    first.kill_nowait().unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
    queue.put(2).unwrap();
    assert_eq!(queue.try_get(), Ok(2));
}

#[test]
fn a_killed_putter_leaves_no_item_and_its_room_to_the_next() {
    let queue = Rc::new(Queue::bounded(1));
    queue.put(0).unwrap();
    let (first, second) = (putter(&queue, 1), putter(&queue, 2));
    yield_now();
    assert_eq!(queue.get(), Ok(0));
    first.kill_nowait().unwrap();
    second.join().unwrap().unwrap();
    assert_eq!((queue.try_get(), queue.try_get()), (Ok(2), Err(TryGetError::Empty)));
}

#[test]
fn a_getter_whose_outer_time_has_passed_takes_nothing() {
    let queue = Rc::new(Queue::unbounded());
    let deadline = Instant::now() + 5 * MS;
    let first = spawn({
        let queue = Rc::clone(&queue);
        move || timeout(deadline - Instant::now(), || queue.get_timeout(HANG))
    });
    let second = getter(&queue);
    spawn(move || {
        while Instant::now() < deadline + MS {
            std::hint::spin_loop();
        }
    });
    // Both times come in the same look, and this one is the first of them.
    sleep_until(deadline - MS);
    queue.put(1).unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
    assert!(first.join().unwrap().is_err());
}

#[test]
fn a_peek_takes_nothing_and_hands_on_what_it_was_woken_for() {
    let queue = Rc::new(Queue::unbounded());
    let peeker = spawn({
        let queue = Rc::clone(&queue);
        move || queue.peek()
    });
    let getter = getter(&queue);
    yield_now();
    queue.put(1).unwrap();
    assert_eq!((peeker.join().unwrap(), getter.join().unwrap()), (Ok(1), Ok(1)));
}

#[test]
fn join_waits_until_all_is_done() {
    let queue = Rc::new(Queue::unbounded());
    no_switch(|| queue.join());
    (0..3).for_each(|n| queue.put(n).unwrap());
    assert!(!queue.join_timeout(MS));
    let worker = spawn({
        let queue = Rc::clone(&queue);
        move || {
            for _ in 0..3 {
                queue.get().unwrap();
                yield_now();
                queue.task_done().unwrap();
            }
            queue.task_done()
        }
    });
    queue.join();
    assert!(queue.is_empty() && queue.join_timeout(MS));
    assert_eq!(worker.join().unwrap(), Err(TooManyDone));
}

#[test]
fn a_graceful_shutdown_leaves_what_is_there() {
    let queue = Rc::new(Queue::bounded(2));
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    let putter = putter(&queue, 3);
    yield_now();
    queue.shutdown(Shutdown::Graceful);
    assert!(queue.is_shut_down());
    assert_eq!(putter.join().unwrap(), Err(ShutDown(3)));
    assert_eq!(queue.try_put(4), Err(TryPutError::ShutDown(4)));
    assert_eq!((queue.get(), queue.peek(), queue.try_get()), (Ok(1), Ok(2), Ok(2)));
    assert_eq!((queue.get(), queue.try_get()), (Err(ShutDown(())), Err(TryGetError::ShutDown)));
    assert_eq!(queue.try_peek(), Err(TryGetError::ShutDown));
}

#[test]
fn an_immediate_shutdown_drops_what_is_there_and_ends_the_join() {
    struct Noted(Rc<Queue<Noted>>, Rc<Cell<u32>>);

    impl Drop for Noted {
        fn drop(&mut self) {
            // Whatever it does with the queue: no lock is held.
            assert!(self.0.is_empty());
            self.1.set(self.1.get() + 1);
        }
    }

    let (queue, dropped) = (Rc::new(Queue::unbounded()), Rc::new(Cell::new(0)));
    (0..3).for_each(|_| assert!(queue.put(Noted(Rc::clone(&queue), Rc::clone(&dropped))).is_ok()));
    let joiner = spawn({
        let queue = Rc::clone(&queue);
        move || queue.join()
    });
    yield_now();
    queue.shutdown(Shutdown::Immediate);
    assert_eq!(dropped.get(), 3);
    joiner.join().unwrap();
    assert!(queue.get().is_err());
}

#[test]
fn a_shutdown_ends_the_waits_of_all_getters() {
    let queue = Rc::new(Queue::<u8>::unbounded());
    let getters: Vec<_> = (0..3).map(|_| getter(&queue)).collect();
    yield_now();
    queue.shutdown(Shutdown::Graceful);
    assert!(joinall(getters).into_iter().all(|got| got.unwrap() == Err(ShutDown(()))));
}

/// An item whose comparisons do what they are told.
#[derive(Clone)]
struct Odd {
    key: u32,
    compare: Rc<dyn Fn()>,
}

impl PartialEq for Odd {
    fn eq(&self, other: &Odd) -> bool {
        self.key == other.key
    }
}

impl Eq for Odd {}

impl PartialOrd for Odd {
    fn partial_cmp(&self, other: &Odd) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Odd {
    fn cmp(&self, other: &Odd) -> Ordering {
        (self.compare)();
        self.key.cmp(&other.key)
    }
}

#[test]
fn a_comparison_that_panics_leaves_the_queue_as_it_was() {
    let armed = Rc::new(Cell::new(u32::MAX));
    let compare: Rc<dyn Fn()> = Rc::new({
        let armed = Rc::clone(&armed);
        move || {
            armed.set(armed.get().wrapping_sub(1));
            assert!(armed.get() != 0, "told to");
        }
    });
    let item = |key| Odd { key, compare: Rc::clone(&compare) };
    let queue = PriorityQueue::unbounded();
    let keys = [5, 3, 8, 1, 9, 2, 7, 4, 6];
    for key in keys {
        queue.put(item(key)).unwrap();
    }
    for after in 1..8 {
        armed.set(after);
        let put = catch_unwind(AssertUnwindSafe(|| queue.put(item(0))));
        armed.set(u32::MAX);
        if put.is_ok() {
            assert_eq!(queue.get().unwrap().key, 0);
        }
        armed.set(after);
        let got = catch_unwind(AssertUnwindSafe(|| queue.get().unwrap().key));
        armed.set(u32::MAX);
        if let Ok(key) = got {
            queue.put(item(key)).unwrap();
        }
        assert_eq!(queue.len(), keys.len());
    }
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(queue.iter().map(|item| item.key).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_comparison_that_waits_makes_others_wait_and_may_be_killed() {
    let wait_in = Rc::new(Cell::new(false));
    let compare: Rc<dyn Fn()> = Rc::new({
        let wait_in = Rc::clone(&wait_in);
        move || {
            if wait_in.replace(false) {
                yield_now();
                yield_now();
            }
        }
    });
    let item = |key| Odd { key, compare: Rc::clone(&compare) };
    let queue = Rc::new(PriorityQueue::unbounded());
    queue.put(item(2)).unwrap();
    for is_killed in [false, true] {
        wait_in.set(true);
        let putter = spawn({
            let (queue, item) = (Rc::clone(&queue), item(1));
            move || queue.put(item).unwrap()
        });
        yield_now();
        assert!(!putter.is_finished());
        if is_killed {
            putter.kill_nowait().unwrap();
        }
        // Waits until the comparison is over.
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.try_get().unwrap().key, if is_killed { 2 } else { 1 });
        assert_eq!(putter.join().is_err(), is_killed);
    }
    assert!(queue.is_empty());
}

#[test]
fn a_shutdown_during_a_comparison_drops_the_items_after_it() {
    let wait_in = Rc::new(Cell::new(false));
    let compare: Rc<dyn Fn()> = Rc::new({
        let wait_in = Rc::clone(&wait_in);
        move || {
            if wait_in.replace(false) {
                yield_now();
            }
        }
    });
    let item = |key| Odd { key, compare: Rc::clone(&compare) };
    let queue = Rc::new(PriorityQueue::unbounded());
    queue.put(item(2)).unwrap();
    wait_in.set(true);
    let putter = spawn({
        let (queue, item) = (Rc::clone(&queue), item(1));
        move || queue.put(item).is_ok()
    });
    yield_now();
    queue.shutdown(Shutdown::Immediate);
    assert!(putter.join().unwrap());
    assert!(queue.is_empty() && queue.get().is_err());
    queue.join();
}

#[test]
fn a_clone_that_panics_leaves_the_item() {
    #[derive(Debug)]
    struct Never;

    impl Clone for Never {
        fn clone(&self) -> Never {
            panic!("told to")
        }
    }

    let queue = Queue::unbounded();
    queue.put(Never).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| queue.peek())).is_err());
    assert!(queue.try_get().is_ok());
}

#[test]
fn a_queue_can_be_waited_for_among_others() {
    let (idle, queue) = (Queue::<u8>::unbounded(), Rc::new(Queue::unbounded()));
    let putter = putter(&queue, 1);
    assert_eq!(wait(&[&idle, &*queue], Some(1), None), [1]);
    assert_eq!(queue.try_get(), Ok(1));
    putter.join().unwrap().unwrap();
}

#[test]
fn waits_that_end_by_their_time_leave_nothing_behind() {
    let queue = Rc::new(Queue::unbounded());
    for _ in 0..200 {
        assert!(queue.get_timeout(Duration::from_nanos(1)).is_err());
    }
    queue.put(1).unwrap();
    assert_eq!(queue.get(), Ok(1));
}

#[test]
fn items_of_one_thread_are_fine_and_those_of_several_are_shared() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Queue<u8>>();
    is_shared::<LifoQueue<String>>();
    is_shared::<PriorityQueue<Cell<u8>>>();
    let queue = Queue::unbounded();
    queue.put(Rc::new(1)).unwrap();
    assert_eq!(*queue.get().unwrap(), 1);
}

#[test]
fn nothing_is_lost_or_doubled_between_threads() {
    let rounds: u64 = if cfg!(debug_assertions) { 20_000 } else { 250_000 };
    let (forth, sums) = (Arc::new(Queue::bounded(16)), Arc::new(Queue::unbounded()));
    let getters: Vec<_> = (0..2)
        .map(|_| {
            let (forth, sums) = (Arc::clone(&forth), Arc::clone(&sums));
            std::thread::spawn(move || {
                let greenlets = (0..3).map(|_| {
                    let forth = Arc::clone(&forth);
                    spawn(move || forth.iter().sum::<u64>())
                });
                let greenlets: Vec<_> = greenlets.collect();
                sums.put(joinall(greenlets).into_iter().map(Result::unwrap).sum::<u64>()).unwrap();
            })
        })
        .collect();
    let putters: Vec<_> = (0..2)
        .map(|_| {
            let forth = Arc::clone(&forth);
            std::thread::spawn(move || (0..rounds).for_each(|n| forth.put(n).unwrap()))
        })
        .collect();
    putters.into_iter().for_each(|putter| putter.join().unwrap());
    forth.shutdown(Shutdown::Graceful);
    getters.into_iter().for_each(|getter| getter.join().unwrap());
    assert_eq!(sums.get().unwrap() + sums.get().unwrap(), rounds * (rounds - 1));
}

#[test]
fn a_plain_thread_waits_for_what_a_greenlet_puts() {
    let queue = Arc::new(Queue::unbounded());
    let thread = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || queue.get_timeout(HANG)
    });
    sleep_until(Instant::now() + MS);
    queue.put(7).unwrap();
    assert_eq!(thread.join().unwrap(), Ok(7));
}

mod programs {
    //! Random programs of getters and putters that are killed and time out.

    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put,
        TryPut,
        Get,
        GetSoon,
        TryGet,
        Kill(usize),
        Yield,
        Sleep,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Put),
            1 => Just(Step::TryPut),
            4 => Just(Step::Get),
            1 => Just(Step::GetSoon),
            1 => Just(Step::TryGet),
            2 => (0..40_usize).prop_map(Step::Kill),
            3 => Just(Step::Yield),
            1 => Just(Step::Sleep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 1000 }))]

        #[test]
        fn keep_every_item_once_and_in_order(capacity in 1..4_usize, steps in prop::collection::vec(step(), 1..60)) {
            let shared = Rc::new(Queue::bounded(capacity));
            // What was put in, and what came out, in order.
            let (all_put, all_got) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
            let mut greenlets = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let (queue, put, got) = (Rc::clone(&shared), Rc::clone(&all_put), Rc::clone(&all_got));
                match step {
                    Step::Put => greenlets.push(spawn(move || {
                        if queue.put(number).is_ok() {
                            put.borrow_mut().push(number);
                        }
                    })),
                    Step::TryPut => {
                        if queue.try_put(number).is_ok() {
                            put.borrow_mut().push(number);
                        }
                    }
                    Step::Get => greenlets.push(spawn(move || {
                        let item = queue.get();
                        got.borrow_mut().extend(item);
                    })),
                    Step::GetSoon => greenlets.push(spawn(move || {
                        let item = queue.get_timeout(Duration::from_micros(50));
                        got.borrow_mut().extend(item);
                    })),
                    Step::TryGet => got.borrow_mut().extend(queue.try_get()),
                    Step::Kill(which) => {
                        if let Some(greenlet) = greenlets.get(which) {
                            greenlet.kill_nowait().unwrap();
                        }
                    }
                    Step::Yield => yield_now(),
                    Step::Sleep => sleep_until(Instant::now() + Duration::from_micros(100)),
                }
                prop_assert!(shared.len() <= capacity);
            }
            // Whoever still gets finds enough, and whoever still puts finds room.
            for _ in 0..4 * greenlets.len() {
                yield_now();
                if greenlets.iter().all(|greenlet| greenlet.is_finished()) {
                    break;
                }
                all_got.borrow_mut().extend(shared.try_get());
            }
            for greenlet in &greenlets {
                greenlet.kill().unwrap();
            }
            all_got.borrow_mut().extend(std::iter::from_fn(|| shared.try_get().ok()));
            let (mut put, mut got) = (all_put.take(), all_got.take());
            put.sort_unstable();
            got.sort_unstable();
            prop_assert_eq!(put, got);
            prop_assert!(shared.is_empty());
        }
    }
}
