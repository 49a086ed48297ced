//! Where lines go: the log file in the helper's table, or standard error while it is still what
//! it was before main.

use crate::helper::{self, Worker};
use crate::sys::{
    self,
    write::{self, Way},
};
use crate::{config, process};
use core::ffi::CStr;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use keepmydata_records::{LineBuf, LogLevel};
use keepmydata_sink::{self as file, Failure};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

const STDERR: i32 = 2;

/// What descriptor 2 was before main: device and inode.
static STDERR_DEV: AtomicU64 = AtomicU64::new(0);
static STDERR_INO: AtomicU64 = AtomicU64::new(0);
static HAD_STDERR: AtomicBool = AtomicBool::new(false);

/// Notes what standard error is, and takes what `tracing` lets through. Called once, while booting.
pub fn boot() {
    if let Some(Ok(stat)) = sys::fd::of_program(STDERR, |stderr| rustix::fs::fstat(stderr)) {
        STDERR_DEV.store(stat.st_dev, Ordering::Relaxed);
        STDERR_INO.store(stat.st_ino, Ordering::Relaxed);
        HAD_STDERR.store(true, Ordering::Relaxed);
    }
    if tracing::dispatcher::set_global_default(Dispatch::new(Sink { _byte: 0 })).is_ok() {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// The subscriber: it filters by level and writes the line of each event.
struct Sink {
    /// Without a size, `tracing`'s pointer to it leads past its block, and leak checkers miss it.
    _byte: u8,
}

impl Subscriber for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level())
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line {
            helper: false,
            level: *event.metadata().level(),
        });
    }

    // The shim makes no spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn level() -> LevelFilter {
    match config::settings().log {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Takes the fields of an event in their order: first where it happened, then its line.
struct Line {
    helper: bool,
    level: Level,
}

impl Visit for Line {
    fn record_bool(&mut self, _: &Field, helper: bool) {
        self.helper = helper;
    }

    fn record_str(&mut self, _: &Field, line: &str) {
        write(self.helper, self.level, line.as_bytes());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

fn write(helper: bool, level: Level, line: &[u8]) {
    let worker = Worker::new(process::this(), helper);
    let log_file = config::settings().log_file.template();
    let done = match log_file.filter(|path| !STDERR_PATHS.contains(path)) {
        None => to_stderr(&worker, line).is_ok(),
        Some(_) => match to_file(&worker, line) {
            Ok(()) => true,
            Err(failure) => {
                complain(&worker, failure);
                // That data is at risk must not be lost with the log.
                level == Level::ERROR && to_stderr(&worker, line).is_ok()
            }
        },
    };
    if !done {
        worker.record_lost();
    }
}

/// Other names of standard error, which is not opened anew for them.
const STDERR_PATHS: [&[u8]; 3] = [b"/dev/stderr", b"/dev/fd/2", b"/proc/self/fd/2"];

/// How long a line may wait for whoever reads it, ns.
const PATIENCE: u64 = 1_000_000_000;
/// The last line waited in vain: the next ones do not wait.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Writes a line, which is lost where nobody takes it in time. One write a line, so that lines of several
/// processes do not mix: in a file by `O_APPEND`, in a pipe as far as they fit `PIPE_BUF` (pipe(7)).
fn put(to: BorrowedFd<'_>, way: Way, line: &[u8]) -> Result<(), Errno> {
    let patience = match STUCK.load(Ordering::Relaxed) {
        true => 0,
        false => PATIENCE,
    };
    let done = write::all(to, way, line, patience);
    STUCK.store(done == Err(Errno::AGAIN), Ordering::Relaxed);
    done
}

fn to_file(worker: &Worker, line: &[u8]) -> Result<(), Failure> {
    let mut path = [0u8; libc::PATH_MAX as usize + 1];
    let path = path_of(worker, &mut path).ok_or(Errno::NAMETOOLONG)?;
    match worker.log_file(|| file::open(path))? {
        Some(file) => Ok(put(file, Way::Plain, line)?),
        // Before main a descriptor of the shim's is in nobody's way.
        None if !process::is_open() => {
            let file = file::open(path)?;
            Ok(put(file.as_fd(), Way::Plain, line)?)
        }
        None => Err(Failure::Refused(
            "the shim could start no thread to open it",
        )),
    }
}

/// The path of the log file, into `buffer`.
fn path_of<'b>(worker: &Worker, buffer: &'b mut [u8]) -> Option<&'b CStr> {
    let room = buffer.len() - 1;
    let pid = worker.process().pid() as u32;
    config::settings().log_file.path(pid, &mut buffer[..room])?;
    CStr::from_bytes_until_nul(buffer).ok()
}

/// Says on standard error that the log cannot be written; once, whatever comes after that.
#[cold]
fn complain(worker: &Worker, failure: Failure) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut path = [0u8; libc::PATH_MAX as usize + 1];
    let path = path_of(worker, &mut path).map_or(&b""[..], CStr::to_bytes);
    let mut line = LineBuf::<1024>::new();
    super::text(
        &mut line,
        format_args!(
            "keepmydata: the log cannot be written to {}: {failure}; its records are lost, but for errors, \
             which come here\n",
            Tail(path),
        ),
    );
    let _ = to_stderr(worker, line.as_bytes());
}

