//! Name look-ups, which block in libc: done by threads of their own, while the greenlets wait.
//!
//! Look-ups of the same host that are under way at the same time are one: the first who asks makes a *flight*, the others board it, and all get
//! what it brings, with their own ports. A flight that nobody waits for any more goes on if it has begun, for nothing can stop `getaddrinfo`; one that has
//! not is left out when its turn comes, or boarded by the next who asks. So the queue has no limit of its own: it has one entry a host, and
//! whoever fills it has waited for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::config;
use crate::fork::PerProcess;
use crate::hub::{Hub, deadline_after};
use crate::thread_pool::{Run, ThreadPool, Turn, copy_error};
use crate::wait_list::WaitList;
use crate::waiter::Reason;

const REASON: Reason = Reason::new("the addresses of a host");
/// The longest name that DNS knows, with the dot that may end it.
const LONGEST_NAME: usize = 254;

/// So many threads at the most look names up. They are not those of [`offload`](crate::offload()): a name server that does not answer holds up nothing
/// but look-ups.
fn dns_threads() -> usize {
    config::get().get_dns_threads()
}

/// Waits until the host's addresses are known. A numeric address is answered at once, without a thread.
///
/// libc's `getaddrinfo` does it, on one of at most 16 threads ([`Config::dns_threads`](crate::Config::dns_threads)) that only do this. Greenlets, of whichever hub, that look up the same host at the same time share
/// one look-up. Nothing is remembered after it. A greenlet that is killed or timed out while it waits is free at once, and the others of its look-up
/// do not notice.
///
/// # Errors
///
/// What `getaddrinfo` says; of kind `InvalidInput` if the name contains a NUL byte or is longer than DNS allows; or that no thread could be started for it.
///
/// # Panics
///
/// If it must wait inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
///
/// # Examples
///
/// ```
/// let addrs = greenlet_hub::lookup_host("127.0.0.1", 80)?;
/// assert_eq!(addrs, ["127.0.0.1:80".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lookup_host(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    lookup_deadline(host, port, None)
}

/// Waits as [`lookup_host`], at the most for `timeout`.
///
/// # Errors
///
/// As [`lookup_host`]; of kind `TimedOut` if the addresses are not known by then.
///
/// # Panics
///
/// As [`lookup_host`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let addrs = greenlet_hub::lookup_host_timeout("localhost", 80, Duration::from_secs(10))?;
/// assert!(addrs.iter().all(|addr| addr.port() == 80 && addr.ip().is_loopback()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lookup_host_timeout(host: &str, port: u16, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
    lookup_deadline(host, port, Some(deadline_after(timeout)))
}

fn lookup_deadline(host: &str, port: u16, deadline: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
    if let Some(numeric) = numeric(host, port) {
        return Ok(vec![numeric]);
    }
    if host.len() > LONGEST_NAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name of a host has at most 253 bytes"));
    }
    if host.contains('\0') {
        // std says so itself, before it asks anybody.
        return (host, port).to_socket_addrs().map(Iterator::collect);
    }
    resolver().look_up(host, port, deadline)
}

/// The address, if the host is one; with the number of its interface, if it has that.
fn numeric(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let scoped = host.contains('%').then(|| format!("[{host}]:{port}"))?;
    scoped.parse::<SocketAddrV6>().ok().map(SocketAddr::V6)
}

/// The process's resolver.
fn resolver() -> &'static Resolver {
    static RESOLVER: PerProcess<OnceLock<Resolver>> = PerProcess::new();
    RESOLVER.get().get_or_init(|| {
        let getaddrinfo = |host: &str| (host, 0).to_socket_addrs().map(Iterator::collect);
        Resolver::new(dns_threads(), Box::new(getaddrinfo))
    })
}

/// Calls `f` on a thread of the process's resolver, and waits for what it returns.
pub(crate) fn apply<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    resolver().pool.apply(f)
}

/// What finds the addresses of a host, by blocking the thread.
type Blocking = Box<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

struct Resolver {
    blocking: Blocking,
    pool: ThreadPool,
    /// By host, all that have been asked for and have not landed.
    flights: Mutex<HashMap<String, Arc<Flight>>>,
}

/// One look-up, and those who share it.
struct Flight {
    resolver: &'static Resolver,
    host: String,
    /// How many wait for it; changed under the lock of the flights only.
    aboard: AtomicUsize,
    answer: OnceLock<io::Result<Vec<SocketAddr>>>,
    waiting: WaitList,
}

impl Resolver {
    fn new(threads: usize, blocking: Blocking) -> Resolver {
        let pool = ThreadPool::builder().size(threads).name("greenlet-dns").build();
        Resolver { blocking, pool, flights: Mutex::default() }
    }

