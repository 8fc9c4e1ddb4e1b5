//! The sockets, from outside: beside std's, with each other, and with real clients.

mod worlds;

mod parity_tcp;
mod parity_udp;
mod parity_unix;

mod concurrency;
mod conversions;
mod descriptors;
mod faults;
mod hubs;
mod names;
mod readiness;
mod real_clients;
mod unix_pauses;
