//! What async tasks take: items, permits, results. They stand in one line with greenlets, and lose nothing.

use std::cell::Cell;
use std::cmp::Ordering as Order;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{Handle, block_on, current, joinall, sleep, sleep_until, spawn, spawn_future, yield_now};
use greenlet_sync::select::SelectJoin;
use greenlet_sync::{
    AsyncResult, BoundedSemaphore, Channel, Event, LifoQueue, PriorityQueue, Queue, Semaphore, ShutDown, Shutdown,
    TakeAsync, TryGetError, TryPutError, select, take_async,
};

/// A task that counts its wakes instead of being polled.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future with its own waker.
struct Polled<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

impl<F: Future> Polled<F> {
    fn new(future: F) -> Polled<F> {
        Polled { future: Box::pin(future), wakes: Arc::default() }
    }

    /// One that has been polled once, and waits.
    #[track_caller]
    fn waiting(future: F) -> Polled<F> {
        let mut this = Polled::new(future);
        assert!(this.poll().is_pending());
        this
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }
}

/// The least executor there is.
fn run<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[test]
fn futures_are_send_if_what_they_take_is() {
    fn send<T: Send + Unpin>(_: &T) {}
    let (queue, channel) = (Queue::<Cell<u8>>::unbounded(), Channel::<Cell<u8>>::new());
    send(&queue.get_async());
    send(&queue.put_async(Cell::new(1)));
    send(&PriorityQueue::<u8>::unbounded().get_async());
    send(&LifoQueue::<u8>::unbounded().put_async(1));
    send(&channel.get_async());
    send(&channel.put_async(Cell::new(1)));
    send(&Semaphore::new(0).acquire_async());
    send(&BoundedSemaphore::new(0).acquire_async());
    send(&Event::new().wait_async());
    send(&AsyncResult::<u8, ()>::new().get_async());
}

#[test]
fn what_is_there_is_taken_by_the_first_poll() {
    let queue = Queue::bounded(1);
    assert_eq!(Polled::new(queue.put_async(1)).poll(), Poll::Ready(Ok(())));
    assert_eq!(Polled::new(queue.get_async()).poll(), Poll::Ready(Ok(1)));
    let semaphore = Semaphore::new(1);
    assert!(Polled::new(semaphore.acquire_async()).poll().is_ready());
    assert_eq!(semaphore.available(), 1);
    let event = Event::new();
    event.set();
    assert!(Polled::new(event.wait_async()).poll().is_ready());
    let result = AsyncResult::<_, ()>::new();
    result.set(1);
    assert_eq!(Polled::new(result.get_async()).poll(), Poll::Ready(Ok(1)));
}

#[test]
fn what_becomes_ready_by_its_deadline_is_found_when_it_is_polled() {
    let deadline = Instant::now() + Duration::from_millis(20);
    let mut future = Polled::waiting(take_async(select::sleep_until(deadline)));
    sleep_until(deadline);
    assert_eq!(future.poll(), Poll::Ready(()));
    assert_eq!(future.wakes(), 0);
}

#[test]
fn a_future_that_is_never_polled_takes_nothing_and_holds_up_nobody() {
    let queue = Queue::bounded(1);
    let (_get, _put) = (queue.get_async(), queue.put_async(0));
    queue.put(1).unwrap();
    assert_eq!(queue.get(), Ok(1));
    assert!(queue.is_empty());
}

#[test]
fn getters_are_served_in_the_order_of_their_first_polls() {
    let queue = Queue::unbounded();
    let mut getters: Vec<_> = (0..3).map(|_| Polled::waiting(queue.get_async())).collect();
    for n in 0..3 {
        queue.put(n).unwrap();
        let wakes: Vec<_> = getters.iter().map(Polled::wakes).collect();
        assert_eq!(wakes, (0..3).map(|index| usize::from(index <= n)).collect::<Vec<_>>());
    }
    for (n, getter) in getters.iter_mut().enumerate() {
        assert_eq!(getter.poll(), Poll::Ready(Ok(n)));
        assert_eq!(getter.wakes(), 1);
    }
}

