//! The clients: a row each.

/// What runs a client's `store`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Debian's own, whose modules are Debian packages.
    Python,
    Shell,
    Java,
    Node,
}

/// What a client's acknowledgement is worth when the power fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It survives a cut at any moment: transactions, or nothing overwritten.
    Always,
    /// It survives until the client stores again. What is there is changed in place, so that
    /// a cut within the next sync may damage it, on any filesystem.
    UntilNextStore,
    /// Nothing: the client never asks that its data be durable.
    Nothing,
    /// Its files are unlinked when it ends.
    NoFiles,
}

/// The mildest mode of the test bed in which a client loses acknowledged data natively.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loses {
    /// One sync for a record, of which one page arrives.
    FirstPage,
    /// It syncs more than once for a record, and the second sync of first-page cures the first;
    /// but not one-page, where each brings one page.
    OnePage,
    /// It does not store through mappings what it promises.
    Never,
}

pub struct Client {
    pub name: &'static str,
    /// The directory below `clients/`.
    pub directory: &'static str,
    pub variant: &'static str,
    pub language: Language,
    /// Programs without which it cannot run or be checked.
    pub programs: &'static [&'static str],
    /// Modules of Python.
    pub modules: &'static [&'static str],
    /// Shared libraries.
    pub libraries: &'static [&'static str],
    pub promise: Promise,
    pub loses: Loses,
    /// Settings of the shim.
    pub settings: &'static [(&'static str, &'static str)],
}

const PYTHON: Client = Client {
    name: "",
    directory: "",
    variant: "",
    language: Language::Python,
    programs: &[],
    modules: &[],
    libraries: &[],
    promise: Promise::Always,
    loses: Loses::FirstPage,
    settings: &[],
};

const SHELL: Client = Client {
    language: Language::Shell,
    ..PYTHON
};

const JAVA: Client = Client {
    directory: "java",
    language: Language::Java,
    programs: &["java", "javac"],
    ..PYTHON
};

pub const CLIENTS: &[Client] = &[
    Client {
        name: "LMDB writemap",
        directory: "lmdb",
        programs: &["mdb_stat", "mdb_dump"],
        modules: &["lmdb"],
        loses: Loses::OnePage,
        ..PYTHON
    },
    Client {
        name: "LMDB writemap, map_async",
        directory: "lmdb",
        variant: "map_async",
        programs: &["mdb_stat", "mdb_dump"],
        modules: &["lmdb"],
        promise: Promise::UntilNextStore,
        ..PYTHON
    },
    Client {
        name: "GDBM",
        directory: "gdbm",
        programs: &["gdbmtool"],
        modules: &["dbm.gnu"],
        promise: Promise::UntilNextStore,
        ..PYTHON
    },
    Client {
        name: "TDB transactions",
        directory: "tdb",
        programs: &["tdbtool", "tdbdump"],
        modules: &["tdb"],
        loses: Loses::OnePage,
        ..PYTHON
    },
    Client {
        name: "Kyoto Cabinet synchronize",
        directory: "kyotocabinet",
        programs: &["kchashmgr"],
        modules: &["kyotocabinet"],
        promise: Promise::UntilNextStore,
        loses: Loses::OnePage,
        ..PYTHON
    },
    Client {
        name: "Kyoto Cabinet",
        directory: "kyotocabinet",
        variant: "nosync",
        programs: &["kchashmgr"],
        modules: &["kyotocabinet"],
        promise: Promise::Nothing,
        ..PYTHON
    },
    Client {
        name: "Tokyo Cabinet sync",
        directory: "tokyocabinet",
        programs: &["tchmgr"],
        libraries: &["libtokyocabinet.so.9"],
        promise: Promise::UntilNextStore,
        loses: Loses::OnePage,
        ..PYTHON
    },
    Client {
        name: "Tokyo Cabinet",
        directory: "tokyocabinet",
        variant: "nosync",
        programs: &["tchmgr"],
        libraries: &["libtokyocabinet.so.9"],
        promise: Promise::Nothing,
        ..PYTHON
    },
    Client {
        name: "RRDtool",
        directory: "rrdtool",
        programs: &["rrdtool"],
        modules: &["rrdtool"],
        promise: Promise::Nothing,
        ..PYTHON
    },
    // It unmaps after each update.
    Client {
        name: "RRDtool, munmap=sync",
        directory: "rrdtool",
        programs: &["rrdtool"],
        modules: &["rrdtool"],
        promise: Promise::UntilNextStore,
        settings: &[("KEEPMYDATA_MUNMAP", "sync")],
        ..PYTHON
    },
    Client {
        name: "SQLite WAL, mmap_size",
        directory: "sqlite",
        programs: &["sqlite3"],
        modules: &["sqlite3"],
        loses: Loses::Never,
        ..PYTHON
    },
    Client {
        name: "fio mmap",
        directory: "fio",
        programs: &["fio"],
        promise: Promise::UntilNextStore,
        ..SHELL
    },
    Client {
        name: "stress-ng msync, mmap-file",
        directory: "stress_ng",
        programs: &["stress-ng"],
        promise: Promise::NoFiles,
        ..SHELL
    },
    Client {
        name: "xfs_io mwrite, msync",
        directory: "xfs_io",
        programs: &["xfs_io"],
        ..SHELL
    },
    Client {
        name: "Java force",
        ..JAVA
    },
    Client {
        name: "Java force, partial",
        variant: "partial",
        ..JAVA
    },
    Client {
        name: "Python mmap.flush",
        directory: "mmap_flush",
        ..PYTHON
    },
    Client {
        name: "Python mmap.flush, partial",
        directory: "mmap_flush",
        variant: "partial",
        ..PYTHON
    },
    Client {
        name: "numpy memmap",
        directory: "memmap",
        modules: &["numpy"],
        ..PYTHON
    },
    Client {
        name: "lmdb for Node",
        directory: "node",
        language: Language::Node,
        programs: &["node"],
        loses: Loses::OnePage,
        ..PYTHON
    },
    Client {
        name: "PMDK pmem_msync",
        directory: "pmem",
        libraries: &["libpmem.so.1"],
        ..PYTHON
    },
];

impl Client {
    /// # Panics
    /// If no row has this name.
    pub fn named(name: &str) -> &'static Self {
        CLIENTS
            .iter()
            .find(|client| client.name == name)
            .unwrap_or_else(|| panic!("no client {name:?}"))
    }
}
