//! Real clients of msync, natively and under the shim: their data is checked by their own tools,
//! on every filesystem that a machine offers and after power cuts.

mod cuts;
mod matrix;
mod mounts;
mod run;
mod table;

use cuts::{MODES, losses};
use preload_tests::harness::TearFs;
use preload_tests::or_skip;
use table::{CLIENTS, Client, Loses, Promise};

/// How many cuts a client gets.
struct Effort {
    shimmed: u64,
    native: u64,
    /// How many losses natively show that the test sees them.
    enough: usize,
}

const FEW: Effort = Effort {
    shimmed: 2,
    native: 30,
    enough: 1,
};
const MANY: Effort = Effort {
    shimmed: 50,
    native: 50,
    enough: usize::MAX,
};

/// Natively something is lost; under the shim nothing is.
#[track_caller]
fn power_cuts(client: &'static Client, effort: &Effort) {
    or_skip!(TearFs::available());
    or_skip!(client.available());
    if matches!(client.promise, Promise::Nothing | Promise::NoFiles) {
        return;
    }
    let (mode, rounds) = match client.loses {
        Loses::FirstPage => ("first-page", effort.native),
        Loses::OnePage => ("one-page", effort.native),
        Loses::Never => ("one-page", effort.shimmed),
    };
    let native: Vec<_> = losses(client, mode, false, rounds)
        .take(effort.enough)
        .collect();
    assert_eq!(
        native.is_empty(),
        client.loses == Loses::Never,
        "natively on {mode}: {native:?}"
    );
    for mode in MODES {
        let lost: Vec<_> = losses(client, mode, true, effort.shimmed).collect();
        assert!(
            lost.is_empty(),
            "under the shim on {mode}:\n{}",
            lost.join("\n")
        );
    }
}

/// On one filesystem, every client that is here: the same natively and under the shim.
#[track_caller]
fn every_client(filesystem: &str) {
    let mounted = or_skip!(mounts::mount(filesystem));
    let mut wrong = Vec::new();
    for client in CLIENTS {
        if client.available().is_err() {
            continue; // its own tests say so
        }
        let native = matrix::run(client, &mounted.dir, false);
        let shimmed = matrix::run(client, &mounted.dir, true);
        println!(
            "{filesystem}, {}: {:?} / {:?}",
            client.name, native.failure, shimmed.failure
        );
        if native != shimmed {
            wrong.push(format!(
                "{}: natively {:?}, under the shim {:?}",
                client.name, native.failure, shimmed.failure
            ));
        }
    }
    assert!(wrong.is_empty(), "{filesystem}:\n{}", wrong.join("\n"));
}

macro_rules! clients {
    ($($test:ident: $name:literal;)*) => {
        mod few_cuts {
            $(
                #[test]
                fn $test() {
                    super::power_cuts(super::Client::named($name), &super::FEW);
                }
            )*
        }

        mod many_cuts {
            $(
                #[test]
                #[ignore = "long: scripts/test --clients"]
                fn $test() {
                    super::power_cuts(super::Client::named($name), &super::MANY);
                }
            )*
        }

        #[test]
        fn every_client_has_a_test() {
            assert!(CLIENTS.iter().map(|client| client.name).eq([$($name),*]));
        }
    };
}

clients! {
    lmdb: "LMDB writemap";
    lmdb_map_async: "LMDB writemap, map_async";
    gdbm: "GDBM";
    tdb: "TDB transactions";
    kyotocabinet: "Kyoto Cabinet synchronize";
    kyotocabinet_nosync: "Kyoto Cabinet";
    tokyocabinet: "Tokyo Cabinet sync";
    tokyocabinet_nosync: "Tokyo Cabinet";
    rrdtool: "RRDtool";
    sqlite: "SQLite WAL, mmap_size";
    fio: "fio mmap";
    stress_ng: "stress-ng msync, mmap-file";
    xfs_io: "xfs_io mwrite, msync";
    java: "Java force";
    java_partial: "Java force, partial";
    mmap_flush: "Python mmap.flush";
    mmap_flush_partial: "Python mmap.flush, partial";
    memmap: "numpy memmap";
    node: "lmdb for Node";
    pmem: "PMDK pmem_msync";
}

macro_rules! filesystems {
    ($($test:ident: $name:literal;)*) => {
        mod on {
            $(
                #[test]
                #[ignore = "long: scripts/test --clients"]
                fn $test() {
                    super::every_client($name);
                }
            )*
        }

        #[test]
        fn every_filesystem_has_a_test() {
            assert_eq!(mounts::NAMES, [$($name),*]);
        }
    };
}

filesystems! {
    ext4: "ext4";
    xfs: "xfs";
    btrfs: "btrfs";
    tmpfs: "tmpfs";
    overlayfs: "overlayfs";
    honest: "honest";
    volatile: "volatile";
    first_page: "first-page";
    bindfs: "bindfs";
    sshfs: "sshfs";
    mergerfs: "mergerfs";
    fuse_overlayfs: "fuse-overlayfs";
    rclone: "rclone";
    glusterfs: "glusterfs";
}
