//! Records as text, for people.

use crate::{PageRow, Record, Utc};
use core::fmt::{self, Write};

/// Writes `record` as one line, and one more for each page of a report, each with its newline.
///
/// Does not allocate. Fails only where `out` does.
pub fn write_text(record: &Record<'_>, out: &mut impl Write) -> fmt::Result {
    let r = record;
    write!(
        out,
        "{} {} pid {} tid {} {}",
        Utc(r.time_ns),
        Upper(r.level.word()),
        r.pid,
        r.tid,
        r.event
    )?;
    text(out, "", &r.code)?;
    if let Some(call) = r.call {
        write!(out, " #{call}")?;
    }
    if !r.path.is_empty() {
        write!(out, " {}", r.path)?;
    }
    match (r.dev, r.ino) {
        (Some(dev), Some(ino)) => write!(out, " ({dev} ino {ino})")?,
        (Some(dev), None) => write!(out, " ({dev})")?,
        (None, Some(ino)) => write!(out, " (ino {ino})")?,
        (None, None) => {}
    }
    field(out, "fd", r.fd)?;
    field(out, "offset", r.offset)?;
    field(out, "length", r.length)?;
    field(out, "addr", r.addr)?;
    field(out, "new-addr", r.new_addr)?;
    field(out, "new-length", r.new_length)?;
    text(out, "", &r.prot)?;
    text(out, "", &r.flags)?;
    if let Some(result) = r.result {
        write!(out, " = {result}")?;
    }
    if let Some(errno) = r.errno {
        write!(out, " {errno}")?;
    }
    if let Some(ns) = r.duration_ns {
        write!(out, " ({})", Duration(ns))?;
    }
    text(out, "tracker ", &r.tracker)?;
    if r.dirty_pages.is_some() || !r.dirty.is_empty() {
        out.write_str(" dirty")?;
        if let Some(pages) = r.dirty_pages {
            write!(
                out,
                " {pages} {}",
                if pages == 1 { "page" } else { "pages" }
            )?;
        }
        for range in r.dirty.iter() {
            let end = range.offset.saturating_add(range.length);
            write!(out, " [{},{end})", range.offset)?;
        }
    }
    field(out, "dropped", r.dropped_pages)?;
    field(out, "cached", r.cached_pages)?;
    if let Some(verdict) = r.verdict {
        write!(out, " {verdict}")?;
    }
    if let Some(v) = r.verdicts {
        write!(
            out,
            " (verified {} newer {} stale {} uncertain {})",
            v.verified, v.newer, v.stale, v.uncertain
        )?;
    }
    field(out, "rung", r.rung)?;
    if let Some(stats) = &r.stats {
        for (name, value) in stats.iter() {
            match name.strip_suffix("_ns") {
                Some(step) => write!(out, " {step} {}", Duration(value))?,
                None => write!(out, " {} {value}", Dashed(name))?,
            }
        }
    }
    if let Some(findings) = r.findings {
        out.write_str(" findings")?;
        if findings.is_empty() {
            out.write_str(" none")?;
        }
        for (finding, count) in findings.iter() {
            write!(out, " {finding}={count}")?;
        }
    }
    text(out, "reason: ", &r.reason)?;
    if !r.message.is_empty() {
        out.write_str(": ")?;
        crate::scalar::lossy(r.message.as_bytes(), out)?;
    }
    if r.supervised {
        out.write_str(" supervised")?;
    }
    if r.truncated {
        out.write_str(" [truncated]")?;
    }
    out.write_char('\n')?;
    r.pages.iter().try_for_each(|page| row(page, out))
}

fn row(page: &PageRow, out: &mut impl Write) -> fmt::Result {
    write!(
        out,
        "    page {} [{},{}) {}",
        page.page, page.start, page.end, page.verdict
    )?;
    if let Some(content) = page.content {
        write!(out, " {content}")?;
    }
    field(out, "wrong-bytes", page.wrong_bytes)?;
    field(out, "first-diff", page.first_diff)?;
    field(out, "expected", page.expected_hex)?;
    field(out, "actual", page.actual_hex)?;
    field(out, "expected-hash", page.expected_hash)?;
    field(out, "actual-hash", page.actual_hash)?;
    if let Some(rung) = page.rung {
        write!(out, " cured by {rung}")?;
    }
    out.write_char('\n')
}

fn field(out: &mut impl Write, name: &str, value: Option<impl fmt::Display>) -> fmt::Result {
    match value {
        Some(value) => write!(out, " {name} {value}"),
        None => Ok(()),
    }
}

