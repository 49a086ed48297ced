//! How a client is started, and how its own tools look at what it left.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use preload_tests::harness::{Outcome, Program, Scratch, installed, library};

use super::table::{Client, Language};

/// Its modules are Debian's, which another Python in PATH would not see.
const PYTHON: &str = "/usr/bin/python3";

/// More than any run takes, so that only what hangs is killed.
const PATIENCE: Duration = Duration::from_secs(100);

/// How a client ends, see `clients/README.md`.
#[derive(Clone, Copy)]
pub enum How {
    End,
    Hold,
}

/// What one run stores.
#[derive(Clone, Copy)]
pub struct Load {
    pub count: u64,
    pub seed: u64,
}

impl Client {
    /// # Errors
    /// What is missing here (to skip the test).
    pub fn available(&self) -> Result<(), String> {
        for program in self.programs {
            installed(program)?;
        }
        for name in self.libraries {
            library(&[""], name)?;
        }
        if self.language == Language::Python {
            installed(PYTHON)?;
        }
        for module in self.modules {
            let import = Command::new(PYTHON)
                .args(["-c", &format!("import {module}")])
                .output();
            if !import.is_ok_and(|run| run.status.success()) {
                return Err(format!("{PYTHON} has no module {module}"));
            }
        }
        match self.language {
            Language::Node => node_modules().map(drop),
            _ => Ok(()),
        }
    }

    /// Stores in `directory`.
    pub fn program(&self, directory: &Path, load: Load, how: How) -> Program {
        let own = self.own_directory();
        let program = match self.language {
            Language::Python => Program::new(PYTHON)
                .arg(own.join("store.py"))
                .env("PYTHONPATH", sources().join("lib"))
                .env("PYTHONDONTWRITEBYTECODE", "1"),
            Language::Shell => Program::new("sh").arg("-eu").arg(own.join("store.sh")),
            // Its file of counters, a shared mapping in /tmp, is not what this is about.
            Language::Java => Program::new("java")
                .args(["-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-Xmx64m"])
                .arg("-cp")
                .arg(java_classes(&own))
                .arg("Store"),
            Language::Node => with_node_modules(Program::new("node").arg(own.join("store.mjs"))),
        };
        program
            .arg(directory)
            .args([load.count.to_string(), load.seed.to_string()])
            .arg(match how {
                How::End => "end",
                How::Hold => "hold",
            })
            .arg(self.variant)
            .env("LC_ALL", "C")
            .timeout(PATIENCE)
    }

    /// What the client's own tools find in `directory`: all records, or what is wrong with them.
    pub fn check(&self, directory: &Path, load: Load) -> Result<HashSet<String>, String> {
        let own = self.own_directory();
        let program = Program::new("sh")
            .arg("-eu")
            .arg(own.join("check.sh"))
            .args([
                ".".to_owned(),
                load.count.to_string(),
                load.seed.to_string(),
            ])
            .env("CLIENT", &own)
            .env("LC_ALL", "C")
            .current_dir(directory)
            .timeout(PATIENCE);
        let program = match self.language {
            Language::Node => with_node_modules(program),
            _ => program,
        };
        let run = program.natively();
        if run.status.success() && !run.timed_out {
            return Ok(run.stdout.lines().map(str::to_owned).collect());
        }
        let said: Vec<&str> = run.stderr.lines().collect();
        let late = if run.timed_out { "timed out, " } else { "" };
        Err(format!(
            "its own tools: {late}{}: {}",
            run.status,
            said.join(" / ")
        ))
    }

    fn own_directory(&self) -> PathBuf {
        sources().join(self.directory)
    }
}

/// The records among the lines that a client has printed so far. A line without its end is one
/// that was being written.
pub fn acknowledged(stdout: &str) -> Vec<String> {
    let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
    let lines = whole.lines().filter(|line| *line != "hold");
    lines.map(str::to_owned).collect()
}

/// A sentence about a run that was to end well and did not.
pub fn failure(run: &Outcome) -> Option<String> {
    if run.status.success() && !run.timed_out {
        return None;
    }
    let late = if run.timed_out { "timed out, " } else { "" };
    let said = run.stderr.lines().last().unwrap_or_default();
    Some(format!("{late}{}: {said}", run.status))
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn java_classes(own: &Path) -> &'static Path {
    static CLASSES: OnceLock<Scratch> = OnceLock::new();
    let scratch = CLASSES.get_or_init(|| {
        let scratch = Scratch::new();
        let compiled = Command::new("javac")
            .arg("-d")
            .arg(scratch.dir())
            .arg(own.join("Store.java"))
            .status()
            .expect("javac");
        assert!(compiled.success(), "javac: {compiled}");
        scratch
    });
    scratch.dir()
}

fn with_node_modules(program: Program) -> Program {
    program.env(
        "NODE_PATH",
        node_modules().expect("asked by available() before"),
    )
}

/// Where `scripts/setup --clients` has npm put the package `lmdb`.
fn node_modules() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let modules = target.expect("target").join("clients/node/node_modules");
    match modules.join("lmdb/package.json").exists() {
        true => Ok(modules),
        false => Err("lmdb for Node is not installed (scripts/setup --clients)".to_owned()),
    }
}
