//! The guests: what a trial runs, natively, under the shim or supervised.

use super::super::guest::{
    self, FsxTask, NeighbourFound, NeighbourTask, SeedFound, SeedTask, Task, WorkloadFound,
    WorkloadTask,
};
use super::{Found, Workplace};
use crate::failure::Failure;
use crate::run::{Library, Reach, reason};
use crate::trial::{self, Runner, Under};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// All trials together, from the start of the command: the rest of its 30 s is for the removal.
const LIMIT: Duration = Duration::from_secs(26);
/// Beyond what a trial waits for by itself.
const PATIENCE: Duration = Duration::from_secs(8);
/// So many syncs and reads has a trial at most, and have all of them together.
const IN_ONE: (u32, u32) = (20, 200);
const IN_ALL: (u32, u32) = (120, 600);
/// Beyond [`LIMIT`], on a slow filesystem.
const LONGEST: Duration = Duration::from_secs(240);

/// How long the calls of a filesystem take.
#[derive(Clone, Copy, Default)]
pub struct Pace {
    pub sync: Duration,
    pub read: Duration,
}

impl Pace {
    /// So many of them.
    fn times(self, (syncs, reads): (u32, u32)) -> Duration {
        self.sync * syncs + self.read * reads
    }
}

/// Runs guests, this command itself as another process, on files of the workplace.
pub struct Guests<'a> {
    workplace: &'a Workplace,
    command: PathBuf,
    runner: Runner,
    /// What runs under the shim is supervised instead.
    pub supervises: bool,
    /// How many have been run.
    count: AtomicU32,
    deadline: Instant,
    pace: Pace,
}

impl<'a> Guests<'a> {
    pub fn new(
        workplace: &'a Workplace,
        started: Instant,
        pace: Pace,
        reach: Reach,
    ) -> Result<Self, Failure> {
        let command = env::current_exe().map_err(|error| Failure::of("/proc/self/exe", &error))?;
        let runner = Runner::new(Library::find(), OsStr::new(""))?;
        Ok(Guests {
            workplace,
            command,
            supervises: match reach {
                // One that is named must be there.
                Reach::Auto => {
                    runner.no_shim().is_some() && env::var_os("KEEPMYDATA_LIB").is_none()
                }
                Reach::Preload => false,
                Reach::Supervise => true,
            },
            runner,
            count: AtomicU32::new(0),
            deadline: started + LIMIT + pace.times(IN_ALL).min(LONGEST),
            pace,
        })
    }

    /// Why nothing can be run under the shim.
    pub fn no_shim(&self) -> Option<&str> {
        self.runner.no_shim().filter(|_| !self.supervises)
    }

    /// The seed case on a new file, and the shim's records.
    pub fn seed(&self, task: &SeedTask, under: Under) -> Found<(SeedFound, Vec<Value>)> {
        let file = self.workplace.file();
        let limit = PATIENCE + Duration::from_millis(task.wait_ms + task.watch_ms);
        let task = Task::Seed(SeedTask {
            file: file.clone(),
            ..*task
        });
        let found = self.guest(&task, under, limit);
        let _ = fs::remove_file(file);
        found
    }

    /// The workload on a new file, with so many processes; the worst of what they found.
    pub fn workload(&self, millis: u64, processes: usize, under: Under) -> Found<WorkloadFound> {
        let file = self.workplace.file();
        let limit = PATIENCE + Duration::from_millis(millis);
        let task = |process| {
            Task::Workload(WorkloadTask {
                file: file.clone(),
                millis,
                process,
                processes,
            })
        };
        let found: Vec<Found<WorkloadFound>> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..processes)
                .map(|process| {
                    let task = task(process);
                    scope.spawn(move || self.guest(&task, under, limit))
                })
                .collect();
            let ended = started.into_iter().map(|thread| thread.join());
            ended
                .map(|ended| ended.map_err(|_| "panicked".to_owned())?)
                .map(|found| found.map(|(found, _)| found))
                .collect()
        });
        let _ = fs::remove_file(file);
        let found = found.into_iter().collect::<Found<Vec<_>>>()?;
        let worst = found
            .into_iter()
            .max_by_key(|found| (found.bad.is_some(), found.msync_error.is_some()));
        worst.ok_or_else(|| "no process".to_owned())
    }

    /// The workload that changes sizes and makes holes, on a new file.
    pub fn fsx(&self, millis: u64, under: Under) -> Found<WorkloadFound> {
        let file = self.workplace.file();
        let task = Task::Fsx(FsxTask {
            file: file.clone(),
            millis,
        });
        let found = self.guest(&task, under, PATIENCE + Duration::from_millis(millis));
        let _ = fs::remove_file(file);
        found.map(|(found, _)| found)
    }

    /// A process that stores, and another that had the file open and mapped before.
    pub fn neighbour(&self, under: Under) -> Found<NeighbourFound> {
        let file = self.workplace.file();
        let task = Task::Neighbour(NeighbourTask { file: file.clone() });
        let found = self.guest(&task, under, PATIENCE);
        let _ = fs::remove_file(file);
        found.map(|(found, _)| found)
    }

    fn guest<T: DeserializeOwned>(
        &self,
        task: &Task,
        under: Under,
        limit: Duration,
    ) -> Found<(T, Vec<Value>)> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = limit + self.pace.times(IN_ONE);
        if left.is_zero() {
            return Err("not tried: out of time".to_owned());
        }
        let task = serde_json::to_string(task).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.command);
        let under = match under {
            Under::Shim { level, settings } if self.supervises => {
                command.args(["--reach=supervise", "--"]).arg(&self.command);
                Under::Supervisor { level, settings }
            }
            under => under,
        };
        command.args([guest::NAME, &task]);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let logs = self.runner.scratch().join(number.to_string());
        fs::create_dir(&logs).map_err(|error| reason(&error))?;
        let ended = self
            .runner
            .run(command, under, &logs, limit.min(left))
            .map_err(|error| reason(&error))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if ended.timed_out {
            return Err(format!("no answer in {} s", ended.took.as_secs()));
        }
        if !ended.status.success() {
            let line = said.lines().last().unwrap_or_default();
            let line = line.strip_prefix("keepmydata: ").unwrap_or(line);
            return Err(match line {
                "" => ended.status.to_string(),
                line => line.to_owned(),
            });
        }
        let found = serde_json::from_slice(&ended.stdout).map_err(|error| error.to_string())?;
        let records = trial::records(&logs).map_err(|error| reason(&error))?;
        let records: Vec<Value> = records.flatten().collect();
        match under {
            Under::Shim { .. } if records.is_empty() => Err("the shim was not loaded".to_owned())?,
            Under::Supervisor { .. } if records.is_empty() => {
                Err("it was not supervised".to_owned())?;
            }
            _ => {}
        }
        Ok((found, records))
    }
}
