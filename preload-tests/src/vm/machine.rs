//! QEMU: its command line, its channel and its end.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Kernel, Processor, initramfs};
use crate::harness::{Group, Scratch, installed};

/// A machine to be booted, any number of times.
#[derive(Clone)]
pub struct Machine {
    kernel: Kernel,
    root: PathBuf,
    processors: u32,
    memory: u32,
    disks: Vec<Disk>,
    pmem: Vec<(PathBuf, u64)>,
}

impl Machine {
    /// With one processor, 768 MiB of memory and no disk.
    ///
    /// # Errors
    /// With a reason, where QEMU or what its initramfs is made with is missing.
    pub fn new(kernel: &Kernel) -> Result<Self, String> {
        for program in [kernel.processor().qemu(), "busybox", "modprobe", "xz"] {
            installed(program)?;
        }
        Ok(Self {
            kernel: kernel.clone(),
            root: kernel.processor().root()?,
            processors: 1,
            memory: 768,
            disks: Vec::new(),
            pmem: Vec::new(),
        })
    }

    /// More than one is for what needs it: on a busy host the emulation has shown one processor half of
    /// what another was patching in the kernel's code, and the kernel stopped at boot, once in 60 boots.
    pub fn processors(mut self, number: u32) -> Self {
        self.processors = number;
        self
    }

    pub fn memory_mib(mut self, size: u32) -> Self {
        self.memory = size;
        self
    }

    /// The next disk, `/dev/vda` the first: `image`, raw. Writes reach the file as the machine makes them;
    /// as the host itself does not stop, its files are not synced when the machine flushes its disks.
    pub fn disk(mut self, image: &Path) -> Self {
        let number = self.disks.len();
        self.disks.push(Disk {
            node: format!(
                "driver=raw,node-name=disk{number},cache.no-flush=on,\
                 file.driver=file,file.filename={}",
                image.display()
            ),
            options: "",
        });
        self
    }

    /// The next disk, whose writes and flushes are also written to `log`, an empty file, in the format
    /// of Linux's device-mapper target `log-writes`.
    pub fn logged_disk(mut self, image: &Path, log: &Path) -> Self {
        let number = self.disks.len();
        self.disks.push(Disk {
            node: format!(
                "driver=blklogwrites,node-name=disk{number},\
                 file.driver=raw,file.cache.no-flush=on,file.file.driver=file,file.file.filename={},\
                 log.driver=raw,log.cache.no-flush=on,log.file.driver=file,log.file.filename={}",
                image.display(),
                log.display()
            ),
            // Before QEMU 8.2.1 a logged request to write zeroes made the log unreadable.
            options: ",write-zeroes=off,discard=off",
        });
        self
    }

    /// The next module of persistent memory (NVDIMM), `/dev/pmem0` the first: `file`, of `mib` MiB, which
    /// must be a multiple of 128.
    pub fn pmem(mut self, file: &Path, mib: u64) -> Self {
        self.pmem.push((file.to_owned(), mib));
        self
    }

    /// Boots, and runs `job`, a script for bash.
    ///
    /// # Panics
    /// If QEMU cannot be started.
    pub fn boot(&self, job: &str) -> Running {
        let scratch = Scratch::new();
        initramfs::write(&self.kernel, &self.root, job, scratch.dir()).expect("initramfs");
        let mut command = Command::new(self.kernel.processor().qemu());
        command
            .args(self.arguments(scratch.dir()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(scratch.path("qemu")).expect("file for QEMU's errors"));
        let mut group = Group::spawn(&mut command);
        let channel = group.child.stdout.take().expect("piped stdout");
        Running {
            stdin: group.child.stdin.take().expect("piped stdin"),
            channel: BufReader::new(channel),
            unfinished: Vec::new(),
            group,
            scratch,
        }
    }

    fn arguments(&self, scratch: &Path) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "-accel",
            "tcg,thread=multi",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-chardev",
            "stdio,id=channel,signal=off",
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=channel",
            "-device",
            "virtio-rng-pci",
        ]
        .map(str::to_owned)
        .into();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("-smp", self.processors.to_string());
        option("-kernel", self.kernel.image().display().to_string());
        option("-initrd", scratch.join("initramfs").display().to_string());
        option(
            "-serial",
            format!("file:{}", scratch.join("console").display()),
        );
        let shares = self.kernel.processor().shares();
        let shares = shares.iter().enumerate();
        let shares = shares.map(|(number, path)| (format!("share{number}"), path));
        for (tag, path) in [("host".to_owned(), &self.root)].into_iter().chain(shares) {
            let path = path.display();
            option(
                "-virtfs",
                format!(
                    "local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"
                ),
            );
        }
        let (processor, board, console) = match self.kernel.processor() {
            // The kernel counts the timer's interrupts at boot, and on a busy host finds too few and
            // panics, if it is not told that the timer works.
            Processor::X86_64 => ("max", "pc", "ttyS0 no_timer_check"),
            // Pointers are signed with what can be emulated fast.
            Processor::Aarch64 => ("max,pauth-impdef=on", "virt,gic-version=3", "ttyAMA0"),
        };
        option("-cpu", processor.into());
        // A panic ends the machine, and with it QEMU.
        option(
            "-append",
            format!("console={console} panic=-1 quiet mitigations=off"),
        );
        if self.pmem.is_empty() {
            option("-machine", board.into());
            option("-m", format!("{}M", self.memory));
        } else {
            let total: u64 = self.pmem.iter().map(|(_, mib)| mib).sum();
            option("-machine", format!("{board},nvdimm=on"));
            option(
                "-m",
                format!(
                    "{}M,slots={},maxmem={}M",
                    self.memory,
                    self.pmem.len() + 1,
                    u64::from(self.memory) + 2 * total + 1024
                ),
            );
        }
        for (number, (file, mib)) in self.pmem.iter().enumerate() {
            option(
                "-object",
                format!(
                    "memory-backend-file,id=pmem{number},share=on,mem-path={},size={mib}M",
                    file.display()
                ),
            );
            // Without an area for labels, which would leave a size that is no multiple of what a
            // namespace is aligned to; what the namespace is, stands at its beginning.
            option("-device", format!("nvdimm,memdev=pmem{number}"));
        }
        for (number, disk) in self.disks.iter().enumerate() {
            // Eight to a slot, behind those that QEMU chooses: the bus has but 32.
            let (slot, function) = (8 + number / 8, number % 8);
            arguments.extend([
                "-blockdev".into(),
                disk.node.clone(),
                "-device".into(),
                format!(
                    "virtio-blk-pci,drive=disk{number},addr={slot:x}.{function},multifunction=on{}",
                    disk.options
                ),
            ]);
        }
        arguments
    }
}

