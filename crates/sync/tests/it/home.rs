//! What is not `Send` is run and dropped on its hub's thread, whoever ends what from where.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};

use greenlet_hub::{Greenlet, JoinError, yield_now};
use greenlet_sync::{AsyncResult, Event, Group, Pool, Reply, actor, generator};

/// Counts where it is dropped; it is not `Send`, for it shares an `Rc`.
struct Homely {
    home: ThreadId,
    _stays: Rc<()>,
    at_home: Arc<AtomicUsize>,
    abroad: Arc<AtomicUsize>,
}

#[derive(Clone, Default)]
struct Drops {
    at_home: Arc<AtomicUsize>,
    abroad: Arc<AtomicUsize>,
}

impl Drops {
    fn homely(&self) -> Homely {
        let Drops { at_home, abroad } = self.clone();
        Homely { home: thread::current().id(), _stays: Rc::new(()), at_home, abroad }
    }

    /// So many were dropped, and none elsewhere.
    fn are(&self, count: usize) {
        assert_eq!(self.abroad.load(Ordering::SeqCst), 0, "dropped on another thread");
        assert_eq!(self.at_home.load(Ordering::SeqCst), count);
    }
}

impl Homely {
    fn is_at_home(&self) {
        assert_eq!(self.home, thread::current().id());
    }
}

impl Drop for Homely {
    fn drop(&mut self) {
        let count = if self.home == thread::current().id() { &self.at_home } else { &self.abroad };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// Kills it from another thread, and waits there until it has ended.
fn kill_from_afar(greenlet: &Greenlet) {
    let greenlet = greenlet.clone();
    let killer = thread::spawn(move || greenlet.kill().unwrap());
    // It runs meanwhile, to unwind here.
    while !killer.is_finished() {
        yield_now();
    }
    killer.join().unwrap();
}

#[test]
fn on_done_is_called_at_home_when_another_thread_sets_the_result() {
    let drops = Drops::default();
    let result = AsyncResult::<u32, ()>::new();
    let homely = drops.homely();
    let call = result.on_done(move |value| {
        homely.is_at_home();
        assert_eq!(*value, Ok(7));
    });
    yield_now();
    thread::spawn({
        let result = result.clone();
        move || result.set(7)
    })
    .join()
    .unwrap();
    call.join().unwrap();
    drops.are(1);
}

#[test]
fn on_done_that_is_killed_from_elsewhere_is_dropped_at_home() {
    let drops = Drops::default();
    let result = AsyncResult::<u32, ()>::new();
    for starts in [false, true] {
        let homely = drops.homely();
        let call = result.on_done(move |_| homely.is_at_home());
        if starts {
            yield_now();
        }
        kill_from_afar(call.greenlet());
        assert!(matches!(call.join(), Err(JoinError::Killed)));
        drops.are(1 + usize::from(starts));
    }
    // The last handle of the result is let go of elsewhere.
    let homely = drops.homely();
    let call = result.on_done(move |_| homely.is_at_home());
    thread::spawn(move || result.set(1)).join().unwrap();
    call.join().unwrap();
    drops.are(3);
}

#[test]
fn members_of_groups_and_pools_are_run_and_dropped_at_home() {
    let drops = Drops::default();
    let (group, pool, gate) = (Arc::new(Group::new()), Pool::new(4), Arc::new(Event::new()));
    for started in [false, true] {
        for _ in 0..2 {
            let (homely, event) = (drops.homely(), Arc::clone(&gate));
            drop(group.spawn(move || {
                event.wait();
                homely.is_at_home();
                // The result of one that nobody joins.
                homely
            }));
            let (homely, event) = (drops.homely(), Arc::clone(&gate));
            drop(pool.spawn(move || {
                event.wait();
                homely.is_at_home();
                homely
            }));
        }
        if !started {
            // All of them are killed from another thread before they have run.
            let (group, pool) = (Arc::clone(&group), pool.clone());
            let killer = thread::spawn(move || {
                group.kill().unwrap();
                pool.kill().unwrap();
            });
            while !killer.is_finished() {
                yield_now();
            }
            killer.join().unwrap();
            drops.are(4);
        }
    }
    yield_now();
    // They are let go on from another thread.
    thread::spawn(move || gate.set()).join().unwrap();
    group.join();
    pool.join();
    drops.are(8);
}

#[test]
fn what_is_mapped_by_a_pool_stays_at_home() {
    let drops = Drops::default();
    let pool = Pool::new(2);
    let function = drops.homely();
    let input: Vec<_> = (0..5).map(|_| drops.homely()).collect();
    let mapped = pool.map(input, move |homely| {
        function.is_at_home();
        homely.is_at_home();
        yield_now();
        homely
    });
    assert_eq!(mapped.len(), 5);
    drop(mapped);
    drops.are(6);
    let function = drops.homely();
    let mut some = pool.imap(std::iter::repeat_with(|| ()), 2, move |()| function.is_at_home());
    assert!(some.next().is_some());
    drop(some);
    pool.join();
    drops.are(7);
}

#[test]
fn a_generators_values_and_body_are_dropped_at_home() {
    let drops = Drops::default();
    let body = drops.homely();
    let mut homelies = generator({
        let drops = drops.clone();
        move |y| {
            loop {
                body.is_at_home();
                y.put(drops.homely());
            }
        }
    });
    homelies.next().unwrap().is_at_home();
    drops.are(1);
    drop(homelies);
    // The body is killed; it unwinds when it is its turn.
    yield_now();
    drops.are(2);
}

#[test]
fn an_actors_handler_is_dropped_at_home_when_its_last_handle_goes_elsewhere() {
    let drops = Drops::default();
    let homely = drops.homely();
    let asked = actor(move |reply: Reply<u32>| {
        homely.is_at_home();
        reply.send(7);
    });
    let greenlet = asked.greenlet().clone();
    let elsewhere = thread::spawn(move || asked.ask(|reply| reply));
    greenlet.wait();
    assert_eq!(elsewhere.join().unwrap(), Ok(7));
    drops.are(1);

    let homely = drops.homely();
    let killed = actor(move |_: ()| homely.is_at_home());
    killed.tell(()).unwrap();
    yield_now();
    kill_from_afar(killed.greenlet());
    drops.are(2);
}
