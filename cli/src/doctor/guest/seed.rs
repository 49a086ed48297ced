//! The seed case (one store over four pages, msync of the whole mapping, munmap, a read through
//! other descriptors), with a step in between that may cure it.

use super::readers::{Expected, Look, Readers};
use super::{Setup, SetupFailed};
use crate::run::reason;
use crate::sys::Mapping;
use rustix::fs::{Advice, fadvise};
use rustix::param::page_size;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PAGES: usize = 4;
/// Those of them that have old data; what is behind is a hole.
const OLD_PAGES: usize = 3;
/// With pages of 4 KiB, 9927 bytes are stored at 4,442,856 in a file of 12,800,000 bytes.
const FIRST_PAGE: usize = 1084;
const FILE_PAGES: usize = 3125;
const STORED_IN_FIRST: usize = 1304;
const STORED_IN_LAST: usize = 431;
/// The pages that are read before the store, as a daemon with read-ahead would.
const WINDOW_PAGES: usize = 32;
const WINDOW_BEFORE: usize = 11;
/// A filesystem that applies a page with each sync needs as many as there are pages.
const MOST_SYNCS: usize = 2 * PAGES;
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// What is done after msync and before the readers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Nothing,
    Msync,
    Fdatasync,
    Fsync,
    /// fsync(2) until the readers see everything.
    Fsyncs,
    /// The clean pages are dropped from the page cache.
    Drop,
    /// All descriptors are closed, and the file is opened anew.
    Reopen,
    /// Each page is made dirty again and synced alone.
    Redirty,
    /// msync, fdatasync, fsync and drop.
    Together,
}

#[derive(Serialize, Deserialize)]
pub struct SeedTask {
    /// A new file.
    pub file: PathBuf,
    pub step: Step,
    /// Whether the range is read before the store.
    pub read_before: bool,
    /// How long readers look again until they see everything, in ms.
    pub wait_ms: u64,
    /// How long they go on looking after they did, in ms.
    pub watch_ms: u64,
}

/// A call and how it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    pub name: String,
    /// Why it failed.
    pub error: Option<String>,
    pub ns: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeedFound {
    pub msync: Call,
    /// msync again, where it had failed.
    pub retry: Option<Call>,
    /// What the step consists of.
    pub step: Vec<Call>,
    /// The first look, and each that saw something else than the one before.
    pub looks: Vec<Look>,
    /// How long was looked, in ns since msync returned.
    pub looked_ns: u64,
    /// The first error of a close(2).
    pub close_error: Option<String>,
}

impl SeedFound {
    /// What msync said at last: a program that gets an error tries again.
    pub fn acknowledged(&self) -> bool {
        self.retry.as_ref().unwrap_or(&self.msync).error.is_none()
    }

    /// Whether the readers got everything, from the first look on.
    pub fn is_whole(&self) -> bool {
        self.looks.iter().all(Look::is_whole)
    }

    /// After how many ns the readers first saw everything.
    pub fn whole_after_ns(&self) -> Option<u64> {
        let whole = self.looks.iter().find(|look| look.is_whole());
        whole.map(|look| look.after_ns)
    }

    /// After how many ns something old came back that had been new.
    pub fn worse_after_ns(&self) -> Option<u64> {
        let mut looks = self.looks.iter().skip_while(|look| !look.is_whole());
        looks.find(|look| !look.is_whole()).map(|l| l.after_ns)
    }
}

pub fn run(task: &SeedTask) -> Result<SeedFound, SetupFailed> {
    let expected = expected();
    let writer = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&task.file)
        .setup("open")?;
    let page = page_size();
    writer
        .set_len((FILE_PAGES * page) as u64)
        .setup("ftruncate")?;
    // What is written whole is in the page cache: where nothing is opened after that, the store
    // needs no read either.
    let held = File::open(&task.file).setup("open for reading")?;
    let written = if task.read_before {
        OLD_PAGES * page
    } else {
        PAGES * page
    };
    writer
        .write_all_at(&expected.before[..written], expected.start)
        .setup("pwrite")?;
    writer.sync_all().setup("fsync")?;
    if task.read_before {
        let window = File::open(&task.file).setup("open for reading")?;
        for reader in [&window, &held] {
            reader
                .read_exact_at(
                    &mut vec![0; WINDOW_PAGES * page],
                    expected.start - (WINDOW_BEFORE * page) as u64,
                )
                .setup("pread")?;
        }
    }

    let mapping = Mapping::new(&writer, FILE_PAGES * page).setup("mmap MAP_SHARED")?;
    mapping.store((FIRST_PAGE + 1) * page - STORED_IN_FIRST, &store());
    let msync = timed("msync", || mapping.sync());
    let retry = msync
        .error
        .is_some()
        .then(|| timed("msync", || mapping.sync()));
    let returned = Instant::now();

    let mut readers = Readers {
        path: &task.file,
        expected: &expected,
        held: &held,
        close_error: None,
    };
    let (step, writer) = act(task, mapping, writer, &mut readers);
    let (looks, looked_ns) = watch(task, &mut readers, returned);
    if let Some(writer) = writer {
        readers.close(writer);
    }
    Ok(SeedFound {
        msync,
        retry,
        step,
        looks,
        looked_ns,
        close_error: readers.close_error,
    })
}