#[test]
fn one_that_was_passed_over_keeps_its_place() {
    let queue = Queue::unbounded();
    let (mut first, second) = (Polled::waiting(queue.get_async()), Polled::waiting(queue.get_async()));
    for round in 1..=20 {
        queue.put(round).unwrap();
        assert_eq!(queue.try_get(), Ok(round));
        assert!(first.poll().is_pending());
        assert_eq!((first.wakes(), second.wakes()), (round, 0));
    }
    let semaphore = Semaphore::new(0);
    let (mut first, second) = (Polled::waiting(semaphore.acquire_async()), Polled::waiting(semaphore.acquire_async()));
    for round in 1..=20 {
        semaphore.release();
        semaphore.try_acquire().unwrap().forget();
        assert!(first.poll().is_pending());
        assert_eq!((first.wakes(), second.wakes()), (round, 0));
    }
}

#[test]
fn tasks_and_greenlets_stand_in_one_line() {
    let queue = Rc::new(Queue::unbounded());
    let get = |queue: &Rc<Queue<u32>>| {
        let queue = Rc::clone(queue);
        let getter = spawn(move || queue.get());
        yield_now();
        getter
    };
    let first = get(&queue);
    let mut second = Polled::waiting(queue.get_async());
    let third = get(&queue);
    (1..=3).for_each(|n| queue.put(n).unwrap());
    assert_eq!((first.join().unwrap(), third.join().unwrap()), (Ok(1), Ok(2)));
    assert_eq!((second.poll(), second.wakes()), (Poll::Ready(Ok(3)), 1));
}

#[test]
fn an_item_that_a_dropped_future_was_woken_for_goes_to_the_next() {
    let queue = Rc::new(Queue::unbounded());
    let dropped = Polled::waiting(queue.get_async());
    let mut next = Polled::waiting(queue.get_async());
    let greenlet = spawn({
        let queue = Rc::clone(&queue);
        move || queue.get()
    });
    yield_now();
    queue.put(1).unwrap();
    assert_eq!((dropped.wakes(), next.wakes()), (1, 0));
    drop(dropped);
    assert_eq!(next.wakes(), 1);
    assert_eq!(next.poll(), Poll::Ready(Ok(1)));
    // To a greenlet as well.
    let dropped = Polled::waiting(queue.get_async());
    queue.put(2).unwrap();
    assert_eq!(greenlet.join().unwrap(), Ok(2));
    queue.put(3).unwrap();
    assert_eq!(dropped.wakes(), 1);
    drop(dropped);
    assert_eq!(queue.try_get(), Ok(3));
}

#[test]
fn room_that_a_dropped_future_was_woken_for_goes_to_the_next_and_its_item_is_not_put() {
    let queue = Queue::bounded(1);
    let item = Rc::new(());
    queue.put(None).unwrap();
    let dropped = Polled::waiting(queue.put_async(Some(Rc::clone(&item))));
    let mut next = Polled::waiting(queue.put_async(None));
    assert_eq!(queue.get(), Ok(None));
    assert_eq!((dropped.wakes(), next.wakes()), (1, 0));
    drop(dropped);
    assert_eq!(Rc::strong_count(&item), 1);
    assert_eq!(next.wakes(), 1);
    assert_eq!(next.poll(), Poll::Ready(Ok(())));
    assert_eq!((queue.len(), queue.get()), (1, Ok(None)));
}

