//! Makes existing blocking code cooperative: std's own sockets, sleeps and locks, and the C libraries below other crates.
//!
//! [`patch_all`] is gevent's `monkey.patch_all()`, but it replaces nothing at run time: this crate defines libc's blocking functions itself (`recv`, `poll`, `nanosleep`,
//! `syscall` and so on), and the linker prefers them to libc's, for precompiled std, for every crate on top of it and for C libraries alike. Called in a greenlet, such a
//! *shell* waits as a greenlet does, and the others of the thread run meanwhile. Called anywhere else it makes the real call.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::time::{Duration, Instant};
//! use greenlet_hub::{joinall, spawn};
//!
//! greenlet_patch::patch_all();
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let addr = listener.local_addr()?;
//! spawn(move || {
//!     for stream in listener.incoming() { // std's, in a greenlet
//!         let mut stream = stream.unwrap();
//!         spawn(move || {
//!             std::thread::sleep(Duration::from_millis(20));
//!             stream.write_all(b"hello")
//!         });
//!     }
//! });
//! let start = Instant::now();
//! let clients = joinall((0..50).map(|_| spawn(move || {
//!     let mut text = String::new();
//!     TcpStream::connect(addr)?.read_to_string(&mut text)?;
//!     Ok::<_, std::io::Error>(text)
//! })));
//! assert!(clients.into_iter().all(|text| text.unwrap().unwrap() == "hello"));
//! assert!(start.elapsed() < Duration::from_millis(500)); // not 50 × 20 ms
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # When a call waits as a greenlet does
//!
//! If its group is patched, its thread has a hub, and what runs there is a greenlet's own code; the thread's own stack is the *main greenlet*, so
//! `for stream in listener.incoming()` in `main` cooperates, from the first greenlet on. Everywhere else the call is the plain one: on threads without a hub, in code of
//! the runtime, inside [`no_switch`](greenlet_hub::no_switch()), in a panic hook, in a signal's handler, in destructors of thread-locals, and in a forked child until its first
//! native wait. Calls that *wake* (a futex's wake, `pthread_mutex_unlock`, `sem_post`, `close`) work from every thread.
//!
//! A program that links this crate and never calls [`patch_all`] makes the system calls that it would make without it.
//!
//! # Interrupts
//!
//! Nothing can unwind out of a C function. So when a greenlet is killed, or its [`timeout`](greenlet_hub::timeout()) expires, a patched call that waits fails with `ECANCELED` or
//! `ETIMEDOUT`; a sleep returns early; a lock waits on. The interrupt stays pending, and the next native wait unwinds.
//!
//! # Limits
//!
//! Linux with glibc, on x86-64 and aarch64; elsewhere [`Patch::apply`] says so. Crates that make system calls by hand (rustix's default) are not seen. What waits by
//! `std::thread::park`, and what tells threads apart by thread-locals (`std::sync::mpsc`, `parking_lot`), blocks the thread, and says so once. docs/patch.md has the whole list.

mod gate;
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod glibc;
#[cfg(not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod glibc {
    //! Another platform: there are no shells.

    pub(crate) fn patch(_: u32) -> Result<Vec<String>, String> {
        Err("this is neither Linux with glibc on x86-64 nor on aarch64".into())
    }
}

use std::error::Error;
use std::fmt;

use crate::gate::{Call, Group};

/// Patches everything: see the [crate's page](crate). Says what was caught.
///
/// To be called first in `main`: what has begun to wait before is not changed. Once is enough; more often changes nothing.
///
/// # Panics
///
/// If the functions that the program calls are not this crate's, with a list of them: see [`Patch::apply`].
///
/// # Examples
///
/// ```
/// let patched = greenlet_patch::patch_all();
/// assert!(greenlet_patch::is_patched("recv"));
/// println!("{patched}");
/// ```
#[allow(clippy::must_use_candidate, reason = "it is called for its effect")]
pub fn patch_all() -> Patched {
    Patch::new().apply().unwrap_or_else(|err| panic!("{err}"))
}

