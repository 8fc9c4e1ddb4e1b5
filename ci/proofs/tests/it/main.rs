//! Libraries of others, from the registry and from the system, unmodified: they know nothing of greenlets, they block, and
//! under the patch they overlap on one OS thread all the same.
//!
//!     cargo test -p proofs
//!
//! Each test makes [`CONCURRENT`] operations in as many greenlets of one thread. Every operation waits at the server, or in
//! a forwarder before it where the server cannot wait, *until all of them are there*, and [`WAIT`] more. So what is
//! counted there does not depend on how fast the machine is: one operation after the other never gets to two. Each
//! greenlet checks its own answer.
//!
//! The servers are real ones from Debian's packages, started by the tests themselves: `redis-server mariadb-server
//! postgresql memcached`. A test whose server is not installed says so and passes. To build the package, `pkg-config
//! libpq-dev libcurl4-openssl-dev libssl-dev` have to be there.
#![forbid(unsafe_code)]

mod at_once;
mod gate;
mod local;
#[path = "../../../../examples/common/servers.rs"]
mod servers;

mod curl;
mod interrupts;
mod memcache;
mod mysql;
mod native_tls;
mod postgres;
mod process;
mod redis;
mod sync;
mod tungstenite;
mod ureq;