#[test]
fn a_permit_that_a_dropped_future_was_woken_for_goes_to_the_next() {
    let semaphore = Semaphore::new(0);
    let dropped = Polled::waiting(semaphore.acquire_async());
    let mut next = Polled::waiting(semaphore.acquire_async());
    let last = Polled::waiting(semaphore.acquire_async());
    semaphore.release();
    drop(dropped);
    assert_eq!((next.wakes(), last.wakes()), (1, 0));
    let permit = next.poll();
    assert!(permit.is_ready());
    drop(permit);
    assert_eq!(last.wakes(), 1);
    drop(last);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn what_a_greenlet_was_killed_over_goes_to_a_task() {
    let queue = Rc::new(Queue::unbounded());
    let greenlet = spawn({
        let queue = Rc::clone(&queue);
        move || queue.get()
    });
    yield_now();
    let mut next = Polled::waiting(queue.get_async());
    queue.put(1).unwrap();
    greenlet.kill().unwrap();
    assert_eq!(next.wakes(), 1);
    assert_eq!(next.poll(), Poll::Ready(Ok(1)));
}

#[test]
fn a_shutdown_is_told_to_all_who_wait() {
    let queue = Queue::<u32>::bounded(1);
    let mut getters = [(); 2].map(|()| Polled::waiting(queue.get_async()));
    queue.shutdown(Shutdown::Graceful);
    for getter in &mut getters {
        assert_eq!((getter.wakes(), getter.poll()), (1, Poll::Ready(Err(ShutDown(())))));
    }
    let queue = Queue::bounded(1);
    queue.put(0).unwrap();
    let mut putter = Polled::waiting(queue.put_async(1));
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(putter.poll(), Poll::Ready(Err(ShutDown(1))));
    let channel = Channel::new();
    let mut putter = Polled::waiting(channel.put_async(1));
    channel.shutdown(Shutdown::Immediate);
    assert_eq!(putter.poll(), Poll::Ready(Err(ShutDown(1))));
    assert_eq!(Polled::new(channel.get_async()).poll(), Poll::Ready(Err(ShutDown(()))));
}

#[test]
fn an_offer_of_a_task_is_taken_once() {
    let channel = Channel::new();
    let item = Rc::new(());
    // Taken, and then polled.
    let mut putter = Polled::waiting(channel.put_async(Rc::clone(&item)));
    assert!(channel.get().is_ok());
    assert_eq!((putter.wakes(), putter.poll()), (1, Poll::Ready(Ok(()))));
    // Taken, and then dropped: it was put.
    let putter = Polled::waiting(channel.put_async(Rc::clone(&item)));
    let taken = channel.try_get().unwrap();
    drop(putter);
    assert_eq!(Rc::strong_count(&item), 2);
    drop(taken);
    // Dropped before it was taken: it was not.
    drop(Polled::waiting(channel.put_async(Rc::clone(&item))));
    assert_eq!(Rc::strong_count(&item), 1);
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
}

#[test]
fn a_getter_of_a_channel_that_is_dropped_leaves_the_offer_to_the_next() {
    let channel = Rc::new(Channel::new());
    let dropped = Polled::waiting(channel.get_async());
    let mut next = Polled::waiting(channel.get_async());
    let putter = spawn({
        let channel = Rc::clone(&channel);
        move || channel.put(1)
    });
    yield_now();
    assert_eq!((dropped.wakes(), next.wakes()), (1, 0));
    drop(dropped);
    assert_eq!((next.wakes(), next.poll()), (1, Poll::Ready(Ok(1))));
    putter.join().unwrap().unwrap();
    // Handed over to a getter that goes: it stays for whoever comes.
    let dropped = Polled::waiting(channel.get_async());
    assert_eq!(channel.try_put(2), Ok(()));
    drop(dropped);
    assert_eq!(channel.try_get(), Ok(2));
    assert_eq!(channel.try_put(3), Err(TryPutError::Full(3)));
}

#[test]
fn tasks_meet_in_a_channel_with_tasks_greenlets_and_selects() {
    let channel = Rc::new(Channel::new());
    let mut getter = Polled::waiting(channel.get_async());
    assert_eq!(Polled::new(channel.put_async(1)).poll(), Poll::Ready(Ok(())));
    assert_eq!((getter.wakes(), getter.poll()), (1, Poll::Ready(Ok(1))));
    let mut putter = Polled::waiting(channel.put_async(2));
    assert_eq!(Polled::new(channel.get_async()).poll(), Poll::Ready(Ok(2)));
    assert_eq!(putter.poll(), Poll::Ready(Ok(())));
    let chooser = spawn({
        let channel = Rc::clone(&channel);
        move || {
            let other = Channel::<u32>::new();
            select! {
                item = channel.get() => item,
                item = other.get() => item,
            }
        }
    });
    yield_now();
    assert_eq!(block_on(channel.put_async(3)), Ok(()));
    assert_eq!(chooser.join().unwrap(), Ok(3));
}

#[test]
fn an_event_that_is_cleared_at_once_is_seen_by_all_who_wait() {
    let event = Event::new();
    let mut waiting = [(); 3].map(|()| Polled::waiting(event.wait_async()));
    event.set();
    event.clear();
    for task in &mut waiting {
        assert_eq!((task.wakes(), task.poll()), (1, Poll::Ready(())));
    }
    assert!(Polled::new(event.wait_async()).poll().is_pending());
}

#[test]
fn a_result_is_for_all() {
    let result = AsyncResult::<String, String>::new();
    let mut tasks = [(); 2].map(|()| Polled::waiting((&result).into_future()));
    result.set_error("no".into());
    for task in &mut tasks {
        assert_eq!((task.wakes(), task.poll()), (1, Poll::Ready(Err("no".into()))));
    }
    assert_eq!(run(async { (&result).await }), Err("no".into()));
}

#[test]
fn all_items_done_is_a_future_as_well() {
    let queue = Queue::unbounded();
    queue.put(1).unwrap();
    let mut done = Polled::waiting(take_async((&queue).select_join()));
    queue.task_done().unwrap();
    assert_eq!((done.wakes(), done.poll()), (1, Poll::Ready(())));
}

/// Waits in its `cmp`, if it is told to.
#[derive(PartialEq, Eq)]
struct Slow(u32, Rc<Cell<bool>>);

impl PartialOrd for Slow {
    fn partial_cmp(&self, other: &Slow) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Slow {
    fn cmp(&self, other: &Slow) -> Order {
        if self.1.get() {
            sleep(Duration::from_millis(5));
        }
        self.0.cmp(&other.0)
    }
}

#[test]
fn a_task_does_not_wait_for_a_comparison_but_is_polled_again() {
    let slow = Rc::new(Cell::new(false));
    let queue = Rc::new(PriorityQueue::unbounded());
    (0..3).for_each(|n| queue.put(Slow(n, Rc::clone(&slow))).unwrap_or_else(|_| panic!()));
    slow.set(true);
    let comparing = spawn({
        let queue = Rc::clone(&queue);
        move || queue.get().map(|item| item.0)
    });
    yield_now();
    // The items are lent now. That the poll returns at once is what this is about: it is woken, to poll again.
    let mut getter = Polled::waiting(queue.get_async());
    assert_eq!(getter.wakes(), 1);
    assert!(!comparing.is_finished());
    assert_eq!(comparing.join().unwrap(), Ok(0));
    slow.set(false);
    assert!(matches!(getter.poll(), Poll::Ready(Ok(Slow(1, _)))));
    assert!(matches!(block_on(queue.get_async()), Ok(Slow(2, _))));
}

#[test]
fn a_panic_in_a_comparison_leaves_the_items_to_the_next() {
    #[derive(PartialEq, Eq)]
    struct Sore(u32);
    impl PartialOrd for Sore {
        fn partial_cmp(&self, other: &Sore) -> Option<Order> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Sore {
        fn cmp(&self, other: &Sore) -> Order {
            assert!(self.0 != 13 && other.0 != 13, "13");
            self.0.cmp(&other.0)
        }
    }
    let queue = PriorityQueue::unbounded();
    queue.put(Sore(1)).unwrap_or_else(|_| panic!());
    let mut put = queue.put_async(Sore(13));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Pin::new(&mut put).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }));
    assert!(panicked.is_err());
    drop(put);
    assert!(matches!(block_on(queue.get_async()), Ok(Sore(1))));
    assert!(queue.is_empty());
}

