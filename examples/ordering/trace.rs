//! What a little program leaves behind: a trace of notes.

use std::{cell::RefCell, rc::Rc};

use greenlet::{JoinHandle, spawn};

use crate::common::fail;

#[derive(Clone, Default)]
pub(crate) struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    pub(crate) fn note(&self, what: impl ToString) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// Spawns a greenlet for each name, which runs `f` with it.
    pub(crate) fn spawn<N: 'static>(
        &self,
        names: impl IntoIterator<Item = N>,
        f: impl Fn(&Trace, N) + Copy + 'static,
    ) -> Vec<JoinHandle<()>> {
        let spawn_one = |name| {
            let trace = self.clone();
            spawn(move || f(&trace, name))
        };
        names.into_iter().map(spawn_one).collect()
    }
}

/// Runs a program with a fresh trace, prints what is in it then, and ends everything if that is not what was promised.
pub(crate) fn show(what: &str, promised: &str, program: impl FnOnce(&Trace)) {
    let trace = Trace::default();
    program(&trace);
    let seen = trace.0.borrow().join(" ");
    println!("{seen:<28} {what}");
    if seen != promised {
        fail(1, format_args!("promised was {promised}"));
    }
}
