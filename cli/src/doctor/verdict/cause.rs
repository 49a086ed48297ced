//! Which steps help, and what that says of the filesystem.

use super::super::guest::{Look, Page, SeedFound, Step};
use super::super::trials::Trials;
use super::ms;

/// What helps, and the cause as far as it is clear, a sentence each.
pub fn sentences(trials: &Trials, actor: &str) -> Vec<String> {
    let Ok(native) = &trials.native else {
        return Vec::new();
    };
    if native.worse_after_ns().is_some() {
        return vec![format!(
            "So {actor} applies an older write after a newer one."
        )];
    }
    if native.is_whole() {
        return Vec::new();
    }
    let helps = Helps::of(trials, native);
    let mut sentences = vec![match is_other_cache(native) {
        true => "Readers past the page cache see all data.".to_owned(),
        false => helps.sentence(native),
    }];
    sentences.push(format!("So {}.", helps.cause(trials, native, actor)));
    if let Some(error) = &native.close_error {
        sentences.push(format!("Only close(2) tells: it failed ({error})."));
    }
    sentences
}

/// What made the first look whole.
struct Helps {
    msync: bool,
    fdatasync: bool,
    fsync: bool,
    /// How many were needed.
    fsyncs: Option<usize>,
    /// After how many ns.
    wait: Option<u64>,
    redirty: bool,
    drop: bool,
    reopen: bool,
}

impl Helps {
    fn of(trials: &Trials, native: &SeedFound) -> Self {
        let helps = |step| trials.step(step).is_some_and(SeedFound::is_whole);
        let fsyncs = trials.step(Step::Fsyncs);
        Helps {
            msync: helps(Step::Msync),
            fdatasync: helps(Step::Fdatasync),
            fsync: helps(Step::Fsync),
            fsyncs: fsyncs
                .filter(|found| found.is_whole())
                .map(|found| found.step.len()),
            wait: native.whole_after_ns(),
            redirty: helps(Step::Redirty),
            drop: helps(Step::Drop),
            reopen: helps(Step::Reopen),
        }
    }

    fn any_sync(&self) -> bool {
        self.msync || self.fdatasync || self.fsync
    }

    fn sentence(&self, native: &SeedFound) -> String {
        let syncs = [
            (self.msync, "msync"),
            (self.fdatasync, "fdatasync"),
            (self.fsync, "fsync"),
        ];
        let names = |helps: bool| {
            let names = syncs.iter().filter(|(helped, _)| *helped == helps);
            names.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
        };
        let mut parts = vec![match (self.any_sync(), names(false).as_str()) {
            (true, "") => "Syncing a second time helps".to_owned(),
            (true, not) => format!("A second {} helps ({not} does not)", names(true)),
            (false, _) => "Syncing a second time does not help".to_owned(),
        }];
        let needed = |count: &usize| *count > 1 && !self.any_sync() && self.wait.is_none();
        if let Some(count) = self.fsyncs.filter(needed) {
            parts.push(format!("syncing {count} times more does"));
        }
        parts.push(match self.wait {
            Some(late) => format!("waiting {} does", ms(late)),
            None => format!("waiting {} does not", ms(native.looked_ns)),
        });
        for (helps, what) in [
            (
                self.redirty,
                "making the pages dirty again and syncing each alone does",
            ),
            (self.drop, "dropping the page cache does"),
            (self.reopen, "closing the file does"),
        ] {
            if helps {
                parts.push(what.to_owned());
            }
        }
        format!("{}.", parts.join("; "))
    }

    fn cause(&self, trials: &Trials, native: &SeedFound, actor: &str) -> String {
        if native.msync.error.is_some() {
            return "the kernel forgot the pages when their writeback failed, as Linux does, and \
                    the next msync had nothing left to write"
                .to_owned();
        }
        if is_other_cache(native) {
            return format!(
                "{actor} has the data, and readers are served from another page cache, which \
                 does not know of the store: one file is shown as two inodes"
            );
        }
        let served_from_cache = trials.unread.as_ref().is_ok_and(SeedFound::is_whole);
        if self.wait.is_some() {
            return match served_from_cache {
                true => format!(
                    "{actor} serves readers data that it read before the store, until some time \
                     after the sync"
                ),
                false => format!("{actor} applies writes after it has acknowledged FSYNC"),
            };
        }
        if self.any_sync() {
            return match served_from_cache {
                true => format!(
                    "{actor} serves readers data that it read before the store, until the file \
                     is synced once more"
                ),
                false => format!("{actor} applies a part of what it acknowledges at each sync"),
            };
        }
        if self.fsyncs.is_some() {
            return format!("{actor} applies a part of what it acknowledges at each sync");
        }
        if self.redirty {
            return match first_page_only(&native.looks[0]) {
                true => format!(
                    "{actor} keeps only the first page of a write of several, and acknowledges all"
                ),
                false => format!("{actor} dropped the first write of the pages it acknowledged"),
            };
        }
        format!("{actor} acknowledges data that it does not keep")
    }
}

/// Whether all that is wrong is a page cache: the filesystem gives the right data, and time does not
/// help. That an open does is no contrary: it drops the cache.
fn is_other_cache(native: &SeedFound) -> bool {
    let first = &native.looks[0];
    let right = |reader| {
        pages(first, reader).is_some_and(|pages| pages.iter().all(|&page| page == Page::New))
    };
    right("direct") && (native.whole_after_ns().is_none() || right("fresh"))
}

fn pages<'a>(look: &'a Look, reader: &str) -> Option<&'a [Page]> {
    let mut readings = look.readings.iter();
    let reading = readings.find(|reading| reading.reader == reader)?;
    reading.pages.as_deref().ok()
}

fn first_page_only(look: &Look) -> bool {
    look.readings
        .iter()
        .filter(|reading| !reading.is_whole())
        .all(|reading| {
            let pages = reading.pages.as_deref().unwrap_or_default();
            pages.first() == Some(&Page::New) && pages[1..].iter().all(|&page| page == Page::Old)
        })
}
