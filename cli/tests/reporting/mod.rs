//! Logs to report on: recorded on the test bed, and made up.

#![allow(dead_code, reason = "each test program uses a part")]

use crate::common::{keepmydata, stderr};
use preload_tests::harness::{Program, Scratch, TearFs};
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// A log, in a directory of its own.
pub struct Logged {
    pub scratch: Scratch,
    pub log: File,
}

impl Logged {
    pub fn path(&self) -> PathBuf {
        self.scratch.path("k.log")
    }
}

/// What the guest `seed` came to under the shim, on the test bed in this mode: its log, and the
/// daemon's in `ops`.
pub fn recorded(mode: &str) -> Logged {
    let scratch = Scratch::new();
    let path = scratch.path("k.log");
    let fs = TearFs::mount(&["--mode", mode]);
    let outcome = Program::guest("seed").arg(fs.path("f")).under_shim(&[
        ("KEEPMYDATA_LOG", "trace"),
        ("KEEPMYDATA_LOG_FILE", path.to_str().unwrap()),
        ("KEEPMYDATA_LOG_FORMAT", "json"),
        ("KEEPMYDATA_DEADLINE_MS", "300"),
    ]);
    let log = File::options().append(true).open(&path);
    let log = log.unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    fs::write(scratch.path("ops"), fs.op_log()).unwrap();
    Logged { scratch, log }
}

/// A log of so many records, of 8 processes and 5 files in 100 s.
pub fn generate(records: u64) -> Logged {
    let scratch = Scratch::new();
    let log = File::create(scratch.path("k.log")).unwrap();
    let mut out = BufWriter::new(log.try_clone().unwrap());
    write_records(&mut out, records);
    out.flush().unwrap();
    drop(out);
    Logged { scratch, log }
}

/// Steps and msyncs, 5 records a call; one call in a thousand is torn.
pub fn write_records(out: &mut impl Write, records: u64) {
    const BEGUN: u64 = 1_795_210_800_000_000_000;
    let step = 100_000_000_000 / records.max(1);
    for n in 0..records {
        let call = n / 5;
        let (pid, file) = (1000 + call % 8, call % 5);
        let (time, offset) = (BEGUN + n * step, call * 7919 % 3000 * 4096);
        let head = format!(
            r#"{{"time_ns":{time},"pid":{pid},"tid":{pid},"call":{},"path":"/mnt/data/file{file}","dev":"0:39","ino":{},"duration_ns":{}"#,
            call + 1,
            file + 2,
            step / 2
        );
        let torn = call % 1000 == 999;
        let rest = match n % 5 {
            0 => format!(
                r#""level":"debug","event":"dirty","dirty":[[{offset},8192]],"dirty_pages":2"#
            ),
            1 => r#""level":"debug","event":"flush","result":0"#.to_owned(),
            2 => r#""level":"debug","event":"verify","result":0"#.to_owned(),
            3 if torn => format!(
                r#""level":"error","event":"report","result":-1,"errno":"EIO","pages":[{}]"#,
                json!({ "page": offset / 4096, "start": offset, "end": offset + 4096, "verdict": "stale", "content": "old",
                    "first_diff": offset + 10, "expected_hex": "6e6577", "actual_hex": "6f6c64" })
            ),
            3 => r#""level":"debug","event":"drop","result":0,"dropped_pages":2"#.to_owned(),
            _ if torn => format!(
                r#""level":"info","event":"msync","offset":0,"length":12288000,"dirty":[[{offset},8192]],"result":-1,"errno":"EIO""#
            ),
            _ => format!(
                r#""level":"info","event":"msync","offset":0,"length":12288000,"result":0,"dirty":[[{offset},8192]],"dirty_pages":2,"dropped_pages":2,"verdicts":{{"verified":2,"newer":0,"stale":0,"uncertain":0}}"#
            ),
        };
        writeln!(out, "{head},{rest}}}").unwrap();
    }
}

/// The page of a log.
pub fn page_of(logged: &Logged, options: &[&str]) -> PathBuf {
    let page = logged.scratch.path("page.html");
    let output = keepmydata()
        .arg("report")
        .arg(logged.path())
        .arg("--html")
        .arg(&page)
        .args(options)
        .output()
        .unwrap();
    assert!(
        matches!(output.status.code(), Some(0 | 1 | 3)),
        "{}",
        stderr(&output)
    );
    page
}