/// Whether that function of libc is one that waits as greenlets do.
///
/// # Examples
///
/// ```
/// assert!(!greenlet_patch::is_patched("recv"));
/// greenlet_patch::Patch::new().locks(false).apply()?;
/// assert!(greenlet_patch::is_patched("recv") && !greenlet_patch::is_patched("pthread_mutex_lock"));
/// assert!(!greenlet_patch::is_patched("strlen"));
/// # Ok::<(), greenlet_patch::PatchError>(())
/// ```
pub fn is_patched(name: &str) -> bool {
    Call::named(name).is_some_and(|call| gate::groups() & call.group() as u32 != 0)
}

/// What is to be patched.
///
/// # Examples
///
/// ```
/// let patched = greenlet_patch::Patch::new().names(false).processes(false).apply()?;
/// assert!(patched.to_string().contains("recv"));
/// # Ok::<(), greenlet_patch::PatchError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is patched before `apply`"]
pub struct Patch {
    groups: u32,
}

impl Default for Patch {
    fn default() -> Patch {
        Patch::new()
    }
}

impl Patch {
    /// Everything.
    pub fn new() -> Patch {
        Patch { groups: Group::ALL.iter().fold(0, |groups, &group| groups | group as u32) }
    }

    fn with(mut self, groups: &[Group], wanted: bool) -> Patch {
        for &group in groups {
            self.groups = self.groups & !(group as u32) | if wanted { group as u32 } else { 0 };
        }
        self
    }

    /// Whether to patch reading and writing, accepting and connecting: sockets, pipes and terminals, but for standard output and standard error.
    pub fn sockets(self, wanted: bool) -> Patch {
        self.with(&[Group::Sockets], wanted)
    }

    /// Whether to patch sleeps, and waiting for several descriptors (`poll`, `select`, `epoll_wait`).
    pub fn waiting(self, wanted: bool) -> Patch {
        self.with(&[Group::Waiting], wanted)
    }

    /// Whether to patch looking up names.
    pub fn names(self, wanted: bool) -> Patch {
        self.with(&[Group::Names], wanted)
    }

    /// Whether to patch locks: those of std, by the system call that they stand on, and those of C libraries.
    pub fn locks(self, wanted: bool) -> Patch {
        self.with(&[Group::Locks, Group::PthreadLocks], wanted)
    }

    /// Whether to patch waiting for child processes.
    pub fn processes(self, wanted: bool) -> Patch {
        self.with(&[Group::Processes], wanted)
    }

    /// Patches it, and says what was caught. What was patched before stays so.
    ///
    /// Before it changes anything, it makes sure that the calls do come here: it makes some through std, and looks up all the names as C libraries see them.
    ///
    /// # Errors
    ///
    /// If they do not, or the platform is not one of those that this crate knows.
    pub fn apply(&self) -> Result<Patched, PatchError> {
        let notes = glibc::patch(self.groups).map_err(PatchError::new)?;
        Ok(Patched { groups: gate::groups(), notes })
    }
}

/// What was patched. Its `Display` is a table of the functions.
#[derive(Clone, Debug)]
pub struct Patched {
    groups: u32,
    notes: Vec<String>,
}

impl fmt::Display for Patched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 100;
        for &group in Group::ALL {
            if self.groups & group as u32 == 0 {
                writeln!(f, "{:<10} not patched", group.name())?;
                continue;
            }
            let mut line = format!("{:<10}", group.name());
            for call in Call::ALL.iter().filter(|call| call.group() == group) {
                if line.len() + 1 + call.name().len() > WIDTH {
                    writeln!(f, "{line}")?;
                    line = " ".repeat(10);
                }
                line.push(' ');
                line.push_str(call.name());
            }
            writeln!(f, "{line}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// Why nothing was patched.
#[derive(Clone, Debug)]
pub struct PatchError {
    text: String,
}

impl PatchError {
    fn new(text: String) -> PatchError {
        PatchError { text }
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing was patched: {}", self.text)
    }
}

impl Error for PatchError {}
