//! Stores, syncs and reads back at random, as LTP's doio does for rwtest04.

use super::{Setup, SetupFailed};
use crate::run::reason;
use crate::sys::Mapping;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE_SIZE: usize = 12_800_000;
/// Stripes, not aligned to pages, belong to the processes by turns: no two ever store to the same
/// byte, so that each knows what it must read back, and no lock is needed.
const STRIPE: usize = 10_000;
/// How long bad data is looked at again.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
pub struct WorkloadTask {
    /// Made if it does not exist.
    pub file: PathBuf,
    pub millis: u64,
    /// Which of `processes` this one is.
    pub process: usize,
    pub processes: usize,
}

/// Bad data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bad {
    /// Where it begins, in the file.
    pub offset: u64,
    /// How many bytes of the store were wrong.
    pub bytes: usize,
    /// After how many ns a reader got the right ones; nothing if never.
    pub right_after_ns: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WorkloadFound {
    /// How often it stored, synced and read back.
    pub operations: u64,
    /// The longest msync, and all of them, in ns.
    pub slowest_ns: u64,
    pub total_ns: u64,
    /// The first msync that failed ends it,
    pub msync_error: Option<String>,
    /// as does the first bad data.
    pub bad: Option<Bad>,
}

pub fn run(task: &WorkloadTask) -> Result<WorkloadFound, SetupFailed> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&task.file)
        .setup("open")?;
    file.set_len(FILE_SIZE as u64).setup("ftruncate")?;
    let mut found = WorkloadFound::default();
    let mut random = Random(task.process as u64 + 1);
    let end = Instant::now() + Duration::from_millis(task.millis);
    while found.bad.is_none() && found.msync_error.is_none() && Instant::now() < end {
        let own = FILE_SIZE / STRIPE / task.processes;
        let stripe = random.below(own) * task.processes + task.process;
        let skip = random.below(STRIPE);
        let length = 1 + random.below(STRIPE - skip);
        let byte = b'A' + (found.operations % 26) as u8;
        let store: Vec<u8> = (0..length).map(|i| byte ^ (i % 61) as u8).collect();
        let offset = stripe * STRIPE + skip;

        let mapping = Mapping::new(&file, FILE_SIZE).setup("mmap MAP_SHARED")?;
        mapping.store(offset, &store);
        let started = Instant::now();
        let synced = mapping.sync();
        let ns = started.elapsed().as_nanos() as u64;
        drop(mapping);
        found.operations += 1;
        found.slowest_ns = found.slowest_ns.max(ns);
        found.total_ns += ns;
        match synced {
            Ok(()) => found.bad = look(&task.file, &store, offset as u64).setup("read")?,
            Err(error) => found.msync_error = Some(reason(&error)),
        }
    }
    Ok(found)
}

/// Reads through a fresh descriptor; where the data is bad, again and again.
fn look(path: &Path, store: &[u8], offset: u64) -> io::Result<Option<Bad>> {
    let since = Instant::now();
    let mut bad: Option<Bad> = None;
    loop {
        let at = since.elapsed();
        let mut bytes = vec![0; store.len()];
        File::open(path)?.read_exact_at(&mut bytes, offset)?;
        let wrong = |i: &usize| bytes[*i] != store[*i];
        match (0..store.len()).find(wrong) {
            None => {
                return Ok(bad.map(|bad| Bad {
                    right_after_ns: Some(at.as_nanos() as u64),
                    ..bad
                }));
            }
            Some(first) => {
                bad.get_or_insert(Bad {
                    offset: offset + first as u64,
                    bytes: (0..store.len()).filter(wrong).count(),
                    right_after_ns: None,
                });
            }
        }
        if since.elapsed() > PATIENCE {
            return Ok(bad);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Bad {
    /// So many wrong bytes from there on, not looked at again.
    pub fn at(offset: u64, bytes: usize) -> Self {
        Bad {
            offset,
            bytes,
            right_after_ns: None,
        }
    }
}

/// splitmix64, the same sequence in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % bound as u64) as usize
    }
}
