//! What the examples share: the command line, an end with one clear line, and accepting for ever.
#![allow(dead_code, reason = "no example uses all of it")]

use std::fmt::Display;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::process::exit;
use std::time::Duration;

use greenlet::net::{TcpListener, TcpStream};
use greenlet::sleep;
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

/// The value of an option, if it was given.
pub(crate) fn option(args: &mut Arguments, name: &'static str) -> Option<String> {
    args.opt_value_from_str(name).unwrap_or_else(|err| fail(2, err))
}

/// What is left of the command line: at the most `N` operands, and no flag that nobody knows.
pub(crate) fn operands<const N: usize>(args: Arguments) -> [Option<String>; N] {
    let left: Vec<String> = args.finish().into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(flag) = left.iter().find(|arg| arg.starts_with('-')) {
        fail(2, format_args!("unknown flag '{flag}' (try --help)"));
    }
    if let Some(stray) = left.get(N) {
        fail(2, format_args!("unexpected argument '{stray}' (try --help)"));
    }
    let mut left = left.into_iter();
    [(); N].map(|()| left.next())
}

/// Listens, or ends the program.
pub(crate) fn listen(addr: &str) -> TcpListener {
    TcpListener::bind(addr).unwrap_or_else(|err| fail(1, format_args!("cannot listen on {addr}: {err}")))
}

/// Connections as they come, without end: as `TcpListener::incoming`, but when accepting fails, most likely for want of
/// descriptors, it tries again after a pause. Until then the kernel keeps those who knock, so nobody is lost.
pub(crate) fn connections(listener: &TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> + '_ {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut pause = PAUSE;
    iter::repeat_with(move || listener.accept()).filter_map(move |accepted: io::Result<_>| match accepted {
        Ok(connection) => {
            pause = PAUSE;
            Some(connection)
        }
        Err(err) => {
            eprintln!("cannot accept: {err}; trying again in {pause:?}");
            sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(1));
            None
        }
    })
}
