//! glibc's own functions, whatever else in this program has their names.

use super::Column;
use crate::sys::Calls;

pub(super) const COLUMN: Column = Column { name: "libc", calls: Some(Calls::of_libc), ..Column::EMPTY };
