//! Tests of the whole: the examples as programs of their own, real clients, and hubs that talk to each other.

mod async_code;
mod bad_clients;
mod command_lines;
mod descriptors;
mod docs;
mod matrix;
mod panics;
#[cfg(feature = "patch")]
mod patched;
mod real_clients;
mod support;
mod two_hubs;
