//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use fuser::InitFlags;

use super::cluster::Coherence;
use super::modes::{Mode, Parameters};
use super::select::Selector;
use crate::page_size;

/// A FUSE filesystem in memory that acknowledges what it has not done.
///
/// tearfs mounts itself on MOUNTPOINT, prints `ready MOUNTPOINT` and runs in the foreground
/// until it is unmounted or gets SIGINT or SIGTERM. It is a test bed: --mode chooses the way in
/// which it misbehaves, all else works as on any filesystem.
///
/// Only page writeback is misused: the FUSE_WRITE requests with the flag FUSE_WRITE_CACHE, by
/// which the kernel writes back pages of a shared mapping (with --writeback-cache those of
/// write(2) too). Other writes are applied at once.
///
/// A reader on the same machine sees the damage only if its read reaches the daemon, so by
/// default an open with O_RDONLY and without O_SYNC is answered with FOPEN_DIRECT_IO. Such a
/// descriptor cannot be mapped MAP_SHARED (ENODEV) without --direct-io-mmap.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tearfs",
    version,
    max_term_width = 100,
    after_long_help = AFTER,
)]
pub struct Options {
    /// Where to mount: an existing directory.
    pub mountpoint: PathBuf,

    /// Mount there, too: a second client of the same files, with a page cache of its own. Record locks are then the
    /// filesystem's, and readers are not answered with FOPEN_DIRECT_IO unless asked for.
    #[arg(long, value_name = "DIR", help_heading = CLUSTER)]
    pub second: Option<PathBuf>,

    /// What one client sees of what the other wrote.
    #[arg(long, value_enum, value_name = "HOW", default_value = "coherent", requires = "second", help_heading = CLUSTER)]
    pub coherence: Coherence,

    /// The time of attribute-cache, late-open and propagation.
    #[arg(long, value_name = "N", default_value_t = 300, help_heading = CLUSTER)]
    pub coherence_ms: u64,

    /// How to misbehave.
    #[arg(long, value_enum, value_name = "MODE", default_value = "honest")]
    pub mode: Mode,

    /// How long the modes stale-window, early-ack and reorder put off.
    #[arg(long, value_name = "N", default_value_t = 200, help_heading = MODES)]
    pub delay_ms: u64,

    /// Bytes of a window that stale-window caches, a multiple of the page size.
    #[arg(long, value_name = "BYTES", default_value_t = 131_072, help_heading = MODES)]
    pub window: u64,

    /// Pages that a partial FSYNC applies in first-page and one-page.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = MODES)]
    pub pages_per_fsync: usize,

    /// Misbehave only on each Nth occasion.
    ///
    /// What counts as an occasion is the mode's affair: an FSYNC that has something to do in
    /// first-page, one-page, early-ack, reorder and eio-once; a WRITE of page writeback in
    /// volatile, silent-eio and black-hole, one of several pages in drop-tail; a page's first
    /// write in lossy-first; the caching of a window in stale-window. Occasions are counted
    /// over the whole mount from 1; several of these options restrict together.
    #[arg(long, value_name = "N", help_heading = OCCASIONS)]
    pub every: Option<u64>,

    /// Misbehave only on the first N occasions.
    #[arg(long, value_name = "N", help_heading = OCCASIONS)]
    pub first: Option<u64>,

    /// Misbehave on each occasion with probability P (0 to 1).
    #[arg(long, value_name = "P", help_heading = OCCASIONS)]
    pub probability: Option<f64>,

    /// The seed of --probability: the same seed takes the same occasions.
    #[arg(long, value_name = "S", default_value_t = 1, help_heading = OCCASIONS)]
    pub seed: u64,

    /// Misbehave only with files whose path in the mount (`/dir/name`) matches, as it is when
    /// they are opened. The syntax is that of KEEPMYDATA_FILES: `*.db`, `/dir/**`, `!*.log`.
    #[arg(long, value_name = "GLOB", help_heading = OCCASIONS)]
    pub glob: Option<String>,

