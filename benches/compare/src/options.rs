//! The command line.

use pico_args::Arguments;

use crate::cases::{self, Case};
use crate::columns::{self, Column};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Runs greenlet and its peers in turn and prints medians and ratios.

usage: compare [CASE…] [options]

  CASE             yield spawn waiting idle timers channel queue lock cross event_fanout timeout kill
                   echo churn skynet pool_spawn wake offload echo_mt echo_spin patched_echo
                   patched_mutex redis shell (all of them)
  --rounds N       so many runs of each column, interleaved (5)
  --columns A,B    only these columns
  --params X,Y     these parameters instead of the cases' own
  --seconds S      the length of a run where it is free to choose: with sockets 2, wake 1, offload 0.5,
                   the others 0.3; user_us is sampled by the kernel's ticks and wants 20
  --quick          every case once and small, without calibration: do they still work?
  --json           a line of JSON for each case, parameter, column and unit, instead of tables
";

/// What to run.
pub(crate) struct Options {
    pub(crate) cases: Vec<&'static Case>,
    pub(crate) columns: Vec<&'static Column>,
    pub(crate) params: Option<Vec<String>>,
    pub(crate) rounds: usize,
    pub(crate) seconds: Option<f64>,
    pub(crate) quick: bool,
    pub(crate) json: bool,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in one line.
    pub(crate) fn parse(mut args: Arguments) -> Result<Self, String> {
        let quick = args.contains("--quick");
        let json = args.contains("--json");
        let told = |err: pico_args::Error| err.to_string();
        let rounds: Option<usize> = args.opt_value_from_str("--rounds").map_err(told)?;
        let seconds: Option<f64> = args.opt_value_from_str("--seconds").map_err(told)?;
        let params: Option<String> = args.opt_value_from_str("--params").map_err(told)?;
        let columns: Option<String> = args.opt_value_from_str("--columns").map_err(told)?;

        if rounds == Some(0) {
            return Err("--rounds must be at least 1".to_owned());
        }
        if seconds.is_some_and(|seconds| !(0.01..=3_600.0).contains(&seconds)) {
            return Err("--seconds must lie between 0.01 and 3600".to_owned());
        }
        let columns = match columns {
            None => columns::ALL.iter().collect(),
            Some(names) => find(names.split(','), "column", Column::named)?,
        };
        let names = args.finish();
        if let Some(flag) = names.iter().find(|name| name.to_string_lossy().starts_with('-')) {
            return Err(format!("unknown option {}", flag.display()));
        }
        let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        let cases = match names.is_empty() {
            true => cases::ALL.iter().collect(),
            false => find(names.iter().map(|name| &**name), "case", Case::named)?,
        };
        Ok(Self {
            cases,
            columns,
            params: params.map(|params| params.split(',').map(str::to_owned).collect()),
            rounds: rounds.unwrap_or(if quick { 1 } else { 5 }),
            seconds: seconds.or(quick.then_some(0.05)),
            quick,
            json,
        })
    }
}

fn find<'a, T>(
    names: impl Iterator<Item = &'a str>,
    what: &str,
    named: fn(&str) -> Option<&'static T>,
) -> Result<Vec<&'static T>, String> {
    names.map(|name| named(name).ok_or_else(|| format!("no {what} {name:?}"))).collect()
}
