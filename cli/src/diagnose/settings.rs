//! The settings that a program is run under, each doing one step more than the one before.

use serde::Serialize;

/// How the shim takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Not at all.
    Native,
    /// Not at all, and each msync returns later, in us.
    Delayed(u32),
    /// Not at all, and each fsync and fdatasync returns 2 s later.
    DelayedFsync,
    /// It looks on.
    Watch,
    Flush,
    Drop,
    Verify,
    Heal,
    /// MS_ASYNC and munmap are treated as MS_SYNC too.
    Everything,
    /// As `Heal`, and msync waits until another client of the filesystem is shown the data.
    SeenBy,
    /// As `Everything`, and msync waits so.
    SeenByEverything,
    /// As `Heal`, and what was verified is verified once more after a while.
    Reverify,
}

pub struct Setting {
    pub kind: Kind,
    /// As people read it.
    pub name: &'static str,
    pub variables: &'static [(&'static str, &'static str)],
}

const fn setting(
    kind: Kind,
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
) -> Setting {
    Setting {
        kind,
        name,
        variables,
    }
}

/// Where nothing else has let every run pass.
pub const LAST_RESORT: Kind = Kind::Delayed(2_000_000);

/// In the order in which they are tried.
pub const SETTINGS: [Setting; 14] = [
    setting(Kind::Native, "natively", &[]),
    setting(Kind::Delayed(10_000), "natively, 10 ms after msync", &[]),
    setting(Kind::Delayed(500_000), "natively, 500 ms after msync", &[]),
    setting(
        Kind::Watch,
        "watched only",
        &[("KEEPMYDATA_ENFORCE", "off")],
    ),
    setting(
        Kind::Flush,
        "flush the whole file",
        &[
            ("KEEPMYDATA_VERIFY", "off"),
            ("KEEPMYDATA_INVALIDATE", "off"),
            ("KEEPMYDATA_READ", "pass"),
        ],
    ),
    setting(
        Kind::Drop,
        "+ drop the page cache",
        &[("KEEPMYDATA_VERIFY", "off"), ("KEEPMYDATA_READ", "pass")],
    ),
    // The shim tries once more even so: the deadline is looked at after each attempt.
    setting(
        Kind::Verify,
        "+ verify, and try once more",
        &[("KEEPMYDATA_VERIFY", "on"), ("KEEPMYDATA_DEADLINE_MS", "0")],
    ),
    setting(
        Kind::Heal,
        "+ heal (the default)",
        &[("KEEPMYDATA_VERIFY", "on")],
    ),
    setting(
        Kind::Everything,
        "+ MS_ASYNC and munmap sync too",
        &[
            ("KEEPMYDATA_VERIFY", "on"),
            ("KEEPMYDATA_ASYNC", "sync"),
            ("KEEPMYDATA_MUNMAP", "sync"),
        ],
    ),
    // With the mounts that the program was seen to use.
    setting(
        Kind::SeenBy,
        "+ wait for the other client",
        &[("KEEPMYDATA_VERIFY", "on")],
    ),
    setting(
        Kind::SeenByEverything,
        "+ wait, and MS_ASYNC and munmap sync",
        &[
            ("KEEPMYDATA_VERIFY", "on"),
            ("KEEPMYDATA_ASYNC", "sync"),
            ("KEEPMYDATA_MUNMAP", "sync"),
        ],
    ),
    setting(LAST_RESORT, "natively, 2 s after msync", &[]),
    setting(Kind::DelayedFsync, "natively, 2 s after fsync", &[]),
    setting(
        Kind::Reverify,
        "+ verify again 500 ms later",
        &[
            ("KEEPMYDATA_VERIFY", "on"),
            ("KEEPMYDATA_REVERIFY_MS", "500"),
        ],
    ),
];

impl Kind {
    pub fn is_native(self) -> bool {
        matches!(self, Kind::Native | Kind::Delayed(_) | Kind::DelayedFsync)
    }

    /// Whether calls are made to sync that promise nothing.
    pub fn syncs_more(self) -> bool {
        matches!(self, Kind::Everything | Kind::SeenByEverything)
    }

    /// Whether msync waits for the other client.
    pub fn is_seen_by(self) -> bool {
        matches!(self, Kind::SeenBy | Kind::SeenByEverything)
    }
}