fn text(out: &mut impl Write, label: &str, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    write!(out, " {label}")?;
    crate::scalar::lossy(text.as_bytes(), out)
}

struct Upper(&'static str);

impl fmt::Display for Upper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| f.write_char(c.to_ascii_uppercase()))
    }
}

/// The name of a number as text shows names.
struct Dashed(&'static str);

impl fmt::Display for Dashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dashed = |c| if c == '_' { '-' } else { c };
        self.0.chars().try_for_each(|c| f.write_char(dashed(c)))
    }
}

/// A duration in ns, in the unit that people would choose, to a tenth of it.
struct Duration(u64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..1_000 => return write!(f, "{} ns", self.0),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        write!(f, "{}.{} {name}", self.0 / unit, self.0 % unit * 10 / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    fn text(record: &Record<'_>) -> String {
        let mut out = String::new();
        write_text(record, &mut out).unwrap();
        out
    }

    #[test]
    fn an_msync_reads_as_one_line() {
        let dirty = [ByteRange {
            offset: 4440064,
            length: 16384,
        }];
        let record = Record {
            time_ns: 1_795_210_801_123_456_789,
            event: event::MSYNC.into(),
            call: Some(3),
            path: "/mnt/f".into(),
            dev: Some(Dev {
                major: 0,
                minor: 51,
            }),
            ino: Some(2),
            offset: Some(0),
            length: Some(12_800_000),
            addr: Some(HexU64(0x7f00_0000_0000)),
            flags: "MS_SYNC".into(),
            result: Some(0),
            duration_ns: Some(1_234_567),
            tracker: "cachestat".into(),
            dirty: dirty.as_slice().into(),
            dirty_pages: Some(4),
            dropped_pages: Some(32),
            verdict: Some(Verdict::Verified),
            ..Record::new(Level::Info, 12, 13)
        };
        assert_eq!(
            text(&record),
            "2026-11-20 21:40:01.123456789Z INFO pid 12 tid 13 msync #3 /mnt/f (0:51 ino 2) \
             offset 0 length 12800000 addr 0x7f0000000000 MS_SYNC = 0 (1.2 ms) tracker cachestat \
             dirty 4 pages [4440064,4456448) dropped 32 verified\n"
        );
    }

    #[test]
    fn a_report_has_a_line_for_each_page() {
        let pages = [PageRow {
            page: 1085,
            start: 4444160,
            end: 4448256,
            wrong_bytes: Some(4096),
            verdict: Verdict::Stale,
            content: Some(Content::Old),
            first_diff: Some(4444160),
            expected_hex: Some(HexBytes::new(b"new")),
            actual_hex: Some(HexBytes::new(b"old")),
            ..PageRow::default()
        }];
        let record = Record {
            event: event::REPORT.into(),
            errno: Some(Errno(libc::EIO)),
            result: Some(-1),
            message: "1 page\nis wrong".into(),
            pages: pages.as_slice().into(),
            ..Record::new(Level::Error, 1, 1)
        };
        assert_eq!(
            text(&record),
            "1970-01-01 00:00:00.000000000Z ERROR pid 1 tid 1 report = -1 EIO: 1 page\\nis wrong\n\
             \x20   page 1085 [4444160,4448256) stale old wrong-bytes 4096 first-diff 4444160 \
             expected 6e6577 actual 6f6c64\n"
        );
    }

    #[test]
    fn a_summary_reads_as_one_line() {
        let mut findings = FindingCounts::default();
        findings.0[Finding::Redundant as usize] = 2;
        let record = Record {
            event: event::SUMMARY.into(),
            path: "/mnt/f".into(),
            stats: Some(Stats {
                mapped_bytes: Some(8192),
                resident_pages: Some(0),
                msync_ns: Some(1_500),
                ..Stats::default()
            }),
            findings: Some(findings),
            ..Record::new(Level::Info, 1, 1)
        };
        assert_eq!(
            text(&record),
            "1970-01-01 00:00:00.000000000Z INFO pid 1 tid 1 summary /mnt/f mapped-bytes 8192 \
             resident-pages 0 msync 1.5 us findings KMD-L9=2\n"
        );
    }

    #[test]
    fn durations_choose_their_unit() {
        for (ns, text) in [
            (999, "999 ns"),
            (1_000, "1.0 us"),
            (1_999, "1.9 us"),
            (999_999_999, "999.9 ms"),
            (61_500_000_000, "61.5 s"),
        ] {
            assert_eq!(Duration(ns).to_string(), text);
        }
    }
}
