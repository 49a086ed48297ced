//! The test bed itself: each mode's disease is there for an unmodified program to see,
//! natively, and the control channel tells what the backend really holds.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use clap::ValueEnum;
use preload_tests::harness::{Program, TearFs, kernel, seconds};
use preload_tests::tearfs::modes::Mode;
use preload_tests::{or_skip, page_size};
use serde_json::json;

/// The pages of the seed case: the first, and where they begin.
const P0: u64 = 1084;

fn p0_at() -> u64 {
    P0 * page_size() as u64
}

/// A byte of the store in each of the pages, from where the first begins.
fn inside() -> [usize; 4] {
    let page = page_size();
    [page - 1096, page, 2 * page, 3 * page]
}

/// A letter a page, as the seed guest tells them: `n` for new, `o` for old.
fn letters(stdout: &str) -> String {
    let words = stdout.lines().filter_map(|line| line.rsplit(' ').next());
    words.map(|word| &word[..1]).collect()
}

/// Runs the seed case natively; what its reader saw.
fn seed(fs: &TearFs) -> String {
    let run = Program::guest("seed").arg(fs.path("f")).natively();
    match run.code() {
        Some(0 | 1) => letters(&run.stdout),
        Some(3) => run.stdout.trim().to_owned(),
        _ => panic!("{run:?}"),
    }
}

/// The pages of the seed case as the control channel shows them: a byte in the middle of
/// what was stored in each says which it is.
fn shown(fs: &TearFs, view: &str) -> String {
    let byte = |at| {
        let answer = fs.control(json!({"op": view, "path": "/f", "offset": at, "len": 1}));
        u8::from_str_radix(answer["data"].as_str().expect("data"), 16).expect("hex")
    };
    inside()
        .map(|at| {
            if byte(p0_at() + at as u64).is_ascii_uppercase() {
                'n'
            } else {
                'o'
            }
        })
        .iter()
        .collect()
}

/// What a new reader of the mount gets.
fn read_afresh(fs: &TearFs) -> String {
    let file = File::open(fs.path("f")).expect("open");
    let mut pages = vec![0; 4 * page_size()];
    file.read_exact_at(&mut pages, p0_at()).expect("read");
    let byte = |at: usize| {
        if pages[at].is_ascii_uppercase() {
            'n'
        } else {
            'o'
        }
    };
    inside().map(byte).iter().collect()
}

fn actions(fs: &TearFs, action: &str) -> u64 {
    fs.control(json!({"op": "stats"}))["actions"][action]
        .as_u64()
        .unwrap_or(0)
}

/// An argument that stands for the size of a page.
const ONE_PAGE: &str = "PAGE";

/// What a mode shows of the seed case: to its reader, and by the control channel.
struct Disease {
    arguments: &'static [&'static str],
    read: &'static str,
    /// What READ is served from, what it finally will be, what a power cut leaves.
    seen: &'static str,
    finally: &'static str,
    stable: &'static str,
    /// Pages held, counted from P0.
    held: &'static [u64],
    /// What a new reader gets once all that is pending by time is done.
    settled: &'static str,
    /// An action that must have been counted.
    action: &'static str,
}

const HONEST: Disease = Disease {
    arguments: &["--mode", "honest"],
    read: "nnnn",
    seen: "nnnn",
    finally: "nnnn",
    stable: "nnnn",
    held: &[],
    settled: "nnnn",
    action: "honest: applied",
};

const LOST: Disease = Disease {
    read: "oooo",
    seen: "oooo",
    finally: "oooo",
    stable: "oooo",
    settled: "oooo",
    ..HONEST
};

const FIRST_PAGE_ONLY: Disease = Disease {
    read: "nooo",
    seen: "nooo",
    stable: "nooo",
    held: &[1, 2, 3],
    settled: "nooo",
    ..HONEST
};

