//! Two clients of real distributed and stacked filesystems, all on this machine: what the second sees of what was synced
//! through the first, by `keepmydata doctor` and by a hand-written probe (`two_clients`), and what it sees where msync
//! waits for it (`KEEPMYDATA_SEEN_BY`); LTP's rwtest04 with the file there; and what is left of what was acknowledged where a
//! daemon is killed in the middle of msyncs. `scripts/test --clusters` runs it; it makes `docs/clusters.md`.

#[path = "../common/mod.rs"]
mod common;
mod killed;
mod mounts;
mod rwtest04;

use common::{keepmydata, keepmydata_environment, stderr};
use mounts::{ALL, Cluster, hosts};
use preload_tests::harness::{Looks, Outcome, Program, record_skip, shim};
use preload_tests::markdown::Table;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clusters.md");
const INTRODUCTION: &str = "\
# Two clients of real filesystems

`keepmydata doctor A --client B` on real filesystems, each mounted twice on one machine: after msync returned 0 through the first
mount, when did the second see the data? MooseFS showed it at once. Elsewhere a descriptor held open and a held mapping never
saw it, and a new open at once, within a second, or never. With `KEEPMYDATA_SEEN_BY` a new open saw it on all but rclone, where msync
says so; on s3fs a descriptor that was open before still does not.

*verdict*: [the doctor's](diagnosis.md#doctor-with-a-second-client); a probe in C came to the same. The next columns: when it was first
seen, by way of reading; *never* is not within 10 s. *two writers*: stores of two writers that take turns under a record lock, and how
many were lost to a client that wrote older pages back. *SEEN_BY*: how long an msync took with it, and the ways by which the second
client then got the new data with its first read. The machine was small and busy.

Written by a test, from real runs:

    KEEPMYDATA_WRITE_DOCS=1 scripts/test --clusters

";
const KILLED: &str = "\
## LTP's rwtest04, and a daemon that dies

*rwtest04*: LTP's, with its file on the first mount, for 5 s, natively and under keepmydata, with the number of its warnings.

*killed*: a program stores growing numbers at both ends of 8 pages, and calls msync after each, for 6 s. After 2 s this daemon gets SIGKILL,
a second later it is started anew; then both clients are mounted anew. *synced* are msyncs that returned 0, *failed* those that did not
(SIGBUS too, which ends the program), *lost* pages older than a synced store. Under keepmydata with `KEEPMYDATA_UNCERTAIN=error`;
the second client opens the file anew after each 0, and with SEEN_BY found the data each time. On ceph-fuse that open takes pages out of
the writer's cache in the middle of an msync, which then fails; with SEEN_BY msync itself has had them taken.

";
const WAYS: [&str; 6] = ["held", "fresh", "direct", "mapping", "lock", "drop"];

#[test]
#[ignore = "takes minutes, and wants distributed filesystems installed"]
fn every_cluster_of_this_machine() {
    let mut table = Table::new([
        "filesystem",
        "verdict",
        "held open",
        "new open",
        "O_DIRECT",
        "held mapping",
        "record lock",
        "fadvise",
        "two writers",
        "SEEN_BY",
    ]);
    let mut killed = Table::new([
        "filesystem",
        "rwtest04",
        "under keepmydata",
        "killed",
        "natively",
        "under keepmydata",
        "with SEEN_BY",
    ]);
    let (mut sentences, mut wrong, mut missing) = (String::new(), Vec::new(), Vec::new());
    if let Err(why) = rwtest04::programs() {
        record_skip("rwtest04", &why);
        missing.push("rwtest04");
    }
    let only = std::env::var("KEEPMYDATA_CLUSTERS").unwrap_or_default();
    for (name, mount) in ALL.iter().filter(|(name, _)| name.contains(&only)) {
        let mut cluster = match mount() {
            Ok(cluster) => cluster,
            Err(why) => {
                record_skip(name, &why);
                missing.push(*name);
                continue;
            }
        };
        let found = examine(&cluster);
        let left = left_behind(&cluster.first);
        if !left.is_empty() {
            wrong.push(format!("{name}: left behind: {left:?}"));
        }
        let probe = probe(&cluster);
        let waiting = waiting(&found);
        println!("{name}: {}\n{}", found["sentences"], probe.stdout);
        let class = Looks::of(&probe).class();
        if found["verdict"] != class {
            wrong.push(format!(
                "{name}: {}, and {class} to the probe: {}",
                found["verdict"], probe.stdout
            ));
        }
        table.row(row(name, &found, waiting));
        if cluster.hosts.is_some() {
            continue;
        }
        let doio = match rwtest04::programs() {
            Ok(programs) => rwtest04::run(&cluster, programs),
            Err(_) => ["", ""].map(str::to_owned),
        };
        let [native, shimmed, seen] = match killed::try_it(&mut cluster) {
            Ok(found) => found,
            Err(why) => {
                wrong.push(format!("{name}: {why}"));
                continue;
            }
        };
        // Clients that are coherent show it at once, and what they take away for that is no doubt.
        if name.contains("ceph-fuse") && seen.failed > seen.zeros {
            wrong.push(format!("{name}: with SEEN_BY {}", seen.words()));
        }
        if shimmed.lost + seen.lost > 0 || seen.old > 0 {
            wrong.push(format!(
                "{name}: lost {} and {}, not seen {}",
                shimmed.lost, seen.lost, seen.old
            ));
        }
        let [doio, shimmed_doio] = doio;
        let words = [native.words(), shimmed.words(), seen.words()];
        println!("{name}: {doio}, {shimmed_doio}; {words:?}");
        let [native, shimmed, seen] = words;
        let victim = cluster.victim().to_owned();
        killed.row([
            (*name).to_owned(),
            doio,
            shimmed_doio,
            victim,
            native,
            shimmed,
            seen,
        ]);
        let said = found["sentences"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str);
        for more in said.filter_map(|text| remark(name, text)) {
            if !sentences.contains(&more) {
                sentences += &more;
            }
        }
    }
    println!("{table}\n{killed}\n{sentences}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if only.is_empty() && preload_tests::harness::writes_documents() {
        assert!(missing.is_empty(), "not written without {missing:?}");
        fs::write(
            DOCUMENT,
            format!(
                "{INTRODUCTION}{table}\n{}\n\n{KILLED}{killed}",
                sentences.trim()
            ),
        )
        .unwrap();
    }
}

/// What a sentence of the doctor's says beyond the table, as a line of a list.
fn remark(name: &str, sentence: &str) -> Option<String> {
    match sentence {
        _ if sentence.starts_with("What decides it") => Some(format!("- {sentence}\n")),
        _ if sentence.starts_with("Where the writer does more")
            || sentence.starts_with("That is so where the writer")
            || sentence.starts_with("That is so where it stores") =>
        {
            Some(format!("- {name}. {sentence}\n"))
        }
        _ => None,
    }
}

fn examine(cluster: &Cluster) -> Value {
    let output = doctor(cluster)
        .env("KEEPMYDATA_LIB", shim())
        .output()
        .unwrap();
    let found: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(found["exit_code"], json!(output.status.code()));
    found
}

/// On the first host, of a peer on the second, if they are hosts.
fn doctor(cluster: &Cluster) -> Command {
    let [first, second] = [&cluster.first, &cluster.second];
    let Some([one, other]) = &cluster.hosts else {
        let mut command = keepmydata();
        command.args(["doctor", "--json"]).arg(first);
        command.arg("--client").arg(second);
        return command;
    };
    let own = PathBuf::from(env!("CARGO_BIN_EXE_keepmydata"));
    let path = own.parent().expect("a directory").display();
    let mut words = one.split(' ');
    let mut command = keepmydata_environment(Command::new(words.next().expect("a program")));
    command.args(words).arg(&own).args(["doctor", "--json"]);
    command.arg(format!("--peer={other} env PATH={path}:/usr/bin"));
    command.arg(hosts::inside(first));
    command.arg("--client").arg(hosts::inside(second));
    command
}

/// What the doctor has left behind: a server may list late what is gone.
fn left_behind(directory: &Path) -> Vec<String> {
    let names = || -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| !name.starts_with(".glusterfs"))
            .collect()
    };
    let until = Instant::now() + Duration::from_secs(10);
    while !names().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    names()
}

