//! tokio beside us: its tasks await what greenlets do, and greenlets run its futures.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use greenlet::sync::{AsyncResult, Channel, Event, PriorityQueue, Queue, Semaphore, Shutdown};
use greenlet::{Elapsed, HubPool, JoinError, block_on, joinall, spawn, spawn_future, wait_async, yield_now};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_greenlet_waits_for_a_tokio_task_and_a_task_for_a_greenlet() {
    let runtime = runtime();
    let task = runtime.spawn(async { 20 });
    let greenlet = spawn(move || block_on(task).unwrap() + 1);
    let double = runtime.spawn(async move { greenlet.await.unwrap() * 2 });
    assert_eq!(block_on(double).unwrap(), 42);
}

#[test]
fn tokio_s_timers_sockets_and_locks_work_in_greenlets() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let start = Instant::now();
    let sleepers = joinall((0..100).map(|_| spawn_future(tokio::time::sleep(Duration::from_millis(20)))));
    assert!(sleepers.iter().all(Result::is_ok));
    assert!(start.elapsed() < Duration::from_secs(1), "they sleep at the same time: {:?}", start.elapsed());

    let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = spawn_future(async move {
        for _ in 0..10 {
            let (mut stream, _) = listener.accept().await?;
            // Without a `Send` bound, on the hub.
            spawn_future(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
        io::Result::Ok(())
    });
    let clients = (0..10_u32).map(|n| {
        spawn_future(async move {
            let mut stream = tokio::net::TcpStream::connect(addr).await?;
            for round in 0..100 {
                stream.write_u32(n * 1000 + round).await?;
                assert_eq!(stream.read_u32().await?, n * 1000 + round);
            }
            io::Result::Ok(())
        })
    });
    for client in joinall(clients) {
        client.unwrap().unwrap();
    }
    server.join().unwrap().unwrap();

    let count = Arc::new(Mutex::new(0));
    let adding = (0..10).map(|_| {
        let count = Arc::clone(&count);
        spawn(move || {
            for _ in 0..100 {
                let mut count = block_on(count.lock());
                yield_now();
                *count += 1;
            }
        })
    });
    joinall(adding);
    assert_eq!(*block_on(count.lock()), 1000);
}

#[test]
fn a_time_out_of_ours_ends_a_future_of_tokio_s() {
    let runtime = runtime();
    let (sender, receiver) = oneshot::channel::<()>();
    assert_eq!(greenlet::timeout(Duration::from_millis(5), || block_on(receiver)), Err(Elapsed));
    assert!(sender.is_closed());
    drop(runtime);
}

#[test]
fn how_a_greenlet_ended_is_told_to_a_task() {
    let runtime = runtime();
    let pool = HubPool::new(1).unwrap();
    runtime.block_on(async {
        assert_eq!(pool.spawn(|| 1).await.unwrap(), 1);
        assert!(matches!(
            pool.spawn(|| {
                if true {
                    panic!("no")
                }
            })
            .await,
            Err(JoinError::Panicked(_))
        ));
        let sleeper = pool.spawn(|| greenlet::sleep(Duration::from_secs(60)));
        sleeper.kill_nowait().unwrap();
        assert!(matches!(sleeper.await, Err(JoinError::Killed)));
        // A task may give it up; the greenlet goes on.
        let started = Arc::new(Event::new());
        let (may_end, ended) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let greenlet = pool.spawn({
            let (started, may_end, ended) = (Arc::clone(&started), Arc::clone(&may_end), Arc::clone(&ended));
            move || {
                started.set();
                may_end.wait();
                ended.set();
            }
        });
        assert!(tokio::time::timeout(Duration::from_millis(5), greenlet.into_future()).await.is_err());
        started.wait_async().await;
        may_end.set();
        ended.wait_async().await;
    });
    pool.shutdown(Duration::from_secs(1));
    let late = pool.spawn(|| 1);
    assert!(matches!(runtime.block_on(late.into_future()), Err(JoinError::HubEnded)));
}

#[test]
fn a_hundred_thousand_items_go_each_way_between_greenlets_and_tasks() {
    const ITEMS: usize = 100_000;
    let (runtime, pool) = (runtime(), HubPool::new(2).unwrap());
    let (there, back) = (Arc::new(Queue::bounded(64)), Arc::new(PriorityQueue::bounded(64)));
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        tasks.spawn_on(
            async move {
                loop {
                    // Given up each time that the clock is quicker, with nothing lost.
                    let item = tokio::select! {
                        item = there.get_async() => item,
                        () = tokio::task::yield_now() => continue,
                    };
                    let Ok(item) = item else { return };
                    back.put_async(item).await.unwrap();
                }
            },
            runtime.handle(),
        );
    }
    let putters = [0, 1].map(|putter| {
        let there = Arc::clone(&there);
        pool.spawn(move || (0..ITEMS / 2).for_each(|n| there.put(2 * n + putter).unwrap()))
    });
    let getters = [0, 1].map(|_| {
        let back = Arc::clone(&back);
        pool.spawn(move || back.iter().collect::<Vec<usize>>())
    });
    joinall(putters);
    there.shutdown(Shutdown::Graceful);
    while let Some(task) = block_on(tasks.join_next()) {
        task.unwrap();
    }
    back.shutdown(Shutdown::Graceful);
    let mut all: Vec<usize> = joinall(getters).into_iter().flat_map(Result::unwrap).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..ITEMS));
}

