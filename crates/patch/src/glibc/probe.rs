//! Makes sure that the calls of this program do come to our shells.
//!
//! Twice: calls are made through std, each of which has to be noted by its shell; and each name is looked up as the dynamic linker does it for C libraries, and has to be
//! found in the same object as this code. Either fails where the linker took the functions from elsewhere (a static C library, an object that comes first).

use std::ffi::{CString, c_void};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::gate::{self, Call};

/// Looks whether the shells of those groups are called; returns what there is to be said.
pub(crate) fn run(groups: u32) -> Result<Vec<String>, String> {
    let is_asked = |call: &Call| {
        groups & call.group() as u32 != 0
            && !matches!(call.group(), gate::Group::Names | gate::Group::Processes)
            && call.name() != "__cxa_thread_atexit_impl"
    };
    let elsewhere: Vec<&str> =
        Call::ALL.iter().filter(|call| is_asked(call) && !is_ours(call.name())).map(|call| call.name()).collect();
    if !elsewhere.is_empty() {
        return Err(format!(
            "the program has these functions from elsewhere, so calls of them would not be seen: {}",
            elsewhere.join(", ")
        ));
    }
    let called = call_through_std();
    let unseen: Vec<&str> =
        called.iter().filter(|call| is_asked(call) && !gate::was_seen(**call)).map(|call| call.name()).collect();
    if !unseen.is_empty() {
        return Err(format!("std does not call these functions of ours: {}", unseen.join(", ")));
    }
    Ok(Vec::new())
}

/// Whether a name is found in the object that this code is in.
fn is_ours(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name ends with a NUL byte.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    !found.is_null() && object_of(found).is_some_and(|object| Some(object) == object_of(is_ours as *const c_void))
}

/// Where the object begins that an address is in.
fn object_of(address: *const c_void) -> Option<*mut c_void> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked for, and there is room for the answer.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: the call has filled it in, as it says.
    (found != 0).then(|| unsafe { info.assume_init() }.dli_fbase)
}

/// Calls what can be called without waiting, through std; returns which of our shells must have noted it.
fn call_through_std() -> Vec<Call> {
    gate::begin_probe();
    let mut called = vec![Call::clock_nanosleep, Call::sched_yield, Call::syscall];
    thread::sleep(Duration::from_nanos(1));
    thread::yield_now();
    let never = Mutex::new(());
    // Nobody else has it, so it is not poisoned.
    if let Ok(guard) = never.lock() {
        let _ = Condvar::new().wait_timeout(guard, Duration::from_nanos(1));
    }
    if let Ok((mut ours, mut theirs)) = UnixStream::pair() {
        called.extend([
            Call::socketpair,
            Call::send,
            Call::recv,
            Call::ioctl,
            Call::setsockopt,
            Call::shutdown,
            Call::close,
        ]);
        let _ = ours.write(b"probe");
        let _ = theirs.read(&mut [0; 5]);
        let _ = ours.set_nonblocking(true);
        let _ = ours.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = ours.shutdown(std::net::Shutdown::Both);
        if theirs.try_clone().is_ok() {
            called.push(Call::fcntl);
        }
    }
    if let Ok(datagrams) = UnixDatagram::unbound() {
        called.extend([Call::socket, Call::connect]);
        let _ = datagrams.connect("/");
    }
    // There may be no network at all.
    if let Ok(listener) = TcpListener::bind("127.0.0.1:0")
        && listener.set_nonblocking(true).is_ok()
    {
        called.push(Call::accept4);
        let _ = listener.accept();
    }
    if let Ok((mut ours, mut theirs)) = std::io::pipe() {
        called.extend([Call::write, Call::read]);
        let _ = theirs.write(b"probe");
        let _ = ours.read(&mut [0; 5]);
    }
    gate::end_probe();
    called
}
