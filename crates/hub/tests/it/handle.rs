//! Greenlets that are spawned onto another thread's hub.

use std::any::Any;
use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use greenlet_hub::{
    Builder, Handle, HubPool, JoinError, Reason, Wait, WaitList, Waiter, current, inherited_local, joinall, local,
    shield, sleep, spawn, yield_now,
};

use crate::child::in_child;
use crate::hub_pool::Computes;
use crate::support::{HANG, OnDrop, Trace, timed, until};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

/// A thread that runs what others leave for its hub, until this is dropped.
pub(crate) struct Server {
    pub(crate) hub: Handle,
    pub(crate) thread: ThreadId,
    end: Waiter,
    joined: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new() -> Server {
        let (sender, receiver) = mpsc::channel();
        let joined = thread::spawn(move || {
            let wait = Wait::begin(Reason::new("the end of the server"));
            sender.send((Handle::current(), wait.waiter())).unwrap();
            wait.notified(None);
        });
        let (hub, end) = receiver.recv().unwrap();
        Server { hub, thread: joined.thread().id(), end, joined: Some(joined) }
    }

    /// Ends its thread; what is left for it meanwhile may run or not.
    fn end(&mut self) {
        self.end.notify();
        if let Some(thread) = self.joined.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where values were dropped.
#[derive(Clone, Default)]
struct Drops(Arc<Mutex<Vec<ThreadId>>>);

/// A value that says where it is dropped.
struct Value(Drops);

impl Drops {
    fn value(&self) -> Value {
        Value(self.clone())
    }

    fn take(&self) -> Vec<ThreadId> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push(thread::current().id());
    }
}

fn here() -> ThreadId {
    thread::current().id()
}

// ---- where it runs, and when ----

#[test]
fn it_runs_on_the_hub_that_it_is_spawned_on() {
    let servers = [Server::new(), Server::new()];
    for server in &servers {
        let (hub, thread, own) = (server.hub.clone(), server.thread, current());
        let greenlet = server.hub.spawn(move || {
            yield_now();
            sleep(MS);
            assert_eq!((Handle::current(), here()), (hub, thread));
            assert_ne!(current(), own);
            // What it spawns there needs not be `Send`, and stays there.
            let counter = std::rc::Rc::new(Cell::new(0));
            let inner = spawn({
                let counter = std::rc::Rc::clone(&counter);
                move || counter.set(7)
            });
            inner.join().unwrap();
            counter.get()
        });
        assert_eq!(greenlet.join().unwrap(), 7);
    }
}

#[test]
fn a_plain_thread_that_spawns_gets_no_hub() {
    let ended = in_child("handle::a_plain_thread_that_spawns_gets_no_hub", || {
        let server = Server::new();
        let hub = server.hub.clone();
        let last = hub.id();
        let spawner = thread::spawn(move || {
            let greenlets: Vec<_> = (0..100).map(|n| hub.spawn(move || n)).collect();
            let pool = hub.load();
            // One that starts at this moment may be counted twice.
            assert!(pool <= 101 && hub.is_alive());
            greenlets
        });
        let greenlets = spawner.join().unwrap();
        while !greenlets.iter().all(|greenlet| greenlet.is_finished()) {
            thread::yield_now();
        }
        // Hubs are numbered in the order in which they are made.
        assert_eq!(Handle::current().id(), last + 1);
        assert_eq!(joinall(greenlets).into_iter().map(Result::unwrap).sum::<u32>(), 4950);
    });
    ended.check();
}

#[test]
fn they_start_in_the_order_in_which_they_were_spawned() {
    let server = Server::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let spawn_some = |spawner: usize, hub: &Handle, order: &Arc<Mutex<Vec<(usize, usize)>>>| {
        let spawn_one = |n: usize| {
            let order = Arc::clone(order);
            hub.spawn(move || order.lock().unwrap().push((spawner, n)))
        };
        (0..1000).map(spawn_one).collect::<Vec<_>>()
    };
    let blocked = Computes::on(&server.hub);
    let plain = thread::spawn({
        let (hub, order) = (server.hub.clone(), Arc::clone(&order));
        move || spawn_some(0, &hub, &order)
    });
    let other = Server::new();
    let from_greenlet = other.hub.spawn({
        let (hub, order) = (server.hub.clone(), Arc::clone(&order));
        move || spawn_some(1, &hub, &order)
    });
    let mut greenlets = spawn_some(2, &server.hub, &order);
    greenlets.extend(plain.join().unwrap());
    greenlets.extend(from_greenlet.join().unwrap());
    drop(blocked);
    joinall(greenlets).into_iter().for_each(Result::unwrap);
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 3000);
    for spawner in 0..3 {
        assert!(order.iter().filter(|(by, _)| *by == spawner).map(|(_, n)| *n).eq(0..1000));
    }
}

