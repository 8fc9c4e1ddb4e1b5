//! Signals: handlers run inert, and what the program sees of its handlers is its own.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::io::{Read, Write, pipe};
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::thread;

use greenlet_hub::{spawn, timeout, yield_now};

use crate::child;
use crate::support::{MS, patched, timed};

static CALLS: AtomicUsize = AtomicUsize::new(0);
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Runs a test in a process of its own: handlers belong to the process.
#[track_caller]
fn alone(name: &str, test: impl FnOnce() + Send + 'static) {
    let ended = child::in_child(name, || patched(test));
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
}

extern "C" fn counts(_: c_int) {
    CALLS.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn counts_with_info(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    assert!(!context.is_null());
    // SAFETY: a handler with three arguments gets one.
    assert_eq!(unsafe { (*info).si_signo }, signal);
    CALLS.fetch_add(100, Ordering::SeqCst);
}

/// Reads from a pipe that has nothing in it until another thread writes, sleeps and gives way.
extern "C" fn blocks(_: c_int) {
    let mut byte = 0_u8;
    // SAFETY: there is room for a byte.
    let read = unsafe { libc::read(PIPE.load(Ordering::SeqCst), (&raw mut byte).cast(), 1) };
    // SAFETY: calls with plain numbers.
    unsafe { libc::usleep(20_000) };
    // SAFETY: as above.
    unsafe { libc::sched_yield() };
    assert_eq!(read, 1);
    CALLS.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_handler_that_blocks_runs_nobody_else() {
    alone("signal::a_handler_that_blocks_runs_nobody_else", || {
        let (reader, mut writer) = pipe().unwrap();
        PIPE.store(reader.as_raw_fd(), Ordering::SeqCst);
        install(libc::SIGUSR1, blocks as *const () as usize, 0, 0);
        let turns = Rc::new(Cell::new(0));
        let other = spawn({
            let turns = Rc::clone(&turns);
            move || {
                for _ in 0..1000 {
                    turns.set(turns.get() + 1);
                    yield_now();
                }
            }
        });
        yield_now();
        let before = turns.get();
        let late = thread::spawn(move || {
            thread::sleep(50 * MS);
            writer.write_all(b"x")
        });
        let (took, ()) = timed(|| raise(libc::SIGUSR1));
        assert_eq!((turns.get(), CALLS.load(Ordering::SeqCst)), (before, 1));
        assert!(took >= 60 * MS, "{took:?}");
        late.join().unwrap().unwrap();
        // It is over with the handler.
        thread::sleep(MS);
        other.join().unwrap();
        assert!(turns.get() > before);
    });
}

#[test]
fn a_signal_that_comes_while_all_wait_disturbs_nobody() {
    alone("signal::a_signal_that_comes_while_all_wait_disturbs_nobody", || {
        install(libc::SIGUSR1, counts as *const () as usize, 0, 0);
        // SAFETY: it has no preconditions.
        let target = unsafe { libc::pthread_self() };
        let sender = thread::spawn(move || {
            for _ in 0..20 {
                thread::sleep(5 * MS);
                // SAFETY: the thread waits for this one's end.
                assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
            }
        });
        let (mut reader, mut writer) = pipe().unwrap();
        let reading = spawn(move || reader.read_exact(&mut [0]));
        let (took, found) = timed(|| {
            let mut fds = [libc::pollfd { fd: writer.as_raw_fd(), events: libc::POLLPRI, revents: 0 }];
            // SAFETY: there is one.
            unsafe { libc::poll(fds.as_mut_ptr(), 1, 150) }
        });
        assert!(found == 0 && took >= 149 * MS, "{found} {took:?}");
        let (took, ()) = timed(|| thread::sleep(50 * MS));
        assert!(took >= 50 * MS);
        greenlet_hub::offload(move || sender.join().unwrap());
        // Those that come while one is due are one.
        assert!((1..=20).contains(&CALLS.load(Ordering::SeqCst)));
        writer.write_all(b"x").unwrap();
        reading.join().unwrap().unwrap();
    });
}

#[test]
fn what_was_installed_is_what_a_query_says() {
    alone("signal::what_was_installed_is_what_a_query_says", || {
        let simple = counts as *const () as usize;
        let informed = counts_with_info as *const () as usize;
        let flags = libc::SA_RESTART | libc::SA_NODEFER;
        let old = install(libc::SIGUSR2, simple, flags, libc::SIGUSR1);
        assert_eq!(old.sa_sigaction, libc::SIG_DFL);
        let now = query(libc::SIGUSR2);
        assert_eq!((now.sa_sigaction, now.sa_flags & (flags | libc::SA_SIGINFO)), (simple, flags));
        // SAFETY: a set that was filled.
        assert_eq!(unsafe { libc::sigismember(&raw const now.sa_mask, libc::SIGUSR1) }, 1);
        raise(libc::SIGUSR2);
        assert_eq!(CALLS.swap(0, Ordering::SeqCst), 1);
        let old = install(libc::SIGUSR2, informed, libc::SA_SIGINFO, 0);
        assert_eq!((old.sa_sigaction, old.sa_flags & libc::SA_SIGINFO), (simple, 0));
        raise(libc::SIGUSR2);
        assert_eq!(CALLS.swap(0, Ordering::SeqCst), 100);
        let now = query(libc::SIGUSR2);
        assert_eq!((now.sa_sigaction, now.sa_flags & libc::SA_SIGINFO), (informed, libc::SA_SIGINFO));
        // The older call, whose flags the C library chooses.
        // SAFETY: a handler of that type.
        assert_eq!(unsafe { libc::signal(libc::SIGUSR2, simple) }, informed);
        raise(libc::SIGUSR2);
        assert_eq!(CALLS.swap(0, Ordering::SeqCst), 1);
        let now = query(libc::SIGUSR2);
        assert_eq!((now.sa_sigaction, now.sa_flags & libc::SA_SIGINFO), (simple, 0));
        // SAFETY: no handler at all.
        assert_eq!(unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) }, simple);
        raise(libc::SIGUSR2);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::signal(libc::SIGUSR2, libc::SIG_DFL) }, libc::SIG_IGN);
        assert_eq!(query(libc::SIGUSR2).sa_sigaction, libc::SIG_DFL);
        assert_eq!(CALLS.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_handler_for_one_time_is_one() {
    alone("signal::a_handler_for_one_time_is_one", || {
        install(libc::SIGURG, counts as *const () as usize, libc::SA_RESETHAND, 0);
        raise(libc::SIGURG);
        assert_eq!(query(libc::SIGURG).sa_sigaction, libc::SIG_DFL);
        // Ignored now, as it is by default.
        raise(libc::SIGURG);
        assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn what_sigaction_refuses_is_refused() {
    alone("signal::what_sigaction_refuses_is_refused", || {
        for signal in [0, -1, 65, 1 << 20, libc::SIGKILL, 32, 33] {
            // SAFETY: any bytes will do.
            let mut action: libc::sigaction = unsafe { zeroed() };
            action.sa_sigaction = counts as *const () as usize;
            // SAFETY: the action outlives the call.
            assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, -1, "{signal}");
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINVAL));
            // SAFETY: a handler of that type.
            assert_eq!(unsafe { libc::signal(signal, action.sa_sigaction) }, libc::SIG_ERR);
        }
    });
}

#[test]
fn handlers_that_were_installed_before_are_wrapped() {
    install(libc::SIGUSR1, blocks as *const () as usize, libc::SA_RESTART, 0);
    alone("signal::handlers_that_were_installed_before_are_wrapped", || {
        let now = query(libc::SIGUSR1);
        assert_eq!(now.sa_sigaction, blocks as *const () as usize);
        assert_eq!(now.sa_flags & (libc::SA_SIGINFO | libc::SA_RESTART), libc::SA_RESTART);
        let (reader, mut writer) = pipe().unwrap();
        PIPE.store(reader.as_raw_fd(), Ordering::SeqCst);
        writer.write_all(b"x").unwrap();
        let ran = Rc::new(Cell::new(false));
        let other = spawn({
            let ran = Rc::clone(&ran);
            move || ran.set(true)
        });
        raise(libc::SIGUSR1);
        assert!(!ran.get() && CALLS.load(Ordering::SeqCst) == 1);
        other.join().unwrap();
    });
}

#[test]
fn handlers_may_be_changed_while_signals_come() {
    alone("signal::handlers_may_be_changed_while_signals_come", || {
        // SAFETY: it has no preconditions.
        let target = unsafe { libc::pthread_self() };
        let simple = counts as *const () as usize;
        let informed = counts_with_info as *const () as usize;
        install(libc::SIGUSR1, simple, 0, 0);
        let sender = thread::spawn(move || {
            for _ in 0..20_000 {
                // SAFETY: the thread waits for this one's end.
                assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
            }
        });
        for round in 0..10_000 {
            // One that looks at its three arguments, and one that has none.
            match round % 2 {
                0 => install(libc::SIGUSR1, informed, libc::SA_SIGINFO, 0),
                _ => install(libc::SIGUSR1, simple, 0, 0),
            };
        }
        greenlet_hub::offload(move || sender.join().unwrap());
        assert!(CALLS.load(Ordering::SeqCst) > 0);
    });
}

#[test]
fn a_pause_ends_when_a_handler_has_run() {
    alone("signal::a_pause_ends_when_a_handler_has_run", || {
        install(libc::SIGUSR1, counts as *const () as usize, 0, 0);
        let ended = Rc::new(RefCell::new(Vec::new()));
        let pausing = Vec::from_iter((0..3).map(|number| {
            let ended = Rc::clone(&ended);
            spawn(move || {
                // SAFETY: it has no preconditions.
                let result = unsafe { libc::pause() };
                ended.borrow_mut().push((number, result, std::io::Error::last_os_error().raw_os_error()));
            })
        }));
        for _ in 0..10 {
            yield_now();
        }
        assert!(ended.borrow().is_empty());
        raise(libc::SIGUSR1);
        greenlet_hub::joinall(pausing);
        let eintr = Some(libc::EINTR);
        assert_eq!(*ended.borrow(), [(0, -1, eintr), (1, -1, eintr), (2, -1, eintr)]);
        // What waits for nothing is a pause as well.
        for call in [0, 1] {
            let pausing = spawn(move || {
                let none = ptr::null_mut();
                let result = match call {
                    // SAFETY: null pointers are allowed.
                    0 => unsafe { libc::poll(ptr::null_mut(), 0, -1) },
                    // SAFETY: as above.
                    _ => unsafe { libc::select(0, none, none, none, ptr::null_mut()) },
                };
                (result, std::io::Error::last_os_error().raw_os_error())
            });
            yield_now();
            raise(libc::SIGUSR1);
            assert_eq!(pausing.join().unwrap(), (-1, eintr));
        }
        // And again, with nothing left over; and by a timeout.
        let over = timeout(20 * MS, || {
            // SAFETY: it has no preconditions.
            let result = unsafe { libc::pause() };
            assert_eq!((result, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ETIMEDOUT)));
            yield_now();
        });
        assert!(over.is_err());
    });
}

#[test]
fn a_forked_child_pauses_by_itself_and_so_does_its_parent() {
    alone("signal::a_forked_child_pauses_by_itself_and_so_does_its_parent", || {
        install(libc::SIGUSR1, counts as *const () as usize, 0, 0);
        // SAFETY: it has no preconditions.
        let pausing = spawn(|| unsafe { libc::pause() });
        yield_now();
        // SAFETY: the child calls what is made for it.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // A hang is ended, and the first native wait makes it cooperate.
            // SAFETY: a call with a plain number.
            unsafe { libc::alarm(60) };
            yield_now();
            let signaller = spawn(|| raise(libc::SIGUSR1));
            // SAFETY: it has no preconditions.
            let ended = unsafe { libc::pause() } == -1;
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(!ended || signaller.join().is_err())) };
        }
        let mut status = -1;
        // SAFETY: there is room for the answer.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status}");
        assert!(!pausing.is_finished());
        raise(libc::SIGUSR1);
        assert_eq!(pausing.join().unwrap(), -1);
    });
}

