//! What the examples share: the command line, an end with one clear line, accepting for ever, and measuring a demo.
#![allow(dead_code, reason = "no example uses all of it")]

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::iter;
use std::process::exit;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet::net::{ListenOptions, SocketAddr, TcpListener, TcpStream};
use greenlet::{joinall, sleep, spawn};
use hdrhistogram::Histogram;
use indicatif::{HumanCount, ProgressBar};
use pico_args::Arguments;

/// Ends the program with one line on stderr. By custom 2 is for a wrong command line, 1 for what fails later.
pub(crate) fn fail(code: i32, why: impl Display) -> ! {
    eprintln!("{why}");
    exit(code)
}

/// The command line. `--help` is answered here, with the comment that heads the example.
pub(crate) fn arguments(source: &str) -> Arguments {
    let mut args = Arguments::from_env();
    if args.contains(["-h", "--help"]) {
        for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
            println!("{}", line.strip_prefix(' ').unwrap_or(line));
        }
        exit(0);
    }
    args
}

/// What is left of the command line: at the most `N` operands, and no flag that nobody knows.
pub(crate) fn operands<const N: usize>(args: Arguments) -> [Option<String>; N] {
    let left = all_operands(args);
    if let Some(stray) = left.get(N) {
        fail(2, format_args!("unexpected argument '{stray}' (see --help)"));
    }
    let mut left = left.into_iter();
    [(); N].map(|()| left.next())
}

/// What is left of the command line: operands, and no flag that nobody knows.
pub(crate) fn all_operands(args: Arguments) -> Vec<String> {
    let left: Vec<String> = args.finish().into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(flag) = left.iter().find(|arg| arg.starts_with('-')) {
        fail(2, format_args!("unknown flag '{flag}' (see --help)"));
    }
    left
}

/// The command line of clients, `URL [N]` or `--demo [N]`: where the server is, which the demo starts, and how many they are.
pub(crate) fn clients(source: &str, default: usize) -> (Option<String>, usize) {
    let mut args = arguments(source);
    let is_demo = args.contains("--demo");
    let (url, clients) = if is_demo {
        let [clients] = operands(args);
        (None, clients)
    } else {
        let [url, clients] = operands(args);
        (Some(url.unwrap_or_else(|| fail(2, "missing argument: URL is needed (see --help)"))), clients)
    };
    let clients = number(clients, default, "clients");
    descriptors(clients);
    (url, clients)
}

/// The command line of an example that takes no arguments.
pub(crate) fn no_arguments(source: &str) {
    let [] = operands(arguments(source));
}

/// A number of something on the command line.
pub(crate) fn number(operand: Option<String>, default: usize, of_what: &str) -> usize {
    let number = operand.map_or(Ok(default), |operand| {
        operand.parse().map_err(|err| format!("'{operand}' is not a number of {of_what}: {err}"))
    });
    number.unwrap_or_else(|err| fail(2, err))
}

/// The number that follows a flag on the command line: at least 1.
pub(crate) fn flag(args: &mut Arguments, name: &'static str, default: usize, of_what: &str) -> usize {
    let given = args.opt_value_from_str(name).unwrap_or_else(|err| fail(2, err));
    match number(given, default, of_what) {
        0 => fail(2, format_args!("{name} 0: the number of {of_what} is 1 at the least")),
        number => number,
    }
}

/// Ends the program with one line, unless it is so.
pub(crate) fn check(is_so: bool, what: impl Display) {
    if !is_so {
        fail(1, format_args!("this is not so: {what}"));
    }
}

/// The command line of a server, `[--listen ADDR]` or `--demo [N]`: where to listen, and how many clients the demo has.
/// A demo listens on a free port, unless told where.
pub(crate) fn server(source: &str, default: &str, default_clients: usize) -> (String, Option<usize>) {
    server_of(arguments(source), default, default_clients)
}

/// As [`server`], of a command line from which what else the example takes has been taken.
pub(crate) fn server_of(mut args: Arguments, default: &str, default_clients: usize) -> (String, Option<usize>) {
    let is_demo = args.contains("--demo");
    let addr: Option<String> = args.opt_value_from_str("--listen").unwrap_or_else(|err| fail(2, err));
    if !is_demo {
        let [] = operands(args);
        descriptors(0);
        return (addr.unwrap_or(default.to_owned()), None);
    }
    let [clients] = operands(args);
    let clients = number(clients, default_clients, "clients");
    descriptors(clients.saturating_mul(2));
    (addr.unwrap_or("127.0.0.1:0".to_owned()), Some(clients))
}

/// Raises the soft limit of descriptors as far as it goes, which has to be far enough.
pub(crate) fn descriptors(needed: usize) {
    const OURS: u64 = 20; // standard streams, poller, listeners, and some more
    let needed = (needed as u64).saturating_add(OURS);
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0);
    if needed > limit && needed > OURS {
        fail(2, format_args!("this needs {needed} descriptors, and the hard limit is {limit} (ulimit -Hn)"));
    }
}

