//! Rounds: in each, every column runs once, in an order that moves on by one.

use std::io;

use crate::calibration::Calibration;
use crate::cases::{Case, Run};
use crate::columns::Column;
use crate::options::Options;
use crate::process::{self, LOAD_CORE, SERVER_CORE, Server};
use crate::redis_server::RedisServer;
use crate::report::{Report, Runs};

/// How the cores are watched: those without sockets use one, unless they are about two.
struct Machine {
    enabled: bool,
    one_core: Calibration,
    both_cores: Calibration,
}

/// Runs what the options ask for and prints it; tells whether greenlet did all of it.
///
/// A peer that fails is a cell of the table.
pub(crate) fn run(options: &Options) -> bool {
    let mut machine = Machine {
        enabled: !options.quick,
        one_core: Calibration::of(&[SERVER_CORE]),
        both_cores: Calibration::of(&[SERVER_CORE, LOAD_CORE]),
    };
    let mut complete = true;
    for case in &options.cases {
        if let Some(program) = case.needs().filter(|program| !process::is_installed(program)) {
            eprintln!("compare: {}: skipped: {program} is not installed", case.name);
            continue;
        }
        let own = if options.quick { case.quick } else { case.params };
        let own = || own.iter().map(|&param| param.to_owned()).collect();
        for param in options.params.clone().unwrap_or_else(own) {
            let report = rounds(case, &param, options, &mut machine);
            complete &= report.runs.iter().all(|runs| !(runs.failed && runs.column.starts_with("greenlet")));
            if options.json {
                report.print_json();
            } else {
                report.print_table();
            }
        }
    }
    complete
}

fn rounds(case: &'static Case, param: &str, options: &Options, machine: &mut Machine) -> Report {
    let columns: Vec<&Column> = options.columns.iter().copied().filter(|column| (case.has)(column, param)).collect();
    let mut runs: Vec<Runs> = columns.iter().map(|column| Runs::new(column.name)).collect();
    for round in 0..options.rounds {
        for turn in 0..columns.len() {
            let index = (round + turn) % columns.len();
            // What failed once, for want of mappings or threads, would only fail again.
            if runs[index].failed {
                continue;
            }
            let seconds = options.seconds.unwrap_or(case.seconds);
            match once(case, columns[index], param, seconds, machine) {
                Ok(figures) => runs[index].rounds.push(figures),
                Err(err) => {
                    eprintln!("compare: {} {param} {}: {err}", case.name, columns[index].name);
                    runs[index].fail();
                }
            }
        }
    }
    Report { case, param: param.to_owned(), runs }
}

fn once(case: &Case, column: &Column, param: &str, seconds: f64, machine: &mut Machine) -> io::Result<Vec<f64>> {
    let run = || match case.run {
        Run::Child(_) if param.parse().is_ok_and(|tasks: usize| tasks > column.limit) => {
            let limit = column.limit;
            Err(io::Error::other(format!("not tried: fails beyond some {limit} tasks")))
        }
        Run::Child(_) | Run::Pair(_) | Run::Both(_) | Run::Counted(_) => {
            process::measure(case.name, column.name, param, seconds)
        }
        Run::BesideRedis(_) => {
            let redis = RedisServer::start()?;
            process::measure(case.name, column.name, &format!("{param}@{}", redis.port()), seconds)
        }
        Run::Load(load) => load(&mut Server::start(case.name, column.name)?, param, seconds),
        Run::LoadBeside(load) => {
            let mut server = Server::start(case.name, column.name)?;
            process::use_both_cores();
            let figures = load(&mut server, param, seconds);
            process::pin(LOAD_CORE);
            figures
        }
    };
    let figures = if machine.enabled {
        let calibration = match case.run {
            Run::Child(_) | Run::Counted(_) => &mut machine.one_core,
            Run::Pair(_) | Run::Both(_) | Run::Load(_) | Run::LoadBeside(_) | Run::BesideRedis(_) => {
                &mut machine.both_cores
            }
        };
        calibration.around(&format!("{} {param} {}", case.name, column.name), run)?
    } else {
        run()?
    };
    if figures.len() != case.units.len() {
        return Err(io::Error::other("the figures are incomplete"));
    }
    Ok(figures)
}
