//! On what, and how, programs are run.

use super::model::{Honesty, Traits};

/// A filesystem.
#[derive(Clone, Debug, PartialEq)]
pub enum Bed {
    /// The test bed in this mode, with these further arguments.
    Tear(&'static str, Vec<&'static str>),
}

#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub bed: Bed,
    /// The shim's settings.
    pub settings: Vec<(&'static str, &'static str)>,
    pub traits: Traits,
}

impl Row {
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
            traits,
        }
    }
}

/// Modes of the test bed, and what they are. The others are left out: the lie of reorder comes after the zero, and twin-inode
/// is about readers.
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
        native: false,
    };
    Row::of(
        &format!("{mode}/{variant}"),
        Bed::Tear(mode, arguments),
        traits,
        &settings,
    )
}

/// All rows, under the shim.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
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
    rows
}

/// All filesystems, without the shim.
pub fn native_rows() -> Vec<Row> {
    rows()
        .into_iter()
        .filter(|row| !row.name.contains(' '))
        .collect()
}