    /// Which opens are answered with FOPEN_DIRECT_IO [default: rdonly; none in mode twin-inode,
    /// which is about the page cache].
    #[arg(long, value_enum, value_name = "WHICH", help_heading = KERNEL)]
    pub direct_io: Option<DirectIo>,

    /// Take O_DIRECT when a file is opened, and answer reads of such a descriptor with EINVAL, as
    /// daemons do that hand the flag on to a file of their own and read into any buffer.
    #[arg(long, help_heading = KERNEL)]
    pub refuse_direct_reads: bool,

    /// Allow MAP_SHARED on descriptors with FOPEN_DIRECT_IO (FUSE_DIRECT_IO_ALLOW_MMAP, Linux
    /// 6.6). Always so with --direct-io all.
    #[arg(long, help_heading = KERNEL)]
    pub direct_io_mmap: bool,

    /// Answer opens with FOPEN_KEEP_CACHE. Without it each open drops the file's page cache, for
    /// all processes.
    #[arg(long, help_heading = KERNEL)]
    pub keep_cache: bool,

    /// Ask for FUSE_AUTO_INVAL_DATA: the page cache is dropped when the file's mtime changed.
    #[arg(long, help_heading = KERNEL)]
    pub auto_inval: bool,

    /// Ask for FUSE_WRITEBACK_CACHE: write(2) stays in the page cache too.
    #[arg(long, help_heading = KERNEL)]
    pub writeback_cache: bool,

    /// Give a new file the inode number of one that was deleted, as daemons do that show the numbers of a local filesystem.
    #[arg(long, help_heading = KERNEL)]
    pub reuse_numbers: bool,

    /// How long the kernel may cache names and attributes. Always 0 in mode twin-inode.
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = KERNEL)]
    pub ttl_ms: u64,

    /// Answer each READ so much later. Other requests are served meanwhile.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = SLOWNESS)]
    pub read_delay_ms: u64,

    /// Answer each WRITE so much later.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = SLOWNESS)]
    pub write_delay_ms: u64,

    /// Answer each FSYNC so much later.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = SLOWNESS)]
    pub fsync_delay_ms: u64,

    /// Append a line for each request that comes in and each answer to FILE (`-`: stderr).
    #[arg(long, value_name = "FILE", help_heading = OBSERVING)]
    pub op_log: Option<PathBuf>,

    /// Listen on this unix socket for questions about the backend, power cuts and the like (see
    /// CONTROL CHANNEL).
    #[arg(long, value_name = "SOCKET", help_heading = OBSERVING)]
    pub control: Option<PathBuf>,

    /// Unmount and end when stdin reaches its end: so that the mount does not outlive the test.
    #[arg(long, action = ArgAction::SetTrue)]
    pub exit_with_stdin: bool,
}

const CLUSTER: &str = "Two clients";
const MODES: &str = "Modes";
const OCCASIONS: &str = "When to misbehave";
const KERNEL: &str = "What the kernel is told";
const SLOWNESS: &str = "Slowness";
const OBSERVING: &str = "Observing";

