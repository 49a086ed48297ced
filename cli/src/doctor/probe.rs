//! What a filesystem does with a small file: it is made, mapped, synced and read back.

use super::report::Row;
use crate::run::reason;
use crate::sys::{self, Aligned, Mapping};
use rustix::fs::{AtFlags, OFlags, StatxFlags, openat, statx};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGES: usize = 4;
/// The page that is stored to.
const STORED: usize = 1;
const BEFORE: u8 = 0x5a;
const AFTER: u8 = 0xa5;

/// Which pages each tracker found dirty after a store to one of [`PAGES`] pages, and so on.
pub struct Probe {
    /// A shared, writable mapping.
    pub mmap: Result<(), String>,
    /// Dirty pages by PAGEMAP_SCAN.
    pub pagemap: Result<usize, String>,
    /// Dirty pages by cachestat.
    pub cachestat: Result<u64, String>,
    pub msync: Result<(), String>,
    pub fsync: Result<(), String>,
    pub dax: bool,
    /// What a read past the page cache gave after msync and fsync.
    pub direct: Result<ReadBack, String>,
    /// The alignment that O_DIRECT needs, in bytes, memory and file, where the kernel tells it.
    alignment: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    AsStored,
    Different,
}

/// # Errors
/// Where the file cannot be made or written.
pub fn probe(path: &Path) -> io::Result<Probe> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let page = rustix::param::page_size();
    file.write_all_at(&vec![BEFORE; PAGES * page], 0)?;
    let fsync = why(file.sync_all());
    let (dax, alignment) = (sys::is_dax(&file)?, alignment(&file)?);

    let mapping = Mapping::new(&file, PAGES * page);
    let mut found = Probe {
        mmap: mapping.as_ref().map(drop).map_err(reason),
        pagemap: Err("no mapping".into()),
        cachestat: Err("no mapping".into()),
        msync: Err("no mapping".into()),
        fsync,
        dax,
        direct: Err("no mapping".into()),
        alignment,
    };
    let Ok(mapping) = mapping else {
        return Ok(found);
    };
    found.pagemap = match dax {
        true => Err(sys::NO_PAGE_CACHE.into()),
        false => why(dirty_by_pagemap(&mapping, page)),
    };
    mapping.store(STORED * page, &[AFTER]);
    found.cachestat = why(sys::cachestat(&file).map(|stat| stat.dirty + stat.writeback));
    found.msync = why(mapping.sync());
    found.fsync = found.fsync.and(why(file.sync_data()));
    found.direct = why(read_back(path, page));
    Ok(found)
}

fn why<T>(result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| reason(&error))
}

fn alignment(file: &File) -> io::Result<Option<(u32, u32)>> {
    let wanted = StatxFlags::from_bits_retain(libc::STATX_DIOALIGN);
    let found = statx(file, c"", AtFlags::EMPTY_PATH, wanted)?;
    let known = found.stx_mask & libc::STATX_DIOALIGN != 0;
    Ok(known.then_some((found.stx_dio_mem_align, found.stx_dio_offset_align)))
}

/// How many pages the kernel says were stored to, after a store to one.
fn dirty_by_pagemap(mapping: &Mapping, page: usize) -> io::Result<usize> {
    let tracker = sys::write_protect_async()?;
    mapping.track(&tracker)?;
    mapping.store(STORED * page, &[AFTER]);
    let written = mapping.scan_written()?;
    Ok(written
        .iter()
        .map(|(from, to)| (to - from) as usize / page)
        .sum())
}

/// Reads the page that was stored to with O_DIRECT, through an open file of its own.
fn read_back(path: &Path, page: usize) -> io::Result<ReadBack> {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = File::from(openat(rustix::fs::CWD, path, flags, 0.into())?);
    let mut room = Aligned::new(page);
    let bytes = room.bytes();
    file.read_exact_at(bytes, (STORED * page) as u64)?;
    let right = bytes[0] == AFTER && bytes[1..].iter().all(|&byte| byte == BEFORE);
    Ok(if right {
        ReadBack::AsStored
    } else {
        ReadBack::Different
    })
}

impl Probe {
    /// Whether PAGEMAP_SCAN found exactly the page that was stored to.
    pub fn pagemap_works(&self) -> bool {
        self.pagemap == Ok(1)
    }

    /// Whether cachestat counts dirty pages here.
    pub fn cachestat_works(&self) -> bool {
        self.cachestat.as_ref().is_ok_and(|&dirty| dirty > 0)
    }

    /// On FUSE, what fsync answers says less than elsewhere.
    pub fn rows(&self, is_fuse: bool) -> Vec<Row> {
        let pagemap = match &self.pagemap {
            Ok(1) => Row::new("dirty pages by pagemap", true, "1 found after a store to 1"),
            Ok(n) => Row::new(
                "dirty pages by pagemap",
                false,
                format!("{n} found after a store to 1"),
            ),
            Err(why) => Row::new("dirty pages by pagemap", false, why),
        };
        let cachestat = match &self.cachestat {
            Ok(0) => Row::new(
                "dirty pages by cachestat",
                false,
                "0 found after a store to 1",
            ),
            Ok(n) => Row::new(
                "dirty pages by cachestat",
                true,
                format!("{n} found after a store to 1"),
            ),
            Err(why) => Row::new("dirty pages by cachestat", false, why),
        };
        let direct = match &self.direct {
            Ok(ReadBack::AsStored) => Row::new("O_DIRECT reads", true, self.alignment_note()),
            Ok(ReadBack::Different) => Row::new(
                "O_DIRECT reads",
                true,
                "and gave other bytes than msync and fsync synced",
            ),
            Err(why) => Row::new("O_DIRECT reads", false, why),
        };
        let fsync = match &self.fsync {
            Ok(()) if is_fuse => Row::new(
                "fsync",
                true,
                "the kernel says so for a daemon without FSYNC too",
            ),
            fsync => Row::result("fsync", fsync),
        };
        vec![
            Row::result("shared mmap", &self.mmap),
            Row::result("msync", &self.msync),
            fsync,
            pagemap,
            cachestat,
            direct,
            Row::new("DAX", self.dax, ""),
        ]
    }

    fn alignment_note(&self) -> String {
        match self.alignment {
            Some((memory, offset)) => format!("aligned to {offset} bytes, memory to {memory}"),
            None => String::new(),
        }
    }
}
