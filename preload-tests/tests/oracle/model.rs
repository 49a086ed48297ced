//! What each zero promises, and whether it was kept.
//!
//! Of each sampled byte it is known which changes happened before the sync began, and which may have happened until the
//! filesystem was asked. A value may be held if no later change of that byte was complete before the sync began. Changes
//! that the sync does not promise (of other processes, of write(2) where it stays in the page cache) may be held or not:
//! they supersede nothing.

use std::collections::BTreeSet;
use std::fmt;

use super::events::{Change, Events, How, Zero};
use super::program::{PAGES, Program};

const CELL: u64 = 512;

fn page_size() -> u64 {
    preload_tests::page_size() as u64
}

fn samples() -> usize {
    2 * (PAGES as u64 * page_size() / CELL) as usize
}
/// What the file is full of at first.
const FILL: u8 = 1;

/// What is wrong with a run, from bad to worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An honest filesystem, and a line on standard error.
    Report,
    /// An honest filesystem, and an error that it does not give natively.
    Alarm,
    /// An honest filesystem, and the program reads back what it did not write.
    Corrupt,
    /// The program did not come to its end in time.
    Hang,
    /// The program died.
    Crash,
    /// fsync returned 0 after nobody had told of an error, and the filesystem does not hold what was written.
    Swallowed,
    /// msync returned 0, and the filesystem does not hold what was stored before it.
    FalseZero,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Report,
        Self::Alarm,
        Self::Corrupt,
        Self::Hang,
        Self::Crash,
        Self::Swallowed,
        Self::FalseZero,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Alarm => "alarm",
            Self::Corrupt => "corrupt",
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::Swallowed => "swallowed",
            Self::FalseZero => "false-zero",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whose word counts on a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    /// It does what it says, and never fails.
    Honest,
    /// It does what it says, or gives an error.
    Failing,
    /// It says what it has not done.
    Lying,
}

/// To whom an error is told that a filesystem tells once, where nothing is verified: as natively, a zero is no proof after
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldOnce {
    /// To nobody but who asks: it is told to each open file, or all is verified.
    No,
    /// To another program; or to a relative, in the moment of the msync.
    ToOthers,
    /// To these; and to any call of a program of several threads: of the kernel's own msync, which comes last, a supervisor is
    /// not told.
    ToThreads,
}

/// What the model must know of a filesystem.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    pub honesty: Honesty,
    /// write(2), truncation and holes are at the filesystem when the call returns.
    pub calls_reach_it: bool,
    /// What the file was full of at first may be gone.
    pub loses_first: bool,
    pub told_once: ToldOnce,
    /// msync is that of the kernel, which promises what was stored to the pages in its range, and no more.
    pub native: bool,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// msyncs that returned 0 and promised something.
    pub zeros: u64,
    /// Those of them that were not kept, and standard error had said so.
    pub warned: u64,
    /// Those of them that were not kept, and somebody else was told of the error ([`ToldOnce`]).
    pub elsewhere: u64,
    /// All that is wrong, each with a sentence.
    pub wrong: Vec<(Kind, String)>,
}

impl Judgement {
    /// What is wrong, each kind once.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        self.wrong.iter().map(|(kind, _)| *kind).collect()
    }
}

/// Where the sample lies in the file.
fn offset(sample: usize) -> u64 {
    let cell = sample as u64 / 2 * CELL;
    if sample.is_multiple_of(2) {
        cell
    } else {
        cell + CELL - 1
    }
}

struct Model<'a> {
    traits: Traits,
    /// Bytes of the file at first.
    size: u64,
    is_threaded: bool,
    /// The changes of each sample.
    of_sample: Vec<Vec<&'a Change>>,
}

impl<'a> Model<'a> {
    fn new(traits: Traits, program: &Program, changes: &'a [Change]) -> Self {
        let of_sample = (0..samples()).map(offset).map(|at| {
            let covers = |change: &&Change| change.from <= at && at < change.to;
            changes.iter().filter(covers).collect()
        });
        Self {
            traits,
            size: program.pages as u64 * page_size(),
            is_threaded: program.is_threaded(),
            of_sample: of_sample.collect(),
        }
    }

