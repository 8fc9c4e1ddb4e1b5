//! What `greenlet_sync` brings, and ending greenlets from outside.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet::hub::{Reason, WaitList, timeout};
use greenlet::net::UnixStream;
use greenlet::{JoinError, spawn, yield_now};
use greenlet_sync::Event;

use crate::columns::frames::{FRAMES, below, dropped};
use crate::columns::{FAN_OUTS, FanOut, KILLED, Step};

pub(super) const STEPS: &[Step] = &[
    Step::of("timeout", "ready", |count| timeouts(count, || ())),
    Step::of("timeout", "yield", |count| timeouts(count, yield_now)),
    Step::of("kill", "10", kills),
];

const LONG: Duration = Duration::from_secs(1);

fn timeouts(count: usize, body: fn()) -> Duration {
    // In a greenlet, whose yield is one of a greenlet.
    let timeouts = spawn(move || {
        let start = Instant::now();
        for number in 0..count {
            let in_time = timeout(LONG, || {
                body();
                number
            });
            assert!(black_box(in_time).is_ok());
        }
        start.elapsed()
    });
    timeouts.join().expect("the greenlet does not panic")
}

fn kills(count: usize) -> Duration {
    let never = Rc::new(WaitList::new());
    let before = dropped();
    let mut elapsed = Duration::ZERO;
    for first in (0..count).step_by(KILLED) {
        let handles: Vec<_> = (first..count.min(first + KILLED))
            .map(|_| {
                let never = Rc::clone(&never);
                spawn(move || {
                    below(FRAMES, &mut || {
                        never.wait(Reason::new("what never comes"), None, || false);
                    });
                })
            })
            .collect();
        // The queue is first come, first served: when it is the main greenlet's turn, all of them wait.
        yield_now();
        let start = Instant::now();
        for handle in handles {
            handle.kill().expect("a greenlet that is not the main one");
            assert!(matches!(handle.join(), Err(JoinError::Killed)));
        }
        elapsed += start.elapsed();
    }
    assert_eq!(dropped() - before, FRAMES * count);
    elapsed
}

pub(super) fn fan_out(waiters: usize) -> FanOut {
    let event = Rc::new(Event::new());
    let ran = Rc::new(Cell::new(0));
    for _ in 0..waiters {
        let (event, ran) = (Rc::clone(&event), Rc::clone(&ran));
        spawn(move || {
            loop {
                event.wait();
                ran.set(ran.get() + 1);
            }
        });
    }
    // Here and below: when it is the main greenlet's turn again, all of the others have had theirs.
    yield_now();
    let round = || {
        let before = ran.get();
        let start = Instant::now();
        event.set();
        event.clear();
        yield_now();
        assert_eq!(ran.get() - before, waiters);
        start.elapsed()
    };
    round();
    let all = (0..FAN_OUTS).map(|_| round()).min().unwrap_or_default();

    let longest = Rc::new(Cell::new(Duration::ZERO));
    let (left, right) = UnixStream::pair().expect("a socket pair");
    let epoch = Instant::now();
    for (stream, serves) in [(left, true), (right, false)] {
        let longest = Rc::clone(&longest);
        spawn(move || send_back(stream, serves, epoch, &longest));
    }
    // They have begun, and the time of their first messages is none of this.
    for _ in 0..100 {
        yield_now();
    }
    longest.set(Duration::ZERO);
    for _ in 0..FAN_OUTS {
        round();
    }
    FanOut { all, longest_delay: longest.get() }
}

/// One of two who send each other the time for ever: each message waits in the socket until its reader runs.
fn send_back(mut stream: UnixStream, serves: bool, epoch: Instant, longest: &Cell<Duration>) -> io::Result<()> {
    let mut buffer = [0; 8];
    let now = || (epoch.elapsed().as_nanos() as u64).to_ne_bytes();
    if serves {
        stream.write_all(&now())?;
    }
    loop {
        stream.read_exact(&mut buffer)?;
        let sent = Duration::from_nanos(u64::from_ne_bytes(buffer));
        longest.set(longest.get().max(epoch.elapsed().saturating_sub(sent)));
        stream.write_all(&now())?;
    }
}
