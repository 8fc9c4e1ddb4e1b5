//! Look-ups of names, as the process's one resolver does them. What is shared and how is tested beside the source, with a resolver that can be held up.

use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use greenlet_hub::{joinall, lookup_host, lookup_host_timeout, no_switch, spawn};

use crate::child::in_child;
use crate::support::{HANG, status};

#[test]
fn numeric_addresses_take_no_thread_and_do_not_wait() {
    let ended = in_child("resolve::numeric_addresses_take_no_thread_and_do_not_wait", || {
        let before = status("Threads");
        no_switch(|| {
            for (host, addr) in
                [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("::ffff:10.1.2.3", "[::ffff:10.1.2.3]:80")]
            {
                assert_eq!(lookup_host(host, 80).unwrap(), [addr.parse::<SocketAddr>().unwrap()]);
                assert_eq!(lookup_host_timeout(host, 80, Duration::ZERO).unwrap().len(), 1);
            }
            let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 7);
            assert_eq!(lookup_host("fe80::1%7", 80).unwrap(), [SocketAddr::V6(scoped)]);
        });
        assert_eq!(status("Threads"), before);
    });
    ended.check();
}

#[test]
fn names_that_cannot_be_are_errors() {
    let kind = |host: &str| lookup_host(host, 80).expect_err(host).kind();
    assert_eq!(kind("nul\0inside"), ErrorKind::InvalidInput);
    assert_eq!(kind(&"long.".repeat(100)), ErrorKind::InvalidInput);
    assert_eq!(kind(&"x".repeat(1 << 20)), ErrorKind::InvalidInput);
    let err = lookup_host("", 80).unwrap_err();
    assert!(err.to_string().contains("failed to lookup"), "{err}");
    for host in ["127.0.0.1:80", "[::1]"] {
        assert!(lookup_host(host, 80).is_err(), "{host}");
    }
}

#[test]
fn ports_are_each_callers_own() {
    let lookups = (1..=100_u16).map(|port| spawn(move || (port, lookup_host("localhost", port).unwrap())));
    for found in joinall(lookups) {
        let (port, addrs) = found.unwrap();
        assert!(!addrs.is_empty() && addrs.iter().all(|addr| addr.port() == port && addr.ip().is_loopback()));
    }
    assert!(lookup_host_timeout("localhost", 1, HANG).is_ok());
}
