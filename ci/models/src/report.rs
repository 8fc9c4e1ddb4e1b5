//! What the patching crate ends the process with.

use std::fmt;

pub(crate) fn fatal(text: fmt::Arguments<'_>) -> ! {
    panic!("{text}")
}
