//! The hub's own calls.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet::hub::{Reason, WaitList};
use greenlet::sync::Event;
use greenlet::{
    JoinHandle, Waitable, iwait, joinall, killall, scope, shield, sleep, sleep_until, spawn, task_group, wait,
    wait_readable, wait_readable_timeout, wait_writable, wait_writable_timeout, yield_now,
};

use super::row::{Call, done, done_or_not, row, text};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// A greenlet that waits for an event, and what happens to it.
struct Waiting {
    gate: Rc<Event>,
    handle: RefCell<Option<JoinHandle<u8>>>,
}

impl Waiting {
    fn new() -> Waiting {
        Waiting::in_which(Event::wait)
    }

    /// One that cannot be killed.
    fn resisting() -> Waiting {
        Waiting::in_which(|gate| shield(|| gate.wait()))
    }

    fn in_which(wait: fn(&Event)) -> Waiting {
        let gate = Rc::new(Event::new());
        let handle = spawn({
            let gate = Rc::clone(&gate);
            move || {
                wait(&gate);
                7
            }
        });
        yield_now();
        Waiting { gate, handle: RefCell::new(Some(handle)) }
    }

    fn greenlet(&self) -> greenlet::Greenlet {
        self.handle.borrow().as_ref().expect("it was not joined").greenlet().clone()
    }

    fn take(&self) -> JoinHandle<u8> {
        self.handle.take().expect("it is joined once")
    }

    fn open(&self) {
        self.gate.set();
    }

    fn kill(&self) {
        self.greenlet().kill_nowait().expect("it can be killed");
    }
}

/// A descriptor, and that of its peer.
struct Pair {
    ours: UnixStream,
    theirs: RefCell<Option<UnixStream>>,
}

impl Pair {
    fn new() -> Pair {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        Pair { ours, theirs: RefCell::new(Some(theirs)) }
    }

    fn full() -> Pair {
        let pair = Pair::new();
        while (&pair.ours).write(&[0; 4096]).is_ok() {}
        pair
    }

    /// Makes ours readable.
    fn send(&self) {
        let theirs = self.theirs.borrow();
        let _ = theirs.as_ref().expect("it is open").write(b"x").expect("there is room");
    }

    /// Makes ours writable.
    fn drain(&self) {
        let theirs = self.theirs.borrow();
        let mut theirs = theirs.as_ref().expect("it is open");
        while theirs.read(&mut [0; 65536]).is_ok() {}
    }

    fn close(&self) {
        self.theirs.take();
    }
}

