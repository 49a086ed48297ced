//! What logs come to, in memory that does not grow with them: sums for each file and process
//! (see [`super::catalog`]), and bounded lists of what a person will want to look at.

mod counts;
mod tears;
mod text;

pub use counts::{Counts, Findings, Slow};
pub use tears::{Tear, Tears};
pub use text::{Duration, printable, text};

use super::catalog::{About, Catalog};
use super::histogram::Histogram;
use counts::Slowest;
use keepmydata_records::{Record, event};
use std::collections::BTreeMap;

/// The steps of an msync, in their order.
const STEPS: [&str; 9] = [
    event::DIRTY,
    event::COPY,
    event::FLUSH,
    event::FDATASYNC,
    event::FSYNC,
    event::VERIFY,
    event::HEAL,
    event::DROP,
    event::REVERIFY,
];

/// What is timed.
fn timed() -> impl Iterator<Item = &'static str> {
    [event::MSYNC].into_iter().chain(STEPS).chain([event::READ])
}

#[derive(Default)]
pub struct Summary {
    pub records: u64,
    /// ns since the epoch, of the first and the last record; none without records.
    pub times: Option<(u64, u64)>,
    /// By file, as in the catalog.
    pub files: Vec<Counts>,
    pub processes: Vec<Counts>,
    /// By event.
    durations: BTreeMap<&'static str, Histogram>,
    pub slowest_steps: Slowest,
    pub slowest_calls: Slowest,
    pub findings: Findings,
    pub tears: Tears,
}

impl Summary {
    /// Takes a record in; its place among the tears, where it is one.
    pub fn add(&mut self, record: &Record<'_>, about: About) -> Option<usize> {
        self.records += 1;
        let end = record
            .time_ns
            .saturating_add(record.duration_ns.unwrap_or(0));
        let (first, last) = self.times.unwrap_or((record.time_ns, end));
        self.times = Some((first.min(record.time_ns), last.max(end)));
        at(&mut self.processes, Some(about.process)).add(record);
        at(&mut self.files, about.file).add(record);
        self.add_duration(record, about);
        self.findings.add(record, about);
        match is_tear(record) {
            true => self.tears.add(record, about),
            false => None,
        }
    }

    fn add_duration(&mut self, record: &Record<'_>, about: About) {
        let Some(ns) = record.duration_ns else { return };
        let Some(name) = timed().find(|name| *name == record.event) else {
            return;
        };
        self.durations.entry(name).or_default().add(ns);
        let slow = Slow {
            ns,
            name,
            time_ns: record.time_ns,
            call: record.call,
            about,
        };
        match name {
            event::MSYNC => self.slowest_calls.add(slow),
            event::READ => {}
            _ => self.slowest_steps.add(slow),
        }
    }

    /// How long msync, its steps and reads took, of those that there were.
    pub fn steps(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        timed().filter_map(|name| Some((name, self.durations.get(name)?)))
    }

    /// Whether a record told that data is not safe, or may not be.
    pub fn at_risk(&self) -> bool {
        self.tears.count() > 0
    }
}

/// The entry of a file or process; that of nothing is counted, and looked at by nobody.
fn at(counts: &mut Vec<Counts>, id: Option<u32>) -> &mut Counts {
    let index = id.map_or(0, |id| id as usize + 1);
    if index >= counts.len() {
        counts.resize_with(index + 1, Counts::default);
    }
    &mut counts[index]
}

/// Counts of file or process `id`.
pub fn counts_of(counts: &[Counts], id: u32) -> Option<&Counts> {
    counts.get(id as usize + 1)
}

/// Whether a record says that data is not safe, or may not be.
pub fn is_tear(record: &Record<'_>) -> bool {
    match &*record.event {
        event::REPORT => true,
        event::REVERIFY => !record.pages.is_empty(),
        _ => false,
    }
}

/// All that logs came to.
pub struct Whole<'a> {
    pub catalog: &'a Catalog,
    pub summary: &'a Summary,
}
