//! `Channel`: both sides wait, and exactly one of them has the item.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, JoinHandle, joinall, no_switch, sleep_until, spawn, timeout, wait, yield_now};
use greenlet_sync::{Channel, ShutDown, Shutdown, TryGetError, TryPutError};

const MS: Duration = Duration::from_millis(1);
/// So long no step takes, unless it hangs.
const HANG: Duration = Duration::from_secs(20);

fn getter<T: 'static>(channel: &Rc<Channel<T>>) -> JoinHandle<Result<T, ShutDown>> {
    let channel = Rc::clone(channel);
    spawn(move || channel.get())
}

fn putter<T: 'static>(channel: &Rc<Channel<T>>, item: T) -> JoinHandle<Result<(), ShutDown<T>>> {
    let channel = Rc::clone(channel);
    spawn(move || channel.put(item))
}

#[test]
fn put_returns_when_a_getter_has_taken_the_item() {
    for getter_is_first in [false, true] {
        let (channel, trace) = (Rc::new(Channel::new()), Rc::new(RefCell::new(Vec::new())));
        let sender = || {
            let (channel, trace) = (Rc::clone(&channel), Rc::clone(&trace));
            spawn(move || {
                trace.borrow_mut().push("sending".to_owned());
                for n in 1..=2 {
                    channel.put(n).unwrap();
                    trace.borrow_mut().push(format!("sent{n}"));
                }
            })
        };
        let receiver = || {
            let (channel, trace) = (Rc::clone(&channel), Rc::clone(&trace));
            spawn(move || {
                for _ in 0..2 {
                    let got = channel.get().unwrap();
                    trace.borrow_mut().push(format!("got {got}"));
                }
            })
        };
        joinall(if getter_is_first { [receiver(), sender()] } else { [sender(), receiver()] });
        assert_eq!(trace.take(), ["sending", "got 1", "sent1", "got 2", "sent2"]);
    }
}

#[test]
fn a_get_that_finds_an_offer_does_not_switch() {
    let channel = Rc::new(Channel::new());
    let putters = [1, 2, 3].map(|n| putter(&channel, n));
    yield_now();
    no_switch(|| {
        assert_eq!((channel.get(), channel.try_get(), channel.get_timeout(MS)), (Ok(1), Ok(2), Ok(3)));
        assert_eq!(channel.try_get(), Err(TryGetError::Empty));
    });
    assert!(joinall(putters).into_iter().all(|put| put.unwrap().is_ok()));
}

#[test]
fn getters_are_served_in_the_order_in_which_they_came() {
    let channel = Rc::new(Channel::new());
    let getters = [(); 3].map(|()| getter(&channel));
    yield_now();
    for n in 0..3 {
        channel.put(n).unwrap();
    }
    let got: Vec<_> = joinall(getters).into_iter().map(|got| got.unwrap().unwrap()).collect();
    assert_eq!(got, [0, 1, 2]);
}

#[test]
fn a_put_that_times_out_takes_its_item_back() {
    let channel = Rc::new(Channel::new());
    assert_eq!(channel.put_timeout(1, MS), Err(TryPutError::Full(1)));
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
    let getter = getter(&channel);
    assert_eq!(channel.put_timeout(2, HANG), Ok(()));
    assert_eq!(getter.join().unwrap(), Ok(2));
}

#[test]
fn a_get_that_times_out_takes_nothing() {
    let channel = Rc::new(Channel::new());
    assert_eq!(channel.get_timeout(MS), Err(TryGetError::Empty));
    assert_eq!(channel.try_put(1), Err(TryPutError::Full(1)));
    let putter = putter(&channel, 1);
    assert_eq!(channel.get_timeout(HANG), Ok(1));
    putter.join().unwrap().unwrap();
}

#[test]
fn an_offer_that_comes_as_the_time_runs_out_is_taken() {
    let channel = Rc::new(Channel::new());
    let deadline = Instant::now() + 5 * MS;
    let getter = spawn({
        let channel = Rc::clone(&channel);
        move || channel.get_timeout(deadline - Instant::now())
    });
    yield_now();
    while Instant::now() < deadline + MS {
        std::hint::spin_loop();
    }
    channel.put(1).unwrap();
    assert_eq!(getter.join().unwrap(), Ok(1));
}