#[test]
fn items_go_through_tokio_s_channel_and_ours() {
    const ITEMS: usize = 20_000;
    let runtime = runtime();
    let channel = Arc::new(Channel::new());
    let (sender, mut receiver) = mpsc::channel::<usize>(8);
    let task = runtime.spawn({
        let channel = Arc::clone(&channel);
        async move {
            while let Some(n) = receiver.recv().await {
                channel.put_async(n).await.unwrap();
            }
            channel.shutdown(Shutdown::Graceful);
        }
    });
    let sending = spawn(move || (0..ITEMS).for_each(|n| block_on(sender.send(n)).unwrap()));
    assert!(channel.iter().eq(0..ITEMS));
    sending.join().unwrap();
    block_on(task).unwrap();
}

#[test]
fn a_semaphore_bounds_tasks_and_greenlets_together() {
    let (runtime, pool) = (runtime(), HubPool::new(2).unwrap());
    let permits = Arc::new(Semaphore::new(3));
    let inside = Arc::new(AtomicUsize::new(0));
    let enter = |inside: &AtomicUsize| assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (permits, inside) = (Arc::clone(&permits), Arc::clone(&inside));
            runtime.spawn(async move {
                for _ in 0..200 {
                    let permit = permits.acquire_async().await;
                    enter(&inside);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            })
        })
        .collect();
    let greenlets: Vec<_> = (0..20)
        .map(|_| {
            let (permits, inside) = (Arc::clone(&permits), Arc::clone(&inside));
            pool.spawn(move || {
                for _ in 0..200 {
                    let permit = permits.acquire();
                    enter(&inside);
                    yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            })
        })
        .collect();
    assert!(joinall(greenlets).iter().all(Result::is_ok));
    tasks.into_iter().for_each(|task| block_on(task).unwrap());
    assert_eq!(permits.available(), 3);
}

#[test]
fn a_result_is_heard_by_tasks_and_greenlets() {
    let runtime = runtime();
    let result = AsyncResult::<u32, String>::new();
    let tasks: Vec<_> = (0..10)
        .map(|n| {
            let result = result.clone();
            runtime.spawn(async move {
                if n % 2 == 0 {
                    wait_async(&result).await;
                }
                (&result).await
            })
        })
        .collect();
    let greenlets: Vec<_> = (0..10)
        .map(|_| {
            spawn({
                let result = result.clone();
                move || result.get()
            })
        })
        .collect();
    yield_now();
    result.set(7);
    assert!(joinall(greenlets).into_iter().all(|heard| heard.unwrap() == Ok(7)));
    tasks.into_iter().for_each(|task| assert_eq!(block_on(task).unwrap(), Ok(7)));
}
