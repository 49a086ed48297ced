//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures what msync costs under keepmydata, side by side with what people do without it.
///
/// Every contender runs in a process of its own, on a file of its own, and they take turns round
/// by round, so that whatever else the machine does hits all of them alike. A ratio is that of two
/// contenders in the same round; its minimum, median and maximum over all rounds are printed.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench", max_term_width = 100, after_long_help = AFTER)]
pub struct Options {
    /// Fewer rounds and smaller files: figures to get an idea from, in about two minutes.
    #[arg(long)]
    pub quick: bool,

    /// Only this case; may be given several times. The rows of a case may be on several
    /// filesystems.
    #[arg(long, value_enum, value_name = "CASE")]
    pub case: Vec<CaseName>,

    /// Only this filesystem; may be given several times.
    #[arg(long, value_enum, value_name = "FS")]
    pub fs: Vec<FsName>,

    /// Write the results to FILE as JSON too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write what documentation is made of into DIR, which is made if need be: bench.md and the plots.
    #[arg(long, value_name = "DIR")]
    pub docs: Option<PathBuf>,

    /// Compare with an older build of the library instead: each contender that is preloaded beside the
    /// same one with LIBRARY. The goal is at most 1.10 x of it.
    #[arg(long, value_name = "LIBRARY", conflicts_with = "docs")]
    pub before: Option<PathBuf>,

    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const AFTER: &str = "\
Needs root for the filesystems in image files, and FUSE. What cannot be had is named and left
out. The image files lie in the temporary directory (TMPDIR), 4 GB at the most at a time.

scripts/bench --programs: tables of real programs, of large mappings and of memory instead, on the
fastest disks there are; scripts/bench --programs --help says more.

exit code: 0 every goal that was measured is reached, 1 one is not, 2 bad usage, 3 something could
not be measured";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CaseName {
    /// 16 scattered dirty pages in 256 MiB; and then every page of the mapping is read again.
    Sparse,
    /// 4 dirty pages, read back and compared.
    Verify,
    /// Every page of 256 MiB dirty.
    Full,
    /// The shim beside the supervisor: 0 to 4,096 dirty pages of 64 MiB, read back and compared.
    Reach,
    /// 8 threads that sync a page of their own each.
    Threads,
    /// LMDB with MDB_WRITEMAP, 10,000 commits.
    Lmdb,
    /// One mapping more, beside up to 100,000.
    Mappings,
    /// Cost against the number of dirty pages.
    DirtyPages,
    /// Cost against the size of the file.
    FileSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum FsName {
    Ext4,
    Xfs,
    Btrfs,
    Fuse,
}

impl FsName {
    pub const ALL: [FsName; 4] = [FsName::Ext4, FsName::Fuse, FsName::Xfs, FsName::Btrfs];

    pub fn name(self) -> &'static str {
        match self {
            FsName::Ext4 => "ext4",
            FsName::Xfs => "xfs",
            FsName::Btrfs => "btrfs",
            FsName::Fuse => "fuse",
        }
    }
}

impl Options {
    pub fn wants_case(&self, case: CaseName) -> bool {
        self.case.is_empty() || self.case.contains(&case)
    }

    pub fn wants_fs(&self, fs: FsName) -> bool {
        self.fs.is_empty() || self.fs.contains(&fs)
    }
}
