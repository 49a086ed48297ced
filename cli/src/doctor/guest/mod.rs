//! What runs in a process of its own. Above all the program that a trial runs, natively or under the shim: this command itself, called as
//! `keepmydata doctor-guest TASK`. The task is JSON, and so is what it prints.
//!
//! What it does to files goes through libc by name, so that the shim sees it.

mod fsx;
mod neighbour;
mod readers;
mod seed;
mod workload;

pub use fsx::FsxTask;
pub use neighbour::{NeighbourFound, NeighbourTask};
pub use readers::{Look, Page};
pub use seed::{Call, SeedFound, SeedTask, Step};
pub use workload::{WorkloadFound, WorkloadTask};

pub use super::arguments::GUEST as NAME;
use super::arguments::Options;
use crate::failure::Failure;
use crate::output;
use serde::{Deserialize, Serialize};
use std::ffi::c_int;
use std::io;

#[derive(Serialize, Deserialize)]
pub enum Task {
    /// All of the doctor's work, see `supervisor`.
    Doctor(Options),
    Seed(SeedTask),
    Workload(WorkloadTask),
    Fsx(FsxTask),
    Neighbour(NeighbourTask),
    /// The other process of a neighbour's task.
    Beside(NeighbourTask),
}

/// Runs the task and prints what was found. A failure is one of the setup, for which nothing can be
/// said of msync. `work` is the doctor's own.
pub fn guest(
    task: &str,
    work: impl FnOnce(&Options) -> Result<c_int, Failure>,
) -> Result<c_int, Failure> {
    let task: Task = serde_json::from_str(task)
        .map_err(|error| Failure::own(format!("{NAME}: a task in JSON is needed: {error}")))?;
    let found = match task {
        Task::Doctor(options) => return work(&options),
        Task::Seed(task) => seed::run(&task).map(|found| serde_json::to_string(&found)),
        Task::Workload(task) => workload::run(&task).map(|found| serde_json::to_string(&found)),
        Task::Fsx(task) => fsx::run(&task).map(|found| serde_json::to_string(&found)),
        Task::Neighbour(task) => neighbour::run(&task).map(|found| serde_json::to_string(&found)),
        Task::Beside(task) => neighbour::beside(&task).map(|()| Ok(String::new())),
    };
    match found {
        Ok(text) => {
            let text = text.map_err(|error| Failure::own(error.to_string()))?;
            output::print(text + "\n").map(|()| 0)
        }
        Err(SetupFailed { what, error }) => Err(Failure::of(what, &error)),
    }
}

/// A step that a case needs could not be done.
struct SetupFailed {
    what: &'static str,
    error: io::Error,
}

/// Names the step that failed.
trait Setup<T> {
    fn setup(self, what: &'static str) -> Result<T, SetupFailed>;
}

impl<T> Setup<T> for io::Result<T> {
    fn setup(self, what: &'static str) -> Result<T, SetupFailed> {
        self.map_err(|error| SetupFailed { what, error })
    }
}
