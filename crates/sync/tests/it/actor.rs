//! `actor`: messages in order, answers, and what happens when it ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, joinall, no_switch, sleep, sleep_until, spawn, timeout, yield_now};
use greenlet_sync::{Actor, AskError, Event, Reply, actor};

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

enum Message {
    Add(u32),
    Total(Reply<u32>),
    Sleep(Duration),
    Fail,
    Forget(Reply<()>),
}

fn counter() -> Actor<Message> {
    let mut total = 0;
    actor(move |message| match message {
        Message::Add(n) => total += n,
        Message::Total(reply) => reply.send(total),
        Message::Sleep(duration) => sleep(duration),
        Message::Fail => panic!("a message that fails"),
        Message::Forget(reply) => drop(reply),
    })
}

#[test]
fn telling_does_not_switch_and_keeps_the_order() {
    let trace = Rc::new(RefCell::new(Vec::new()));
    let noting = actor({
        let trace = Rc::clone(&trace);
        move |n| {
            yield_now();
            trace.borrow_mut().push(n);
        }
    });
    no_switch(|| (0..5).for_each(|n| noting.tell(n).unwrap()));
    let greenlet = noting.greenlet().clone();
    assert!(trace.borrow().is_empty());
    // What was sent before the last handle went is handled.
    drop(noting);
    greenlet.wait();
    assert!(greenlet.is_successful());
    assert_eq!(*trace.borrow(), [0, 1, 2, 3, 4]);
}

#[test]
fn asking_waits_for_the_answer() {
    let counter = counter();
    counter.tell(Message::Add(2)).unwrap();
    counter.tell(Message::Sleep(MS)).unwrap();
    counter.tell(Message::Add(3)).unwrap();
    assert_eq!(counter.ask(Message::Total), Ok(5));
    assert_eq!(counter.ask_timeout(Message::Total, HANG), Ok(5));
    assert_eq!(counter.ask(Message::Forget), Err(AskError::NoReply));
}

#[test]
fn an_actor_ends_when_all_its_handles_are_gone() {
    let counter = counter();
    let greenlet = counter.greenlet().clone();
    let second = counter.clone();
    drop(counter);
    yield_now();
    assert_eq!(second.ask(Message::Total), Ok(0));
    drop(second);
    assert!(greenlet.wait_timeout(HANG));
}

#[test]
fn asking_in_vain_times_out() {
    let counter = counter();
    counter.tell(Message::Sleep(20 * MS)).unwrap();
    assert_eq!(counter.ask_timeout(Message::Total, MS), Err(AskError::TimedOut));
    assert!(timeout(MS, || counter.ask(Message::Total)).is_err());
    // It answered nobody, and goes on.
    assert_eq!(counter.ask(Message::Total), Ok(0));
}

#[test]
fn a_dead_actor_says_so_at_once() {
    let counter = counter();
    counter.greenlet().kill().unwrap();
    assert!(matches!(no_switch(|| counter.tell(Message::Add(1))), Err(error) if matches!(error.0, Message::Add(1))));
    assert_eq!(no_switch(|| counter.ask(Message::Total)), Err(AskError::Ended));
    assert_eq!(counter.tell(Message::Fail).unwrap_err().to_string(), "the actor has ended");
}

#[test]
fn those_who_wait_for_an_answer_are_told_when_it_dies() {
    let counter = counter();
    counter.tell(Message::Sleep(HANG)).unwrap();
    let asking: Vec<_> = (0..3)
        .map(|_| {
            spawn({
                let counter = counter.clone();
                move || counter.ask(Message::Total)
            })
        })
        .collect();
    yield_now();
    counter.greenlet().kill().unwrap();
    assert!(joinall(asking).into_iter().all(|answer| answer.unwrap() == Err(AskError::Ended)));

    let failing = self::counter();
    failing.tell(Message::Fail).unwrap();
    assert_eq!(failing.ask(Message::Total), Err(AskError::Ended));
    assert!(failing.greenlet().is_finished() && !failing.greenlet().is_successful());
}