#[test]
fn on_the_own_hub_it_is_a_spawn_like_any_other() {
    let trace = Arc::new(Mutex::new(String::new()));
    let note = |what: char| {
        let trace = Arc::clone(&trace);
        move || trace.lock().unwrap().push(what)
    };
    let here = Handle::current();
    let greenlets = [spawn(note('a')), here.spawn(note('b')), spawn(note('c')), here.spawn(note('d'))];
    assert_eq!(*trace.lock().unwrap(), "", "a spawn never switches");
    yield_now();
    assert_eq!(*trace.lock().unwrap(), "abcd");
    joinall(greenlets).into_iter().for_each(Result::unwrap);
}

#[test]
fn a_hub_that_sleeps_is_woken_for_it() {
    let server = Server::new();
    // It sleeps for a timer that is far away, and in its poller.
    let sleeper = server.hub.spawn(|| sleep(LONG));
    for _ in 0..100 {
        let (took, ()) = timed(|| server.hub.spawn(|| ()).join().unwrap());
        assert!(took < HANG);
    }
    sleeper.kill().unwrap();
}

#[test]
fn hubs_spawn_onto_each_other_for_long() {
    const ROUNDS: u32 = 20_000;
    let servers = [Server::new(), Server::new()];
    let hubs = [servers[0].hub.clone(), servers[1].hub.clone()];
    /// Each spawns the next one on the other hub.
    fn hop(hubs: [Handle; 2], left: u32, end: Arc<(AtomicUsize, WaitList)>) {
        assert_eq!(Handle::current(), hubs[0]);
        if left == 0 {
            end.0.store(1, Ordering::Release);
            end.1.notify_all();
            return;
        }
        let [one, two] = hubs;
        two.clone().spawn(move || hop([two, one], left - 1, end));
    }
    let end = Arc::new((AtomicUsize::new(0), WaitList::new()));
    hubs[0].clone().spawn({
        let end = Arc::clone(&end);
        move || hop(hubs, ROUNDS, end)
    });
    let deadline = Some(Instant::now() + HANG);
    while end.0.load(Ordering::Acquire) == 0 {
        let over = end.1.wait(Reason::new("the last hop"), deadline, || end.0.load(Ordering::Acquire) == 1);
        assert!(over, "a spawn was slept through");
    }
}

// ---- hubs that end ----

#[test]
fn onto_a_hub_that_has_ended_it_never_runs() {
    let mut server = Server::new();
    server.end();
    assert!(!server.hub.is_alive());
    assert_eq!(server.hub.load(), 0);
    let drops = Drops::default();
    let value = drops.value();
    let greenlet = server.hub.spawn(move || {
        let _value = value;
        unreachable!("its hub has ended");
    });
    assert!(greenlet.is_finished() && !greenlet.is_started());
    assert_eq!(drops.take(), [here()]);
    let ended: Result<(), JoinError> = greenlet.join();
    assert!(matches!(ended, Err(JoinError::HubEnded)));
}

