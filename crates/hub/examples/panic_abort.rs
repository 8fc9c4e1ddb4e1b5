//! What is left of killing where a panic ends the process; `tests/it/panic_abort.rs` builds and runs this with `panic = "abort"`.

use greenlet_hub::{KillError, current, killall, scope, shield, sleep, spawn, task_group, timeout, yield_now};
use std::cell::Cell;
use std::time::Duration;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("timeout") => drop(timeout(Duration::from_secs(1), || ())),
        Some("task_group") => drop(task_group(|_| Ok::<(), ()>(()))),
        _ => kill(),
    }
}

/// Says so with an error, and changes nothing.
fn kill() {
    let greenlet = spawn(|| sleep(Duration::from_millis(5)));
    yield_now();
    assert_eq!(greenlet.kill(), Err(KillError::Abort));
    assert_eq!(greenlet.kill_nowait(), Err(KillError::Abort));
    assert_eq!(killall([&greenlet], None), Err(KillError::Abort));
    greenlet.join().expect("it was left alone");
    let own = spawn(|| shield(|| current().kill()));
    assert_eq!(own.join().expect("it was left alone"), Err(KillError::Abort));
    // Scopes wait for their children as ever.
    let count = Cell::new(0);
    scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                sleep(Duration::from_millis(1));
                count.set(count.get() + 1);
            });
        }
    });
    assert_eq!(count.get(), 3);
    println!("left alone");
}
