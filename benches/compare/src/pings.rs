//! What the clients of a redis-server are measured with.

use std::cell::Cell;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys;

/// A crowd of clients, each sending one command after the other.
///
/// A column connects them all to [`Pings::url`], starts them, and calls [`Pings::answered`] at each answer. It sleeps for
/// [`Pings::warm_up`], calls [`Pings::begin`], sleeps for [`Pings::duration`], and calls [`Pings::end`], all as a program of its kind
/// sleeps. Commands in flight at the one moment are as many as at the other: one for each client.
pub(crate) struct Pings {
    clients: usize,
    port: u16,
    duration: Duration,
    before: Cell<(Duration, u64)>,
}

/// The answers that each client has had. A static, since tasks of some columns must be `'static`; one word for each, so
/// that no column pays for sharing one.
static ANSWERS: OnceLock<Box<[AtomicU64]>> = OnceLock::new();

impl Pings {
    /// A crowd of so many clients of the server on this port, measured for so long.
    pub(crate) fn new(clients: usize, port: u16, duration: Duration) -> Self {
        ANSWERS.get_or_init(|| (0..clients).map(|_| AtomicU64::new(0)).collect());
        Self { clients, port, duration, before: Cell::default() }
    }

    /// Returns the size of the crowd.
    pub(crate) fn clients(&self) -> usize {
        self.clients
    }

    /// Returns where the server is.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Returns how long they run before they are measured.
    pub(crate) fn warm_up(&self) -> Duration {
        self.duration / 5
    }

    /// Returns how long they are measured.
    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// Notes an answer that this client has had. A wrong one, or none, ends the process.
    pub(crate) fn answered(client: usize, answer: redis::RedisResult<String>) {
        match answer {
            Ok(answer) if answer == "PONG" => {
                let answers = &ANSWERS.get().expect("made before the clients")[client];
                // Only this client writes here.
                answers.store(answers.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            Ok(answer) => Self::failed(&format!("the answer was {answer:?}")),
            Err(err) => Self::failed(&err.to_string()),
        }
    }

    /// Marks the moment when the warm-up is over.
    pub(crate) fn begin(&self) {
        self.before.set((sys::usage().cpu, self.answers()));
    }

    /// Prints the CPU time for one command in microseconds, and the commands a second, and ends the process: disconnecting the clients is no part
    /// of the case.
    pub(crate) fn end(&self) -> ! {
        let (cpu, answers) = self.before.get();
        let cpu = sys::usage().cpu - cpu;
        let count = (self.answers() - answers) as f64;
        let each = ANSWERS.get().expect("made before the clients");
        if each.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
            Self::failed("a client has had no answer");
        }
        println!("{}", cpu.as_secs_f64() * 1e6 / count);
        println!("{}", count / self.duration.as_secs_f64());
        process::exit(0)
    }

    /// Counts all answers so far.
    fn answers(&self) -> u64 {
        ANSWERS.get().expect("made before the clients").iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn failed(why: &str) -> ! {
        eprintln!("{why}");
        process::exit(1)
    }
}
