//! `keepmydata doctor DIR`: whether a filesystem keeps the promise of msync, whether the shim cures
//! it where not, and what the kernel and the filesystem offer.

mod arguments;
mod cache;
mod clients;
mod conclusion;
mod daemon;
mod filesystem;
mod guest;
mod kernel;
mod probe;
mod report;
mod supervisor;
mod trials;
mod verdict;

pub use arguments::{GUEST, Options, command, guest_command, options};
pub use clients::{NAME as CLIENT, command as client_command, serve as client};
pub use supervisor::doctor;

pub use filesystem::Filesystem;

use crate::failure::Failure;
use crate::junit;
use crate::output::{self, Target};
use crate::progress::Progress;
use crate::run::{Reach, reason};
use crate::sys;
use crate::trial::Verdict as _;
use keepmydata_records::Backing;
use report::{Report, Row};
use std::ffi::c_int;
use std::io;
use std::time::Instant;
use trials::{Guests, Pace, Trials, Workplace};
use verdict::{Judgement, Setting, Verdict};

/// As [`guest::guest`].
pub fn guest(task: &str) -> Result<c_int, Failure> {
    guest::guest(task, work)
}

/// The work itself, in a process that may be left behind where the filesystem hangs.
fn work(options: &Options) -> Result<c_int, Failure> {
    if let Some(client) = &options.client {
        return clients::work(options, client);
    }
    let started = Instant::now();
    let shown = options.directory.display();
    let failed = |why: io::Error| Failure::of(&shown, &why);
    let directory = options.directory.canonicalize().map_err(failed)?;
    if !directory.is_dir() {
        return Err(Failure::own(format!("{shown}: Not a directory")));
    }
    sys::note_interruptions();
    let results = options.junit.as_deref().map(Target::open).transpose()?;
    let kernel = kernel::Kernel::look();
    let filesystem = filesystem::Filesystem::look(&directory).map_err(failed)?;
    let mut report = Report::new(&directory, filesystem.summary());
    report.section("kernel", kernel.rows());
    let code = match Workplace::new(&directory) {
        Ok(workplace) => {
            let progress = Progress::pulsing(trials::COUNT);
            examine(
                (&kernel, &filesystem),
                &workplace,
                started,
                &progress,
                &mut report,
                options.reach,
            )?
        }
        Err(error) => {
            report.section("filesystem", filesystem.rows());
            let sentence = format!("No file can be made there: {}.", reason(&error));
            report.judged(&Judgement::unknown(sentence));
            Verdict::Unknown
        }
    }
    .code();
    let suites = report.junit();
    let printed = output::print(report.render(options));
    if let Some(results) = results {
        junit::write(results, "keepmydata doctor", suites)?;
    }
    printed?;
    Ok(code)
}

/// What can be found out with files of its own.
fn examine(
    (kernel, filesystem): (&kernel::Kernel, &filesystem::Filesystem),
    workplace: &Workplace,
    started: Instant,
    progress: &Progress,
    report: &mut Report,
    reach: Reach,
) -> Result<Verdict, Failure> {
    let probe = progress.step("a small file", || probe::probe(&workplace.file()))?;
    let cache = progress.step("the page cache", || cache::look(&workplace.file()))?;
    let pace = cache.as_ref().map_or(Pace::default(), cache::Cache::pace);
    let guests = &Guests::new(workplace, started, pace, reach)?;
    let mut facts = filesystem.rows();
    match &probe {
        Ok(probe) => facts.extend(probe.rows(filesystem.is_fuse())),
        Err(error) => facts.push(Row::new("probe", "failed", reason(error))),
    }
    match &cache {
        Ok(cache) => facts.extend(cache.rows()),
        Err(error) => facts.push(Row::new("page cache", "unknown", reason(error))),
    }
    report.section("filesystem", facts);
    let conclusion = conclusion::conclude(filesystem, kernel, probe.as_ref().ok());
    report.section("follows", conclusion.rows());

    let trials = Trials::run(guests, filesystem.backing, progress)?;
    let setting = Setting {
        is_fuse: filesystem.is_fuse(),
        actor: if filesystem.is_fuse() {
            "the daemon"
        } else {
            "the filesystem"
        },
        one_inode: cache.as_ref().is_ok_and(|cache| cache.limit().is_none()),
        has_store: filesystem.backing != Backing::Nothing,
        no_shim: guests.no_shim(),
    };
    let mut judgement = verdict::judge(&trials, &setting);
    let cache = cache.as_ref().ok().and_then(cache::Cache::limit);
    let limits = conclusion.limits.iter().cloned();
    let limits = limits.chain(filesystem.limit().map(str::to_owned));
    judgement
        .limits
        .extend(limits.chain(cache.map(str::to_owned)));
    if guests.supervises {
        let limit = "the shim was tried from outside, by a supervisor (docs/reach.md)";
        judgement.limits.push(limit.to_owned());
    }
    report.tried(&trials);
    report.judged(&judgement);
    Ok(judgement.said.verdict)
}
