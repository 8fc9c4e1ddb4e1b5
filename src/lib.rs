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
//! [`shield`] keeps both out for a while, and [`shutdown`] ends all greenlets of a thread.
//!
//! ## Greenlets that borrow
//!
//! The greenlets of a [`scope`] may borrow from the stack of the one that spawns them, since it does not end before they have:
//!
//! ```
//! let texts = ["one fish", "two fish", "red fish"];
//! let words: usize = greenlet::scope(|s| {
//!     let counts = texts.each_ref().map(|text| s.spawn(|| text.split(' ').count()));
//!     counts.map(|count| count.join().unwrap()).iter().sum()
//! });
//! assert_eq!(words, 6);
//! ```
//!
//! Those of a [`task_group`] stand or fall together: the first that fails ends the others, and its failure is what comes out.
//!
//! ## Working together
//!
//! [`sync`] has events, locks, semaphores, queues, groups and pools. They work between the greenlets of a thread, of several threads, and plain threads.
//!
//! ```
//! use greenlet::scope;
//! use greenlet::sync::{Queue, Shutdown};
//!
//! let queue = Queue::bounded(2);
//! let sum: u32 = scope(|s| {
//!     let consumer = s.spawn(|| queue.iter().sum()); // until it is shut down
//!     for n in 1..=10 {
//!         queue.put(n)?; // waits while there are two items in it
//!     }
//!     queue.shutdown(Shutdown::Graceful);
//!     Ok(consumer.join().unwrap())
//! })?;
//! assert_eq!(sum, 55);
//! # Ok::<(), greenlet::sync::ShutDown<u32>>(())
//! ```
//!
//! [`select!`] takes from the first of several queues, locks, sockets and timers that is ready, and leaves the others as they were; [`wait`] only waits for them.
//! [`generator`] is an iterator with a greenlet behind it, and an [`actor`] is a greenlet with an inbox. Those who come from Python find what they
//! know in tables: from [gevent](coming_from::gevent), and from [asyncio](coming_from::asyncio).
//!
//! ## Async code
//!
//! [`block_on`] runs a future, of whichever library, in the greenlet that calls: the greenlet waits, and the others run. And the other way round, a task of any
//! async runtime awaits a [`JoinHandle`], `queue.get_async()`, an [`AsyncResult`](sync::AsyncResult), or with [`wait_async`] whatever is waitable.
//!
//! ```
//! use greenlet::{HubPool, block_on, spawn};
//!
//! async fn some_library(n: u32) -> u32 { n * n }
//!
//! let greenlet = spawn(|| block_on(some_library(3)));
//! assert_eq!(greenlet.join().unwrap(), 9);
//!
//! # fn runtime_of_another_library(future: impl Future<Output = u32>) -> u32 { block_on(future) }
//! let answer = async { HubPool::global().spawn(|| 6 * 7).await.unwrap() };
//! assert_eq!(runtime_of_another_library(answer), 42);
//! ```
//!
//! The timers and sockets of an async runtime need that runtime, on a thread of its own; the examples `async_client` and `from_tokio` show both ways.
//!
//! ## All cores
//!
//! A greenlet stays on its thread. What may run on any of several threads is spawned on a [`HubPool`]: it starts on whichever is free. Its closure
//! and its result go from thread to thread, so they have to be `Send`; what it makes there need not be.
//!
//! ```
//! use greenlet::{HubPool, joinall};
//!
//! let pool = HubPool::new(2)?; // or HubPool::global(), with a thread for each core
//! let lengths = joinall(["one", "three", "eleven"].map(|word| pool.spawn(move || word.len())));
//! assert_eq!(lengths.into_iter().map(Result::unwrap).sum::<usize>(), 14);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A [`Handle`] spawns on one certain thread. Sockets may be sent to another thread and used there; what stands in [`sync`] works between all of them.
//!
//! ## Code that blocks
//!
//! What blocks its thread, and cannot be told to wait as a greenlet does, is called on another thread, while the others run:
//!
//! ```
//! let hosts = greenlet::offload(|| std::fs::read_to_string("/etc/hosts"))?;
//! assert!(hosts.contains("localhost"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A [`ThreadPool`] of one's own has a limit of its own.
//!
//! ## Libraries that block
//!
//! With the feature `patch`, `patch_all()` makes existing code cooperative that has never heard of greenlets: std's sockets, sleeps and locks, the crates on top of them (`redis`, `mysql`,
//! `ureq`, …), and C libraries. It is gevent's `monkey.patch_all()`, done by the linker:
//!
//! ```
//! # #[cfg(all(feature = "patch", target_os = "linux", target_env = "gnu"))] {
//! greenlet::patch_all();
//! let start = std::time::Instant::now();
//! let napping = (0..50).map(|_| greenlet::spawn(|| std::thread::sleep(std::time::Duration::from_millis(20))));
//! greenlet::joinall(napping);
//! assert!(start.elapsed().as_millis() < 500); // not 50 × 20 ms
//! # }
//! ```
//!
//! What works, what does not, and why is in [docs/patch.md](https://docs.rs/greenlet/latest/greenlet/patching/).
//!
//! ## When nothing can go on
//!
//! A wait that nothing can end does not hang: when every hub of the process sleeps for good, and there is no other thread that could wake one,
//! the main greenlet panics after a second with a list of who waits for what.
//!
//! # What to keep in mind
//!
//! * Greenlets take turns by themselves: one that computes for long holds up the others of its thread. [`yield_now`] lets them run.
//! * Calls that block the *thread*, such as `std::thread::sleep`, a contended `std::sync::Mutex` or std's sockets, hold up all of its greenlets;
//!   [`offload`] has another thread make them. Or the feature `patch`, with one call in `main`, makes them wait as greenlets do: see below.
//! * Greenlets share the thread's thread-locals; see [`no_switch`].
//! * A greenlet's stack has 244 KiB, of which only what is touched takes memory; [`Builder::stack_size`] gives another.
//! * Settings of the whole process, such as the number of hubs, are those of its environment (`GREENLET_HUBS` and others), or what the program installs: [`Config`].
//!
//! [`hub`] has what all of this stands on, for those who build primitives of their own.

