//! What the other client sees, in words that people know.

use super::case::{Case, Client, Opened, Step, Watched, Way};
use super::options;
use super::side::About;
use super::trials::{Trials, Tried, WATCH_MS};
use crate::trial;
use crate::words::{count, verb};
use serde::Serialize;
use std::ffi::c_int;
use std::path::Path;

/// From the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    AtOnce,
    /// Without anything else than time.
    AfterTime,
    CloseToOpen,
    OnLock,
    Never,
    /// Whatever is seen.
    LostUpdate,
    Unknown,
}

impl trial::Verdict for Verdict {
    fn code(self) -> c_int {
        match self {
            Verdict::AtOnce => 0,
            Verdict::AfterTime | Verdict::CloseToOpen | Verdict::OnLock => 1,
            Verdict::Never | Verdict::LostUpdate => 2,
            Verdict::Unknown => 3,
        }
    }

    fn is_unknown(self) -> bool {
        self == Verdict::Unknown
    }

    fn headline(self) -> &'static str {
        match self {
            Verdict::AtOnce => "The other client sees at once what msync has synced",
            Verdict::AfterTime => "The other client sees only after a time what msync has synced",
            Verdict::CloseToOpen => {
                "Close-to-open: the other client sees what msync has synced when it opens the file anew"
            }
            Verdict::OnLock => {
                "The other client sees what msync has synced only once it takes a record lock"
            }
            Verdict::Never => "The other client does not see within 10 s what msync has synced",
            Verdict::LostUpdate => "An update was lost, though synced",
            Verdict::Unknown => "What the other client sees is not known",
        }
    }
}

/// A cache that expires within so many ms is not told from one that an open expires.
const SHORT: u64 = 100;

pub type Judgement = trial::Judgement<Verdict>;

/// What readers of one client saw after one step of the other's.
struct Seen<'a> {
    trials: &'a Trials,
    writer: Client,
    opened: Opened,
    step: Step,
}

impl Seen<'_> {
    fn tried(&self, way: Way) -> Option<&Tried> {
        self.trials.find(Case {
            writer: self.writer,
            reader: self.writer.other(),
            way,
            opened: self.opened,
            step: self.step,
        })
    }

    fn by(&self, way: Way) -> Option<Watched> {
        self.tried(way)?.found.clone().ok()
    }

    /// How long what the reader had cached may have been there at its first look, ms.
    fn late(&self, way: Way) -> u64 {
        let tried = self.tried(way);
        tried.and_then(|tried| tried.first_look_ms).unwrap_or(0)
    }

    fn at_once(&self, way: Way) -> bool {
        self.by(way).is_some_and(|seen| seen.at_once())
    }

    fn after(&self, way: Way) -> Option<u64> {
        self.by(way)?.new_after_ms
    }

    fn class(&self) -> Verdict {
        let (Some(held), Some(fresh)) = (self.by(Way::Held), self.by(Way::Fresh)) else {
            return Verdict::Unknown;
        };
        match (held.new_after_ms, fresh.new_after_ms) {
            (Some(0), Some(0)) => Verdict::AtOnce,
            // What is cached for a time ends at the same age for both. It may be old enough by the first look, whoever opens.
            (Some(held), Some(fresh)) if held <= SHORT + 2 * (fresh + self.late(Way::Fresh)) => {
                Verdict::AfterTime
            }
            // Later than that the kernel has evicted what it had cached, by chance.
            (_, Some(_)) => Verdict::CloseToOpen,
            (_, None) if self.after(Way::Lock).is_some() => Verdict::OnLock,
            (_, None) => Verdict::Never,
        }
    }
}

/// How long a client that waits for the other's store must wait, ms.
pub fn patience(trials: &Trials) -> u64 {
    let mut patience = 1000;
    for writer in [Client::First, Client::Second] {
        let seen = Seen {
            trials,
            writer,
            opened: Opened::Before,
            step: Step::Msync,
        };
        match seen.class() {
            Verdict::Never => return 200,
            _ => patience = patience.max(2 * seen.after(Way::Fresh).unwrap_or(0) + 1000),
        }
    }
    patience.min(WATCH_MS)
}

