//! The models. Each lets greenlets meet that want the same, of which one is killed or has no more time.

mod semaphore;

use crate::Greenlet;
use loom::sync::Arc;

/// Kills it, from another thread.
fn kill(greenlet: &Greenlet) -> loom::thread::JoinHandle<()> {
    let greenlet = greenlet.clone();
    loom::thread::spawn(move || greenlet.kill())
}

/// Lets its time come, from another thread.
fn expire(greenlet: &Greenlet) -> loom::thread::JoinHandle<()> {
    let greenlet = greenlet.clone();
    loom::thread::spawn(move || greenlet.expire())
}
