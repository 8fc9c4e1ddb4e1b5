//! What `greenlet_sync` brings, and ending greenlets from outside.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use greenlet::hub::{Reason, WaitList};
use greenlet::net::UnixStream;
use greenlet::sync::{Channel, Event, Lock, Queue, Semaphore};
use greenlet::{JoinError, spawn, timeout, yield_now};

use crate::columns::frames::{FRAMES, below, dropped};
use crate::columns::{FAN_OUTS, FanOut, KILLED, PIPE, Step, WARM_UP};
use crate::process::{self, LOAD_CORE};

pub(super) const STEPS: &[Step] = &[
    Step::of("channel", "1", hops_hand_in_hand),
    Step::of("channel", "slot", hops_by_slot),
    Step::of("queue", "ready", puts_and_gets),
    Step::of("lock", "semaphore", semaphores),
    Step::of("lock", "lock", locks),
    Step::of("cross", "pingpong", |count| round_trips(count, false)),
    Step::of("cross", "polling", |count| round_trips(count, true)),
    Step::of("cross", "pipe", pipe),
    Step::of("timeout", "ready", |count| timeouts(count, || ())),
    Step::of("timeout", "yield", |count| timeouts(count, yield_now)),
    Step::of("kill", "10", kills),
];

const LONG: Duration = Duration::from_secs(1);

/// A macro, so that the calls stand in the greenlets' own loops: each frame between a greenlet's loop and its wait costs a mispredicted
/// return, which is a program's own business.
macro_rules! hops {
    ($name:ident, $channel:expr) => {
        fn $name(items: usize) -> Duration {
            let channel = Rc::new($channel);
            let into = Rc::clone(&channel);
            let producer = spawn(move || {
                for item in 0..WARM_UP + items {
                    into.put(item).expect("nobody shuts it down");
                }
            });
            let consumer = spawn(move || {
                let mut start = Instant::now();
                for item in 0..WARM_UP + items {
                    if item == WARM_UP {
                        start = Instant::now();
                    }
                    black_box(channel.get().expect("nobody shuts it down"));
                }
                start.elapsed()
            });
            let elapsed = consumer.join().expect("the greenlet does not panic");
            producer.join().expect("the greenlet does not panic");
            elapsed
        }
    };
}

hops!(hops_hand_in_hand, Channel::new());
hops!(hops_by_slot, Queue::bounded(1));

/// Runs it in a greenlet, as it would be in a program: only what has a hub knows whether its process has other threads.
fn in_a_greenlet(body: impl FnOnce() -> Duration + 'static) -> Duration {
    spawn(body).join().expect("the greenlet does not panic")
}

fn puts_and_gets(count: usize) -> Duration {
    in_a_greenlet(move || {
        let queue = Queue::unbounded();
        let start = Instant::now();
        for item in 0..count {
            queue.put(item).expect("nobody shuts it down");
            assert_eq!(queue.get(), Ok(item));
        }
        start.elapsed()
    })
}

fn semaphores(count: usize) -> Duration {
    in_a_greenlet(move || {
        let semaphore = Semaphore::new(1);
        let start = Instant::now();
        for _ in 0..count {
            drop(black_box(black_box(&semaphore).acquire()));
        }
        start.elapsed()
    })
}

fn locks(count: usize) -> Duration {
    in_a_greenlet(move || {
        let lock = Lock::new(0);
        let start = Instant::now();
        for _ in 0..count {
            *black_box(&lock).lock() += 1;
        }
        let elapsed = start.elapsed();
        assert_eq!(lock.into_inner(), count);
        elapsed
    })
}

/// Runs a greenlet on a hub of its own on the other core.
pub(super) fn on_the_other_core(body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(|| {
        process::pin(LOAD_CORE);
        spawn(body).join().expect("the greenlet does not panic");
    })
}

/// Waits for a descriptor: from then on the thread's hub sleeps in its poller.
pub(super) fn wait_for_a_descriptor() {
    let (mut left, mut right) = UnixStream::pair().expect("a socket pair");
    let reader = spawn(move || right.read_exact(&mut [0]));
    yield_now();
    left.write_all(&[0]).expect("the other end is open");
    reader.join().expect("the greenlet does not panic").expect("a byte");
}

/// The two hubs wait for nothing else, or each for a descriptor as well.
fn round_trips(count: usize, polling: bool) -> Duration {
    let there = Arc::new(Queue::bounded(1));
    let back = Arc::new(Queue::bounded(1));
    let other = {
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        on_the_other_core(move || {
            if polling {
                wait_for_a_descriptor();
            }
            for _ in 0..WARM_UP + count {
                back.put(there.get().expect("nobody shuts it down")).expect("nobody shuts it down");
            }
        })
    };
    let own = spawn(move || {
        if polling {
            wait_for_a_descriptor();
        }
        let rounds = |count: usize| {
            for item in 0..count {
                there.put(item).expect("nobody shuts it down");
                assert_eq!(back.get(), Ok(item));
            }
        };
        rounds(WARM_UP);
        let start = Instant::now();
        rounds(count);
        start.elapsed()
    });
    let elapsed = own.join().expect("the greenlet does not panic");
    other.join().expect("the thread does not panic");
    elapsed
}

fn pipe(items: usize) -> Duration {
    let queue = Arc::new(Queue::bounded(PIPE));
    let producer = {
        let queue = Arc::clone(&queue);
        on_the_other_core(move || {
            for item in 0..WARM_UP + items {
                queue.put(item).expect("nobody shuts it down");
            }
        })
    };
    let consumer = spawn(move || {
        let receive = |items| {
            for _ in 0..items {
                black_box(queue.get().expect("nobody shuts it down"));
            }
        };
        receive(WARM_UP);
        let start = Instant::now();
        receive(items);
        start.elapsed()
    });
    let elapsed = consumer.join().expect("the greenlet does not panic");
    producer.join().expect("the thread does not panic");
    elapsed
}

fn timeouts(count: usize, body: fn()) -> Duration {
    in_a_greenlet(move || {
        let start = Instant::now();
        for number in 0..count {
            let in_time = timeout(LONG, || {
                body();
                number
            });
            assert!(black_box(in_time).is_ok());
        }
        start.elapsed()
    })
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
