//! What the shim makes of it, and what to do.

use super::super::guest::SeedFound;
use super::super::trials::{Found, Shimmed, Trials};
use super::{Setting, Verdict, ms};
use crate::trial::Evidence;
use crate::words::count;

const RUN: &str = "Run programs with: keepmydata -- PROGRAM";

pub fn judge(trials: &Trials, setting: &Setting) -> (Verdict, Vec<String>) {
    if let Some(why) = setting.no_shim {
        return not_tried(why);
    }
    let shim = match &trials.shim.found {
        Ok(found) => found,
        Err(why) => return not_tried(why),
    };
    let workload = match &trials.shim_workload {
        Ok(found) => found,
        Err(why) => return not_tried(why),
    };
    if is_cured(shim)
        && let Some(Ok(neighbour)) = &trials.neighbour
        && neighbour.msync_ok
        && !(neighbour.held && neighbour.mapped)
    {
        let ways = match (neighbour.held, neighbour.mapped) {
            (false, false) => "through a descriptor or a mapping that it had before",
            (false, true) => "through a descriptor that it had before",
            _ => "through a mapping that it had before",
        };
        let why = match setting.one_inode {
            false => ": it has another inode's page cache, which no other process can drop",
            true => "",
        };
        return (
            Verdict::NotCured,
            vec![
                format!(
                    "Under keepmydata a new open gets the new data, and another process still saw old data {ways}{why}."
                ),
                format!("Only {} can fix that.", setting.actor),
            ],
        );
    }
    if is_cured(shim) && workload.bad.is_none() && workload.msync_error.is_none() {
        return (
            Verdict::Cured,
            vec![
                format!(
                    "Under keepmydata all readers got the new data at once, also in {} at random places; \
                     msync took {} instead of {}.",
                    count(workload.operations, "store"),
                    ms(shim.msync.ns),
                    native_time(&trials.native)
                ),
                format!("{RUN}."),
            ],
        );
    }
    if let Some(tuned) = &trials.tuned {
        if tuned.found.as_ref().is_ok_and(is_cured) && !trials.comes_back() {
            return (
                Verdict::Cured,
                vec![
                    "Under keepmydata msync gives up before the data is there.".to_owned(),
                    format!("{RUN}, with {}: then it was.", tuned.settings),
                ],
            );
        }
        if trials.comes_back() {
            let seen = match is_reported_late(tuned) {
                true => "and reports it",
                false => "and did not see it this time",
            };
            return (
                Verdict::NotCured,
                vec![format!(
                    "Under keepmydata the same happens. With {} it looks again {seen}; only {} \
                     can fix it.",
                    tuned.settings, setting.actor
                )],
            );
        }
    }
    let what = if let Some(error) = &shim.msync.error {
        format!(
            "Under keepmydata msync fails ({error}) instead of returning 0 with the data lost: \
             the program notices, and the log names the pages."
        )
    } else if let Some(error) = &workload.msync_error {
        format!("Under keepmydata msync fails in a workload ({error}): the program notices.")
    } else if workload.bad.is_some() {
        "Under keepmydata a workload found bad data too.".to_owned()
    } else {
        "Under keepmydata the readers saw it too.".to_owned()
    };
    let advice = format!("Only {} can fix it.", setting.actor);
    (Verdict::NotCured, vec![what, advice])
}

fn not_tried(why: &str) -> (Verdict, Vec<String>) {
    let sentence = format!("Whether keepmydata cures it could not be tried: {why}.");
    (Verdict::NotCured, vec![sentence])
}

fn is_cured(found: &SeedFound) -> bool {
    found.msync.error.is_none() && found.is_whole()
}

fn native_time(native: &Found<SeedFound>) -> String {
    native
        .as_ref()
        .map_or_else(|_| "?".to_owned(), |found| ms(found.msync.ns))
}

/// Whether the second look of the shim found it.
fn is_reported_late(tuned: &Shimmed) -> bool {
    let mut evidence = Evidence::default();
    evidence.add(tuned.records.iter().cloned(), true);
    evidence.reported_afterwards()
}

/// What goes wrong under the shim only, on a filesystem that keeps its promise.
pub fn harm(trials: &Trials) -> Vec<String> {
    let mut limits = Vec::new();
    match &trials.shim.found {
        Ok(found) if !found.acknowledged() => limits.push(format!(
            "under keepmydata msync fails here: {}",
            found.msync.error.as_deref().unwrap_or("?")
        )),
        Ok(found) if !found.is_whole() => {
            limits.push("under keepmydata readers did not see all data".to_owned());
        }
        Ok(_) => {}
        Err(why) => limits.push(format!("nothing could be tried under keepmydata: {why}")),
    }
    if let Ok(found) = &trials.shim_workload {
        if let Some(error) = &found.msync_error {
            limits.push(format!(
                "under keepmydata msync fails in a workload: {error}"
            ));
        } else if found.bad.is_some() {
            limits.push("under keepmydata a workload found bad data".to_owned());
        }
    }
    limits
}