#[test]
fn a_wait_with_a_mask_lets_a_blocked_signal_through() {
    alone("signal::a_wait_with_a_mask_lets_a_blocked_signal_through", || {
        install(libc::SIGUSR1, counts as *const () as usize, 0, 0);
        let blocked = signals(&[libc::SIGUSR1]);
        let none = signals(&[]);
        // SAFETY: a set that was filled.
        assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, ptr::null_mut()) }, 0);
        let time = libc::timespec { tv_sec: 60, tv_nsec: 0 };
        let (reader, _writer) = pipe().unwrap();
        let fd = reader.as_raw_fd();
        // SAFETY: a call with a plain number.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let calls: Vec<Box<dyn Fn() -> c_int>> = vec![
            Box::new(move || {
                let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
                // SAFETY: all of it outlives the call.
                unsafe { libc::ppoll(fds.as_mut_ptr(), 1, &raw const time, &raw const none) }
            }),
            Box::new(move || {
                // SAFETY: all of it outlives the call.
                unsafe {
                    libc::pselect(
                        0,
                        ptr::null_mut(),
                        ptr::null_mut(),
                        ptr::null_mut(),
                        &raw const time,
                        &raw const none,
                    )
                }
            }),
            Box::new(move || {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: all of it outlives the call.
                unsafe { libc::epoll_pwait(epoll, &raw mut event, 1, 60_000, &raw const none) }
            }),
        ];
        for (index, call) in calls.into_iter().enumerate() {
            for comes_before in [true, false] {
                let ran = Rc::new(Cell::new(false));
                if comes_before {
                    raise(libc::SIGUSR1);
                }
                let other = spawn({
                    let ran = Rc::clone(&ran);
                    move || {
                        ran.set(true);
                        yield_now();
                        if !comes_before {
                            raise(libc::SIGUSR1);
                        }
                    }
                });
                assert_eq!(CALLS.load(Ordering::SeqCst), 0);
                let result = call();
                let errno = std::io::Error::last_os_error().raw_os_error();
                assert_eq!((result, errno), (-1, Some(libc::EINTR)), "{index} {comes_before}");
                assert_eq!((CALLS.swap(0, Ordering::SeqCst), ran.get()), (1, !comes_before));
                other.join().unwrap();
            }
        }
    });
}