/// Old and new bytes differ everywhere, from each other and from a hole.
fn expected() -> Expected {
    let page = page_size();
    let mut before = vec![0; PAGES * page];
    before[..OLD_PAGES * page].fill(b'o');
    let mut after = before.clone();
    let store = store();
    after[page - STORED_IN_FIRST..][..store.len()].copy_from_slice(&store);
    Expected {
        start: (FIRST_PAGE * page) as u64,
        before,
        after,
    }
}

fn store() -> Vec<u8> {
    let length = STORED_IN_FIRST + (PAGES - 2) * page_size() + STORED_IN_LAST;
    (0..length).map(|i| b'A' + (i % 26) as u8).collect()
}

/// Does the step and unmaps; gives back the descriptor that is still open.
fn act(
    task: &SeedTask,
    mapping: Mapping,
    writer: File,
    readers: &mut Readers,
) -> (Vec<Call>, Option<File>) {
    let msync = || timed("msync", || mapping.sync());
    let fdatasync = || timed("fdatasync", || writer.sync_data());
    let fsync = || timed("fsync", || writer.sync_all());
    let drop_pages = || {
        timed("madvise and fadvise DONTNEED", || {
            mapping.let_go()?;
            Ok(fadvise(&writer, 0, None, Advice::DontNeed)?)
        })
    };
    let calls = match task.step {
        Step::Nothing => vec![],
        Step::Msync => vec![msync()],
        Step::Fdatasync => vec![fdatasync()],
        Step::Fsync => vec![fsync()],
        Step::Fsyncs => {
            let mut calls = vec![];
            while calls.len() < MOST_SYNCS && (calls.is_empty() || !readers.look(0).is_whole()) {
                calls.push(fsync());
            }
            calls
        }
        Step::Drop => vec![drop_pages()],
        Step::Redirty => (0..PAGES)
            .map(|page| {
                timed("MADV_POPULATE_WRITE and msync of a page", || {
                    let at = (FIRST_PAGE + page) * page_size();
                    mapping.make_dirty(at, page_size())?;
                    mapping.sync_range(at, page_size())
                })
            })
            .collect(),
        Step::Together => vec![msync(), fdatasync(), fsync(), drop_pages()],
        Step::Reopen => {
            drop(mapping);
            readers.close(writer);
            let mut reopened = None;
            let open = timed("close and open", || {
                let options = File::options().read(true).write(true).clone();
                reopened = Some(options.open(&task.file)?);
                Ok(())
            });
            return (vec![open], reopened);
        }
    };
    drop(mapping);
    (calls, Some(writer))
}

/// Looks until the readers see everything, and for a while after that.
fn watch(task: &SeedTask, readers: &mut Readers, since: Instant) -> (Vec<Look>, u64) {
    let now = || since.elapsed().as_nanos() as u64;
    let mut looks: Vec<Look> = Vec::new();
    let mut pause = Duration::from_millis(1);
    let mut whole_at = None;
    loop {
        let look = readers.look(now());
        if look.is_whole() {
            whole_at.get_or_insert(look.after_ns);
        }
        if looks.last().is_none_or(|l| l.readings != look.readings) {
            looks.push(look);
        }
        let until = match whole_at {
            Some(at) => at + task.watch_ms * 1_000_000,
            None => task.wait_ms * 1_000_000,
        };
        if now() >= until {
            return (looks, now());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn timed(name: &str, call: impl FnOnce() -> io::Result<()>) -> Call {
    let started = Instant::now();
    let error = call().err().map(|error| reason(&error));
    Call {
        name: name.to_owned(),
        error,
        ns: started.elapsed().as_nanos() as u64,
    }
}
