//! A full disk: after a failed msync no later one returns 0 with a page lost, and the program's
//! own fsync still reports the error.
//!
//! A filesystem in an image on a tmpfs that is full: it believes that it has room, and the block device
//! below it has not. The image has holes where the file lies and, on ext4, wherever nothing is yet.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use preload_tests::harness::strace::{done_to, has_strace};
use preload_tests::harness::{
    EXT4_WITHOUT_JOURNAL, Outcome, Program, Scratch, StackedFs, installed, kernel, run_on,
};
use preload_tests::or_skip;

/// Of the filesystems, which have blocks of this size on any machine.
const BLOCK: usize = 4096;
const FILE_SIZE: usize = 8 << 20;
/// What the file is full of at first.
const OLD: u8 = b'o';
/// What fills all room that is free again when the file is there.
const FREED: u8 = b'f';

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The file has its blocks, and the image has holes where they lie.
    Overwrite,
    /// The file is one hole: blocks are allocated at writeback.
    Fresh,
    /// What is written is compressed, and lies elsewhere: the image has holes where nothing lies.
    Compressed,
}

impl Kind {
    /// What the first msync still finds room for, bytes.
    fn room(self) -> u64 {
        match self {
            // Pages of one byte become small.
            Kind::Compressed => 128 << 10,
            _ => 2 << 20,
        }
    }

    fn options(self) -> &'static str {
        match self {
            Kind::Compressed => "loop,compress-force=zstd",
            _ => "loop",
        }
    }
}

/// How the filesystem in the image is made.
struct Make {
    name: &'static str,
    /// Of mkfs, before the path.
    arguments: &'static [&'static str],
    /// MiB.
    image: u64,
    /// Whether the image has its blocks from the beginning: only the file's own data must meet the
    /// full disk, and these have a journal, and write elsewhere what they change.
    whole: bool,
}

const EXT4: Make = Make {
    name: "ext4",
    // No journal: see `whole`.
    arguments: EXT4_WITHOUT_JOURNAL,
    image: 64,
    whole: false,
};

const XFS: Make = Make {
    name: "xfs",
    arguments: &["-q", "-K"],
    image: 300,
    whole: true,
};

const BTRFS: Make = Make {
    name: "btrfs",
    arguments: &["-q", "-K", "-m", "single", "-d", "single"],
    image: 128,
    whole: true,
};

/// A file on a filesystem on a tmpfs that is full but for [`Kind::room`]. Unmounted by the scratch
/// directory.
struct FullDisk {
    scratch: Scratch,
}

