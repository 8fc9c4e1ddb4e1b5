//! Trying again after pauses: for the waits whose end no poller tells.
//!
//! On a non-blocking Unix socket, `connect` to a listener whose backlog is full and `send_to` to a socket whose queue is full
//! return `EAGAIN`; nothing is registered anywhere, and the socket polls as writable all the while (unix(7), connect(2)).

use std::io;
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

/// Calls `op` until it has a result, with sleeps of 1 to 50 ms in between.
///
/// # Errors
///
/// What `op` returns; `WouldBlock` when the timeout has passed.
pub(crate) fn until_done<R>(timeout: Option<Duration>, mut op: impl FnMut() -> io::Result<Option<R>>) -> io::Result<R> {
    if let Some(result) = op()? {
        return Ok(result);
    }
    let start = Instant::now();
    let mut pause = SHORTEST;
    loop {
        let left = timeout.map_or(LONGEST, |timeout| timeout.saturating_sub(start.elapsed()));
        if left.is_zero() {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        greenlet_hub::sleep(pause.min(left));
        if let Some(result) = op()? {
            return Ok(result);
        }
        pause = (pause * 2).min(LONGEST);
    }
}
