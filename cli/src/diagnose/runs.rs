//! Runs the program under one setting, several times.

use super::arguments::Options;
use super::settings::{Kind, Setting};
use crate::child::Ended;
use crate::failure::{CANNOT_RUN, Failure};
use crate::run::{Library, checked, reason};
use crate::trial::{self, Evidence, Runner, Under};
use serde::Serialize;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How the runs of a setting went.
#[derive(Serialize)]
pub struct Runs {
    pub kind: Kind,
    pub name: &'static str,
    pub runs: u32,
    pub passed: u32,
    /// How each run ended that did not pass: `exit code 1`, with the last line that it printed.
    pub failures: Vec<String>,
    /// The longest run.
    pub slowest_ms: u64,
    pub evidence: Evidence,
}

impl Runs {
    pub fn all_passed(&self) -> bool {
        self.passed == self.runs
    }
}

/// The program, and what it is run with.
pub struct Program<'a> {
    options: &'a Options,
    file: PathBuf,
    runner: Runner,
    has_strace: bool,
    /// The caller's choice of files (KEEPMYDATA_FILES) holds under every setting.
    files: Option<String>,
}

impl<'a> Program<'a> {
    pub fn new(options: &'a Options) -> Result<Self, Failure> {
        let library = Library::find()?;
        let file = checked(&options.program[0], &library)?;
        let others = env::var_os("LD_PRELOAD").unwrap_or_default();
        let runner = Runner::new(Ok(library), &others)?;
        if let Some(why) = runner.no_shim() {
            return Err(Failure::own(why));
        }
        let files = env::var_os("KEEPMYDATA_FILES").map(|files| {
            files.into_string().map_err(|files| {
                Failure::own(format!("KEEPMYDATA_FILES={}: not UTF-8", files.display()))
            })
        });
        Ok(Program {
            options,
            file,
            runner,
            has_strace: strace(0, OsStr::new("true"))
                .output()
                .is_ok_and(|output| output.status.success()),
            files: files.transpose()?,
        })
    }

    /// Why a setting cannot be tried.
    pub fn cannot(&self, setting: &Setting) -> Option<&'static str> {
        let delayed = matches!(setting.kind, Kind::Delayed(_));
        (delayed && !self.has_strace).then_some("strace is not installed, or cannot trace")
    }

    /// One run, added to `runs`.
    pub fn run(&self, setting: &Setting, runs: &mut Runs) -> Result<(), Failure> {
        let name = format!("{}-{}", directory_name(setting.kind), runs.runs + 1);
        let logs = match &self.options.logs {
            Some(logs) => logs.join(name),
            None => self.runner.scratch().join(name),
        };
        let failed = |error: std::io::Error| Failure::of(logs.display(), &error);
        if self.options.logs.is_some() && logs.exists() {
            return Err(Failure::own(format!(
                "{}: exists; --keep-logs needs a directory without older logs",
                logs.display()
            )));
        }
        fs::create_dir_all(&logs).map_err(failed)?;
        let ended = self.start(setting, &logs).map_err(|error| {
            let program = self.options.program[0].display();
            Failure::new(CANNOT_RUN, format!("{program}: {}", reason(&error)))
        })?;
        if self.options.logs.is_some() {
            fs::write(logs.join("stdout"), &ended.stdout).map_err(failed)?;
            fs::write(logs.join("stderr"), &ended.stderr).map_err(failed)?;
        }
        let passed = ended.status.success() && !ended.timed_out;
        runs.runs += 1;
        runs.passed += u32::from(passed);
        runs.slowest_ms = runs.slowest_ms.max(ended.took.as_millis() as u64);
        if !passed {
            runs.failures.push(describe(&ended, self.options.timeout));
        }
        for process in trial::records(&logs).map_err(failed)? {
            runs.evidence.add(process, passed);
        }
        if self.options.logs.is_none() {
            fs::remove_dir_all(&logs).map_err(failed)?;
        }
        Ok(())
    }

    fn start(&self, setting: &Setting, logs: &Path) -> std::io::Result<Ended> {
        let mut command = match setting.kind {
            Kind::Delayed(delay_us) => strace(delay_us, self.file.as_os_str()),
            _ => Command::new(&self.file),
        };
        command.args(&self.options.program[1..]);
        let mut settings = setting.variables.to_vec();
        settings.extend(
            self.files
                .as_deref()
                .map(|files| ("KEEPMYDATA_FILES", files)),
        );
        let under = match setting.kind.is_native() {
            true => Under::Nothing,
            false => Under::Shim {
                // What a program does after a failed msync is in the records of its other calls.
                level: match setting.kind {
                    Kind::Watch => "trace",
                    _ => "info",
                },
                settings: &settings,
            },
        };
        self.runner.run(command, under, logs, self.options.timeout)
    }
}

/// strace(1) with each msync returning so much later, and nothing printed.
fn strace(delay_us: u32, program: &OsStr) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-q", "--seccomp-bpf", "-o", "/dev/null"])
        .args(["-e", "trace=msync", "-e"])
        .arg(format!("inject=msync:delay_exit={delay_us}"))
        .arg("--")
        .arg(program);
    command
}

fn directory_name(kind: Kind) -> String {
    match kind {
        Kind::Delayed(us) => format!("delayed-{}ms", us / 1000),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

fn describe(ended: &Ended, timeout: Duration) -> String {
    let how = match (ended.timed_out, ended.status.code()) {
        (true, _) => format!("still running after {} s", timeout.as_secs()),
        (false, Some(code)) => format!("exit code {code}"),
        (false, None) => format!("signal {}", ended.status.signal().unwrap_or(0)),
    };
    let last = [&ended.stderr, &ended.stdout]
        .into_iter()
        .map(|output| String::from_utf8_lossy(output))
        .find_map(|text| {
            text.lines()
                .rfind(|line| !line.trim().is_empty())
                .map(str::to_owned)
        });
    match last {
        Some(line) => format!("{how}: {}", line.chars().take(120).collect::<String>()),
        None => how,
    }
}
