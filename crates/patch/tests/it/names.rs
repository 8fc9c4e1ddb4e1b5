//! Looking up names.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ptr;
use std::rc::Rc;

use greenlet_hub::{joinall, spawn, timeout, yield_now};
use libc::{hostent, socklen_t};

use crate::support::{MS, patched};

unsafe extern "C" {
    fn gethostbyname(name: *const c_char) -> Option<&'static hostent>;
    fn gethostbyname2(name: *const c_char, family: c_int) -> Option<&'static hostent>;
    fn gethostbyaddr(addr: *const u8, len: socklen_t, family: c_int) -> Option<&'static hostent>;
    fn gethostbyname_r(
        name: *const c_char,
        host: *mut hostent,
        buf: *mut c_char,
        len: usize,
        found: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int;
}

#[test]
fn twenty_greenlets_look_up_a_name() {
    patched(|| {
        let turns = Rc::new(Cell::new(0));
        spawn({
            let turns = Rc::clone(&turns);
            move || {
                for _ in 0..1000 {
                    turns.set(turns.get() + 1);
                    yield_now();
                }
            }
        });
        let found = joinall((0..20).map(|port| {
            spawn(move || ("localhost", port).to_socket_addrs().map(Vec::from_iter).map(|addrs| (port, addrs)))
        }));
        for answer in found {
            let (port, addrs) = answer.unwrap().unwrap();
            assert!(!addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == port));
        }
        assert!(turns.get() > 1);
    });
}

#[test]
fn numeric_addresses_are_answered_at_once() {
    patched(|| {
        let ran = Rc::new(Cell::new(false));
        spawn({
            let ran = Rc::clone(&ran);
            move || ran.set(true)
        });
        let addrs = Vec::from_iter(("127.0.0.1", 80).to_socket_addrs().unwrap());
        assert_eq!(addrs, [SocketAddr::from(([127, 0, 0, 1], 80))]);
        let name = gethost(c"127.0.0.1").unwrap();
        assert_eq!(name, [Ipv4Addr::LOCALHOST]);
        assert!(!ran.get());
    });
}

#[test]
fn a_name_that_does_not_exist_is_an_error() {
    patched(|| {
        let err = ("no such host.invalid", 80).to_socket_addrs().unwrap_err();
        assert!(err.to_string().contains("failed to lookup"), "{err}");
        assert_eq!(gethost(c"no such host.invalid"), None);
    });
}

#[test]
fn a_look_up_that_is_interrupted_fails_and_leaves_nothing() {
    patched(|| {
        let ended = timeout(MS, || {
            // The timeout is pending when it begins.
            greenlet_hub::shield(|| greenlet_hub::sleep(20 * MS));
            let err = ("localhost", 80).to_socket_addrs().unwrap_err();
            assert_eq!(err.raw_os_error().or(Some(libc::ETIMEDOUT)), Some(libc::ETIMEDOUT), "{err}");
            yield_now();
        });
        assert!(ended.is_err());
        let looking = spawn(|| ("localhost", 80).to_socket_addrs().map(drop));
        yield_now();
        looking.kill().unwrap();
    });
}

#[test]
fn the_older_calls_answer_too() {
    patched(|| {
        assert_eq!(gethost(c"localhost").unwrap(), [Ipv4Addr::LOCALHOST]);
        // SAFETY: a C string; the answer is ours until the next question.
        let host = unsafe { gethostbyname2(c"localhost".as_ptr(), libc::AF_INET) }.unwrap();
        assert_eq!(addresses(host), [Ipv4Addr::LOCALHOST]);
        // SAFETY: four bytes.
        let host = unsafe { gethostbyaddr([127, 0, 0, 1].as_ptr(), 4, libc::AF_INET) }.unwrap();
        // SAFETY: a C string.
        assert!(!unsafe { CStr::from_ptr(host.h_name) }.is_empty());
    });
}