impl FullDisk {
    /// # Errors
    /// Why this machine has no such thing (to skip the test).
    fn new(make: &Make, kind: Kind) -> Result<Self, String> {
        let mkfs = format!("mkfs.{}", make.name);
        installed(&mkfs)?;
        let disk = Self {
            scratch: Scratch::new(),
        };
        let below = disk.scratch.path("below");
        let mount = disk.scratch.path("mount");
        fs::create_dir(&below).expect("mount point");
        fs::create_dir(&mount).expect("mount point");
        let size = format!("size={}m", if make.whole { make.image + 32 } else { 32 });
        run_on("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &below)?;
        let image = below.join("image");
        let length = make.image << 20;
        match make.whole {
            true => run_on("fallocate", &["-l", &length.to_string()], &image).map(drop)?,
            false => File::create(&image)
                .and_then(|file| file.set_len(length))
                .expect("image"),
        }
        run_on(&mkfs, make.arguments, &image)?;
        let from = image.to_str().expect("path");
        let options = ["-t", make.name, "-o", kind.options(), from];
        run_on("mount", &options, &mount)?;
        disk.make_file(kind, &image)?;
        disk.fill_up(kind);
        Ok(disk)
    }

    fn file(&self) -> PathBuf {
        self.scratch.path("mount").join("f")
    }

    fn ballast(&self) -> PathBuf {
        self.scratch.path("below").join("ballast")
    }

    fn make_file(&self, kind: Kind, image: &Path) -> Result<(), String> {
        let mut file = File::create(self.file()).expect("file");
        if kind != Kind::Compressed {
            // btrfs writes an overwritten block in its place only if asked to; others do not know this.
            let _ = run_on("chattr", &["+C"], &self.file());
        }
        file.set_len(FILE_SIZE as u64).expect("file");
        if kind != Kind::Fresh {
            file.write_all(&vec![OLD; FILE_SIZE]).expect("file");
        }
        file.sync_all().expect("file");
        match kind {
            Kind::Overwrite => {
                // Past the page cache of the device.
                rustix::fs::sync();
                let pages = punch_out(image, OLD)?;
                assert_eq!(pages, FILE_SIZE / BLOCK, "pages of the file");
            }
            Kind::Fresh => {}
            Kind::Compressed => {
                self.use_all_room_once();
                punch_out(image, FREED)?;
            }
        }
        Ok(())
    }

    /// Fills the filesystem with a file, uncompressed, that is unlinked again.
    fn use_all_room_once(&self) {
        let path = self.scratch.path("mount").join("filler");
        let mut filler = File::create(&path).expect("filler");
        run_on("chattr", &["+C"], &path).expect("a file that is not compressed");
        while filler.write_all(&[FREED; 1 << 16]).is_ok() && filler.sync_data().is_ok() {}
        drop(filler);
        rustix::fs::sync();
        fs::remove_file(&path).expect("filler");
        rustix::fs::sync();
    }

    fn fill_up(&self, kind: Kind) {
        let below = rustix::fs::statvfs(self.scratch.path("below")).expect("statvfs");
        let free = below.f_bavail * below.f_frsize;
        let mut ballast = File::create(self.ballast()).expect("ballast");
        let bytes = vec![b'b'; usize::try_from(free - kind.room()).expect("size")];
        ballast.write_all(&bytes).expect("ballast");
    }
}

/// Makes holes of the image's pages that are full of `byte`, and says how many there were.
fn punch_out(image: &Path, byte: u8) -> Result<usize, String> {
    let bytes = fs::read(image).expect("image");
    let is_full = |n: &usize| bytes[n * BLOCK..(n + 1) * BLOCK] == [byte; BLOCK];
    let pages: Vec<usize> = (0..bytes.len() / BLOCK).filter(is_full).collect();
    for run_of in pages.chunk_by(|a, b| a + 1 == *b) {
        let start = (run_of[0] * BLOCK).to_string();
        let len = (run_of.len() * BLOCK).to_string();
        let hole = ["--punch-hole", "--offset", &start, "--length", &len];
        run_on("fallocate", &hole, image)?;
    }
    Ok(pages.len())
}

/// What the guest said.
#[derive(Debug, Default)]
struct Story {
    /// The errno of each msync.
    msyncs: Vec<String>,
    /// Of the msync for which there was room, before all others.
    room: String,
    /// Of the fsync through the second descriptor, after the first msync.
    fsync: String,
    /// Of the fsync through the descriptor that is mapped, after the last.
    own: Option<String>,
    /// Pages that are not on the disk although an msync returned 0.
    lost: Option<u64>,
}

fn tell(outcome: &Outcome) -> Story {
    assert_eq!(outcome.code(), Some(0), "{outcome:?}");
    let mut story = Story::default();
    for line in outcome.stdout.lines() {
        match line.split_once(' ') {
            Some(("msync", errno)) => story.msyncs.push(errno.to_owned()),
            Some(("room", errno)) => story.room = errno.to_owned(),
            Some(("fsync", errno)) => story.fsync = errno.to_owned(),
            Some(("own", errno)) => story.own = Some(errno.to_owned()),
            Some(("lost", rest)) => {
                story.lost = rest.split(' ').next().and_then(|n| n.parse().ok());
            }
            _ => panic!("not understood: {line}"),
        }
    }
    story
}

fn guest(disk: &FullDisk) -> Program {
    Program::guest("enospc")
        .arg(disk.file())
        .arg(disk.ballast())
}

fn check(make: &Make, kind: Kind) {
    let disk = or_skip!(FullDisk::new(make, kind));
    let native = tell(&guest(&disk).natively());
    println!("{} {kind:?} natively: {native:?}", make.name);
    assert_eq!(native.room, "0", "{native:?}");
    assert_ne!(native.msyncs[0], "0", "the disk is not full: {native:?}");
    assert_eq!(native.msyncs[1], "0", "{native:?}");
    assert!(
        native.lost > Some(0),
        "negative control: nothing is lost natively: {native:?}"
    );
    drop(disk);

    let deadline = ("KEEPMYDATA_DEADLINE_MS", "200");
    for settings in [
        &[deadline][..],
        &[deadline, ("KEEPMYDATA_VERIFY", "on")],
        &[
            deadline,
            ("KEEPMYDATA_VERIFY", "off"),
            ("KEEPMYDATA_INVALIDATE", "off"),
        ],
    ] {
        let disk = or_skip!(FullDisk::new(make, kind));
        let run = guest(&disk).under_shim(settings);
        let shimmed = tell(&run);
        println!("{kind:?} under the shim {settings:?}: {shimmed:?}");
        assert_ne!(shimmed.msyncs[0], "0", "{shimmed:?}");
        // None at all where no msync returned 0.
        assert!(
            shimmed.lost.is_none_or(|pages| pages == 0),
            "{settings:?}: msync returned 0 with pages lost: {shimmed:?}\n{run:?}"
        );
        // Where every cached page is verified, so are those that the image lost below the filesystem.
        if kernel::page_tracking().is_ok() || !settings.contains(&("KEEPMYDATA_VERIFY", "on")) {
            assert_eq!(shimmed.room, "0", "{shimmed:?}");
        }
        if shimmed.own.is_some() {
            assert_eq!(shimmed.own, native.own, "an error that msync told: {run:?}");
        }
        // btrfs sets two errors, and the last one set is told.
        let told = |story: &Story| match make.name {
            "btrfs" => (story.fsync != "0").to_string(),
            _ => story.fsync.clone(),
        };
        assert_eq!(
            told(&shimmed),
            told(&native),
            "{settings:?}: the program's own fsync: natively {native:?}, here {shimmed:?}"
        );
    }
}

#[test]
fn overwritten_pages_are_never_acknowledged_and_lost() {
    check(&EXT4, Kind::Overwrite);
}

#[test]
fn fresh_extents_are_never_acknowledged_and_lost() {
    check(&EXT4, Kind::Fresh);
}

/// A direct read first has the kernel write what is dirty there, and fails if it cannot; unless it has tried that just before
/// by itself.
fn without_luck(call: String) -> String {
    let read = call.strip_prefix("pread64(").and_then(|call| {
        let (file, rest) = call.split_once(", ")?;
        let (_data, rest) = rest.split_once(", ")?;
        let (place, _result) = rest.split_once(") = ")?;
        Some(format!("pread64({file}, {place})"))
    });
    read.unwrap_or(call)
}

/// What a failed flush has not written is made dirty again in the same way, whoever wants to know which pages that is.
#[test]
fn the_log_changes_nothing_after_a_failure() {
    or_skip!(has_strace());
    let done = |level| {
        let disk = FullDisk::new(&EXT4, Kind::Overwrite)?;
        let log = disk.scratch.path("trace");
        let settings = [("KEEPMYDATA_LOG", level)];
        let (calls, outcome) = done_to(&guest(&disk), &disk.file(), &log, &settings);
        let root = disk.scratch.path("");
        let root = root.to_str().expect("path");
        let calls = calls.iter().map(|call| call.replace(root, ""));
        let calls: Vec<_> = calls.map(without_luck).collect();
        Ok::<_, String>((calls, outcome.stdout))
    };
    let (silent, told) = or_skip!(done("off"));
    assert!(
        silent
            .iter()
            .any(|call| call.starts_with("fdatasync(") && call.contains("ENOSPC")),
        "control: a flush fails: {silent:#?}"
    );
    for level in ["info", "debug"] {
        let logged = or_skip!(done(level));
        assert_eq!(
            logged,
            (silent.clone(), told.clone()),
            "at {level}, and off"
        );
    }
}

/// It keeps what it cannot write: with nothing to verify, dirty ranges are not asked for before the flush.
#[test]
fn overwritten_pages_on_xfs_are_never_acknowledged_and_lost() {
    check(&XFS, Kind::Overwrite);
}

#[test]
fn overwritten_pages_on_btrfs_are_never_acknowledged_and_lost() {
    check(&BTRFS, Kind::Overwrite);
}

/// What btrfs compresses is read through the page cache, whatever is asked for: it cannot be told what was
/// not written, so all of it is written again.
#[test]
fn compressed_pages_on_btrfs_are_never_acknowledged_and_lost() {
    check(&BTRFS, Kind::Compressed);
}

/// A daemon whose WRITE fails, on a full ext4.
fn full_bindfs() -> Result<(StackedFs, Program), String> {
    let fs = StackedFs::mount("bindfs")?;
    let path = |name| fs.dir().join(name);
    File::create(path("f"))
        .and_then(|file| file.set_len(FILE_SIZE as u64))
        .expect("file");
    let mut ballast = File::create(path("ballast")).expect("ballast");
    let piece = vec![b'b'; 1 << 20];
    while ballast.write_all(&piece).is_ok() {}
    let guest = Program::guest("enospc").arg(path("f")).arg(path("ballast"));
    Ok((fs, guest))
}

/// The errno is that of the write that failed, also where the pages were read back since.
#[test]
fn a_full_disk_below_fuse_is_told_as_such() {
    let (fs, guest) = or_skip!(full_bindfs());
    let native = tell(&guest.natively());
    // Some kernels tell the error twice.
    let ends = |story: &Story| [story.msyncs.first().cloned(), story.msyncs.last().cloned()];
    let expected = [Some("ENOSPC".to_owned()), Some("0".to_owned())];
    assert_eq!(ends(&native), expected, "{native:?}");
    assert!(native.lost > Some(0), "negative control: {native:?}");
    drop(fs);
    let (_fs, guest) = or_skip!(full_bindfs());
    let run = guest.under_shim(&[
        ("KEEPMYDATA_DEADLINE_MS", "200"),
        ("KEEPMYDATA_LOG", "info"),
    ]);
    let shimmed = tell(&run);
    assert_eq!(ends(&shimmed), expected, "{}", run.log_text());
    assert_eq!(shimmed.lost, Some(0), "{}", run.log_text());
    assert_eq!(shimmed.fsync, native.fsync, "{}", run.log_text());
}