#![forbid(unsafe_code)]

pub use greenlet_hub::{
    AccessError, Builder, Config, ConfigError, Elapsed, Greenlet, Handle, HubPool, InheritedKey, Iwait, JoinError,
    JoinHandle, KillError, LinkId, LocalKey, OffloadHandle, Scope, ScopedJoinHandle, TaskGroup, ThreadPool, Waitable,
    block_on, current, inherited_local, iwait, joinall, killall, local, no_switch, offload, scope, shield, shutdown,
    sleep, sleep_until, spawn, spawn_future, spawn_later, task_group, timeout, timeout_at, wait, wait_async,
    wait_readable, wait_readable_timeout, wait_writable, wait_writable_timeout, yield_now,
};

#[cfg(feature = "patch")]
pub use greenlet_patch::{Patch, PatchError, Patched, is_patched, patch_all};

pub use greenlet_sync::{actor, as_completed, as_completed_timeout, generator, select};

/// Where those who come from elsewhere find what they know, by the names that it has there.
#[cfg(any(doc, doctest))]
pub mod coming_from {
    #[doc = include_str!("../docs/from-gevent.md")]
    pub mod gevent {}

    #[doc = include_str!("../docs/from-asyncio.md")]
    pub mod asyncio {}
}

#[cfg(all(any(doc, doctest), feature = "patch"))]
#[doc = include_str!("../docs/patch.md")]
pub mod patching {}

#[doc(inline)]
pub use greenlet_hub as hub;
#[doc(inline)]
pub use greenlet_net as net;
#[doc(inline)]
pub use greenlet_sync as sync;