#[test]
fn an_overflow_is_still_reported_and_a_bad_address_still_ends_the_process() {
    fn deeper(depth: u64) -> u64 {
        let room = std::hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + room[depth as usize % 64] }
    }
    let deep = || deeper(std::hint::black_box(0));
    let overflow = || drop(spawn(deep).join());
    let own_overflow = || assert_eq!(deep(), 0);
    let bad_address = || {
        // SAFETY: it is what the test is about: the process ends here.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(8).write_volatile(1) };
    };
    let tests: [(&str, &dyn Fn(), c_int, &str); 3] = [
        ("overflow", &overflow, libc::SIGABRT, "overflow"),
        ("own overflow", &own_overflow, libc::SIGABRT, "has overflowed its stack"),
        ("address", &bad_address, libc::SIGSEGV, ""),
    ];
    for (name, body, signal, says) in tests {
        let test = "signal::an_overflow_is_still_reported_and_a_bad_address_still_ends_the_process";
        let ended = in_child(test, name, || {
            greenlet_patch::patch_all();
            yield_now();
            body();
        });
        let Some((status, stderr)) = ended else { continue };
        assert_eq!(status.signal(), Some(signal), "{name}: {status} {stderr}");
        assert!(stderr.contains(says), "{name}: {stderr}");
    }
}

