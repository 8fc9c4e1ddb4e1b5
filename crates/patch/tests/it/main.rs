//! Tests of the shells, from where users stand: std's own types, under the patch.

mod c_library;
mod c_locks;
mod calls;
mod child;
mod close;
mod event_loop;
mod fork;
mod futex;
mod locks;
mod names;
mod parking;
mod poll;
mod process;
mod signal;
mod sleep;
mod sockets;
mod support;
