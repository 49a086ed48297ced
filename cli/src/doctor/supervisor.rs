//! A filesystem that hangs must not take the doctor with it: a process that waits for an answer of a
//! FUSE daemon cannot always be killed. So this process never touches the directory; another does,
//! and is left behind where it does not end.

use super::arguments::Options;
use super::guest::{NAME, Task};
use super::verdict::Verdict;
use crate::child::{has_ended, unnamed};
use crate::failure::{Failure, OWN};
use crate::junit;
use crate::output::Target;
use crate::progress::PULSE;
use crate::sys;
use crate::trial::Verdict as _;
use quick_junit::{TestCase, TestSuite};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::env;
use std::ffi::c_int;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long nothing may end, of all that is tried,
const LIMIT: Duration = Duration::from_secs(30);
/// with a second client,
const CLIENTS_LIMIT: Duration = Duration::from_secs(120);
/// and how long all of it may take.
const LONGEST: Duration = Duration::from_secs(300);

pub fn doctor(options: &Options) -> Result<c_int, Failure> {
    let task = serde_json::to_string(&Task::Doctor(options.clone()))
        .map_err(|error| Failure::own(error.to_string()))?;
    sys::note_interruptions();
    let failed = |error: io::Error| Failure::of("doctor", &error);
    let limit = match options.client {
        None => LIMIT,
        Some(_) => CLIENTS_LIMIT,
    };
    match supervise(&task, limit).map_err(failed)? {
        Some(code) => Ok(code),
        None => {
            let directory = options.directory.display();
            let why = format!(
                "{directory}: no answer in {} s: the filesystem hangs; a file or directory \
                 .keepmydata-doctor-* may be left there",
                limit.as_secs()
            );
            if let Some(path) = &options.junit {
                let mut suite = TestSuite::new("doctor");
                let status = junit::error(why.as_str());
                suite.add_test_case(TestCase::new("msync keeps its promise", status));
                junit::write(Target::open(path)?, "keepmydata doctor", vec![suite])?;
            }
            Err(Failure::new(Verdict::Unknown.code(), why))
        }
    }
}

/// The exit code, or nothing where the process did not end in time.
fn supervise(task: &str, limit: Duration) -> io::Result<Option<c_int>> {
    let started = Instant::now();
    // Whoever is left behind must hold nothing open that others read to its end.
    let (mut stdout, mut stderr) = (unnamed()?, unnamed()?);
    let shown = io::stderr().is_terminal();
    let mut child = Command::new(env::current_exe()?)
        .args([NAME, task])
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(match shown {
            true => Stdio::inherit(),
            false => stderr.try_clone()?.into(),
        })
        .spawn()?;
    let pid = Pid::from_child(&child);
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let mut asked = false;
    // A slow filesystem is no hanging one: each step that ends prints a byte.
    let (mut printed, mut heard) = (0, started);
    loop {
        let now = stdout.metadata()?.len();
        if now != printed {
            (printed, heard) = (now, Instant::now());
        }
        let left = limit.saturating_sub(heard.elapsed());
        let left = left.min(LONGEST.saturating_sub(started.elapsed()));
        if has_ended(&process, left)? {
            break;
        }
        if left.is_zero() {
            let _ = child.kill();
            return Ok(None);
        }
        // It cleans up, and says so by its exit code.
        if let Some(signal) = sys::interruption().and_then(Signal::from_named_raw)
            && !asked
        {
            asked = true;
            let _ = kill_process(pid, signal);
        }
    }
    for (file, to) in [
        (&mut stdout, &mut io::stdout() as &mut dyn Write),
        (&mut stderr, &mut io::stderr()),
    ] {
        file.rewind()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        text.retain(|&byte| byte != PULSE);
        to.write_all(&text)?;
    }
    Ok(Some(child.wait()?.code().unwrap_or(OWN)))
}
