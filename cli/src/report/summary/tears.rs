//! The records that say that data is not safe, with their page tables.

use super::super::catalog::About;
use crate::report::text::short;
use keepmydata_records::{ByteRange, Errno, Level, PageRow, Record, Verdicts};

#[derive(Clone)]
pub struct Tear {
    pub time_ns: u64,
    pub duration_ns: Option<u64>,
    pub level: Level,
    pub event: String,
    pub about: About,
    pub call: Option<u64>,
    pub result: Option<i64>,
    pub errno: Option<Errno>,
    pub verdicts: Option<Verdicts>,
    pub message: String,
    pub dirty: Vec<ByteRange>,
    pub pages: Vec<PageRow>,
    /// Pages were left out, by the shim or here.
    pub truncated: bool,
}

#[derive(Default)]
pub struct Tears {
    pub list: Vec<Tear>,
    /// Those for which there was no room.
    pub more: u64,
    pages: usize,
}

impl Tears {
    const KEPT: usize = 2000;
    /// Pages and ranges of all tears together.
    const PAGES: usize = 50_000;

    /// Its place in the list, where there is room.
    pub fn add(&mut self, record: &Record<'_>, about: About) -> Option<usize> {
        if self.list.len() == Self::KEPT {
            self.more += 1;
            return None;
        }
        let room = (Self::PAGES - self.pages) / 2;
        let pages = &record.pages[..record.pages.len().min(room)];
        let dirty = &record.dirty[..record.dirty.len().min(room)];
        self.pages += pages.len() + dirty.len();
        self.list.push(Tear {
            time_ns: record.time_ns,
            duration_ns: record.duration_ns,
            level: record.level,
            event: short(&record.event, 40),
            about,
            call: record.call,
            result: record.result,
            errno: record.errno,
            verdicts: record.verdicts,
            message: short(&record.message, 400),
            dirty: dirty.to_vec(),
            pages: pages.to_vec(),
            truncated: record.truncated || pages.len() < record.pages.len(),
        });
        Some(self.list.len() - 1)
    }

    pub fn count(&self) -> u64 {
        self.list.len() as u64 + self.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let record = Record {
            event: "report".into(),
            pages: vec![PageRow::default(); 20_000].into(),
            ..Record::new(Level::Error, 1, 1)
        };
        let about = About {
            file: None,
            process: 0,
            thread: 0,
        };
        let mut tears = Tears::default();
        for _ in 0..3000 {
            tears.add(&record, about);
        }
        assert_eq!((tears.list.len(), tears.count()), (Tears::KEPT, 3000));
        let pages: usize = tears.list.iter().map(|tear| tear.pages.len()).sum();
        assert!(pages <= Tears::PAGES && tears.list[1].truncated);
    }
}