/// Listens and says where, or ends the program.
pub(crate) fn listen(addr: &str) -> TcpListener {
    listen_with(addr, ListenOptions::new())
        .unwrap_or_else(|err| fail(1, format_args!("cannot listen on {addr}: {err}")))
}

/// So many listeners on one address, between which the kernel spreads the connections; or ends the program.
pub(crate) fn listen_together(addr: &str, count: usize) -> Vec<TcpListener> {
    let options = ListenOptions::new().backlog(BACKLOG).reuse_port(true);
    let listen = || {
        let mut listeners = vec![listen_with(addr, options.clone())?];
        let addr = listeners[0].local_addr()?;
        for _ in 1..count {
            listeners.push(TcpListener::bind_with(addr, &options)?);
        }
        Ok(listeners)
    };
    listen().unwrap_or_else(|err: io::Error| fail(1, format_args!("cannot listen on {addr}: {err}")))
}

fn listen_with(addr: &str, options: ListenOptions) -> io::Result<TcpListener> {
    let listener = TcpListener::bind_with(addr, &options.backlog(BACKLOG))?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Of std's backlog of 128 a burst of clients runs out, and whoever is dropped then tries again only after a second.
const BACKLOG: u32 = 4096;

/// Connections as they come, without end: as `TcpListener::incoming`, but when accepting fails, most likely for want of
/// descriptors, it tries again after a pause. Until then the kernel keeps those who knock, so nobody is lost.
pub(crate) fn connections(listener: &TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> + '_ {
    let mut pauses = pauses();
    iter::repeat_with(|| listener.accept()).filter_map(move |accepted| match accepted {
        Ok(connection) => {
            pauses = self::pauses();
            Some(connection)
        }
        Err(err) if err.kind() == io::ErrorKind::ConnectionAborted => None, // the client's affair
        Err(err) => {
            let pause = pauses.next()?;
            eprintln!("cannot accept: {err}; trying again in {pause:?}");
            sleep(pause);
            None
        }
    })
}

/// 10 ms, 20 ms, and so on to 1 s, without end.
fn pauses() -> impl Iterator<Item = Duration> {
    iter::successors(Some(Duration::from_millis(10)), |&pause| Some((pause * 2).min(Duration::from_secs(1))))
}

/// A demo: so many clients, each a greenlet that makes so many round trips. With a progress bar, if stderr is a terminal.
/// Prints how long the round trips took; ends the program if a client fails.
pub(crate) fn demo(clients: usize, round_trips: usize, client: impl Fn(usize, &Meter) -> io::Result<()> + 'static) {
    // Up to an hour, to three digits.
    let micros = RefCell::new(Histogram::new_with_max(3_600_000_000, 3).expect("these bounds are allowed"));
    let meter = Rc::new(Meter { bar: ProgressBar::new((clients * round_trips) as u64), micros });
    let (client, start) = (Rc::new(client), Instant::now());
    let ends = joinall((0..clients).map(|number| {
        let (client, meter) = (Rc::clone(&client), Rc::clone(&meter));
        spawn(move || client(number, &meter))
    }));
    for (number, end) in ends.into_iter().enumerate() {
        let end = end.unwrap_or_else(|err| fail(1, format_args!("client {number}: {err}")));
        end.unwrap_or_else(|err| fail(1, format_args!("client {number}: {err}")));
    }
    let (elapsed, micros) = (start.elapsed(), meter.micros.borrow());
    meter.bar.finish_and_clear();
    let (messages, rate) = (HumanCount(micros.len()), HumanCount((micros.len() as f64 / elapsed.as_secs_f64()) as u64));
    println!("{} connections, {messages} messages in {elapsed:.2?}: {rate} messages/s", HumanCount(clients as u64));
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| micros.value_at_quantile(quantile) as f64 / 1000.0);
    println!("round trips: p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms");
}

/// The demo of an echo server: all clients are connected before the first one speaks, and check every byte.
pub(crate) fn echo_demo(addr: SocketAddr, clients: usize) -> io::Result<()> {
    const MESSAGES: usize = 50;
    let streams = (0..clients).map(|_| TcpStream::connect(addr)).collect::<io::Result<Vec<_>>>()?;
    demo(clients, MESSAGES, move |client, meter| {
        let mut stream = &streams[client];
        for message in 0..MESSAGES {
            let (sent, mut echoed, start) = (format!("{client:32}{message:32}"), [0; 64], Instant::now());
            stream.write_all(sent.as_bytes())?;
            stream.read_exact(&mut echoed)?;
            meter.round_trip(start.elapsed());
            if echoed != *sent.as_bytes() {
                return Err(io::Error::other("this is not what was sent"));
            }
        }
        Ok(())
    });
    Ok(())
}

/// Where the clients of a demo report their round trips.
pub(crate) struct Meter {
    bar: ProgressBar,
    micros: RefCell<Histogram<u64>>,
}

impl Meter {
    pub(crate) fn round_trip(&self, took: Duration) {
        self.micros.borrow_mut().saturating_record(took.as_micros() as u64);
        self.bar.inc(1);
    }
}
