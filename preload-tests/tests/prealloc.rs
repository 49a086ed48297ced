//! `KEEPMYDATA_PREALLOC=on`: the holes of a mapping have blocks before anything is stored into them.
//!
//! The guest maps a file that is one hole, and another file takes all the space that is left, before
//! the mapping or after it. Natively the program then dies at its first store.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use preload_tests::harness::{LoopFs, Outcome, Program, StackedFs, TearFs, kernel};
use preload_tests::{or_skip, page_size, skip};
use serde_json::Value;

/// Few enough for btrfs, which takes milliseconds for each first store where it is full.
const PAGES: u64 = 32;

fn page() -> u64 {
    page_size() as u64
}

/// The guest, on a filesystem that is small enough to be filled up quickly.
struct Case {
    file: PathBuf,
    ballast: PathBuf,
}

impl Case {
    fn on(mount: &Path) -> Self {
        Self {
            file: mount.join("f"),
            ballast: mount.join("ballast"),
        }
    }

    /// As new, with the ballast `before` or `after` the mmap, and `rounds` of store and sync.
    fn guest(&self, when: &str, rounds: u32) -> Program {
        for file in [&self.file, &self.ballast] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            }
        }
        Program::guest("holes")
            .arg(&self.file)
            .arg(PAGES.to_string())
            .arg(&self.ballast)
            .args([when.to_owned(), rounds.to_string()])
    }

    fn preallocated(&self, when: &str, rounds: u32, settings: &[(&str, &str)]) -> Outcome {
        let prealloc = [("KEEPMYDATA_PREALLOC", "on"), ("KEEPMYDATA_LOG", "debug")];
        self.guest(when, rounds)
            .under_shim(&[&prealloc, settings].concat())
    }
}

fn dies_of_sigbus(run: &Outcome, what: &str) {
    assert_eq!(run.signal(), Some(libc::SIGBUS), "{what}: {run:?}");
}

/// Everything was stored, synced and is there; the blocks were there at mmap.
fn all_is_well(run: &Outcome, rounds: u32) {
    let (first, rest) = run.stdout.split_once('\n').expect("lines");
    let size = PAGES * page();
    let blocks = first.strip_prefix(&format!("size {size} blocks "));
    let blocks: u64 = blocks.and_then(|n| n.parse().ok()).expect("blocks");
    assert!(blocks * 512 >= size, "{run:?}");
    let synced = "msync 0\n".repeat(rounds as usize);
    assert_eq!(rest, format!("{synced}lost 0 of {PAGES} pages\n"));
}

fn prealloc_records(run: &Outcome) -> Vec<Value> {
    run.records().of("prealloc").cloned().collect()
}

/// The space is there at mmap, and gone at the first store.
fn survives_on(kind: &str, options: &[&str]) {
    let fs = or_skip!(LoopFs::mount_sized(kind, 320, options));
    let rounds = 3;
    let case = Case::on(&fs.dir());
    dies_of_sigbus(&case.guest("after", rounds).natively(), "natively");
    let off = [("KEEPMYDATA_PREALLOC", "off")];
    dies_of_sigbus(&case.guest("after", rounds).under_shim(&off), "off");
    let watched = case.preallocated("after", rounds, &[("KEEPMYDATA_ENFORCE", "off")]);
    dies_of_sigbus(&watched, "nothing is done where msync is only watched");
    let excluded = case.preallocated("after", rounds, &[("KEEPMYDATA_FILES", "!f")]);
    dies_of_sigbus(&excluded, "an excluded file is left alone");

    for verify in ["off", "on"] {
        let on = case.preallocated("after", rounds, &[("KEEPMYDATA_VERIFY", verify)]);
        all_is_well(&on.expect_success(kind), rounds);
    }

    no_space_is_told(&case, kind);
}

/// Where the space is not there at mmap, mmap does what it does natively, and the log says ENOSPC.
fn no_space_is_told(case: &Case, kind: &str) {
    let native = case.guest("before", 1).natively();
    dies_of_sigbus(&native, "natively");
    for level in ["warn", "info"] {
        let on = case.preallocated("before", 1, &[("KEEPMYDATA_LOG", level)]);
        dies_of_sigbus(&on, kind);
        let mapped = |run: &Outcome| run.stdout.starts_with(&format!("size {} ", PAGES * page()));
        assert!(mapped(&native) && mapped(&on), "{native:?}{on:?}");
        let records = prealloc_records(&on);
        let [record] = &records[..] else {
            panic!("{kind}: {records:?}")
        };
        assert_eq!(record["level"], "warn", "{record}");
        assert_eq!(record["errno"], "ENOSPC", "{record}");
        assert_eq!(record["path"], case.file.to_str().expect("UTF-8"));
        assert_eq!(record["offset"], 0, "{record}");
    }
}

#[test]
fn a_full_ext4() {
    survives_on("ext4", &[]);
}

#[test]
fn a_full_xfs() {
    survives_on("xfs", &[]);
}

