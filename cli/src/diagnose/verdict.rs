//! Who is at fault, from which settings let the program pass and from what the records say.

use super::clients::TwoClients;
use super::runs::Runs;
use super::settings::Kind;
use crate::trial::{self, Evidence};
use crate::words::{WHAT_DROPS_PAGES, count, verb};
use keepmydata_records::Finding;
use serde::Serialize;
use std::ffi::c_int;

/// In so many ms a filesystem may have applied by itself what a retry is thought to have cured.
const LONG_MS: u64 = 300;

/// What chance may explain, at most.
const LUCK: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing fails natively.
    Passes,
    Filesystem,
    /// What is synced is there, and the filesystem's other client, through which the program reads, sees it late.
    Client,
    Program,
    Test,
    /// Nothing fails natively, and something under the shim.
    Shim,
}

pub struct Judgement {
    pub said: trial::Judgement<Verdict>,
    /// Which records show it.
    pub records: Vec<&'static str>,
}

impl Judgement {
    fn new(verdict: Verdict, sentences: Vec<String>, records: Vec<&'static str>) -> Self {
        Judgement {
            said: trial::Judgement { verdict, sentences },
            records,
        }
    }
}

impl trial::Verdict for Verdict {
    fn code(self) -> c_int {
        match self {
            Verdict::Passes => 0,
            Verdict::Filesystem | Verdict::Client => 1,
            Verdict::Program => 2,
            Verdict::Test | Verdict::Shim => 3,
        }
    }

    fn headline(self) -> &'static str {
        match self {
            Verdict::Passes => "It passes natively",
            Verdict::Filesystem => "The filesystem is at fault",
            Verdict::Client => {
                "The other client of the filesystem, through which it reads, sees too late what is synced"
            }
            Verdict::Program => "The program is at fault",
            Verdict::Test => "The test fails for another reason than msync",
            Verdict::Shim => "It passes natively, and fails under keepmydata",
        }
    }
}

/// Something that a program should not do, seen in the records.
struct Fault {
    sentence: String,
    records: &'static str,
}

struct Case<'a> {
    all: &'a [Runs],
    native: &'a Runs,
    clients: Option<&'a TwoClients>,
}

pub fn judge(all: &[Runs], clients: Option<&TwoClients>) -> Judgement {
    let native = &all[0];
    let case = Case {
        all,
        native,
        clients,
    };
    if native.all_passed() {
        return case.passes();
    }
    let errors = case.ignored_errors();
    let stale = case.under(Evidence::blames_filesystem);
    let mut judgement = match (errors, stale, case.first_passing()) {
        (Some(fault), _, _) => program(vec![fault]),
        // Nobody has promised anything: what passes then, with whichever setting, passes by chance, or because the shim syncs.
        _ if is_never_synced(all) => case.not_synced(),
        (None, Some(stale), passing) => case.filesystem(stale, passing),
        (None, None, Some(passing)) => case.cured(passing),
        (None, None, None) => case.not_cured(),
    };
    // What a reader must know of all that follows.
    if let Some(runs) = case.under(|evidence| evidence.uncertain > 0) {
        judgement
            .said
            .sentences
            .insert(0, uncertain(&runs.evidence));
    }
    if let Some(clients) = clients {
        judgement.said.sentences.insert(0, two_clients(clients));
    }
    judgement
}

/// Whether every run has passed under that setting.
pub fn passes_under(all: &[Runs], kind: Kind) -> bool {
    all.iter()
        .any(|runs| runs.kind == kind && runs.runs > 0 && runs.all_passed())
}

/// Whether no run was seen to call msync.
pub fn is_never_synced(all: &[Runs]) -> bool {
    all.iter()
        .any(|runs| runs.kind == Kind::Watch && runs.runs > 0)
        && (all.iter())
            .filter(|runs| !runs.kind.syncs_more())
            .all(|runs| runs.evidence.msyncs == 0)
}

/// Whether it matters if waiting alone lets every run pass: nothing else has, or only what waits for another client and
/// also writes what the program has not synced.
pub fn needs_time(all: &[Runs]) -> bool {
    let mut passing = all.iter().filter(|runs| runs.runs > 0 && runs.all_passed());
    passing.all(|runs| runs.kind.is_seen_by())
}

