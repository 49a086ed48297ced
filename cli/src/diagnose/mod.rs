//! `keepmydata diagnose -- PROGRAM`: runs a failing test under settings that add one step at a time,
//! and says what is at fault.

mod arguments;
mod clients;
mod report;
mod runs;
mod settings;
mod verdict;

pub use arguments::{Options, command, options};

use crate::failure::Failure;
use crate::junit;
use crate::output::{self, Target};
use crate::progress::Progress;
use crate::sys;
use crate::trial::Verdict as _;
use crate::typo;
use runs::{Program, Runs};
use settings::{Kind, LAST_RESORT, SETTINGS, Setting};
use std::ffi::c_int;
use verdict::Verdict;

pub fn diagnose(options: &Options) -> Result<c_int, Failure> {
    typo::warn_of_variables();
    let mut program = Program::new(options)?;
    let results = options.junit.as_deref().map(Target::open).transpose()?;
    sys::note_interruptions();
    let progress = Progress::new(u64::from(options.runs) * SETTINGS.len() as u64);
    let mut all: Vec<Runs> = Vec::new();
    for setting in &SETTINGS {
        program.look_for_clients(&all);
        if is_worth_it(setting.kind, &program, &all) {
            all.push(try_setting(&program, setting, options.runs, &progress)?);
        }
    }
    let judgement = verdict::judge(&all, program.clients.as_ref());
    drop(progress);
    let report = match options.json {
        true => report::json(options, &all, &judgement, program.clients.as_ref()),
        false => report::text(options, &all, &judgement, program.clients.as_ref()),
    };
    let printed = output::print(report);
    if let Some(results) = results {
        junit::write(
            results,
            "keepmydata diagnose",
            report::junit(&all, &judgement),
        )?;
    }
    printed?;
    Ok(judgement.said.verdict.code())
}

/// Whether a setting can still tell something.
fn is_worth_it(kind: Kind, program: &Program, so_far: &[Runs]) -> bool {
    let Some(native) = so_far.first() else {
        return true;
    };
    match kind {
        // What never fails is only watched, and run as it would be run every day.
        _ if native.all_passed() => matches!(kind, Kind::Watch | Kind::Heal),
        Kind::SeenBy => program.clients.is_some(),
        Kind::SeenByEverything => {
            program.clients.is_some() && !verdict::passes_under(so_far, Kind::SeenBy)
        }
        // Of what it does otherwise the shim knows nothing, and time alone is tried.
        Kind::DelayedFsync => {
            program.clients.is_some()
                && verdict::is_never_synced(so_far)
                && program.has_time_to_wait(so_far)
        }
        // Where it lets nobody wait for minutes.
        LAST_RESORT => verdict::needs_time(so_far) && program.has_time_to_wait(so_far),
        // The last resort.
        Kind::Reverify => {
            let judged = verdict::judge(so_far, program.clients.as_ref());
            judged.said.verdict == Verdict::Test
        }
        _ => true,
    }
}

fn try_setting(
    program: &Program,
    setting: &Setting,
    times: u32,
    progress: &Progress,
) -> Result<Runs, Failure> {
    let mut runs = Runs {
        kind: setting.kind,
        name: setting.name,
        runs: 0,
        passed: 0,
        opened: Default::default(),
        fsynced: Default::default(),
        fsyncs: 0,
        failures: Vec::new(),
        slowest_ms: 0,
        evidence: Default::default(),
    };
    if let Some(why) = program.cannot(setting) {
        runs.failures.push(why.to_owned());
        return Ok(runs);
    }
    for _ in 0..times {
        progress.step(setting.name, || program.run(setting, &mut runs))??;
    }
    Ok(runs)
}