#[test]
fn a_killed_putter_leaves_no_item() {
    let channel = Rc::new(Channel::new());
    let item = Rc::new(());
    let (first, second) = (putter(&channel, Rc::clone(&item)), putter(&channel, Rc::new(())));
    yield_now();
    // It is killed and has not run yet: its offer still stands there.
    first.kill_nowait().unwrap();
    let got = channel.try_get().unwrap();
    assert!(!Rc::ptr_eq(&got, &item));
    second.join().unwrap().unwrap();
    assert!(matches!(first.join(), Err(JoinError::Killed)));
    assert_eq!(Rc::strong_count(&item), 1);
}

#[test]
fn a_putter_that_is_killed_after_its_item_was_taken_has_put_it() {
    let channel = Rc::new(Channel::new());
    let putter = putter(&channel, 1);
    yield_now();
    assert_eq!(channel.try_get(), Ok(1));
    putter.kill_nowait().unwrap();
    assert!(putter.join().is_err());
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
}

#[test]
fn a_killed_getter_leaves_the_offer_to_the_next() {
    let channel = Rc::new(Channel::new());
    let (first, second) = (getter(&channel), getter(&channel));
    let putter = putter(&channel, 1);
    yield_now();
    first.kill_nowait().unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
    putter.join().unwrap().unwrap();
    assert!(first.join().is_err());
}

#[test]
fn what_try_put_handed_to_a_getter_that_is_killed_goes_to_the_next_or_stays() {
    let channel = Rc::new(Channel::new());
    let (first, second) = (getter(&channel), getter(&channel));
    yield_now();
    channel.try_put(1).unwrap();
    first.kill_nowait().unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
    let third = getter(&channel);
    yield_now();
    channel.try_put(2).unwrap();
    third.kill().unwrap();
    // Nobody is there who could be told; it waits at the front.
    let putter = putter(&channel, 3);
    yield_now();
    assert_eq!((channel.get(), channel.get()), (Ok(2), Ok(3)));
    putter.join().unwrap().unwrap();
}

#[test]
fn a_getter_whose_outer_time_has_passed_takes_nothing() {
    let channel = Rc::new(Channel::new());
    let deadline = Instant::now() + 5 * MS;
    let first = spawn({
        let channel = Rc::clone(&channel);
        move || timeout(deadline - Instant::now(), || channel.get())
    });
    let second = getter(&channel);
    spawn(move || {
        while Instant::now() < deadline + MS {
            std::hint::spin_loop();
        }
    });
    sleep_until(deadline - MS);
    channel.try_put(1).unwrap();
    assert_eq!(second.join().unwrap(), Ok(1));
    assert!(first.join().unwrap().is_err());
}

#[test]
fn a_putter_whose_outer_time_has_passed_has_put_nothing() {
    let channel = Rc::new(Channel::new());
    assert!(timeout(MS, || channel.put_timeout(1, HANG)).is_err());
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
}

#[test]
fn a_getter_that_was_passed_over_is_handed_the_next_offer() {
    let channel = Rc::new(Channel::new());
    let first = getter(&channel);
    yield_now();
    channel.try_put(1).unwrap();
    assert_eq!(channel.try_get(), Ok(1));
    yield_now();
    let second = getter(&channel);
    yield_now();
    channel.try_put(2).unwrap();
    assert_eq!(channel.try_get(), Err(TryGetError::Empty));
    channel.try_put(3).unwrap();
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (Ok(2), Ok(3)));
}

#[test]
fn a_shutdown_gives_the_items_back_and_ends_the_waits() {
    for how in [Shutdown::Graceful, Shutdown::Immediate] {
        let (offered, wanted) = (Rc::new(Channel::new()), Rc::new(Channel::<u8>::new()));
        let (putters, getter) = ([1, 2].map(|n| putter(&offered, n)), getter(&wanted));
        yield_now();
        offered.shutdown(how);
        wanted.shutdown(how);
        assert_eq!(putters.map(|putter| putter.join().unwrap()), [Err(ShutDown(1)), Err(ShutDown(2))]);
        assert_eq!(getter.join().unwrap(), Err(ShutDown(())));
        assert_eq!(offered.try_put(3), Err(TryPutError::ShutDown(3)));
        assert_eq!(offered.put(3), Err(ShutDown(3)));
        assert_eq!(offered.try_get(), Err(TryGetError::ShutDown));
    }
}

