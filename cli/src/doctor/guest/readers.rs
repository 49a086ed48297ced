//! What plain readers get from a file: one that had it open before the store, one that opens it
//! afresh, and one that reads past the page cache; where that is refused, one that drops the page
//! cache first.

use crate::run::reason;
use crate::sys::Aligned;
use rustix::fs::{Advice, fadvise};
use rustix::param::page_size;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What a reader got for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Page {
    /// What was stored.
    New,
    /// What was there before.
    Old,
    /// Something else.
    Other,
}

/// What one reader got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// `held`, `fresh`, `direct` or `dropped`.
    pub reader: String,
    /// A page each, or why it could not read.
    pub pages: Result<Vec<Page>, String>,
}

impl Reading {
    /// A reader that cannot read says nothing.
    pub fn is_whole(&self) -> bool {
        let Ok(pages) = &self.pages else { return true };
        pages.iter().all(|&page| page == Page::New)
    }
}

/// All readers, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// When it began, in ns since msync returned.
    pub after_ns: u64,
    pub readings: Vec<Reading>,
}

impl Look {
    pub fn is_whole(&self) -> bool {
        self.readings.iter().all(Reading::is_whole)
    }
}

/// The bytes that tell new from old: of the pages from `start` on.
pub struct Expected {
    pub start: u64,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

impl Expected {
    fn judge(&self, bytes: &[u8]) -> Vec<Page> {
        let pages = bytes
            .chunks(page_size())
            .zip(self.after.chunks(page_size()));
        pages
            .zip(self.before.chunks(page_size()))
            .map(|((bytes, after), before)| match bytes {
                _ if bytes == after => Page::New,
                _ if bytes == before => Page::Old,
                _ => Page::Other,
            })
            .collect()
    }
}

/// The readers of one file, and the first error that closing a descriptor of it gave.
pub struct Readers<'a> {
    pub path: &'a Path,
    pub expected: &'a Expected,
    pub held: &'a File,
    pub close_error: Option<String>,
}

impl Readers<'_> {
    pub fn look(&mut self, after_ns: u64) -> Look {
        let mut readings = vec![
            reading("held", self.read(Ok(self.held), false)),
            self.opened("fresh", 0, false),
            self.opened("direct", libc::O_DIRECT, false),
        ];
        // Not without need: it cures a page cache that does not know of the store.
        if readings.iter().any(|reading| reading.pages.is_err()) {
            readings.push(self.opened("dropped", 0, true));
        }
        Look { after_ns, readings }
    }

    fn opened(&mut self, reader: &str, flags: i32, drop: bool) -> Reading {
        let file = File::options()
            .read(true)
            .custom_flags(flags)
            .open(self.path);
        let pages = self.read(file.as_ref(), drop);
        if let Ok(file) = file {
            self.close(file);
        }
        reading(reader, pages)
    }

    fn read(&self, file: Result<&File, &io::Error>, drop: bool) -> Result<Vec<Page>, String> {
        let file = file.map_err(reason)?;
        if drop {
            fadvise(file, 0, None, Advice::DontNeed).map_err(|error| reason(&error.into()))?;
        }
        let length = self.expected.after.len();
        let mut room = Aligned::new(length);
        let bytes = room.bytes();
        file.read_exact_at(bytes, self.expected.start)
            .map_err(|error| reason(&error))?;
        Ok(self.expected.judge(bytes))
    }

    /// Some filesystems report an error nowhere else.
    pub fn close(&mut self, file: File) {
        // SAFETY: the descriptor is owned, and given up.
        if unsafe { libc::close(file.into_raw_fd()) } != 0 {
            let error = reason(&io::Error::last_os_error());
            self.close_error.get_or_insert(error);
        }
    }
}

fn reading(reader: &str, pages: Result<Vec<Page>, String>) -> Reading {
    Reading {
        reader: reader.to_owned(),
        pages,
    }
}