/// Whether it can help that msync waits for the other client.
pub fn may_wait(trials: &Trials) -> bool {
    let classes = [Opened::Before, Opened::After].map(|opened| {
        let seen = Seen {
            trials,
            writer: Client::First,
            opened,
            step: Step::Msync,
        };
        seen.class()
    });
    classes
        .iter()
        .any(|class| !matches!(class, Verdict::AtOnce | Verdict::Unknown))
}

/// What it came to where msync waited for the other client.
fn waited(trials: &Trials, mounts: Option<[&Path; 2]>) -> Option<String> {
    let (waiting, [first, second]) = (trials.waiting.as_ref()?, mounts?);
    let setting = format!(
        "KEEPMYDATA_SEEN_BY={}={}",
        first.display(),
        second.display()
    );
    let late = waiting
        .iter()
        .filter(|tried| tried.found.as_ref().is_ok_and(|seen| !seen.at_once()))
        .map(|tried| tried.case.way.words())
        .fold(Vec::new(), |mut late, words| {
            if !late.contains(&words) {
                late.push(words);
            }
            late
        });
    let slowest = waiting.iter().filter_map(|tried| tried.msync_ns).max()?;
    Some(match late.as_slice() {
        [] => format!(
            "Under keepmydata with {setting} msync waits for that, {:.0} ms here, and readers on the second get the new data with their first \
             read; mappings that are held there may stay as they are.",
            slowest as f64 / 1e6
        ),
        late => format!(
            "Under keepmydata with {setting} msync looks for that, and the second still saw old data: {}.",
            late.join("; ")
        ),
    })
}

pub fn judge(trials: &Trials, abouts: [&About; 2], mounts: Option<[&Path; 2]>) -> Judgement {
    let of = |writer, opened| Seen {
        trials,
        writer,
        opened,
        step: Step::Msync,
    };
    let classes = [Opened::Before, Opened::After]
        .into_iter()
        .flat_map(|opened| [Client::First, Client::Second].map(|writer| of(writer, opened)))
        .map(|seen| (seen.class(), seen));
    // The worst, of those of which something is known; the first of equals.
    let known = classes.filter(|(class, _)| *class != Verdict::Unknown);
    let worst = known.reduce(|worst, next| if next.0 > worst.0 { next } else { worst });
    let Some((class, seen)) = &worst else {
        let why = trials
            .tried
            .iter()
            .find_map(|tried| tried.found.as_ref().err());
        let why = why.map_or("nothing could be tried", String::as_str);
        return unknown(format!("Nothing could be tried: {why}."));
    };
    let class = *class;
    // What is wrong whoever reads comes first.
    let mut sentences: Vec<String> = own(trials).into_iter().collect();
    sentences.push(sentence(seen, class));
    sentences.extend(ways(seen, class));
    sentences.extend(steps(trials, seen, class));
    sentences.extend(otherwise(of, seen, class));
    let mut verdict = class;
    let turns = &trials.turns;
    if let Some(why) = &turns.error {
        sentences.push(format!(
            "Two writers that take turns could not be tried: {why}."
        ));
    } else if turns.lost > 0 {
        let cause = match own(trials) {
            None => "a client writes back pages that are older than the other's store",
            Some(_) => "not even their writer's mount had them there",
        };
        let lost = format!(
            "Of {} by two writers in turn under record locks, {} {} gone at the writer's next turn, though synced: {cause}.",
            count(turns.stores, "store"),
            turns.lost,
            verb(turns.lost, "was", "were")
        );
        if class == Verdict::Never || turns.lost_though_seen == 0 {
            sentences.push(format!(
                "{lost} It had not seen the other's store when it made its own."
            ));
        } else {
            verdict = Verdict::LostUpdate;
            sentences.insert(0, lost);
        }
    } else if turns.unseen > 0 && class != Verdict::Never {
        sentences.push(format!(
            "Of {} by two writers in turn under record locks, {} were made before the other's store was seen; none was lost.",
            count(turns.stores, "store"),
            turns.unseen
        ));
    } else if turns.stores > 0 && class != Verdict::Never {
        sentences.push(format!(
            "Two writers that took turns under record locks lost none of {}.",
            count(turns.stores, "store")
        ));
    }
    if let Some(sentence) = old_again(trials) {
        verdict = Verdict::LostUpdate;
        sentences.insert(0, sentence);
    }
    if let Some(why) = &trials.only_reads {
        sentences.push(format!(
            "The second client can make no file there ({why}): only what the first stores was tried."
        ));
    }
    sentences.extend(failed(trials));
    sentences.extend(waited(trials, mounts));
    if verdict != Verdict::AtOnce {
        let mut advice: Vec<&str> = abouts
            .iter()
            .map(|about| options::advice(&about.kind, &about.summary))
            .collect();
        advice.dedup();
        sentences.extend(advice.into_iter().map(str::to_owned));
    }
    Judgement { verdict, sentences }
}

