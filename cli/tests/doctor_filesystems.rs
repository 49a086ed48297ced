//! `keepmydata doctor` on every real filesystem that this machine has: `docs/filesystems.md`.

mod common;
#[path = "doctor_filesystems/mounts.rs"]
mod mounts;

use common::examine;
use preload_tests::harness::record_skip;
use preload_tests::markdown::Table;
use serde_json::Value;
use std::fmt::Write;
use std::fs;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/filesystems.md");
const INTRODUCTION: &str = "\
# What real filesystems do

`keepmydata doctor` on local, stacked and FUSE filesystems, freshly made, on one machine. All on which files can be mapped
shared keep the promise here. Power cuts, load and failing networks are not tested.

*verdict*: see [diagnosis.md](diagnosis.md). *msync*: the median for one dirty page, natively, and the seed case under keepmydata with the
defaults. *page cache*: whether readers fill it, and whether it outlives an open of the file by anybody. *O_DIRECT*: whether data can be
read back past it; otherwise it is read back after a drop. The times are those of a small and busy machine.

Written by a test, from real runs:

    KEEPMYDATA_WRITE_DOCS=1 cargo test -p keepmydata-cli --test doctor_filesystems -- --ignored

";

#[test]
#[ignore = "takes a minute, and wants a dozen filesystems installed"]
fn every_filesystem_of_this_machine() {
    let mut table = Table::new([
        "filesystem",
        "how",
        "verdict",
        "msync",
        "under keepmydata",
        "page cache",
        "O_DIRECT",
    ]);
    let mut sentences = String::new();
    let mut wrong = Vec::new();
    let mut missing = Vec::new();
    for mount in mounts::ALL {
        let fs = match (mount.mount)() {
            Ok(fs) => fs,
            Err(why) => {
                record_skip(mount.name, &why);
                missing.push(mount.name);
                continue;
            }
        };
        let found = examine(fs.directory());
        drop(fs);
        println!("{}: {}", mount.name, found["sentences"]);
        // Bad news is news, and no failure of the test: that nothing could be told is.
        if found["verdict"] == "unknown" && !mount.may_be_unknown {
            wrong.push(format!("{}: {}", mount.name, found["sentences"]));
        }
        table.row(row(&mount, &found));
        if found["verdict"] != "keeps" || found["limits"] != serde_json::json!([]) {
            sentences += &remarks(mount.name, &found);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if preload_tests::harness::writes_documents() {
        assert!(missing.is_empty(), "not written without {missing:?}");
        fs::write(
            DOCUMENT,
            format!("{INTRODUCTION}{table}\n{}\n", sentences.trim()),
        )
        .unwrap();
    }
}

fn row(mount: &mounts::Mount, found: &Value) -> [String; 7] {
    let fact = |name: &str| &found["filesystem"][name]["value"];
    let ms = |ns: u64| format!("{:.1} ms", ns as f64 / 1e6);
    let native = fact("msync_takes").as_u64().map(|us| ms(us * 1000));
    let shim = found["trials"]["shim"]["found"]["Ok"]["msync"]["ns"].as_u64();
    let cache = match (
        fact("readers_fill_the_page_cache"),
        fact("page_cache_outlives_an_open"),
    ) {
        (Value::Bool(true), Value::Bool(true)) => "used, kept",
        (Value::Bool(true), Value::Bool(false)) => "used, dropped by each open",
        (Value::Bool(false), _) => "not used by readers",
        _ => "unknown",
    };
    let direct = match fact("o_direct_reads") {
        Value::Bool(true) => "yes",
        _ => "no",
    };
    [
        mount.name.to_owned(),
        mount.how.to_owned(),
        found["verdict"].as_str().unwrap().to_owned(),
        native.unwrap_or_default(),
        shim.map(ms).unwrap_or_default(),
        cache.to_owned(),
        direct.to_owned(),
    ]
}

fn remarks(name: &str, found: &Value) -> String {
    let texts = |key: &str| {
        let list = found[key].as_array().unwrap().iter();
        list.filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut text = format!("**{name}.**");
    if found["verdict"] != "keeps" {
        write!(text, " {}", texts("sentences").join(" ")).unwrap();
    }
    for limit in texts("limits") {
        write!(text, " Limit: {limit}.").unwrap();
    }
    text + "\n\n"
}
