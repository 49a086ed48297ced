//! A machine whose disks log what they are asked for, and what is left of them if the power goes at
//! any point of the log.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use preload_tests::harness::Scratch;
use preload_tests::vm::{Kernel, Machine, WriteLog};

use super::cases::Case;
use super::job::{Part, script};
use super::lives::{Found, tagged};
use super::random;

const PATIENCE: Duration = Duration::from_secs(400);
const QUOTED: usize = 20;

/// One case's disk as it was made, its log, and each promise with the length that the log had when it
/// was heard.
pub struct Logged {
    pub case: Case,
    seed: u64,
    before: PathBuf,
    log: PathBuf,
    promises: Vec<(u64, String)>,
    scratch: Scratch,
}

/// Runs all cases until each was promised something this many times.
///
/// # Errors
/// What is missing here (to skip the test).
///
/// # Panics
/// If the machine does not do what it should.
pub fn record(
    cases: Vec<Case>,
    kernel: &Kernel,
    seed: u64,
    promises: usize,
) -> Result<Vec<Logged>, String> {
    let mut machine = Machine::new(kernel)?.memory_mib(1536);
    let mut logged = Vec::new();
    for case in cases {
        let scratch = Scratch::new();
        let (disk, before, log) = (
            scratch.path("disk"),
            scratch.path("before"),
            scratch.path("log"),
        );
        case.filesystem.make(&disk)?;
        copy(&disk, &before);
        File::create(&log).expect("log");
        machine = machine.logged_disk(&disk, &log);
        logged.push(Logged {
            case,
            seed: case.seed(seed, 0),
            before,
            log,
            promises: Vec::new(),
            scratch,
        });
    }
    let parts: Vec<Part> = logged
        .iter()
        .map(|logged| Part {
            case: &logged.case,
            check: None,
            store: Some(logged.seed),
        })
        .collect();
    let mut running = machine.boot(&script(&parts));
    let late = Instant::now() + PATIENCE;
    while logged.iter().any(|logged| logged.promises.len() < promises) {
        let line = running.line(late);
        let line = line.unwrap_or_else(|| panic!("the machine ended\n{}", running.console()));
        match tagged(&line) {
            Some((number, said)) => match said.strip_prefix("kept ") {
                // Points behind these are not looked at.
                Some(promise) if logged[number].promises.len() < promises => {
                    logged[number].hear(promise);
                }
                Some(_) => {}
                None => panic!("{}: {said}", logged[number].case),
            },
            None => println!("{line}"),
        }
    }
    running.cut_power();
    Ok(logged)
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args([from, to]).status().expect("cp");
    assert!(status.success(), "cp {}: {status}", from.display());
}

impl Logged {
    fn hear(&mut self, promise: &str) {
        let length = fs::metadata(&self.log).expect("log").len();
        self.promises.push((length, promise.to_owned()));
    }

    /// Looks at the disk as it is after each flush, and at `samples` other points, where of all that was
    /// written since the last flush before an arbitrary part is lost.
    ///
    /// # Panics
    /// If the log cannot be read or replayed.
    pub fn judge(&self, samples: u64) -> Found {
        let (until, _) = *self.promises.last().expect("a promise");
        let log = WriteLog::open(&self.log, until).expect("log of writes");
        let mut points: Vec<(usize, Option<u64>)> =
            log.flushes().map(|point| (point, None)).collect();
        // The other points: from the first promise on.
        let (begin, _) = self.promises[0];
        let first = (0..log.points())
            .find(|point| log.length_at(*point) >= begin)
            .unwrap_or(log.points());
        let behind = (log.points() - first) as u64 + 1;
        points.extend((0..samples).map(|sample| {
            let sample = random(self.seed, sample);
            let point = first + usize::try_from(sample % behind).expect("a point");
            (point, Some(sample))
        }));
        points.sort_unstable();
        let mut found = Found::default();
        let durable = File::options().write(true).open(&self.before);
        let durable = durable.expect("image");
        let mut replayed = 0;
        for (number, (point, sample)) in points.into_iter().enumerate() {
            let flushed = log.durable(point);
            let all = |_| true;
            log.replay(replayed, flushed, &durable, all)
                .expect("replay");
            replayed = flushed;
            let survives =
                |sample: u64| move |number| random(sample, number as u64).is_multiple_of(2);
            // A file of its own: the filesystem of the last may still be writing to its.
            let image = self.scratch.path(&format!("image-{number}"));
            copy(&self.before, &image);
            if let Some(sample) = sample {
                File::options()
                    .write(true)
                    .open(&image)
                    .and_then(|image| log.replay(flushed, point, &image, survives(sample)))
                    .expect("replay");
            }
            self.judge_image(&image, log.length_at(point), point, &mut found);
            fs::remove_file(&image).expect("image");
        }
        found
    }

    /// What was promised when the log had this length must be in the image.
    fn judge_image(&self, image: &Path, length: u64, point: usize, found: &mut Found) {
        let held: Vec<&str> = self
            .promises
            .iter()
            .take_while(|(heard, _)| *heard <= length)
            .map(|(_, promise)| promise.as_str())
            .collect();
        found.cuts += 1;
        found.promises += held.len() as u64;
        let (broken, said) = match self.check(image, &held) {
            Ok(judged) => judged,
            Err(error) => (held.len().max(1) as u64, error),
        };
        found.broken += broken;
        found.losing_cuts += u64::from(broken > 0);
        if broken > 0 && found.details.len() < QUOTED {
            found.details.push(format!("point {point}: {said}"));
        }
    }

    fn check(&self, image: &Path, promises: &[&str]) -> Result<(u64, String), String> {
        let mounted = self.case.filesystem.mount_image(image)?;
        let list = self.scratch.path("promises");
        let lines: Vec<String> = promises.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&list, lines.concat()).expect("promises");
        let directory = mounted.dir().display().to_string();
        let output = Command::new("sh")
            .args(["-c", &self.case.check(0, &directory, self.seed)])
            .stdin(File::open(&list).expect("promises"))
            .output();
        let said = output.and_then(|output| {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            match output.status.code() {
                Some(0 | 1) => Ok(said),
                _ => Err(io::Error::other(format!("the checker: {output:?}"))),
            }
        });
        let said = said.expect("the checker");
        let broken = said.trim_end().rsplit(' ').next().unwrap_or_default();
        let broken = broken.parse().expect("`@0 checked PROMISES BROKEN`");
        Ok((broken, said))
    }
}
