//! The test bed's op log, as far as reads and page writeback go.

use std::ops::Range;

pub const PAGE: u64 = 4096;

/// A request as it came in.
pub struct Op {
    pub time_ns: u64,
    pub pid: u64,
    what: String,
    flags: String,
    bytes: Range<u64>,
}

impl Op {
    /// All READ and WRITE requests of a log.
    pub fn parse_all(log: &str) -> Vec<Self> {
        log.lines().filter_map(Self::parse).collect()
    }

    /// `DATE TIMEZ TRACE Write enter: ... offset(N) len(N) flags(F) ... pid(N) ...`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (_date, time) = (words.next()?, words.next()?);
        let (_level, what) = (words.next()?, words.next()?);
        if words.next() != Some("enter:") || !(what == "Read" || what == "Write") {
            return None;
        }
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}("))?;
            rest.split_once(')').map(|(value, _)| value)
        };
        let offset: u64 = field("offset")?.parse().ok()?;
        let len: u64 = field("len")?.parse().ok()?;
        Some(Self {
            time_ns: of_day(time)? + midnight(line)?,
            pid: field("pid")?.parse().ok()?,
            what: what.to_owned(),
            flags: field("flags")?.to_owned(),
            bytes: offset..offset + len,
        })
    }

    pub fn covers(&self, page: u64) -> bool {
        self.bytes.start < (page + 1) * PAGE && page * PAGE < self.bytes.end
    }

    pub fn is_page_write(&self) -> bool {
        self.what == "Write" && self.flags.contains("WRITE_CACHE")
    }

    /// A page fault reads through the descriptor that was mapped, which is open for both.
    pub fn is_read_of_mapping(&self) -> bool {
        self.what == "Read" && self.flags.contains("O_RDWR")
    }
}

/// `HH:MM:SS.NNNNNNNNNZ` in ns.
fn of_day(time: &str) -> Option<u64> {
    let (clock, nanoseconds) = time.strip_suffix('Z')?.split_once('.')?;
    let seconds = clock.split(':').try_fold(0u64, |sum, part| {
        part.parse::<u64>().ok().map(|part| sum * 60 + part)
    })?;
    Some(seconds * 1_000_000_000 + nanoseconds.parse::<u64>().ok()?)
}

/// The beginning of the day `YYYY-MM-DD...`, ns since the epoch.
fn midnight(line: &str) -> Option<u64> {
    let mut parts = line.get(..10)?.split('-');
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (year, month, day) = (next()?, next()?, next()?);
    // Days of the civil calendar, with the year beginning in March.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 * 1_000_000_000)
}

#[test]
fn an_op_is_read() {
    let line = "2026-11-20 22:18:24.722209688Z TRACE Write enter: ino(2) offset(4096) len(8192) \
                flags(WRITE_CACHE) fh(1) pid(0) unique(32)";
    let op = Op::parse(line).expect("an op");
    assert_eq!(op.time_ns, 1_795_213_104_722_209_688);
    assert!(op.is_page_write() && op.covers(1) && op.covers(2));
    assert!(!op.covers(0) && !op.covers(3));
}