const DISEASES: &[Disease] = &[
    HONEST,
    Disease {
        arguments: &["--mode", "volatile"],
        action: "volatile: committed",
        ..HONEST
    },
    Disease {
        arguments: &["--mode", "first-page"],
        action: "first-page: applied in part",
        ..FIRST_PAGE_ONLY
    },
    Disease {
        arguments: &["--mode", "one-page"],
        action: "one-page: applied in part",
        ..FIRST_PAGE_ONLY
    },
    Disease {
        arguments: &["--mode", "one-page", "--pages-per-fsync", "3"],
        read: "nnno",
        seen: "nnno",
        stable: "nnno",
        held: &[3],
        settled: "nnno",
        action: "one-page: applied in part",
        ..HONEST
    },
    Disease {
        arguments: &["--mode", "stale-window", "--delay-ms", "3000"],
        read: "oooo",
        action: "stale-window: stale window served",
        ..HONEST
    },
    Disease {
        // Of the three windows of a page that the seed's reader has cached by then.
        arguments: &[
            "--mode",
            "stale-window",
            "--delay-ms",
            "0",
            "--window",
            ONE_PAGE,
        ],
        read: "oooo",
        settled: "oooo",
        action: "stale-window: stale window served",
        ..HONEST
    },
    Disease {
        arguments: &["--mode", "early-ack", "--delay-ms", "3000"],
        read: "oooo",
        seen: "oooo",
        stable: "oooo",
        held: &[0, 1, 2, 3],
        action: "early-ack: delayed",
        ..HONEST
    },
    Disease {
        arguments: &["--mode", "drop-tail"],
        read: "nooo",
        seen: "nooo",
        finally: "nooo",
        stable: "nooo",
        settled: "nooo",
        action: "drop-tail: tail dropped",
        ..HONEST
    },
    Disease {
        arguments: &["--mode", "lossy-first"],
        action: "lossy-first: dropped",
        ..LOST
    },
    Disease {
        arguments: &["--mode", "reorder", "--delay-ms", "3000"],
        finally: "oooo",
        held: &[0, 1, 2, 3],
        settled: "oooo",
        action: "reorder: older content follows",
        ..HONEST
    },
    Disease {
        arguments: &["--mode", "eio-once"],
        read: "msync EIO",
        action: "eio-once: failed and dropped",
        ..LOST
    },
    Disease {
        arguments: &["--mode", "silent-eio"],
        action: "silent-eio: error told",
        ..LOST
    },
    Disease {
        arguments: &["--mode", "black-hole"],
        action: "black-hole: dropped",
        ..LOST
    },
    Disease {
        arguments: &["--mode", "twin-inode", "--keep-cache"],
        read: "oooo",
        action: "twin-inode: applied",
        ..HONEST
    },
];

/// And has its rows in docs/testbed.md.
#[test]
fn each_mode_is_among_the_diseases() {
    let text = include_str!("../../docs/testbed.md");
    let (modes, seen) = text.split_once("## Who sees the damage").unwrap();
    for mode in Mode::value_variants() {
        let word = mode.word();
        let is_listed = |disease: &Disease| disease.arguments.starts_with(&["--mode", word]);
        assert!(DISEASES.iter().any(is_listed), "{word} is not in DISEASES");
        assert!(modes.contains(&format!("\n| {word} | ")), "{word}");
        let rows = seen.lines().filter_map(|line| line.strip_prefix("| "));
        let mut first = rows.filter_map(|row| row.split(" | ").next());
        let is_seen = first.any(|names| names.split(", ").any(|name| name == word));
        assert!(is_seen, "{word} is not under \"Who sees the damage\"");
    }
}

