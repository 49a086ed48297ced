//! Where lines go: the log file in the custodian's table, or standard error while it is still what
//! it was before main.

use crate::custodian::Worker;
use crate::process;
use crate::{boot, config};
use core::ffi::CStr;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use keepmydata_records::LogLevel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

const STDERR: i32 = 2;

/// What descriptor 2 was before main: device and inode.
static STDERR_DEV: AtomicU64 = AtomicU64::new(0);
static STDERR_INO: AtomicU64 = AtomicU64::new(0);
static HAD_STDERR: AtomicBool = AtomicBool::new(false);

pub fn boot() {
    // SAFETY: descriptor 2 is only looked at; where it is closed, fstat fails.
    if let Ok(stat) = rustix::fs::fstat(unsafe { BorrowedFd::borrow_raw(STDERR) }) {
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
            custodian: false,
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
    custodian: bool,
    level: Level,
}

impl Visit for Line {
    fn record_bool(&mut self, _: &Field, custodian: bool) {
        self.custodian = custodian;
    }

    fn record_str(&mut self, _: &Field, line: &str) {
        write(self.custodian, self.level, line.as_bytes());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

fn write(custodian: bool, level: Level, line: &[u8]) {
    let worker = Worker::new(process::this(), custodian);
    let done = match config::settings().log_file.template() {
        // That data is at risk must not be lost with the custodian.
        Some(_) if level == Level::ERROR => {
            to_file(&worker, line).or_else(|| to_stderr(&worker, line))
        }
        Some(_) => to_file(&worker, line),
        None => to_stderr(&worker, line),
    };
    if done.is_none() {
        worker.record_lost();
    }
}

fn to_file(worker: &Worker, line: &[u8]) -> Option<()> {
    let mut path = [0u8; libc::PATH_MAX as usize + 1];
    let room = path.len() - 1;
    let pid = worker.process().pid() as u32;
    config::settings().log_file.path(pid, &mut path[..room])?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    match worker.log_file(path) {
        // One write a line: lines of several processes do not mix (write(2), O_APPEND).
        Some(file) => write_all(file, line),
        // Before main a descriptor of the shim's is in nobody's way.
        None if !boot::is_open() => {
            let file = Worker::open_log(path).ok()?;
            write_all(file.as_fd(), line)
        }
        None => None,
    }
}

fn to_stderr(worker: &Worker, line: &[u8]) -> Option<()> {
    let copy;
    let stderr = if worker.has_descriptors() {
        copy = worker.borrow_from_program(STDERR)?;
        copy.as_fd()
    } else {
        // SAFETY: looked at, then written to if it is still what it was.
        unsafe { BorrowedFd::borrow_raw(STDERR) }
    };
    let stat = rustix::fs::fstat(stderr).ok()?;
    let same = HAD_STDERR.load(Ordering::Relaxed)
        && stat.st_dev == STDERR_DEV.load(Ordering::Relaxed)
        && stat.st_ino == STDERR_INO.load(Ordering::Relaxed);
    if !same {
        return None;
    }
    // A pipe that nobody empties must not hold up the program's msync for ever.
    let patience = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut wait = [PollFd::new(&stderr, PollFlags::OUT)];
    match poll(&mut wait, Some(&patience)) {
        Ok(n) if n > 0 => write_all(stderr, line),
        _ => None,
    }
}

fn write_all(to: BorrowedFd<'_>, mut line: &[u8]) -> Option<()> {
    while !line.is_empty() {
        match rustix::io::write(to, line) {
            Ok(n) => line = line.get(n..)?,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(())
}
