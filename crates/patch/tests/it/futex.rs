//! The system call that std's locks stand on, made by hand.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{HubPool, JoinHandle, joinall, spawn, yield_now};
use greenlet_patch::patch_all;
use libc::{c_int, timespec};

use crate::support::wait_until_it_sleeps;

const MS: Duration = Duration::from_millis(1);

/// Makes the call; what it returns, or the error number.
fn futex(word: &AtomicU32, op: c_int, value: u32, fourth: usize, second: &AtomicU32, third: u32) -> Result<i64, c_int> {
    let op = op | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: two words, and a time or a count, as the operation has it.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, fourth, second.as_ptr(), third) };
    if result < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(result) }
}

fn wait(word: &AtomicU32, value: u32) -> Result<i64, c_int> {
    futex(word, libc::FUTEX_WAIT, value, 0, word, 0)
}

fn wait_until(op: c_int, time: timespec, bits: u32) -> Result<i64, c_int> {
    let word = AtomicU32::new(0);
    futex(&word, op, 0, (&raw const time).addr(), &word, bits)
}

fn wake(word: &AtomicU32, most: i32) -> i64 {
    futex(word, libc::FUTEX_WAKE, most as u32, 0, word, 0).unwrap()
}

fn now(clock: libc::clockid_t) -> timespec {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the time.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
    time
}

/// A word that lives long enough for everybody.
fn word(value: u32) -> &'static AtomicU32 {
    Box::leak(Box::new(AtomicU32::new(value)))
}

/// Greenlets that wait for a word, and note their numbers when they are woken.
fn waiters(count: u32, word: &'static AtomicU32) -> (Vec<JoinHandle<()>>, Rc<RefCell<Vec<u32>>>) {
    let order = Rc::new(RefCell::new(Vec::new()));
    let waiters = (0..count).map(|i| {
        let order = Rc::clone(&order);
        spawn(move || {
            assert_eq!(wait(word, 0), Ok(0));
            order.borrow_mut().push(i);
        })
    });
    let waiters = waiters.collect();
    yield_now();
    (waiters, order)
}

#[test]
fn a_wake_up_counts_whom_it_wakes_in_their_order() {
    patch_all();
    let word = word(0);
    let (waiters, order) = waiters(40, word);
    assert_eq!(wake(word, 3), 3);
    yield_now();
    assert_eq!(*order.borrow(), [0, 1, 2]);
    // The kernel wakes one at the least.
    assert_eq!(wake(word, 0), 1);
    assert_eq!(wake(word, 20), 20);
    assert_eq!(wake(word, i32::MAX), 16);
    assert_eq!(wake(word, i32::MAX), 0);
    joinall(waiters);
    assert_eq!(*order.borrow(), Vec::from_iter(0..40));
}

