//! `keepmydata ltp test SIDE N`: one test, in place of the command that the runner would start.
//!
//! It stays between the runner and the test because no runner tells all: kirk takes doio's exit code
//! 4 (data compare error) for a warning and rwtest's 2 for a broken test.

use super::plan::{End, Plan, Record, Side, read_json, write_json};
use super::stand_in;
use crate::failure::Failure;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::env;
use std::ffi::c_int;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often it looks whether the runner wants an end.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

pub fn test(side: &Side, number: usize) -> Result<c_int, Failure> {
    let plan: Plan = read_json(&side.plan())?;
    let Some(test) = plan.tests.get(number) else {
        return Err(Failure::own(format!("the plan has no test {number}")));
    };
    sys::note_interruptions();
    let failed = |path: &Path, error: io::Error| Failure::of(path.display(), &error);
    let output = side.output(number);
    // Appending: the test's processes share the file, and must not overwrite each other's lines.
    let sink = File::options()
        .create(true)
        .append(true)
        .open(&output)
        .map_err(|error| failed(&output, error))?;
    // A session of its own, as kirk makes one: LTP's library changes process groups.
    let mut command = Command::new("setsid");
    command.args(["sh", "-c"]).arg(&test.command);
    if plan.shimmed {
        let logs = side.process_logs(number);
        // Also for tests that go on as another user.
        fs::create_dir_all(&logs)
            .and_then(|()| fs::set_permissions(&logs, fs::Permissions::from_mode(0o1777)))
            .map_err(|error| failed(&logs, error))?;
        let tree = side.stand_in();
        command
            .envs(stand_in::variables(&plan.root, &tree))
            .env("KEEPMYDATA_LOG_FILE", logs.join("%p.jsonl"));
        if env::current_dir().is_ok_and(|now| now == plan.root.join("testcases/bin")) {
            command.current_dir(tree.join("testcases/bin"));
        }
    }
    let clone = |file: &File| file.try_clone().map_err(|error| failed(&output, error));
    command
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(clone(&sink)?)
        .stderr(sink);

    let started = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| failed(Path::new("setsid"), error))?;
    let id = child.id().to_string();
    fs::write(side.started(number), id).map_err(|error| failed(&side.0, error))?;
    let end = wait(&mut child, Duration::from_secs(plan.timeout_seconds))
        .map_err(|error| failed(Path::new("setsid"), error))?;
    let record = Record {
        duration_ns: started.elapsed().as_nanos() as u64,
        end,
    };
    write_json(&side.record(number), &record)?;

    // What the runner makes of it is its own affair, and so is a closed standard output.
    let _ = File::open(&output).and_then(|mut text| io::copy(&mut text, &mut io::stdout()));
    Ok(match end {
        End::Exit(code) => code,
        End::Signal(signal) => 128 + signal,
        End::Timeout => 128 + libc::SIGKILL,
        End::Interrupted => Failure::interrupted().code,
    })
}

/// Waits for the child, and ends its session with it: what a test leaves running would disturb the
/// next.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<End> {
    let session = Pid::from_child(child);
    let pidfd = pidfd_open(session, PidfdFlags::empty())?;
    let deadline = Instant::now() + timeout;
    let cut_short = loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&TICK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break None,
            Err(error) => return Err(error.into()),
        }
        if sys::interrupted() {
            break Some(End::Interrupted);
        }
        if Instant::now() >= deadline {
            break Some(End::Timeout);
        }
    };
    // Before the child is waited for, its number cannot be another's.
    end_session(session);
    let status = child.wait()?;
    Ok(cut_short.unwrap_or(match status.signal() {
        Some(signal) => End::Signal(signal),
        None => End::Exit(status.code().unwrap_or_default()),
    }))
}

/// Ends the tests that a runner has left running: kirk kills what it has started itself, by SIGKILL.
pub fn end_leftovers(side: &Side, tests: usize) {
    for number in (0..tests).filter(|number| !side.record(*number).exists()) {
        let session = fs::read_to_string(side.started(number)).ok();
        let session = session.and_then(|id| Pid::from_raw(id.parse().ok()?));
        if let Some(session) = session {
            end_session(session);
        }
    }
}

/// Kills all that is alive in the session, as often as something there was still forking.
fn end_session(session: Pid) {
    for _ in 0..100 {
        let alive = members(session);
        if alive.is_empty() {
            return;
        }
        for pid in alive {
            // ESRCH: it has ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The processes of a session, without those that are dead already.
fn members(session: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            // proc_pid_stat(5): after the name in parentheses state, parent, group and session.
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let dead = matches!(*fields.first()?, "Z" | "X");
            let same = fields.get(3)?.parse() == Ok(session.as_raw_nonzero().get());
            (same && !dead).then_some(pid)
        })
        .collect()
}
