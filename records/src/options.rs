//! Every setting of keepmydata, declared once.
//!
//! The table makes [`OPTIONS`] (for `--help` and docs/settings.md), [`Settings`] (for the shim) and the
//! parser between them, so that none of the three can know an option that the others do not.

use crate::choice::choice;
use crate::value::{Bytes, LogFile, Millis, SeenBy, Value, Values};
use crate::{Globs, Level};
use core::fmt;

choice! {
    /// One word for the settings that suit a kind of program.
    pub enum Preset { Tests = "tests", Database = "database" }
}
choice! {
    /// What an interposed `msync` does.
    pub enum Enforce { Full = "full", Off = "off" }
}
choice! {
    /// How `MS_ASYNC` is treated.
    pub enum Async { Pass = "pass", Sync = "sync" }
}
choice! {
    /// What munmap does with dirty pages.
    pub enum Munmap { Pass = "pass", Sync = "sync" }
}
choice! {
    /// Whether the holes of a mapping are given blocks when it is made.
    pub enum Prealloc { Off = "off", On = "on" }
}
choice! {
    /// What is dropped from the page cache after a successful sync.
    pub enum Invalidate { File = "file", Dirty = "dirty", Off = "off" }
}
choice! {
    /// Whether what was synced is read back and compared.
    pub enum Verify { Auto = "auto", On = "on", Off = "off" }
}
choice! {
    /// What `msync` says where it cannot know.
    pub enum Uncertain { Warn = "warn", Error = "error" }
}
choice! {
    /// What happens where the data is not safe.
    pub enum OnFailure { Error = "error", Abort = "abort" }
}
choice! {
    /// Whether reads of a recently synced file go to the filesystem.
    pub enum Read { Fresh = "fresh", Pass = "pass" }
}
choice! {
    /// Where dirty ranges come from.
    pub enum Track {
        Auto = "auto", Pagemap = "pagemap", Cachestat = "cachestat", Whole = "whole",
    }
}
choice! {
    /// Which records are written.
    pub enum LogLevel {
        Error = "error", Off = "off", Warn = "warn", Info = "info", Debug = "debug",
        Trace = "trace",
    }
}
choice! {
    /// How records are written.
    pub enum LogFormat { Text = "text", Json = "json" }
}

impl LogLevel {
    /// Whether records of `level` are written at this setting.
    pub const fn allows(self, level: Level) -> bool {
        let most = match self {
            LogLevel::Off => return false,
            LogLevel::Error => Level::Error,
            LogLevel::Warn => Level::Warn,
            LogLevel::Info => Level::Info,
            LogLevel::Debug => Level::Debug,
            LogLevel::Trace => Level::Trace,
        };
        level as u8 <= most as u8
    }
}

impl Preset {
    /// What it sets: the name of an option ([`OptionSpec::name`]) and its value, as it would be
    /// typed. Options that it does not name keep their default.
    pub const fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Preset::Tests => &[("async", "pass"), ("invalidate", "file"), ("read", "fresh")],
            Preset::Database => &[("async", "pass"), ("invalidate", "dirty"), ("read", "pass")],
        }
    }

    /// What holds for an option that is not given: what this preset sets, or the option's default.
    fn default_of(self, option: &OptionSpec) -> &'static str {
        let mut set = self.settings().iter();
        let found = set.find(|(name, _)| *name == option.name);
        found.map_or(option.default, |(_, value)| value)
    }
}

/// One option, as people see it.
#[derive(Debug)]
pub struct OptionSpec {
    /// The long option of the command, without the dashes: `deadline-ms`.
    pub name: &'static str,
    /// The environment variable: `KEEPMYDATA_DEADLINE_MS`.
    pub env: &'static str,
    /// What is accepted.
    pub values: Values,
    /// The default as it would be typed. Empty for "no globs".
    pub default: &'static str,
    /// One line, without a final full stop.
    pub help: &'static str,
    /// Sentences for `--help`; what each value does.
    pub long_help: &'static str,
}

/// A value that cannot be used. `Display` is one line that names the variable, the value, what is
/// allowed, and what holds instead.
#[derive(Debug)]
pub struct BadValue<'v> {
    /// The option.
    pub option: &'static OptionSpec,
    /// What was given, as bytes of the environment.
    pub value: &'v [u8],
    /// What holds instead: the default, or what the preset sets.
    pub instead: &'static str,
}

impl fmt::Display for BadValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.option.env)?;
        crate::scalar::lossy(self.value, f)?;
        write!(f, ": must be {}; using ", self.option.values)?;
        match self.instead {
            "" => f.write_str("the default"),
            instead => f.write_str(instead),
        }
    }
}