#[test]
fn each_mode_shows_its_disease_and_control_tells_the_truth() {
    or_skip!(TearFs::available());
    for disease in DISEASES {
        let what = disease.arguments;
        let page = page_size().to_string();
        let arguments = what.iter().map(|argument| match *argument {
            ONE_PAGE => page.as_str(),
            argument => argument,
        });
        let fs = TearFs::mount(&arguments.collect::<Vec<_>>());
        assert_eq!(seed(&fs), disease.read, "{what:?}: the seed's reader");
        assert_eq!(shown(&fs, "seen"), disease.seen, "{what:?}: seen");
        assert_eq!(shown(&fs, "read"), disease.finally, "{what:?}: finally");
        assert_eq!(shown(&fs, "stable"), disease.stable, "{what:?}: stable");
        let held = fs.control(json!({"op": "held", "path": "/f"}));
        let pages: Vec<u64> = disease.held.iter().map(|page| P0 + page).collect();
        assert_eq!(held["pages"], json!(pages), "{what:?}: held");
        assert!(
            actions(&fs, disease.action) > 0,
            "{what:?}: {}",
            disease.action
        );
        fs.control(json!({"op": "settle"}));
        // The twins' reader has a page cache that nothing here invalidates.
        if !disease.arguments.contains(&"--keep-cache") {
            assert_eq!(read_afresh(&fs), disease.settled, "{what:?}: settled");
        }
    }
}

#[test]
fn which_open_flags_show_the_tear() {
    or_skip!(TearFs::available());
    for (arguments, read) in [
        // A page cache that still holds the good copy hides it.
        (&["--direct-io", "none", "--keep-cache"][..], "nnnn"),
        (
            &["--direct-io", "none", "--keep-cache", "--auto-inval"],
            "nnnn",
        ),
        // A reader's open drops that page cache, or goes past it.
        (&["--direct-io", "none"], "nooo"),
        (&["--direct-io", "none", "--auto-inval"], "nooo"),
        (&["--direct-io", "rdonly", "--keep-cache"], "nooo"),
        (
            &["--direct-io", "rdonly", "--keep-cache", "--auto-inval"],
            "nooo",
        ),
        (&["--direct-io", "rdonly", "--direct-io-mmap"], "nooo"),
        (&["--direct-io", "all"], "nooo"),
    ] {
        // FUSE_DIRECT_IO_ALLOW_MMAP
        let needed = ["all", "--direct-io-mmap"]
            .iter()
            .any(|option| arguments.contains(option));
        if needed && !kernel::is_at_least(6, 6) {
            continue;
        }
        let fs = TearFs::mount(&[&["--mode", "first-page"], arguments].concat());
        assert_eq!(seed(&fs), read, "{arguments:?}");
        assert_eq!(
            shown(&fs, "seen"),
            "nooo",
            "{arguments:?}: the backend is torn anyway"
        );
    }
}

#[test]
fn a_second_fsync_applies_the_rest() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    seed(&fs);
    File::options()
        .write(true)
        .open(fs.path("f"))
        .and_then(|file| file.sync_all())
        .expect("fsync");
    assert_eq!(read_afresh(&fs), "nnnn");
    assert_eq!(shown(&fs, "stable"), "nnnn");
}

#[test]
fn the_doio_guest_fails_where_it_must_and_only_there() {
    or_skip!(TearFs::available());
    let doio = |fs: &TearFs, processes: &str| {
        Program::guest("doio")
            .args(["-n", processes, "-t", &seconds(2).to_string()])
            .arg(fs.path("d"))
            .natively()
            .code()
    };
    for mode in ["honest", "volatile"] {
        for flags in [
            &[][..],
            &["--keep-cache"],
            &["--auto-inval"],
            &["--writeback-cache"],
        ] {
            let fs = TearFs::mount(&[&["--mode", mode], flags].concat());
            assert_eq!(doio(&fs, "4"), Some(0), "{mode} {flags:?}");
        }
    }
    for mode in [
        "first-page",
        "stale-window",
        "early-ack",
        "drop-tail",
        "black-hole",
    ] {
        assert_eq!(
            doio(&TearFs::mount(&["--mode", mode]), "1"),
            Some(4),
            "{mode}"
        );
    }
}

