//! Where records go while they are read: the sums, the page, the trace.

use super::args::ReportOptions;
use super::catalog::Catalog;
use super::daemon::{Log, Op};
use super::html::{self, Contents};
use super::kept::Kept;
use super::summary::Summary;
use super::trace::Trace;
use crate::failure::Failure;
use crate::run::reason;
use keepmydata_records::Record;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

pub struct Outputs {
    catalog: Catalog,
    summary: Summary,
    page: Option<(Kept, Named)>,
    /// An error, once it cannot be written: what the logs say is still to be told.
    trace: io::Result<Option<Trace<Named>>>,
    daemons: Vec<String>,
}

impl Outputs {
    /// Makes the files that are asked for, so that it shows early where that cannot be.
    pub fn new(options: &ReportOptions, daemons: &[Log]) -> Result<Self, Failure> {
        let page = options.html.as_deref().map(Named::create).transpose();
        let trace = options.trace.as_deref().map(Named::create).transpose();
        let trace = trace.and_then(|file| file.map(Trace::new).transpose());
        let failed = |error: io::Error| Failure::own(error.to_string());
        Ok(Outputs {
            catalog: Catalog::default(),
            summary: Summary::default(),
            page: page
                .map_err(failed)?
                .map(|file| (Kept::new(options.records), file)),
            trace: Ok(trace.map_err(failed)?),
            daemons: daemons.iter().map(|log| log.name.clone()).collect(),
        })
    }

    pub fn add(&mut self, record: &Record<'_>) {
        let about = self.catalog.about(record);
        let tear = self.summary.add(record, about);
        if let Some((kept, _)) = &mut self.page {
            kept.add(record, about, tear);
        }
        self.traced(|trace, _| trace.add(record));
    }

    /// Whether an operation of a daemon fell into the time of the records, give or take a second. A
    /// daemon's log often holds days, in which the calls would not be seen.
    pub fn is_of_these_times(&self, op: &Op) -> bool {
        const AROUND_NS: u64 = 1_000_000_000;
        self.summary.times.is_none_or(|(first, last)| {
            let end = op.time_ns.saturating_add(op.duration_ns.unwrap_or(0));
            end.saturating_add(AROUND_NS) >= first && op.time_ns <= last.saturating_add(AROUND_NS)
        })
    }

    pub fn add_op(&mut self, op: &Op) {
        if let Some((kept, _)) = &mut self.page {
            kept.add_op(op);
        }
        self.traced(|trace, daemons| trace.add_op(op, &daemons[op.daemon as usize]));
    }

    fn traced(&mut self, add: impl FnOnce(&mut Trace<Named>, &[String]) -> io::Result<()>) {
        if let Ok(Some(trace)) = &mut self.trace
            && let Err(error) = add(trace, &self.daemons)
        {
            self.trace = Err(error);
        }
    }

    /// Writes what remains to be written. Where there was no record, no file is written, and what
    /// had its name before is untouched.
    pub fn finish(
        mut self,
        logs: usize,
        unreadable: u64,
    ) -> (Catalog, Summary, Result<(), Failure>) {
        if self.summary.records == 0 {
            return (self.catalog, self.summary, Ok(()));
        }
        let page = match self.page.take() {
            None => Ok(()),
            Some((mut kept, mut file)) => {
                kept.sort();
                let contents = Contents {
                    catalog: &self.catalog,
                    summary: &self.summary,
                    kept: &kept,
                    daemons: &self.daemons,
                    logs,
                    unreadable,
                };
                html::write(&contents, &mut file).and_then(|()| file.keep())
            }
        };
        let trace = self.trace.and_then(|trace| match trace {
            None => Ok(()),
            Some(trace) => trace.finish().and_then(Named::keep),
        });
        let written = page
            .and(trace)
            .map_err(|error| Failure::own(error.to_string()));
        (self.catalog, self.summary, written)
    }
}

/// A file whose errors name it. It has its name only once it is whole; until then it is beside it
/// under another, and is removed when dropped.
struct Named {
    path: PathBuf,
    file: BufWriter<File>,
    /// None for what is no regular file, such as /dev/stdout.
    unfinished: Option<TempPath>,
}

impl Named {
    fn create(path: &Path) -> io::Result<Named> {
        Named::open(path).map_err(|error| named(path, &error))
    }

    fn open(path: &Path) -> io::Result<Named> {
        // Through symbolic links, which are to stay.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (file, unfinished) = match fs::metadata(&path) {
            Ok(found) if !found.is_file() => (File::options().write(true).open(&path)?, None),
            _ => {
                let directory = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                let (file, unfinished) = tempfile::Builder::new()
                    .prefix(".keepmydata-report-")
                    // Less the umask, as of any file.
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(directory.unwrap_or(Path::new(".")))?
                    .into_parts();
                (file, Some(unfinished))
            }
        };
        Ok(Named {
            path,
            file: BufWriter::new(file),
            unfinished,
        })
    }

    /// It is whole.
    fn keep(mut self) -> io::Result<()> {
        self.flush()?;
        match self.unfinished {
            Some(unfinished) => unfinished
                .persist(&self.path)
                .map_err(|error| named(&self.path, &error.error)),
            None => Ok(()),
        }
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("{}: {}", path.display(), reason(error)),
    )
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file
            .write(bytes)
            .map_err(|error| named(&self.path, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| named(&self.path, &error))
    }
}
