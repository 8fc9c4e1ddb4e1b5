//! The behaviour of hubs and greenlets.

mod child;
mod deadlock;
mod descriptors;
mod fairness;
mod io;
mod join;
mod kill;
mod lifecycle;
mod links;
mod no_switch;
mod order;
mod ownership;
mod panics;
mod scope;
mod sharing;
mod shield;
mod stacks;
mod stress;
mod support;
mod task_group;
mod threads;
mod timeout;
mod timers;
mod unwinding;
mod wait;
