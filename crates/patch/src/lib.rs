//! libc interposition.
mod gate;
mod raw;
mod real;
mod report;
mod wait;
