//! Where and how a program's script is run, and what is seen of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use preload_tests::harness::{
    LoopFs, Outcome, Program as Command, Scratch, TearFs, target_directory,
};

use super::table::Program;

pub const FILESYSTEMS: [&str; 2] = ["ext4", "honest"];

/// A name, and the settings of a run under the shim.
pub type Settings = (&'static str, &'static [(&'static str, &'static str)]);

/// The shim as it comes.
pub const DEFAULT: Settings = ("default", &[]);
/// All is read back.
pub const VERIFY: Settings = (
    "verify",
    &[("KEEPMYDATA_VERIFY", "on"), ("KEEPMYDATA_LOG", "error")],
);
pub const SETTINGS: [Settings; 2] = [DEFAULT, VERIFY];

/// More than any takes, so that only what hangs is killed.
const PATIENCE: Duration = Duration::from_secs(150);
/// How many differing lines a message quotes.
const QUOTED: usize = 15;

/// A filesystem, and settings.
pub struct Way {
    pub filesystem: &'static str,
    pub settings: Settings,
}

impl Way {
    pub fn new(filesystem: &'static str, settings: Settings) -> Self {
        Self {
            filesystem,
            settings,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.filesystem, self.settings.0)
    }
}

enum Mounted {
    Loop(LoopFs),
    Bed(TearFs),
}

/// A mounted filesystem, and a directory beside it.
pub struct Bench {
    mounted: Mounted,
    beside: Scratch,
}

/// What was seen of a run.
pub struct Seen {
    outcome: Outcome,
    /// From its start to its end.
    pub seconds: f64,
    /// How many helpers of the shim's others saw, in all that was looked at.
    pub helpers: u64,
}

impl Bench {
    /// # Errors
    /// Why there is no such filesystem.
    pub fn new(filesystem: &str) -> Result<Self, String> {
        let mounted = match filesystem {
            "ext4" => Mounted::Loop(LoopFs::mount_sized("ext4", 4 << 10, &[])?),
            // Without KEEP_CACHE each open by another process drops what is to be compared, which is in doubt then.
            _ => Mounted::Bed(TearFs::mount(&[
                "--mode",
                filesystem,
                "--keep-cache",
                "--direct-io",
                "none",
            ])),
        };
        Ok(Self {
            mounted,
            beside: Scratch::new(),
        })
    }

    fn directory(&self) -> PathBuf {
        match &self.mounted {
            Mounted::Loop(fs) => fs.path("run"),
            Mounted::Bed(fs) => fs.path("run"),
        }
    }

    /// # Panics
    /// If it fails: then there is nothing to compare with.
    #[track_caller]
    pub fn natively(&self, program: &Program) -> Seen {
        let seen = self.run(program, None);
        let outcome = seen.outcome.expect_success(program.name);
        Seen { outcome, ..seen }
    }

    pub fn under_shim(&self, program: &Program, settings: &Settings) -> Seen {
        self.run(program, Some(settings))
    }

    /// Always in the same directories, made anew.
    fn run(&self, program: &Program, settings: Option<&Settings>) -> Seen {
        let (own, sockets) = (self.directory(), self.beside.path("run"));
        for directory in [&own, &sockets] {
            fs::create_dir(directory).expect("directory of the run");
        }
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
        let script = format!(
            "{}\n{}",
            include_str!("../../programs/lib.sh"),
            program.script
        );
        let command = Command::new("sh")
            .args(["-euc", &script])
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("RUSTUP_HOME", rustup_home())
            .env("HOME", &own)
            .env("RUN", &sockets)
            .env("SOURCES", sources)
            .env("CACHE", target_directory().join("programs"))
            .current_dir(&own)
            .timeout(PATIENCE);
        let begin = Instant::now();
        let outcome = match settings {
            Some((_, settings)) => command.under_shim(settings),
            None => command.natively(),
        };
        let seconds = begin.elapsed().as_secs_f64();
        for directory in [&own, &sockets] {
            let _ = fs::remove_dir_all(directory);
        }
        Seen::new(outcome, seconds)
    }
}

/// Rustup's `cargo` looks for its compilers there, or in the home directory, which is another here.
fn rustup_home() -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".rustup");
    std::env::var_os("RUSTUP_HOME").map_or_else(home, PathBuf::from)
}

impl Seen {
    /// docs/limitations.md names the shim's helper: it is counted, and not compared.
    fn new(mut outcome: Outcome, seconds: f64) -> Self {
        let mut helpers = 0;
        let mut compared = String::new();
        for line in outcome.stdout.lines() {
            match helpers_in(line) {
                Some(number) => helpers += number,
                None => {
                    compared += line;
                    compared.push('\n');
                }
            }
        }
        outcome.stdout = compared;
        Self {
            outcome,
            seconds,
            helpers,
        }
    }

    /// In what this run differs from a native one.
    pub fn difference(&self, native: &Self) -> Option<String> {
        let ends = |seen: &Self| {
            let outcome = &seen.outcome;
            (outcome.code(), outcome.signal(), outcome.timed_out)
        };
        let (ours, theirs) = (&self.outcome, &native.outcome);
        let errors = ours.log_text();
        if ours.stdout == theirs.stdout && ends(self) == ends(native) && errors.is_empty() {
            return None;
        }
        let mut lines = String::new();
        let ends = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(QUOTED)..].join("\n")
        };
        let none = || std::iter::repeat(None);
        let pairs = theirs.stdout.lines().map(Some).chain(none());
        let count = theirs
            .stdout
            .lines()
            .count()
            .max(ours.stdout.lines().count());
        let pairs = pairs.zip(ours.stdout.lines().map(Some).chain(none()));
        let differing = pairs.take(count).filter(|(theirs, ours)| theirs != ours);
        for (theirs, ours) in differing.take(QUOTED) {
            lines += &format!("  native: {theirs:?}\n    shim: {ours:?}\n");
        }
        let late = if ours.timed_out { " (timed out)" } else { "" };
        Some(format!(
            "{lines}{}{late}\nstandard error:\n{}\nlog:\n{}",
            ours.status,
            ends(&ours.stderr),
            ends(&errors)
        ))
    }
}

/// How many helpers of the shim's a line of `look` names: it is a child, or where that cannot be a thread.
fn helpers_in(line: &str) -> Option<u64> {
    if line == "child keepmydata" {
        return Some(1);
    }
    let threads = line.strip_prefix("thread ")?.strip_suffix(" keepmydata")?;
    threads.parse().ok()
}