/// Where the other direction is another case, or the other order of opens.
fn otherwise<'a>(
    of: impl Fn(Client, Opened) -> Seen<'a>,
    seen: &Seen,
    class: Verdict,
) -> Vec<String> {
    let mut sentences = Vec::new();
    let differs = |other: Verdict| other != class && other != Verdict::Unknown;
    let back = of(seen.writer.other(), seen.opened).class();
    if differs(back) {
        let (from, to) = match seen.writer {
            Client::First => ("first", "second"),
            Client::Second => ("second", "first"),
        };
        sentences.push(format!(
            "That is so where the {from} stores and the {to} reads; the other way round: {}.",
            short(back)
        ));
    }
    let (here, opened, elsewhere) = match seen.opened {
        Opened::Before | Opened::Later => (
            "had the file open before the other read it",
            Opened::After,
            "opens it afterwards",
        ),
        Opened::After => (
            "opened the file after the other had read it",
            Opened::Before,
            "has it open before",
        ),
    };
    let then = of(seen.writer, opened).class();
    if differs(then) {
        sentences.push(format!(
            "That is so where the writer {here}; where it {elsewhere}: {}.",
            short(then)
        ));
    }
    let later = of(seen.writer, Opened::Later);
    let held = later
        .after(Way::Held)
        .filter(|_| seen.after(Way::Held).is_none());
    let then = match held {
        _ if differs(later.class()) => Some(short(later.class()).to_owned()),
        held => held.map(|ms| format!("a descriptor held open sees it after {ms} ms")),
    };
    if let Some(then) = then {
        sentences.push(format!(
            "That is so where it stores within the second in which what the other has read was written; where it stores later: {then}."
        ));
    }
    sentences
}

pub fn unknown(sentence: String) -> Judgement {
    Judgement {
        verdict: Verdict::Unknown,
        sentences: vec![sentence],
    }
}

fn short(class: Verdict) -> &'static str {
    match class {
        Verdict::AtOnce => "at once",
        Verdict::AfterTime => "after a time",
        Verdict::CloseToOpen => "when it opens the file anew",
        Verdict::OnLock => "after a record lock",
        Verdict::Never | Verdict::LostUpdate | Verdict::Unknown => "not within 10 s",
    }
}

