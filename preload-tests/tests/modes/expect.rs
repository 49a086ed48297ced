//! What each cell of the table is expected to be: the only place that says so.

use preload_tests::harness::{Flags, Outcome, Program};

use super::observe::Found;

/// How the kernel's page cache is set up: a table each.
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

/// How the guest is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Native,
    /// Under the shim with `KEEPMYDATA_VERIFY=off`.
    FlushOnly,
    Verified,
    /// A static program, by the command.
    Supervised,
}

impl Column {
    pub const ALL: [Self; 4] = [
        Self::Native,
        Self::FlushOnly,
        Self::Verified,
        Self::Supervised,
    ];

    pub fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::Supervised)
    }

    /// The guest, compiled as this column runs it.
    pub fn guest(self, name: &str) -> Program {
        let flags = match self {
            Self::Supervised => Flags::Static,
            _ => Flags::Hardened,
        };
        Program::guest_with(name, flags)
    }

    pub fn run(self, program: &Program) -> Outcome {
        // At info, so that a report can be told to be of the last msync.
        let verified = [("KEEPMYDATA_LOG", "info")];
        match self {
            Self::Native => program.natively(),
            Self::FlushOnly => program.under_shim(&[("KEEPMYDATA_VERIFY", "off")]),
            Self::Verified => program.under_shim(&verified),
            Self::Supervised => program.supervised(&verified),
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

/// What a cell may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The data is there.
    Whole,
    /// Bad data, and nobody says so: the negative control, or a known failure of flushing alone.
    Torn,
    /// The seed case's msync fails.
    Eio,
    /// The guest, which ignores msync's result, finds bad data; each page was reported before.
    Reported,
    /// Whole or reported.
    NeverSilent,
    /// Hangs on who comes first.
    Luck,
    /// Means nothing in this mode.
    NotRun,
}

use Expect::{Eio, Luck, NeverSilent, NotRun, Reported, Torn, Whole};

impl Expect {
    pub fn allows(self, found: &Found) -> bool {
        match self {
            Whole => *found == Found::Whole,
            Torn => matches!(found, Found::Torn(_)),
            Eio => *found == Found::Eio,
            Reported => *found == Found::Reported,
            NeverSilent => matches!(found, Found::Whole | Found::Reported),
            Luck => true,
            NotRun => false,
        }
    }
}

/// A mode: for each way of running it, the seed case, and the doio-like guest with one process and
/// with two.
pub struct Row {
    pub mode: &'static str,
    native: [Expect; 3],
    flush_only: [Expect; 3],
    verified: [Expect; 3],
    supervised: [Expect; 3],
    /// Two processes and no KEEP_CACHE: each open of one may drop the other's only good copy.
    two_without_keep_cache: [Expect; 3],
    /// Whether only a page cache that is kept shows the mode at all.
    needs_keep_cache: bool,
}

const fn row(
    mode: &'static str,
    native: [Expect; 3],
    flush_only: [Expect; 3],
    verified: [Expect; 3],
) -> Row {
    let two = [
        native[2],
        match flush_only[2] {
            Torn => Torn,
            Whole if matches!(native[2], Whole) => Whole,
            NotRun => NotRun,
            _ => Luck,
        },
        match verified[2] {
            Whole if matches!(native[2], Whole) => Whole,
            Whole => NeverSilent,
            other => other,
        },
    ];
    Row {
        mode,
        native,
        flush_only,
        verified,
        supervised: verified,
        two_without_keep_cache: two,
        needs_keep_cache: false,
    }
}

pub const ROWS: [Row; 13] = [
    row("honest", [Whole; 3], [Whole; 3], [Whole; 3]),
    row("volatile", [Whole; 3], [Whole; 3], [Whole; 3]),
    row("first-page", [Torn; 3], [Whole; 3], [Whole; 3]),
    row("one-page", [Torn; 3], [Torn; 3], [Whole; 3]),
    row("stale-window", [Torn; 3], [Torn; 3], [Whole; 3]),
    row("early-ack", [Torn; 3], [Torn; 3], [Whole; 3]),
    row(
        "drop-tail",
        [Torn; 3],
        [Torn; 3],
        [Whole, Whole, NeverSilent],
    ),
    row(
        "lossy-first",
        [Torn; 3],
        [Torn; 3],
        [Whole, Whole, NeverSilent],
    ),
    // The older content comes 200 ms later; the guests look at once, unless they are held up.
    row(
        "reorder",
        [Whole, Luck, Luck],
        [Whole, Luck, Luck],
        [Whole, Luck, Luck],
    ),
    row(
        "eio-once",
        [Eio, Torn, Torn],
        [Eio, Whole, Luck],
        [Whole, Whole, NeverSilent],
    ),
    row(
        "silent-eio",
        [Torn; 3],
        [Torn; 3],
        [Eio, Reported, Reported],
    ),
    row(
        "black-hole",
        [Torn; 3],
        [Torn; 3],
        [Eio, Reported, Reported],
    ),
    // Record locks do not exclude each other across the twins: two processes are no test.
    // Only the library reads past the page cache for the program (`KEEPMYDATA_READ`).
    Row {
        needs_keep_cache: true,
        supervised: [Torn, Torn, NotRun],
        ..row(
            "twin-inode",
            [Torn, Torn, NotRun],
            [Torn, Torn, NotRun],
            [Whole, Whole, NotRun],
        )
    },
];

impl Row {
    pub fn of(mode: &str) -> &'static Self {
        ROWS.iter()
            .find(|row| row.mode == mode)
            .unwrap_or_else(|| panic!("no row for {mode}"))
    }

    pub fn expect(&self, variant: &Variant, column: Column, guest: Guest) -> Expect {
        let keep_cache = variant.title == "KEEP_CACHE";
        let (way, cells) = match column {
            Column::Native => (0, self.native),
            Column::FlushOnly => (1, self.flush_only),
            Column::Verified => (2, self.verified),
            Column::Supervised => (2, self.supervised),
        };
        let cell = match guest {
            Guest::Seed => cells[0],
            Guest::Doio(1) => cells[1],
            Guest::Doio(_) if keep_cache => cells[2],
            Guest::Doio(_) => self.two_without_keep_cache[way],
        };
        match cell {
            Torn if self.needs_keep_cache && !keep_cache => Whole,
            cell => cell,
        }
    }
}
