//! Logs that grow, and what they came to so far.

use crate::failure::Failure;
use crate::report::catalog::{About, Catalog};
use crate::report::input::{self, Source};
use crate::report::lines::{Line, Lines};
use crate::report::summary::Summary;
use keepmydata_records::{Level, Record, event};
use std::collections::VecDeque;
use std::io::Read;
use std::time::Instant;

/// So many events are shown.
const LATEST: usize = 200;
/// Seconds that rates are taken over.
const RATE_OVER: usize = 60;

pub struct Live {
    logs: Vec<(Source, Lines<Box<dyn Read>>)>,
    pub catalog: Catalog,
    pub summary: Summary,
    /// The latest last.
    pub latest: VecDeque<Latest>,
    /// msyncs in each second of the log's time: which second, how many.
    pub rates: VecDeque<(u64, u64)>,
    pub unreadable: u64,
    /// There is more to read than there was time for.
    pub behind: bool,
}

/// An event as a line.
pub struct Latest {
    pub time_ns: u64,
    pub level: Level,
    pub event: String,
    pub about: About,
    pub call: Option<u64>,
    pub duration_ns: Option<u64>,
    pub text: String,
}

impl Live {
    pub fn open(sources: &[Source]) -> Result<Live, Failure> {
        let logs = sources.iter().map(|source| {
            let lines = Lines::new(source.open()?);
            Ok((source.clone(), lines))
        });
        Ok(Live {
            logs: logs.collect::<Result<_, Failure>>()?,
            catalog: Catalog::default(),
            summary: Summary::default(),
            latest: VecDeque::new(),
            rates: VecDeque::new(),
            unreadable: 0,
            behind: false,
        })
    }

    /// Reads what was appended since, until `deadline`.
    pub fn read(&mut self, deadline: Instant) -> Result<(), Failure> {
        self.behind = false;
        let mut logs = std::mem::take(&mut self.logs);
        for (source, lines) in &mut logs {
            let mut count = 0u32;
            while let Some(line) = lines.next().map_err(|error| source.failure(&error))? {
                self.line(line);
                count += 1;
                if count.is_multiple_of(256) && Instant::now() > deadline {
                    self.behind = true;
                    break;
                }
            }
        }
        self.logs = logs;
        Ok(())
    }

    fn line(&mut self, line: Line<'_>) {
        let line = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => return,
            Line::Whole(line) => line,
            Line::TooLong => {
                self.unreadable += 1;
                return;
            }
        };
        match input::record(line) {
            Err(_) => self.unreadable += 1,
            Ok(record) => {
                let about = self.catalog.about(&record);
                self.summary.add(&record, about);
                self.note(&record, about);
            }
        }
    }

    fn note(&mut self, record: &Record<'_>, about: About) {
        if record.event == event::MSYNC {
            let second = record.time_ns / 1_000_000_000;
            match self.rates.iter_mut().find(|(at, _)| *at == second) {
                Some((_, count)) => *count += 1,
                None => self.rates.push_back((second, 1)),
            }
            // Logs of several processes come one after the other, not in order of time.
            self.rates.make_contiguous().sort_unstable();
            while self.rates.len() > RATE_OVER {
                self.rates.pop_front();
            }
        }
        // Steps would push out what is of interest.
        if record.level > Level::Info {
            return;
        }
        let errno = record.errno.map(|errno| format!("{errno} "));
        let text = [&*record.message, &*record.reason].concat();
        self.latest.push_back(Latest {
            time_ns: record.time_ns,
            level: record.level,
            event: crate::report::short(&record.event, 20),
            about,
            call: record.call,
            duration_ns: record.duration_ns,
            text: errno.unwrap_or_default() + &crate::report::short(&text, 200),
        });
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }

    /// msyncs in each of the last seconds up to the latest msync, gaps included.
    pub fn rates(&self) -> Vec<u64> {
        let Some((last, _)) = self.rates.back() else {
            return Vec::new();
        };
        let first = last.saturating_sub(RATE_OVER as u64 - 1);
        let count = |second| self.rates.iter().find(|(at, _)| *at == second);
        (first..=*last)
            .map(|second| count(second).map_or(0, |(_, count)| *count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    #[test]
    fn what_is_appended_is_seen() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let source = Source::File(log.path().to_owned());
        let mut live = Live::open(&[source]).unwrap();
        let later = || Instant::now() + Duration::from_secs(60);
        live.read(later()).unwrap();
        assert_eq!(live.summary.records, 0);
        let line = r#"{"time_ns":5000000000,"level":"info","pid":7,"tid":7,"event":"msync","path":"/f","result":0}"#;
        write!(log, "{line}\nno record\n{}", &line[..20]).unwrap();
        live.read(later()).unwrap();
        assert_eq!((live.summary.records, live.unreadable), (1, 1));
        writeln!(log, "{}", &line[20..]).unwrap();
        live.read(later()).unwrap();
        assert_eq!((live.summary.records, live.unreadable), (2, 1));
        assert_eq!(live.rates(), [0, 0, 0, 0, 0, 2]);
        assert_eq!(live.latest.len(), 2);
    }
}
