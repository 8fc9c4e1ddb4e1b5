//! The description of one waiting call, and a scene in which it is made.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A call with a timeout of its own.
type Timed<S> = fn(&S, Duration) -> String;

/// What happens to a scene.
type Act<S> = fn(&S);

/// One waiting call: how it comes to wait, what ends the wait, and what it gives then.
pub(crate) struct Row<S> {
    name: &'static str,
    make: fn() -> S,
    call: fn(&S) -> String,
    timed: Option<(Timed<S>, &'static str)>,
    ready: Option<(Act<S>, &'static str)>,
    deaths: Vec<(&'static str, Act<S>, &'static str)>,
    traits: Traits,
}

/// What is so with some calls and not with others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traits {
    /// It switches even if it is ready.
    pub(crate) switches: bool,
    /// It cannot be ready before the call.
    pub(crate) is_never_ready_before: bool,
    /// There is nothing left to call once it was interrupted.
    pub(crate) is_once: bool,
    /// Being made ready is for one of those who wait.
    pub(crate) is_for_one: bool,
    /// What one was given is used up even if he is interrupted before he runs: his own item was taken.
    pub(crate) is_final: bool,
}

/// A call that has to wait in the scene that `make` sets up.
pub(crate) fn row<S: 'static>(name: &'static str, make: fn() -> S, call: fn(&S) -> String) -> Row<S> {
    Row { name, make, call, timed: None, ready: None, deaths: Vec::new(), traits: Traits::default() }
}

impl<S: 'static> Row<S> {
    /// Its form that takes a timeout, and what that gives when the time has passed.
    pub(crate) fn timed(mut self, timed: Timed<S>, gives: &'static str) -> Row<S> {
        self.timed = Some((timed, gives));
        self
    }

    /// What ends the wait, and what both forms give then. Does not switch.
    pub(crate) fn ready(mut self, ready: Act<S>, gives: &'static str) -> Row<S> {
        self.ready = Some((ready, gives));
        self
    }

    /// What is left of the scene when whoever would end the wait is gone, and what both forms give then.
    pub(crate) fn dies(mut self, how: &'static str, die: Act<S>, gives: &'static str) -> Row<S> {
        self.deaths.push((how, die, gives));
        self
    }

    pub(crate) fn switches(mut self) -> Row<S> {
        self.traits.switches = true;
        self
    }

    pub(crate) fn never_ready_before(mut self) -> Row<S> {
        self.traits.is_never_ready_before = true;
        self
    }

    pub(crate) fn once(mut self) -> Row<S> {
        self.traits.is_once = true;
        self
    }

    pub(crate) fn for_one(mut self) -> Row<S> {
        self.traits.is_for_one = true;
        self
    }

    pub(crate) fn final_once_given(mut self) -> Row<S> {
        self.traits.is_final = true;
        self
    }

    /// The row as the columns see it.
    pub(crate) fn done(self) -> Call {
        let row = Rc::new(self);
        Call {
            name: row.name,
            traits: row.traits,
            gives: row.ready.map(|(_, gives)| gives),
            gives_up: row.timed.map(|(_, gives)| gives),
            deaths: row.deaths.iter().map(|&(how, _, gives)| (how, gives)).collect(),
            scene: Rc::new(move || Rc::new(Bound { state: (row.make)(), row: Rc::clone(&row) })),
        }
    }
}

/// A row without its type.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) traits: Traits,
    /// What it gives when it is ready, if it ever is.
    pub(crate) gives: Option<&'static str>,
    /// What its timed form gives when the time has passed, if it has one.
    pub(crate) gives_up: Option<&'static str>,
    /// How whoever would end the wait may die, and what it gives then.
    pub(crate) deaths: Vec<(&'static str, &'static str)>,
    scene: Rc<dyn Fn() -> Rc<dyn Scene>>,
}

impl Call {
    /// A new scene, in which the call has to wait.
    pub(crate) fn scene(&self) -> Rc<dyn Scene> {
        (self.scene)()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Something that is waited for, by any number of calls.
pub(crate) trait Scene {
    fn call(&self) -> String;
    fn timed(&self, timeout: Duration) -> String;
    fn make_ready(&self);
    fn die(&self, death: usize);
}

struct Bound<S> {
    state: S,
    row: Rc<Row<S>>,
}

impl<S: 'static> Scene for Bound<S> {
    fn call(&self) -> String {
        (self.row.call)(&self.state)
    }

    fn timed(&self, timeout: Duration) -> String {
        let (timed, _) = self.row.timed.expect("only asked if there is one");
        timed(&self.state, timeout)
    }

    fn make_ready(&self) {
        let (ready, _) = self.row.ready.expect("only asked if there is one");
        ready(&self.state);
    }

    fn die(&self, death: usize) {
        (self.row.deaths[death].1)(&self.state);
    }
}

/// What a call gives that gives nothing of interest.
macro_rules! done {
    ($call:expr) => {{
        $call;
        "done".to_owned()
    }};
}
pub(crate) use done;

/// The same, if it is there or true; else that it gave up.
pub(crate) fn done_or_not(is_done: bool) -> String {
    if is_done { "done" } else { "gave up" }.into()
}

/// What a call gives, as it is.
pub(crate) fn text(value: impl fmt::Debug) -> String {
    format!("{value:?}")
}
