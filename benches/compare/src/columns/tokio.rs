//! tokio on its current-thread runtime, configured as it comes; between two cores on that with many threads as well.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::{self, JoinHandle, LocalSet};
use tokio::time;

use super::{BUFFER, Column, Stopwatch, WARM_UP};
use crate::gauge::{Gauge, Sleepers};
use crate::pings::Pings;

mod cores;
mod sync;

pub(super) const COLUMN: Column = Column {
    name: "tokio",
    yields: &[yields_by_self_wake, yields_by_yield_now],
    spawns: &[spawns, spawns_in_local_set],
    hold: Some(hold),
    sleep: Some(sleep),
    steps: &[sync::STEPS, cores::STEPS],
    wakes: cores::WAKES,
    fan_out: Some(sync::fan_out),
    serve: Some(serve),
    ping: Some(ping),
    ..Column::EMPTY
};

/// The runtime with many threads, in the cases that are about two.
pub(super) const MULTI_THREAD: Column = Column {
    name: "tokio-mt",
    steps: &[sync::MULTI_THREAD_STEPS, cores::MULTI_THREAD_STEPS],
    wakes: cores::MULTI_THREAD_WAKES,
    serve_on_two: Some(cores::serve),
    ..Column::EMPTY
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Wakes itself and is pending once: straight to the tail of the run queue.
#[derive(Default)]
struct SelfWake(bool);

impl Future for SelfWake {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

fn yields_by_self_wake(tasks: usize, each: usize) -> Duration {
    yields(tasks, each, SelfWake::default)
}

/// `yield_now` lets the driver run first.
fn yields_by_yield_now(tasks: usize, each: usize) -> Duration {
    yields(tasks, each, task::yield_now)
}

fn yields<F>(tasks: usize, each: usize, pause: fn() -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime().block_on(async move {
        let stopwatch = Arc::new(Stopwatch::new());
        let handles: Vec<JoinHandle<()>> = (0..tasks)
            .map(|_| {
                let stopwatch = Arc::clone(&stopwatch);
                task::spawn(async move {
                    for _ in 0..WARM_UP {
                        pause().await;
                    }
                    stopwatch.start();
                    for _ in 0..each {
                        pause().await;
                    }
                })
            })
            .collect();
        join(handles).await;
        stopwatch.elapsed()
    })
}

fn spawns(tasks: usize, rounds: usize) -> Duration {
    runtime().block_on(spawn_rounds(tasks, rounds, || task::spawn(async {})))
}

fn spawns_in_local_set(tasks: usize, rounds: usize) -> Duration {
    let local = LocalSet::new();
    local.block_on(&runtime(), spawn_rounds(tasks, rounds, || task::spawn_local(async {})))
}

async fn spawn_rounds(tasks: usize, rounds: usize, spawn: fn() -> JoinHandle<()>) -> Duration {
    join((0..tasks).map(|_| spawn()).collect()).await;
    let start = Instant::now();
    for _ in 0..rounds {
        join((0..tasks).map(|_| spawn()).collect()).await;
    }
    start.elapsed()
}

async fn join(handles: Vec<JoinHandle<()>>) {
    for handle in handles {
        handle.await.expect("the task does not panic");
    }
}

/// The tasks wait in a list, as those of the other columns do; the last one tells that all of them wait.
fn hold(tasks: usize, mut gauge: Gauge) {
    runtime().block_on(async move {
        gauge.begin();
        let never = Arc::new(Notify::new());
        let (sender, all_wait) = oneshot::channel();
        for _ in 1..tasks {
            let never = Arc::clone(&never);
            task::spawn(async move { never.notified().await });
        }
        task::spawn(async move {
            // The receiver lives until this arrives.
            let _ = sender.send(());
            never.notified().await;
        });
        all_wait.await.expect("the last task sends");
        gauge.all_wait()
    })
}

fn sleep(sleepers: &Sleepers) {
    runtime().block_on(async {
        let until = sleepers.warm_until().into();
        let warm = (0..sleepers.tasks()).map(|_| task::spawn(time::sleep_until(until)));
        join(warm.collect()).await;

        sleepers.begin();
        let handles = (0..sleepers.tasks()).map(|index| {
            let delay = sleepers.delay(index);
            task::spawn(async move {
                let deadline = Instant::now() + delay;
                time::sleep_until(deadline.into()).await;
                Sleepers::woke(deadline);
            })
        });
        join(handles.collect()).await;
        sleepers.end();
    });
}

fn serve(ready: &dyn Fn(SocketAddr)) {
    runtime().block_on(async {
        let listener = listen(ready).await;
        accept(&listener).await
    })
}

async fn listen(ready: &dyn Fn(SocketAddr)) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    ready(listener.local_addr().expect("a bound listener has an address"));
    listener
}

async fn accept(listener: &TcpListener) -> ! {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            task::spawn(echo(stream));
        }
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len]).await?;
    }
}

fn ping(pings: &Pings) {
    runtime().block_on(async {
        let client = redis::Client::open(pings.url()).expect("a good URL");
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        for index in 0..pings.clients() {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            let mut connection = connection.expect("the server accepts");
            task::spawn(async move {
                loop {
                    Pings::answered(index, redis::cmd("PING").query_async(&mut connection).await);
                }
            });
        }
        time::sleep(pings.warm_up()).await;
        pings.begin();
        time::sleep(pings.duration()).await;
        pings.end()
    })
}
