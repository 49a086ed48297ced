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
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub struct Outputs {
    catalog: Catalog,
    summary: Summary,
    page: Option<(Kept, Named)>,
    trace: Option<Trace<Named>>,
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
            trace: trace.map_err(failed)?,
            daemons: daemons.iter().map(|log| log.name.clone()).collect(),
        })
    }

    pub fn add(&mut self, record: &Record<'_>) -> io::Result<()> {
        let about = self.catalog.about(record);
        let tear = self.summary.add(record, about);
        if let Some((kept, _)) = &mut self.page {
            kept.add(record, about, tear);
        }
        match &mut self.trace {
            Some(trace) => trace.add(record),
            None => Ok(()),
        }
    }

    pub fn add_op(&mut self, op: &Op) -> io::Result<()> {
        if let Some((kept, _)) = &mut self.page {
            kept.add_op(op);
        }
        match &mut self.trace {
            Some(trace) => trace.add_op(op, &self.daemons[op.daemon as usize]),
            None => Ok(()),
        }
    }

    /// Writes what remains to be written.
    pub fn finish(mut self, logs: usize, unreadable: u64) -> Result<(Catalog, Summary), Failure> {
        let written = match &mut self.page {
            None => Ok(()),
            Some((kept, file)) => {
                kept.sort();
                let contents = Contents {
                    catalog: &self.catalog,
                    summary: &self.summary,
                    kept,
                    daemons: &self.daemons,
                    logs,
                    unreadable,
                };
                html::write(&contents, file).and_then(|()| file.flush())
            }
        };
        let written = written.and_then(|()| self.trace.take().map_or(Ok(()), Trace::finish));
        written.map_err(|error| Failure::own(error.to_string()))?;
        Ok((self.catalog, self.summary))
    }
}

/// A file whose errors name it.
struct Named {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Named {
    fn create(path: &Path) -> io::Result<Named> {
        let path = path.to_owned();
        match File::create(&path) {
            Ok(file) => Ok(Named {
                path,
                file: BufWriter::new(file),
            }),
            Err(error) => Err(named(&path, &error)),
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