fn probe(cluster: &Cluster) -> Outcome {
    let guest = Program::guest("two_clients");
    guest
        .arg(&cluster.first)
        .arg(&cluster.second)
        .arg("4")
        .natively()
}

/// The longest msync, and by which ways the data was seen at once then.
fn waiting(found: &Value) -> String {
    let tried = found["trials"]["waiting"].as_array();
    let Some(tried) = tried.filter(|tried| !tried.is_empty()) else {
        return String::new();
    };
    let slowest = tried
        .iter()
        .filter_map(|tried| tried["msync_ns"].as_u64())
        .max();
    let ways = tried
        .iter()
        .filter(|tried| tried["opened"] == "before" && tried["found"]["Ok"]["new-after-ms"] == 0)
        .filter_map(|tried| tried["way"].as_str());
    let ways = match ways.collect::<Vec<&str>>().join(", ") {
        none if none.is_empty() => "none".to_owned(),
        ways => ways,
    };
    format!("{:.0} ms: {ways}", slowest.unwrap_or(0) as f64 / 1e6)
}

fn row(name: &str, found: &Value, waiting: String) -> [String; 10] {
    let tried = found["trials"]["tried"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let when = WAYS.map(|way| {
        let mut cases = tried.iter().filter(|tried| {
            tried["writer"] == "first"
                && tried["reader"] == "second"
                && tried["step"] == "msync"
                && tried["opened"] == "before"
                && tried["way"] == way
        });
        let found = cases.next().map(|tried| &tried["found"]);
        match found.map(|found| (&found["Ok"]["new-after-ms"], &found["Err"])) {
            Some((_, Value::String(why))) => why.clone(),
            Some((Value::Number(ms), _)) if ms.as_u64() == Some(0) => "at once".to_owned(),
            Some((Value::Number(ms), _)) => format!("{ms} ms"),
            Some(_) => "never".to_owned(),
            None => String::new(),
        }
    });
    let [held, fresh, direct, mapping, lock, drop] = when;
    let turns = &found["trials"]["turns"];
    let writers = match turns["error"].as_str() {
        Some(why) => why.to_owned(),
        None => format!("{}, {} lost", turns["stores"], turns["lost"]),
    };
    let verdict = found["verdict"].as_str().unwrap_or_default().to_owned();
    [
        name.to_owned(),
        verdict,
        held,
        fresh,
        direct,
        mapping,
        lock,
        drop,
        writers,
        waiting,
    ]
}