#[test]
fn threads_and_greenlets_that_wait_for_one_word_are_all_woken() {
    patch_all();
    let word = word(0);
    let waiting = Arc::new(AtomicU32::new(0));
    let threads = Vec::from_iter((0..3).map(|_| {
        let waiting = Arc::clone(&waiting);
        thread::spawn(move || {
            waiting.fetch_add(1, Ordering::Release);
            // Woken, or too late for it.
            while word.load(Ordering::Acquire) == 0 {
                let _ = wait(word, 0);
            }
        })
    }));
    let pool = HubPool::builder().hubs(1).build().unwrap();
    let elsewhere = Vec::from_iter((0..5).map(|_| {
        let waiting = Arc::clone(&waiting);
        pool.spawn(move || {
            waiting.fetch_add(1, Ordering::Release);
            while word.load(Ordering::Acquire) == 0 {
                let _ = wait(word, 0);
            }
        })
    }));
    let (here, order) = waiters(5, word);
    while waiting.load(Ordering::Acquire) < 8 {
        yield_now();
    }
    assert!(order.borrow().is_empty());
    word.store(1, Ordering::Release);
    let woken = wake(word, i32::MAX);
    assert!((5..=13).contains(&woken), "{woken}");
    joinall(here);
    joinall(elsewhere);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn greenlets_do_not_starve_a_thread() {
    patch_all();
    let word = word(0);
    let asleep = Arc::new(AtomicU32::new(0));
    let thread = thread::spawn({
        let asleep = Arc::clone(&asleep);
        move || {
            // SAFETY: it has no preconditions.
            asleep.store(unsafe { libc::gettid() } as u32, Ordering::Release);
            wait(word, 0)
        }
    });
    let id = loop {
        match asleep.load(Ordering::Acquire) {
            0 => yield_now(),
            id => break id as i32,
        }
    };
    wait_until_it_sleeps(id);
    let (waiters, order) = waiters(20, word);
    let woken: i64 = (0..10).map(|_| wake(word, 1)).sum();
    assert_eq!(woken, 10);
    assert_eq!(thread.join().unwrap(), Ok(0));
    yield_now();
    assert_eq!(order.borrow().len(), 9);
    wake(word, i32::MAX);
    joinall(waiters);
}

#[test]
fn a_wait_whose_word_has_changed_does_not_begin() {
    patch_all();
    spawn(|| assert_eq!(wait(&AtomicU32::new(1), 0), Err(libc::EAGAIN))).join().unwrap();
}

#[test]
fn waits_end_at_their_time_by_either_clock_and_refuse_what_is_none() {
    patch_all();
    let waiter = spawn(|| {
        let begin = Instant::now();
        let short = timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        assert_eq!(wait_until(libc::FUTEX_WAIT, short, 0), Err(libc::ETIMEDOUT));
        assert!(begin.elapsed() >= 10 * MS);
        for (clock, flag) in [(libc::CLOCK_MONOTONIC, 0), (libc::CLOCK_REALTIME, libc::FUTEX_CLOCK_REALTIME)] {
            let begin = Instant::now();
            let mut time = now(clock);
            time.tv_nsec += 10_000_000;
            if time.tv_nsec >= 1_000_000_000 {
                time.tv_sec += 1;
                time.tv_nsec -= 1_000_000_000;
            }
            assert_eq!(wait_until(libc::FUTEX_WAIT_BITSET | flag, time, 1), Err(libc::ETIMEDOUT));
            assert!(begin.elapsed() >= 9 * MS);
            // One that is past is over at once.
            let past = timespec { tv_sec: 1, tv_nsec: 0 };
            assert_eq!(wait_until(libc::FUTEX_WAIT_BITSET | flag, past, 1), Err(libc::ETIMEDOUT));
        }
        for time in [timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }, timespec { tv_sec: -1, tv_nsec: 0 }] {
            assert_eq!(wait_until(libc::FUTEX_WAIT, time, 0), Err(libc::EINVAL));
            assert_eq!(wait_until(libc::FUTEX_WAIT_BITSET, time, 1), Err(libc::EINVAL));
        }
        assert_eq!(wait_until(libc::FUTEX_WAIT_BITSET, short, 0), Err(libc::EINVAL));
    });
    while !waiter.greenlet().is_finished() {
        yield_now();
    }
    waiter.join().unwrap();
}

#[test]
fn bits_choose_who_is_woken() {
    patch_all();
    let word = word(0);
    let waiters = Vec::from_iter(
        [1, 2, 3].map(|bits| spawn(move || assert_eq!(futex(word, libc::FUTEX_WAIT_BITSET, 0, 0, word, bits), Ok(0)))),
    );
    yield_now();
    assert_eq!(futex(word, libc::FUTEX_WAKE_BITSET, 5, 0, word, 4), Ok(0));
    assert_eq!(futex(word, libc::FUTEX_WAKE_BITSET, 5, 0, word, 2), Ok(2));
    assert_eq!(futex(word, libc::FUTEX_WAKE_BITSET, 5, 0, word, 0), Err(libc::EINVAL));
    yield_now();
    assert!(!waiters[0].greenlet().is_finished() && waiters[1].greenlet().is_finished());
    assert_eq!(wake(word, 5), 1);
    joinall(waiters);
}

#[test]
fn a_requeue_moves_those_whom_it_does_not_wake() {
    patch_all();
    let (from, to) = (word(0), word(0));
    let (waiters, order) = waiters(30, from);
    // Not if the word is another than the caller says.
    assert_eq!(futex(from, libc::FUTEX_CMP_REQUEUE, 1, 100, to, 7), Err(libc::EAGAIN));
    assert_eq!(futex(from, libc::FUTEX_CMP_REQUEUE, 2, 8, to, 0), Ok(10));
    assert_eq!(futex(from, libc::FUTEX_REQUEUE, 1, 4, to, 0), Ok(5));
    yield_now();
    assert_eq!(*order.borrow(), [0, 1, 10]);
    assert_eq!(wake(to, 100), 12);
    yield_now();
    assert_eq!(
        *order.borrow(),
        Vec::from_iter((0..15).filter(|i| *i != 10).fold(vec![0, 1, 10], |mut order, i| {
            if i > 1 {
                order.push(i);
            }
            order
        }))
    );
    // Onto itself nobody is lost.
    assert_eq!(futex(from, libc::FUTEX_REQUEUE, 0, 5, from, 0), Ok(5));
    assert_eq!(wake(from, 100), 15);
    joinall(waiters);
}

