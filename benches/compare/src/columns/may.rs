//! may with one worker.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use may::coroutine::{self, JoinHandle};
use may::net::{TcpListener, TcpStream};
use may::{config, go};

use super::{BUFFER, Column, Stopwatch, WARM_UP};
use crate::gauge::{Gauge, Sleepers};

mod cores;
mod sync;

/// Beyond some 32,000 coroutines may runs out of mappings and panics, or hangs.
pub(super) const COLUMN: Column = Column {
    name: "may",
    limit: 30_000,
    yields: &[yields],
    spawns: &[spawns],
    hold: Some(hold),
    sleep: Some(sleep),
    steps: &[sync::STEPS, cores::STEPS],
    wakes: cores::WAKES,
    serve: Some(serve),
    serve_on_two: Some(cores::serve),
    ..Column::EMPTY
};

fn one_worker() {
    config().set_workers(1);
}

fn join(handles: Vec<JoinHandle<()>>) {
    for handle in handles {
        handle.join().expect("the coroutine does not panic");
    }
}

/// Runs `body` in a coroutine, so that spawning and joining happen on the worker as they would in a program written for may.
fn on_the_worker<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    one_worker();
    go!(body).join().expect("the coroutine does not panic")
}

fn yields(tasks: usize, each: usize) -> Duration {
    on_the_worker(move || {
        let stopwatch = Arc::new(Stopwatch::new());
        let handles = (0..tasks).map(|_| {
            let stopwatch = Arc::clone(&stopwatch);
            go!(move || {
                for _ in 0..WARM_UP {
                    coroutine::yield_now();
                }
                stopwatch.start();
                for _ in 0..each {
                    coroutine::yield_now();
                }
            })
        });
        join(handles.collect());
        stopwatch.elapsed()
    })
}

fn spawns(tasks: usize, rounds: usize) -> Duration {
    on_the_worker(move || {
        let round = || join((0..tasks).map(|_| go!(|| ())).collect());
        round();
        let start = Instant::now();
        for _ in 0..rounds {
            round();
        }
        start.elapsed()
    })
}

fn hold(tasks: usize, mut gauge: Gauge) {
    one_worker();
    gauge.begin();
    let waiting = Arc::new(AtomicUsize::new(0));
    let (sender, all_wait) = mpsc::channel();
    for _ in 0..tasks {
        let waiting = Arc::clone(&waiting);
        let sender = sender.clone();
        go!(move || {
            if waiting.fetch_add(1, Ordering::Relaxed) + 1 == tasks {
                // The receiver lives until this arrives.
                let _ = sender.send(());
            }
            loop {
                coroutine::park();
            }
        });
    }
    all_wait.recv().expect("the last coroutine sends");
    gauge.all_wait()
}

fn sleep(sleepers: &Sleepers) {
    one_worker();
    let until = sleepers.warm_until();
    let warm =
        (0..sleepers.tasks()).map(|_| go!(move || coroutine::sleep(until.saturating_duration_since(Instant::now()))));
    join(warm.collect());

    sleepers.begin();
    let handles = (0..sleepers.tasks()).map(|index| {
        let delay = sleepers.delay(index);
        go!(move || {
            let deadline = Instant::now() + delay;
            coroutine::sleep(delay);
            Sleepers::woke(deadline);
        })
    });
    join(handles.collect());
    sleepers.end();
}

fn serve(ready: &dyn Fn(SocketAddr)) {
    one_worker();
    accept(ready);
}

/// Listens and serves on the workers there are.
fn accept(ready: &dyn Fn(SocketAddr)) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    ready(listener.local_addr().expect("a bound listener has an address"));
    let accepting = go!(move || {
        for stream in listener.incoming().flatten() {
            go!(move || echo(stream));
        }
    });
    accepting.join().expect("the coroutine does not panic");
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len])?;
    }
}