#[test]
fn a_hub_that_takes_the_place_of_one_that_has_ended_runs_nothing_of_that_one() {
    let mut server = Server::new();
    let stale = server.hub.clone();
    server.end();
    // Some of these have the ended one's place.
    let new: Vec<Server> = (0..8).map(|_| Server::new()).collect();
    assert!(!stale.is_alive() && new.iter().all(|new| new.hub != stale));
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let ran = Arc::clone(&ran);
        let ended = stale.spawn(move || ran.fetch_add(1, Ordering::Relaxed)).join();
        assert!(matches!(ended, Err(JoinError::HubEnded)));
    }
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    until(|| new.iter().all(|new| new.hub.load() == 0));
}

#[test]
fn what_is_spawned_while_its_hub_ends_runs_or_is_dropped_exactly_once() {
    const ROUNDS: usize = 300;
    const EACH: usize = 20;
    let (mut ran_in_all, mut refused_in_all) = (0, 0);
    for round in 0..ROUNDS {
        let mut server = Server::new();
        let start = Arc::new(Barrier::new(3));
        let spawners: Vec<_> = (0..2)
            .map(|_| {
                let (hub, start, home) = (server.hub.clone(), Arc::clone(&start), server.thread);
                thread::spawn(move || {
                    let (drops, ran) = (Drops::default(), Arc::new(AtomicUsize::new(0)));
                    start.wait();
                    let spawn_one = |n: usize| {
                        let (value, ran) = (drops.value(), Arc::clone(&ran));
                        hub.spawn(move || {
                            let _value = value;
                            assert_eq!(here(), home, "it ran on a hub that it was not spawned on");
                            ran.fetch_add(1, Ordering::Relaxed);
                            n
                        })
                    };
                    let greenlets: Vec<_> = (0..EACH).map(spawn_one).collect();
                    let mut refused = 0;
                    for (n, ended) in joinall(greenlets).into_iter().enumerate() {
                        match ended {
                            Ok(number) => assert_eq!(n, number),
                            Err(JoinError::HubEnded) => refused += 1,
                            Err(err) => panic!("{err}"),
                        }
                    }
                    let ran = ran.load(Ordering::Relaxed);
                    assert_eq!(ran + refused, EACH);
                    assert_eq!(drops.take().len(), EACH);
                    (ran, refused)
                })
            })
            .collect();
        start.wait();
        // And another hub takes the place at once.
        for _ in 0..round % 7 {
            thread::yield_now();
        }
        server.end();
        let next = Server::new();
        for spawner in spawners {
            let (ran, refused) = spawner.join().unwrap();
            ran_in_all += ran;
            refused_in_all += refused;
        }
        assert_eq!(next.hub.spawn(|| 7).join().unwrap(), 7);
        // What was on its way to the one before is not counted.
        until(|| next.hub.load() == 0);
    }
    assert!(ran_in_all > 0 && refused_in_all > 0, "no race: {ran_in_all} ran, {refused_in_all} did not");
}

#[test]
fn what_waits_when_its_hub_ends_is_told_to_those_who_join_it_elsewhere() {
    let mut server = Server::new();
    let waits = server.hub.spawn(|| sleep(LONG));
    // It has begun.
    server.hub.spawn(|| ()).join().unwrap();
    let other = Server::new();
    let joiner = other.hub.spawn(move || waits.join());
    server.end();
    assert!(matches!(joiner.join().unwrap(), Err(JoinError::HubEnded)));
}

#[test]
fn a_closure_that_its_hub_never_ran_may_wait_and_spawn_and_panic_in_its_destructor() {
    let name = "handle::a_closure_that_its_hub_never_ran_may_wait_and_spawn_and_panic_in_its_destructor";
    let ended = in_child(name, || {
        let other = Server::new();
        for _ in 0..50 {
            let mut server = Server::new();
            let blocked = Computes::on(&server.hub);
            let dropped = Arc::new(AtomicUsize::new(0));
            let left: Vec<_> = (0..4)
                .map(|n| {
                    let (hubs, counter) = ([server.hub.clone(), other.hub.clone()], Arc::clone(&dropped));
                    let value = OnDrop(move || {
                        sleep(MS);
                        assert!(hubs[0].spawn(|| ()).join().is_err());
                        hubs[1].spawn(|| ()).join().unwrap();
                        counter.fetch_add(1, Ordering::Relaxed);
                        assert!(n != 2, "a destructor that panics");
                    });
                    server.hub.spawn(move || {
                        let _value = value;
                        sleep(LONG);
                    })
                })
                .collect();
            // The thread ends as soon as main has its turn: what has not started by then never does.
            server.end.notify();
            drop(blocked);
            server.end();
            // Those that had started are leaked with their hub.
            let ended = joinall(left);
            assert!(ended.iter().all(|ended| matches!(ended, Err(JoinError::HubEnded))));
        }
        // A hub that has long ended.
        let mut server = Server::new();
        server.end();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dropped);
        let other = other.hub.clone();
        let value = OnDrop(move || {
            other.spawn(|| sleep(MS)).join().unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            panic!("a destructor that panics");
        });
        let refused = server.hub.spawn(move || drop(value));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        assert!(matches!(refused.join(), Err(JoinError::HubEnded)));
    });
    ended.check();
}

