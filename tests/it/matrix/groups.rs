//! Groups and pools, generators, actors, and results as they come.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use greenlet::sync::{
    Actor, Event, Generator, Group, Pool, Reply, actor, as_completed, as_completed_timeout, generator,
};
use greenlet::{JoinHandle, shield, spawn, yield_now};

use super::row::{Call, done, done_or_not, row, text};

/// A group, or a pool that it fills, of a member that waits for a gate.
struct Busy<G> {
    members: G,
    gate: Rc<Event>,
    member: JoinHandle<()>,
}

impl<G> Busy<G> {
    fn new(members: G, spawn: fn(&G, Rc<Event>) -> JoinHandle<()>) -> Busy<G> {
        let gate = Rc::new(Event::new());
        let member = spawn(&members, Rc::clone(&gate));
        yield_now();
        Busy { members, gate, member }
    }

    fn open(&self) {
        self.gate.set();
    }

    fn kill(&self) {
        self.member.greenlet().kill_nowait().expect("it can be killed");
    }
}

fn group() -> Busy<Group> {
    Busy::new(Group::new(), |group, gate| group.spawn(move || gate.wait()))
}

fn resisting_group() -> Busy<Group> {
    Busy::new(Group::new(), |group, gate| group.spawn(move || shield(|| gate.wait())))
}

fn pool() -> Busy<Pool> {
    Busy::new(Pool::new(1), |pool, gate| pool.spawn(move || gate.wait()))
}

fn resisting_pool() -> Busy<Pool> {
    Busy::new(Pool::new(1), |pool, gate| pool.spawn(move || shield(|| gate.wait())))
}

/// A member that keeps its slot.
fn for_ever() {
    Event::new().wait();
}

/// A generator that puts its number whenever its gate opens.
struct Numbers {
    numbers: RefCell<Generator<u8>>,
    gate: Rc<Event>,
    ends: Rc<Cell<bool>>,
}

impl Numbers {
    fn new() -> Numbers {
        let (gate, ends) = (Rc::new(Event::new()), Rc::new(Cell::new(false)));
        let numbers = generator({
            let (gate, ends) = (Rc::clone(&gate), Rc::clone(&ends));
            move |y| {
                loop {
                    gate.wait();
                    if ends.get() {
                        break;
                    }
                    y.put(7);
                }
            }
        });
        Numbers { numbers: RefCell::new(numbers), gate, ends }
    }
}

/// An actor that answers when its gate is open.
fn slow_actor() -> (Rc<Event>, Actor<Reply<u8>>) {
    let gate = Rc::new(Event::new());
    let slow = actor({
        let gate = Rc::clone(&gate);
        move |reply: Reply<u8>| {
            gate.wait();
            reply.send(7);
        }
    });
    (gate, slow)
}

pub(super) fn rows() -> Vec<Call> {
    vec![
        row("Group::join", group, |it| done!(it.members.join()))
            .timed(|it, limit| done_or_not(it.members.join_timeout(limit)), "gave up")
            .ready(Busy::open, "done")
            .dies("the member is killed", Busy::kill, "done")
            .done(),
        row("Group::kill", resisting_group, |it| text(it.members.kill().map(|()| true)))
            .timed(|it, limit| text(it.members.kill_timeout(limit)), "Ok(false)")
            .ready(Busy::open, "Ok(true)")
            .done(),
        row("Pool::spawn", pool, |it| done!(it.members.spawn(for_ever)))
            .timed(|it, limit| done_or_not(it.members.spawn_timeout(limit, for_ever).is_ok()), "gave up")
            .ready(Busy::open, "done")
            .dies("the member is killed", Busy::kill, "done")
            .for_one()
            .done(),
        row("Pool::wait_available", pool, |it| done!(it.members.wait_available()))
            .timed(|it, limit| done_or_not(it.members.wait_available_timeout(limit)), "gave up")
            .ready(Busy::open, "done")
            .dies("the member is killed", Busy::kill, "done")
            .done(),
        row("Pool::join", pool, |it| done!(it.members.join()))
            .timed(|it, limit| done_or_not(it.members.join_timeout(limit)), "gave up")
            .ready(Busy::open, "done")
            .dies("the member is killed", Busy::kill, "done")
            .done(),
        row("Pool::kill", resisting_pool, |it| text(it.members.kill().map(|()| true)))
            .timed(|it, limit| text(it.members.kill_timeout(limit)), "Ok(false)")
            .ready(Busy::open, "Ok(true)")
            .done(),
        row("Pool::apply", pool, |it| text(it.members.apply(|| 7)))
            .ready(Busy::open, "Ok(7)")
            .dies("the member is killed", Busy::kill, "Ok(7)")
            .switches()
            .done(),
        row("Pool::map", pool, |it| text(it.members.map([1], |n| n + 6)))
            .ready(Busy::open, "[Ok(7)]")
            .dies("the member is killed", Busy::kill, "[Ok(7)]")
            .switches()
            .done(),
        row("Pool::imap", pool, |it| text(it.members.imap([1], 1, |n| n + 6).next()))
            .ready(Busy::open, "Some(Ok(7))")
            .dies("the member is killed", Busy::kill, "Some(Ok(7))")
            .switches()
            .done(),
        row("Generator::next", Numbers::new, |it| text(it.numbers.borrow_mut().next()))
            .ready(|it| it.gate.set(), "Some(7)")
            .dies(
                "the body returns",
                |it| {
                    it.ends.set(true);
                    it.gate.set();
                },
                "None",
            )
            .switches()
            .done(),
        row("Actor::ask", slow_actor, |(_, slow)| text(slow.ask(|reply| reply)))
            .timed(|(_, slow), limit| text(slow.ask_timeout(|reply| reply, limit)), "Err(TimedOut)")
            .ready(|(gate, _)| gate.set(), "Ok(7)")
            .dies("the actor is killed", |(_, slow)| slow.greenlet().kill_nowait().unwrap(), "Err(Ended)")
            .switches()
            .done(),
        row("as_completed", waiting, |(gate, _)| {
            let gate = Rc::clone(gate);
            text(as_completed([spawn(move || gate.wait())]).next())
        })
        .timed(
            |(gate, _), limit| {
                let gate = Rc::clone(gate);
                text(as_completed_timeout([spawn(move || gate.wait())], limit).next())
            },
            "None",
        )
        .ready(|(gate, _)| gate.set(), "Some(Ok(()))")
        .switches()
        .done(),
        row("as_completed of one who is killed", waiting, |(_, handle)| {
            text(as_completed(handle.take()).next().map(|joined| joined.is_ok()))
        })
        .ready(|(gate, _)| gate.set(), "Some(true)")
        .once()
        .done(),
    ]
}

type Waiting = (Rc<Event>, RefCell<Option<JoinHandle<()>>>);

fn waiting() -> Waiting {
    let gate = Rc::new(Event::new());
    let handle = spawn({
        let gate = Rc::clone(&gate);
        move || gate.wait()
    });
    (gate, RefCell::new(Some(handle)))
}
