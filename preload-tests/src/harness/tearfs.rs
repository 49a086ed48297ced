//! The test bed, mounted for one test.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::guests::profile_directory;
use super::patience::patience;
use super::scratch::{Group, Scratch};

/// Longer than any pause that a mode makes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted tearfs, unmounted when dropped.
pub struct TearFs {
    daemon: Group,
    scratch: Scratch,
}

impl TearFs {
    /// Mounts with these arguments (`["--mode", "honest"]`); the control socket and
    /// the op log are added.
    ///
    /// # Panics
    /// If it does not come up: a machine without FUSE is caught by [`TearFs::available`].
    pub fn mount(arguments: &[&str]) -> Self {
        Self::mount_logging(arguments, true, None)
    }

    /// Mounts twice: two clients of one filesystem, which see each other's writes as `coherence` says
    /// ([`TearFs::second`]).
    ///
    /// # Panics
    /// As [`TearFs::mount`].
    pub fn mount_twice(coherence: &str, arguments: &[&str]) -> Self {
        Self::mount_logging(arguments, true, Some(coherence))
    }

    /// As [`TearFs::mount`], without the op log, which takes gigabytes where a mount is used for hours.
    ///
    /// # Panics
    /// As [`TearFs::mount`].
    pub fn mount_unlogged(arguments: &[&str]) -> Self {
        Self::mount_logging(arguments, false, None)
    }

    fn mount_logging(arguments: &[&str], logs: bool, coherence: Option<&str>) -> Self {
        let scratch = Scratch::new();
        let point = scratch.path("mount");
        std::fs::create_dir(&point).expect("mount point");
        let mut command = Command::new(profile_directory().join("tearfs"));
        if let Some(coherence) = coherence {
            let second = scratch.path("second");
            std::fs::create_dir(&second).expect("mount point");
            command.args(["--coherence", coherence, "--second"]);
            command.arg(second);
        }
        command
            .args(arguments)
            .arg("--exit-with-stdin")
            .arg("--control")
            .arg(scratch.path("control"))
            .args(
                logs.then(|| ["--op-log".into(), scratch.path("ops")])
                    .into_iter()
                    .flatten(),
            )
            .arg(&point)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(scratch.path("stderr")).expect("file for stderr"));
        let mut daemon = Group::spawn(&mut command);
        let mut stdout = BufReader::new(daemon.child.stdout.take().expect("piped stdout"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("stdout of tearfs");
        let fs = Self { daemon, scratch };
        assert!(
            line.starts_with("ready "),
            "tearfs {arguments:?} did not mount: {line}{}",
            fs.stderr()
        );
        // Whatever it prints later must not block it.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        fs
    }

    /// # Errors
    /// Why FUSE cannot be used here (to skip the test).
    pub fn available() -> Result<(), String> {
        crate::tearfs::mount::check_device()
    }

    /// A path inside the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The mount point.
    pub fn dir(&self) -> PathBuf {
        self.scratch.path("mount")
    }

    /// The mount point of the second client.
    pub fn second(&self) -> PathBuf {
        self.scratch.path("second")
    }

    /// The control socket, for guests that send requests themselves.
    pub fn control_socket(&self) -> PathBuf {
        self.scratch.path("control")
    }

    /// The process that serves it.
    pub fn pid(&self) -> u32 {
        self.daemon.child.id()
    }

    /// What the daemon wrote about each operation.
    pub fn op_log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("ops")).unwrap_or_default()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.scratch.path("stderr")).unwrap_or_default()
    }

    /// One request to the control channel; the answer is known to be `ok`.
    ///
    /// # Panics
    /// If the daemon is gone or refuses.
    pub fn control(&self, request: Value) -> Value {
        let mut stream = UnixStream::connect(self.scratch.path("control")).expect("control socket");
        stream
            .set_read_timeout(Some(patience(PATIENCE)))
            .expect("timeout");
        writeln!(stream, "{request}").expect("request");
        let mut answer = String::new();
        BufReader::new(stream)
            .read_line(&mut answer)
            .expect("answer");
        let answer: Value = serde_json::from_str(&answer).expect("answer in JSON");
        assert_eq!(answer["ok"], json!(true), "{request} -> {answer}");
        answer
    }

    /// What a reader gets once all that is pending was applied.
    pub fn final_bytes(&self, name: &str, offset: u64, len: usize) -> Vec<u8> {
        self.bytes("read", name, offset, len)
    }

    /// What would survive a power cut now.
    pub fn stable_bytes(&self, name: &str, offset: u64, len: usize) -> Vec<u8> {
        self.bytes("stable", name, offset, len)
    }

    /// Cuts the power: what was not made stable is gone.
    pub fn cut(&self) {
        self.control(json!({"op": "cut"}));
    }

    fn bytes(&self, op: &str, name: &str, offset: u64, len: usize) -> Vec<u8> {
        let request = json!({"op": op, "path": format!("/{name}"), "offset": offset, "len": len});
        let answer = self.control(request);
        let hex = answer["data"].as_str().expect("data").as_bytes();
        hex.chunks(2)
            .map(|pair| {
                let digits = std::str::from_utf8(pair).expect("hex");
                u8::from_str_radix(digits, 16).expect("hex")
            })
            .collect()
    }
}

impl Drop for TearFs {
    fn drop(&mut self) {
        drop(self.daemon.child.stdin.take());
        if !self.daemon.ends_within(patience(PATIENCE)) {
            eprintln!("tearfs does not end; killing it");
        }
        if std::thread::panicking() {
            let log = self.op_log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(30)..];
            eprintln!("tearfs, last operations:\n{}", tail.join("\n"));
        }
    }
}
