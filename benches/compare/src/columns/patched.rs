//! greenlet under `patch_all`: the lines of the column `threads`, on std's own sockets, sleeps and locks, in greenlets.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use greenlet::{patch_all, spawn};

use super::threads::{self, echo};
use super::{Column, Step};
use crate::pings::Pings;
use crate::sys::Calls;

pub(super) const COLUMN: Column = Column {
    name: "greenlet-patched",
    steps: &[STEPS],
    serve_patched: Some(serve),
    ping: Some(ping),
    calls: Some(calls),
    ..Column::EMPTY
};

/// In a process that has not called `patch_all`.
pub(super) const INERT: Column = Column { name: "greenlet-inert", calls: Some(Calls::linked), ..Column::EMPTY };

const STEPS: &[Step] = &[Step::of("patched_mutex", "mutex", locks)];

fn serve(ready: &dyn Fn(SocketAddr)) {
    patch_all();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    ready(listener.local_addr().expect("a bound listener has an address"));
    for stream in listener.incoming().flatten() {
        spawn(move || echo(stream));
    }
}

fn locks(count: usize) -> Duration {
    patch_all();
    spawn(move || threads::locks(count)).join().expect("the greenlet does not panic")
}

fn ping(pings: &Pings) {
    patch_all();
    let client = redis::Client::open(pings.url()).expect("a good URL");
    for index in 0..pings.clients() {
        let mut connection = client.get_connection().expect("the server accepts");
        spawn(move || {
            loop {
                Pings::answered(index, redis::cmd("PING").query(&mut connection));
            }
        });
    }
    thread::sleep(pings.warm_up());
    pings.begin();
    thread::sleep(pings.duration());
    pings.end()
}

fn calls() -> Calls {
    patch_all();
    Calls::linked()
}