    /// The values that the sample may have, if the promised changes that had ended at the first time must be there,
    /// and those that begin after the second cannot be.
    fn allowed(
        &self,
        sample: usize,
        (must, may): (u64, u64),
        promised: &dyn Fn(&Change) -> bool,
    ) -> Vec<u8> {
        let changes = &self.of_sample[sample];
        let newer = |end: u64| {
            changes
                .iter()
                .filter(move |newer| newer.begin >= end && newer.end < must && promised(newer))
        };
        let superseded = |end: u64| newer(end).next().is_some();
        let mut values = Vec::new();
        if !superseded(0) {
            values.push(if offset(sample) < self.size { FILL } else { 0 });
            if self.traits.loses_first {
                values.push(0);
            }
        }
        let possible = |change: &&&Change| {
            // What was stored behind the end of the file may be there once the file has grown past it (FUSE).
            let superseded = match change.how {
                How::Beyond => newer(change.end).any(|newer| newer.how != How::Removed),
                _ => superseded(change.end),
            };
            change.begin < may && !superseded
        };
        values.extend(changes.iter().filter(possible).map(|change| change.value));
        values
    }

    /// The first sample with a value that it may not have: which, and a sentence.
    fn first_wrong(
        &self,
        held: &[u8],
        times: (u64, u64),
        promised: &dyn Fn(&Change) -> bool,
    ) -> Option<(usize, String)> {
        (0..samples()).find_map(|sample| {
            let value = held.get(sample).copied().unwrap_or(0);
            let allowed = self.allowed(sample, times, promised);
            let at = offset(sample);
            let page = at / page_size();
            (!allowed.contains(&value)).then(|| {
                (
                    sample,
                    format!("0x{value:02x} at {at} (page {page}), not one of {allowed:02x?}"),
                )
            })
        })
    }

    /// Whether a zero of an msync says that this change, or a newer one, is held.
    fn is_promised(&self, change: &Change, zero: &Zero) -> bool {
        match change.how {
            How::Store if self.traits.native => zero.pages >> (change.from / page_size()) & 1 != 0,
            How::Store => change.process == zero.process,
            How::Beyond => false,
            How::Written | How::Removed => self.traits.calls_reach_it,
        }
    }

    /// What is not held as the zero of an msync promises: which sample, and a sentence.
    fn broken(&self, zero: &Zero) -> Option<(Option<usize>, String)> {
        let promised = |change: &Change| self.is_promised(change, zero);
        let times = (zero.begin, zero.looked);
        zero.held
            .iter()
            .zip(["holds", "serves"])
            .find_map(|(held, does)| {
                let (sample, what) = self.first_wrong(held, times, &promised)?;
                Some((Some(sample), format!("the filesystem {does} {what}")))
            })
    }

    /// Whether somebody else was told of an error since the sample, or any if there is none, was first changed.
    fn is_told_elsewhere(&self, sample: Option<usize>, zero: &Zero, events: &Events) -> bool {
        events.calls.iter().any(|call| {
            let told = call.result < 0 && matches!(&*call.errno, "EIO" | "ENOSPC");
            let of_sample = |sample: usize| self.of_sample[sample].iter();
            let since =
                sample.is_none_or(|sample| of_sample(sample).any(|change| call.end > change.begin));
            let to_other =
                call.name == "other" || call.process != zero.process && call.end > zero.begin;
            let may_be = match self.traits.told_once {
                ToldOnce::No => false,
                ToldOnce::ToOthers => to_other,
                ToldOnce::ToThreads => to_other || self.is_threaded,
            };
            may_be && told && since && call.begin < zero.looked
        })
    }

    /// The same of an fsync. An error that was told since is its excuse, to another program too, and so is a sync in another
    /// thread that is to tell it.
    fn swallowed(&self, zero: &Zero, events: &Events) -> Option<String> {
        let promised = |change: &Change| change.how != How::Beyond;
        let (sample, what) =
            self.first_wrong(&zero.held[0], (zero.begin, zero.looked), &promised)?;
        let excused = events.calls.iter().any(|call| {
            let told = call.result < 0 && matches!(&*call.errno, "EIO" | "ENOSPC");
            let since = self.of_sample[sample]
                .iter()
                .any(|change| call.end > change.begin);
            let at_once =
                call.begin < zero.looked && call.end > zero.begin && call.thread != zero.thread;
            told && since && call.begin < zero.looked
                || at_once && matches!(&*call.name, "msync" | "munmap")
        });
        (!excused).then(|| format!("the filesystem holds {what}, and no call has told of an error"))
    }

    /// The counting thread's word.
    fn miscounted(&self, zero: &Zero, events: &Events) -> Option<String> {
        // What else was written or removed around it makes it nobody's.
        let other = events
            .changes
            .iter()
            .any(|change| change.to - change.from >= CELL);
        if zero.floor == 0 || other || self.traits.native {
            return None;
        }
        // What the file is full of at first is larger than any count.
        let counted = |word: u64| (word != u64::from_ne_bytes([FILL; 8])).then_some(word);
        let behind = |word: &Option<u64>| word.and_then(counted).unwrap_or(0) < zero.floor;
        let held = zero.words.iter().find(|word| behind(word))?;
        Some(format!(
            "the counter had reached {} before msync, and the filesystem has {held:?}",
            zero.floor
        ))
    }
}