// ---- what is dropped where ----

#[test]
fn closure_and_result_are_dropped_once_each_and_where_they_belong() {
    let server = Server::new();
    let (closures, results) = (Drops::default(), Drops::default());
    let start = || {
        let (closure, results) = (closures.value(), results.clone());
        server.hub.spawn(move || {
            let _closure = closure;
            results.value()
        })
    };
    // Taken by a join: the result is the joiner's.
    drop(start().join().unwrap());
    assert_eq!((closures.take(), results.take()), (vec![server.thread], vec![here()]));
    // Let go of before it ran: its own hub drops it.
    let blocked = Computes::on(&server.hub);
    drop(start());
    drop(blocked);
    server.hub.spawn(|| ()).join().unwrap();
    assert_eq!((closures.take(), results.take()), (vec![server.thread], vec![server.thread]));
    // Let go of when it has ended: by whoever lets go.
    let ended = start();
    ended.wait();
    assert_eq!((closures.take(), results.take()), (vec![server.thread], vec![]));
    drop(ended);
    assert_eq!(results.take(), [here()]);
    // Killed before it ran: not by the killer.
    let blocked = Computes::on(&server.hub);
    let killed = start();
    killed.kill_nowait().unwrap();
    assert!(closures.take().is_empty());
    drop(blocked);
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    assert_eq!((closures.take(), results.take()), (vec![server.thread], vec![]));
}

#[test]
fn handles_that_are_let_go_of_while_it_ends_drop_the_result_once() {
    let server = Server::new();
    let results = Drops::default();
    for _ in 0..20_000 {
        let results = results.clone();
        let greenlet = server.hub.spawn(move || results.value());
        drop(greenlet);
    }
    server.hub.spawn(|| ()).join().unwrap();
    assert_eq!(results.take().len(), 20_000);
}

#[test]
fn a_panic_in_it_goes_to_whoever_joins_it() {
    let ended = in_child("handle::a_panic_in_it_goes_to_whoever_joins_it", || {
        let server = Server::new();
        let panics = server.hub.spawn(|| {
            yield_now();
            panic!("no more")
        });
        let payload: Box<dyn Any + Send> = match panics.join() {
            Err(JoinError::Panicked(payload)) => payload,
            Ok(()) | Err(_) => unreachable!("it panics"),
        };
        assert_eq!(payload.downcast_ref::<&str>().unwrap(), &"no more");
        // Nobody takes this one.
        drop(server.hub.spawn(|| panic!("nobody cares")));
        assert_eq!(server.hub.spawn(|| 1).join().unwrap(), 1);
    });
    ended.check();
    assert_eq!((ended.count("no more"), ended.count("nobody cares")), (1, 1), "{}", ended.stderr);
}

// ---- killed ----