#[test]
fn who_was_moved_times_out_where_he_is() {
    patch_all();
    let (from, to) = (word(0), word(0));
    let waiter = spawn(move || {
        let time = timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        futex(from, libc::FUTEX_WAIT, 0, (&raw const time).addr(), from, 0)
    });
    yield_now();
    assert_eq!(futex(from, libc::FUTEX_REQUEUE, 0, 1, to, 0), Ok(1));
    assert_eq!(waiter.join().unwrap(), Err(libc::ETIMEDOUT));
    assert_eq!(wake(to, 1), 0);
}

#[test]
fn an_operation_on_one_word_wakes_those_of_two() {
    patch_all();
    let (first, second) = (word(0), word(0));
    let (of_first, _) = waiters(2, first);
    let (of_second, _) = waiters(2, second);
    // second += 5; wake one of the first, and two of the second if it was 0.
    let add_5_if_0 = 1 << 28 | 5 << 12;
    assert_eq!(futex(first, libc::FUTEX_WAKE_OP, 1, 2, second, add_5_if_0), Ok(3));
    assert_eq!(second.load(Ordering::Relaxed), 5);
    assert_eq!(futex(first, libc::FUTEX_WAKE_OP, 1, 2, second, add_5_if_0), Ok(1));
    assert_eq!(second.load(Ordering::Relaxed), 10);
    // Operands are signed: second -= 1, where it was greater than -3.
    let less_if_more = 1 << 28 | 4 << 24 | 0xFFF << 12 | 0xFFD;
    assert_eq!(futex(first, libc::FUTEX_WAKE_OP, 1, 1, second, less_if_more), Ok(0));
    assert_eq!(second.load(Ordering::Relaxed), 9);
    joinall(of_first);
    joinall(of_second);
}

#[test]
fn what_is_no_futex_is_the_kernels_to_refuse() {
    patch_all();
    let word = word(0);
    spawn(move || {
        // SAFETY: the kernel refuses the address.
        let result =
            unsafe { libc::syscall(libc::SYS_futex, 2_usize, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, 0_usize) };
        assert_eq!((result, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
        assert_eq!(futex(word, 127, 0, 0, word, 0), Err(libc::ENOSYS));
        // SAFETY: it has no preconditions.
        assert_eq!(unsafe { libc::syscall(libc::SYS_getpid) }, i64::from(std::process::id()));
    })
    .join()
    .unwrap();
}

#[test]
fn no_wake_up_is_lost_between_hubs_and_threads() {
    const PLAYERS: u32 = 6;
    const ROUNDS: u32 = 3000;
    patch_all();
    let turn = word(0);
    // The turn goes round; each wakes all, and waits until the word is his again.
    let play = move |me: u32| {
        for round in 0..ROUNDS {
            loop {
                let now = turn.load(Ordering::SeqCst);
                if now == round * PLAYERS + me {
                    break;
                }
                let time = timespec { tv_sec: 0, tv_nsec: 200_000 };
                match round % 3 {
                    // Deadlines that come at the same moment as wake-ups.
                    0 => drop(futex(turn, libc::FUTEX_WAIT, now, (&raw const time).addr(), turn, 0)),
                    _ => drop(wait(turn, now)),
                }
            }
            turn.fetch_add(1, Ordering::SeqCst);
            wake(turn, i32::MAX);
        }
    };
    let pool = HubPool::builder().hubs(1).build().unwrap();
    let threads = Vec::from_iter([0, 3].map(|me| thread::spawn(move || play(me))));
    let elsewhere = Vec::from_iter([1, 4].map(|me| pool.spawn(move || play(me))));
    let here = Vec::from_iter([2, 5].map(|me| spawn(move || play(me))));
    assert!(joinall(here).iter().all(Result::is_ok));
    assert!(joinall(elsewhere).iter().all(Result::is_ok));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(turn.load(Ordering::SeqCst), PLAYERS * ROUNDS);
}
