//! As fsx does, with mappings: random stores through several mappings, growing, truncation, holes and reopening, each
//! followed by msync and a comparison of all of the file, through a fresh descriptor, with what it must hold.

use super::workload::{Bad, Random, WorkloadFound};
use super::{Setup, SetupFailed};
use crate::run::reason;
use crate::sys::Mapping;
use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// The file is never larger, and mappings are as large.
const LARGEST: usize = 48 * PAGE;
const MAPPINGS: usize = 3;
const LONGEST_STORE: usize = 3 * PAGE;

#[derive(Serialize, Deserialize)]
pub struct FsxTask {
    /// A new file.
    pub file: PathBuf,
    pub millis: u64,
}

pub fn run(task: &FsxTask) -> Result<WorkloadFound, SetupFailed> {
    let mut file = open(&task.file).setup("open")?;
    // What the file must hold.
    let mut model = vec![0; 16 * PAGE];
    file.set_len(model.len() as u64).setup("ftruncate")?;
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut random = Random(7);
    let mut found = WorkloadFound::default();
    let end = Instant::now() + Duration::from_millis(task.millis);
    while found.bad.is_none() && found.msync_error.is_none() && Instant::now() < end {
        if mappings.len() < MAPPINGS {
            mappings.push(Mapping::new(&file, LARGEST).setup("mmap MAP_SHARED")?);
        }
        let chosen = random.below(mappings.len());
        match random.below(10) {
            0 => resize(&file, &mut model, 1 + random.below(LARGEST)).setup("ftruncate")?,
            1 => {
                let from = random.below(model.len());
                let to = (from + 1 + random.below(4 * PAGE)).min(model.len());
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                // Not every filesystem has holes.
                if fallocate(&file, flags, from as u64, (to - from) as u64).is_ok() {
                    model[from..to].fill(0);
                }
            }
            2 => drop(mappings.swap_remove(chosen)),
            3 => file = open(&task.file).setup("open")?,
            _ => {
                let from = random.below(model.len());
                let to = (from + 1 + random.below(LONGEST_STORE)).min(model.len());
                let byte = 1 + (found.operations % 255) as u8;
                let store = vec![byte; to - from];
                model[from..to].copy_from_slice(&store);
                mappings[chosen].store(from, &store);
            }
        }
        let Some(mapping) = mappings.first() else {
            continue;
        };
        let started = Instant::now();
        // Past the end of the file there are no pages; the kernel takes the range all the same.
        let synced = mapping.sync();
        let ns = started.elapsed().as_nanos() as u64;
        found.operations += 1;
        found.slowest_ns = found.slowest_ns.max(ns);
        found.total_ns += ns;
        match synced {
            Ok(()) => found.bad = look(&task.file, &model).setup("read")?,
            Err(error) => found.msync_error = Some(reason(&error)),
        }
    }
    Ok(found)
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn resize(file: &File, model: &mut Vec<u8>, size: usize) -> io::Result<()> {
    file.set_len(size as u64)?;
    model.resize(size, 0);
    Ok(())
}

/// Whether the file is as the model, and where not.
fn look(path: &Path, model: &[u8]) -> io::Result<Option<Bad>> {
    let mut bytes = vec![0; model.len()];
    let file = File::open(path)?;
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let size = file.metadata()?.len();
            return Ok(Some(Bad::at(
                size,
                model.len() - (size as usize).min(model.len()),
            )));
        }
        read => read?,
    }
    let wrong = |i: &usize| bytes[*i] != model[*i];
    let first = (0..model.len()).find(wrong);
    let count = (0..model.len()).filter(wrong).count();
    Ok(first.map(|first| Bad::at(first as u64, count)))
}