/// What was seen, with its times.
fn sentence(seen: &Seen, class: Verdict) -> String {
    let after = |way: Way| match seen.after(way) {
        Some(0) => "at once".to_owned(),
        Some(ms) => format!("after {ms} ms"),
        None => format!("not within {} s", WATCH_MS / 1000),
    };
    match class {
        Verdict::AtOnce => format!(
            "After msync returned 0 on the one, readers on the other got the new data with their first read, not more \
             than {} ms later, through a descriptor held open and through a new open.",
            seen.late(Way::Held).max(seen.late(Way::Fresh)).max(1)
        ),
        Verdict::AfterTime => format!(
            "After msync returned 0 on the one, a descriptor held open on the other sees the new data {}, a new open {}{}.",
            after(Way::Held),
            after(Way::Fresh),
            cause(seen)
        ),
        Verdict::CloseToOpen => format!(
            "After msync returned 0 on the one, a new open on the other sees the new data {}, a descriptor held open {}{}.",
            after(Way::Fresh),
            after(Way::Held),
            match seen.after(Way::Held) {
                Some(_) => ", when the kernel happened to drop what it had cached",
                None => "",
            }
        ),
        Verdict::OnLock => format!(
            "After msync returned 0 on the one, a descriptor held open on the other sees the new data {}, counted from \
             its first record lock (fcntl(2)); without one neither it nor a new open does within 10 s.",
            after(Way::Lock)
        ),
        _ => {
            let past = [Way::Direct, Way::Drop]
                .into_iter()
                .find(|&way| seen.after(way).is_some());
            let past = match past {
                Some(way) => format!(
                    "; {} it is seen {}: the other client serves readers from a cache that nothing invalidates meanwhile",
                    match way {
                        Way::Direct => "with O_DIRECT",
                        _ => way.words(),
                    },
                    after(way)
                ),
                None => String::new(),
            };
            let old: Vec<&str> = [
                (Way::Held, "through a descriptor held open"),
                (Way::Fresh, "through a new open"),
                (Way::Lock, "under a record lock"),
            ]
            .into_iter()
            .filter(|(way, _)| {
                seen.by(*way)
                    .is_some_and(|seen| seen.new_after_ms.is_none())
            })
            .map(|(_, words)| words)
            .collect();
            format!(
                "After msync returned 0 on the one, readers on the other still got old data after {} s, {}{past}.",
                WATCH_MS / 1000,
                old.join(", ")
            )
        }
    }
}

/// Why readers see it after a time: whether those that go past their cache are as late.
fn cause(seen: &Seen) -> String {
    let late = [Way::Held, Way::Fresh]
        .into_iter()
        .filter_map(|way| seen.after(way));
    let past = [Way::Direct, Way::Drop]
        .into_iter()
        .filter_map(|way| seen.after(way));
    let (Some(late), Some(past)) = (late.max(), past.min()) else {
        return String::new();
    };
    if past == 0 || late > past + SHORT.max(past / 2) {
        let cache = "the other client serves them from its cache meanwhile (an attribute cache)";
        return match past {
            0 => format!(": {cache}"),
            past => format!(": {cache}; past that it is seen after {past} ms"),
        };
    }
    match own_late(seen.trials, seen.writer) {
        Some(_) => ": as late as past the writer's own page cache".to_owned(),
        None => {
            ": reads past its cache are as late, so the filesystem itself hands the data on late"
                .to_owned()
        }
    }
}

/// How the writer itself found its data past its page cache, where that was not at once.
fn own_late(trials: &Trials, writer: Client) -> Option<Watched> {
    let case = Case {
        writer,
        reader: writer,
        way: Way::Direct,
        opened: Opened::Before,
        step: Step::Msync,
    };
    let found = trials.find(case)?.found.as_ref().ok()?;
    (!found.at_once()).then_some(*found)
}

/// Where the writer itself does not find its data on the filesystem.
fn own(trials: &Trials) -> Option<String> {
    let mut late = [Client::First, Client::Second]
        .into_iter()
        .filter_map(|writer| own_late(trials, writer));
    let when = match late.next()?.new_after_ms {
        Some(ms) => format!("only after {ms} ms"),
        None => format!("not even after {} s", WATCH_MS / 1000),
    };
    Some(format!(
        "Past the writer's own page cache the data was there {when}: msync breaks its promise, whoever reads. See \
         keepmydata doctor of the one directory."
    ))
}

