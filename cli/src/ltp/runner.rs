//! LTP's runners: started, watched, and read for what only they know.

use super::args::Runner;
use super::install::Install;
use super::outcome::Outcome;
use super::plan::Side;
use crate::failure::Failure;
use crate::sys;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long a runner may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a side's runtest file. `watch` is called again and again meanwhile.
pub fn run(
    install: &Install,
    side: &Side,
    directory: &Path,
    arguments: &[OsString],
    mut watch: impl FnMut(),
) -> Result<(), Failure> {
    let log = side.0.join("runner.log");
    let failed = |error: std::io::Error| Failure::of(install.program.display(), &error);
    let sink = File::create(&log).map_err(failed)?;
    let mut child = command(install, side, directory)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(sink.try_clone().map_err(failed)?)
        .stderr(sink)
        .spawn()
        .map_err(failed)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if sys::interrupted() {
            stop(&mut child);
            return Err(Failure::interrupted());
        }
        watch();
        std::thread::sleep(TICK);
    };
    watch();
    // kirk's code is 0 although tests failed, runltp's is not: only whether it ran them counts.
    if fs::read_dir(side.tests()).is_ok_and(|mut tests| tests.next().is_none()) {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(10)..];
        return Err(Failure::own(format!(
            "{} ran no test ({status}); the end of {}:\n{}",
            install.program.display(),
            log.display(),
            tail.join("\n")
        )));
    }
    Ok(())
}

/// Tells the runner to end its tests and itself.
fn stop(child: &mut Child) {
    let group = Pid::from_child(child);
    let deadline = Instant::now() + GRACE;
    let _ = kill_process_group(group, Signal::INT);
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let _ = kill_process_group(group, Signal::KILL);
        }
        std::thread::sleep(TICK);
    }
}

fn command(install: &Install, side: &Side, directory: &Path) -> Command {
    let mut command = Command::new(&install.program);
    let path = |name: &str| side.0.join(name);
    match install.runner {
        Runner::Runltp => {
            // All paths absolute: it writes into LTPROOT otherwise, which may not be writable.
            // -q and -Q: no notes to the kernel's log.
            command.args(["-q", "-Q", "-p"]);
            for (option, name) in [
                ("-l", "runner.results"),
                ("-o", "runner.output"),
                ("-C", "runner.failed"),
                ("-T", "runner.tconf"),
            ] {
                command.arg(option).arg(path(name));
            }
            command
                .arg("-d")
                .arg(directory)
                .arg("-f")
                .arg(side.runtest());
            let text = fs::read_to_string(&install.program).unwrap_or_default();
            if text.contains("-W ZOOFILE") {
                command.arg("-W").arg(path("runner.zoo"));
            }
        }
        Runner::Kirk => {
            // Its own time limits would end it before ours do, and would change LTP's: it
            // derives LTP_TIMEOUT_MUL from them unless that is set.
            command
                .args([
                    "--no-colors",
                    "--suite-timeout",
                    "365d",
                    "--exec-timeout",
                    "365d",
                ])
                .arg("--tmp-dir")
                .arg(path("runner.tmp"))
                .arg("--json-report")
                .arg(path("runner.json"))
                .arg("--run-suite")
                .arg(side.runtest())
                .env("LTPROOT", &install.root)
                .env("TMPDIR", directory)
                .env("LTP_COLORIZE_OUTPUT", "0");
            if env::var_os("LTP_TIMEOUT_MUL").is_none() {
                command.env("LTP_TIMEOUT_MUL", "1");
            }
        }
    }
    command
}

/// What the runner reported of the tests, for those that were killed together with their record.
#[derive(Default)]
pub struct Reported(Vec<(String, Outcome)>);

impl Reported {
    pub fn read(runner: Runner, side: &Side) -> Self {
        let read = |name: &str| fs::read_to_string(side.0.join(name)).unwrap_or_default();
        Reported(match runner {
            Runner::Runltp => runltp_results(&read("runner.results")),
            Runner::Kirk => kirk_results(&read("runner.json")),
        })
    }

    /// Runners go through the file in order, and tell of each test when it has ended.
    pub fn get(&self, number: usize, name: &str) -> Option<Outcome> {
        let (reported, outcome) = self.0.get(number)?;
        // ltp-pan cuts names at 30 characters.
        name.starts_with(reported.as_str()).then_some(*outcome)
    }
}

/// `NAME RESULT CODE` of `ltp-pan -p`.
fn runltp_results(text: &str) -> Vec<(String, Outcome)> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, result, code] = words[..] else {
                return None;
            };
            code.parse::<u32>().ok()?;
            let outcome = match result {
                "PASS" => Outcome::Passed,
                "CONF" => Outcome::Skipped,
                "FAIL" => Outcome::Failed,
                _ => return None,
            };
            Some((name.to_owned(), outcome))
        })
        .collect()
}

fn kirk_results(text: &str) -> Vec<(String, Outcome)> {
    let report: Value = serde_json::from_str(text).unwrap_or_default();
    let results = report["results"].as_array().cloned().unwrap_or_default();
    results
        .iter()
        .filter_map(|result| {
            let outcome = match result["status"].as_str()? {
                "pass" => Outcome::Passed,
                "conf" => Outcome::Skipped,
                "warn" => Outcome::Warned,
                "brok" => Outcome::Broken,
                _ => Outcome::Failed,
            };
            Some((result["test_fqn"].as_str()?.to_owned(), outcome))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runltp_reported() {
        let reported = Reported(runltp_results(
            "Test Start Time: Sat Nov 21 00:52:49 2026\n\
             -----------------------------------------\n\
             Testcase                                           Result     Exit Value\n\
             --------                                           ------     ----------\n\
             mmap01                         PASS       0    \n\
             a_name_of_more_than_thirty_cha FAIL       4    \n\
             mmap03                         CONF       32   \n\
             \n\
             -----------------------------------------------\n\
             Total Tests: 3\n",
        ));
        assert_eq!(reported.get(0, "mmap01"), Some(Outcome::Passed));
        let long = "a_name_of_more_than_thirty_characters";
        assert_eq!(reported.get(1, long), Some(Outcome::Failed));
        assert_eq!(reported.get(2, "mmap03"), Some(Outcome::Skipped));
        assert_eq!(reported.get(2, "other"), None);
        assert_eq!(reported.get(3, "mmap04"), None);
    }

    #[test]
    fn what_kirk_reported() {
        let reported = Reported(kirk_results(
            r#"{"results": [{"test_fqn": "mmap01", "status": "brok", "test": {"retval": ["-1"]}},
                            {"test_fqn": "mmap02", "status": "fail"}], "stats": {}}"#,
        ));
        assert_eq!(reported.get(0, "mmap01"), Some(Outcome::Broken));
        assert_eq!(reported.get(1, "mmap02"), Some(Outcome::Failed));
        assert_eq!(Reported(kirk_results("")).get(0, "mmap01"), None);
    }
}