#[test]
fn no_hub_is_made_where_tasks_run() {
    const NAME: &str = "futures::no_hub_is_made_where_tasks_run";
    const CHILD: &str = "GREENLET_SYNC_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        // In a process of its own, where nobody else makes hubs.
        let test =
            Command::new(std::env::current_exe().unwrap()).args([NAME, "--exact"]).env(CHILD, "1").output().unwrap();
        assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stderr));
        return;
    }
    let here = Handle::current().id();
    let (queue, answers) = (Arc::new(PriorityQueue::bounded(8)), Arc::new(PriorityQueue::bounded(8)));
    let tasks = thread::spawn({
        let (queue, answers) = (Arc::clone(&queue), Arc::clone(&answers));
        move || {
            run(async {
                while let Ok(n) = queue.get_async().await {
                    answers.put_async(n).await.unwrap();
                }
                answers.shutdown(Shutdown::Graceful);
            });
        }
    });
    let putter = spawn(move || {
        (0..5_000_u32).for_each(|n| queue.put(n).unwrap());
        queue.shutdown(Shutdown::Graceful);
    });
    assert_eq!(answers.iter().count(), 5_000);
    putter.join().unwrap();
    tasks.join().unwrap();
    // Nor where a result is taken that has been waited for.
    let gate = Arc::new(Event::new());
    let handle = spawn({
        let gate = Arc::clone(&gate);
        move || gate.wait()
    });
    let greenlet = handle.greenlet().clone();
    let joiner = thread::spawn(move || {
        let joining = Polled::waiting(take_async(handle.select_join()));
        gate.set();
        run(joining.future)
    });
    greenlet.wait();
    assert!(joiner.join().unwrap().is_ok());
    assert_eq!(thread::spawn(|| Handle::current().id()).join().unwrap(), here + 1);
}

