//! Tells whether the machine was disturbed: a fixed piece of work before and after each run, on the cores that it uses.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::process;

/// So much slower than the best seen and the run is repeated.
const TOLERANCE: f64 = 1.08;
/// How often a run is tried; of those that were all disturbed the least disturbed counts.
const ATTEMPTS: usize = 4;
/// How long a run may wait for a quiet moment to begin.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages through a socket pair: about 30 ms.
const MESSAGES: usize = 25_000;

/// The speed of some cores, all busy at once, at its best so far.
pub(crate) struct Calibration {
    cores: &'static [usize],
    best: Duration,
}

impl Calibration {
    /// Watches these cores.
    pub(crate) fn of(cores: &'static [usize]) -> Self {
        Self { cores, best: Duration::MAX }
    }

    /// Runs `run` between two pieces of work, again when one of them was slow.
    ///
    /// # Errors
    ///
    /// What `run` reports; no socket pair can be had.
    pub(crate) fn around<T>(&mut self, what: &str, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut least: Option<(f64, T)> = None;
        for attempt in 1..=ATTEMPTS {
            let before = self.quiet_moment()?;
            let res = run()?;
            let off = before.max(self.off()?);
            if least.as_ref().is_none_or(|(least, _)| off < *least) {
                least = Some((off, res));
            }
            if off <= TOLERANCE {
                if attempt > 1 {
                    eprintln!("compare: {what}: disturbed, good at attempt {attempt}");
                }
                break;
            }
        }
        let (off, res) = least.expect("there was an attempt");
        if off > TOLERANCE {
            let percent = (off - 1.0) * 100.0;
            eprintln!("compare: {what}: the machine was {percent:.0} % slow in all of {ATTEMPTS} attempts");
        }
        Ok(res)
    }

    /// Waits until the machine is as fast as it was, but not for ever, and returns how far it is off.
    fn quiet_moment(&mut self) -> io::Result<f64> {
        let end = Instant::now() + PATIENCE;
        loop {
            let off = self.off()?;
            if off <= TOLERANCE || Instant::now() >= end {
                return Ok(off);
            }
        }
    }

    /// Returns how many times slower than at its best the machine is now.
    fn off(&mut self) -> io::Result<f64> {
        if self.best == Duration::MAX {
            for _ in 0..5 {
                self.best = self.best.min(reference(self.cores)?);
            }
        }
        let time = reference(self.cores)?;
        self.best = self.best.min(time);
        Ok(time.as_secs_f64() / self.best.as_secs_f64())
    }
}

/// Sends messages through a socket pair on each of these cores, all at once, and returns the longest time.
fn reference(cores: &[usize]) -> io::Result<Duration> {
    let all_there = Barrier::new(cores.len());
    let one = |core| {
        let pair = UnixStream::pair();
        process::pin(core);
        all_there.wait();
        let (mut left, mut right) = pair?;
        let mut message = [7; 64];
        let start = Instant::now();
        for _ in 0..MESSAGES {
            left.write_all(&message)?;
            right.read_exact(&mut message)?;
        }
        io::Result::Ok(start.elapsed())
    };
    thread::scope(|scope| {
        let handles: Vec<_> = cores.iter().map(|&core| scope.spawn(move || one(core))).collect();
        let times = handles.into_iter().map(|handle| handle.join().expect("no panic in the reference"));
        times.collect::<io::Result<Vec<_>>>().map(|times| times.into_iter().max().unwrap_or_default())
    })
}
