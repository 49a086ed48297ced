//! The data comparison errors that doio prints, and whether the shim's log foretold them.

use keepmydata_records::{Record, Verdict, event};
use serde::{Deserialize, Serialize};

/// Of the machine that runs the test.
pub fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// One `*** DATA COMPARISON ERROR ***`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The process that stored, synced and read back.
    pub pid: u32,
    pub path: String,
    /// The store, in bytes of the file.
    pub offset: u64,
    pub length: u64,
    /// The first byte of the file that was read back wrong.
    pub first_bad: u64,
    pub expected: String,
    pub actual: String,
    /// Under the shim: the verdict that the log gave on that byte's page, in the report of the
    /// very msync, before the read. None: nobody said so.
    pub foretold: Option<String>,
}

/// All comparison errors in what a test printed.
///
/// ```text
/// doio(rwtest04) ( 1234) 22:33:11
/// ---------------------
/// *** DATA COMPARISON ERROR ***
/// check_file(/mnt/f, 4442856, 9927, L:1234:host:doio*, 20, 0) failed
///
/// Comparison fd is 4, with open flags 0
/// Corrupt regions follow - unprintable chars are represented as '.'
/// -----------------------------------------------------------------
/// corrupt bytes starting at file offset 4444160
///     1st 32 expected bytes:  ...
///     1st 32 actual bytes:    ...
/// ```
pub fn parse(output: &str) -> Vec<Comparison> {
    let lines: Vec<&str> = output.lines().collect();
    let titles = (0..lines.len()).filter(|&n| lines[n] == "*** DATA COMPARISON ERROR ***");
    titles
        .filter_map(|title| parse_one(&lines, title))
        .collect()
}

fn parse_one(lines: &[&str], title: usize) -> Option<Comparison> {
    let header = lines[..title]
        .iter()
        .rev()
        .find(|line| line.contains(") ("))?;
    let pid = header.split(") (").nth(1)?.split(')').next()?.trim();
    let rest = &lines[title..];
    // Up to the next error.
    let end = rest[1..].iter().position(|line| line == &rest[0]);
    let rest = &rest[..end.map_or(rest.len(), |end| end + 1)];
    let after = |prefix: &str| {
        rest.iter()
            .find_map(|line| line.trim_start().strip_prefix(prefix))
    };
    let call = after("check_file(")?;
    let mut arguments = call.split(", ");
    let path = arguments.next()?.to_owned();
    let offset = arguments.next()?.parse().ok()?;
    let length = arguments.next()?.parse().ok()?;
    let bytes = |which: &str| {
        let line = rest.iter().find(|line| line.contains(which))?;
        Some(line.split(which).nth(1)?.trim_start().to_owned())
    };
    Some(Comparison {
        pid: pid.parse().ok()?,
        path,
        offset,
        length,
        first_bad: after("corrupt bytes starting at file offset ")?
            .trim()
            .parse()
            .ok()?,
        expected: bytes(" expected bytes:")?,
        actual: bytes(" actual bytes:")?,
        foretold: None,
    })
}

