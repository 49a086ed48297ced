//! On what, and how, programs are run.

use clap::ValueEnum;
use preload_tests::harness::{installed, record_skip};
use preload_tests::tearfs::modes::Mode;

use super::local::Room;
use super::model::{Honesty, ToldOnce, Traits};

/// A filesystem.
#[derive(Clone, Debug, PartialEq)]
pub enum Bed {
    /// The test bed in this mode, with these further arguments.
    Tear(&'static str, Vec<&'static str>),
    /// A filesystem of the kernel's, with an overlayfs over it or not.
    Local(&'static str, bool, Room),
}

#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub bed: Bed,
    /// The shim's settings.
    pub settings: Vec<(&'static str, &'static str)>,
    /// Not the shim, but the command beside a static guest (docs/reach.md).
    pub supervised: bool,
    pub traits: Traits,
}

impl Row {
    /// Whether msync can be found to lie there without the shim.
    pub fn lies_natively(&self) -> bool {
        let is_full = matches!(self.bed, Bed::Local(_, _, Room::FsFull));
        self.traits.honesty != Honesty::Honest && !is_full
    }

    fn of(
        bed: &str,
        bed_of: Bed,
        traits: Traits,
        settings: &[(&'static str, &'static str)],
    ) -> Self {
        let mut name = bed.to_owned();
        for (variable, value) in settings {
            let variable = variable.strip_prefix("KEEPMYDATA_").unwrap_or(variable);
            if variable != "DEADLINE_MS" {
                name += &format!(" {variable}={value}");
            }
        }
        Self {
            name,
            bed: bed_of,
            settings: settings.to_vec(),
            supervised: false,
            traits,
        }
    }

    fn supervised(self) -> Self {
        let told_once = match self.traits.told_once {
            ToldOnce::No => ToldOnce::No,
            _ => ToldOnce::ToThreads,
        };
        let traits = Traits {
            told_once,
            ..self.traits
        };
        Self {
            name: self.name + " supervised",
            supervised: true,
            traits,
            ..self
        }
    }
}

/// The lie of reorder comes after the zero, and twin-inode is about readers.
const LEFT_OUT: [&str; 2] = ["reorder", "twin-inode"];

/// The other modes of the test bed, and what they are.
const MODES: [(&str, Honesty); 11] = [
    ("honest", Honesty::Honest),
    ("volatile", Honesty::Honest),
    ("first-page", Honesty::Lying),
    ("one-page", Honesty::Lying),
    ("stale-window", Honesty::Lying),
    ("early-ack", Honesty::Lying),
    ("drop-tail", Honesty::Lying),
    ("lossy-first", Honesty::Lying),
    ("eio-once", Honesty::Failing),
    ("silent-eio", Honesty::Lying),
    ("black-hole", Honesty::Lying),
];

/// How the kernel's page cache is set up.
const VARIANTS: [(&str, &[&str]); 5] = [
    ("keep-cache", &["--keep-cache"]),
    ("plain", &[]),
    ("auto-inval", &["--auto-inval"]),
    ("writeback", &["--writeback-cache", "--keep-cache"]),
    ("direct", &["--direct-io", "all"]),
];

fn tear(mode: &'static str, variant: &str, settings: &[(&'static str, &'static str)]) -> Row {
    let (_, honesty) = MODES
        .iter()
        .find(|(known, _)| *known == mode)
        .expect("a mode");
    let (_, arguments) = VARIANTS
        .iter()
        .find(|(known, _)| *known == variant)
        .expect("a variant");
    let mut arguments = arguments.to_vec();
    // Not longer than a machine that is busy needs to show that it is late.
    arguments.extend(["--delay-ms", "30"]);
    let mut settings = settings.to_vec();
    if matches!(mode, "black-hole" | "silent-eio") {
        // All of it is spent at each msync.
        settings.push(("KEEPMYDATA_DEADLINE_MS", "50"));
    }
    let traits = Traits {
        honesty: *honesty,
        calls_reach_it: variant != "writeback",
        loses_first: false,
        told_once: match settings.contains(&("KEEPMYDATA_VERIFY", "off")) {
            true => ToldOnce::ToOthers,
            false => ToldOnce::No,
        },
        native: false,
    };
    Row::of(
        &format!("{mode}/{variant}"),
        Bed::Tear(mode, arguments),
        traits,
        &settings,
    )
}