/// Judges a run. `text` is what standard error got during it.
pub fn judge(
    program: &Program,
    events: &Events,
    traits: Traits,
    stderr: &dyn Fn(u64, u64) -> String,
    begin_said: u64,
) -> Judgement {
    let mut judgement = Judgement::default();
    let model = Model::new(traits, program, &events.changes);
    for zero in events
        .zeros
        .iter()
        .filter(|zero| !zero.of_file && zero.pages != 0)
    {
        judgement.zeros += 1;
        let wrong = model
            .broken(zero)
            .or_else(|| Some((None, model.miscounted(zero, events)?)));
        let Some((sample, why)) = wrong else { continue };
        if was_said(zero, stderr, begin_said) {
            judgement.warned += 1;
        } else if model.is_told_elsewhere(sample, zero, events) {
            judgement.elsewhere += 1;
        } else {
            let call = place(program, zero.thread, zero.at);
            judgement
                .wrong
                .push((Kind::FalseZero, format!("{call} returned 0, but {why}")));
        }
    }
    if traits.honesty != Honesty::Lying {
        for zero in events.zeros.iter().filter(|zero| zero.of_file) {
            if let Some(why) = model.swallowed(zero, events)
                && stderr(begin_said, zero.said[1]).is_empty()
            {
                let call = place(program, zero.thread, zero.at);
                judgement
                    .wrong
                    .push((Kind::Swallowed, format!("{call} returned 0, but {why}")));
            }
        }
    }
    if traits.honesty == Honesty::Honest {
        alarms(&mut judgement, program, events);
        if let Some((at, bytes)) = &events.read_back {
            corrupt(&mut judgement, &model, *at, bytes);
        }
        if events.said > begin_said {
            judgement
                .wrong
                .push((Kind::Report, stderr(begin_said, events.said)));
        }
    }
    judgement
}

/// Whether standard error got a line during the msync, or a warning before it.
fn was_said(zero: &Zero, stderr: &dyn Fn(u64, u64) -> String, begin_said: u64) -> bool {
    let [before, after] = zero.said;
    after > before || stderr(begin_said, before).contains("WARN")
}

fn alarms(judgement: &mut Judgement, program: &Program, events: &Events) {
    for call in &events.calls {
        let usual = match &*call.name {
            // What is not mapped; what is locked and is to be dropped (MS_INVALIDATE).
            "msync" => {
                call.result == 0
                    || call.errno == "ENOMEM" && call.note != 0
                    || call.errno == "EBUSY" && program.uses("lock")
            }
            // Not a shared mapping.
            "remap_file_pages" => call.result == 0 || call.errno == "EINVAL",
            // No room in place, or more than one mapping.
            "mremap" => call.result != -1 || matches!(&*call.errno, "ENOMEM" | "EFAULT" | "EINVAL"),
            "madvise" => {
                call.result == 0
                    || matches!(&*call.errno, "EINVAL" | "EACCES" | "ENOMEM" | "EFAULT")
            }
            "mmap" => call.result != -1,
            // Behind the end of the file.
            "mlock" => call.result == 0 || call.errno == "ENOMEM",
            _ => call.result >= 0,
        };
        if !usual {
            let place = place(program, call.thread, call.at);
            let text = format!("{place} ({}) = {} {}", call.name, call.result, call.errno);
            judgement.wrong.push((Kind::Alarm, text));
        }
        if call.name == "fork" && call.note != 0 {
            let text = format!("the child ended with status {:#x}", call.note);
            judgement.wrong.push((Kind::Crash, text));
        }
    }
}

fn corrupt(judgement: &mut Judgement, model: &Model<'_>, at: u64, bytes: &[u8]) {
    let promised = |change: &Change| change.how != How::Beyond;
    if let Some((_, what)) = model.first_wrong(bytes, (at, at), &promised) {
        let text = format!("at its end the program reads {what}");
        judgement.wrong.push((Kind::Corrupt, text));
    }
}

fn place(program: &Program, thread: u32, at: i64) -> String {
    let call = program
        .threads
        .get(thread as usize)
        .and_then(|calls| calls.get(at as usize));
    let name = call.map_or("?", |call| call.name());
    format!("thread {thread}, call {at} ({name})")
}
