//! Events, semaphores, locks, and what else lets one wait for another.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet::sync::{
    AsyncResult, Barrier, BoundedSemaphore, Condition, Event, Failure, Lock, Once, OnceCell, RLock, RwLock, Semaphore,
};
use greenlet::{JoinHandle, spawn, yield_now};

use super::row::{Call, done, done_or_not, row, text};

/// Something that a greenlet holds until it is told to let go, or is killed.
struct Held<L> {
    thing: Rc<L>,
    let_go: Rc<Event>,
    holder: JoinHandle<()>,
}

impl<L: Default + 'static> Held<L> {
    /// `hold` holds it while it waits for the event.
    fn by(hold: fn(&L, &Event)) -> Held<L> {
        let (thing, let_go) = (Rc::new(L::default()), Rc::new(Event::new()));
        let holder = spawn({
            let (thing, let_go) = (Rc::clone(&thing), Rc::clone(&let_go));
            move || hold(&thing, &let_go)
        });
        yield_now();
        Held { thing, let_go, holder }
    }

    fn let_go(&self) {
        self.let_go.set();
    }

    fn kill(&self) {
        self.holder.greenlet().kill_nowait().expect("it can be killed");
    }
}

fn held_lock() -> Held<Lock<u8>> {
    Held::by(|lock, let_go| {
        let _guard = lock.lock();
        let_go.wait();
    })
}

fn held_rlock() -> Held<RLock<u8>> {
    Held::by(|lock, let_go| {
        let _guard = lock.lock();
        let_go.wait();
    })
}

fn written() -> Held<RwLock<u8>> {
    Held::by(|lock, let_go| {
        let _guard = lock.write();
        let_go.wait();
    })
}

fn read() -> Held<RwLock<u8>> {
    Held::by(|lock, let_go| {
        let _guard = lock.read();
        let_go.wait();
    })
}

/// What is held for good by whoever gets it, so that nobody else does.
fn keep<T>(guard: T) -> String {
    std::mem::forget(guard);
    "kept".into()
}

fn keep_or_not<T>(guard: Option<T>) -> String {
    guard.map_or("gave up".into(), keep)
}

/// A condition, and a number of things under its lock.
#[derive(Default)]
struct Counted {
    things: Lock<u8>,
    changed: Condition,
}

impl Counted {
    fn add(&self) {
        *self.things.try_lock().expect("nobody holds it over a switch") += 1;
        self.changed.notify_one();
    }

    fn take(&self) -> String {
        let mut things = self.changed.wait_for(self.things.lock(), |things| *things > 0);
        *things -= 1;
        "done".into()
    }

    fn take_timeout(&self, limit: Duration) -> String {
        let (mut things, reached) = self.changed.wait_for_timeout(self.things.lock(), |things| *things > 0, limit);
        *things -= u8::from(reached);
        done_or_not(reached)
    }
}

/// A cell whose value a greenlet makes.
struct Making {
    cell: Rc<OnceCell<&'static str>>,
    made: Rc<Event>,
    maker: JoinHandle<()>,
}

impl Making {
    fn new() -> Making {
        let (cell, made) = (Rc::new(OnceCell::new()), Rc::new(Event::new()));
        let maker = spawn({
            let (cell, made) = (Rc::clone(&cell), Rc::clone(&made));
            move || {
                cell.get_or_init(|| {
                    made.wait();
                    "theirs"
                });
            }
        });
        yield_now();
        Making { cell, made, maker }
    }
}