#[test]
fn what_was_handed_over_outlives_a_graceful_shutdown_only() {
    for how in [Shutdown::Graceful, Shutdown::Immediate] {
        let channel = Rc::new(Channel::new());
        let getter = getter(&channel);
        yield_now();
        channel.try_put(1).unwrap();
        channel.shutdown(how);
        let expected = if how == Shutdown::Graceful { Ok(1) } else { Err(ShutDown(())) };
        assert_eq!(getter.join().unwrap(), expected);
    }
}

#[test]
fn a_channel_can_be_waited_for_among_others() {
    let (idle, channel) = (Channel::<u8>::new(), Rc::new(Channel::new()));
    let putter = putter(&channel, 1);
    assert_eq!(wait(&[&idle, &*channel], Some(1), None), [1]);
    assert_eq!(channel.try_get(), Ok(1));
    putter.join().unwrap().unwrap();
}

#[test]
fn items_are_handed_from_thread_to_thread() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Channel<u8>>();
    let rounds: u64 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    let channel = Arc::new(Channel::new());
    let getters: Vec<_> = (0..2)
        .map(|_| {
            let channel = Arc::clone(&channel);
            std::thread::spawn(move || channel.iter().sum::<u64>())
        })
        .collect();
    let putters: Vec<_> = (0..2)
        .map(|_| {
            let channel = Arc::clone(&channel);
            std::thread::spawn(move || {
                let greenlets = (0..2).map(|_| {
                    let channel = Arc::clone(&channel);
                    spawn(move || (0..rounds).for_each(|n| channel.put(n).unwrap()))
                });
                joinall(greenlets);
            })
        })
        .collect();
    putters.into_iter().for_each(|putter| putter.join().unwrap());
    channel.shutdown(Shutdown::Graceful);
    let sum: u64 = getters.into_iter().map(|getter| getter.join().unwrap()).sum();
    assert_eq!(sum, 4 * (rounds * (rounds - 1) / 2));
}

#[test]
fn those_who_give_up_while_others_come_lose_and_double_nothing() {
    let rounds: u64 = if cfg!(debug_assertions) { 2_000 } else { 20_000 };
    let channel = Arc::new(Channel::new());
    let getter = std::thread::spawn({
        let channel = Arc::clone(&channel);
        move || {
            let mut sum = 0;
            loop {
                match channel.get_timeout(Duration::from_micros(20)) {
                    Ok(item) => sum += item,
                    Err(TryGetError::Empty) => {}
                    Err(TryGetError::ShutDown) => return sum,
                }
            }
        }
    });
    let mut sum = 0;
    for n in 0..rounds {
        if channel.put_timeout(n, Duration::from_micros(20)).is_ok() {
            sum += n;
        }
    }
    channel.shutdown(Shutdown::Graceful);
    assert_eq!(getter.join().unwrap(), sum);
}

#[test]
fn a_getter_whose_promised_item_was_withdrawn_may_time_out() {
    let channel = Rc::new(Channel::new());
    let unlucky = spawn({
        let channel = Rc::clone(&channel);
        move || channel.get_timeout(50 * MS)
    });
    yield_now();
    // Woken, and passed over.
    let first = putter(&channel, 1);
    let thief = spawn({
        let channel = Rc::clone(&channel);
        move || channel.try_get()
    });
    assert_eq!((first.join().unwrap(), thief.join().unwrap()), (Ok(()), Ok(1)));
    assert!(!unlucky.is_finished());
    // Promised the next one, whose putter is killed before it can be taken.
    let second = putter(&channel, 2);
    let killer = spawn({
        let second = second.greenlet().clone();
        move || second.kill_nowait()
    });
    killer.join().unwrap().unwrap();
    assert!(matches!(second.join(), Err(JoinError::Killed)));
    assert_eq!(unlucky.join().unwrap(), Err(TryGetError::Empty));
    // Nothing is kept for anybody now.
    let next = getter(&channel);
    yield_now();
    assert_eq!(channel.put_timeout(3, HANG), Ok(()));
    assert_eq!(next.join().unwrap(), Ok(3));
}
