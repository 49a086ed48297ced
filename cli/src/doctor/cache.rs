//! What the page cache does for readers, and how long msync and fsync take, on a file of its own.

use super::report::Row;
use super::trials::Pace;
use crate::run::reason;
use crate::sys::{self, Mapping};
use rustix::fs::{Advice, fadvise};
use rustix::param::page_size;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGES: usize = 16;
/// How often each call is measured.
const ROUNDS: usize = 5;
const LONG: Duration = Duration::from_millis(500);

/// cachestat(2) is needed for all but the times.
pub struct Cache {
    /// Whether a reader fills it, rather than go past it (FOPEN_DIRECT_IO).
    readers_fill: Result<bool, String>,
    /// Whether what is cached outlives an open by anybody (FOPEN_KEEP_CACHE).
    outlives_open: Result<bool, String>,
    /// Whether posix_fadvise drops clean pages.
    can_be_dropped: Result<bool, String>,
    /// Whether two opens of one path lead to one inode of the kernel's, with one page cache.
    one_inode: Result<bool, String>,
    /// Medians, of a mapped file with one dirty page.
    msync: Result<Duration, String>,
    fsync: Result<Duration, String>,
    /// A new open and a read of all pages.
    read: Duration,
}

/// # Errors
/// Where the file cannot be made, written or mapped.
pub fn look(path: &Path) -> io::Result<Cache> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let size = PAGES * page_size();
    file.write_all_at(&vec![b'o'; size], 0)?;
    file.sync_all()?;
    let cached = |file: &File| sys::cachestat(file).map(|stat| stat.cached);
    let drop_all = || fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from);
    let fill = |file: &File| file.read_exact_at(&mut vec![0; size], 0);
    let readers_fill = || {
        drop_all()?;
        let reader = File::open(path)?;
        fill(&reader)?;
        Ok(cached(&reader)? > 0)
    };
    let outlives_open = || {
        fill(&file)?;
        let before = cached(&file)?;
        drop(File::open(path)?);
        Ok(before > 0 && cached(&file)? > 0)
    };
    let can_be_dropped = || {
        fill(&file)?;
        drop_all()?;
        Ok(cached(&file)? == 0)
    };
    let one_inode = || Ok(sys::inode_handle(&file)? == sys::inode_handle(File::open(path)?)?);
    let mapping = Mapping::new(&file, size)?;
    let median = |call: &dyn Fn() -> io::Result<()>| {
        let mut times = Vec::new();
        // Once where that takes long.
        while times.len() < ROUNDS && times.iter().sum::<Duration>() < LONG {
            mapping.store(0, &[times.len() as u8]);
            let started = Instant::now();
            call()?;
            times.push(started.elapsed());
        }
        times.sort();
        Ok(times[times.len() / 2])
    };
    let read = {
        let started = Instant::now();
        drop_all()?;
        fill(&File::open(path)?)?;
        started.elapsed()
    };
    let why = |error: io::Error| reason(&error);
    Ok(Cache {
        readers_fill: readers_fill().map_err(why),
        outlives_open: outlives_open().map_err(why),
        can_be_dropped: can_be_dropped().map_err(why),
        one_inode: one_inode().map_err(why),
        msync: median(&|| mapping.sync()).map_err(why),
        fsync: median(&|| file.sync_all()).map_err(why),
        read,
    })
}

impl Cache {
    /// How long calls take.
    pub fn pace(&self) -> Pace {
        let sync = |took: &Result<Duration, String>| took.as_ref().copied().unwrap_or_default();
        Pace {
            sync: sync(&self.msync).max(sync(&self.fsync)),
            read: self.read,
        }
    }

    /// What is wrong with it whatever msync does.
    pub fn limit(&self) -> Option<&'static str> {
        (self.one_inode == Ok(false)).then_some(
            "a file that is opened twice is two inodes to the kernel: page caches and record locks \
             do not know each other, and processes that store to the same pages lose data",
        )
    }

    pub fn rows(&self) -> Vec<Row> {
        let flag = |name, found: &Result<bool, String>, yes: &str, no: &str| match found {
            Ok(true) => Row::new(name, true, yes),
            Ok(false) => Row::new(name, false, no),
            Err(why) => Row::new(name, "unknown", why),
        };
        let time = |name, took: &Result<Duration, String>| match took {
            Ok(took) => Row::new(
                name,
                took.as_micros() as u64,
                "us, the median with one dirty page",
            ),
            Err(why) => Row::new(name, "failed", why),
        };
        vec![
            flag(
                "readers fill the page cache",
                &self.readers_fill,
                "",
                "each read goes to the filesystem",
            ),
            flag(
                "page cache outlives an open",
                &self.outlives_open,
                "readers may be served from memory for long",
                "each open drops it, for all processes",
            ),
            flag(
                "page cache can be dropped",
                &self.can_be_dropped,
                "by posix_fadvise",
                "posix_fadvise leaves pages",
            ),
            flag(
                "one inode a file",
                &self.one_inode,
                "",
                "opened twice it is two, with a page cache each",
            ),
            time("msync takes", &self.msync),
            time("fsync takes", &self.fsync),
        ]
    }
}