#[test]
fn each_greenlet_keeps_its_own_answer() {
    patched(|| {
        // SAFETY: a C string.
        let ours = unsafe { gethostbyname(c"localhost".as_ptr()) }.unwrap();
        let theirs = spawn(|| gethost(c"localhost").unwrap());
        assert_eq!(theirs.join().unwrap(), [Ipv4Addr::LOCALHOST]);
        assert_eq!(addresses(ours), [Ipv4Addr::LOCALHOST]);
    });
}

#[test]
fn an_answer_in_a_buffer_points_into_the_buffer() {
    patched(|| {
        for misaligned in 0..8 {
            let mut buf = [0 as c_char; 1024];
            let whole = buf.as_ptr_range();
            let room = &mut buf[misaligned..1000];
            let (result, host) = reentrant(room);
            assert_eq!(result, 0);
            let host = host.unwrap();
            assert_eq!(addresses(&host), [Ipv4Addr::LOCALHOST]);
            let pointers = [host.h_name.cast_const(), host.h_aliases.cast(), host.h_addr_list.cast()];
            assert!(pointers.iter().all(|pointer| whole.contains(pointer)));
        }
        let (result, host) = reentrant(&mut [0; 8]);
        assert!(result == libc::ERANGE && host.is_none());
    });
}

#[test]
fn an_address_gets_its_name() {
    patched(|| {
        // SAFETY: any bytes will do.
        let mut addr: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        addr.sin_family = libc::AF_INET as u16;
        addr.sin_port = 80_u16.to_be();
        addr.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
        let (mut host, mut service) = ([0; 64], [0; 64]);
        let len = size_of::<libc::sockaddr_in>() as socklen_t;
        let mut ask = |len, host_len, flags| {
            let addr = (&raw const addr).cast();
            // SAFETY: the lengths are no more than there is room.
            unsafe { libc::getnameinfo(addr, len, host.as_mut_ptr(), host_len, service.as_mut_ptr(), 64, flags) }
        };
        assert_eq!(ask(len, 64, 0), 0);
        assert_eq!(ask(len, 2, 0), libc::EAI_OVERFLOW);
        assert_eq!(ask(1, 64, 0), libc::EAI_FAMILY);
        assert_eq!(ask(len, 64, libc::NI_NUMERICHOST | libc::NI_NUMERICSERV), 0);
        // SAFETY: C strings.
        let text = [host, service].map(|text| unsafe { CStr::from_ptr(text.as_ptr()) }.to_owned());
        assert_eq!(text, [c"127.0.0.1".to_owned(), c"80".to_owned()]);
    });
}

fn gethost(name: &CStr) -> Option<Vec<Ipv4Addr>> {
    // SAFETY: a C string; the answer is this greenlet's until its next question.
    unsafe { gethostbyname(name.as_ptr()) }.map(addresses)
}

fn addresses(host: &hostent) -> Vec<Ipv4Addr> {
    assert_eq!((host.h_addrtype, host.h_length), (libc::AF_INET, 4));
    let address = |index| {
        // SAFETY: the list ends with a null pointer, before which this stops.
        let place = unsafe { host.h_addr_list.add(index) };
        // SAFETY: as above.
        let address = unsafe { *place };
        // SAFETY: an address has four bytes.
        unsafe { address.cast::<[u8; 4]>().as_ref() }.map(|bytes| Ipv4Addr::from(*bytes))
    };
    (0..).map_while(address).collect()
}

fn reentrant(room: &mut [c_char]) -> (c_int, Option<hostent>) {
    // SAFETY: any bytes will do.
    let mut host: hostent = unsafe { std::mem::zeroed() };
    let (mut found, mut error) = (ptr::null_mut(), 0);
    let (buf, len) = (room.as_mut_ptr(), room.len());
    // SAFETY: all of it outlives the call.
    let result =
        unsafe { gethostbyname_r(c"localhost".as_ptr(), &raw mut host, buf, len, &raw mut found, &raw mut error) };
    (result, (!found.is_null()).then_some(host))
}
