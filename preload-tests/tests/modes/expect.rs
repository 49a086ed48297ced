//! What each cell of the table is expected to be.

use super::observe::Found;

/// How the kernel's page cache is set up, for each of the three tables.
pub struct Variant {
    pub title: &'static str,
    pub arguments: &'static [&'static str],
}

pub const VARIANTS: [Variant; 3] = [
    Variant {
        title: "KEEP_CACHE",
        arguments: &["--keep-cache"],
    },
    Variant {
        title: "AUTO_INVAL_DATA",
        arguments: &["--auto-inval"],
    },
    Variant {
        title: "neither",
        arguments: &[],
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Native,
    FlushOnly,
    Verified,
}

impl Column {
    pub const ALL: [Self; 3] = [Self::Native, Self::FlushOnly, Self::Verified];

    /// The shim's settings; nothing without the shim.
    pub fn settings(self) -> Option<&'static [(&'static str, &'static str)]> {
        match self {
            Self::Native => None,
            Self::FlushOnly => Some(&[("KEEPMYDATA_VERIFY", "off")]),
            // At info, so that a report can be told to be of the last msync.
            Self::Verified => Some(&[("KEEPMYDATA_LOG", "info")]),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    Seed,
    /// With so many processes.
    Doio(u32),
}

impl Guest {
    pub const ALL: [Self; 3] = [Self::Seed, Self::Doio(1), Self::Doio(2)];
}