fn local(name: &'static str, settings: &[(&'static str, &'static str)]) -> Row {
    let (fs, how) = name.split_once('/').unwrap_or((name, ""));
    let (kind, overlay) = match fs {
        "overlay" => ("ext4", true),
        kind => (kind, false),
    };
    let room = match how {
        "disk-full" => Room::DiskFull,
        "full" => Room::FsFull,
        _ => Room::Plenty,
    };
    let mut settings = settings.to_vec();
    if room != Room::Plenty {
        settings.push(("KEEPMYDATA_DEADLINE_MS", "100"));
    }
    let traits = Traits {
        honesty: match room {
            Room::Plenty => Honesty::Honest,
            // See `Room::DiskFull`.
            Room::DiskFull if kind != "ext4" => Honesty::Lying,
            _ => Honesty::Failing,
        },
        calls_reach_it: false,
        loses_first: room == Room::DiskFull,
        told_once: ToldOnce::No,
        native: false,
    };
    Row::of(name, Bed::Local(kind, overlay, room), traits, &settings)
}

/// All rows, under the shim, that can be had here.
pub fn rows() -> Vec<Row> {
    let mut rows = all_rows();
    for kind in ["ext4", "xfs", "btrfs"] {
        if let Err(reason) = installed(&format!("mkfs.{kind}")) {
            record_skip(kind, &reason);
            rows.retain(|row| !matches!(row.bed, Bed::Local(of, _, _) if of == kind));
        }
    }
    rows
}

/// Those that cannot be had here, too.
pub fn all_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in [
        "ext4/roomy",
        "xfs/roomy",
        "btrfs/roomy",
        "overlay/roomy",
        "ext4/full",
        "xfs/full",
        "overlay/full",
        "ext4/disk-full",
        "overlay/disk-full",
    ] {
        rows.push(local(name, &[]));
        rows.push(local(name, &[("KEEPMYDATA_VERIFY", "on")]));
    }
    for name in ["xfs/disk-full", "btrfs/disk-full"] {
        rows.push(local(name, &[("KEEPMYDATA_VERIFY", "on")]));
    }
    for name in ["ext4/roomy", "xfs/roomy", "btrfs/roomy", "overlay/roomy"] {
        rows.push(local(
            name,
            &[
                ("KEEPMYDATA_VERIFY", "on"),
                ("KEEPMYDATA_UNCERTAIN", "error"),
            ],
        ));
    }
    for track in ["cachestat", "whole"] {
        for name in ["ext4/roomy", "ext4/disk-full"] {
            rows.push(local(
                name,
                &[("KEEPMYDATA_VERIFY", "on"), ("KEEPMYDATA_TRACK", track)],
            ));
        }
    }
    // What is not dropped is synced without the helper.
    for name in [
        "ext4/roomy",
        "xfs/roomy",
        "btrfs/roomy",
        "ext4/full",
        "xfs/full",
        "ext4/disk-full",
    ] {
        rows.push(local(name, &[("KEEPMYDATA_INVALIDATE", "off")]));
    }
    for (variant, _) in VARIANTS {
        for (mode, _) in MODES {
            rows.push(tear(mode, variant, &[]));
        }
    }
    for mode in ["honest", "one-page", "eio-once", "black-hole"] {
        for variant in ["keep-cache", "plain"] {
            for settings in [
                [("KEEPMYDATA_TRACK", "cachestat")],
                [("KEEPMYDATA_TRACK", "whole")],
                [("KEEPMYDATA_COPY_BUDGET", "0")],
                [("KEEPMYDATA_UNCERTAIN", "error")],
                [("KEEPMYDATA_INVALIDATE", "dirty")],
                [("KEEPMYDATA_MUNMAP", "sync")],
            ] {
                rows.push(tear(mode, variant, &settings));
            }
        }
    }
    // Without verification nothing is promised of a filesystem that lies.
    for mode in ["honest", "volatile", "eio-once"] {
        for variant in ["keep-cache", "plain", "writeback"] {
            rows.push(tear(mode, variant, &[("KEEPMYDATA_VERIFY", "off")]));
        }
    }
    rows.push(tear(
        "honest",
        "auto-inval",
        &[("KEEPMYDATA_UNCERTAIN", "error")],
    ));
    rows.push(tear(
        "honest",
        "writeback",
        &[("KEEPMYDATA_UNCERTAIN", "error")],
    ));
    rows.extend(supervised_rows().map(Row::supervised));
    rows
}

