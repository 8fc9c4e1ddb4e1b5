//! Shells of the calls that look up names: the C library does it, on a thread of the resolver's pool.
//!
//! Whoever asks may be gone before there is an answer: a greenlet that is killed leaves at once, and nothing stops the C library. So what is asked is copied, and
//! the answer is copied back by the greenlet itself, if it is still there; the thread never has a pointer of the caller's.
//!
//! What needs no name server (numeric addresses, no name at all) is asked where it is asked.

use std::ffi::{CStr, CString};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::slice;

use greenlet_hub::{LocalKey, is_interrupt, patching};
use libc::{addrinfo, c_char, c_int, c_void, hostent, size_t, sockaddr, socklen_t};

use super::raw;
use super::wait;
use crate::gate::{self, Call};

/// What `h_errno` says if `errno` has to be looked at.
const NETDB_INTERNAL: c_int = -1;
/// As much as a buffer for a host grows to.
const LONGEST_HOST: usize = 1 << 20;
const ALIGN: usize = 16;

#[allow(clippy::too_many_arguments, reason = "as many as the C library's functions have")]
mod past {
    use libc::{addrinfo, c_char, c_int, c_void, hostent, size_t, sockaddr, socklen_t};

    crate::glibc::real::real! {
        /// The C library's.
        fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, found: *mut *mut addrinfo) -> c_int;
        /// The C library's.
        fn getnameinfo(
            addr: *const sockaddr, addr_len: socklen_t,
            host: *mut c_char, host_len: socklen_t, service: *mut c_char, service_len: socklen_t, flags: c_int,
        ) -> c_int;
        /// The C library's.
        fn gethostbyname(name: *const c_char) -> *mut hostent;
        /// The C library's.
        fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent;
        /// The C library's.
        fn gethostbyaddr(addr: *const c_void, len: socklen_t, family: c_int) -> *mut hostent;
        /// The C library's.
        fn gethostbyname_r(
            name: *const c_char,
            host: *mut hostent, buf: *mut c_char, len: size_t, found: *mut *mut hostent, error: *mut c_int,
        ) -> c_int;
        /// The C library's.
        fn gethostbyname2_r(
            name: *const c_char, family: c_int,
            host: *mut hostent, buf: *mut c_char, len: size_t, found: *mut *mut hostent, error: *mut c_int,
        ) -> c_int;
        /// The C library's.
        fn gethostbyaddr_r(
            addr: *const c_void, addr_len: socklen_t, family: c_int,
            host: *mut hostent, buf: *mut c_char, len: size_t, found: *mut *mut hostent, error: *mut c_int,
        ) -> c_int;
    }
}

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

// ---- getaddrinfo, getnameinfo ----

#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: the caller's promise.
    if !gate::may_wait(Call::getaddrinfo) || unsafe { is_at_hand(node, service, hints) } {
        // SAFETY: the caller's promise.
        return unsafe { past::getaddrinfo(node, service, hints, found) };
    }
    // SAFETY: the caller's promise.
    let (node, service) = (unsafe { copy(node) }, unsafe { copy(service) });
    // SAFETY: the caller's promise, if it is not null.
    let hints = unsafe { hints.as_ref() }.map(|hints| {
        // The others say nothing.
        [hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol]
    });
    match on_pool(move || Addresses::look_up(node.as_deref(), service.as_deref(), hints)) {
        Ok(Ok(addresses)) => {
            // SAFETY: the caller's promise.
            unsafe { *found = addresses.into_raw() };
            0
        }
        Ok(Err(err)) => err.give(),
        Err(err) => Failed { code: libc::EAI_SYSTEM, errno: raw::errno_of(&err) }.give(),
    }
}

/// Whether there is no name to be looked up.
///
/// # Safety
///
/// That of `getaddrinfo`.
unsafe fn is_at_hand(node: *const c_char, service: *const c_char, hints: *const addrinfo) -> bool {
    // SAFETY: the caller's promise, if it is not null.
    let flags = unsafe { hints.as_ref() }.map_or(0, |hints| hints.ai_flags);
    // SAFETY: the caller's promise.
    let is_service = unsafe { text(service) }.is_none_or(|service| service.iter().all(u8::is_ascii_digit))
        || flags & libc::AI_NUMERICSERV != 0;
    // SAFETY: the caller's promise.
    is_service && (flags & libc::AI_NUMERICHOST != 0 || unsafe { text(node) }.is_none_or(is_numeric))
}

