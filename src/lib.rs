//! Green threads for Rust: blocking-style code that scales.

#![forbid(unsafe_code)]

pub use greenlet_hub as hub;
pub use greenlet_hub::{
    Builder, Greenlet, JoinError, JoinHandle, current, joinall, no_switch, sleep, sleep_until, spawn, spawn_later,
    yield_now,
};
pub use greenlet_net as net;