/// A path that is shown, or its end; without control characters.
struct Tail<'a>(&'a [u8]);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = &self.0[self.0.len().saturating_sub(512)..];
        for part in tail.utf8_chunks() {
            part.valid().chars().try_for_each(|c| {
                fmt::Write::write_char(f, if c.is_control() { '?' } else { c })
            })?;
            if !part.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

/// Writes to descriptor 2, which before main is what whoever started the program gave it.
pub fn say_before_main(line: &[u8]) {
    sys::fd::of_program(STDERR, |stderr| {
        if let Ok(stat) = rustix::fs::fstat(stderr) {
            let _ = put(stderr, Way::of(&stat), line);
        }
    });
}

fn to_stderr(worker: &Worker, line: &[u8]) -> Result<(), Errno> {
    if !worker.has_descriptors() {
        let put = |stderr: BorrowedFd<'_>| if_the_same(worker, stderr, line);
        return sys::fd::of_program(STDERR, put).unwrap_or(Err(Errno::BADF));
    }
    let copy = match worker.borrow_from_program(STDERR) {
        Some(copy) => copy,
        // Yama lets only ancestors and root have it (ptrace(2)), and of a program that has changed its
        // user nobody gets it.
        None => {
            let own = Worker::without_descriptors(worker.process());
            if let Some(done) = helper::on_program(|| to_stderr(&own, line)) {
                return done;
            }
            worker.reopen_of_program(STDERR).ok_or(Errno::BADF)?
        }
    };
    if_the_same(worker, copy.as_fd(), line)
}

/// Writes to `stderr` if that is what it was at the start.
fn if_the_same(worker: &Worker, stderr: BorrowedFd<'_>, line: &[u8]) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(stderr)?;
    let same = HAD_STDERR.load(Ordering::Relaxed)
        && stat.st_dev == STDERR_DEV.load(Ordering::Relaxed)
        && stat.st_ino == STDERR_INO.load(Ordering::Relaxed);
    if !same {
        return Err(Errno::BADF);
    }
    let way = Way::of(&stat);
    if way == Way::Plain && write::is_terminal(stderr) {
        return to_terminal(worker, stderr, line);
    }
    put(stderr, way, line)
}

/// Writes to a terminal, which may be stopped (Ctrl-S): through a description of the shim's own, that does not
/// wait. Where there is none, it is asked for room beforehand, which may be too little.
fn to_terminal(worker: &Worker, stderr: BorrowedFd<'_>, line: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    if worker.has_descriptors()
        && let Ok(own) = worker.reopen_own(stderr.as_raw_fd(), flags)
    {
        return put(own.as_fd(), Way::Plain, line);
    }
    match write::is_ready(stderr, PATIENCE) {
        true => put(stderr, Way::Plain, line),
        false => Err(Errno::AGAIN),
    }
}