/// Awaits the future, but drops it and begins anew after some polls, by chance.
async fn fickly<A, F>(chance: &Cell<u32>, mut make: impl FnMut() -> F) -> A
where
    F: Future<Output = A> + Unpin,
{
    loop {
        let mut future = make();
        let output = poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
                return Poll::Ready(Some(output));
            }
            let random = chance.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            chance.set(random);
            if random >> 28 == 0 { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        if let Some(output) = output {
            return output;
        }
    }
}

#[test]
fn a_hundred_thousand_items_go_each_way_between_greenlets_and_tasks_that_give_up_now_and_then() {
    const ITEMS: usize = 100_000;
    const TASKS: usize = 3;
    let (there, back) = (Arc::new(Queue::bounded(16)), Arc::new(Queue::bounded(16)));
    let left = Arc::new(AtomicUsize::new(TASKS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|seed| {
            let (there, back, left) = (Arc::clone(&there), Arc::clone(&back), Arc::clone(&left));
            thread::spawn(move || {
                let chance = Cell::new(seed as u32);
                run(async {
                    while let Ok(n) = fickly(&chance, || there.get_async()).await {
                        let n: usize = n;
                        fickly(&chance, || back.put_async(n)).await.unwrap();
                    }
                });
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    back.shutdown(Shutdown::Graceful);
                }
            })
        })
        .collect();
    let putters: Vec<_> = (0..2)
        .map(|putter| {
            let there = Arc::clone(&there);
            spawn(move || (0..ITEMS / 2).for_each(|n| there.put(2 * n + putter).unwrap()))
        })
        .collect();
    let getters: Vec<_> = (0..2)
        .map(|_| {
            let back = Arc::clone(&back);
            spawn(move || back.iter().collect::<Vec<_>>())
        })
        .collect();
    joinall(putters);
    there.shutdown(Shutdown::Graceful);
    // Before the threads, whose `join` would keep the greenlets of this one from running.
    let mut all: Vec<usize> = joinall(getters).into_iter().flat_map(Result::unwrap).collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    all.sort_unstable();
    assert!(all.into_iter().eq(0..ITEMS));
}

