//! What this crate says on stderr, past every lock and buffer.

use std::fmt;
use std::io::{self, Write};

use super::raw;

/// Standard error without std's lock: a line is written by one call if it can be.
struct Plain;

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: readable bytes.
        raw::check(unsafe { raw::syscall!(libc::SYS_write, libc::STDERR_FILENO, bytes.as_ptr(), bytes.len()) })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one line to stderr.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    // There is nobody to tell that it cannot be told.
    let _ = Plain.write_all(format!("greenlet: {text}\n").as_bytes());
}

/// Writes one line to stderr and aborts.
pub(crate) fn fatal(text: fmt::Arguments<'_>) -> ! {
    line(text);
    std::process::abort()
}
