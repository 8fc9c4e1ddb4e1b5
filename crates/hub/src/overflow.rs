//! Which greenlet overflowed its stack: what the signal handler in `core` asks.

use greenlet_core::overflow::{self, Overflow};

use crate::hub::Hub;

/// Installs the handler, once a process.
pub(crate) fn install() {
    overflow::install(describe);
}

/// Says whether the address lies in the guard of the greenlet that runs on this thread.
///
/// Called in a signal handler: it reads the thread's hub pointer and a few words of the hub, allocates nothing and takes no lock.
fn describe(address: usize) -> Option<Overflow<'static>> {
    Hub::try_with(|hub| {
        let current = hub.current();
        let coroutine = current.local().coroutine.get();
        // SAFETY: the hub changes it in its loop only; here the greenlet's own stack has just overflowed.
        let coroutine = unsafe { (*coroutine).as_ref() }?;
        coroutine.guard().contains(&address).then(|| {
            let size = coroutine.stack_size();
            let name: Option<&str> = current.name();
            // The process ends without returning to the greenlet, so its block stays for as long as the name is used.
            let name = name.map(|name| -> &'static str { extend(name) });
            Overflow { name: name.unwrap_or("without a name"), stack_size: size }
        })
    })
    .flatten()
}

/// Lengthens the life of a name to that of the process, which is about to end.
fn extend(name: &str) -> &'static str {
    // SAFETY: only called in the handler of a stack overflow, which aborts the process on the overflown stack's thread: the
    // greenlet never runs on, so its block is never released.
    unsafe { std::mem::transmute::<&str, &'static str>(name) }
}
