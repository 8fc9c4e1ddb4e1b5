//! Guards that fault, the report, and the handlers before ours.

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenlet_core::overflow::{self, AltStack, Overflow};
use greenlet_core::{CoroutinePool, DEFAULT_STACK_SIZE, Suspender};

use crate::child::in_child;

static GUARD_START: AtomicUsize = AtomicUsize::new(0);
static GUARD_END: AtomicUsize = AtomicUsize::new(0);

fn describe(address: usize) -> Option<Overflow<'static>> {
    let guard = GUARD_START.load(Ordering::Relaxed)..GUARD_END.load(Ordering::Relaxed);
    guard.contains(&address).then_some(Overflow { name: "digger", stack_size: DEFAULT_STACK_SIZE })
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn dig(depth: usize) -> usize {
    let frame = black_box([depth; 32]);
    dig(depth + 1) + black_box(frame)[depth % 32]
}

/// Overflows the stack of a coroutine, with its guard known to `describe`.
fn overflow_a_coroutine() {
    fn body(_: Suspender, _: usize) {
        black_box(dig(0));
    }
    let mut coroutine = CoroutinePool::new(body).take(DEFAULT_STACK_SIZE).unwrap();
    GUARD_START.store(coroutine.guard().start, Ordering::Relaxed);
    GUARD_END.store(coroutine.guard().end, Ordering::Relaxed);
    coroutine.resume(0);
}

/// Reads from an address that is mapped nowhere.
fn fault() {
    let nowhere = std::ptr::without_provenance::<u8>(black_box(8));
    // SAFETY: it is not sound; the process is to get a SIGSEGV, and a volatile read gives it one.
    black_box(unsafe { nowhere.read_volatile() });
}

/// Sets what is done on SIGSEGV.
fn set_action(handler: usize, flags: c_int) {
    // SAFETY: all zeros are a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the action is valid, and its handler fits its flags.
    let res = unsafe { libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()) };
    assert_eq!(res, 0);
}

fn exit(code: c_int) -> ! {
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(code) }
}

#[test]
fn an_overflow_hits_the_guard_also_without_a_handler() {
    let ended = in_child("overflow::an_overflow_hits_the_guard_also_without_a_handler", overflow_a_coroutine);
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{ended:?}");
}

