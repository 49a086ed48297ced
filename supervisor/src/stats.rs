//! What happened to each file of an image, in numbers, until it ends: the library's summary, as far as it is known from
//! outside. Only where the log shows `info`.

use crate::call::{Began, Call, Ended};
use crate::image::lock;
use keepmydata_records::{Stats, event};
use std::collections::HashMap;
use std::sync::Mutex;

/// Files that are kept apart. The others are one.
const FILES: usize = 64;

/// Of one image.
#[derive(Default)]
pub struct Numbers(Mutex<HashMap<Option<Name>, Stats>>);

/// A file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub dev: u64,
    pub ino: u64,
    pub path: Vec<u8>,
}

impl Numbers {
    fn with(&self, call: &Call, change: impl FnOnce(&mut Stats)) {
        let file = &call.file;
        let name = Some(Name {
            dev: file.dev,
            ino: file.ino,
            path: file.path.clone(),
        });
        let mut all = lock(&self.0);
        let name = match all.len() < FILES || all.contains_key(&name) {
            true => name,
            false => None,
        };
        change(all.entry(name).or_default());
    }

    /// One more msync.
    pub fn called(&self, call: &Call) {
        self.with(call, |stats| add(&mut stats.msyncs, 1));
    }

    /// A step has ended.
    pub fn step(&self, call: &Call, what: &str, began: Began) {
        self.with(call, |stats| {
            let number = match what {
                event::DIRTY => &mut stats.dirty_ns,
                event::COPY => &mut stats.copy_ns,
                event::FDATASYNC | event::FSYNC => &mut stats.fdatasync_ns,
                event::VERIFY => &mut stats.verify_ns,
                event::HEAL => &mut stats.heal_ns,
                event::DROP => &mut stats.drop_ns,
                _ => return,
            };
            add(number, began.elapsed());
        });
    }

    /// So many pages were wrong, and are right now.
    pub fn healed(&self, call: &Call, pages: u64) {
        self.with(call, |stats| add(&mut stats.pages_healed, pages));
    }

    /// All steps are done.
    pub fn ended(&self, ended: &Ended) {
        self.with(ended, |stats| {
            add(&mut stats.msyncs, 1);
            add(&mut stats.pages_flushed, ended.dirty_pages());
            let verified = ended.verdicts.verified + ended.verdicts.newer;
            add(&mut stats.pages_verified, verified);
            add(&mut stats.pages_dropped, ended.dropped_pages.unwrap_or(0));
            add(&mut stats.msync_ns, ended.began.elapsed());
        });
    }

    /// All of it, once; those without a name are of more files than are kept apart.
    pub fn take(&self) -> HashMap<Option<Name>, Stats> {
        std::mem::take(&mut *lock(&self.0))
    }
}

fn add(number: &mut Option<u64>, more: u64) {
    *number = Some(number.unwrap_or(0) + more);
}