#[test]
fn a_threads_last_destructors_run_nobody_else() {
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }

    struct Late(&'static AtomicUsize);

    impl Drop for Late {
        fn drop(&mut self) {
            let before = self.0.load(Ordering::SeqCst);
            let (took, ()) = timed(|| thread::sleep(30 * MS));
            assert!(took >= 30 * MS);
            CALLS.store(1 + self.0.load(Ordering::SeqCst) - before, Ordering::SeqCst);
        }
    }

    static TURNS: AtomicUsize = AtomicUsize::new(0);
    greenlet_patch::patch_all();
    let with_hub = thread::spawn(|| {
        spawn(|| {
            loop {
                TURNS.fetch_add(1, Ordering::SeqCst);
                thread::sleep(MS);
            }
        });
        thread::sleep(5 * MS);
        assert!(TURNS.load(Ordering::SeqCst) > 0);
        // Registered after the hub was made: so it is dropped before that ends.
        LATE.set(Some(Late(&TURNS)));
    });
    with_hub.join().unwrap();
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
}

fn in_child(test: &str, part: &str, body: impl FnOnce()) -> Option<(std::process::ExitStatus, String)> {
    const CHILD: &str = "GREENLET_PATCH_TEST_CHILD";
    match std::env::var(CHILD) {
        Ok(child) if child == part => {
            body();
            std::process::exit(0);
        }
        // It is about another part.
        Ok(_) => return None,
        Err(_) => {}
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, part)
        .output()
        .unwrap();
    Some((output.status, String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn install(signal: c_int, handler: usize, flags: c_int, masked: c_int) -> libc::sigaction {
    // SAFETY: any bytes will do.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    if masked != 0 {
        action.sa_mask = signals(&[masked]);
    }
    let mut old = MaybeUninit::uninit();
    // SAFETY: both outlive the call, and the handler is of the type that the flags say.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, old.as_mut_ptr()) }, 0);
    // SAFETY: the call has filled it.
    unsafe { old.assume_init() }
}

fn query(signal: c_int) -> libc::sigaction {
    let mut now = MaybeUninit::uninit();
    // SAFETY: there is room for the answer.
    assert_eq!(unsafe { libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) }, 0);
    // SAFETY: the call has filled it.
    unsafe { now.assume_init() }
}

fn raise(signal: c_int) {
    // SAFETY: a call with a plain number.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

fn signals(members: &[c_int]) -> libc::sigset_t {
    // SAFETY: an empty set is one of zeros.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    for &member in members {
        // SAFETY: a set.
        assert_eq!(unsafe { libc::sigaddset(&raw mut set, member) }, 0);
    }
    set
}
