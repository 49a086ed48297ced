//! A machine with persistent memory, and what its job says.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use preload_tests::harness::{Program, Scratch, shim};
use preload_tests::vm::{Kernel, Machine};
use serde_json::Value;

const MIB: u64 = 512;
const LIMIT: Duration = Duration::from_secs(300);

/// A module of persistent memory that outlives the machines it is put into.
pub struct Memory {
    scratch: Scratch,
    machine: Machine,
}

impl Memory {
    /// # Errors
    /// With a reason, where there can be no machine.
    pub fn new(series: &str) -> Result<Self, String> {
        preload_tests::harness::installed("ndctl")?;
        let scratch = Scratch::new();
        let file = scratch.path("pmem");
        File::create(&file)
            .and_then(|file| file.set_len(MIB << 20))
            .expect("file for the memory");
        let machine = Machine::new(&Kernel::find(series)?)?.pmem(&file, MIB);
        Ok(Self { scratch, machine })
    }

    #[allow(dead_code)]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs what was collected, and returns what each part has printed.
    ///
    /// # Panics
    /// If the job fails.
    #[track_caller]
    pub fn run(&self, job: &Job) -> Parts {
        let (status, printed) = self.machine.boot(&job.0).finish(LIMIT);
        let _ = std::fs::write(self.scratch.path("printed"), &printed);
        assert_eq!(status, 0, "{printed}");
        Parts::new(&printed)
    }
}

/// A script for the machine, that puts a line `@ NAME` above what each of its parts prints.
pub struct Job(String);

impl Job {
    /// Makes the namespace, `/dev/pmem0`.
    pub fn new() -> Self {
        let settings = format!(
            "LD_PRELOAD={} KEEPMYDATA_LOG=debug KEEPMYDATA_LOG_FORMAT=json KEEPMYDATA_LOG_FILE=/tmp/log \
             KEEPMYDATA_VERIFY=on KEEPMYDATA_INVALIDATE=file",
            shim().display()
        );
        let mut job = Self(format!("shim='env {settings}'\n"));
        job.line("ndctl create-namespace -f -e namespace0.0 -m fsdax -M mem >/dev/null");
        job
    }

    /// A command that must succeed.
    pub fn line(&mut self, command: &str) -> &mut Self {
        let _ = writeln!(
            self.0,
            "{command} || {{ echo 'failed: {command}'; exit 1; }}"
        );
        self
    }

    /// Makes a filesystem (`ext4`), in blocks of a page.
    pub fn make(&mut self, kind: &str) -> &mut Self {
        self.line(match kind {
            "ext4" => "mkfs.ext4 -q -F -b 4096 /dev/pmem0",
            _ => "mkfs.xfs -q -f /dev/pmem0",
        })
    }

    pub fn mount(&mut self, option: &str) -> &mut Self {
        self.line(&format!("mount -o {option} /dev/pmem0 /mnt"))
    }

    pub fn unmount(&mut self) -> &mut Self {
        self.line("umount /mnt")
    }

    /// Runs a program natively and under the shim; parts `native NAME`, `shim NAME` and `log NAME`.
    pub fn both_ways(&mut self, name: &str, program: &Program) -> &mut Self {
        let command = command(program);
        let _ = writeln!(
            self.0,
            "echo '@ native {name}'; timeout 60 {command}; echo \"status $?\"
            rm -f /tmp/log
            echo '@ shim {name}'; timeout 60 $shim {command}; echo \"status $?\"
            echo '@ log {name}'; cat /tmp/log"
        );
        self
    }

    /// Runs a program under the shim and strace; parts `traced NAME` and `trace NAME`.
    pub fn traced(&mut self, name: &str, program: &Program) -> &mut Self {
        let _ = writeln!(
            self.0,
            "echo '@ traced {name}'; timeout 60 strace -f -y -o /tmp/trace $shim {}
            echo '@ trace {name}'; cat /tmp/trace",
            command(program)
        );
        self
    }
}

fn command(program: &Program) -> String {
    let mut command = program.file().display().to_string();
    for argument in program.arguments() {
        let _ = write!(command, " {}", Path::new(argument).display());
    }
    command
}

/// What the parts of a job have printed.
pub struct Parts(Vec<(String, String)>);

impl Parts {
    fn new(printed: &str) -> Self {
        let mut parts: Vec<(String, String)> = Vec::new();
        for line in printed.lines() {
            match line.strip_prefix("@ ") {
                Some(name) => parts.push((name.to_owned(), String::new())),
                None => {
                    if let Some((_, text)) = parts.last_mut() {
                        let _ = writeln!(text, "{line}");
                    }
                }
            }
        }
        Self(parts)
    }

    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        let part = self.0.iter().find(|(found, _)| found == name);
        part.map_or_else(|| panic!("no part {name}"), |(_, text)| text)
    }

    /// The shim's records of a run.
    #[track_caller]
    pub fn log(&self, name: &str) -> Vec<Value> {
        let text = self.text(&format!("log {name}"));
        let parsed = text.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        parsed.collect()
    }

    /// That a run under the shim ended well, and printed what it printed natively.
    #[track_caller]
    pub fn assert_same(&self, name: &str) -> &str {
        let native = self.text(&format!("native {name}"));
        let shimmed = self.text(&format!("shim {name}"));
        assert!(native.ends_with("status 0\n"), "{name}, natively: {native}");
        let differing: String = native
            .lines()
            .zip(shimmed.lines().chain(std::iter::repeat("")))
            .enumerate()
            .filter(|(_, (native, shimmed))| native != shimmed)
            .map(|(number, (native, shimmed))| format!("{number}: {native:?} {shimmed:?}\n"))
            .collect();
        assert!(
            native == shimmed,
            "{name}: natively, under the shim:\n{differing}\n{shimmed}"
        );
        native
    }
}
