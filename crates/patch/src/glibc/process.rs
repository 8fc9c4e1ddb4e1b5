//! Shells of the calls that wait for child processes.
//!
//! Each begins with the real call that does not wait, and ends with it: nothing else takes a child's status. In between:
//!
//! * One child whose end is waited for: its pidfd becomes readable then.
//! * Any child, those of a group, or a child that is to stop or to go on: the kernel has no descriptor for that. A thread of the process's pool waits, in a way that leaves the
//!   status where it is (`WNOWAIT`). There is one such thread for all who wait for the same, and one that nobody waits for any more takes nothing from anybody: it ends with the next event.
//!
//! With options that are about the threads of the caller (`__WNOTHREAD`, `__WALL`, `__WCLONE`) the call is the real one, since another thread could not make it.

use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use greenlet_hub::{OffloadHandle, ShortLock, ThreadPool};
use libc::{c_int, id_t, idtype_t, pid_t, rusage, siginfo_t};

use super::fds::Direction;
use super::owned::Owned;
use super::raw;
use super::readiness::wait_for_one;
use super::wait;
use crate::gate::{self, Call};

/// About the threads of the caller.
const THREADS: c_int = libc::__WNOTHREAD | libc::__WALL | libc::__WCLONE;

#[unsafe(no_mangle)]
unsafe extern "C" fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: the caller's promise.
    unsafe { wait_as(Call::waitpid, pid, status, options, ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    // SAFETY: the caller's promise.
    unsafe { wait_as(Call::wait4, pid, status, options, usage) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    // SAFETY: the caller's promise.
    unsafe { wait_as(Call::wait3, -1, status, options, usage) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn wait(status: *mut c_int) -> pid_t {
    // SAFETY: the caller's promise.
    unsafe { wait_as(Call::wait, -1, status, 0, ptr::null_mut()) }
}

/// # Safety
///
/// That of `wait4`.
unsafe fn wait_as(call: Call, pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t {
    let plain = !gate::may_wait(call) || options & (libc::WNOHANG | THREADS) != 0;
    let real = |options| {
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_wait4, pid, status, options, usage) }
    };
    if plain {
        return raw::give(real(options)) as pid_t;
    }
    let children = match pid {
        1.. => Children { kind: libc::P_PID, id: pid as id_t },
        -1 => Children { kind: libc::P_ALL, id: 0 },
        0 => Children { kind: libc::P_PGID, id: 0 },
        pid => Children { kind: libc::P_PGID, id: pid.unsigned_abs() },
    };
    let events = libc::WEXITED | options & (libc::WUNTRACED | libc::WCONTINUED);
    let mut look = || match raw::check(real(options | libc::WNOHANG)) {
        Ok(0) => Ok(None),
        Ok(child) => Ok(Some(child)),
        Err(err) => Err(err),
    };
    raw::give_result(children.wait(events, &mut look)) as pid_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
    let plain = !gate::may_wait(Call::waitid) || options & (libc::WNOHANG | THREADS) != 0;
    let real = |info: *mut siginfo_t, options| {
        // SAFETY: the caller's promise.
        unsafe { raw::syscall!(libc::SYS_waitid, kind, id, info, options, 0) }
    };
    if plain {
        return raw::give(real(info, options)) as c_int;
    }
    // Null is allowed; but a call that does not wait tells only there whether it has found anything.
    let mut own = std::mem::MaybeUninit::<siginfo_t>::zeroed();
    let info = if info.is_null() { own.as_mut_ptr() } else { info };
    let mut look = || {
        // SAFETY: there is room for it; it begins with these numbers, of which the second stays 0 if nothing is found.
        unsafe { ptr::write_bytes(info, 0, 1) };
        raw::check(real(info, options | libc::WNOHANG))?;
        // SAFETY: all bits are allowed, and the call has filled it or left it as it was.
        Ok((unsafe { (*info).si_signo } != 0).then_some(0))
    };
    let events = options & (libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED);
    raw::give_result(Children { kind, id }.wait(events, &mut look)) as c_int
}

/// Whose end (or stop) is waited for, as `waitid` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Children {
    kind: idtype_t,
    id: id_t,
}

impl Children {
    /// Looks, and waits, until a look says something.
    fn wait(self, events: c_int, look: &mut dyn FnMut() -> io::Result<Option<usize>>) -> io::Result<usize> {
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            wait::interruptible(|| self.wait_for_event(events))?;
        }
    }

    fn wait_for_event(self, events: c_int) -> io::Result<()> {
        if events == libc::WEXITED && self.kind == libc::P_PIDFD {
            return wait_for_one(self.id as c_int, Direction::Read, None).map(drop);
        }
        if events == libc::WEXITED
            && self.kind == libc::P_PID
            // SAFETY: a call with plain numbers. It fails on an older kernel, and if there are no descriptors left.
            && let Ok(pidfd) = Owned::made(unsafe { raw::syscall!(libc::SYS_pidfd_open, self.id, 0) })
        {
            return greenlet_hub::wait_readable(&pidfd);
        }
        self.watch(events).wait();
        Ok(())
    }

    /// The thread that waits for that.
    fn watch(mut self, events: c_int) -> Arc<OffloadHandle<()>> {
        if self == (Children { kind: libc::P_PGID, id: 0 }) {
            // That of the moment of the call.
            // SAFETY: a call without arguments.
            self.id = unsafe { libc::getpgrp() } as id_t;
        }
        let find = |watches: &mut Vec<Watch>| {
            watches.retain(|watch| !watch.thread.is_finished());
            let same = watches.iter().find(|watch| watch.children == self && watch.events == events);
            same.map(|watch| Arc::clone(&watch.thread))
        };
        if let Some(thread) = find(&mut watches().lock()) {
            return thread;
        }
        // Without the lock. Should another thread do the same, there are two for once.
        let thread = Arc::new(ThreadPool::global().spawn(move || self.block(events)));
        watches().lock().push(Watch { children: self, events, thread: Arc::clone(&thread) });
        thread
    }

    /// Blocks until there is something to be told, or nobody who could.
    fn block(self, events: c_int) {
        loop {
            let options = events | libc::WNOWAIT;
            let mut info = std::mem::MaybeUninit::<siginfo_t>::zeroed();
            // SAFETY: there is room for the answer.
            let result = unsafe { raw::syscall!(libc::SYS_waitid, self.kind, self.id, info.as_mut_ptr(), options, 0) };
            if result != -(libc::EINTR as isize) {
                return;
            }
        }
    }
}

/// A thread that waits for something, for all who do.
struct Watch {
    children: Children,
    events: c_int,
    thread: Arc<OffloadHandle<()>>,
}

type Watches = ShortLock<Vec<Watch>>;

/// Null, before the first is needed.
static WATCHES: AtomicPtr<Watches> = AtomicPtr::new(ptr::null_mut());

/// All of this process.
fn watches() -> &'static Watches {
    let mut watches = WATCHES.load(Ordering::Acquire);
    if watches.is_null() {
        let new = Box::into_raw(Box::new(ShortLock::new(Vec::new())));
        match WATCHES.compare_exchange(watches, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => watches = new,
            Err(others) => {
                watches = others;
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
    // SAFETY: what was stored there is never freed.
    unsafe { &*watches }
}

/// Leaves the list to the parent, in a forked child: it has none of those threads, and one that it does not have may hold the lock.
pub(crate) fn begin_anew_in_child() {
    WATCHES.store(ptr::null_mut(), Ordering::Release);
}
