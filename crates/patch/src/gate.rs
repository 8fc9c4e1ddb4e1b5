//! The one decision that every shell makes first: is this call to wait as a greenlet does, or is it the plain one?

use std::sync::atomic::{AtomicU32, Ordering};

use greenlet_hub::patching;

/// What is patched together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Group {
    /// Reading, writing, accepting, connecting.
    Sockets = 1,
    /// `poll` and its kin, sleeps.
    Waiting = 2,
    /// Looking names up.
    Names = 4,
    /// `futex`, with which std's locks are made; `pthread_join`.
    Locks = 8,
    /// What a C library locks with. For themselves, since there are allocators that do.
    PthreadLocks = 32,
    /// Waiting for child processes.
    Processes = 16,
}

impl Group {
    pub(crate) const ALL: &[Group] =
        &[Group::Sockets, Group::Waiting, Group::Names, Group::Locks, Group::PthreadLocks, Group::Processes];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Group::Sockets => "sockets",
            Group::Waiting => "waiting",
            Group::Names => "names",
            Group::Locks => "locks",
            Group::PthreadLocks => "C's locks",
            Group::Processes => "processes",
        }
    }
}

/// The probe runs: shells note that they were called.
const PROBING: u32 = 1 << 31;

/// The groups that are patched, and whether the probe runs. 0: this crate does nothing but pass calls on.
static STATE: AtomicU32 = AtomicU32::new(0);

/// Whether a call is to wait as a greenlet does. False: it is to be the plain one.
#[inline(always)]
pub(crate) fn may_wait(call: Call) -> bool {
    let state = STATE.load(Ordering::Relaxed);
    state != 0 && consider(call, state) && patching::may_wait()
}

/// Whether a call that wakes, or that changes what is known of a descriptor, has to look at what is ours: on whatever thread.
#[inline(always)]
pub(crate) fn is_watched(call: Call) -> bool {
    let state = STATE.load(Ordering::Relaxed);
    state != 0 && consider(call, state)
}

#[inline(always)]
fn consider(call: Call, state: u32) -> bool {
    if state & PROBING != 0 {
        note(call);
    }
    state & call.group() as u32 != 0
}

#[cold]
fn note(call: Call) {
    SEEN[call as usize / 64].fetch_or(1 << (call as usize % 64), Ordering::Relaxed);
}

/// The calls that the probe has seen.
static SEEN: [std::sync::atomic::AtomicU64; 4] = [const { std::sync::atomic::AtomicU64::new(0) }; 4];

/// Whether the probe has seen that call.
pub(crate) fn was_seen(call: Call) -> bool {
    SEEN[call as usize / 64].load(Ordering::Relaxed) & (1 << (call as usize % 64)) != 0
}

pub(crate) fn begin_probe() {
    STATE.fetch_or(PROBING, Ordering::SeqCst);
}

pub(crate) fn end_probe() {
    STATE.fetch_and(!PROBING, Ordering::SeqCst);
}

/// Patches those groups as well. There is no way back: what waits, waits.
pub(crate) fn open(groups: u32) {
    STATE.fetch_or(groups, Ordering::SeqCst);
}

/// The groups that are patched.
pub(crate) fn groups() -> u32 {
    STATE.load(Ordering::Relaxed) & !PROBING
}

macro_rules! calls {
    ($($group:ident: $($name:ident)*;)*) => {
        /// The functions that there are shells for, by libc's names.
        #[allow(non_camel_case_types, reason = "they are libc's names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum Call {
            $($($name,)*)*
        }

        impl Call {
            pub(crate) const ALL: &[Call] = &[$($(Call::$name,)*)*];

            #[inline(always)]
            pub(crate) const fn group(self) -> Group {
                match self {
                    $($(Call::$name)|* => Group::$group,)*
                }
            }

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $($(Call::$name => stringify!($name),)*)*
                }
            }
        }
    };
}

calls! {
    Sockets: read write readv writev recv recvfrom recvmsg send sendto sendmsg accept accept4 connect shutdown close fclose close_range closefrom
        dup dup2 dup3 socket socketpair fcntl ioctl setsockopt getsockopt sendfile splice
        __read_chk __recv_chk __recvfrom_chk;
    Waiting: poll ppoll select pselect epoll_wait epoll_pwait epoll_pwait2 nanosleep clock_nanosleep usleep sleep pause
        sched_yield sigaction signal bsd_signal ssignal sysv_signal __sysv_signal sigset __poll_chk __ppoll_chk
        __cxa_thread_atexit_impl;
    Names: getaddrinfo getnameinfo gethostbyname gethostbyname2 gethostbyaddr gethostbyname_r gethostbyname2_r gethostbyaddr_r;
    Locks: syscall pthread_join;
    PthreadLocks: pthread_mutex_lock pthread_mutex_trylock pthread_mutex_timedlock pthread_mutex_clocklock pthread_mutex_unlock
        pthread_cond_wait pthread_cond_timedwait pthread_cond_clockwait pthread_cond_signal pthread_cond_broadcast
        pthread_rwlock_rdlock pthread_rwlock_tryrdlock pthread_rwlock_timedrdlock pthread_rwlock_clockrdlock
        pthread_rwlock_wrlock pthread_rwlock_trywrlock pthread_rwlock_timedwrlock pthread_rwlock_clockwrlock pthread_rwlock_unlock
        pthread_once pthread_barrier_wait sem_wait sem_trywait sem_timedwait sem_clockwait sem_post;
    Processes: waitpid wait3 wait4 waitid wait;
}

impl Call {
    /// The call of that name.
    pub(crate) fn named(name: &str) -> Option<Call> {
        // 64-bit Linux has one `off_t`, under two names.
        let name = if name == "sendfile64" { "sendfile" } else { name };
        Call::ALL.iter().copied().find(|call| call.name() == name)
    }
}
