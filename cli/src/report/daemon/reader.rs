//! Reads a daemon's log, and pairs requests with their answers.

use super::format::{Format, Is, LinePattern};
use super::log::Log;
use super::{Op, time};
use crate::failure::Failure;
use crate::report::lines::{Line, Lines};
use crate::report::progress::Progress;
use crate::report::text::short;
use regex::bytes::Regex;
use std::collections::HashMap;

/// So many requests may wait for their answer.
const PENDING: usize = 10_000;

/// Calls `each` with each operation of a log.
pub fn read(
    log: &Log,
    daemon: u32,
    progress: &mut Progress,
    mut each: impl FnMut(&Op),
) -> Result<(), Failure> {
    let mut lines = Lines::new(progress.counted(log.source.open()?));
    let mut reader = Reader {
        format: &log.format,
        daemon,
        pending: HashMap::new(),
        latest: None,
        matched: 0,
        timeless: 0,
        each: &mut each,
    };
    while let Some(line) = lines.next().map_err(|error| log.source.failure(&error))? {
        if let Line::Whole(line) = line {
            reader.line(line.trim_ascii_end());
        }
        progress.show();
    }
    reader.line(lines.rest().trim_ascii_end());
    let (matched, timeless) = (reader.matched, reader.timeless);
    reader.flush();
    let name = log.source.name();
    match (matched, timeless) {
        (0, 0) => Err(Failure::own(format!(
            "{name}: no line has the format {}",
            log.format.name
        ))),
        (0, _) => Err(Failure::own(format!(
            "{name}: its lines have no time in front, so that they cannot be merged in; run the daemon with: 2>&1 | ts '%.s'"
        ))),
        _ => Ok(()),
    }
}

/// Requests are told apart by their number, or by what they are.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Number(u64),
    What(String, Option<u64>, Option<u64>),
}

struct Reader<'a, F> {
    format: &'a Format,
    daemon: u32,
    pending: HashMap<Key, Op>,
    /// The request that came in last.
    latest: Option<Key>,
    matched: u64,
    /// Lines that match and have no time.
    timeless: u64,
    each: &'a mut F,
}

/// What a line says.
#[derive(Default)]
struct Said {
    op: Op,
    id: Option<u64>,
    took: Option<u64>,
}

impl<F: FnMut(&Op)> Reader<'_, F> {
    fn line(&mut self, line: &[u8]) {
        let format = self.format;
        let Some(pattern) = format.lines.iter().find(|one| one.pattern.is_match(line)) else {
            return;
        };
        let Some(time_ns) = time_of(format, line) else {
            self.timeless += 1;
            return;
        };
        self.matched += 1;
        let mut said = said(pattern, line);
        said.op.daemon = self.daemon;
        said.op.time_ns = time_ns;
        match pattern.is {
            Is::Begin => self.begin(said),
            Is::End => self.end(said),
            Is::Detail => {
                if let Some(op) = self
                    .latest
                    .as_ref()
                    .and_then(|key| self.pending.get_mut(key))
                {
                    add(op, said.op);
                }
            }
            Is::Whole => (self.each)(&whole(said)),
            Is::Moment => (self.each)(&said.op),
        }
    }

    fn begin(&mut self, said: Said) {
        if self.pending.len() == PENDING {
            self.flush();
        }
        let key = key(&said);
        self.latest = Some(key.clone());
        // Never answered: its number is in use again.
        if let Some(lost) = self.pending.insert(key, said.op) {
            (self.each)(&lost);
        }
    }

    fn end(&mut self, said: Said) {
        let Some(mut op) = self.pending.remove(&key(&said)) else {
            if !said.op.name.is_empty() {
                (self.each)(&whole(said));
            }
            return;
        };
        let waited = said.op.time_ns.saturating_sub(op.time_ns);
        op.duration_ns = Some(said.took.unwrap_or(waited));
        add(&mut op, said.op);
        (self.each)(&op);
    }

    fn flush(&mut self) {
        for (_, op) in self.pending.drain() {
            (self.each)(&op);
        }
    }
}

/// A request of which only the end is known.
fn whole(said: Said) -> Op {
    let mut op = said.op;
    op.duration_ns = said.took;
    op.time_ns -= said.took.unwrap_or(0).min(op.time_ns);
    op
}

/// Adds what the answer says to what the request said.
fn add(op: &mut Op, said: Op) {
    op.ino = op.ino.or(said.ino);
    op.offset = op.offset.or(said.offset);
    op.length = op.length.or(said.length);
    op.pid = op.pid.or(said.pid);
    if !said.result.is_empty() {
        op.result = said.result;
    }
    if !said.note.is_empty() {
        let both = [op.note.as_str(), &said.note].join("; ");
        op.note = both.trim_start_matches("; ").to_owned();
    }
}

fn key(said: &Said) -> Key {
    match said.id {
        Some(id) => Key::Number(id),
        None => Key::What(said.op.name.clone(), said.op.ino, said.op.offset),
    }
}

fn time_of(format: &Format, line: &[u8]) -> Option<u64> {
    let found = format.time.captures(line)?.name("time")?;
    time::parse(found.as_bytes(), &format.zone)
}

fn said(pattern: &LinePattern, line: &[u8]) -> Said {
    let mut said = Said::default();
    for regex in std::iter::once(&pattern.pattern).chain(&pattern.also) {
        fill(&mut said, regex, line);
    }
    said
}

