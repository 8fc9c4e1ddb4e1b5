//! Green threads for Rust: blocking-style code that scales, with no `async` and no coloured functions.
//!
//! # A tour
//!
//! [`spawn`] starts a *greenlet*. It runs when whoever started it next waits, and it goes on until it has to wait itself; then the next
//! one runs. All greenlets that a thread starts run on that thread, in turns, so they may share an `Rc` or a `RefCell`.
//!
//! ```
//! use std::{cell::RefCell, rc::Rc, time::Duration};
//!
//! let log = Rc::new(RefCell::new(Vec::new()));
//! let greenlets = ["slow", "quick"].map(|name| {
//!     let log = Rc::clone(&log);
//!     greenlet::spawn(move || {
//!         greenlet::sleep(Duration::from_millis(if name == "slow" { 20 } else { 1 }));
//!         log.borrow_mut().push(name);
//!     })
//! });
//! greenlet::joinall(greenlets);
//! assert_eq!(*log.borrow(), ["quick", "slow"]);
//! ```
//!
//! There is no `run()`. The thread's own stack is its *main greenlet*: when it waits, here in [`joinall`], the others run. A plain thread that
//! waits does the same, so nothing in a program has to know whether it is called in a greenlet.
//!
//! ## Sockets
//!
//! [`net`] has std's sockets, with std's names and signatures. Calls that have to wait let the others run meanwhile:
//!
//! ```
//! use std::io::{self, Read, Write};
//! use greenlet::net::{TcpListener, TcpStream};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let addr = listener.local_addr()?;
//! greenlet::spawn(move || {
//!     for stream in listener.incoming().map_while(Result::ok) {
//!         greenlet::spawn(move || io::copy(&mut &stream, &mut &stream)); // echoes until the client has gone
//!     }
//! });
//! let mut client = TcpStream::connect(addr)?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//! # Ok::<(), io::Error>(())
//! ```
//!
//! ## Results, panics
//!
//! A [`JoinHandle`] takes what the closure returned. A panic stays in its greenlet: it is reported once on stderr, with the greenlet's name and
//! the place where it was spawned, and [`join`](JoinHandle::join) returns it as an error. Dropping the handle lets the greenlet go on by itself.
//!
//! ```
//! use greenlet::{Builder, JoinError};
//!
//! let worker = Builder::new().name("worker").spawn(|| { if true { panic!("out of luck") } });
//! assert!(matches!(worker.join(), Err(JoinError::Panicked(_))));
//! ```
//!
//! ## Ending what takes too long
//!
//! [`timeout`] gives a piece of code so much time, whatever it waits for; [`kill`](Greenlet::kill) ends a greenlet from outside. Both unwind: destructors run, and may wait.
//!
//! ```
//! use std::time::Duration;
//! use greenlet::{Elapsed, sleep, spawn, timeout, yield_now};
//!
//! assert_eq!(timeout(Duration::from_millis(5), || sleep(Duration::from_secs(60))), Err(Elapsed));
//!
//! let sleeper = spawn(|| sleep(Duration::from_secs(60)));
//! yield_now();
//! sleeper.kill()?; // returns when it is really dead
//! # Ok::<(), greenlet::KillError>(())
//! ```
//!
//! [`scope`] has greenlets that borrow from the caller's stack, and [`task_group`] those that stand or fall together.
//!
//! ## Working together
//!
//! [`sync`] has events, locks, semaphores, queues, groups and pools. They work between the greenlets of a thread, of several threads, and plain threads.
//!
//! ## When nothing can go on
//!
//! A wait that nothing can end does not hang: when every hub of the process sleeps for good, and there is no other thread that could wake one,
//! the main greenlet panics after a second with a list of who waits for what.
//!
//! # What to keep in mind
//!
//! * Greenlets take turns by themselves: one that computes for long holds up the others of its thread. [`yield_now`] lets them run.
//! * Calls that block the *thread*, such as `std::thread::sleep`, a contended `std::sync::Mutex` or std's sockets, hold up all of its greenlets.
//! * Greenlets share the thread's thread-locals; see [`no_switch`].
//! * A greenlet's stack has 244 KiB, of which only what is touched takes memory; [`Builder::stack_size`] gives another.
//!
//! [`hub`] has what all of this stands on, for those who build primitives of their own.

#![forbid(unsafe_code)]

pub use greenlet_hub::{
    AccessError, Builder, Elapsed, Greenlet, InheritedKey, Iwait, JoinError, JoinHandle, KillError, LinkId, LocalKey,
    Scope, ScopedJoinHandle, TaskGroup, Waitable, current, inherited_local, iwait, joinall, killall, local, no_switch,
    scope, shield, shutdown, sleep, sleep_until, spawn, spawn_later, task_group, timeout, timeout_at, wait,
    wait_readable, wait_readable_timeout, wait_writable, wait_writable_timeout, yield_now,
};

pub use greenlet_sync::{actor, as_completed, generator, select};

pub use greenlet_hub as hub;
pub use greenlet_net as net;
pub use greenlet_sync as sync;