pub(super) fn rows() -> Vec<Call> {
    vec![
        row("Event::wait", Event::new, |event| done!(event.wait()))
            .timed(|event, limit| done_or_not(event.wait_timeout(limit)), "gave up")
            .ready(Event::set, "done")
            .done(),
        row("AsyncResult::get", AsyncResult::<u8, ()>::new, |result| text(Some(result.get())))
            .timed(|result, limit| text(result.get_timeout(limit)), "None")
            .ready(|result| result.set(7), "Some(Ok(7))")
            .dies("an error is set", |result| result.set_error(()), "Some(Err(()))")
            .done(),
        row(
            "AsyncResult::get of a greenlet",
            || {
                let gate = Rc::new(Event::new());
                let handle = spawn({
                    let gate = Rc::clone(&gate);
                    move || gate.wait()
                });
                let greenlet = handle.greenlet().clone();
                (gate, greenlet, AsyncResult::of(handle))
            },
            |(_, _, result)| {
                let got: Result<(), Failure> = result.get();
                text(Some(got.map_err(|_| "killed")))
            },
        )
        .timed(|(_, _, result), limit| text(result.get_timeout(limit).map(|got| got.map_err(|_| "killed"))), "None")
        .ready(|(gate, ..)| gate.set(), "Some(Ok(()))")
        .dies("killed", |(_, greenlet, _)| greenlet.kill_nowait().unwrap(), "Some(Err(\"killed\"))")
        .done(),
        row("AsyncResult::wait", AsyncResult::<u8, ()>::new, |result| done!(result.wait()))
            .timed(|result, limit| done_or_not(result.wait_timeout(limit)), "gave up")
            .ready(|result| result.set(7), "done")
            .dies("an error is set", |result| result.set_error(()), "done")
            .done(),
        row("Semaphore::acquire", || Semaphore::new(0), |semaphore| keep(semaphore.acquire()))
            .timed(|semaphore, limit| keep_or_not(semaphore.acquire_timeout(limit)), "gave up")
            .ready(Semaphore::release, "kept")
            .for_one()
            .done(),
        row("Semaphore::acquire_owned", || Arc::new(Semaphore::new(0)), |it| keep(it.acquire_owned()))
            .timed(|semaphore, limit| keep_or_not(semaphore.acquire_owned_timeout(limit)), "gave up")
            .ready(|semaphore| semaphore.release(), "kept")
            .for_one()
            .done(),
        row("Semaphore::wait", || Semaphore::new(0), |semaphore| done!(semaphore.wait()))
            .timed(|semaphore, limit| done_or_not(semaphore.wait_timeout(limit)), "gave up")
            .ready(Semaphore::release, "done")
            .done(),
        row("Semaphore::acquire of one who is killed", held_semaphore, |it| keep(it.thing.0.acquire()))
            .timed(|it, limit| keep_or_not(it.thing.0.acquire_timeout(limit)), "gave up")
            .ready(Held::let_go, "kept")
            .dies("the holder is killed", Held::kill, "kept")
            .for_one()
            .done(),
        row("BoundedSemaphore::acquire", taken, |semaphore| keep(semaphore.acquire()))
            .timed(|semaphore, limit| keep_or_not(semaphore.acquire_timeout(limit)), "gave up")
            .ready(|semaphore| semaphore.release().unwrap(), "kept")
            .for_one()
            .done(),
        row("BoundedSemaphore::wait", taken, |semaphore| done!(semaphore.wait()))
            .timed(|semaphore, limit| done_or_not(semaphore.wait_timeout(limit)), "gave up")
            .ready(|semaphore| semaphore.release().unwrap(), "done")
            .done(),
        row("Lock::lock", held_lock, |it| keep(it.thing.lock()))
            .timed(|it, limit| keep_or_not(it.thing.lock_timeout(limit)), "gave up")
            .ready(Held::let_go, "kept")
            .dies("the holder is killed", Held::kill, "kept")
            .for_one()
            .done(),
        row("RLock::lock", held_rlock, |it| keep(it.thing.lock()))
            .timed(|it, limit| keep_or_not(it.thing.lock_timeout(limit)), "gave up")
            .ready(Held::let_go, "kept")
            .dies("the holder is killed", Held::kill, "kept")
            .for_one()
            .done(),
        row("RLock::acquire", held_rlock, |it| done!(it.thing.acquire()))
            .ready(Held::let_go, "done")
            .dies("the holder is killed", Held::kill, "done")
            .for_one()
            .done(),
        row("RwLock::read", written, |it| keep(it.thing.read()))
            .timed(|it, limit| keep_or_not(it.thing.read_timeout(limit)), "gave up")
            .ready(Held::let_go, "kept")
            .dies("the writer is killed", Held::kill, "kept")
            .done(),
        row("RwLock::write", written, |it| keep(it.thing.write()))
            .timed(|it, limit| keep_or_not(it.thing.write_timeout(limit)), "gave up")
            .ready(Held::let_go, "kept")
            .dies("the writer is killed", Held::kill, "kept")
            .for_one()
            .done(),
        row("RwLock::write while it is read", read, |it| keep(it.thing.write()))
            .timed(|it, limit| keep_or_not(it.thing.write_timeout(limit)), "gave up")
            .ready(Held::let_go, "kept")
            .dies("the reader is killed", Held::kill, "kept")
            .for_one()
            .done(),
        row("Condition::wait", Counted::default, |it| done!(drop(it.changed.wait(it.things.lock()))))
            .timed(|it, limit| done_or_not(it.changed.wait_timeout(it.things.lock(), limit).1), "gave up")
            .ready(|it| assert!(it.changed.notify_one()), "done")
            .never_ready_before()
            .for_one()
            .done(),
        row("Condition::wait_for", Counted::default, Counted::take)
            .timed(Counted::take_timeout, "gave up")
            .ready(Counted::add, "done")
            .for_one()
            .done(),
        row("Condition::wait that is to get the lock again", locked_condition, |it| {
            done!(drop(it.thing.changed.wait(it.thing.things.lock())))
        })
        .ready(
            |it| {
                it.thing.changed.notify_one();
                it.let_go();
            },
            "done",
        )
        .dies(
            "the holder is killed",
            |it| {
                it.thing.changed.notify_one();
                it.kill();
            },
            "done",
        )
        .never_ready_before()
        .once()
        .done(),
        row("Barrier::wait", || Rc::new(Barrier::new(2)), |barrier| done!(barrier.wait()))
            .timed(|barrier, limit| done_or_not(barrier.wait_timeout(limit).is_some()), "gave up")
            .ready(
                |barrier| {
                    let barrier = Rc::clone(barrier);
                    drop(spawn(move || barrier.wait()));
                },
                "done",
            )
            .done(),
        row("OnceCell::get_or_init", Making::new, |it| (*it.cell.get_or_init(|| "ours")).into())
            .ready(|it| it.made.set(), "theirs")
            .dies("the maker is killed", |it| it.maker.greenlet().kill_nowait().unwrap(), "ours")
            .done(),
        row("Once::call_once", calling, |it| {
            let called = Cell::new("by another");
            it.thing.call_once(|| called.set("by us"));
            called.get().into()
        })
        .ready(Held::let_go, "by another")
        .dies("the caller is killed", Held::kill, "by us")
        .done(),
    ]
}

fn taken() -> BoundedSemaphore {
    let semaphore = BoundedSemaphore::new(1);
    semaphore.acquire().forget();
    semaphore
}

/// One permit.
struct One(Semaphore);

impl Default for One {
    fn default() -> One {
        One(Semaphore::new(1))
    }
}

fn held_semaphore() -> Held<One> {
    Held::by(|one, let_go| {
        let _permit = one.0.acquire();
        let_go.wait();
    })
}

/// Somebody takes the lock as soon as one waits for the condition.
fn locked_condition() -> Held<Counted> {
    Held::by(|it, let_go| {
        yield_now();
        yield_now();
        let _guard = it.things.lock();
        let_go.wait();
    })
}

fn calling() -> Held<Once> {
    Held::by(|once, let_go| once.call_once(|| let_go.wait()))
}