fn fill(said: &mut Said, regex: &Regex, line: &[u8]) {
    let Some(found) = regex.captures(line) else {
        return;
    };
    for name in regex.capture_names().flatten() {
        let Some(group) = found.name(name) else {
            continue;
        };
        let text = String::from_utf8_lossy(group.as_bytes());
        let op = &mut said.op;
        match name {
            "op" => op.name = short(&text, 40),
            "ino" => op.ino = text.parse().ok(),
            "offset" => op.offset = text.parse().ok(),
            "length" => op.length = text.parse().ok(),
            "pid" => op.pid = text.parse().ok(),
            "id" => said.id = text.parse().ok(),
            "took" => said.took = time::duration(&text),
            "result" => op.result = short(&text, 100),
            "note" => op.note = short(&text, 200),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operations that lines of a format tell of. TZ is not looked at: times have a zone.
    fn ops(format: &str, lines: &str) -> Vec<Op> {
        let format = Format::named(format).unwrap();
        let mut found = Vec::new();
        let mut each = |op: &Op| {
            found.push(op.clone());
        };
        let mut reader = Reader {
            format: &format,
            daemon: 0,
            pending: HashMap::new(),
            latest: None,
            matched: 0,
            timeless: 0,
            each: &mut each,
        };
        for line in lines.lines() {
            reader.line(line.as_bytes());
        }
        reader.flush();
        found
    }

    #[test]
    fn the_test_bed() {
        let found = ops(
            "tearfs",
            "2026-11-20 22:18:24.722209688Z TRACE Write enter: ino(2) offset(4440064) len(16384) flags(WRITE_CACHE) fh(1) pid(0) unique(32)\n\
             2026-11-20 22:18:24.722234054Z TRACE Write exit: ino(2) result(16384) mode(first-page: held 4) unique(32) 24364 ns\n\
             2026-11-20 22:18:24.722249320Z TRACE Fsync enter: ino(2) datasync(1) fh(1) pid(22733) unique(34)\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Op {
                name: "Write".into(),
                time_ns: 1_795_213_104_722_209_688,
                duration_ns: Some(24364),
                ino: Some(2),
                offset: Some(4_440_064),
                length: Some(16384),
                pid: Some(0),
                result: "16384".into(),
                note: "WRITE_CACHE; first-page: held 4".into(),
                ..Op::default()
            }
        );
        assert_eq!(
            (found[1].name.as_str(), found[1].duration_ns),
            ("Fsync", None)
        );
    }

    #[test]
    fn cubefs() {
        let found = ops(
            "cubefs",
            "2026/11/20 22:18:24.722209 [DEBUG] file.go:371: TRACE Write enter: ino(8388611) offset(4440064) len(4096)  flags(WriteFlags(0)) fileflags(OpenReadWrite) req(Write [ID=0x2a Node=0x2 Uid=0 Gid=0 Pid=11] 0x1 4096 @4440064 fl=0)\n\
             2026/11/20 22:18:24.722834 [DEBUG] file.go:448: TRACE Write: ino(8388611) offset(4440064) len(4096) flags(WriteFlags(0)) fileflags(OpenReadWrite) req(...) (625123)ns \n\
             2026/11/20 22:18:24.723000 [DEBUG] file.go:305: TRACE Read enter: ino(8388611) poolId(1) storageClass(1) offset(4395008) filesize(12800000) reqsize(131072) req(...)\n\
             2026/11/20 22:18:24.723100 [DEBUG] file.go:348: TRACE Read: ino(8388611) offset(4395008) reqsize(131072) req(...) size(131072) (98000)ns\n\
             2026/11/20 22:18:24.724000 [DEBUG] file.go:448: TRACE Write: ino(5) offset(0) len(4096) flags(0) fileflags(0) req(...) (1.5ms) \n\
             2026/11/20 22:18:24.730012 [DEBUG] file.go:502: TRACE Fsync enter: ino(8388611)\n\
             2026/11/20 22:18:24.731155 [DEBUG] file.go:518: TRACE Fsync: ino(8388611) (1143201)ns\n\
             2026/11/20 22:18:24.731155 [INFO] other.go:1: nothing of ours\n",
        );
        let seen: Vec<_> = found
            .iter()
            .map(|op| {
                (
                    op.name.as_str(),
                    op.ino,
                    op.offset,
                    op.length,
                    op.duration_ns,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (
                    "Write",
                    Some(8_388_611),
                    Some(4_440_064),
                    Some(4096),
                    Some(625_123)
                ),
                (
                    "Read",
                    Some(8_388_611),
                    Some(4_395_008),
                    Some(131_072),
                    Some(98_000)
                ),
                ("Write", Some(5), Some(0), Some(4096), Some(1_500_000)),
                ("Fsync", Some(8_388_611), None, None, Some(1_143_201)),
            ]
        );
    }

    #[test]
    fn libfuse() {
        let found = ops(
            "libfuse",
            "1795222362.103482 dev unique: 32, opcode: WRITE (16), nodeid: 2, insize: 16464, pid: 77\n\
             1795222362.103491 write[1] 16384 bytes to 4440064 flags: 0x8002\n\
             1795222362.103552    write[1] 16384 bytes to 4440064\n\
             1795222362.103560    unique: 32, success, outsize: 24\n\
             1795222362.103600 unique: 34, opcode: FSYNC (20), nodeid: 2, insize: 56, pid: 77\n\
             1795222362.103700    unique: 34, error: -5 (Input/output error), outsize: 16\n\
             unique: 36, opcode: FSYNC (20), nodeid: 2, insize: 56, pid: 77\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].offset, found[0].length),
            (Some(4_440_064), Some(16384))
        );
        assert_eq!(
            (found[0].duration_ns, found[0].pid),
            (Some(78_000), Some(77))
        );
        assert_eq!(found[1].result, "-5 (Input/output error)");
    }
}
