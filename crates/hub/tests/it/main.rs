//! The behaviour of hubs and greenlets.

mod child;
mod config;
mod deadlock;
mod descriptors;
mod fairness;
mod hub_pool;
mod inherited;
mod io;
mod join;
mod kill;
mod lifecycle;
mod links;
mod locals;
mod no_switch;
mod order;
mod ownership;
mod panic_abort;
mod panics;
mod scope;
mod sharing;
mod shield;
mod shutdown;
#[cfg(target_os = "linux")]
mod spin;
mod stacks;
mod stress;
mod support;
mod task_group;
mod threads;
mod timeout;
mod timers;
mod unwinding;
mod wait;
mod waitable;