#[test]
fn a_channel_between_greenlets_and_tasks_that_give_up_loses_and_doubles_nothing() {
    const ITEMS: usize = 20_000;
    let channel = Arc::new(Channel::new());
    let put = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    // A task that offers and takes back, and offers again: each number until somebody has it.
    let offering = thread::spawn({
        let (channel, put, done) = (Arc::clone(&channel), Arc::clone(&put), Arc::clone(&done));
        move || {
            let chance = Cell::new(7);
            for n in 0..ITEMS {
                // Dropped after it was taken, it has been put: so a number may come twice, but a put that says so has happened.
                run(fickly(&chance, || channel.put_async(n))).unwrap();
                put.fetch_add(1, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
            channel.shutdown(Shutdown::Graceful);
        }
    });
    let getters: Vec<_> = (0..2)
        .map(|_| {
            let channel = Arc::clone(&channel);
            spawn(move || channel.iter().collect::<Vec<_>>())
        })
        .collect();
    let mut all: Vec<usize> = joinall(getters).into_iter().flat_map(Result::unwrap).collect();
    offering.join().unwrap();
    all.sort_unstable();
    all.dedup();
    assert!(all.into_iter().eq(0..ITEMS));
    assert_eq!(put.load(Ordering::SeqCst), ITEMS);
}

#[test]
fn permits_are_neither_lost_nor_doubled_by_tasks_that_give_up() {
    const ROUNDS: usize = 10_000;
    let semaphore = Arc::new(Semaphore::new(2));
    let inside = Arc::new(AtomicUsize::new(0));
    let work = |semaphore: &Semaphore, inside: &AtomicUsize| {
        assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
        inside.fetch_sub(1, Ordering::SeqCst);
        let _ = semaphore.available();
    };
    let tasks: Vec<_> = (0..3)
        .map(|seed| {
            let (semaphore, inside) = (Arc::clone(&semaphore), Arc::clone(&inside));
            thread::spawn(move || {
                let chance = Cell::new(seed);
                for _ in 0..ROUNDS {
                    let permit = run(fickly(&chance, || semaphore.acquire_async()));
                    work(&semaphore, &inside);
                    drop(permit);
                }
            })
        })
        .collect();
    let greenlets = (0..3).map(|_| {
        let (semaphore, inside) = (Arc::clone(&semaphore), Arc::clone(&inside));
        spawn(move || {
            for _ in 0..ROUNDS {
                let permit = semaphore.acquire();
                work(&semaphore, &inside);
                drop(permit);
            }
        })
    });
    joinall(greenlets);
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn futures_that_greenlets_run_may_take_as_well() {
    let (queue, event) = (Rc::new(Queue::bounded(1)), Rc::new(Event::new()));
    let consumer = spawn_future({
        let (queue, event) = (Rc::clone(&queue), Rc::clone(&event));
        async move {
            event.wait_async().await;
            let mut sum = 0;
            while let Ok(n) = queue.get_async().await {
                sum += n;
            }
            sum
        }
    });
    yield_now();
    event.set();
    (1..=100).for_each(|n| queue.put(n).unwrap());
    queue.shutdown(Shutdown::Graceful);
    assert_eq!(consumer.join().unwrap(), 5050);
    assert!(current().is_started());
}

#[test]
fn the_generic_future_has_a_name() {
    let queue = Queue::<u8>::unbounded();
    let future: TakeAsync<_> = queue.get_async();
    assert!(format!("{future:?}").contains("TakeAsync"));
}