impl<'a> Case<'a> {
    /// The setting, where it was tried.
    fn of(&self, kind: Kind) -> Option<&'a Runs> {
        self.all
            .iter()
            .find(|runs| runs.kind == kind && runs.runs > 0)
    }

    /// The first setting of the shim under which every run passed.
    fn first_passing(&self) -> Option<&'a Runs> {
        let enforcing = |kind: Kind| !kind.is_native() && kind != Kind::Watch;
        self.all
            .iter()
            .find(|runs| enforcing(runs.kind) && runs.runs > 0 && runs.all_passed())
    }

    /// The first setting whose records show it.
    fn under(&self, shows: impl Fn(&Evidence) -> bool) -> Option<&'a Runs> {
        self.all.iter().find(|runs| shows(&runs.evidence))
    }

    /// The chance that everything from `passing` on passed by luck, were it as flaky as natively.
    fn luck(&self, passing: &Runs) -> f64 {
        let chance = f64::from(self.native.passed) / f64::from(self.native.runs);
        let from_there = self.all.iter().skip_while(|runs| runs.kind != passing.kind);
        let passed: u32 = from_there
            .take_while(|runs| runs.all_passed())
            .map(|runs| runs.passed)
            .sum();
        chance.powi(passed as i32)
    }

    fn passes(&self) -> Judgement {
        let mut sentences = Vec::new();
        let mut verdict = Verdict::Passes;
        let broken = self.of(Kind::Heal).filter(|runs| !runs.all_passed());
        if let Some(runs) = broken {
            verdict = Verdict::Shim;
            sentences.push(format!(
                "Under keepmydata {} of {} failed ({}).",
                runs.failures.len(),
                count(runs.runs.into(), "run"),
                runs.failures[0]
            ));
        }
        sentences.push(format!(
            "Natively {} passed. A test that fails now and then needs more: --runs.",
            match self.native.runs {
                1 => "the only run".to_owned(),
                runs => format!("all {runs} runs"),
            }
        ));
        let stale = self.under(Evidence::blames_filesystem);
        if let Some(runs) = stale {
            sentences.push(format!("But {}.", broken_promise(runs)));
        }
        Judgement::new(verdict, sentences, FILESYSTEM_RECORDS.to_vec())
    }

    /// msync failed, natively too, and the program went on.
    fn ignored_errors(&self) -> Option<Fault> {
        let watched = self.of(Kind::Watch)?;
        let evidence = &watched.evidence;
        let (errno, _) = evidence.failed.first_key_value()?;
        let ignored = evidence.ignored + evidence.found(&[Finding::SuccessAfterFailure]);
        (ignored > 0).then(|| Fault {
            sentence: format!(
                "It ignores the errors of msync: msync failed with {errno}, and it went \
                 on ({} in {}).",
                count(ignored, "time"),
                count(watched.runs.into(), "run")
            ),
            records: "ignored",
        })
    }

    /// The filesystem was seen to hold something else than it had acknowledged.
    fn filesystem(&self, stale: &Runs, passing: Option<&Runs>) -> Judgement {
        // The first that shows it, and the first that says what helps.
        let healed = self.under(|evidence| !evidence.healed.is_empty());
        let mut sentences: Vec<String> = [Some(stale), healed.filter(|h| h.kind != stale.kind)]
            .into_iter()
            .flatten()
            .map(|runs| format!("Under \"{}\", {}.", runs.name, broken_promise(runs)))
            .collect();
        match passing {
            Some(passing) => sentences.push(self.passes_from(passing)),
            None => sentences.push(match self.delayed() {
                Some(delayed) => format!(
                    "Only time lets every run pass (\"{}\"), and no setting of keepmydata.",
                    delayed.name
                ),
                None => {
                    "No setting lets every run pass: what the filesystem does not keep cannot be \
                         cured, only reported."
                        .to_owned()
                }
            }),
        }
        let mut records = FILESYSTEM_RECORDS.to_vec();
        for fault in self.faults() {
            sentences.push(format!("Besides: {}", fault.sentence));
            records.push(fault.records);
        }
        Judgement::new(Verdict::Filesystem, sentences, records)
    }

    /// It passes under the shim, and the filesystem was not seen to lie.
    fn cured(&self, passing: &Runs) -> Judgement {
        if let Some(judgement) = self.late_client(passing) {
            return judgement;
        }
        let mut reasons = self.faults();
        // What helps only because the shim does what the program should have done.
        let helped = match passing.kind {
            Kind::Everything => &["async", "unsynced"][..],
            Kind::Flush | Kind::Drop => &["outside"][..],
            // Natively nothing but time has passed.
            Kind::SeenBy if self.delayed().is_none() => &["outside"][..],
            Kind::SeenByEverything => &["async", "unsynced", "outside"][..],
            _ => &[],
        };
        reasons.retain(|fault| helped.contains(&fault.records));
        if !reasons.is_empty() {
            let mut judgement = program(reasons);
            let sentences = &mut judgement.said.sentences;
            if passing.kind.is_seen_by() {
                let excuse = match passing.kind {
                    Kind::SeenBy => {
                        " If it is right to sync only that range, this alone is the cause."
                    }
                    _ => "",
                };
                sentences.push(format!(
                    "Besides, the other client sees late what is synced: no setting that does not wait for it lets every run \
                     pass.{excuse}"
                ));
            }
            sentences.push(self.passes_from(passing));
            return judgement;
        }
        let luck = self.luck(passing);
        if luck > LUCK {
            return test(vec![format!(
                "It fails now and then: natively {} of {} passed. That more passed under \
                     keepmydata may be chance ({:.0} %); more --runs will tell.",
                self.native.passed,
                count(self.native.runs.into(), "run"),
                luck * 100.0
            )]);
        }
        let why = match passing.kind {
            Kind::Flush => {
                "One msync of the kernel's was not enough: the same data, synced again, was"
            }
            Kind::Drop => {
                "The page cache served old data: once it was dropped, readers got the new"
            }
            Kind::Everything | Kind::SeenByEverything => {
                return program(vec![Fault {
                    sentence:
                        "It needs munmap or MS_ASYNC to write its data, and neither promises \
                               that."
                            .to_owned(),
                    records: "async",
                }]);
            }
            Kind::SeenBy => {
                "The other client saw old data: once msync waits for it (KEEPMYDATA_SEEN_BY), it sees the new"
            }
            _ => "Readers got old data, until they were made to ask the filesystem",
        };
        let sentences = vec![
            format!("{why}. The records show no fault of the program's."),
            self.passes_from(passing),
        ];
        match passing.kind {
            Kind::SeenBy => Judgement::new(Verdict::Client, sentences, Vec::new()),
            _ => Judgement::new(Verdict::Filesystem, sentences, FILESYSTEM_RECORDS.to_vec()),
        }
    }

    /// It reads through another client, and time alone lets every run pass, which the shim takes when it only looks on, too: no
    /// setting that does not wait for that client has cured anything.
    fn late_client(&self, passing: &Runs) -> Option<Judgement> {
        self.clients.filter(|_| !passing.kind.is_seen_by())?;
        let watched = self.of(Kind::Watch).filter(|watched| watched.all_passed());
        let timed = watched.or(self.delayed())?;
        let waited = self.of(Kind::SeenBy).is_none_or(Runs::all_passed);
        if !waited || self.luck(timed) > LUCK {
            return None;
        }
        let how = match timed.kind {
            Kind::Watch => "where keepmydata only looks on, which takes time",
            _ => "where msync only returns later",
        };
        let sentences = vec![
            format!(
                "It passes {how} (\"{}\"): the other client sees it later.",
                timed.name
            ),
            format!(
                "Natively {} of {} passed. KEEPMYDATA_SEEN_BY has msync wait for it.",
                self.native.passed,
                count(self.native.runs.into(), "run"),
            ),
        ];
        Some(Judgement::new(Verdict::Client, sentences, Vec::new()))
    }

    /// No setting helps, and the filesystem was not seen to lie.
    fn not_cured(&self) -> Judgement {
        let races: Vec<Fault> = self
            .faults()
            .into_iter()
            .filter(|f| f.records == "race")
            .collect();
        if !races.is_empty() {
            return program(races);
        }
        if let Some(delayed) = self.delayed().filter(|delayed| self.luck(delayed) <= LUCK) {
            let (verdict, why) = match self.clients {
                Some(_) => (Verdict::Client, "the other client sees it later"),
                None => (
                    Verdict::Filesystem,
                    "what it reads is late, and not a store that keepmydata knows of",
                ),
            };
            let sentence = format!(
                "It passes \"{}\", and under no setting of keepmydata: {why}.",
                delayed.name
            );
            return Judgement::new(verdict, vec![sentence], Vec::new());
        }
        if let Some(waited) = self.under(|evidence| evidence.unseen > 0) {
            let pages = waited.evidence.unseen;
            let sentence = format!(
                "Under \"{}\" the filesystem held {} that its other client did not see within 2 s, whether it waited or opened the file anew.",
                waited.name,
                count(pages, "page")
            );
            return Judgement::new(Verdict::Client, vec![sentence], vec!["report"]);
        }
        let now_and_then = self.all.iter().any(|runs| runs.passed > 0);
        let mut sentences = vec![match now_and_then {
            true => "It fails now and then, whatever is done.".to_owned(),
            false => "It fails whatever is done.".to_owned(),
        }];
        if self.under(|evidence| evidence.uncertain > 0).is_none() {
            sentences.push("The filesystem holds what was synced.".to_owned());
        }
        sentences.push("The records show no fault of the program's.".to_owned());
        test(sentences)
    }

    fn not_synced(&self) -> Judgement {
        let never = "It was not seen to call msync on a file with a backing store";
        let mut faults = self.faults();
        faults.retain(|fault| fault.records == "unsynced");
        if faults.is_empty() {
            return self.fsynced(never);
        }
        let mut judgement = program(faults);
        let sentences = &mut judgement.said.sentences;
        sentences.insert(0, format!("{never}, and nothing else promises anything."));
        judgement
    }

    /// It is not seen to do anything wrong, and what it does otherwise than by msync is not watched.
    fn fsynced(&self, never: &str) -> Judgement {
        let unwatched = format!("{never}: what it does otherwise is not watched.");
        let later = self
            .of(Kind::DelayedFsync)
            .filter(|later| later.all_passed());
        match later.filter(|later| self.luck(later) <= LUCK) {
            Some(later) => {
                let sentence = format!(
                    "It passes \"{}\": the other client sees it later. keepmydata has no fsync wait for that.",
                    later.name
                );
                Judgement::new(Verdict::Client, vec![sentence, unwatched], Vec::new())
            }
            None => test(vec![unwatched]),
        }
    }

    /// The shortest time after msync that lets every run pass natively.
    fn delayed(&self) -> Option<&'a Runs> {
        self.all.iter().find(|runs| {
            matches!(runs.kind, Kind::Delayed(_)) && runs.runs > 0 && runs.all_passed()
        })
    }

    fn passes_from(&self, passing: &Runs) -> String {
        let delay = match self.delayed() {
            Some(runs) => format!(" So does waiting (\"{}\").", runs.name),
            None => String::new(),
        };
        let from = match passing.kind.is_seen_by() {
            true => format!("under \"{}\" all do", passing.name),
            false => format!("from \"{}\" on all do", passing.name),
        };
        format!(
            "Natively {} of {} passed; {from}.{delay}",
            self.native.passed,
            count(self.native.runs.into(), "run"),
        )
    }

    /// What the program does that it should not, from the setting that shows it best.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |records, sentence: String| faults.push(Fault { sentence, records });
        let shown = |figure: &dyn Fn(&Evidence) -> u64| {
            let shown = self.under(|evidence| figure(evidence) > 0)?;
            let often = figure(&shown.evidence);
            Some((often, count(shown.runs.into(), "run")))
        };
        if let Some((n, runs)) = shown(&|e| e.raced) {
            fault(
                "race",
                format!(
                    "It races with its own msync: {} in {runs} pages were stored to while msync ran, which msync promises nothing for.",
                    count(n, "time")
                ),
            );
        }
        if let Some((n, runs)) = shown(&|e| e.async_only.max(e.found(&[Finding::AsyncOnly]))) {
            fault(
                "async",
                format!(
                    "It relies on MS_ASYNC, which writes nothing: {} in {runs} {} synced last with it.",
                    count(n, "file"),
                    verb(n, "was", "were")
                ),
            );
        }
        if let Some((n, runs)) = shown(&|e| e.outside.max(e.found(&[Finding::OutsideRange]))) {
            fault(
                "outside",
                format!(
                    "It syncs the wrong range: {} in {runs} it had stored outside of the range that it gave msync.",
                    count(n, "time")
                ),
            );
        }
        if let Some((n, runs)) = shown(&|e| e.found(UNSYNCED)) {
            fault(
                "unsynced",
                format!(
                    "It unmaps pages, or ends, without having synced them: {} in {runs}.",
                    count(n, "time")
                ),
            );
        }
        faults
    }
}

