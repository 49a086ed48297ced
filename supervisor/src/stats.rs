//! What happened to each file of an image, in numbers, until it ends: the library's summary, as far as it is known from
//! outside. Only where the log shows `info`.

use keepmydata_records::{Finding, FindingCounts, Stats, event};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files that are kept apart. The others are one.
const FILES: usize = 64;

/// Of one image.
#[derive(Default)]
pub struct Numbers(Mutex<HashMap<Option<Name>, Kept>>);

/// Of one file.
#[derive(Default)]
pub struct Kept {
    pub stats: Stats,
    pub findings: FindingCounts,
}

/// A file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub dev: u64,
    pub ino: u64,
    pub path: Vec<u8>,
}

impl Numbers {
    fn all(&self) -> MutexGuard<'_, HashMap<Option<Name>, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, name: Name, change: impl FnOnce(&mut Stats)) {
        self.with_all(name, |kept| change(&mut kept.stats));
    }

    fn with_all(&self, name: Name, change: impl FnOnce(&mut Kept)) {
        let (name, mut all) = (Some(name), self.all());
        let name = match all.len() < FILES || all.contains_key(&name) {
            true => name,
            false => None,
        };
        change(all.entry(name).or_default());
    }

    /// One more msync.
    pub fn called(&self, file: Name) {
        self.with(file, |stats| add(&mut stats.msyncs, 1));
    }

    /// That was found once more.
    pub fn found(&self, file: Name, finding: Finding) {
        self.with_all(file, |kept| kept.findings.0[finding as usize] += 1);
    }

    /// A step has ended, which took so long.
    pub fn step(&self, file: Name, what: &str, ns: u64) {
        self.with(file, |stats| {
            let number = match what {
                event::DIRTY => &mut stats.dirty_ns,
                event::COPY => &mut stats.copy_ns,
                event::FDATASYNC => &mut stats.fdatasync_ns,
                event::VERIFY => &mut stats.verify_ns,
                event::HEAL => &mut stats.heal_ns,
                event::DROP => &mut stats.drop_ns,
                // Within a rung of healing.
                _ => return,
            };
            add(number, ns);
        });
    }

    /// So many pages were wrong, and are right now.
    pub fn healed(&self, file: Name, pages: u64) {
        self.with(file, |stats| add(&mut stats.pages_healed, pages));
    }

    /// All steps of an msync are done.
    pub fn ended(&self, file: Name, done: &Done) {
        self.with(file, |stats| {
            add(&mut stats.msyncs, 1);
            add(&mut stats.pages_flushed, done.flushed);
            add(&mut stats.pages_verified, done.verified);
            add(&mut stats.pages_dropped, done.dropped);
            add(&mut stats.msync_ns, done.ns);
        });
    }

    /// All of it, once; those without a name are of more files than are kept apart.
    pub fn take(&self) -> HashMap<Option<Name>, Kept> {
        std::mem::take(&mut *self.all())
    }
}

/// What an msync has done, in pages, and how long it took.
pub struct Done {
    pub flushed: u64,
    pub verified: u64,
    pub dropped: u64,
    pub ns: u64,
}

fn add(number: &mut Option<u64>, more: u64) {
    *number = Some(number.unwrap_or(0) + more);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is a part of a rung of healing, whose time is counted.
    #[test]
    fn an_fsync_is_not_counted_as_fdatasync() {
        let file = Name {
            dev: 1,
            ino: 2,
            path: Vec::new(),
        };
        let numbers = Numbers::default();
        for (step, ns) in [
            (event::FDATASYNC, 1),
            (event::FSYNC, 10),
            (event::HEAL, 100),
        ] {
            numbers.step(file.clone(), step, ns);
        }
        let kept = numbers.take().remove(&Some(file));
        let stats = kept.expect("its numbers").stats;
        assert_eq!((stats.fdatasync_ns, stats.heal_ns), (Some(1), Some(100)));
    }
}
