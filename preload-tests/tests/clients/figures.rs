//! What a client asks of the kernel, and what the shim costs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use preload_tests::harness::Scratch;

use super::matrix::LOAD;
use super::run::{How, Load};
use super::table::Client;

/// Runs of each kind, side by side.
const PAIRS: usize = 5;
const MEASURED: Load = Load {
    count: 100,
    seed: 7,
};

/// The calls that concern the durability of files below `mount`, as strace shows them.
pub fn calls(client: &Client, mount: &Path) -> String {
    let directory = mount.join("calls");
    std::fs::create_dir(&directory).expect("directory of the run");
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    client
        .program(&directory, LOAD, How::End)
        .traced_by([
            "strace".as_ref(),
            "-fy".as_ref(),
            "-e".as_ref(),
            "trace=mmap,msync,fsync,fdatasync,sync_file_range".as_ref(),
            "-o".as_ref(),
            trace.as_os_str(),
        ])
        .natively()
        .expect_success("strace");
    let text = std::fs::read_to_string(&trace).expect("trace");
    summarize(&text, &directory.display().to_string())
}

/// `msync(MS_SYNC) x 40, 4 KiB to 64 MiB`, and so on.
fn summarize(trace: &str, directory: &str) -> String {
    let mut found: BTreeMap<String, (usize, u64, u64)> = BTreeMap::new();
    for line in trace.lines() {
        let Some((call, arguments)) = call(line) else {
            continue;
        };
        let (what, length) = match call {
            "msync" => (
                format!("msync({})", arguments[2]),
                arguments[1].parse().ok(),
            ),
            "mmap" => {
                let shared = arguments[3].contains("MAP_SHARED");
                if !shared || !arguments[2].contains("PROT_WRITE") || !line.contains(directory) {
                    continue;
                }
                ("mmap(MAP_SHARED)".to_owned(), arguments[1].parse().ok())
            }
            _ if line.contains(directory) => (call.to_owned(), None),
            _ => continue,
        };
        let length = length.unwrap_or(0);
        let entry = found.entry(what).or_insert((0, u64::MAX, 0));
        *entry = (entry.0 + 1, entry.1.min(length), entry.2.max(length));
    }
    let texts: Vec<String> = found
        .iter()
        .map(|(what, &(count, least, most))| match (least, most) {
            (_, 0) => format!("{what} x {count}"),
            _ if least == most => format!("{what} x {count}, {}", size(most)),
            _ => format!("{what} x {count}, {} to {}", size(least), size(most)),
        })
        .collect();
    texts.join("; ")
}

/// Name and arguments of the call that a line shows; not the second line of one that was
/// interrupted by another thread's.
fn call(line: &str) -> Option<(&str, Vec<&str>)> {
    let (pid, rest) = line.split_once(' ')?;
    pid.parse::<u32>().ok()?;
    let (name, rest) = rest.trim_start().split_once('(')?;
    let arguments = rest.split([')', '<']).next()?;
    let mut arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let known = match name {
        "mmap" => 4,
        "msync" => 3,
        "fsync" | "fdatasync" | "sync_file_range" => 1,
        _ => return None,
    };
    arguments.resize(arguments.len().max(known), "?");
    Some((name, arguments))
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b.is_multiple_of(1 << 20) => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b.is_multiple_of(1 << 10) => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}

/// The codes of the findings that the shim has about the client's files (docs/findings.md), each
/// once.
pub fn findings(client: &Client, mount: &Path) -> Vec<String> {
    let directory = mount.join("findings");
    std::fs::create_dir(&directory).expect("directory of the run");
    let records = client
        .program(&directory, LOAD, How::End)
        .under_shim(&[client.settings, &[("KEEPMYDATA_LOG", "info")]].concat())
        .expect_success(client.name)
        .records();
    let codes: BTreeSet<&str> = records
        .of("finding")
        .filter(|finding| {
            let path = finding["path"].as_str().unwrap_or_default();
            Path::new(path).starts_with(&directory)
        })
        .filter_map(|finding| finding["code"].as_str())
        .collect();
    std::fs::remove_dir_all(&directory).expect("removal of the run");
    codes.into_iter().map(str::to_owned).collect()
}

/// The median of native durations in seconds, and that of the ratio of a run under the shim to
/// the native run just before it.
pub fn cost(client: &Client, mount: &Path) -> (f64, f64) {
    let mut pairs: Vec<(f64, f64)> = (0..PAIRS)
        .map(|_| {
            let native = duration(client, mount, false);
            (native, duration(client, mount, true) / native)
        })
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let native = pairs[PAIRS / 2].0;
    pairs.sort_by(|a, b| a.1.total_cmp(&b.1));
    (native, pairs[PAIRS / 2].1)
}

/// Seconds from start to end.
fn duration(client: &Client, mount: &Path, shimmed: bool) -> f64 {
    let directory = mount.join("cost");
    std::fs::create_dir(&directory).expect("directory of the run");
    let program = client.program(&directory, MEASURED, How::End);
    let begin = Instant::now();
    let outcome = match shimmed {
        true => program.under_shim(client.settings),
        false => program.natively(),
    };
    let seconds = begin.elapsed().as_secs_f64();
    outcome.expect_success(client.name);
    std::fs::remove_dir_all(&directory).expect("removal of the run");
    seconds
}

#[test]
fn calls_are_counted_by_what_they_ask() {
    let trace = "\
7  mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</d/f>, 0) = 0x7
7  mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3</d/f>, 0) = 0x7
7  mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</other>, 0) = 0x7
8  msync(0x7, 4096, MS_SYNC <unfinished ...>
7  fdatasync(3</d/f>) = 0
8  <... msync resumed>) = 0
8  msync(0x7, 67108864, MS_SYNC) = 0
7  fsync(4</other>) = 0
";
    assert_eq!(
        summarize(trace, "/d"),
        "fdatasync x 1; mmap(MAP_SHARED) x 1, 4 KiB; msync(MS_SYNC) x 2, 4 KiB to 64 MiB"
    );
}
