//! `RwLock`: many readers or one writer, in the order in which they came.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, JoinHandle, joinall, no_switch, spawn, timeout, yield_now};
use greenlet_sync::{Event, RwLock, RwLockReadGuard, RwLockWriteGuard};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

/// A lock, and what those who have had it wrote down.
#[derive(Clone, Default)]
struct Table {
    lock: Rc<RwLock<()>>,
    trace: Rc<RefCell<Vec<String>>>,
}

impl Table {
    fn note(&self, what: String) {
        self.trace.borrow_mut().push(what);
    }

    /// A greenlet that has the lock while it yields once.
    fn reader(&self, name: &'static str) -> JoinHandle<()> {
        let table = self.clone();
        spawn(move || {
            let _guard = table.lock.read();
            table.note(format!("+{name}"));
            yield_now();
            table.note(format!("-{name}"));
        })
    }

    fn writer(&self, name: &'static str) -> JoinHandle<()> {
        let table = self.clone();
        spawn(move || {
            let _guard = table.lock.write();
            table.note(format!("+{name}"));
            yield_now();
            table.note(format!("-{name}"));
        })
    }

    fn trace(&self) -> String {
        self.trace.take().join(" ")
    }
}

fn work(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[test]
fn what_is_free_is_taken_without_a_switch() {
    let mut lock = RwLock::new(1);
    no_switch(|| {
        let _readers = (lock.read(), lock.try_read().unwrap(), lock.read_timeout(MS).unwrap());
    });
    no_switch(|| {
        *lock.write() += 1;
        *lock.try_write().unwrap() += 1;
        *lock.write_timeout(MS).unwrap() += 1;
    });
    *lock.get_mut() += 1;
    assert!(!lock.is_locked());
    assert_eq!(lock.into_inner(), 5);
}

#[test]
fn a_writer_is_alone() {
    let lock = RwLock::new(1);
    let guard = lock.write();
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    assert!(lock.read_timeout(MS).is_none() && lock.write_timeout(MS).is_none());
    assert_eq!(format!("{lock:?}, {guard:?}"), "RwLock { value: <locked> }, 1");
    drop(guard);
    let guard = lock.read();
    assert!(lock.try_read().is_some());
    assert!(lock.try_write().is_none() && lock.write_timeout(MS).is_none());
    assert_eq!(format!("{lock:?}, {guard}"), "RwLock { value: 1 }, 1");
}

#[test]
fn all_get_it_in_the_order_in_which_they_came_and_readers_together() {
    let table = Table::default();
    let guard = table.lock.write();
    let all = [
        table.reader("r1"),
        table.reader("r2"),
        table.writer("w1"),
        table.reader("r3"),
        table.reader("r4"),
        table.writer("w2"),
    ];
    yield_now();
    drop(guard);
    joinall(all);
    assert_eq!(table.trace(), "+r1 +r2 -r1 -r2 +w1 -w1 +r3 +r4 -r3 -r4 +w2 -w2");
}

#[test]
fn a_writer_who_waits_holds_up_later_readers() {
    let table = Table::default();
    let guard = table.lock.read();
    let writer = table.writer("w");
    yield_now();
    assert!(table.lock.try_read().is_none());
    let reader = table.reader("r");
    yield_now();
    drop(guard);
    assert!(table.lock.try_read().is_none(), "it was handed to the writer");
    joinall([writer, reader]);
    assert_eq!(table.trace(), "+w -w +r -r");
}

#[test]
fn an_endless_stream_of_readers_does_not_starve_a_writer_nor_of_writers_a_reader() {
    let table = Table::default();
    let guard = table.lock.read();
    let writer = table.writer("w");
    let readers = [table.reader("r"), table.reader("r")];
    yield_now();
    drop(guard);
    let mut rounds = 0;
    while !writer.is_finished() || !readers.iter().all(|reader| reader.is_finished()) {
        if rounds % 2 == 0 {
            drop(table.lock.read());
        } else {
            drop(table.lock.write());
        }
        rounds += 1;
        assert!(rounds < 20, "starved");
    }
}

#[test]
fn a_writer_that_times_out_lets_in_the_readers_behind_him() {
    let table = Table::default();
    let _guard = table.lock.read();
    let writer = spawn({
        let lock = Rc::clone(&table.lock);
        move || lock.write_timeout(MS).is_none()
    });
    yield_now();
    let reader = table.reader("r");
    reader.join().unwrap();
    assert!(writer.join().unwrap());
}

#[test]
fn a_writer_that_is_killed_lets_in_the_readers_behind_him() {
    let table = Table::default();
    let _guard = table.lock.read();
    let writer = table.writer("w");
    let reader = table.reader("r");
    yield_now();
    writer.kill().unwrap();
    reader.join().unwrap();
    assert_eq!(table.trace(), "+r -r");
    assert!(table.lock.try_read().is_some());
}

#[test]
fn a_lock_handed_over_in_the_tick_of_a_kill_goes_to_the_next() {
    let table = Table::default();
    let guard = table.lock.read();
    let (first, second, third) = (table.writer("first"), table.writer("second"), table.reader("third"));
    yield_now();
    drop(guard);
    first.kill_nowait().unwrap();
    joinall([second, third]);
    assert!(matches!(first.join(), Err(JoinError::Killed)));
    let guard = table.lock.write();
    let (first, second) = (table.reader("first"), table.writer("second"));
    yield_now();
    drop(guard);
    first.kill_nowait().unwrap();
    second.join().unwrap();
    assert_eq!(table.trace(), "+second -second +third -third +second -second");
    assert!(!table.lock.is_locked());
}

#[test]
fn a_lock_handed_over_in_the_tick_of_an_outer_timeout_goes_to_the_next() {
    let table = Table::default();
    let guard = table.lock.write();
    let first = spawn({
        let lock = Rc::clone(&table.lock);
        move || timeout(MS, || drop(lock.write())).is_err()
    });
    let second = table.writer("second");
    yield_now();
    work(2 * MS);
    // So many run before the first that the hub looks at its timers when he is ready already.
    let others: Vec<_> = (0..200).map(|_| spawn(|| ())).collect();
    drop(guard);
    joinall(others);
    assert!(first.join().unwrap());
    second.join().unwrap();
}

#[test]
fn a_lock_that_comes_in_the_tick_of_the_deadline_is_taken() {
    let lock = Rc::new(RwLock::new(()));
    let guard = lock.write();
    let waiting = [(); 2].map(|()| {
        let lock = Rc::clone(&lock);
        spawn(move || lock.read_timeout(MS).is_some())
    });
    yield_now();
    work(2 * MS);
    drop(guard);
    assert!(joinall(waiting).into_iter().all(|got| got.unwrap()));
}

#[test]
fn the_shorter_of_two_timeouts_ends_it() {
    let lock = RwLock::new(());
    let _guard = lock.write();
    assert!(timeout(MS, || lock.write_timeout(HANG).is_some()).is_err());
    assert!(timeout(MS, || lock.read_timeout(HANG).is_some()).is_err());
    assert_eq!(timeout(HANG, || lock.read_timeout(MS).is_some()), Ok(false));
}

#[test]
fn a_killed_holder_unlocks() {
    let table = Table::default();
    let holder = spawn({
        let lock = Rc::clone(&table.lock);
        move || {
            let _guards = (lock.read(), lock.read());
            Event::new().wait();
        }
    });
    let writer = table.writer("w");
    yield_now();
    holder.kill().unwrap();
    writer.join().unwrap();
}

#[test]
fn a_writer_that_becomes_a_reader_lets_in_the_readers_who_are_next() {
    let table = Table::default();
    let guard = table.lock.write();
    let (reader, writer, late) = (table.reader("r"), table.writer("w"), table.reader("late"));
    yield_now();
    let guard = RwLockWriteGuard::downgrade(guard);
    reader.join().unwrap();
    assert_eq!(table.trace(), "+r -r");
    drop(guard);
    joinall([writer, late]);
    assert_eq!(table.trace(), "+w -w +late -late");
}

#[test]
#[should_panic = "a wait inside no_switch"]
fn waiting_inside_no_switch_panics() {
    let lock = RwLock::new(());
    let _guard = lock.write();
    no_switch(|| drop(lock.read()));
}

#[test]
fn stale_waiters_do_not_pile_up() {
    let lock = RwLock::new(());
    let _guard = lock.write();
    for _ in 0..1_000 {
        assert!(lock.read_timeout(Duration::ZERO).is_none());
    }
}

#[test]
fn threads_and_greenlets_share_it() {
    let pair = Arc::new(RwLock::new((0, 0)));
    let work = || {
        let pair = Arc::clone(&pair);
        move || {
            for round in 0..4_000 {
                if round % 4 == 0 {
                    let mut pair = pair.write();
                    pair.0 += 1;
                    if round % 64 == 0 {
                        yield_now();
                    }
                    pair.1 += 1;
                } else {
                    let pair = pair.read();
                    assert_eq!(pair.0, pair.1);
                    if round % 64 == 1 {
                        yield_now();
                    }
                }
            }
        }
    };
    let thread = std::thread::spawn({
        let works = [work(), work()];
        move || joinall(works.map(spawn)).iter().all(Result::is_ok)
    });
    assert!(joinall([work(), work()].map(spawn)).iter().all(Result::is_ok));
    assert!(thread.join().unwrap());
    assert_eq!(*pair.read(), (4_000, 4_000));
    assert!(pair.try_write().is_some());
}

#[test]
fn it_is_free_after_any_mix_of_hand_overs_kills_and_deadlines_on_two_threads() {
    let lock = Arc::new(RwLock::new(0));
    let (send, rounds) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn({
        let lock = Arc::clone(&lock);
        move || {
            for () in rounds {
                *lock.write() += 1;
                drop(lock.read());
            }
        }
    });
    for round in 0..500 {
        let guard = lock.write();
        let waiting: Vec<_> = (0..6)
            .map(|number| {
                let lock = Arc::clone(&lock);
                spawn(move || match number % 3 {
                    0 => drop(lock.read_timeout(Duration::from_micros(20))),
                    1 => drop(lock.read()),
                    _ => *lock.write() += 1,
                })
            })
            .collect();
        yield_now();
        send.send(()).unwrap();
        drop(guard);
        for _ in 0..round % 50 {
            yield_now();
        }
        for waiting in waiting.iter().step_by(2) {
            waiting.kill_nowait().unwrap();
        }
        joinall(waiting);
    }
    drop(send);
    other.join().unwrap();
    assert!(lock.try_write().is_some());
}

#[test]
fn it_crosses_threads_when_its_payload_may() {
    fn assert_send_sync<T: Send + Sync + ?Sized>() {}
    fn assert_sync<T: Sync>() {}
    assert_send_sync::<RwLock<String>>();
    assert_send_sync::<RwLock<dyn Send + Sync>>();
    assert_sync::<(RwLockReadGuard<'static, i32>, RwLockWriteGuard<'static, i32>)>();
}