const UNSYNCED: &[Finding] = &[
    Finding::UnmappedUnsynced,
    Finding::ExitUnsynced,
    Finding::ExecUnsynced,
];
const FILESYSTEM_RECORDS: [&str; 3] = ["report", "healed", "reverify"];

/// `12 pages ...`, in words.
fn broken_promise(runs: &Runs) -> String {
    let evidence = &runs.evidence;
    let mut parts = Vec::new();
    if evidence.stale > 0 {
        // Where the program asks for none, or there was none to be blamed before, it is the shim's own.
        let acknowledged = match runs.kind.syncs_more() || evidence.synchronous == 0 {
            true => "a sync",
            false => "msync",
        };
        parts.push(format!(
            "{acknowledged} was acknowledged and {} {} not what had been stored",
            count(evidence.stale, "page"),
            verb(evidence.stale, "was", "were")
        ));
    }
    let healed: u64 = evidence.healed.values().sum();
    if healed > 0 {
        let retries: Vec<&str> = evidence
            .healed
            .keys()
            .map(|retry| in_words(retry))
            .collect();
        let mut until = retries.join(", or ");
        if !evidence.healed.contains_key("wait") && evidence.healed_ms >= LONG_MS {
            // A retry took so long that nobody can tell.
            until += &format!(", or {} ms had passed", evidence.healed_ms);
        }
        parts.push(format!(
            "the filesystem did not hold what it had acknowledged in {}, until {until}",
            count(healed, "call"),
        ));
    }
    if evidence.changed_later > 0 {
        parts.push(format!(
            "{} that had been seen to be right {} wrong again later",
            count(evidence.changed_later, "page"),
            verb(evidence.changed_later, "was", "were")
        ));
    }
    parts.join("; ")
}