/// Each mapping that the supervisor makes of a file with direct_io drops its page cache: nothing can be shown there.
fn supervised_rows() -> impl Iterator<Item = Row> {
    let variants = ["keep-cache", "plain", "auto-inval", "writeback"];
    let modes = ["honest", "one-page", "eio-once", "black-hole"];
    let each = modes.map(|mode| variants.map(|variant| tear(mode, variant, &[])));
    let others = [
        "volatile",
        "first-page",
        "stale-window",
        "early-ack",
        "drop-tail",
        "lossy-first",
        "silent-eio",
    ];
    let set = [
        ("honest", "keep-cache", ("KEEPMYDATA_UNCERTAIN", "error")),
        ("one-page", "plain", ("KEEPMYDATA_UNCERTAIN", "error")),
        ("honest", "keep-cache", ("KEEPMYDATA_TRACK", "whole")),
        ("one-page", "keep-cache", ("KEEPMYDATA_TRACK", "whole")),
        ("honest", "plain", ("KEEPMYDATA_TRACK", "whole")),
        ("one-page", "plain", ("KEEPMYDATA_TRACK", "whole")),
        ("eio-once", "keep-cache", ("KEEPMYDATA_TRACK", "whole")),
        ("black-hole", "keep-cache", ("KEEPMYDATA_TRACK", "whole")),
        ("eio-once", "keep-cache", ("KEEPMYDATA_COPY_BUDGET", "0")),
        ("one-page", "keep-cache", ("KEEPMYDATA_COPY_BUDGET", "0")),
        ("honest", "keep-cache", ("KEEPMYDATA_VERIFY", "off")),
        ("eio-once", "keep-cache", ("KEEPMYDATA_VERIFY", "off")),
        ("eio-once", "plain", ("KEEPMYDATA_VERIFY", "off")),
        ("eio-once", "writeback", ("KEEPMYDATA_VERIFY", "off")),
    ];
    let verified = [("KEEPMYDATA_VERIFY", "on")];
    let disks = [
        "ext4/roomy",
        "xfs/roomy",
        "btrfs/roomy",
        "overlay/roomy",
        "ext4/disk-full",
        "ext4/full",
    ];
    each.into_iter()
        .flatten()
        .chain(others.map(|mode| tear(mode, "keep-cache", &[])))
        .chain(set.map(|(mode, variant, setting)| tear(mode, variant, &[setting])))
        .chain(disks.map(|name| local(name, &verified)))
        .chain(["ext4/roomy", "ext4/disk-full"].map(|name| local(name, &[])))
}

/// All filesystems, without the shim.
pub fn native_rows() -> Vec<Row> {
    rows()
        .into_iter()
        .filter(|row| !row.name.contains(' '))
        .collect()
}

#[test]
fn each_mode_has_rows_or_is_left_out() {
    let rows = all_rows();
    for mode in Mode::value_variants() {
        let word = mode.word();
        let is_in_modes = MODES.iter().any(|(name, _)| *name == word);
        assert_ne!(
            is_in_modes,
            LEFT_OUT.contains(&word),
            "{word}: MODES or LEFT_OUT"
        );
        for supervised in [false, true] {
            let is_of_mode = |row: &Row| {
                row.supervised == supervised
                    && matches!(row.bed, Bed::Tear(name, _) if name == word)
            };
            assert_eq!(
                rows.iter().any(is_of_mode),
                is_in_modes,
                "{word}: supervised_rows"
            );
        }
    }
}