/// Where what had been seen was gone again.
fn old_again(trials: &Trials) -> Option<String> {
    let seen = trials.tried.iter().filter(|tried| tried.found.is_ok());
    let again = seen.filter_map(|tried| {
        let seen = tried.found.as_ref().ok()?;
        Some((tried.case.way, seen.old_again_ms?))
    });
    let (way, ms) = again.min_by_key(|(_, ms)| *ms)?;
    Some(format!(
        "Old data came back: a reader on the other client ({}) had seen the new data, and {ms} ms later it was gone.",
        way.words()
    ))
}

/// What could not be tried, other than ways of reading that a filesystem may refuse.
fn failed(trials: &Trials) -> Option<String> {
    let may_refuse = |way: Way| matches!(way, Way::Direct | Way::Lock | Way::Mapping);
    let plain = trials
        .tried
        .iter()
        .filter(|tried| !may_refuse(tried.case.way));
    let failed: Vec<&String> = plain
        .clone()
        .filter_map(|tried| tried.found.as_ref().err())
        .collect();
    let why = failed.first()?;
    Some(format!(
        "{} of {} could not be made: {why}.",
        failed.len(),
        count(plain.count() as u64, "trial")
    ))
}

/// Ways of reading that are another case than the verdict says.
fn ways(seen: &Seen, class: Verdict) -> Vec<String> {
    let mut sentences = Vec::new();
    if class < Verdict::OnLock
        && let Some(held) = seen.by(Way::Mapping)
        && held
            .new_after_ms
            .is_none_or(|ms| ms > 2 * seen.after(Way::Held).unwrap_or(ms) + 100)
    {
        sentences.push(match held.new_after_ms {
            Some(ms) => format!("A mapping that is held there shows it after {ms} ms."),
            None => format!(
                "A mapping that is held there still shows old data after {} s.",
                WATCH_MS / 1000
            ),
        });
    }
    let helps: Vec<&str> = [Way::Lock, Way::Drop, Way::Direct]
        .into_iter()
        .filter(|&way| !matches!(class, Verdict::AtOnce | Verdict::Never) && seen.at_once(way))
        .filter(|&way| !(class == Verdict::OnLock && way == Way::Lock))
        .map(|way| match way {
            Way::Lock => "a record lock before the read",
            Way::Drop => "a drop of the reader's page cache (posix_fadvise)",
            _ => "O_DIRECT",
        })
        .collect();
    if !helps.is_empty() {
        sentences.push(format!("At once with: {}.", helps.join("; ")));
    }
    sentences
}

