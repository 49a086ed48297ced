//! A program that is run to be looked at, within a limit of time.

use crate::failure::reason;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::env;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a wait looks whether this process was interrupted.
const SLICE: Duration = Duration::from_millis(100);

/// How it went.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
    /// Killed for running too long.
    pub timed_out: bool,
}

/// Runs `command` in a process group of its own, which is killed when the program ends, at the
/// limit, or when this process is interrupted. Its output goes to unnamed files, so that whoever
/// inherits them keeps nobody waiting.
///
/// # Errors
/// Where it cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    let (mut stdout, mut stderr) = (unnamed()?, unnamed()?);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .process_group(0)
        .spawn()?;
    let group = Pid::from_child(&child);
    let ended = ends_within(group, started, limit);
    // ESRCH: the group is empty already.
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait()?;
    Ok(Ended {
        status,
        took: started.elapsed(),
        timed_out: !ended?,
        stdout: contents(&mut stdout)?,
        stderr: contents(&mut stderr)?,
    })
}

/// A file without a name. Where it cannot be made, the error names the directory.
pub fn unnamed() -> io::Result<File> {
    tempfile::tempfile().map_err(|error| {
        let directory = env::temp_dir();
        io::Error::other(format!("{}: {}", directory.display(), reason(&error)))
    })
}

fn ends_within(child: Pid, started: Instant, limit: Duration) -> io::Result<bool> {
    let process = pidfd_open(child, PidfdFlags::empty())?;
    while !sys::interrupted() {
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        if has_ended(&process, left)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits for the end of a process, for a moment and no longer than `at_most`; a signal ends the wait.
pub fn has_ended(process: impl AsFd, at_most: Duration) -> io::Result<bool> {
    let slice = Timespec::try_from(at_most.min(SLICE)).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&slice)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn contents(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