/// What was never compared, and what decides whether it can be.
fn uncertain(evidence: &Evidence) -> String {
    format!(
        "Not all is known here: {} left the page cache before {} could be compared. {WHAT_DROPS_PAGES}",
        count(evidence.uncertain, "page"),
        verb(evidence.uncertain, "it", "they")
    )
}

fn two_clients(clients: &TwoClients) -> String {
    let TwoClients {
        first,
        second,
        kind,
    } = clients;
    format!(
        "It stores through {} and reads through {}, another mount of the same filesystem ({kind}): another client, with \
         caches of its own, of which msync promises nothing.",
        first.display(),
        second.display()
    )
}

fn in_words(retry: &str) -> &str {
    match retry {
        "resync" => "it was synced again",
        "redirty" => "the pages were made dirty again and synced alone",
        "wait" => "it was given time",
        other => other,
    }
}

fn program(faults: Vec<Fault>) -> Judgement {
    let records = faults.iter().map(|fault| fault.records).collect();
    let sentences = faults.into_iter().map(|fault| fault.sentence).collect();
    Judgement::new(Verdict::Program, sentences, records)
}

fn test(sentences: Vec<String>) -> Judgement {
    Judgement::new(Verdict::Test, sentences, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came out of 3 runs each, of a program that calls msync.
    fn runs(kind: Kind, name: &'static str, passed: u32) -> Runs {
        let failed = (passed..3).map(|_| "exit code 1".to_owned());
        let evidence = Evidence {
            msyncs: 3,
            ..Evidence::default()
        };
        Runs {
            kind,
            name,
            runs: 3,
            passed,
            failures: failed.collect(),
            slowest_ms: 1,
            evidence,
            opened: Default::default(),
            fsynced: Default::default(),
            fsyncs: 0,
        }
    }

    #[test]
    fn what_fails_only_under_the_shim_is_said_first() {
        let all = [
            runs(Kind::Native, "natively", 3),
            runs(Kind::Watch, "watched only", 3),
            runs(Kind::Heal, "+ heal", 1),
        ];
        let said = judge(&all, None).said;
        assert_eq!(said.verdict, Verdict::Shim);
        let first = "Under keepmydata 2 of 3 runs failed (exit code 1).";
        assert_eq!(said.sentences[0], first);
    }

    #[test]
    fn what_passes_only_when_it_waits_is_the_filesystems() {
        let all = [
            runs(Kind::Native, "natively", 0),
            runs(Kind::Delayed(500_000), "natively, 500 ms after msync", 3),
            runs(Kind::Watch, "watched only", 0),
            runs(Kind::Heal, "+ heal", 0),
        ];
        let said = judge(&all, None).said;
        assert_eq!(said.verdict, Verdict::Filesystem);
        let sentence = &said.sentences[0];
        assert!(
            sentence.starts_with("It passes \"natively, 500 ms after msync\""),
            "{sentence}"
        );
    }

    #[test]
    fn what_passes_now_and_then_without_waiting_is_no_proof_that_waiting_helps() {
        let all = [
            runs(Kind::Native, "natively", 2),
            runs(Kind::Delayed(500_000), "natively, 500 ms after msync", 3),
            runs(Kind::Watch, "watched only", 2),
            runs(Kind::Heal, "+ heal", 2),
        ];
        assert_eq!(judge(&all, None).said.verdict, Verdict::Test);
    }

    #[test]
    fn what_is_never_synced_is_not_the_filesystems_fault() {
        let mut all = [
            runs(Kind::Native, "natively", 1),
            runs(Kind::Watch, "watched only", 2),
            runs(Kind::Flush, "flush the whole file", 3),
            runs(Kind::Heal, "+ heal", 3),
            runs(Kind::Everything, "+ MS_ASYNC and munmap sync too", 3),
        ];
        for runs in &mut all {
            runs.evidence.msyncs = 0;
        }
        assert_eq!(judge(&all, None).said.verdict, Verdict::Test);
        assert_eq!(judge(&all, Some(&clients())).said.verdict, Verdict::Test);
        let unmapped = Finding::UnmappedUnsynced.code().to_owned();
        all[1].evidence.findings.insert(unmapped, 2);
        let said = judge(&all, None).said;
        assert_eq!(said.verdict, Verdict::Program);
        let text = said.sentences.join(" ");
        assert!(text.contains("not seen to call msync"), "{text}");
        assert!(text.contains("without having synced them"), "{text}");
    }

    fn clients() -> TwoClients {
        TwoClients {
            first: "/mnt/a".into(),
            second: "/mnt/b".into(),
            kind: "fuse.glusterfs".to_owned(),
        }
    }

    #[test]
    fn a_wrong_range_is_the_programs_also_where_another_client_is_late() {
        let mut all = vec![
            runs(Kind::Native, "natively", 0),
            runs(Kind::Watch, "watched only", 0),
            runs(Kind::Heal, "+ heal", 0),
            runs(Kind::SeenBy, "+ wait for the other client", 3),
        ];
        all[1].evidence.outside = 3;
        assert!(needs_time(&all));
        let late = "natively, 2 s after msync";
        all.push(runs(Kind::Delayed(2_000_000), late, 0));
        let said = judge(&all, Some(&clients())).said;
        assert_eq!(said.verdict, Verdict::Program);
        let text = said.sentences.join(" ");
        assert!(text.contains("It syncs the wrong range"), "{text}");
        assert!(text.contains("the other client sees late"), "{text}");
        // Time alone writes nothing that was not synced.
        all[4] = runs(Kind::Delayed(2_000_000), late, 3);
        let said = judge(&all, Some(&clients())).said;
        assert_eq!(said.verdict, Verdict::Client);
    }

    #[test]
    fn ms_async_is_the_programs_also_where_another_client_is_late() {
        let mut all = [
            runs(Kind::Native, "natively", 0),
            runs(Kind::Watch, "watched only", 0),
            runs(Kind::Everything, "+ MS_ASYNC", 0),
            runs(Kind::SeenBy, "+ wait for the other client", 0),
            runs(Kind::SeenByEverything, "+ wait, and MS_ASYNC", 3),
        ];
        all[1].evidence.async_only = 3;
        let said = judge(&all, Some(&clients())).said;
        assert_eq!(said.verdict, Verdict::Program);
        assert!(said.sentences[1].starts_with("It relies on MS_ASYNC"));
    }

    #[test]
    fn what_the_other_client_is_never_shown_is_no_fault_of_the_test() {
        let mut all = [
            runs(Kind::Native, "natively", 0),
            runs(Kind::Watch, "watched only", 0),
            runs(Kind::Heal, "+ heal", 0),
            runs(Kind::SeenBy, "+ wait for the other client", 0),
        ];
        all[3].evidence.unseen = 2;
        let said = judge(&all, Some(&clients())).said;
        assert_eq!(said.verdict, Verdict::Client);
        let text = said.sentences.join(" ");
        assert!(text.contains("did not see within 2 s"), "{text}");
        assert!(!text.contains("left the page cache"), "{text}");
    }

    #[test]
    fn another_client_is_told_of_first() {
        let all = [
            runs(Kind::Native, "natively", 0),
            runs(Kind::Watch, "watched only", 0),
            runs(Kind::Heal, "+ heal", 0),
            runs(Kind::SeenBy, "+ wait for the other client", 3),
        ];
        let said = judge(&all, Some(&clients())).said;
        assert_eq!(said.verdict, Verdict::Client);
        let first = "It stores through /mnt/a and reads through /mnt/b, another mount";
        assert!(
            said.sentences[0].starts_with(first),
            "{said:?}",
            said = said.sentences
        );
        assert!(said.sentences[1].starts_with("The other client saw old data"));
    }

    #[test]
    fn where_pages_were_uncertain_nobody_says_that_they_are_there() {
        let mut all = [
            runs(Kind::Native, "natively", 0),
            runs(Kind::Watch, "watched only", 0),
            runs(Kind::Heal, "+ heal", 0),
        ];
        let holds = "The filesystem holds what was synced.";
        assert!(
            judge(&all, None)
                .said
                .sentences
                .iter()
                .any(|said| said == holds)
        );
        all[2].evidence.uncertain = 2;
        let said = judge(&all, None).said;
        assert_eq!(said.verdict, Verdict::Test);
        let text = said.sentences.join(" ");
        assert!(!text.contains(holds), "{text}");
        assert!(
            said.sentences[0].starts_with("Not all is known here: 2 pages left the page cache"),
            "{text}"
        );
        assert_eq!(text.matches("left the page cache").count(), 1, "{text}");
        assert!(text.contains("FOPEN_KEEP_CACHE"), "{text}");
    }

    /// In an attribute cache that runs out while the shim starts.
    #[test]
    fn what_passes_where_the_shim_only_looks_on_is_a_late_clients() {
        let all = |watched, delayed, flushed| {
            [
                runs(Kind::Native, "natively", 0),
                runs(
                    Kind::Delayed(500_000),
                    "natively, 500 ms after msync",
                    delayed,
                ),
                runs(Kind::Watch, "watched only", watched),
                runs(Kind::Flush, "flush the whole file", flushed),
                runs(Kind::Heal, "+ heal", 3),
                runs(Kind::SeenBy, "+ wait for the other client", 3),
            ]
        };
        for (watched, delayed, flushed) in [(3, 0, 3), (3, 3, 3), (0, 3, 0), (0, 3, 3)] {
            let said = judge(&all(watched, delayed, flushed), Some(&clients())).said;
            assert_eq!(said.verdict, Verdict::Client, "{:?}", said.sentences);
            let text = said.sentences.join(" ");
            assert!(text.contains("the other client sees it later"), "{text}");
            assert!(text.contains("KEEPMYDATA_SEEN_BY"), "{text}");
        }
        // What neither time nor the shim's being there cures.
        let said = judge(&all(0, 0, 3), Some(&clients())).said;
        assert_eq!(said.verdict, Verdict::Filesystem);
        // Without another client time is no excuse.
        assert_eq!(judge(&all(3, 3, 3), None).said.verdict, Verdict::Filesystem);
    }

    #[test]
    fn a_sync_of_the_shims_own_is_not_called_msync() {
        let stale = |kind, synchronous| {
            let mut runs = runs(kind, "a setting", 0);
            (runs.evidence.stale, runs.evidence.synchronous) = (1, synchronous);
            broken_promise(&runs)
        };
        assert!(stale(Kind::Heal, 3).starts_with("msync was acknowledged"));
        for (kind, synchronous) in [
            (Kind::Heal, 0),
            (Kind::Everything, 3),
            (Kind::Everything, 0),
        ] {
            let said = stale(kind, synchronous);
            assert!(said.starts_with("a sync was acknowledged"), "{said}");
        }
    }

    #[test]
    fn a_retry_that_took_long_may_have_had_time() {
        let healed = |retry: &str, ms| {
            let mut runs = runs(Kind::Heal, "+ heal", 3);
            runs.evidence.healed.insert(retry.to_owned(), 1);
            runs.evidence.healed_ms = ms;
            broken_promise(&runs)
        };
        let again = "until it was synced again";
        assert!(healed("resync", 20).ends_with(again));
        assert!(
            healed("resync", 1200).ends_with("until it was synced again, or 1200 ms had passed")
        );
        assert!(healed("wait", 1200).ends_with("until it was given time"));
    }
}
