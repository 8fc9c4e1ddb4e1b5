//! What a panic in a greenlet prints, and the panic hook in which nothing may switch.
//!
//! The hub wraps the hook that it finds when the first hub is made. The wrapper adds one line with the greenlet's name and spawn
//! place before the report of the hook itself, and marks the thread while the hook runs: std is in the middle of its
//! own bookkeeping there, and a switch would leave another greenlet with it. Waits in the hook block the thread.
//! A hook that is set later replaces the wrapper; then reports lack that line, and such a hook must not wait.

use std::io::{self, Write};
use std::panic::{set_hook, take_hook};
use std::sync::Once;

use crate::greenlet::Greenlet;
use crate::hub::Hub;
use crate::switch::Switching;

/// Wraps the panic hook, once a process.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    // The hook cannot be exchanged by a thread that is panicking; then the next hub does it.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info| {
            let called = Hub::try_with(|hub| {
                hub.with_switching(Switching::Blocks, || {
                    let current = hub.current();
                    if current != hub.main().hub_ref() {
                        // As std does it: a stderr that cannot be written to is no reason to panic in here.
                        let _ = writeln!(io::stderr(), "{} panicked:", Greenlet::label(&current));
                    }
                    hook(info);
                });
            });
            if called.is_none() {
                hook(info);
            }
        }));
    });
}