#[test]
fn an_actor_that_is_killed_before_it_runs_drops_its_messages() {
    let counter = counter();
    let asking = spawn({
        let counter = counter.clone();
        move || counter.ask(Message::Total)
    });
    counter.greenlet().kill_nowait().unwrap();
    assert_eq!(asking.join().unwrap(), Err(AskError::Ended));
}

#[test]
fn one_who_is_killed_while_he_asks_leaves_the_others_alone() {
    let counter = counter();
    counter.tell(Message::Sleep(2 * MS)).unwrap();
    let asking: Vec<_> = (0..2)
        .map(|_| {
            spawn({
                let counter = counter.clone();
                move || counter.ask(Message::Total)
            })
        })
        .collect();
    yield_now();
    asking[0].kill_nowait().unwrap();
    let mut answers = joinall(asking).into_iter();
    assert!(matches!(answers.next(), Some(Err(JoinError::Killed))));
    assert_eq!(answers.next().unwrap().unwrap(), Ok(0));
}

#[test]
fn an_answer_in_the_tick_of_the_timeout_is_the_answer() {
    let start = Instant::now();
    let answering = actor(move |(deadline, reply): (Instant, Reply<u32>)| {
        sleep_until(deadline);
        // The one who asks has timed out as well by now, and has not run yet.
        reply.send(1);
    });
    let deadline = start + 3 * MS;
    let asking = spawn(move || answering.ask_timeout(|reply| (deadline, reply), deadline - Instant::now()));
    assert_eq!(asking.join().unwrap(), Ok(1));
}

#[test]
fn an_actor_is_asked_from_other_threads() {
    let counter = counter();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let counter = counter.clone();
            std::thread::spawn(move || {
                for _ in 0..500 {
                    counter.tell(Message::Add(1)).unwrap();
                    counter.ask_timeout(Message::Total, HANG).unwrap();
                }
            })
        })
        .collect();
    while !threads.iter().all(|thread| thread.is_finished()) {
        sleep(MS);
    }
    assert_eq!(counter.ask(Message::Total), Ok(2000));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn an_actor_whose_hub_has_ended_is_dead() {
    let started = Arc::new(Event::new());
    let go = Arc::new(Event::new());
    let (there, stop) = (Arc::clone(&started), Arc::clone(&go));
    let thread = std::thread::spawn(move || {
        let counter = counter();
        counter.tell(Message::Sleep(HANG)).unwrap();
        there.set();
        stop.wait();
        counter
    });
    started.wait();
    go.set();
    let counter = thread.join().unwrap();
    assert!(counter.tell(Message::Add(1)).is_err());
    assert_eq!(counter.ask(Message::Total), Err(AskError::Ended));

    // And one that is asked when its hub ends.
    let handle = Arc::new(std::sync::Mutex::new(None));
    let asked = Arc::new(Event::new());
    let thread = std::thread::spawn({
        let (handle, started, asked) = (Arc::clone(&handle), Arc::new(Event::new()), Arc::clone(&asked));
        move || {
            let counter = self::counter();
            counter.tell(Message::Sleep(HANG)).unwrap();
            *handle.lock().unwrap() = Some(counter);
            started.set();
            asked.wait();
        }
    });
    let counter = loop {
        match handle.lock().unwrap().take() {
            Some(counter) => break counter,
            None => yield_now(),
        }
    };
    spawn(move || asked.set());
    assert_eq!(counter.ask(Message::Total), Err(AskError::Ended));
    thread.join().unwrap();
}

#[test]
fn a_handler_may_keep_what_is_not_send() {
    let sum = Rc::new(Cell::new(0));
    let adding = actor({
        let sum = Rc::clone(&sum);
        move |n: Rc<u32>| sum.set(sum.get() + *n)
    });
    adding.tell(Rc::new(3)).unwrap();
    yield_now();
    assert_eq!(sum.get(), 3);
}

#[test]
fn a_handle_goes_where_its_messages_may() {
    fn check<T: Send + Sync>() {}
    check::<Actor<Message>>();
    check::<Reply<u32>>();
    assert!(format!("{:?}", counter()).starts_with("Actor { greenlet: Greenlet"));
}