#[test]
fn killed_from_another_hub_before_it_starts_it_never_runs() {
    let server = Server::new();
    for _ in 0..100 {
        let blocked = Computes::on(&server.hub);
        let ran = Arc::new(AtomicUsize::new(0));
        let victim = server.hub.spawn({
            let ran = Arc::clone(&ran);
            move || ran.fetch_add(1, Ordering::Relaxed)
        });
        victim.kill_nowait().unwrap();
        victim.kill_nowait().unwrap();
        drop(blocked);
        victim.kill().unwrap();
        assert!(victim.is_finished() && !victim.is_started());
        assert!(matches!(victim.join(), Err(JoinError::Killed)));
        assert_eq!(ran.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn killed_from_another_hub_while_it_waits_it_cleans_up_where_it_is() {
    let server = Server::new();
    let (begun, cleaned) = (Arc::new(WaitList::new()), Drops::default());
    let victim = server.hub.spawn({
        let (begun, value) = (Arc::clone(&begun), cleaned.value());
        move || {
            let _value = value;
            let _waits = OnDrop(|| sleep(2 * MS));
            shield(|| {
                begun.notify_all();
                sleep(MS);
            });
            sleep(LONG);
        }
    });
    while !victim.is_started() {
        begun.wait(Reason::new("the beginning"), Some(Instant::now() + MS), || victim.is_started());
    }
    let (took, ()) = timed(|| victim.kill().unwrap());
    assert!(took < HANG);
    assert_eq!(cleaned.take(), [server.thread]);
    assert!(matches!(victim.join(), Err(JoinError::Killed)));
}

#[test]
fn a_kill_that_races_with_the_start_ends_it_either_way() {
    const ROUNDS: usize = 20_000;
    let servers = [Server::new(), Server::new()];
    let (sender, receiver) = mpsc::channel::<greenlet_hub::Greenlet>();
    let killer = thread::spawn(move || {
        for greenlet in receiver {
            greenlet.kill_nowait().unwrap();
        }
    });
    let drops = Drops::default();
    let mut started = 0;
    for round in 0..ROUNDS {
        let value = drops.value();
        let victim = servers[round % 2].hub.spawn(move || {
            let _value = value;
            if round.is_multiple_of(3) {
                yield_now();
            }
            sleep(LONG);
        });
        sender.send(victim.greenlet().clone()).unwrap();
        started += usize::from(victim.is_started());
        assert!(matches!(victim.join(), Err(JoinError::Killed)), "round {round}");
    }
    drop(sender);
    killer.join().unwrap();
    assert_eq!(drops.take().len(), ROUNDS);
    assert!(started < ROUNDS);
}

// ---- what else belongs to a greenlet ----

#[test]
fn links_run_on_the_hub_of_whoever_made_them() {
    let server = Server::new();
    let trace = Trace::default();
    let blocked = Computes::on(&server.hub);
    let greenlet = server.hub.spawn(|| ());
    let home = here();
    for what in ["a", "b", "c"] {
        let trace = trace.clone();
        greenlet.link(move |greenlet| {
            assert_eq!(here(), home);
            assert!(greenlet.is_successful());
            trace.note(what);
        });
    }
    let elsewhere = Server::new();
    let linked_there = elsewhere.hub.spawn({
        let (greenlet, thread) = (greenlet.greenlet().clone(), elsewhere.thread);
        move || {
            let ran = std::rc::Rc::new(Cell::new(false));
            greenlet.link({
                let ran = std::rc::Rc::clone(&ran);
                move |_| {
                    assert_eq!(here(), thread);
                    ran.set(true);
                }
            });
            greenlet.wait();
            ran.get()
        }
    });
    // So that the link is there before the end.
    elsewhere.hub.spawn(|| ()).join().unwrap();
    drop(blocked);
    greenlet.join().unwrap();
    assert_eq!(trace.take(), "a b c");
    assert!(linked_there.join().unwrap());
}

#[test]
fn links_to_what_never_ran_run_as_well() {
    let trace = Trace::default();
    let noting = |what: &'static str| {
        let trace = trace.clone();
        move |greenlet: &greenlet_hub::Greenlet| {
            assert!(!greenlet.is_successful() && !greenlet.is_started());
            trace.note(what);
        }
    };
    let mut server = Server::new();
    let blocked = Computes::on(&server.hub);
    let (killed, ended) = (server.hub.spawn(|| ()), server.hub.spawn(|| ()));
    killed.kill_nowait().unwrap();
    killed.link(noting("killed"));
    drop(blocked);
    killed.wait();
    assert_eq!(trace.take(), "killed");
    drop(ended);
    server.end();
    let ended = server.hub.spawn(|| ());
    ended.link(noting("ended"));
    ended.wait();
    yield_now();
    assert_eq!(trace.take(), "ended");
}

inherited_local! {
    static REQUEST: u32 = 0;
}

local! {
    static OWN: Cell<u32> = Cell::new(0);
}

#[test]
fn it_inherits_from_its_spawner_but_has_locals_of_its_own() {
    let server = Server::new();
    let pool = HubPool::new(2).unwrap();
    let ask = || (*REQUEST.get(), OWN.get());
    let spawner = spawn(move || {
        REQUEST.set(7);
        OWN.set(7);
        let over_there = server.hub.spawn(move || {
            let first = ask();
            OWN.set(9);
            // On from there, back onto another hub.
            (first, Handle::current().spawn(ask).join().unwrap(), spawn(ask).join().unwrap())
        });
        let in_pool = pool.spawn(move || {
            let first = ask();
            REQUEST.set(8);
            let pool = HubPool::current().unwrap();
            (
                first,
                pool.spawn(ask).join().unwrap(),
                joinall(pool.each(ask)).into_iter().all(|it| it.unwrap() == (8, 0)),
            )
        });
        REQUEST.set(100);
        assert_eq!(over_there.join().unwrap(), ((7, 0), (7, 0), (7, 0)));
        assert_eq!(in_pool.join().unwrap(), ((7, 0), (8, 0), true));
        let each: Vec<_> = pool.each(ask).into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(each, [(100, 0), (100, 0)]);
        assert_eq!((*REQUEST.get(), OWN.get()), (100, 7));
        // From a thread without a hub nothing is inherited.
        let plain = thread::spawn({
            let hub = server.hub.clone();
            move || hub.spawn(ask)
        });
        assert_eq!(plain.join().unwrap().join().unwrap(), (0, 0));
    });
    spawner.join().unwrap();
}

#[test]
fn what_it_inherits_is_dropped_once_if_it_never_runs() {
    inherited_local! {
        static HELD: Option<Value> = None;
    }
    let drops = Drops::default();
    let mut server = Server::new();
    server.end();
    let spawner = spawn({
        let (drops, hub) = (drops.clone(), server.hub.clone());
        move || {
            HELD.set(Some(drops.value()));
            let refused = hub.spawn(|| ());
            HELD.set(None);
            assert_eq!(drops.take().len(), 1);
            refused
        }
    });
    assert!(spawner.join().unwrap().join().is_err());
}

#[test]
fn a_builder_names_it_and_the_place_is_the_callers() {
    let server = Server::new();
    let pool = HubPool::new(1).unwrap();
    let name = || current().name().map(str::to_owned);
    let line = Location::caller().line();
    let named = [
        Builder::new().name("over there").spawn_on(&server.hub, name),
        Builder::new().name("in the pool").spawn_in(&pool, name),
        Builder::new().name("here").spawn_on(&Handle::current(), name),
        Builder::new().spawn_on(&server.hub, name),
        server.hub.spawn(name),
        pool.spawn(name),
        pool.each(name).pop().unwrap(),
    ];
    for (greenlet, offset) in named.iter().zip(2..) {
        assert!(greenlet.spawned_at().file().ends_with("handle.rs"));
        assert_eq!(greenlet.spawned_at().line(), line + offset);
    }
    assert_eq!(named[1].name(), Some("in the pool"));
    let names = joinall(named).into_iter().map(Result::unwrap);
    let expected = [Some("over there"), Some("in the pool"), Some("here"), None, None, None, None];
    assert!(names.eq(expected.map(|name| name.map(String::from))));
}

#[test]
fn a_builder_sets_its_stack_wherever_it_runs() {
    fn deep(levels: usize) -> usize {
        let mut frame = [0_u8; 1024];
        std::hint::black_box(&mut frame);
        if levels == 0 { 0 } else { 1 + deep(levels - 1) }
    }
    let server = Server::new();
    let pool = HubPool::new(1).unwrap();
    let large = || Builder::new().stack_size(4 << 20);
    assert_eq!(large().spawn_on(&server.hub, || deep(1500)).join().unwrap(), 1500);
    assert_eq!(large().spawn_in(&pool, || deep(1500)).join().unwrap(), 1500);
    let impossible = Builder::new().stack_size(usize::MAX / 2).spawn_on(&server.hub, || ()).join();
    assert!(matches!(impossible, Err(JoinError::NoStack(_))), "{impossible:?}");
    let impossible = Builder::new().stack_size(usize::MAX / 2).spawn_in(&pool, || ()).join();
    assert!(matches!(impossible, Err(JoinError::NoStack(_))), "{impossible:?}");
}

// ---- the load ----

#[test]
fn the_load_counts_those_that_have_started_and_those_on_their_way() {
    let server = Server::new();
    assert_eq!(server.hub.load(), 0);
    let waiting: Vec<_> = (0..5).map(|_| server.hub.spawn(|| sleep(LONG))).collect();
    server.hub.spawn(|| ()).join().unwrap();
    until(|| server.hub.load() == 5);
    // One that computes is a load too, and so are those that wait behind it.
    let blocked = Computes::on(&server.hub);
    assert_eq!(server.hub.load(), 6);
    let behind: Vec<_> = (0..3).map(|_| server.hub.spawn(|| ())).collect();
    assert_eq!(server.hub.load(), 9);
    drop(blocked);
    joinall(behind).into_iter().for_each(Result::unwrap);
    greenlet_hub::killall(&waiting, None).unwrap();
    until(|| server.hub.load() == 0);
}

// Those were not counted from the hub's look at them to their start: a hub with a long queue seemed to be idle.
#[test]
fn the_load_counts_those_that_the_hub_has_seen_and_not_started() {
    let server = Server::new();
    let blocked = Computes::on(&server.hub);
    let (sender, begun) = mpsc::channel();
    let go_on = Arc::new(AtomicBool::new(false));
    let first = server.hub.spawn({
        let go_on = Arc::clone(&go_on);
        move || {
            sender.send(()).unwrap();
            while !go_on.load(Ordering::Acquire) {
                thread::yield_now();
            }
        }
    });
    let behind: Vec<_> = (0..3).map(|_| server.hub.spawn(|| ())).collect();
    let killed = server.hub.spawn(|| ());
    drop(blocked);
    begun.recv().unwrap();
    let load = server.hub.load();
    killed.kill_nowait().unwrap();
    go_on.store(true, Ordering::Release);
    assert_eq!(load, 5);
    first.join().unwrap();
    joinall(behind).into_iter().for_each(Result::unwrap);
    assert!(matches!(killed.join(), Err(JoinError::Killed)));
    until(|| server.hub.load() == 0);
}

#[test]
fn a_greenlet_is_part_of_its_own_hubs_load() {
    let greenlet = spawn(|| Handle::current().load());
    assert_eq!(greenlet.join().unwrap(), 1);
    assert_eq!(Handle::current().load(), 0);
    let greenlets: Vec<_> = (0..3).map(|_| spawn(|| sleep(MS))).collect();
    yield_now();
    assert_eq!(Handle::current().load(), 3);
    joinall(greenlets).into_iter().for_each(Result::unwrap);
    assert_eq!(Handle::current().load(), 0);
}

#[test]
fn the_least_loaded_hub_of_a_pool_is_not_the_one_that_computes() {
    let pool = HubPool::new(2).unwrap();
    let computes = Computes::on(&pool.handles()[0]);
    let idle = pool.handles().iter().min_by_key(|hub| hub.load()).unwrap();
    assert_eq!(*idle, pool.handles()[1], "{:?}", pool.handles().iter().map(Handle::load).collect::<Vec<_>>());
    // Also the last of them, should they be the same.
    let idle = pool.handles().iter().rev().min_by_key(|hub| hub.load()).unwrap();
    assert_eq!(*idle, pool.handles()[1]);
    drop(computes);
}