/// The list that `getaddrinfo` makes.
struct Addresses(*mut addrinfo);

// SAFETY: it is plain memory of its own, which any thread may read and free.
unsafe impl Send for Addresses {}

impl Addresses {
    fn look_up(node: Option<&CStr>, service: Option<&CStr>, hints: Option<[c_int; 4]>) -> Result<Addresses, Failed> {
        let hints = hints.map(|[ai_flags, ai_family, ai_socktype, ai_protocol]| addrinfo {
            ai_flags,
            ai_family,
            ai_socktype,
            ai_protocol,
            ai_addrlen: 0,
            ai_addr: ptr::null_mut(),
            ai_canonname: ptr::null_mut(),
            ai_next: ptr::null_mut(),
        });
        let hints = hints.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut found = ptr::null_mut();
        // SAFETY: each is null or outlives the call.
        match unsafe { past::getaddrinfo(pointer(node), pointer(service), hints, &raw mut found) } {
            0 => Ok(Addresses(found)),
            code => Err(Failed { code, errno: raw::errno() }),
        }
    }

    fn into_raw(self) -> *mut addrinfo {
        let found = self.0;
        std::mem::forget(self);
        found
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it is what `getaddrinfo` has made, and nobody else has it.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

/// How a look-up failed.
struct Failed {
    code: c_int,
    errno: c_int,
}

impl Failed {
    fn give(self) -> c_int {
        if self.code == libc::EAI_SYSTEM {
            raw::set_errno(self.errno);
        }
        self.code
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getnameinfo(
    addr: *const sockaddr,
    addr_len: socklen_t,
    host: *mut c_char,
    host_len: socklen_t,
    service: *mut c_char,
    service_len: socklen_t,
    flags: c_int,
) -> c_int {
    let wants_host = !host.is_null() && host_len > 0 && flags & libc::NI_NUMERICHOST == 0;
    let wants_service = !service.is_null() && service_len > 0 && flags & libc::NI_NUMERICSERV == 0;
    let is_known = addr_len as usize <= size_of::<libc::sockaddr_storage>();
    if !gate::may_wait(Call::getnameinfo) || !(wants_host || wants_service) || !is_known {
        // SAFETY: the caller's promise.
        return unsafe { past::getnameinfo(addr, addr_len, host, host_len, service, service_len, flags) };
    }
    // SAFETY: any bytes will do.
    let mut copied: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: the caller promises so many; there is room for them.
    unsafe { ptr::copy_nonoverlapping(addr.cast::<u8>(), (&raw mut copied).cast(), addr_len as usize) };
    let room = |to: *mut c_char, len: socklen_t| if to.is_null() { Vec::new() } else { vec![0_u8; len as usize] };
    let (mut host_room, mut service_room) = (room(host, host_len), room(service, service_len));
    let answer = on_pool(move || {
        let part = |room: &mut Vec<u8>| {
            let to = if room.is_empty() { ptr::null_mut() } else { room.as_mut_ptr().cast::<c_char>() };
            (to, room.len() as socklen_t)
        };
        let ((host, host_len), (service, service_len)) = (part(&mut host_room), part(&mut service_room));
        let addr = (&raw const copied).cast();
        // SAFETY: all of it outlives the call, and has the length that it is said to have.
        let code = unsafe { past::getnameinfo(addr, addr_len, host, host_len, service, service_len, flags) };
        (Failed { code, errno: raw::errno() }, host_room, service_room)
    });
    match answer {
        Ok((Failed { code: 0, .. }, host_found, service_found)) => {
            for (found, to) in [(host_found, host), (service_found, service)] {
                let len = found.iter().position(|&byte| byte == 0).map_or(0, |end| end + 1);
                // SAFETY: the caller promises as much room as `found` has.
                unsafe { ptr::copy_nonoverlapping(found.as_ptr().cast(), to, len) };
            }
            0
        }
        Ok((err, ..)) => err.give(),
        Err(err) => Failed { code: libc::EAI_SYSTEM, errno: raw::errno_of(&err) }.give(),
    }
}

// ---- gethostby* ----

#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname(name: *const c_char) -> *mut hostent {
    // SAFETY: the caller's promise.
    if !gate::may_wait(Call::gethostbyname) || unsafe { text(name) }.is_none_or(is_numeric) {
        // SAFETY: the caller's promise.
        return unsafe { past::gethostbyname(name) };
    }
    // SAFETY: the caller's promise.
    unsafe { Query::name(name, None) }.answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
    // SAFETY: the caller's promise.
    if !gate::may_wait(Call::gethostbyname2) || unsafe { text(name) }.is_none_or(is_numeric) {
        // SAFETY: the caller's promise.
        return unsafe { past::gethostbyname2(name, family) };
    }
    // SAFETY: the caller's promise.
    unsafe { Query::name(name, Some(family)) }.answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyaddr(addr: *const c_void, len: socklen_t, family: c_int) -> *mut hostent {
    if !gate::may_wait(Call::gethostbyaddr) || addr.is_null() {
        // SAFETY: the caller's promise.
        return unsafe { past::gethostbyaddr(addr, len, family) };
    }
    // SAFETY: the caller's promise.
    unsafe { Query::addr(addr, len, family) }.answer()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname_r(
    name: *const c_char,
    host: *mut hostent,
    buf: *mut c_char,
    len: size_t,
    found: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    if !gate::may_wait(Call::gethostbyname_r) || unsafe { text(name) }.is_none_or(is_numeric) {
        // SAFETY: the caller's promise.
        return unsafe { past::gethostbyname_r(name, host, buf, len, found, error) };
    }
    // SAFETY: the caller's promise.
    let query = unsafe { Query::name(name, None) };
    // SAFETY: the caller's promise.
    unsafe { query.answer_into(Room { host, buf, len, found, error }) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    host: *mut hostent,
    buf: *mut c_char,
    len: size_t,
    found: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    if !gate::may_wait(Call::gethostbyname2_r) || unsafe { text(name) }.is_none_or(is_numeric) {
        // SAFETY: the caller's promise.
        return unsafe { past::gethostbyname2_r(name, family, host, buf, len, found, error) };
    }
    // SAFETY: the caller's promise.
    let query = unsafe { Query::name(name, Some(family)) };
    // SAFETY: the caller's promise.
    unsafe { query.answer_into(Room { host, buf, len, found, error }) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyaddr_r(
    addr: *const c_void,
    addr_len: socklen_t,
    family: c_int,
    host: *mut hostent,
    buf: *mut c_char,
    len: size_t,
    found: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    if !gate::may_wait(Call::gethostbyaddr_r) || addr.is_null() {
        // SAFETY: the caller's promise.
        return unsafe { past::gethostbyaddr_r(addr, addr_len, family, host, buf, len, found, error) };
    }
    // SAFETY: the caller's promise.
    let query = unsafe { Query::addr(addr, addr_len, family) };
    // SAFETY: the caller's promise.
    unsafe { query.answer_into(Room { host, buf, len, found, error }) }
}

/// What is asked for.
enum Query {
    Name { name: CString, family: Option<c_int> },
    Addr { addr: Vec<u8>, family: c_int },
}

/// Where an answer is to go.
struct Room {
    host: *mut hostent,
    buf: *mut c_char,
    len: usize,
    found: *mut *mut hostent,
    error: *mut c_int,
}

impl Query {
    /// # Safety
    ///
    /// It is a C string.
    unsafe fn name(name: *const c_char, family: Option<c_int>) -> Query {
        // SAFETY: the caller's promise.
        Query::Name { name: unsafe { CStr::from_ptr(name) }.to_owned(), family }
    }

    /// # Safety
    ///
    /// There are so many bytes.
    unsafe fn addr(addr: *const c_void, len: socklen_t, family: c_int) -> Query {
        // SAFETY: the caller's promise.
        Query::Addr { addr: unsafe { slice::from_raw_parts(addr.cast::<u8>(), len as usize) }.to_owned(), family }
    }

    /// Asks, on this thread.
    fn ask(&self, host: &mut Host) {
        let (entry, buf, len) = (&raw mut host.entry, host.begin(), host.len);
        let (mut found, error) = (ptr::null_mut(), &raw mut host.error);
        host.code = match self {
            Query::Name { name, family: None } => {
                // SAFETY: all of it outlives the call.
                unsafe { past::gethostbyname_r(name.as_ptr(), entry, buf, len, &raw mut found, error) }
            }
            Query::Name { name, family: Some(family) } => {
                // SAFETY: all of it outlives the call.
                unsafe { past::gethostbyname2_r(name.as_ptr(), *family, entry, buf, len, &raw mut found, error) }
            }
            Query::Addr { addr, family } => {
                let (addr, addr_len) = (addr.as_ptr().cast(), addr.len() as socklen_t);
                // SAFETY: all of it outlives the call.
                unsafe { past::gethostbyaddr_r(addr, addr_len, *family, entry, buf, len, &raw mut found, error) }
            }
        };
        host.errno = raw::errno();
        host.is_found = !found.is_null();
    }

    /// Asks for a caller who brings a buffer.
    ///
    /// # Safety
    ///
    /// That of `gethostbyname_r`.
    unsafe fn answer_into(self, room: Room) -> c_int {
        let (len, offset) = (room.len, room.buf as usize % ALIGN);
        let answer = on_pool(move || {
            let mut host = Host::new(len, offset);
            self.ask(&mut host);
            host
        });
        let Room { found, error, .. } = room;
        // SAFETY: the caller's promise.
        unsafe { *found = ptr::null_mut() };
        match answer {
            Ok(mut host) => {
                // SAFETY: the caller's promise.
                unsafe { *error = host.error };
                if host.is_found {
                    // SAFETY: the caller's promise; the buffer is as long as `host`'s.
                    unsafe { host.move_to(room.host, room.buf) };
                    // SAFETY: the caller's promise.
                    unsafe { *found = room.host };
                }
                host.code
            }
            Err(err) => {
                // SAFETY: the caller's promise.
                unsafe { *error = NETDB_INTERNAL };
                raw::errno_of(&err)
            }
        }
    }

    /// Asks for a caller who brings none: the answer is the greenlet's until its next question.
    fn answer(self) -> *mut hostent {
        let answer = on_pool(move || {
            let mut len = 1024;
            loop {
                let mut host = Box::new(Host::new(len, 0));
                self.ask(&mut host);
                if host.code != libc::ERANGE || len >= LONGEST_HOST {
                    let told = (host.is_found, host.error, host.errno);
                    return (told, Kept(Box::into_raw(host)));
                }
                len *= 2;
            }
        });
        let failed = match answer {
            Ok(((is_found, error, errno), kept)) => {
                let host = kept.0;
                if is_found {
                    // A greenlet at its very end has no values of its own any more; then the answer is nobody's.
                    let mut kept = Some(kept);
                    if LAST.try_with(|last| last.replace(kept.take())).is_ok() {
                        // SAFETY: what was kept keeps it.
                        return unsafe { &raw mut (*host).entry };
                    }
                }
                (error, errno)
            }
            Err(err) => (NETDB_INTERNAL, raw::errno_of(&err)),
        };
        // SAFETY: it has no preconditions.
        let place = unsafe { __h_errno_location() };
        // SAFETY: it points to the thread's own number.
        unsafe { *place = failed.0 };
        raw::set_errno(failed.1);
        ptr::null_mut()
    }
}

/// The last answer that a greenlet got from a call which returns a pointer to it. The C library has one for the whole process.
static LAST: LocalKey<std::cell::RefCell<Option<Kept>>> = LocalKey::new(|| std::cell::RefCell::new(None));

/// A host that somebody outside has a pointer to.
struct Kept(*mut Host);

// SAFETY: it is plain memory of its own.
unsafe impl Send for Kept {}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: it came out of a box, and this is its one owner.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// An answer, with the buffer that it points into.
struct Host {
    memory: Vec<u8>,
    /// Where the buffer begins, so that it is aligned as the caller's.
    start: usize,
    len: usize,
    entry: hostent,
    code: c_int,
    error: c_int,
    errno: c_int,
    is_found: bool,
}

// SAFETY: its pointers are into its own memory, or to what is the C library's for good.
unsafe impl Send for Host {}

impl Host {
    fn new(len: usize, offset: usize) -> Host {
        let mut memory = vec![0; len + 2 * ALIGN];
        let start = memory.as_mut_ptr().align_offset(ALIGN) + offset;
        let entry = hostent {
            h_name: ptr::null_mut(),
            h_aliases: ptr::null_mut(),
            h_addrtype: 0,
            h_length: 0,
            h_addr_list: ptr::null_mut(),
        };
        Host { memory, start, len, entry, code: 0, error: 0, errno: 0, is_found: false }
    }

    fn begin(&mut self) -> *mut c_char {
        self.memory[self.start..].as_mut_ptr().cast()
    }

    /// Copies it into the caller's buffer, and has its pointers point there.
    ///
    /// # Safety
    ///
    /// There is room for an entry, and for as many bytes as its buffer has.
    unsafe fn move_to(&mut self, host: *mut hostent, buf: *mut c_char) {
        let begin = self.begin();
        // SAFETY: the caller's promise.
        unsafe { ptr::copy_nonoverlapping(begin, buf, self.len) };
        let moved = Moved { from: begin as usize, len: self.len, to: buf };
        let entry = hostent {
            h_name: moved.pointer(self.entry.h_name),
            h_aliases: moved.pointer(self.entry.h_aliases),
            h_addr_list: moved.pointer(self.entry.h_addr_list),
            ..self.entry
        };
        for list in [entry.h_aliases, entry.h_addr_list] {
            // SAFETY: the lists are the C library's, which ends them with a null pointer.
            unsafe { moved.list(list) };
        }
        // SAFETY: the caller's promise.
        unsafe { host.write(entry) };
    }
}

/// A buffer that was copied.
struct Moved {
    from: usize,
    len: usize,
    to: *mut c_char,
}

impl Moved {
    /// Where a pointer points now, if it was into the buffer.
    fn pointer<T>(&self, pointer: *mut T) -> *mut T {
        match (pointer as usize).checked_sub(self.from) {
            Some(offset) if offset < self.len => self.to.wrapping_add(offset).cast(),
            _ => pointer,
        }
    }

    /// # Safety
    ///
    /// It is null, or a list of pointers in the new buffer that ends with a null pointer.
    unsafe fn list(&self, list: *mut *mut c_char) {
        if list.is_null() || !(self.to as usize..self.to as usize + self.len).contains(&(list as usize)) {
            return;
        }
        for index in 0.. {
            // SAFETY: the caller's promise: it has not come to the end.
            let place = unsafe { list.add(index) };
            // SAFETY: as above; the caller's buffer is nobody else's.
            let place = unsafe { &mut *place };
            if place.is_null() {
                return;
            }
            *place = self.pointer(*place);
        }
    }
}

// ---- in common ----

/// Looks up on a thread of the resolver's pool.
fn on_pool<T: Send + 'static>(look_up: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    wait::interruptible(|| {
        match catch_unwind(AssertUnwindSafe(|| patching::offload_name(look_up))) {
            Ok(answer) => Ok(answer),
            Err(payload) if is_interrupt(&*payload) => resume_unwind(payload),
            // There is no thread for it, and none could be started.
            Err(_) => Err(raw::error(libc::EAGAIN)),
        }
    })
}

/// # Safety
///
/// It is null or a C string, which lives as long as what is made of it is used.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// # Safety
///
/// It is null or a C string.
unsafe fn copy(text: *const c_char) -> Option<CString> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_owned())
}

fn pointer(text: Option<&CStr>) -> *const c_char {
    text.map_or(ptr::null(), CStr::as_ptr)
}

/// Whether a host is an address, perhaps with the name of an interface behind it.
fn is_numeric(host: &[u8]) -> bool {
    let address = host.split(|&byte| byte == b'%').next().unwrap_or(host);
    str::from_utf8(address).is_ok_and(|address| address.parse::<IpAddr>().is_ok())
}
