//! `keepmydata doctor DIR --client DIR2`: what a second client of the same filesystem sees of what was synced through the
//! first, by which way of reading, and when.

mod case;
mod link;
mod options;
mod report;
mod side;
mod trials;
mod turns;
mod verdict;

pub use side::{NAME, command, serve};

use super::arguments::Options;
use crate::failure::Failure;
use crate::junit;
use crate::output::{self, Target};
use crate::progress::Progress;
use crate::sys;
use crate::trial::Verdict as _;
use link::Link;
use side::{About, Ask, PROTOCOL};
use std::ffi::c_int;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use trials::{Pair, Trials, Turns};
use verdict::Judgement;

/// The work itself, in a process that may be left behind where a filesystem hangs.
pub fn work(options: &Options, client: &Path) -> Result<c_int, Failure> {
    sys::note_interruptions();
    let results = options.junit.as_deref().map(Target::open).transpose()?;
    let pair = Pair {
        first: Link::local()?,
        second: match &options.peer {
            None => Link::local()?,
            Some(prefix) => Link::peer(prefix)?,
        },
    };
    let first = hello(&pair.first, &options.directory, None)?;
    let second = hello(&pair.second, client, options.peer.as_deref())?;
    let abouts = [&first, &second];
    let names = [options.directory.as_path(), client];
    // What another machine has mounted cannot be waited for here.
    let whole = [&first.directory, &second.directory].map(|path| path.as_path());
    let mounts = options.peer.is_none().then_some(whole);
    let (judgement, trials) = match examine(&pair, abouts, mounts)? {
        Ok((judgement, trials)) => (judgement, Some(trials)),
        Err(why) => (verdict::unknown(why), None),
    };
    let report = match options.json {
        true => report::json(names, abouts, &judgement, trials.as_ref()),
        false => report::text(options, names, abouts, &judgement, trials.as_ref()),
    };
    let printed = output::print(report);
    if let Some(results) = results {
        let suites = report::junit(names, abouts, &judgement, trials.as_ref());
        junit::write(results, "keepmydata doctor", suites)?;
    }
    printed?;
    Ok(judgement.verdict.code())
}

/// What is mounted there.
fn hello(link: &Link, directory: &Path, peer: Option<&str>) -> Result<About, Failure> {
    let ask = Ask::Hello {
        directory: directory.to_owned(),
    };
    let about: About = link.ask(ask).map_err(|why| {
        Failure::own(match peer {
            None => format!("{}: {why}", directory.display()),
            Some(prefix) => format!("{prefix} keepmydata: {}: {why}", directory.display()),
        })
    })?;
    match about.protocol {
        PROTOCOL => Ok(about),
        other => Err(Failure::own(format!(
            "the keepmydata of the peer speaks version {other} of this, and this one {PROTOCOL}: install the same there"
        ))),
    }
}

/// What follows, or why nothing could be tried.
fn examine(
    pair: &Pair,
    abouts: [&About; 2],
    mounts: Option<[&Path; 2]>,
) -> Result<Result<(Judgement, Trials), String>, Failure> {
    let [first, second] = abouts;
    if first.boot == second.boot && first.device == second.device && !first.boot.is_empty() {
        return Ok(Err(
            "Both are one mount to the kernel, with one page cache: they are one client. Mount the filesystem a \
             second time, or name a directory of another machine with --peer."
                .to_owned(),
        ));
    }
    let progress = Progress::pulsing(case::all().len() as u64 + 3);
    // Two doctors may be here at once.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let token = format!("{:x}-{now:x}", std::process::id());
    let name = format!(".keepmydata-doctor-{token}");
    let tried = try_all(pair, mounts, &name, &token, &progress);
    if let Err(why) = pair.first.ask::<()>(Ask::Remove) {
        output::say(format_args!("{name} is left behind: {why}"));
    }
    let tried = match tried? {
        Ok(tried) => tried,
        Err(why) => return Ok(Err(format!("{why}."))),
    };
    let judgement = verdict::judge(&tried, abouts, mounts);
    Ok(Ok((judgement, tried)))
}

fn try_all(
    pair: &Pair,
    mounts: Option<[&Path; 2]>,
    name: &str,
    token: &str,
    progress: &Progress,
) -> Result<Result<Trials, String>, Failure> {
    let met = progress.step("is it one filesystem?", || pair.meet(name, token))?;
    let only_reads = match met {
        Err(why) => return Ok(Err(why)),
        Ok(why) => why,
    };
    let mut trials = Trials {
        tried: trials::cases(pair, only_reads.is_some(), progress)?,
        turns: Turns::default(),
        only_reads,
        waiting: None,
    };
    if trials.only_reads.is_none() {
        let patience = verdict::patience(&trials);
        trials.turns = progress.step("two writers take turns", || trials::turns(pair, patience))?;
    }
    if let Some([first, second]) = mounts
        && verdict::may_wait(&trials)
        && let Ok(writer) = Link::waiting(first, second)
    {
        let hello = Ask::Hello {
            directory: first.to_owned(),
        };
        let enter = Ask::Enter {
            name: name.to_owned(),
        };
        let ready = writer.ask::<About>(hello).and(writer.ask::<()>(enter));
        if ready.is_ok() {
            trials.waiting = Some(trials::waiting(&writer, pair, progress)?);
        }
    }
    Ok(Ok(trials))
}