impl Comparison {
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// The records of the same file. Names tell files apart within a test; whole paths do not match
    /// where TMPDIR leads through a symbolic link. Reads are logged without a path.
    pub fn records<'r, 'a>(&self, all: &'r [Record<'a>]) -> Vec<&'r Record<'a>> {
        let name = self.path.rsplit('/').next();
        let is_named = |record: &&Record<'_>| {
            let path = record.path.to_string();
            let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
            !path.is_empty() && path.rsplit('/').next() == name
        };
        let file = |record: &Record<'_>| Some((record.dev?, record.ino?));
        let files: Vec<_> = all.iter().filter(is_named).filter_map(file).collect();
        let is_file = |record: &&Record<'_>| file(record).is_some_and(|file| files.contains(&file));
        all.iter().filter(is_file).collect()
    }

    /// When the process read the bad bytes, in ns since the epoch: doio ends at its first bad data,
    /// so that it is the last read of the process in that range. The end of time where reads were
    /// not logged. `records` are those of the file.
    pub fn time_of_read(&self, records: &[&Record<'_>]) -> u64 {
        let read = records.iter().rev().find(|record| {
            record.event == event::READ
                && record.pid == self.pid
                && touches(record, self.offset, self.end())
        });
        read.map_or(u64::MAX, |record| record.time_ns)
    }

    /// The verdict on the page of the first bad byte, in the report of the last msync of that file
    /// by that process before the read. `records` are those of the file.
    pub fn verdict(&self, records: &[&Record<'_>]) -> Option<Verdict> {
        let read = self.time_of_read(records);
        let mut own = records
            .iter()
            .rev()
            .filter(|record| record.pid == self.pid && record.time_ns <= read);
        let last = own.clone().find(|record| record.event == event::MSYNC)?;
        let report =
            own.find(|record| record.event == event::REPORT && record.call == last.call)?;
        let page = self.first_bad / page_size();
        let row = report.pages.iter().find(|row| row.page == page);
        row.map(|row| row.verdict)
            .filter(|verdict| matches!(verdict, Verdict::Stale | Verdict::Uncertain))
    }
}

/// Whether the range of a record overlaps `[start, end)`; true where it has none.
pub fn touches(record: &Record<'_>, start: u64, end: u64) -> bool {
    match (record.offset, record.length) {
        (Some(offset), Some(length)) => offset < end && start < offset.saturating_add(length),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
doio(rwtest04) (  912) 22:33:11
---------------------
*** DATA COMPARISON ERROR ***
check_file(/mnt/t/mm-sync-77, 4442856, 9927, L:912:host:doio*, 20, 0) failed

Comparison fd is 4, with open flags 0
Corrupt regions follow - unprintable chars are represented as '.'
-----------------------------------------------------------------
corrupt bytes starting at file offset 4444160
    1st 32 expected bytes:  L:912:host:doio*L:912:host:doio*
    1st 32 actual bytes:    ................................


doio(rwtest04) (  911) 22:33:12
---------------------
(parent) pid 912 exited because of data compare errors
";

    #[test]
    fn an_error_is_read_from_the_output() {
        let twice = [OUTPUT, OUTPUT].concat();
        let found = parse(&twice);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], found[1]);
        let one = &found[0];
        assert_eq!((one.pid, &*one.path), (912, "/mnt/t/mm-sync-77"));
        assert_eq!(
            (one.offset, one.length, one.first_bad),
            (4442856, 9927, 4444160)
        );
        assert_eq!(one.actual, "................................");
        assert_eq!(parse("*** DATA COMPARISON ERROR ***\n"), []);
    }

    #[test]
    fn only_the_report_of_the_very_msync_counts() {
        let one = &parse(OUTPUT)[0];
        let msync = |time, call| {
            format!(
                r#"{{"time_ns":{time},"level":"info","pid":912,"tid":912,"event":"msync","call":{call},"path":"/mnt/t/mm-sync-77","dev":"0:9","ino":3,"result":0,"offset":0,"length":12800000}}"#
            )
        };
        let report = |time, call, page: u64| {
            format!(
                r#"{{"time_ns":{time},"level":"warn","pid":912,"tid":912,"event":"report","call":{call},"path":"/mnt/t/mm-sync-77","dev":"0:9","ino":3,"pages":[{{"page":{page},"start":0,"end":4096,"verdict":"uncertain"}}]}}"#
            )
        };
        let read = r#"{"time_ns":9,"level":"trace","pid":912,"tid":912,"event":"read","dev":"0:9","ino":3,"offset":4442856,"length":9927}"#;
        let verdict = |lines: &[String]| {
            let text = lines.join("\n");
            let records = super::super::logs::read(&text);
            one.verdict(&one.records(&records))
        };
        let read = read.to_owned();
        let reported = [report(4, 2, 1085), msync(3, 2), read.clone()];
        assert_eq!(verdict(&reported), Some(Verdict::Uncertain));
        assert_eq!(verdict(&reported[..2]), Some(Verdict::Uncertain));
        assert_eq!(
            verdict(&[report(4, 2, 1084), msync(3, 2), read.clone()]),
            None
        );
        assert_eq!(
            verdict(&[report(4, 2, 1085), msync(3, 2), msync(6, 3), read.clone()]),
            None
        );
        assert_eq!(
            verdict(&[msync(3, 2), read.clone(), report(10, 2, 1085)]),
            None
        );
        assert_eq!(verdict(&[read]), None);
    }
}