#[test]
fn only_selected_files_and_occasions_are_hit() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole", "--glob", "*.db"]);
    assert_eq!(seed(&fs), "nnnn", "no file of the glob");

    let fs = TearFs::mount(&["--mode", "black-hole", "--first", "1"]);
    assert_eq!([seed(&fs), seed(&fs)], ["oooo", "nnnn"]);

    let fs = TearFs::mount(&["--mode", "first-page", "--every", "2"]);
    assert_eq!([seed(&fs), seed(&fs), seed(&fs)], ["nnnn", "nooo", "nnnn"]);

    let fs = TearFs::mount(&["--mode", "eio-once", "--first", "2"]);
    assert_eq!(
        [seed(&fs), seed(&fs), seed(&fs)],
        ["msync EIO", "msync EIO", "nnnn"]
    );

    let fs = TearFs::mount(&["--mode", "black-hole", "--probability", "0"]);
    assert_eq!(seed(&fs), "nnnn");
}

#[test]
fn the_mode_can_be_switched_and_what_is_held_stays_held() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    assert_eq!(seed(&fs), "nooo");
    fs.control(json!({"op": "mode", "mode": "honest"}));
    assert_eq!(read_afresh(&fs), "nooo", "nothing is applied by the switch");
    assert_eq!(fs.control(json!({"op": "stats"}))["mode"], "honest");
    File::options()
        .write(true)
        .open(fs.path("f"))
        .and_then(|file| file.sync_all())
        .expect("fsync");
    assert_eq!(read_afresh(&fs), "nnnn");
    assert_eq!(seed(&fs), "nnnn");
}

#[test]
fn the_op_log_tells_each_request_with_time_and_mode() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    seed(&fs);
    let log = fs.op_log();
    let (offset, len) = (p0_at(), 4 * page_size());
    let wrote = format!("TRACE Write enter: ino(2) offset({offset}) len({len}) flags(WRITE_CACHE)");
    let write = log.lines().position(|line| line.contains(&wrote));
    let write = write.unwrap_or_else(|| panic!("no page writeback in\n{log}"));
    let after: Vec<&str> = log.lines().skip(write + 1).collect();
    let find = |what: &str| {
        let line = after.iter().find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("no {what:?} in\n{log}"))
    };
    let exit = format!("Write exit: ino(2) result({len}) mode(first-page: held 4)");
    assert!(find(&exit).ends_with(" ns"));
    find("Fsync enter: ino(2) datasync(1)");
    find("Fsync exit: ino(2) result(0) mode(first-page: applied in part)");
    find("Open enter: ino(2) flags(O_RDONLY)");
    find("flags(DIRECT_IO)");
    find(&format!(
        "Read enter: ino(2) offset({offset}) len({len}) flags(O_RDONLY)"
    ));
    for line in log.lines() {
        let (date, rest) = line.split_once(' ').expect("date");
        let (time, _) = rest.split_once("Z TRACE ").expect("time");
        let shape = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "9");
        assert_eq!(shape(date), "9999-99-99", "{line}");
        assert_eq!(shape(time), "99:99:99.999999999", "{line}");
    }
}

#[test]
fn the_ends_of_blocks_are_sampled() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "volatile", "--writeback-cache"]);
    let mut bytes = vec![b'a'; 512];
    bytes[511] = b'z';
    bytes.extend(7u64.to_ne_bytes());
    let file = File::create(fs.path("f")).expect("file");
    (&file).write_all(&bytes).expect("write");
    let ends = || fs.control(json!({"op": "ends", "path": "/f", "block": 512, "word": 512}));
    file.sync_all().expect("fsync");
    let all = ends();
    let sample = format!("617a{:02x}", 7u64.to_ne_bytes()[0]);
    assert_eq!(
        (&all["stable"], &all["served"]),
        (&json!(sample), &json!(sample))
    );
    assert_eq!(all["stable_word"], json!(7));
    fs.control(json!({"op": "mode", "mode": "black-hole"}));
    (&file).write_all(&[b'x'; 504]).expect("write");
    file.sync_all().expect("fsync");
    let grown = format!("{sample}00");
    assert_eq!(ends()["stable"], json!(grown), "grown, and nothing written");
}