/// What the writer may do more than msync.
fn steps(trials: &Trials, seen: &Seen, class: Verdict) -> Option<String> {
    let better = Step::ALL[1..].iter().find_map(|&step| {
        let then = Seen {
            trials,
            writer: seen.writer,
            opened: seen.opened,
            step,
        }
        .class();
        (then < class).then_some((step, then))
    });
    let (step, then) = better?;
    Some(format!(
        "Where the writer does more ({}), it is seen {}.",
        step.words(),
        short(then)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::super::trials::Turns;
    use super::*;

    /// Each case is seen as `new_after_ms` says; the writer itself reads with O_DIRECT.
    fn trials(new_after_ms: impl Fn(Case) -> Option<u64>) -> Trials {
        let tried = case::all().into_iter().map(|case| {
            let new_after_ms = new_after_ms(case);
            Tried {
                case,
                found: Ok(Watched {
                    new_after_ms,
                    looked_ms: new_after_ms.unwrap_or(WATCH_MS),
                    mixed: false,
                    evicted: false,
                    old_again_ms: None,
                }),
                msync_ns: Some(1),
                first_look_ms: Some(1),
                in_another_second: false,
            }
        });
        Trials {
            tried: tried.collect(),
            turns: Turns::default(),
            only_reads: None,
            waiting: None,
        }
    }

    fn seen(trials: &Trials) -> Seen<'_> {
        Seen {
            trials,
            writer: Client::First,
            opened: Opened::Before,
            step: Step::Msync,
        }
    }

    /// Readers see it after `plain` ms, those that go past their cache after `past`, and the writer itself after `own`.
    fn cause_of(plain: u64, past: u64, own: u64) -> String {
        let trials = trials(|case| match case.way {
            Way::Direct if case.reader == case.writer => Some(own),
            Way::Direct | Way::Drop => Some(past),
            _ => Some(plain),
        });
        let seen = seen(&trials);
        assert_eq!(seen.class(), Verdict::AfterTime);
        cause(&seen)
    }

    #[test]
    fn what_is_late_is_a_cache_the_filesystem_or_the_sync() {
        let cache = "(an attribute cache)";
        let filesystem = "the filesystem itself hands the data on late";
        for plain in [30, 600] {
            assert!(cause_of(plain, 0, 0).ends_with(cache));
        }
        // GlusterFS.
        let some = cause_of(977, 116, 0);
        let past = format!("{cache}; past that it is seen after 116 ms");
        assert!(some.ends_with(&past), "{some}");
        assert!(cause_of(603, 300, 318).contains(cache));
        assert!(cause_of(603, 600, 0).ends_with(filesystem));
        assert!(cause_of(300, 299, 301).ends_with("as late as past the writer's own page cache"));
    }

    /// Readers see it after so many ms, with all cached `late` ms before the first look.
    fn class_of(held: Option<u64>, fresh: Option<u64>, late: u64) -> Verdict {
        let mut trials = trials(|case| match case.way {
            Way::Held => held,
            Way::Fresh => fresh,
            _ => None,
        });
        for tried in &mut trials.tried {
            tried.first_look_ms = Some(late);
        }
        seen(&trials).class()
    }

    #[test]
    fn what_the_kernel_evicts_by_chance_is_no_attribute_cache() {
        use Verdict::{AfterTime, AtOnce, CloseToOpen, Never};
        for (held, fresh, late, class) in [
            (Some(0), Some(0), 10, AtOnce),
            (Some(240), Some(0), 200, AfterTime),
            (Some(610), Some(590), 10, AfterTime),
            (Some(9011), Some(8000), 900, AfterTime),
            (None, Some(0), 10, CloseToOpen),
            // bindfs with auto_cache and attr_timeout=1, sshfs with kernel_cache.
            (Some(7118), Some(632), 100, CloseToOpen),
            (Some(1747), None, 100, Never),
        ] {
            assert_eq!(
                class_of(held, fresh, late),
                class,
                "{held:?} {fresh:?} {late}"
            );
        }
    }

    #[test]
    fn a_sync_that_keeps_nothing_at_once_is_told_of_first() {
        let trials = trials(|_| Some(300));
        let own = own(&trials).expect("a sentence");
        assert!(own.contains("only after 300 ms: msync breaks its promise"));
        let mut refused = trials;
        // Neither O_DIRECT nor a drop of the cache can be tried: then nothing is said of a cause.
        for tried in &mut refused.tried {
            if matches!(tried.case.way, Way::Direct | Way::Drop) {
                tried.found = Err("Invalid argument".to_owned());
            }
        }
        assert_eq!(cause(&seen(&refused)), "");
    }

    /// Of a client that compares times in seconds (sshfs's auto_cache) both are said.
    #[test]
    fn a_store_within_the_same_second_is_told_apart() {
        let trials = trials(|case| match (case.opened, case.way) {
            (_, Way::Direct | Way::Drop) => Some(0),
            (Opened::Later, Way::Fresh) => Some(996),
            _ => None,
        });
        let of = |writer, opened| Seen {
            writer,
            opened,
            ..seen(&trials)
        };
        let seen = seen(&trials);
        assert_eq!(seen.class(), Verdict::Never);
        let text = otherwise(of, &seen, seen.class()).join(" ");
        assert_eq!(text.matches("That is so").count(), 1, "{text}");
        let said = "within the second in which what the other has read was written; where it stores later: when it opens the file anew.";
        assert!(text.contains(said), "{text}");
    }
}
