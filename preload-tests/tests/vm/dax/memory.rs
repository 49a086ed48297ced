//! A machine with persistent memory, and what its job says.

use std::fmt::Write as _;
use std::time::Duration;

use preload_tests::harness::{Program, Scratch, installed, shim};
use preload_tests::vm::{Kernel, Machine, Running};
use serde_json::Value;

/// Of a module: xfs takes no less than 300, and a namespace some for itself.
const MIB: u64 = 384;
const LIMIT: Duration = Duration::from_secs(300);
/// For a program that may hang, seconds.
const LONGEST: u32 = 60;

/// Modules of persistent memory that outlive the machines they are put into.
pub struct Memory {
    _scratch: Scratch,
    kernel: Kernel,
    machine: Machine,
}

impl Memory {
    /// So many modules, and a kernel of the series.
    ///
    /// # Errors
    /// With a reason, where there can be no machine.
    pub fn new(series: &str, modules: usize) -> Result<Self, String> {
        installed("ndctl")?;
        let kernel = Kernel::find(series)?;
        let scratch = Scratch::new();
        let mut machine = Machine::new(&kernel)?;
        for number in 0..modules {
            let file = scratch.image(&format!("pmem{number}"), MIB);
            machine = machine.pmem(&file, MIB);
        }
        Ok(Self {
            _scratch: scratch,
            kernel,
            machine,
        })
    }

    /// The kernel's release.
    pub fn release(&self) -> &str {
        self.kernel.release()
    }
}

/// A script for the machine, that puts a line `@ NAME` above what each of its parts prints.
pub struct Job(String);

impl Job {
    pub fn new() -> Self {
        let shim = shim().display();
        Self(format!(
            "shim='env LD_PRELOAD={shim}'
            watched=\"$shim KEEPMYDATA_LOG=debug KEEPMYDATA_LOG_FORMAT=json KEEPMYDATA_LOG_FILE=/run/log\"
            watched=\"$watched KEEPMYDATA_VERIFY=on KEEPMYDATA_INVALIDATE=file\"\n"
        ))
    }

    /// A command that must succeed.
    pub fn line(&mut self, command: &str) -> &mut Self {
        let _ = writeln!(
            self.0,
            "{command} || {{ echo 'failed: {command}'; exit 1; }}"
        );
        self
    }

    /// Has the kernel use module `number` for a filesystem with DAX, `/dev/pmemNUMBER`.
    pub fn namespace(&mut self, number: usize) -> &mut Self {
        self.line(&format!(
            "ndctl create-namespace -f -e namespace{number}.0 -m fsdax -M mem >/dev/null"
        ))
    }

    /// Makes a filesystem (`ext4`), in blocks of a page.
    pub fn make(&mut self, kind: &str, number: usize) -> &mut Self {
        let make = match kind {
            "ext4" => "mkfs.ext4 -q -F -b 4096",
            _ => "mkfs.xfs -q -f",
        };
        self.line(&format!("{make} /dev/pmem{number}"))
    }

    /// Has the filesystem's own tool look for errors, once it is unmounted.
    pub fn check(&mut self, kind: &str, number: usize) -> &mut Self {
        let check = match kind {
            "ext4" => "e2fsck -f -n",
            _ => "xfs_repair -n",
        };
        self.line(&format!("{check} /dev/pmem{number} >/dev/null 2>&1"))
    }

    /// On `/run/pmem/NUMBER`.
    pub fn mount(&mut self, number: usize, option: &str) -> &mut Self {
        self.line(&format!(
            "mkdir -p /run/pmem/{number} && mount -o {option} /dev/pmem{number} /run/pmem/{number}"
        ))
    }

    pub fn unmount(&mut self, number: usize) -> &mut Self {
        self.line(&format!("umount /run/pmem/{number}"))
    }

    /// Starts a program that runs on.
    pub fn start(&mut self, program: &Program, shimmed: bool) -> &mut Self {
        let shim = if shimmed { "$watched " } else { "" };
        let _ = writeln!(self.0, "{shim}{} &", command(program));
        self
    }

    /// Runs a program for so many seconds at most; part `native NAME`.
    pub fn natively(&mut self, name: &str, program: &Program, limit: u32) -> &mut Self {
        self.part(&format!("native {name}"), "", program, limit)
    }

    /// Runs a program under the shim with these settings (`KEEPMYDATA_TRACK=whole`); part `shim NAME`.
    pub fn shimmed(&mut self, name: &str, settings: &str, program: &Program) -> &mut Self {
        let shim = format!("$shim {settings}");
        self.part(&format!("shim {name}"), &shim, program, LONGEST)
    }

    /// Runs a program natively, and twice under the shim: as it comes, and with all that a page cache
    /// would need, and a log; parts `native NAME`, `shim NAME`, `watched NAME` and `log NAME`.
    pub fn all_ways(&mut self, name: &str, program: &Program) -> &mut Self {
        self.natively(name, program, LONGEST);
        self.shimmed(name, "", program).line("rm -f /run/log");
        self.part(&format!("watched {name}"), "$watched", program, LONGEST);
        self.line(&format!("echo '@ log {name}'; cat /run/log"))
    }

    fn part(&mut self, name: &str, before: &str, program: &Program, limit: u32) -> &mut Self {
        let command = command(program);
        let _ = writeln!(
            self.0,
            "echo '@ {name}'; timeout {limit} {before} {command}; echo \"status $?\""
        );
        self
    }

    /// Runs a program under strace; parts `traced NAME` and `trace NAME`.
    pub fn traced(&mut self, name: &str, program: &Program, shimmed: bool) -> &mut Self {
        let shim = if shimmed { "$watched " } else { "" };
        let _ = writeln!(
            self.0,
            "echo '@ traced {name}'; timeout 60 strace -f -y -o /run/trace {shim}{}
            echo '@ trace {name}'; cat /run/trace",
            command(program)
        );
        self
    }

    pub fn boot(&self, memory: &Memory) -> Running {
        memory.machine.boot(&self.0)
    }

    /// Boots and runs all of it, and returns what each part has printed.
    ///
    /// # Panics
    /// If the job fails.
    #[track_caller]
    pub fn run(&self, memory: &Memory) -> Parts {
        let (status, printed) = self.boot(memory).finish(LIMIT);
        assert_eq!(status, 0, "{printed}");
        Parts::new(&printed)
    }
}

/// The command line of a program.
pub fn command(program: &Program) -> String {
    let mut command = program.file().display().to_string();
    for argument in program.arguments() {
        let _ = write!(command, " {}", argument.display());
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

    /// That the runs under the shim ended well, and printed what was printed natively, which is returned.
    #[track_caller]
    pub fn assert_same(&self, name: &str) -> &str {
        let native = self.text(&format!("native {name}"));
        assert!(native.ends_with("status 0\n"), "{name}, natively: {native}");
        for way in ["shim", "watched"] {
            let shimmed = self.text(&format!("{way} {name}"));
            let differing: String = native
                .lines()
                .zip(shimmed.lines().chain(std::iter::repeat("")))
                .enumerate()
                .filter(|(_, (native, shimmed))| native != shimmed)
                .map(|(number, (native, shimmed))| format!("{number}: {native:?} {shimmed:?}\n"))
                .collect();
            assert!(
                native == shimmed,
                "{name}: natively, {way}:\n{differing}\n{shimmed}"
            );
        }
        native
    }
}
