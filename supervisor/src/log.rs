//! The log: the same records as the library's, to where the settings want them.

use crate::image::{Image, copy_descriptor, lock};
use keepmydata_records::{
    BadValue, Level, LineBuf, LogFile, LogFormat, OptionSpec, Record, Settings, Value,
};
use keepmydata_sink as sink;
use keepmydata_sys::write::{self, Way};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::ffi::{CStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of the longest line; what is longer is shortened, and says so.
const LINE: usize = 16 * 1024;
/// How long a line may wait for whoever reads it, ns.
const PATIENCE: u64 = 1_000_000_000;

/// The settings, from `given` (variable and value) and else the environment, as the program will find it; `bad` is told
/// of each that cannot be used. They live as long as the process. Called before the working directory changes.
pub fn settings(
    given: &[(&str, OsString)],
    bad: &mut dyn FnMut(&BadValue<'_>),
) -> Settings<'static> {
    let lookup = |option: &'static OptionSpec| -> Option<&'static [u8]> {
        let set = given.iter().find(|(name, _)| *name == option.env);
        let text = set.map(|(_, text)| text.clone());
        let text = text.or_else(|| std::env::var_os(option.env))?;
        Some(Vec::leak(text.into_vec()))
    };
    let mut settings = Settings::parse(&lookup, &mut |value| bad(&value));
    if let Some(template) = settings.log_file.template()
        && !template.starts_with(b"/")
        && let Ok(directory) = std::env::current_dir()
    {
        let mut whole = Vec::new();
        for &byte in directory.as_os_str().as_bytes() {
            whole.push(byte);
            if byte == b'%' {
                whole.push(byte);
            }
        }
        whole.push(b'/');
        whole.extend_from_slice(template);
        settings.log_file = LogFile::parse(Vec::leak(whole)).unwrap_or(settings.log_file);
    }
    settings
}

/// Where records go.
pub struct Log {
    pub settings: Settings<'static>,
    /// The program's standard error as it was at its start.
    stderr: Option<Stat>,
    /// For what is to be said of a process that cannot be looked into: where that is, without being open on it, or itself
    /// where this user may not open it anew.
    own_stderr: Option<OwnedFd>,
    /// The last line waited in vain: the next ones do not wait.
    stuck: AtomicBool,
    complained: AtomicBool,
}

/// Other names of standard error, which is not opened anew for them.
const STDERR_PATHS: [&[u8]; 3] = [b"/dev/stderr", b"/dev/fd/2", b"/proc/self/fd/2"];

impl Log {
    /// Called while descriptor 2 is the program's.
    pub fn new(settings: Settings<'static>) -> Log {
        // SAFETY: only looked at; where it is closed, fstat fails.
        let stderr = unsafe { BorrowedFd::borrow_raw(2) };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = openat(CWD, c"/proc/self/fd/2", flags, Mode::empty()).ok();
        let path = path.filter(|path| reopen(path.as_fd(), OFlags::APPEND).is_ok());
        // Descriptors 0 to 2 are about to become others.
        let own_stderr = match path {
            Some(path) => fcntl_dupfd_cloexec(path, 3),
            None => fcntl_dupfd_cloexec(stderr, 3),
        };
        Log {
            settings,
            stderr: fstat(stderr).ok(),
            own_stderr: own_stderr.ok(),
            stuck: AtomicBool::new(false),
            complained: AtomicBool::new(false),
        }
    }

    /// The descriptor that must stay open for it.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.own_stderr.as_ref().map(AsFd::as_fd)
    }

    /// Says on standard error, unless the log is off, what must not be silent and cannot be a record: nothing is known of
    /// the process that it is about.
    pub fn warn_of_unknown(&self, message: &str) {
        if !self.has(Level::Error) {
            return;
        }
        let Some(own) = self.descriptor() else {
            return;
        };
        let reopened = reopen(own, OFlags::APPEND);
        let stderr = reopened.as_ref().map_or(own, AsFd::as_fd);
        if let Ok(stat) = fstat(stderr) {
            let line = format!("keepmydata: {message}\n");
            let _ = self.put(stderr, Way::of(&stat), line.as_bytes());
        }
    }

    /// Whether records of `level` are written.
    pub fn has(&self, level: Level) -> bool {
        self.settings.log.allows(level)
    }

    /// Writes `record` of `image`, if its level is enabled.
    pub fn emit(&self, image: &Image, record: &Record<'_>) {
        if self.has(record.level) {
            self.write(image, record, record.level);
        }
    }

    /// Writes `record` whatever its level, unless the log is off: what must not be silent.
    pub fn notice(&self, image: &Image, record: &Record<'_>) {
        if self.has(Level::Error) {
            self.write(image, record, Level::Error);
        }
    }

    fn write(&self, image: &Image, record: &Record<'_>, level: Level) {
        let mut buffer = Box::new(LineBuf::<LINE>::new());
        let line = match self.settings.log_format {
            LogFormat::Text => buffer.text(record),
            LogFormat::Json => buffer.json(record),
        };
        let log_file = self.settings.log_file.template();
        match log_file.filter(|path| !STDERR_PATHS.contains(path)) {
            None => drop(self.to_stderr(image, line)),
            Some(_) => {
                if let Err(failure) = self.to_file(image, line) {
                    self.complain(image, failure);
                    // That data is at risk must not be lost with the log.
                    if level == Level::Error {
                        let _ = self.to_stderr(image, line);
                    }
                }
            }
        }
    }

    fn complain(&self, image: &Image, failure: sink::Failure) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            let line = format!(
                "keepmydata: the log of process {} cannot be written: {failure}; its records are lost, but for \
                 errors, which come here\n",
                image.pid
            );
            let _ = self.to_stderr(image, line.as_bytes());
        }
    }

    fn to_file(&self, image: &Image, line: &[u8]) -> Result<(), sink::Failure> {
        let mut file = lock(&image.log_file);
        if file.is_none() {
            let mut path = [0; libc::PATH_MAX as usize + 1];
            let room = path.len() - 1;
            let found = self
                .settings
                .log_file
                .path(image.pid as u32, &mut path[..room]);
            found.ok_or(Errno::NAMETOOLONG)?;
            let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::NAMETOOLONG)?;
            *file = Some(sink::open(path)?);
        }
        let file = file.as_ref().ok_or(Errno::BADF)?;
        Ok(self.put(file.as_fd(), Way::Plain, line)?)
    }

    /// One write a line, so that lines of several processes do not mix.
    fn put(&self, to: BorrowedFd<'_>, way: Way, line: &[u8]) -> Result<(), Errno> {
        let patience = match self.stuck.load(Ordering::Relaxed) {
            true => 0,
            false => PATIENCE,
        };
        let done = write::all(to, way, line, patience);
        self.stuck
            .store(done == Err(Errno::AGAIN), Ordering::Relaxed);
        done
    }

    /// Standard error of the image's process, while it is what it was.
    fn to_stderr(&self, image: &Image, line: &[u8]) -> Result<(), Errno> {
        let mut kept = lock(&image.open_stderr);
        if kept.is_none() {
            *kept = Some(self.stderr_of(image)?);
        }
        let stderr = kept.as_ref().ok_or(Errno::BADF)?.as_fd();
        let stat = fstat(stderr)?;
        if now(image).is_some_and(|now| !is_same(&now, &stat)) {
            return Err(Errno::BADF);
        }
        let way = Way::of(&stat);
        if way == Way::Plain && write::is_terminal(stderr) {
            // It may be stopped (Ctrl-S).
            let own = reopen(stderr, OFlags::empty())?;
            return self.put(own.as_fd(), Way::Plain, line);
        }
        self.put(stderr, way, line)
    }

    /// The same open file as the program's descriptor 2, where that may be had: its position is the program's. A file of
    /// the program's own may have got that number.
    fn stderr_of(&self, image: &Image) -> Result<OwnedFd, Errno> {
        let first = image.stderr.as_ref().ok_or(Errno::BADF)?;
        let stat = fstat(first)?;
        let is_first = self
            .stderr
            .as_ref()
            .is_some_and(|stderr| is_same(stderr, &stat));
        if !is_first && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            return Err(Errno::BADF);
        }
        match copy_descriptor(image, 2) {
            Ok(copy) if fstat(&copy).is_ok_and(|copy| is_same(&copy, &stat)) => Ok(copy),
            Ok(_) => Err(Errno::BADF),
            Err(_) => reopen(first.as_fd(), OFlags::APPEND),
        }
    }
}

/// What descriptor 2 of the image's process is now; nothing where it has ended.
fn now(image: &Image) -> Option<Stat> {
    rustix::fs::stat(format!("/proc/{}/fd/2", image.pid)).ok()
}

fn is_same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    openat(CWD, path, flags, Mode::empty())
}
