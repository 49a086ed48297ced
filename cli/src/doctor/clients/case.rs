//! What is tried between two clients: one stores and syncs, the other looks.

use serde::{Deserialize, Serialize};

/// Bytes of the file of a case.
pub const LENGTH: usize = 4 * 4096;
pub const OLD: u8 = b'o';
pub const NEW: u8 = b'n';

/// One of the two mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    First,
    Second,
}

impl Client {
    pub fn other(self) -> Self {
        match self {
            Client::First => Client::Second,
            Client::Second => Client::First,
        }
    }
}

/// How a reader reads, again and again. All but `Fresh` have read the old data before the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Through a descriptor that was open before.
    Held,
    /// Each time through a new open; so also before the store.
    Fresh,
    /// Each time through a new open with O_DIRECT.
    Direct,
    /// The memory of a mapping that was made before.
    Mapping,
    /// Through a held descriptor, under a record lock.
    Lock,
    /// Through a held descriptor, after posix_fadvise(2) has dropped the cache.
    Drop,
}

impl Way {
    pub const ALL: [Way; 6] = [
        Way::Held,
        Way::Fresh,
        Way::Direct,
        Way::Mapping,
        Way::Lock,
        Way::Drop,
    ];

    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Way::Held => "a descriptor held open",
            Way::Fresh => "a new open",
            Way::Direct => "O_DIRECT",
            Way::Mapping => "a held mapping",
            Way::Lock => "after a record lock",
            Way::Drop => "after a drop of the cache",
        }
    }
}

/// What the writer does after its store, each with all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    Msync,
    Fsync,
    Close,
    Unmap,
}

impl Step {
    pub const ALL: [Step; 4] = [Step::Msync, Step::Fsync, Step::Close, Step::Unmap];

    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Step::Msync => "msync",
            Step::Fsync => "msync, fsync",
            Step::Close => "msync, fsync, close",
            Step::Unmap => "msync, fsync, close, munmap",
        }
    }
}

/// When the writer opens and maps the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Opened {
    /// Before the other reads the old data: a filesystem that takes back from readers what they have cached when a writer
    /// opens does so too early.
    Before,
    /// Only to store.
    After,
    /// As `Before`, and what the other has read is more than a second old by the store. A client that compares times in seconds
    /// (sshfs's auto_cache) takes what was stored within the same second for what it has.
    Later,
}

/// The steps of a writer that opens the file only to store.
pub const LATE: [Step; 2] = [Step::Msync, Step::Close];

/// What a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    Old,
    New,
    /// Both, or neither.
    Mixed,
}

impl Sees {
    pub fn of(bytes: &[u8]) -> Self {
        let all = |wanted| bytes.iter().all(|&byte| byte == wanted);
        match (all(OLD), all(NEW)) {
            (true, _) => Sees::Old,
            (_, true) => Sees::New,
            _ => Sees::Mixed,
        }
    }
}

/// What became of one look after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Watched {
    /// When the new data was seen first, ms since the writer had synced: 0 is with the first look.
    pub new_after_ms: Option<u64>,
    /// How long was looked in all, ms.
    pub looked_ms: u64,
    /// Whether something was seen that was neither old nor new.
    pub mixed: bool,
    /// The kernel had evicted what the reader had cached, which ended the look.
    pub evicted: bool,
    /// When old data was seen again, ms after the new.
    pub old_again_ms: Option<u64>,
}

impl Watched {
    pub fn at_once(&self) -> bool {
        self.new_after_ms == Some(0)
    }
}

/// One file, stored to by one client and read by a client in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    pub writer: Client,
    pub reader: Client,
    pub way: Way,
    pub opened: Opened,
    pub step: Step,
}

/// All of them. The writer itself reads past its page cache, too.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for writer in [Client::First, Client::Second] {
        let held = Step::ALL.map(|step| (Opened::Before, step));
        for (opened, step) in held
            .into_iter()
            .chain(LATE.map(|step| (Opened::After, step)))
        {
            for way in Way::ALL {
                let reader = writer.other();
                cases.push(Case {
                    writer,
                    reader,
                    way,
                    opened,
                    step,
                });
            }
        }
        for way in [Way::Held, Way::Fresh, Way::Lock] {
            cases.push(Case {
                writer,
                reader: writer.other(),
                way,
                opened: Opened::Later,
                step: Step::Msync,
            });
        }
        cases.push(Case {
            writer,
            reader: writer,
            way: Way::Direct,
            opened: Opened::Before,
            step: Step::Msync,
        });
    }
    cases
}