#[derive(Clone)]
struct Disk {
    /// As `-blockdev` wants it.
    node: String,
    /// More of the device.
    options: &'static str,
}

/// A machine that runs. Its power is cut when this is dropped.
pub struct Running {
    group: Group,
    stdin: ChildStdin,
    channel: BufReader<ChildStdout>,
    unfinished: Vec<u8>,
    scratch: Scratch,
}

impl Running {
    /// The job's standard input.
    pub fn stdin(&mut self) -> &mut ChildStdin {
        &mut self.stdin
    }

    /// The next line that the job printed, without its end; `None` when the machine has ended.
    ///
    /// # Panics
    /// When none comes by `deadline`.
    pub fn line(&mut self, deadline: Instant) -> Option<String> {
        match self.line_until(deadline) {
            Line::Printed(line) => Some(line),
            Line::End => None,
            Line::Late => panic!("the machine says nothing\n{}", self.console()),
        }
    }

    /// As [`Self::line`], and not too late for the caller.
    pub fn line_until(&mut self, deadline: Instant) -> Line {
        loop {
            let buffered = self.channel.buffer();
            let end = buffered.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffered.len(), |end| end + 1);
            self.unfinished
                .extend_from_slice(&buffered[..end.unwrap_or(taken)]);
            self.channel.consume(taken);
            if end.is_some() {
                let line = String::from_utf8_lossy(&self.unfinished).into_owned();
                self.unfinished.clear();
                return Line::Printed(line);
            }
            if !self.readable(deadline) {
                return Line::Late;
            }
            if self
                .channel
                .fill_buf()
                .expect("the machine's channel")
                .is_empty()
            {
                return Line::End;
            }
        }
    }

    fn readable(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("timeout");
        let mut fds = [PollFd::from_borrowed_fd(
            self.channel.get_ref().as_fd(),
            PollFlags::IN,
        )];
        poll(&mut fds, Some(&timeout)).expect("poll") > 0
    }

    /// Waits for the job's end: its exit status, and all that it has printed since.
    ///
    /// # Panics
    /// When the job did not end within `limit`, or the machine before it.
    pub fn finish(mut self, limit: Duration) -> (i32, String) {
        let deadline = Instant::now() + limit;
        let mut printed = String::new();
        loop {
            match self.line_until(deadline) {
                Line::Printed(line) => {
                    if let Some(status) = line.strip_prefix("exit ").and_then(|s| s.parse().ok()) {
                        return (status, printed);
                    }
                    let _ = writeln!(printed, "{line}");
                }
                Line::End => panic!("the machine ended\n{printed}{}", self.console()),
                Line::Late => panic!("the job takes over {limit:?}\n{printed}{}", self.console()),
            }
        }
    }

    /// SIGKILL to QEMU: what was not written to the disks is gone. Returns the whole lines that the job
    /// had printed before and nobody has read.
    pub fn cut_power(mut self) -> Vec<String> {
        self.group.kill();
        let _ = self.group.child.wait();
        let now = Instant::now();
        std::iter::from_fn(|| match self.line_until(now) {
            Line::Printed(line) => Some(line),
            Line::End | Line::Late => None,
        })
        .collect()
    }

    /// What the kernel said, for a message.
    pub fn console(&self) -> String {
        let text = |name| fs::read(self.scratch.path(name)).unwrap_or_default();
        let both = [text("qemu"), text("console")].concat();
        let text = String::from_utf8_lossy(&both);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// What [`Running::line_until`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Printed(String),
    /// The machine has ended.
    End,
    /// The deadline came first.
    Late,
}
