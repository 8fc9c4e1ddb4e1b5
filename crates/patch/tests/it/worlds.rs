//! One test body, two worlds: threads, and greenlets under the patch. The types are std's in both.

use std::cell::Cell;
use std::rc::Rc;

use greenlet_hub::{sleep, spawn};

use crate::support::{MS, patched};

/// Makes two tests of each function, which spawns by `spawn`: threads in one, greenlets in the other. All of them wait: in the second one others ran meanwhile.
macro_rules! in_both_worlds {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {
        mod threads {
            #[allow(unused_imports, reason = "no body needs all of them")]
            use {super::*, std::thread::spawn};

            $($(#[$meta])* #[test] fn $name() $body)*
        }

        mod greenlets {
            #[allow(unused_imports, reason = "no body needs all of them")]
            use {super::*, greenlet_hub::spawn};

            $($(#[$meta])* #[test] fn $name() { $crate::worlds::beside_another(|| $body) })*
        }
    };
}

pub(crate) use in_both_worlds;

/// Runs a body in a greenlet, beside one that counts its turns.
pub(crate) fn beside_another(body: impl FnOnce() + Send + 'static) {
    patched(|| {
        let (turns, over) = (Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(false)));
        let other = spawn({
            let (turns, over) = (Rc::clone(&turns), Rc::clone(&over));
            move || {
                while !over.get() {
                    turns.set(turns.get() + 1);
                    sleep(MS / 10);
                }
            }
        });
        let ended = spawn(body).join();
        over.set(true);
        other.join().unwrap();
        if let Err(greenlet_hub::JoinError::Panicked(payload)) = ended {
            std::panic::resume_unwind(payload);
        }
        assert!(turns.get() > 0, "nobody else ran");
    });
}

/// A short time in which the other side waits: a bound from below is all that follows from it.
pub(crate) fn pause() {
    std::thread::sleep(3 * MS);
}
