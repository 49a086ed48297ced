//! Real clients of msync, natively and under the shim: their data is checked by their own tools,
//! on every filesystem that a machine offers and after power cuts.

mod cuts;
mod document;
mod figures;
mod matrix;
mod mounts;
mod results;
mod run;
mod table;

use cuts::{MODES, losses};
use matrix::Comparison;
use preload_tests::harness::{TearFs, installed};
use preload_tests::or_skip;
use serde_json::{Map, json};
use table::{CLIENTS, Client, Loses, Promise};

/// How many cuts a client gets.
struct Effort {
    /// In each of [`MODES`].
    shimmed: [u64; MODES.len()],
    native: u64,
    /// How many losses natively show that the test sees them.
    enough: usize,
}

const FEW: Effort = Effort {
    shimmed: [2, 2, 1],
    native: 30,
    enough: 1,
};
/// Fifty under the shim.
const MANY: Effort = Effort {
    shimmed: [20, 20, 10],
    native: 30,
    enough: usize::MAX,
};

/// Natively something is lost; under the shim nothing is.
#[track_caller]
fn power_cuts(client: &Client, effort: &Effort) {
    or_skip!(TearFs::available());
    or_skip!(client.available());
    match client.promise {
        Promise::Always | Promise::UntilNextStore => {}
        Promise::Nothing => return is_found_out(client),
        Promise::NoFiles => return is_unchanged(client),
    }
    let mode = document::native_mode(client.loses);
    let rounds = match client.loses {
        Loses::FirstPage | Loses::OnePage => effort.native,
        Loses::Never => effort.shimmed[0],
    };
    let native = losses(client, mode, false, rounds, effort.enough);
    println!("{} natively on {mode}: {native:#?}", client.name);
    assert_eq!(
        native.is_empty(),
        client.loses == Loses::Never,
        "natively on {mode}: {native:?}"
    );
    let mut found = json!({"native": {"lost": native.len(), "of": rounds}});
    for (mode, rounds) in MODES.into_iter().zip(effort.shimmed) {
        let lost = losses(client, mode, true, rounds, usize::MAX);
        assert!(
            lost.is_empty(),
            "under the shim on {mode}:\n{}",
            lost.join("\n")
        );
        found[mode] = json!({"lost": lost.len(), "of": rounds});
    }
    if effort.enough == usize::MAX {
        results::save("cuts", client.name, &found);
    }
}

/// What a client stores through a mapping that it unmaps, and never syncs, is a finding.
#[track_caller]
fn is_found_out(client: &Client) {
    let bed = or_skip!(mounts::mount("honest"));
    let findings = figures::findings(client, &bed.dir);
    assert!(
        findings.iter().any(|code| code == "KMD-L3"),
        "{}: {findings:?}",
        client.name
    );
}

/// What a client itself says of its data is the same under the shim.
#[track_caller]
fn is_unchanged(client: &Client) {
    let bed = or_skip!(mounts::mount("honest"));
    let comparison = matrix::compare(client, &bed.dir);
    assert!(comparison == Comparison::Same, "{comparison}");
}

/// On one filesystem, every client that is here: the same natively and under the shim.
#[track_caller]
fn every_client(filesystem: &str) {
    let mounted = or_skip!(mounts::mount(filesystem));
    let mut wrong = Vec::new();
    let mut found = Map::new();
    for client in CLIENTS {
        if client.available().is_err() {
            continue; // its own tests say so
        }
        let comparison = matrix::compare(client, &mounted.dir);
        println!("{filesystem}, {}: {comparison}", client.name);
        if matches!(comparison, Comparison::Different(_)) {
            wrong.push(format!("{}: {comparison}", client.name));
        }
        if filesystem == "honest" {
            let findings = figures::findings(client, &mounted.dir);
            results::save("findings", client.name, &findings.into());
        }
        found.insert(client.name.to_owned(), comparison.to_string().into());
    }
    assert!(wrong.is_empty(), "{filesystem}:\n{}", wrong.join("\n"));
    results::save("on", filesystem, &found.into());
}

/// For the document: what the client calls, and what it costs.
fn figures(client: &Client) {
    or_skip!(client.available());
    or_skip!(installed("strace"));
    let local = or_skip!(mounts::mount("ext4"));
    let bed = or_skip!(mounts::mount("honest"));
    let cost = |mounted: &mounts::Mounted| {
        let (seconds, ratio) = figures::cost(client, &mounted.dir);
        json!({"seconds": seconds, "ratio": ratio})
    };
    let found = json!({
        "calls": figures::calls(client, &local.dir),
        "ext4": cost(&local),
        "honest": cost(&bed),
    });
    println!("{}: {found}", client.name);
    results::save("figures", client.name, &found);
}

/// Checks the committed document; with `KEEPMYDATA_WRITE_DOCS=1` writes it first from what the
/// tests above found last, so that it must run after them.
#[test]
fn document_says_what_is_expected() {
    if preload_tests::harness::writes_documents() {
        std::fs::write(document::path(), document::render()).expect("docs/clients.md");
    }
    let text = std::fs::read_to_string(document::path()).expect("docs/clients.md");
    let wrong = document::contradictions(&text);
    assert!(wrong.is_empty(), "docs/clients.md:\n{}", wrong.join("\n"));
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

        mod figures_of {
            $(
                #[test]
                #[ignore = "long: scripts/test --clients"]
                fn $test() {
                    super::figures(super::Client::named($name));
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
    rrdtool_munmap: "RRDtool, munmap=sync";
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