const AFTER: &str = "\
CONTROL CHANNEL
  One JSON object a line, and one in answer: {\"ok\":true, ...} or {\"ok\":false,\"error\":\"...\"}.
  PATH is a path in the mount, as \"/f\"; data comes as hex digits, shorter at the end of the file.
    {\"op\":\"read\",\"path\":PATH,\"offset\":N,\"len\":N}
        what the backend finally holds: what a reader gets once all is applied
    {\"op\":\"seen\",...}    the same, of what READ is served from now (cached windows apart)
    {\"op\":\"stable\",...}  the same, of what survives a power cut now
    {\"op\":\"ends\",\"path\":PATH,\"block\":N}  the first and last byte of each block of N bytes, at one
                         moment: \"stable\", and \"served\" (what READ is answered with, cached windows
                         too); with \"word\":OFFSET also the number of eight bytes there
    {\"op\":\"held\",\"path\":PATH}  the indices of pages acknowledged but not applied
    {\"op\":\"cut\"}         the power fails: all that is not stable is gone, caches are dropped,
                         and descriptors opened before get EIO for WRITE and FSYNC
    {\"op\":\"stats\"}       how many requests of each kind, and what the mode did how often
    {\"op\":\"mode\",\"mode\":MODE}  go on in another mode; what is held stays held until FSYNC
    {\"op\":\"settle\"}      answers when nothing is pending by time

EXIT STATUS
  0  unmounted
  1  the session failed
  2  a bad option or mount point
  3  FUSE cannot be used here: no /dev/fuse, no fusermount3, or the mount was refused

EXAMPLE
  mkdir /tmp/bed; tearfs --mode first-page --op-log /tmp/bed.log /tmp/bed";

/// Which opens are answered with FOPEN_DIRECT_IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DirectIo {
    /// No open: readers share the page cache with mappings.
    None,
    /// Opens with O_RDONLY and without O_SYNC.
    Rdonly,
    /// Every open, of descriptors that are mapped too.
    All,
}

impl Options {
    /// What clap does not check.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn check(&self) -> Result<(), String> {
        let page = page_size() as u64;
        if self.window == 0 || !self.window.is_multiple_of(page) {
            return Err(format!("--window {} is no multiple of {page}", self.window));
        }
        if self.pages_per_fsync == 0 {
            return Err("--pages-per-fsync 0 would never apply anything".into());
        }
        if self.every == Some(0) {
            return Err("--every 0 is no number of occasions".into());
        }
        if let Some(p) = self.probability
            && !(0.0..=1.0).contains(&p)
        {
            return Err(format!("--probability {p} is not between 0 and 1"));
        }
        if let Some(glob) = &self.glob
            && keepmydata_records::Globs::parse(glob.as_bytes()).is_none()
        {
            return Err(format!("--glob {glob:?} is no list of globs"));
        }
        for point in [Some(&self.mountpoint), self.second.as_ref()]
            .into_iter()
            .flatten()
        {
            if !point.is_dir() {
                return Err(format!("mount point {} is no directory", point.display()));
            }
        }
        if self.second.as_ref() == Some(&self.mountpoint) {
            return Err("--second is the mount point: it must be another directory".into());
        }
        Ok(())
    }

    pub fn parameters(&self) -> Parameters {
        Parameters {
            delay: Duration::from_millis(self.delay_ms),
            window: self.window,
            pages_per_fsync: self.pages_per_fsync,
            selective: self.every.is_some() || self.first.is_some() || self.probability.is_some(),
        }
    }

    pub fn selector(&self) -> Selector {
        let every = self.every.unwrap_or(1);
        Selector::new(every, self.first, self.probability, self.seed)
    }

    /// Whether the mode applies to the file at this path in the mount.
    pub fn concerns(&self, path: &[u8]) -> bool {
        self.glob.as_ref().is_none_or(|glob| {
            keepmydata_records::Globs::parse(glob.as_bytes())
                .is_some_and(|globs| globs.includes(path))
        })
    }

    fn direct_io(&self) -> DirectIo {
        self.direct_io.unwrap_or(match self.mode {
            // These are about page caches of readers.
            _ if self.second.is_some() => DirectIo::None,
            Mode::TwinInode => DirectIo::None,
            _ => DirectIo::Rdonly,
        })
    }

    /// The time of a coherence that has one.
    pub fn coherence_time(&self) -> Duration {
        Duration::from_millis(self.coherence_ms)
    }

    /// How the clients are kept apart, where there are two.
    pub fn cluster(&self) -> Option<Coherence> {
        self.second.as_ref().map(|_| self.coherence)
    }

    /// Whether opens are answered with FOPEN_KEEP_CACHE.
    pub fn keeps_cache(&self) -> bool {
        self.keep_cache
            || self
                .cluster()
                .is_some_and(|how| how != Coherence::CloseToOpen)
    }

    /// How long the kernel may cache names and attributes.
    pub fn ttl(&self) -> Duration {
        match self.cluster() {
            Some(Coherence::AttributeCache) => self.coherence_time(),
            _ => Duration::from_millis(self.ttl_ms),
        }
    }

    /// What the kernel is asked for at FUSE_INIT.
    pub fn kernel_features(&self) -> InitFlags {
        let mut features = InitFlags::FUSE_PARALLEL_DIROPS;
        let by_mtime = self.cluster() == Some(Coherence::AttributeCache);
        features.set(InitFlags::FUSE_AUTO_INVAL_DATA, self.auto_inval || by_mtime);
        features.set(InitFlags::FUSE_POSIX_LOCKS, self.second.is_some());
        features.set(InitFlags::FUSE_WRITEBACK_CACHE, self.writeback_cache);
        features.set(
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            self.direct_io_mmap || self.direct_io() == DirectIo::All,
        );
        features
    }

    /// Whether an open with these flags is answered with FOPEN_DIRECT_IO.
    pub fn is_direct(&self, flags: i32) -> bool {
        match self.direct_io() {
            DirectIo::None => false,
            DirectIo::All => true,
            DirectIo::Rdonly => {
                flags & libc::O_ACCMODE == libc::O_RDONLY && flags & libc::O_SYNC != libc::O_SYNC
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::parse_from(["tearfs"].iter().chain(arguments).chain(&["/"]))
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn the_words_of_modes_are_those_of_the_command_line() {
        for mode in Mode::value_variants() {
            let value = mode.to_possible_value().expect("no mode is hidden");
            assert_eq!(value.get_name(), mode.word());
            assert_eq!(parse(&["--mode", mode.word()]).mode, *mode);
        }
        for coherence in Coherence::value_variants() {
            let value = coherence.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), coherence.word());
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(parse(&[]).check(), Ok(()));
        for bad in [
            &["--window", "1000"],
            &["--window", "0"],
            &["--pages-per-fsync", "0"],
            &["--every", "0"],
            &["--probability", "1.5"],
            &["--probability", "NaN"],
            &["--glob", "[a"],
        ] {
            assert!(parse(bad).check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_plain_read_only_opens_are_direct_by_default() {
        let options = parse(&[]);
        assert!(options.is_direct(libc::O_RDONLY | libc::O_DIRECT | libc::O_CLOEXEC));
        assert!(!options.is_direct(libc::O_RDONLY | libc::O_SYNC));
        assert!(!options.is_direct(libc::O_RDWR));
        assert!(parse(&["--direct-io", "all"]).is_direct(libc::O_RDWR));
        assert!(!parse(&["--direct-io", "none"]).is_direct(libc::O_RDONLY));
        assert!(!parse(&["--mode", "twin-inode"]).is_direct(libc::O_RDONLY));
    }

    #[test]
    fn two_clients_are_about_page_caches() {
        let options = parse(&["--second", "/proc", "--coherence", "attribute-cache"]);
        assert!(!options.is_direct(libc::O_RDONLY));
        assert!(options.keeps_cache());
        assert_eq!(options.ttl(), Duration::from_millis(300));
        let features = options.kernel_features();
        assert!(features.contains(InitFlags::FUSE_AUTO_INVAL_DATA | InitFlags::FUSE_POSIX_LOCKS));
        assert!(!parse(&["--second", "/proc", "--coherence", "close-to-open"]).keeps_cache());
        assert!(
            !parse(&[])
                .kernel_features()
                .contains(InitFlags::FUSE_POSIX_LOCKS)
        );
        assert!(Options::try_parse_from(["tearfs", "--coherence", "coherent", "/"]).is_err());
    }

    #[test]
    fn a_glob_limits_the_files() {
        let options = parse(&["--glob", "*.db"]);
        assert!(options.concerns(b"/dir/a.db"));
        assert!(!options.concerns(b"/dir/a.log"));
        assert!(parse(&[]).concerns(b"/x"));
    }
}