    fn look_up(&'static self, host: &str, port: u16, deadline: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
        let hub = Hub::here();
        hub.before_wait(REASON);
        // As with ready I/O: an answer that is there before the wait begins makes no switch.
        hub.spend_budget();
        let seat = self.board(host);
        let flight = &seat.0;
        let _outside = hub.count_outside();
        loop {
            if let Some(answer) = flight.answer.get() {
                let mut addrs = answer.as_ref().map_err(copy_error)?.clone();
                addrs.iter_mut().for_each(|addr| addr.set_port(port));
                return Ok(addrs);
            }
            let in_time = flight.waiting.wait(REASON, deadline, || flight.answer.get().is_some());
            if !in_time && flight.answer.get().is_none() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the look-up of the host took too long"));
            }
        }
    }

    /// A place in the flight to that host, which is sent off if there is none.
    fn board(&'static self, host: &str) -> Seat {
        let mut flights = self.flights();
        match flights.entry(host.to_owned()) {
            Entry::Occupied(entry) => Seat::take(entry.get()),
            Entry::Vacant(entry) => {
                let flight = entry.insert(Arc::new(Flight {
                    resolver: self,
                    host: host.to_owned(),
                    aboard: AtomicUsize::new(0),
                    answer: OnceLock::new(),
                    waiting: WaitList::new(),
                }));
                let seat = Seat::take(flight);
                drop(flights);
                self.pool.submit(Arc::clone(&seat.0) as Arc<dyn Run>);
                seat
            }
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Arc<Flight>>> {
        crate::patching::lock(&self.flights)
    }
}

impl Flight {
    /// Whether anybody waits for it. If nobody does, nobody can board it from now on.
    fn is_wanted(&self) -> bool {
        let mut flights = self.resolver.flights();
        let is_wanted = self.aboard.load(Ordering::Relaxed) > 0;
        if !is_wanted {
            flights.remove(&self.host);
        }
        is_wanted
    }

    fn land(&self, answer: io::Result<Vec<SocketAddr>>) {
        // Whoever asks from now on gets a fresh answer.
        self.resolver.flights().remove(&self.host);
        // It lands once.
        let _ = self.answer.set(answer);
        self.waiting.notify_all();
    }
}

impl Run for Flight {
    fn run(&self, turn: &Turn<'_>) {
        if self.is_wanted() {
            let answer = catch_unwind(AssertUnwindSafe(|| (self.resolver.blocking)(&self.host)));
            turn.complete();
            self.land(answer.unwrap_or_else(|_| Err(io::Error::other("the look-up of the host panicked"))));
        }
    }

    fn refuse(&self, err: io::Error) {
        self.land(Err(err));
    }
}

/// A place in a flight, which is given up when this is dropped.
struct Seat(Arc<Flight>);

impl Seat {
    /// To be called under the lock of the flights.
    fn take(flight: &Arc<Flight>) -> Seat {
        flight.aboard.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(flight))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _flights = self.0.resolver.flights();
        self.0.aboard.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(greenlet_loom)))]
mod tests {
    use std::io::ErrorKind;
    use std::sync::Condvar;
    use std::thread;

    use super::*;
    use crate::{Greenlet, JoinHandle, joinall, sleep, spawn, timeout, yield_now};

    const MS: Duration = Duration::from_millis(1);
    const HANG: Duration = Duration::from_secs(20);

    /// A resolver whose look-ups stand still until they are let go on, and are counted.
    struct Slow {
        resolver: &'static Resolver,
        control: Arc<Control>,
    }

    #[derive(Default)]
    struct Control {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct State {
        asked: Vec<String>,
        may_land: usize,
    }

    impl Slow {
        fn new(threads: usize) -> Slow {
            let control = Arc::new(Control::default());
            let shared = Arc::clone(&control);
            let blocking = move |host: &str| {
                let mut state = shared.state.lock().unwrap();
                state.asked.push(host.to_owned());
                let number = state.asked.len();
                drop(shared.changed.wait_while(state, |state| state.may_land < number).unwrap());
                match host {
                    "bad.test" => Err(io::Error::new(ErrorKind::NotFound, "no such host")),
                    "os.test" => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                    "panic.test" => std::panic::resume_unwind(Box::new(())),
                    _ => {
                        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 3, 7);
                        Ok(vec![SocketAddr::from(([10, 0, 0, number as u8], 0)), scoped.into()])
                    }
                }
            };
            let resolver = Box::leak(Box::new(Resolver::new(threads, Box::new(blocking))));
            Slow { resolver, control }
        }

        /// Looks up in a greenlet of its own; the greenlet waits when this returns.
        fn ask(&self, host: &'static str, port: u16) -> JoinHandle<io::Result<Vec<SocketAddr>>> {
            let resolver = self.resolver;
            let greenlet = spawn(move || resolver.look_up(host, port, None));
            yield_now();
            greenlet
        }

        fn let_land(&self, count: usize) {
            self.control.state.lock().unwrap().may_land += count;
            self.control.changed.notify_all();
        }

        fn asked(&self) -> Vec<String> {
            self.control.state.lock().unwrap().asked.clone()
        }

        fn wait_until_asked(&self, count: usize) {
            until(|| self.asked().len() == count);
        }
    }

