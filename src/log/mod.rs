//! The log: records of calls and steps, on their way to where the settings want them.
//!
//! A record is formatted and written by a helper thread, whose table holds the log file; the
//! program's thread waits, so that the lines of a process stand in the order of its calls. `tracing`
//! filters by level and carries the finished line to the [`sink`].

mod sink;

pub use sink::say_before_main;

use crate::helper::{self, News, Worker};
use crate::mappings::file::File;
use crate::process::{self, Process};
use crate::{config, sys};
use core::fmt;
use keepmydata_records::{Dev, Errno, Level, LineBuf, LogFormat, Record, event};

/// Bytes of the longest line; what is longer is shortened, and says so.
const LINE: usize = 16 * 1024;

/// Connects `tracing` to the sink and remembers what standard error is. Called once, while booting.
pub fn boot() {
    sink::boot();
    helper::listen(of_helper);
}

/// What the helper has to say.
fn of_helper(worker: &Worker, news: News) {
    let mut message = LineBuf::<128>::new();
    let (level, event) = match news {
        News::IsThread(errno) => {
            let errno = errno.raw_os_error();
            text(
                &mut message,
                format_args!(
                    "the helper is a thread of this process, not a process of its own (errno {errno})"
                ),
            );
            (Level::Debug, event::START)
        }
        News::WasKilled => {
            text(
                &mut message,
                format_args!("keepmydata's helper process was killed; the program cannot go on"),
            );
            (Level::Error, event::FINDING)
        }
    };
    if enabled(level) {
        let mut record = record(worker.process(), level, sys::gettid(), event);
        record.message = message.as_str().into();
        emit(worker, &record);
    }
}

/// Whether records of `level` are written. Any context.
#[inline]
pub fn enabled(level: Level) -> bool {
    tracing_level(level) <= tracing::level_filters::LevelFilter::current()
}

fn tracing_level(level: Level) -> tracing::Level {
    match level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
        Level::Trace => tracing::Level::TRACE,
    }
}

/// When something began, by both clocks; empty where nobody wants to know.
#[derive(Clone, Copy)]
pub struct Timer(Option<Began>);

#[derive(Clone, Copy)]
struct Began {
    wall: u64,
    monotonic: u64,
}

impl Timer {
    /// From now on, whatever the log's level.
    pub fn start() -> Timer {
        Timer(Some(Began {
            wall: sys::wall_ns(),
            monotonic: sys::monotonic_ns(),
        }))
    }

    /// For a record of `level`: where those are not written, no clock is asked.
    pub fn at(level: Level) -> Timer {
        Timer::when(enabled(level))
    }

    /// Started if anybody wants to know: without that, no system call.
    pub fn when(wanted: bool) -> Timer {
        if wanted { Timer::start() } else { Timer(None) }
    }

    /// The start, and the time since then.
    pub fn stop(&self) -> Timed {
        Timed(self.0.map(|began| (began.wall, self.elapsed())))
    }

    /// ns since the start.
    pub fn elapsed(&self) -> u64 {
        self.0.map_or(0, |began| {
            sys::monotonic_ns().saturating_sub(began.monotonic)
        })
    }

    /// Puts the start and the time since then into `record`.
    pub fn stamp(&self, record: &mut Record<'_>) {
        self.stop().stamp(record);
    }
}

/// When something began (wall clock), and how long it took, ns; empty as its timer was.
#[derive(Clone, Copy)]
pub struct Timed(Option<(u64, u64)>);

impl Timed {
    /// How long, ns; 0 where nobody wanted to know.
    pub fn ns(&self) -> u64 {
        self.0.map_or(0, |(_, ns)| ns)
    }

    /// Puts both into `record`.
    pub fn stamp(&self, record: &mut Record<'_>) {
        if let Some((wall, ns)) = self.0 {
            record.time_ns = wall;
            record.duration_ns = Some(ns);
        }
    }
}

/// A record of this process and of the program's thread `tid`.
#[inline(never)]
pub fn record<'a>(process: &Process, level: Level, tid: i32, event: &'a str) -> Record<'a> {
    Record {
        event: event.into(),
        time_ns: sys::wall_ns(),
        ..Record::new(level, process.pid() as u32, tid as u32)
    }
}

/// What identifies a file in a record, copied out from under the table lock.
pub struct FileName {
    dev: u64,
    ino: u64,
    len: usize,
    path: [u8; crate::mappings::file::PATH],
}

impl FileName {
    /// Of a file.
    pub fn of(file: &File) -> FileName {
        let table = crate::mappings::lock();
        let f = table.get(file);
        let mut name = FileName {
            dev: file.key.dev,
            ino: file.key.ino,
            len: f.path().len(),
            path: [0; crate::mappings::file::PATH],
        };
        name.path[..name.len].copy_from_slice(f.path());
        name
    }

    /// Puts it into `record`.
    #[inline(never)]
    pub fn fill<'a>(&'a self, record: &mut Record<'a>) {
        record.path = self.path[..self.len].into();
        record.dev = Some(device(self.dev));
        record.ino = Some(self.ino);
    }
}

/// A device number by its parts.
pub fn device(dev: u64) -> Dev {
    Dev {
        major: rustix::fs::major(dev),
        minor: rustix::fs::minor(dev),
    }
}

/// Writes `record`, if its level is enabled. For code that runs as a [`Worker`].
pub fn emit(worker: &Worker, record: &Record<'_>) {
    if enabled(record.level) {
        write(worker, record, record.level);
    }
}

/// Writes `record`, which `tracing` is told is of `level`.
fn write(worker: &Worker, record: &Record<'_>, level: Level) {
    let mut buffer = LineBuf::<LINE>::new();
    let line = match config::settings().log_format {
        LogFormat::Text => buffer.text(record),
        LogFormat::Json => buffer.json(record),
    };
    let Ok(line) = core::str::from_utf8(line) else {
        return;
    };
    let helper = worker.has_descriptors();
    match level {
        Level::Error => tracing::error!(helper, line),
        Level::Warn => tracing::warn!(helper, line),
        Level::Info => tracing::info!(helper, line),
        Level::Debug => tracing::debug!(helper, line),
        Level::Trace => tracing::trace!(helper, line),
    }
}

/// Writes `record` whatever its level, unless the log is off: what must not be silent.
pub fn notice(worker: &Worker, record: &Record<'_>) {
    if !enabled(Level::Error) {
        return;
    }
    write(worker, record, Level::Error);
}

/// Writes `record` from a thread of the program's, through the helper where there is one.
/// Uses 16 KiB of the caller's stack only where there is none.
pub fn emit_from_program(record: &Record<'_>) {
    if !enabled(record.level) {
        return;
    }
    let _quiet = sys::signals::Blocked::all();
    let process = process::this();
    if helper::run(process, |worker| emit(worker, record)).is_err() {
        emit(&Worker::without_descriptors(process), record);
    }
}

/// Text put together in place, cut where it is too long.
pub fn text<const N: usize>(buffer: &mut LineBuf<N>, args: fmt::Arguments<'_>) {
    let _ = fmt::Write::write_fmt(buffer, args);
}

/// errno of the program's thread that calls, as its last call has left it.
pub fn errno_now() -> Errno {
    Errno(crate::next_fn::errno())
}
