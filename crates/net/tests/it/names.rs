//! Addresses and names.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::{Duration, Instant};

use greenlet_hub::spawn;
use greenlet_net::{TcpListener, TcpStream, ToSocketAddrs, lookup_host};

/// What std's trait and ours say of the same address.
macro_rules! assert_same {
    ($($addr:expr),* $(,)?) => {$(
        let ours = lookup_host($addr).map(Vec::from_iter).map_err(|err| (err.kind(), err.to_string()));
        let stds = std::net::ToSocketAddrs::to_socket_addrs(&$addr).map(Vec::from_iter);
        assert_eq!(ours, stds.map_err(|err| (err.kind(), err.to_string())), "{:?}", $addr);
    )*};
}

#[test]
fn every_type_and_text_that_std_knows_means_the_same() {
    let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
    let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 1, 2);
    let both = [SocketAddr::V4(v4), SocketAddr::V6(v6)];
    assert_same!(
        v4,
        v6,
        both[0],
        both[1],
        (Ipv4Addr::LOCALHOST, 1),
        (Ipv6Addr::LOCALHOST, 2),
        (IpAddr::V4(Ipv4Addr::LOCALHOST), 3),
        (IpAddr::V6(Ipv6Addr::LOCALHOST), 3),
        &both[..],
        &&both[..0],
        ("127.0.0.1", 4),
        ("::1", 5),
        ("localhost", 6),
        ("localhost".to_owned(), 7),
        "127.0.0.1:8",
        "[::1]:9",
        "[::1%1]:9",
        "::1:10",
        "localhost:11",
        "localhost:12".to_owned(),
        &"localhost:13",
        "",
        ":",
        ":80",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "127.0.0.1",
        "[::1]",
        "nul\0inside:80",
        ("", 80),
    );
}

#[test]
fn stds_words_for_bad_addresses_are_kept() {
    let err = lookup_host("localhost").unwrap_err();
    assert_eq!((err.kind(), err.to_string().as_str()), (ErrorKind::InvalidInput, "invalid socket address"));
    let err = TcpStream::connect("localhost:many").unwrap_err();
    assert_eq!((err.kind(), err.to_string().as_str()), (ErrorKind::InvalidInput, "invalid port value"));
}

#[test]
fn others_run_while_a_name_is_looked_up() {
    let other = spawn(|| ());
    // An answer that is there before the wait begins makes no switch; that does not happen every time.
    let start = Instant::now();
    while !other.is_finished() {
        lookup_host("localhost:80").unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "look-ups block the thread");
    }
}

#[test]
fn numeric_addresses_do_not_switch() {
    let other = spawn(|| ());
    for addr in ["127.0.0.1:80", "[::1]:80"] {
        lookup_host(addr).unwrap();
    }
    lookup_host(("127.0.0.1", 80)).unwrap();
    assert!(!other.is_finished());
}

#[test]
fn a_name_can_be_bound_and_connected_to() {
    let listener = TcpListener::bind("localhost:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let stream = TcpStream::connect(("localhost", port)).unwrap();
    listener.accept().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
}

#[test]
fn a_type_of_ones_own_can_stand_for_an_address() {
    struct Service(u16);

    impl ToSocketAddrs for Service {
        type Iter = <SocketAddr as ToSocketAddrs>::Iter;

        fn to_socket_addrs(&self) -> std::io::Result<Self::Iter> {
            SocketAddr::from(([127, 0, 0, 1], self.0)).to_socket_addrs()
        }
    }

    let listener = TcpListener::bind(Service(0)).unwrap();
    TcpStream::connect(Service(listener.local_addr().unwrap().port())).unwrap();
}
