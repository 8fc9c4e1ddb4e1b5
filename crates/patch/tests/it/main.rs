//! Tests of the shells, from where users stand: std's own types, under the patch.

mod c_library;
mod c_locks;
mod calls;
mod close;
mod datagrams;
mod flags;
mod locks;
mod moving;
mod names;
mod poll;
mod process;
mod sleep;
mod sockets;
mod support;
