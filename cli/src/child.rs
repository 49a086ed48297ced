//! A program that is run to be looked at, within a limit of time.

use crate::failure::reason;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, test_kill_process_group,
};
use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks whether this process was interrupted.
const SLICE: Duration = Duration::from_millis(100);
/// How long a killed process is given to die.
const DYING: Duration = Duration::from_secs(10);

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
    wait_for_the_rest(group);
    Ok(Ended {
        status,
        took: started.elapsed(),
        timed_out: !ended?,
        stdout: contents(&mut stdout)?,
        stderr: contents(&mut stderr)?,
    })
}

/// Waits until nobody of a process group that was killed runs any more: what the next run finds, it must not have to share with
/// it. Zombies are gone as far as that goes; what cannot die is not waited for.
fn wait_for_the_rest(group: Pid) {
    let until = Instant::now() + DYING;
    while test_kill_process_group(group).is_ok() && Instant::now() < until && runs(group) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether somebody of that process group runs (proc_pid_stat(5)).
fn runs(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.into_iter().any(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // The name, which is in parentheses, may contain anything.
        let mut fields = stat
            .rsplit_once(") ")
            .map_or("", |(_, rest)| rest)
            .split(' ');
        let state = fields.next().unwrap_or_default();
        fields.nth(1) == Some(&group) && !matches!(state, "Z" | "X")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_of_a_run_that_was_killed_runs_any_more() {
        // What has much memory takes a while to die.
        let script = "echo $$; dd if=/dev/zero of=/dev/null bs=300M 2>/dev/null & wait";
        let mut command = Command::new("sh");
        let ended = run(command.args(["-c", script]), Duration::from_millis(700)).unwrap();
        assert!(ended.timed_out);
        let group = String::from_utf8(ended.stdout).unwrap();
        let group = Pid::from_raw(group.trim().parse().unwrap()).unwrap();
        assert!(!runs(group));
    }
}
