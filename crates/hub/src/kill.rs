//! Killing greenlets, and the shield against it.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use crate::greenlet::Greenlet;
use crate::hub::{Hub, deadline_after};
use crate::shared::Message;
use crate::waiter::wake;

impl Greenlet {
    /// Kills the greenlet, and waits until it has ended, its cleanup included.
    ///
    /// It unwinds out of whatever it waits for, or at its next wait, so its destructors run; they may wait. One that has not
    /// run yet never will. It ends with [`JoinError::Killed`](crate::JoinError::Killed), and nothing is reported; unless it has just returned, or
    /// catches the unwind and returns. Killing the dead does nothing. A greenlet that kills itself unwinds at the call, unless it is
    /// in [`shield`] or unwinds already; there it goes on, and the kill is raised later. Like gevent's `kill`.
    ///
    /// Said plainly: an initialiser of a `std::sync::LazyLock` or `Once` that is killed poisons it, as a panic does; and a kill that
    /// unwinds through a callback from C aborts the process: call such code in [`shield`].
    ///
    /// # Errors
    ///
    /// If it is the main greenlet of a thread, which cannot be killed, or the program is built with `panic = "abort"`.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](crate::no_switch()).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::{JoinError, sleep, spawn, yield_now};
    /// use std::time::Duration;
    ///
    /// let sleeper = spawn(|| sleep(Duration::from_secs(60)));
    /// yield_now();
    /// sleeper.kill()?;
    /// assert!(sleeper.is_finished());
    /// assert!(matches!(sleeper.join(), Err(JoinError::Killed)));
    /// # Ok::<(), greenlet_hub::KillError>(())
    /// ```
    pub fn kill(&self) -> Result<(), KillError> {
        self.kill_deadline(None).map(drop)
    }

    /// Kills the greenlet, and waits until it has ended, at the most for `timeout`; says whether it has.
    ///
    /// # Errors
    ///
    /// As [`kill`](Greenlet::kill).
    ///
    /// # Panics
    ///
    /// As [`kill`](Greenlet::kill).
    pub fn kill_timeout(&self, timeout: Duration) -> Result<bool, KillError> {
        self.kill_deadline(Some(deadline_after(timeout)))
    }

    /// Kills the greenlet without waiting. Never switches; one that kills itself unwinds at its next wait.
    ///
    /// # Errors
    ///
    /// As [`kill`](Greenlet::kill).
    pub fn kill_nowait(&self) -> Result<(), KillError> {
        if cfg!(panic = "abort") {
            return Err(KillError::Abort);
        }
        let block = self.block();
        if block.is_main() {
            return Err(KillError::Main);
        }
        if block.is_done() {
            return Ok(());
        }
        block.set_killed();
        if block.word.interrupt() {
            wake(block.clone());
        } else if !block.is_started() {
            // One that is to start later is not waited for that long.
            let own = Hub::try_with(|hub| {
                let own = hub.id() == block.hub();
                if own {
                    hub.start_now(block.hub_ref());
                }
                own
            });
            // One that no hub has taken yet sees it when it is to run.
            if own != Some(true)
                && let Some(shared) = block.shared()
            {
                shared.send(Message::Kill(block.clone()));
            }
        }
        Ok(())
    }

    fn kill_deadline(&self, deadline: Option<Instant>) -> Result<bool, KillError> {
        self.kill_nowait()?;
        if *self == crate::current() {
            Hub::here().raise_pending();
            return Ok(false);
        }
        Ok(self.wait_deadline(deadline))
    }
}

/// Kills all of them, and waits until they have ended, at the most for `timeout` (`None`: as long as it takes); says whether they have.
///
/// All are killed before it waits for any. Like gevent's `killall`.
///
/// # Errors
///
/// If one of them cannot be killed (see [`Greenlet::kill`]); the others are.
///
/// # Panics
///
/// If it must wait inside [`no_switch`](crate::no_switch()).
///
/// # Examples
///
/// ```
/// use greenlet_hub::{killall, sleep, spawn};
/// use std::time::Duration;
///
/// let sleepers: Vec<_> = (0..3).map(|_| spawn(|| sleep(Duration::from_secs(60)))).collect();
/// assert!(killall(&sleepers, None)?);
/// assert!(sleepers.iter().all(|sleeper| sleeper.is_finished()));
/// # Ok::<(), greenlet_hub::KillError>(())
/// ```
pub fn killall<G: AsRef<Greenlet>>(
    greenlets: impl IntoIterator<Item = G>,
    timeout: Option<Duration>,
) -> Result<bool, KillError> {
    let deadline = timeout.map(deadline_after);
    let greenlets: Vec<G> = greenlets.into_iter().collect();
    let mut refused = None;
    let mut own = None;
    for greenlet in &greenlets {
        let greenlet = greenlet.as_ref();
        match greenlet.kill_nowait() {
            // Last, since it unwinds.
            Ok(()) if *greenlet == crate::current() => own = Some(greenlet),
            Ok(()) => {}
            Err(err) => refused = Some(err),
        }
    }
    if own.is_some() {
        Hub::here().raise_pending();
    }
    if let Some(err) = refused {
        return Err(err);
    }
    Ok(greenlets.iter().all(|greenlet| Some(greenlet.as_ref()) == own || greenlet.as_ref().wait_deadline(deadline)))
}

/// Calls `f`, in which nothing is interrupted: kills and time-outs wait until it ends, and are raised by the next wait after it.
///
/// For cleanup that must be finished, and for C code that calls back and cannot be unwound. Like trio's shielded cancel scope
/// and asyncio's `shield`. A deadlock is reported in it all the same.
///
/// # Panics
///
/// If `f` does.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{shield, sleep, timeout};
/// use std::time::Duration;
///
/// let mut written = false;
/// let result = timeout(Duration::from_millis(1), || {
///     shield(|| {
///         sleep(Duration::from_millis(5));
///         written = true;
///     });
///     sleep(Duration::from_secs(60)); // raised here
/// });
/// assert!(written && result.is_err());
/// ```
pub fn shield<R>(f: impl FnOnce() -> R) -> R {
    struct Lower<'a>(&'a Cell<u32>);

    impl Drop for Lower<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    // Of the greenlet that runs, which cannot end before `f` returns.
    let shields = &Hub::here().current().local().shields;
    shields.set(shields.get() + 1);
    let _lower = Lower(shields);
    f()
}

/// Why a greenlet cannot be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KillError {
    /// It is the main greenlet of a thread: the thread's own stack.
    Main,
    /// The program is built with `panic = "abort"`, so nothing can be unwound.
    Abort,
}

impl fmt::Display for KillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KillError::Main => "the main greenlet of a thread cannot be killed",
            KillError::Abort => "nothing can be killed in a program that is built with panic = \"abort\"",
        })
    }
}

impl Error for KillError {}
