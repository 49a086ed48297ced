//! Runs the program under one setting, several times.

use super::arguments::Options;
use super::clients::{self, TwoClients};
use super::settings::{Kind, Setting};
use crate::child::Ended;
use crate::failure::{CANNOT_RUN, Failure};
use crate::run::{Library, located, reason};
use crate::trial::{self, Evidence, Runner, Under};
use serde::Serialize;
use std::collections::BTreeSet;
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
    /// Files that were opened, where strace(1) has looked.
    #[serde(skip)]
    pub opened: BTreeSet<String>,
    /// Those of them that it has synced by fsync(2) or fdatasync(2), and how often it did.
    #[serde(skip)]
    pub fsynced: BTreeSet<String>,
    #[serde(skip)]
    pub fsyncs: u64,
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
    /// The shim would not reach it.
    is_supervised: bool,
    runner: Runner,
    has_strace: bool,
    /// The caller's choice of files (KEEPMYDATA_FILES) holds under every setting.
    files: Option<String>,
    /// It reads through another mount than it stores through.
    pub clients: Option<TwoClients>,
    /// KEEPMYDATA_SEEN_BY for these.
    seen_by: Option<String>,
}

impl<'a> Program<'a> {
    pub fn new(options: &'a Options) -> Result<Self, Failure> {
        let library = Library::find()?;
        let (file, is_supervised) = located(&options.program[0], &library)?;
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
            is_supervised,
            runner,
            has_strace: strace("msync", 0, Path::new("/dev/null"), OsStr::new("true"))
                .output()
                .is_ok_and(|output| output.status.success()),
            files: files.transpose()?,
            clients: None,
            seen_by: None,
        })
    }

    /// From what was synced and opened in the runs so far.
    pub fn look_for_clients(&mut self, so_far: &[Runs]) {
        if self.clients.is_some() {
            return;
        }
        let all =
            |of: fn(&Runs) -> &BTreeSet<String>| so_far.iter().flat_map(of).cloned().collect();
        let mut synced: BTreeSet<String> = all(|runs| &runs.evidence.files);
        synced.append(&mut all(|runs| &runs.fsynced));
        self.clients = clients::find(&synced, &all(|runs| &runs.opened));
        self.seen_by = self.clients.as_ref().map(TwoClients::setting);
    }

    /// Whether its msyncs may take seconds each.
    pub fn has_time_to_wait(&self, so_far: &[Runs]) -> bool {
        let watched = so_far.iter().find(|runs| runs.kind == Kind::Watch);
        let Some(watched) = watched.filter(|watched| watched.runs > 0) else {
            return false;
        };
        let traced = so_far.iter().filter(|runs| runs.fsyncs > 0);
        let fsyncs = traced.map(|runs| runs.fsyncs.div_ceil(runs.runs.into()));
        let syncs = match watched.evidence.msyncs {
            0 => fsyncs.max().unwrap_or(0),
            msyncs => msyncs.div_ceil(watched.runs.into()),
        };
        let ms = watched.slowest_ms + 2000 * syncs;
        ms < self.options.timeout.as_millis() as u64
    }

    /// Why a setting cannot be tried.
    pub fn cannot(&self, setting: &Setting) -> Option<&'static str> {
        match setting.kind {
            Kind::Delayed(_) | Kind::DelayedFsync if !self.has_strace => {
                Some("strace is not installed, or cannot trace")
            }
            kind if kind.is_seen_by() && self.is_supervised => Some(
                "nothing can be preloaded into it, and a supervisor does not wait for another client",
            ),
            _ => None,
        }
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
        if let Ok(trace) = fs::read_to_string(logs.join(TRACE)) {
            runs.opened.extend(clients::opened(&trace));
            for path in clients::synced(&trace) {
                runs.fsyncs += 1;
                runs.fsynced.insert(path);
            }
        }
        for process in trial::records(&logs).map_err(failed)? {
            runs.evidence.add(process, passed);
        }
        if setting.kind.is_seen_by() {
            // Its msyncs are about all that is mapped.
            runs.evidence.outside = 0;
        }
        if self.options.logs.is_none() {
            fs::remove_dir_all(&logs).map_err(failed)?;
        }
        Ok(())
    }

    fn start(&self, setting: &Setting, logs: &Path) -> std::io::Result<Ended> {
        let mut command = match setting.kind {
            Kind::Delayed(delay_us) => {
                let trace = logs.join(TRACE);
                strace("msync", delay_us, &trace, self.file.as_os_str())
            }
            Kind::DelayedFsync => {
                let trace = logs.join(TRACE);
                strace("fsync,fdatasync", 2_000_000, &trace, self.file.as_os_str())
            }
            kind if self.is_supervised && !kind.is_native() => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["--reach=supervise", "--"]).arg(&self.file);
                command
            }
            _ => Command::new(&self.file),
        };
        command.args(&self.options.program[1..]);
        let mut settings = setting.variables.to_vec();
        settings.extend(
            self.files
                .as_deref()
                .map(|files| ("KEEPMYDATA_FILES", files)),
        );
        if let (true, Some(mounts)) = (setting.kind.is_seen_by(), &self.seen_by) {
            settings.push(("KEEPMYDATA_SEEN_BY", mounts));
        }
        // What a program does after a failed msync is in the records of its other calls.
        let level = match setting.kind {
            Kind::Watch => "trace",
            _ => "info",
        };
        let settings = &settings;
        let under = match setting.kind.is_native() {
            true => Under::Nothing,
            false if self.is_supervised => Under::Supervisor { level, settings },
            false => Under::Shim { level, settings },
        };
        self.runner.run(command, under, logs, self.options.timeout)
    }
}

/// The file of the logs that has what strace(1) saw.
const TRACE: &str = "strace";

/// strace(1) with each of these calls returning so much later, and the paths of what is opened and synced in `trace`.
fn strace(calls: &str, delay_us: u32, trace: &Path, program: &OsStr) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-q", "-y", "--seccomp-bpf", "-o"])
        .arg(trace)
        .args([
            "-e",
            "trace=msync,fsync,fdatasync,?open,?openat,?openat2,?creat",
        ])
        .arg("-e")
        .arg(format!("inject={calls}:delay_exit={delay_us}"))
        .arg("--")
        .arg(program);
    command
}

fn directory_name(kind: Kind) -> String {
    match kind {
        Kind::Delayed(us) => format!("delayed-{}ms", us / 1000),
        Kind::DelayedFsync => "delayed-fsync".to_owned(),
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