    #[track_caller]
    fn until(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < HANG, "it never came true");
            sleep(MS);
        }
    }

    fn addrs(number: u8, port: u16) -> Vec<SocketAddr> {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), port, 3, 7);
        vec![SocketAddr::from(([10, 0, 0, number], port)), scoped.into()]
    }

    #[test]
    fn look_ups_of_one_host_at_the_same_time_are_one() {
        let slow = Slow::new(4);
        let sharing = Vec::from_iter((0..50).map(|port| slow.ask("a.test", port)));
        // From a hub of its own, too.
        let resolver = slow.resolver;
        let elsewhere = thread::spawn(move || resolver.look_up("a.test", 1000, None));
        until(|| resolver.flights()["a.test"].aboard.load(Ordering::Relaxed) == 51);
        slow.let_land(1);
        for (port, found) in (0..).zip(joinall(sharing)) {
            assert_eq!(found.unwrap().unwrap(), addrs(1, port));
        }
        assert_eq!(elsewhere.join().unwrap().unwrap(), addrs(1, 1000));
        assert_eq!(slow.asked(), ["a.test"]);
        // Nothing is remembered.
        assert!(resolver.flights().is_empty());
        slow.let_land(1);
        assert_eq!(resolver.look_up("a.test", 5, None).unwrap(), addrs(2, 5));
        assert_eq!(slow.asked().len(), 2);
    }

    #[test]
    fn an_error_reaches_all_who_share_with_its_kind_and_text() {
        let slow = Slow::new(4);
        for (host, kind, text) in [
            ("bad.test", ErrorKind::NotFound, "no such host"),
            ("os.test", io::Error::from_raw_os_error(libc::EMFILE).kind(), "os error 24"),
            ("panic.test", ErrorKind::Other, "panicked"),
        ] {
            let sharing = Vec::from_iter((0..3).map(|port| slow.ask(host, port)));
            slow.let_land(1);
            for found in joinall(sharing) {
                let err = found.unwrap().unwrap_err();
                assert!(err.kind() == kind && err.to_string().contains(text), "{err}");
            }
        }
        assert_eq!(slow.asked().len(), 3);
    }

    #[test]
    fn one_who_gives_up_leaves_the_others_alone() {
        let slow = Slow::new(4);
        let sharing = Vec::from_iter((0..3).map(|port| slow.ask("a.test", port)));
        let deadline = Some(Instant::now() + MS);
        let err = slow.resolver.look_up("a.test", 9, deadline).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::TimedOut);
        assert!(timeout(MS, || slow.resolver.look_up("a.test", 9, None)).is_err());
        let first: &Greenlet = &sharing[0];
        assert!(first.kill_timeout(HANG).unwrap());
        slow.let_land(1);
        let found = joinall(sharing);
        assert!(found[0].is_err());
        assert_eq!(found[1].as_ref().unwrap().as_ref().unwrap(), &addrs(1, 1));
        assert_eq!(found[2].as_ref().unwrap().as_ref().unwrap(), &addrs(1, 2));
        assert_eq!(slow.asked().len(), 1);
    }

    #[test]
    fn a_look_up_that_nobody_waits_for_any_more_ends_by_itself() {
        let slow = Slow::new(1);
        let alone = slow.ask("a.test", 1);
        slow.wait_until_asked(1);
        assert!(alone.kill_timeout(HANG).unwrap());
        // It can still be joined.
        let late = slow.ask("a.test", 2);
        slow.let_land(1);
        assert_eq!(late.join().unwrap().unwrap(), addrs(1, 2));
        until(|| slow.resolver.flights().is_empty());
        assert_eq!(slow.asked().len(), 1);
    }

    #[test]
    fn a_look_up_that_has_not_begun_is_left_out_unless_somebody_comes_back_for_it() {
        let slow = Slow::new(1);
        let first = slow.ask("a.test", 1);
        slow.wait_until_asked(1);
        for host in ["b.test", "c.test", "c.test", "c.test"] {
            assert!(timeout(MS, || slow.resolver.look_up(host, 1, None)).is_err());
        }
        // Who tries again and again does not fill the queue.
        assert_eq!(slow.resolver.pool.metrics().queued, 2);
        let back = slow.ask("c.test", 1);
        slow.let_land(2);
        first.join().unwrap().unwrap();
        assert_eq!(back.join().unwrap().unwrap(), addrs(2, 1));
        assert_eq!(slow.asked(), ["a.test", "c.test"]);
        until(|| slow.resolver.flights().is_empty());
    }

    #[test]
    fn hosts_are_looked_up_side_by_side_as_far_as_threads_go() {
        let slow = Slow::new(2);
        let lookups = ["a.test", "b.test", "c.test"].map(|host| slow.ask(host, 1));
        slow.wait_until_asked(2);
        assert_eq!(slow.resolver.pool.metrics().queued, 1);
        slow.let_land(3);
        joinall(lookups).into_iter().for_each(|found| drop(found.unwrap().unwrap()));
        assert_eq!(slow.asked().len(), 3);
    }
}