#[test]
fn an_overflow_is_reported_in_one_line_and_aborts() {
    let ended = in_child("overflow::an_overflow_is_reported_in_one_line_and_aborts", || {
        overflow::install(describe);
        overflow_a_coroutine();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
    assert_eq!(
        ended.stderr,
        "greenlet 'digger' has overflowed its stack of 249856 bytes; \
         Builder::stack_size gives it a larger one\n"
    );
}

#[test]
fn the_first_of_several_installations_counts() {
    let ended = in_child("overflow::the_first_of_several_installations_counts", || {
        overflow::install(describe);
        overflow::install(|_| exit(9));
        overflow_a_coroutine();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn an_overflow_on_a_thread_with_an_alternate_stack_of_ours_is_reported() {
    let name = "overflow::an_overflow_on_a_thread_with_an_alternate_stack_of_ours_is_reported";
    let ended = in_child(name, || {
        let thread = std::thread::spawn(|| {
            // As on a thread that std did not start.
            let none =
                libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: libc::SIGSTKSZ };
            // SAFETY: the structure is valid.
            assert_eq!(unsafe { libc::sigaltstack(&none, std::ptr::null_mut()) }, 0);
            let _stack = AltStack::ensure().unwrap();
            overflow::install(describe);
            overflow_a_coroutine();
        });
        thread.join().unwrap();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
    assert!(ended.stderr.starts_with("greenlet 'digger' has overflowed"), "{ended:?}");
}

#[test]
fn the_overflow_of_an_ordinary_thread_is_still_reported_by_std() {
    let name = "overflow::the_overflow_of_an_ordinary_thread_is_still_reported_by_std";
    let ended = in_child(name, || {
        overflow::install(describe);
        let thread = std::thread::Builder::new().name("plain".into()).spawn(|| dig(0));
        thread.unwrap().join().unwrap();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
    assert!(ended.stderr.contains("thread 'plain'"), "{ended:?}");
    assert!(ended.stderr.contains("has overflowed its stack"), "{ended:?}");
}

#[test]
fn a_fault_that_is_no_overflow_kills_the_process_as_without_us() {
    let ended = in_child("overflow::a_fault_that_is_no_overflow_kills_the_process_as_without_us", || {
        overflow::install(describe);
        fault();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{ended:?}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn other_faults_go_to_the_handler_before_with_all_it_is_told() {
    extern "C" fn before(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the handler is set with SA_SIGINFO.
        let info = unsafe { &*info };
        // SAFETY: the signal is a fault's, which has an address.
        let address = unsafe { info.si_addr() };
        let told = signal == libc::SIGSEGV && address.addr() == 8 && !context.is_null();
        exit(if told { 42 } else { 43 });
    }
    let ended = in_child("overflow::other_faults_go_to_the_handler_before_with_all_it_is_told", || {
        set_action(before as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
        overflow::install(describe);
        fault();
    });
    assert_eq!(ended.status.code(), Some(42), "{ended:?}");
}

#[test]
fn other_faults_go_to_a_plain_handler_before() {
    extern "C" fn before(signal: c_int) {
        exit(if signal == libc::SIGSEGV { 42 } else { 43 });
    }
    let ended = in_child("overflow::other_faults_go_to_a_plain_handler_before", || {
        set_action(before as *const () as usize, 0);
        overflow::install(describe);
        fault();
    });
    assert_eq!(ended.status.code(), Some(42), "{ended:?}");
}

#[test]
fn a_fault_under_the_default_action_kills_the_process() {
    let ended = in_child("overflow::a_fault_under_the_default_action_kills_the_process", || {
        set_action(libc::SIG_DFL, 0);
        overflow::install(describe);
        fault();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{ended:?}");
}

#[test]
fn a_fault_cannot_be_ignored() {
    let ended = in_child("overflow::a_fault_cannot_be_ignored", || {
        set_action(libc::SIG_IGN, 0);
        overflow::install(describe);
        fault();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{ended:?}");
}

#[test]
fn a_signal_that_was_sent_kills_under_the_default_action() {
    let ended = in_child("overflow::a_signal_that_was_sent_kills_under_the_default_action", || {
        set_action(libc::SIG_DFL, 0);
        overflow::install(|_| exit(9));
        // SAFETY: it has no preconditions.
        unsafe { libc::raise(libc::SIGSEGV) };
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{ended:?}");
}

#[test]
fn a_signal_that_was_sent_is_ignored_as_before() {
    let ended = in_child("overflow::a_signal_that_was_sent_is_ignored_as_before", || {
        set_action(libc::SIG_IGN, 0);
        overflow::install(describe);
        // SAFETY: it has no preconditions.
        unsafe { libc::raise(libc::SIGSEGV) };
        // The handler is still there.
        overflow_a_coroutine();
    });
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
    assert!(ended.stderr.starts_with("greenlet 'digger'"), "{ended:?}");
}

#[test]
fn the_handler_keeps_errno() {
    extern "C" fn before(_: c_int) {
        // SAFETY: the path is a C string. It is empty, so the call fails with ENOENT.
        unsafe { libc::chdir(c"".as_ptr()) };
    }
    let ended = in_child("overflow::the_handler_keeps_errno", || {
        set_action(before as *const () as usize, 0);
        overflow::install(describe);
        // SAFETY: no descriptor has this number, so the call fails with EBADF.
        unsafe { libc::close(-1) };
        // SAFETY: it has no preconditions.
        unsafe { libc::raise(libc::SIGSEGV) };
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    });
    assert!(ended.status.success(), "{ended:?}");
}
