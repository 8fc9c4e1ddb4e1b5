//! Tests of the shells, from where users stand: std's own types, under the patch.

mod bad_input;
mod c_library;
mod c_locks;
mod calls;
mod child;
mod close;
mod datagrams;
mod event_loop;
mod flags;
mod fork;
mod futex;
mod locks;
mod messages;
mod moving;
mod names;
mod nested;
mod parking;
mod poll;
mod process;
mod signal;
mod sleep;
mod sockets;
mod support;