pub(super) fn rows() -> Vec<Call> {
    vec![
        row("sleep", || (), |()| done!(sleep(LONG))).timed(|(), limit| done!(sleep(limit)), "done").once().done(),
        row("sleep_until", || (), |()| done!(sleep_until(Instant::now() + LONG)))
            .timed(|(), limit| done!(sleep_until(Instant::now() + limit)), "done")
            .once()
            .done(),
        row("JoinHandle::join", Waiting::new, |it| text(it.take().join()))
            .timed(
                |it, limit| match it.take().join_timeout(limit) {
                    Ok(joined) => text(joined),
                    Err(handle) => {
                        *it.handle.borrow_mut() = Some(handle);
                        "gave up".into()
                    }
                },
                "gave up",
            )
            .ready(Waiting::open, "Ok(7)")
            .once()
            .done(),
        row("Greenlet::wait", Waiting::new, |it| done!(it.greenlet().wait()))
            .timed(|it, limit| done_or_not(it.greenlet().wait_timeout(limit)), "gave up")
            .ready(Waiting::open, "done")
            .dies("killed", Waiting::kill, "done")
            .done(),
        row("joinall", Waiting::new, |it| text(joinall([it.take()]))).ready(Waiting::open, "[Ok(7)]").once().done(),
        row("Greenlet::kill", Waiting::resisting, |it| text(it.greenlet().kill().map(|()| true)))
            .timed(|it, limit| text(it.greenlet().kill_timeout(limit)), "Ok(false)")
            .ready(Waiting::open, "Ok(true)")
            .done(),
        row("killall", Waiting::resisting, |it| text(killall([it.greenlet()], None)))
            .timed(|it, limit| text(killall([it.greenlet()], Some(limit))), "Ok(false)")
            .ready(Waiting::open, "Ok(true)")
            .done(),
        row("wait", Waiting::new, |it| {
            let (greenlet, never) = (it.greenlet(), Event::new());
            text(wait(&[&never, &greenlet], Some(1), None))
        })
        .timed(
            |it, limit| {
                let (greenlet, never) = (it.greenlet(), Event::new());
                text(wait(&[&never, &greenlet], Some(1), Some(limit)))
            },
            "[]",
        )
        .ready(Waiting::open, "[1]")
        .dies("killed", Waiting::kill, "[1]")
        .done(),
        row("iwait", Waiting::new, |it| {
            let greenlet = it.greenlet();
            text(iwait(&[&greenlet as &dyn Waitable], None, None).collect::<Vec<_>>())
        })
        .timed(
            |it, limit| {
                let greenlet = it.greenlet();
                text(iwait(&[&greenlet as &dyn Waitable], None, Some(limit)).collect::<Vec<_>>())
            },
            "[]",
        )
        .ready(Waiting::open, "[0]")
        .dies("killed", Waiting::kill, "[0]")
        .done(),
        row("scope", Event::new, |gate| done!(scope(|s| drop(s.spawn(|| gate.wait())))))
            .ready(Event::set, "done")
            .switches()
            .done(),
        row("ScopedJoinHandle::join", Event::new, |gate| text(scope(|s| s.spawn(|| gate.wait()).join())))
            .timed(
                |gate, limit| {
                    scope(|s| match s.spawn(|| gate.wait()).join_timeout(limit) {
                        Ok(joined) => text(joined),
                        Err(handle) => {
                            handle.kill().expect("it can be killed");
                            "gave up".into()
                        }
                    })
                },
                "gave up",
            )
            .ready(Event::set, "Ok(())")
            .switches()
            .done(),
        row("task_group", Event::new, |gate| {
            text(task_group(|group| {
                group.spawn(|| {
                    gate.wait();
                    Ok::<_, ()>(())
                });
                Ok(7)
            }))
        })
        .ready(Event::set, "Ok(7)")
        .switches()
        .done(),
        row(
            "WaitList::wait",
            || (WaitList::new(), Cell::new(false)),
            |(list, open)| done!(list.wait(Reason::new("a test"), None, || open.get())),
        )
        .timed(
            |(list, open), limit| {
                // As a primitive does: what is there need not be waited for.
                let notified =
                    open.get() || list.wait(Reason::new("a test"), Some(Instant::now() + limit), || open.get());
                done_or_not(notified)
            },
            "gave up",
        )
        .ready(
            |(list, open)| {
                open.set(true);
                list.notify_all();
            },
            "done",
        )
        .switches()
        .done(),
        row("wait_readable", Pair::new, |pair| text(wait_readable(pair.ours.as_fd()).map(|()| true)))
            .timed(|pair, limit| text(wait_readable_timeout(pair.ours.as_fd(), limit)), "Ok(false)")
            .ready(Pair::send, "Ok(true)")
            .dies("closed", Pair::close, "Ok(true)")
            .switches()
            .done(),
        row("wait_writable", Pair::full, |pair| text(wait_writable(pair.ours.as_fd()).map(|()| true)))
            .timed(|pair, limit| text(wait_writable_timeout(pair.ours.as_fd(), limit)), "Ok(false)")
            .ready(Pair::drain, "Ok(true)")
            .dies("closed", Pair::close, "Ok(true)")
            .switches()
            .done(),
    ]
}
