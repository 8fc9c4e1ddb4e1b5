//! `shell`: what a call of libc's costs where the patch does nothing.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{BESIDE_A_THREAD, Case, Run, time_of_one, without_a_thread};
use crate::columns::Column;
use crate::process;

/// Calls that need not wait, on a thread that has no hub: `recv` of a byte that stays there, `write` to `/dev/null`, a
/// `clock_nanosleep` until what is past, a `FUTEX_WAKE` that wakes nobody by `syscall`, `pthread_mutex_lock` and `_unlock` of a free mutex (two
/// calls). `greenlet-patched` and `greenlet-inert` call our shells, after `patch_all` and without it; `libc` calls glibc's own functions. All of them are
/// called through a pointer. In a process that ever had a second thread (`+thread`) glibc makes calls at which a thread may be
/// cancelled, and these are.
///
/// Instructions are those that callgrind sees, in user code, less those of the same loop around nothing. Kernel time is most of `ns`.
pub(super) const CASE: Case = Case {
    name: "shell",
    about: "one call outside of greenlets that need not wait; mutex: two calls",
    params: &["recv", "write", "sleep", "futex", "mutex", "recv+thread", "futex+thread"],
    quick: &["recv"],
    units: &["instructions", "ns"],
    seconds: 0.3,
    has: |column, _| column.calls.is_some(),
    run: Run::Counted(run),
};

/// The call of the loop around nothing.
const NOTHING: &str = "nothing";
/// So many calls are counted by callgrind: what happens once disappears in them.
const COUNTED: usize = 10_000;

fn run(column: &Column, param: &str, seconds: f64) -> io::Result<()> {
    let beside_a_thread = if param.ends_with(BESIDE_A_THREAD) { BESIDE_A_THREAD } else { "" };
    let of_loop = instructions(column, &format!("{NOTHING}{beside_a_thread}"))?;
    println!("{}", instructions(column, param)? - of_loop);
    let call = prepared(column, param)?;
    println!("{}", time_of_one(seconds, |count| repeated_calls(&*call, count)));
    Ok(())
}

/// Makes calls so often, and nothing else: the child's side of [`CASE`].
///
/// # Errors
///
/// There is no such column, or no such call.
pub(crate) fn make_calls(column: &Column, param: &str, count: usize) -> io::Result<()> {
    let call = prepared(column, param)?;
    repeated_calls(&*call, count);
    Ok(())
}

fn prepared(column: &Column, param: &str) -> io::Result<Box<dyn Fn()>> {
    let Some(calls) = column.calls else {
        return Err(io::Error::other("this column has no calls"));
    };
    match without_a_thread(param) {
        NOTHING => Ok(Box::new(|| ())),
        name => calls().prepared(name),
    }
}

/// The function whose instructions are counted, and those of what it calls. It stands by itself under this name, which no other has.
#[inline(never)]
fn repeated_calls(call: &dyn Fn(), count: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        call();
    }
    start.elapsed()
}

/// Returns the instructions of one turn of [`repeated_calls`].
fn instructions(column: &Column, param: &str) -> io::Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .args(["--toggle-collect=*repeated_calls*"])
        .arg(std::env::current_exe()?)
        .args([process::CALLS, column.name, param, &COUNTED.to_string()])
        .stdin(Stdio::null())
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let complaint = told.lines().find(|line| !line.starts_with("==")).unwrap_or_default();
        return Err(io::Error::other(format!("valgrind: {}: {complaint}", output.status)));
    }
    let collected = told.lines().find_map(|line| line.split_once("Collected :")).map(|(_, number)| number.trim());
    let collected: Option<f64> = collected.and_then(|number| number.parse().ok());
    match collected {
        Some(collected) if collected >= COUNTED as f64 => Ok(collected / COUNTED as f64),
        _ => Err(io::Error::other("valgrind has not seen the calls")),
    }
}