/// Where it does not copy on write.
#[test]
fn a_full_btrfs() {
    if !kernel::is_at_least(6, 18) {
        skip!("btrfs wants space for each store to a mapping on Linux 6.1; tried on 6.18");
    }
    survives_on("btrfs", &["nodatacow"]);
}

/// What is stored again goes elsewhere, and has no blocks there (docs/settings.md).
#[test]
fn a_full_btrfs_with_copy_on_write() {
    let fs = or_skip!(LoopFs::mount_sized("btrfs", 320, &[]));
    let run = Case::on(&fs.dir()).preallocated("after", 2, &[]);
    dies_of_sigbus(&run, "at the latest in the second round");
    let synced = run.stdout.matches("msync 0\n").count();
    assert!(synced <= 1, "{run:?}");
}

/// What is mapped writable and shared, up to the end of the file, and nothing else. No size changes,
/// and no errno. `parts` says which pages have blocks after each step.
fn exactly_the_mapped_parts(kind: &str) {
    let fs = or_skip!(LoopFs::mount_sized(kind, 320, &[]));
    for reader in [false, true] {
        let run = |settings: Option<&[(&str, &str)]>| {
            let guest = Program::guest("parts").arg(fs.path("f"));
            let guest = if reader { guest.arg("reader") } else { guest };
            let run = match settings {
                Some(settings) => guest.under_shim(settings),
                None => guest.natively(),
            };
            run.expect_success(kind)
        };
        let expected = |pages: [&str; 7]| {
            let steps = [
                "read only",
                "private",
                "shared",
                "beyond the end",
                "unlinked and grown",
                "mapped twice",
                "by a child",
            ];
            let line = |(step, pages)| format!("{step}: size 65636 pages{pages}\n");
            let lines = steps.iter().zip(pages).map(line);
            lines.skip(usize::from(!reader)).collect::<String>()
        };
        let native = expected(["", "", "", "", " 7-7", " 7-7", " 7-7"]);
        assert_eq!(run(None).stdout, native, "{kind}");
        let off = run(Some(&[("KEEPMYDATA_LOG", "info")]));
        assert_eq!(off.stdout, native, "{kind}");
        let on = run(Some(&[
            ("KEEPMYDATA_PREALLOC", "on"),
            ("KEEPMYDATA_LOG", "warn"),
        ]));
        let shimmed = expected([
            "",
            "",
            " 2-3",
            " 2-3 15-16",
            " 2-5 7-7 15-16",
            " 2-7 15-16",
            " 2-9 15-16",
        ]);
        assert_eq!(on.stdout, shimmed, "{kind}: {}", on.log_text());
        assert_eq!(on.log_text(), "", "{kind}");
    }
}

#[test]
fn exactly_the_mapped_parts_on_ext4() {
    exactly_the_mapped_parts("ext4");
}

#[test]
fn exactly_the_mapped_parts_on_xfs() {
    exactly_the_mapped_parts("xfs");
}

#[test]
fn exactly_the_mapped_parts_on_btrfs() {
    exactly_the_mapped_parts("btrfs");
}

/// The file is the same afterwards, but for its blocks.
#[test]
fn only_the_blocks_differ() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let left_by = |name: &str, settings: Option<&[(&str, &str)]>| {
        let file = fs.path(name);
        let guest = Program::guest("findings/l11").arg(&file);
        let run = match settings {
            Some(settings) => guest.under_shim(settings),
            None => guest.natively(),
        };
        run.expect_success(name);
        let bytes = std::fs::read(&file).expect("the file");
        (bytes, std::fs::metadata(&file).expect("the file").blocks())
    };
    let (native, few) = left_by("native", None);
    assert_eq!(native.len() as u64, 2 * page());
    let (off, still_few) = left_by("off", Some(&[]));
    let (on, more) = left_by("on", Some(&[("KEEPMYDATA_PREALLOC", "on")]));
    assert!(native == off && native == on);
    assert_eq!(few, still_few);
    assert_eq!((more - few) * 512, page());
}

/// FUSE: a daemon that knows of holes and allocates them, and one that does neither, which is said.
#[test]
fn fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let case = Case::on(&fs.dir());
    let guest = Program::guest("findings/l11").arg(&case.file);
    let on = [("KEEPMYDATA_PREALLOC", "on"), ("KEEPMYDATA_LOG", "debug")];
    let run = guest.under_shim(&on).expect_success("tearfs");
    let records = prealloc_records(&run);
    assert_eq!(records.len(), 1, "{}", run.log_text());
    let message = format!("{} bytes of holes allocated", 2 * page());
    assert_eq!(records[0]["message"], message);

    let fs = or_skip!(StackedFs::mount("bindfs"));
    let guest = Program::guest("findings/l11").arg(fs.dir().join("f"));
    let native = guest.natively().expect_success("natively");
    let run = guest.under_shim(&on);
    assert_eq!(run.result(), native.result());
    let records = prealloc_records(&run);
    assert_eq!(records.len(), 1, "{}", run.log_text());
    assert_eq!(records[0]["errno"], "EOPNOTSUPP");
}
