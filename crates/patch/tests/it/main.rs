//! Tests of the shells, from where users stand: std's own types, under the patch.

mod sockets;
mod support;
