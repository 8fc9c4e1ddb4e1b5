//! greenlet, through the facade and with its defaults.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet::hub::{Reason, WaitList};
use greenlet::net::{TcpListener, TcpStream};
use greenlet::{JoinHandle, sleep_until, spawn, yield_now};

use super::{BUFFER, Column, Stopwatch, WARM_UP};
use crate::gauge::{Gauge, Sleepers};

mod cores;
mod sync;

pub(super) const COLUMN: Column = Column {
    name: "greenlet",
    yields: &[yields],
    spawns: &[spawns],
    hold: Some(hold),
    sleep: Some(sleep),
    steps: &[sync::STEPS, cores::STEPS],
    wakes: cores::WAKES,
    fan_out: Some(sync::fan_out),
    serve: Some(serve),
    serve_on_two: Some(cores::serve),
    serve_spinning: Some(cores::serve_spinning),
    serve_patched: Some(serve),
    ..Column::EMPTY
};

/// With one listener, whose connections are handed to the less loaded hub.
pub(super) const HANDOFF: Column =
    Column { name: "greenlet-handoff", serve_on_two: Some(cores::serve_by_handing_off), ..Column::EMPTY };

/// Without what the first column does before it sleeps.
pub(super) const NO_SPIN: Column = Column { name: "greenlet-nospin", serve_spinning: Some(serve), ..Column::EMPTY };

fn join(handles: Vec<JoinHandle<()>>) {
    for handle in handles {
        handle.join().expect("the greenlet does not panic");
    }
}

fn yields(tasks: usize, each: usize) -> Duration {
    let stopwatch = Rc::new(Stopwatch::new());
    let handles = (0..tasks).map(|_| {
        let stopwatch = Rc::clone(&stopwatch);
        spawn(move || {
            for _ in 0..WARM_UP {
                yield_now();
            }
            stopwatch.start();
            for _ in 0..each {
                yield_now();
            }
        })
    });
    join(handles.collect());
    stopwatch.elapsed()
}

fn spawns(tasks: usize, rounds: usize) -> Duration {
    let round = || join((0..tasks).map(|_| spawn(|| ())).collect());
    round();
    let start = Instant::now();
    for _ in 0..rounds {
        round();
    }
    start.elapsed()
}

fn hold(tasks: usize, mut gauge: Gauge) {
    // The hub is made by the first wait.
    yield_now();
    gauge.begin();
    let never = Rc::new(WaitList::new());
    for _ in 0..tasks {
        let never = Rc::clone(&never);
        spawn(move || never.wait(Reason::new("what never comes"), None, || false));
    }
    // The queue is first come, first served: when it is the main greenlet's turn, all of them wait.
    yield_now();
    gauge.all_wait()
}

fn sleep(sleepers: &Sleepers) {
    let until = sleepers.warm_until();
    let warm = (0..sleepers.tasks()).map(|_| spawn(move || sleep_until(until)));
    join(warm.collect());

    sleepers.begin();
    let handles = (0..sleepers.tasks()).map(|index| {
        let delay = sleepers.delay(index);
        spawn(move || {
            let deadline = Instant::now() + delay;
            sleep_until(deadline);
            Sleepers::woke(deadline);
        })
    });
    join(handles.collect());
    sleepers.end();
}

fn serve(ready: &dyn Fn(SocketAddr)) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    ready(listener.local_addr().expect("a bound listener has an address"));
    accept(&listener);
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        spawn(move || echo(stream));
    }
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