macro_rules! options {
    ($lifetime:lifetime; $($field:ident: $type:ident $(<$of:lifetime>)? {
        name: $name:literal,
        env: $env:literal,
        default: $default:literal,
        help: $help:literal,
        long: $long:literal,
    })*) => {
        /// Every option, in the order in which people read them.
        pub static OPTIONS: &[OptionSpec] = &[$(OptionSpec {
            name: $name,
            env: $env,
            values: <$type as Value<'_>>::VALUES,
            default: $default,
            help: $help,
            long_help: $long,
        }),*];

        /// The value of every option. Plain data; globs and the log path are borrowed.
        ///
        /// `Display` writes `name=value` pairs on one line, in the order of [`OPTIONS`].
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Settings<$lifetime> {
            $(#[doc = $help] pub $field: $type $(<$of>)?,)*
        }

        impl<$lifetime> Settings<$lifetime> {
            /// Reads all options through `lookup`, which answers with the text given for an
            /// option, or `None` where it was not given (an empty text counts as not given).
            /// A text that cannot be used is handed to `bad`, and the default holds. The preset
            /// is read first: it says what the defaults are.
            ///
            /// Does not allocate; needs no particular thread, and may run before `main`.
            pub fn parse(
                lookup: &dyn Fn(&'static OptionSpec) -> Option<&$lifetime [u8]>,
                bad: &mut dyn FnMut(BadValue<'_>),
            ) -> Self {
                let given = OPTIONS.first().and_then(lookup).unwrap_or_default();
                let preset = Preset::from_word(given).unwrap_or_default();
                let mut specs = OPTIONS.iter();
                let mut next = || specs.next().expect("one spec a field");
                Settings { $($field: read(next(), preset, lookup, bad),)* }
            }
        }

        impl fmt::Display for Settings<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut sep = "";
                $(
                    write!(f, concat!("{}", $name, "={}"), sep, self.$field)?;
                    sep = " ";
                )*
                let _ = sep;
                Ok(())
            }
        }
    };
}

fn read<'a, T: Value<'a>>(
    option: &'static OptionSpec,
    preset: Preset,
    lookup: &dyn Fn(&'static OptionSpec) -> Option<&'a [u8]>,
    bad: &mut dyn FnMut(BadValue<'_>),
) -> T {
    let instead = preset.default_of(option);
    if let Some(text) = lookup(option).filter(|text| !text.is_empty()) {
        match T::parse(text) {
            Some(value) => return value,
            None => bad(BadValue {
                option,
                value: text,
                instead,
            }),
        }
    }
    T::parse(instead.as_bytes()).expect("every default is valid")
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Settings::parse(&|_| None, &mut |_| ())
    }
}

macro_rules! choice_values {
    ($($type:ty),*) => {$(
        impl<'a> Value<'a> for $type {
            const VALUES: Values = Values::Choice(<$type>::WORDS);
            fn parse(text: &'a [u8]) -> Option<Self> {
                <$type>::from_word(text)
            }
        }
    )*};
}

choice_values!(
    Preset, Enforce, Async, Munmap, Prealloc, Invalidate, Verify, Uncertain, OnFailure, Read,
    Track, LogLevel, LogFormat
);

options! {
    'a;
    preset: Preset {
        name: "preset",
        env: "KEEPMYDATA_PRESET",
        default: "tests",
        help: "Defaults that suit tests, or databases",
        long: "tests: for tests of filesystems, such as LTP's: the file is dropped from the page \
               cache and reads are fresh, so that every reader asks the filesystem \
               (invalidate=file, read=fresh). database: for programs that keep their data in a \
               mapped file: only what was dirty is dropped, and reads are left alone \
               (invalidate=dirty, read=pass). A setting that you give yourself wins.",
    }
    enforce: Enforce {
        name: "enforce",
        env: "KEEPMYDATA_ENFORCE",
        default: "full",
        help: "Whether msync is made to keep its promise, or only watched",
        long: "full: flush, sync, verify and drop on every msync with MS_SYNC. \
               off: every call passes through unchanged; only watch and log.",
    }
    async_: Async {
        name: "async",
        env: "KEEPMYDATA_ASYNC",
        default: "pass",
        help: "How msync with MS_ASYNC is treated",
        long: "pass: it passes through, as on plain Linux, where it does nothing. \
               sync: it is treated as MS_SYNC.",
    }
    munmap: Munmap {
        name: "munmap",
        env: "KEEPMYDATA_MUNMAP",
        default: "pass",
        help: "What munmap does with dirty pages",
        long: "pass: they stay in the page cache until the kernel writes them. \
               sync: they are synced, as by msync with MS_SYNC, before the unmapping.",
    }
    prealloc: Prealloc {
        name: "prealloc",
        env: "KEEPMYDATA_PREALLOC",
        default: "off",
        help: "Whether the holes of a mapped range are allocated at mmap",
        long: "off: blocks are allocated when pages are stored to or written back, as on plain \
               Linux; on a full filesystem the store ends in SIGBUS, or the data is lost. \
               on: mmap and mremap allocate the holes of what they map, up to the end of the \
               file. What cannot be allocated is logged at warn, and the call succeeds all the \
               same.",
    }
    invalidate: Invalidate {
        name: "invalidate",
        env: "KEEPMYDATA_INVALIDATE",
        default: "file",
        help: "What is dropped from the page cache after a successful sync",
        long: "file: all clean pages of the file. dirty: only the pages that were dirty. \
               off: nothing.",
    }
    verify: Verify {
        name: "verify",
        env: "KEEPMYDATA_VERIFY",
        default: "auto",
        help: "Whether what was synced is read back past the page cache and compared",
        long: "auto: on, unless the file is on a local block filesystem. on: always. \
               off: never, except for a file whose last sync failed.",
    }
    deadline_ms: Millis {
        name: "deadline-ms",
        env: "KEEPMYDATA_DEADLINE_MS",
        default: "2000",
        help: "How long one msync may try to heal, in milliseconds",
        long: "After this time, msync fails with EIO if the filesystem still returns wrong pages. \
               System calls that take longer are not interrupted.",
    }
    uncertain: Uncertain {
        name: "uncertain",
        env: "KEEPMYDATA_UNCERTAIN",
        default: "warn",
        help: "What msync returns when it cannot know whether a page is right",
        long: "A page is uncertain when the filesystem holds other bytes than were synced and the \
               page cache no longer holds what was synced. warn: a warning names the page and msync \
               returns 0. error: msync fails with EIO.",
    }
    on_failure: OnFailure {
        name: "on-failure",
        env: "KEEPMYDATA_ON_FAILURE",
        default: "error",
        help: "What happens when synced data is not safe",
        long: "error: msync returns -1 with the errno of the cause. abort: the report is written \
               and the process aborts; for programs that ignore the result of msync.",
    }
    read: Read {
        name: "read",
        env: "KEEPMYDATA_READ",
        default: "fresh",
        help: "Whether reads of a recently synced file go to the filesystem",
        long: "fresh: a read of a file whose recent sync was verified first drops the clean pages \
               of that range from the cache of the reading descriptor. pass: reads pass through.",
    }
    seen_by: SeenBy<'a> {
        name: "seen-by",
        env: "KEEPMYDATA_SEEN_BY",
        default: "",
        help: "Another client that must be shown what is synced: MOUNT=OTHER-MOUNT",
        long: "/mnt/a=/mnt/b: what is synced in a file below /mnt/a is also read back through \
               /mnt/b, a second mount of the same filesystem, whose cached pages of the range are \
               dropped first, so that its readers get the new data too. What is not seen there \
               within --deadline-ms is uncertain: a warning and 0, or EIO (--uncertain). It needs a \
               file that is verified (--verify).",
    }
    track: Track {
        name: "track",
        env: "KEEPMYDATA_TRACK",
        default: "auto",
        help: "Where dirty ranges come from",
        long: "auto: pagemap for files that are verified, and with --invalidate=dirty for those that \
               are not on a local block filesystem; cachestat for others; whole where that does not \
               work. The log says which, and why, at debug. pagemap: userfaultfd write-protection and \
               PAGEMAP_SCAN, exactly this process's stores (Linux 6.7). cachestat: cachestat(2), the \
               file's dirty pages in folios of the filesystem (Linux 6.5). whole: every page of the \
               mapping counts as dirty.",
    }
    files: Globs<'a> {
        name: "files",
        env: "KEEPMYDATA_FILES",
        default: "",
        help: "Which files it applies to; all by default",
        long: "Globs separated by commas or colons. * and ? stop at a slash, ** does not; [a-z] \
               is a set of bytes; \\ takes the next byte as it is. A glob that starts with / must \
               match the whole path; any other may begin at any component, so *.db matches by \
               file name. A glob that ends in / matches everything below. !glob excludes. \
               The last glob that matches a path decides. If none does, the path is left out if \
               the list includes anything, and included if it only excludes.",
    }
    copy_budget: Bytes {
        name: "copy-budget",
        env: "KEEPMYDATA_COPY_BUDGET",
        default: "64M",
        help: "How much memory the copies of dirty pages may take",
        long: "In bytes, with K, M or G as suffix. Beyond it, a 64-bit hash of each page is kept, \
               which finds wrong data but cannot show it.",
    }
    reverify_ms: Millis {
        name: "reverify-ms",
        env: "KEEPMYDATA_REVERIFY_MS",
        default: "0",
        help: "Verify once more this long after a successful sync, in milliseconds; 0 is never",
        long: "Finds a filesystem that applies an older write after a newer one. The result is only \
               logged: msync has returned by then. What waits takes no more memory than \
               --copy-budget; msyncs beyond that are not verified again, and named at warn.",
    }
    log: LogLevel {
        name: "log",
        env: "KEEPMYDATA_LOG",
        default: "error",
        help: "Which records are written",
        long: "error: data at risk. warn: also what could not be known or done. info: also a line \
               at the start and for each msync, findings, and a summary. debug: also each step of \
               an msync. trace: also mmap, munmap, mremap and reads of tracked files. off: nothing.",
    }
    log_file: LogFile<'a> {
        name: "log-file",
        env: "KEEPMYDATA_LOG_FILE",
        default: "stderr",
        help: "Where records go: stderr, or a file to which they are appended",
        long: "In the path, %p is the process id and %% a percent sign.",
    }
    log_format: LogFormat {
        name: "log-format",
        env: "KEEPMYDATA_LOG_FORMAT",
        default: "text",
        help: "How records are written: for people, or as JSON lines",
        long: "The fields are the same and are described in docs/log.md.",
    }
}

#[cfg(test)]
mod tests;
