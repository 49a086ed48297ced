//! The daemon's log and its counts: what was asked, what was answered, what the mode did.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fuser::{Errno, Request};
use keepmydata_records::Utc;

use super::modes::{Effect, Mode};

/// Where lines go; each is one write(2), so that nothing is lost when the daemon is killed.
#[derive(Default)]
pub struct OpLog {
    file: Option<Mutex<File>>,
    counts: Mutex<Counts>,
}

/// How often what happened since the mount.
#[derive(Clone, Default)]
pub struct Counts {
    /// By request.
    pub ops: BTreeMap<&'static str, u64>,
    /// By mode and action.
    pub actions: BTreeMap<String, u64>,
}

impl OpLog {
    /// Appends to the file; `-` is stderr.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = match path {
            None => None,
            Some(path) if path == Path::new("-") => {
                Some(File::from(io::stderr().as_fd().try_clone_to_owned()?))
            }
            Some(path) => Some(File::options().create(true).append(true).open(path)?),
        };
        Ok(Self {
            file: file.map(Mutex::new),
            counts: Mutex::default(),
        })
    }

    /// A line of its own, outside of any request.
    pub fn line(&self, what: fmt::Arguments<'_>) {
        let Some(file) = &self.file else { return };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = format!("{} TRACE {what}\n", Utc(now.as_nanos() as u64));
        // A log that cannot be written must not stop the filesystem.
        let _ = file.lock().expect("op log").write_all(line.as_bytes());
    }

    /// The request has come in. `arguments` describes it.
    pub fn enter(
        self: &Arc<Self>,
        name: &'static str,
        request: &Request,
        arguments: fmt::Arguments<'_>,
    ) -> Op {
        let op = Op {
            log: Arc::clone(self),
            name,
            unique: request.unique().0,
            start: Instant::now(),
        };
        let (pid, unique) = (request.pid(), op.unique);
        self.line(format_args!(
            "{name} enter: {arguments} pid({pid}) unique({unique})"
        ));
        *self
            .counts
            .lock()
            .expect("counts")
            .ops
            .entry(name)
            .or_default() += 1;
        op
    }

    /// Counts what a mode did.
    pub fn count(&self, mode: Mode, effect: Effect) {
        if effect != Effect::NONE {
            let action = format!("{}: {}", mode.word(), effect.action);
            let mut counts = self.counts.lock().expect("counts");
            *counts.actions.entry(action).or_default() += 1;
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().expect("counts").clone()
    }
}

/// A request under way.
pub struct Op {
    log: Arc<OpLog>,
    name: &'static str,
    unique: u64,
    start: Instant,
}

impl Op {
    /// The answer, which is about to be sent.
    pub fn exit(self, answer: fmt::Arguments<'_>) {
        let Self {
            log,
            name,
            unique,
            start,
        } = self;
        let ns = start.elapsed().as_nanos();
        log.line(format_args!(
            "{name} exit: {answer} unique({unique}) {ns} ns"
        ));
    }

    /// An error is about to be sent.
    pub fn failed(self, errno: Errno) {
        self.exit(format_args!("result({})", Outcome(Err(errno))));
    }
}

/// A count, or `-EIO`.
pub struct Outcome(pub Result<usize, Errno>);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(count) => count.fmt(f),
            Err(errno) => write!(f, "-{}", keepmydata_records::Errno(errno.code())),
        }
    }
}

/// The flags of open(2), by name.
pub struct OpenBits(pub i32);

impl fmt::Display for OpenBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: &[(i32, &str)] = &[
            (libc::O_SYNC, "O_SYNC"),
            (libc::O_DSYNC, "O_DSYNC"),
            (libc::O_DIRECT, "O_DIRECT"),
            (libc::O_APPEND, "O_APPEND"),
            (libc::O_NONBLOCK, "O_NONBLOCK"),
            (libc::O_TRUNC, "O_TRUNC"),
            (libc::O_CREAT, "O_CREAT"),
            (libc::O_EXCL, "O_EXCL"),
            (libc::O_NOFOLLOW, "O_NOFOLLOW"),
            (libc::O_NOATIME, "O_NOATIME"),
        ];
        f.write_str(match self.0 & libc::O_ACCMODE {
            libc::O_RDONLY => "O_RDONLY",
            libc::O_WRONLY => "O_WRONLY",
            _ => "O_RDWR",
        })?;
        // O_LARGEFILE, which the kernel adds of itself, tells nothing.
        let mut rest = self.0 & !libc::O_ACCMODE & !0o100_000;
        for (bits, name) in NAMES {
            if rest & bits == *bits {
                write!(f, "|{name}")?;
                rest &= !bits;
            }
        }
        match rest {
            0 => Ok(()),
            _ => write!(f, "|{rest:#x}"),
        }
    }
}

/// Flags of the protocol by name, without their common prefix; `0` for none.
pub fn named<T>(flags: impl Iterator<Item = (&'static str, T)>) -> String {
    let names: Vec<_> = flags
        .map(|(name, _)| {
            name.trim_start_matches("FUSE_")
                .trim_start_matches("FOPEN_")
        })
        .collect();
    match names.as_slice() {
        [] => "0".into(),
        names => names.join("|"),
    }
}

/// ` mode(first-page: held 3)`, or nothing.
pub struct Did(pub Mode, pub Effect);

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Effect { action, count } = self.1;
        match (self.1, count) {
            (Effect::NONE, _) => Ok(()),
            (_, 0 | 1) => write!(f, " mode({}: {action})", self.0.word()),
            _ => write!(f, " mode({}: {action} {count})", self.0.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fuser::WriteFlags;

    #[test]
    fn flags_are_told_by_name() {
        let bits = libc::O_RDWR | libc::O_SYNC | libc::O_DIRECT | 0o100_000;
        assert_eq!(OpenBits(bits).to_string(), "O_RDWR|O_SYNC|O_DIRECT");
        assert_eq!(OpenBits(0).to_string(), "O_RDONLY");
        assert_eq!(
            named(WriteFlags::FUSE_WRITE_CACHE.iter_names()),
            "WRITE_CACHE"
        );
        assert_eq!(named(WriteFlags::empty().iter_names()), "0");
    }

    #[test]
    fn what_the_mode_did_is_told_in_brackets() {
        let did = |action, count| Did(Mode::FirstPage, Effect::new(action, count)).to_string();
        assert_eq!(did("held", 1), " mode(first-page: held)");
        assert_eq!(did("held", 3), " mode(first-page: held 3)");
        assert_eq!(did("", 0), "");
    }
}
