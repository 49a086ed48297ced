//! Filesystems that show a directory of another one: overlayfs, and the FUSE filesystems of
//! Debian. Below each lies an ext4 of its own.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::filesystems::{LoopFs, mount};
use super::installed::installed;
use super::patience::patience;
use super::scratch::{Group, Scratch};

/// Longer than any of the daemons takes to mount.
const PATIENCE: Duration = Duration::from_secs(20);

/// Debian's path of the server that sshfs talks to, without any daemon of ssh in between.
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A mounted filesystem over a directory of ext4, unmounted when dropped.
pub struct StackedFs {
    // Dropped in this order.
    mount: Scratch,
    _daemon: Option<Group>,
    _below: LoopFs,
}

impl StackedFs {
    /// `overlayfs`, `bindfs`, `sshfs`, `mergerfs`, `fuse-overlayfs`, `rclone` or `glusterfs`.
    ///
    /// # Errors
    /// Why this machine has no such filesystem (to skip the test).
    pub fn mount(kind: &str) -> Result<Self, String> {
        let below = LoopFs::mount("ext4")?;
        let scratch = Scratch::new();
        let [lower, upper, work, point] = [
            below.path("lower"),
            below.path("upper"),
            below.path("work"),
            scratch.path("mount"),
        ];
        for directory in [&lower, &upper, &work] {
            fs::create_dir(directory).map_err(|error| format!("layer of {kind}: {error}"))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        if kind == "overlayfs" {
            mount("overlay", &layers, Path::new("overlay"), &point)?;
            return Ok(Self {
                mount: scratch,
                _daemon: None,
                _below: below,
            });
        }
        fs::create_dir(&point).map_err(|error| format!("mount point: {error}"))?;
        installed(kind)?;
        let mut command = Command::new(kind);
        match kind {
            "bindfs" => command.arg("-f").arg(&lower),
            "mergerfs" => command.args(["-f", "-o", "minfreespace=0"]).arg(&lower),
            "sshfs" => command
                .args(["-f", "-o"])
                .arg(format!("ssh_command={}", connection(&scratch)?.display()))
                .arg(format!("localhost:{}", lower.display())),
            "fuse-overlayfs" => command.args(["-f", "-o", &layers]),
            "rclone" => command
                .args(["mount", "--config", "/dev/null", "--vfs-cache-mode", "full"])
                .arg("--cache-dir")
                .arg(scratch.path("cache"))
                .arg(&lower),
            "glusterfs" => command
                .args(["--no-daemon", "--log-file", "/dev/stderr", "-f"])
                .arg(volume(&scratch, &lower)?)
                .arg("--pid-file")
                .arg(scratch.path("pid")),
            _ => return Err(format!("no such filesystem: {kind}")),
        };
        let log = File::create(scratch.path("stderr")).map_err(|error| error.to_string())?;
        command
            .arg(&point)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let daemon = Group::spawn(&mut command);
        let begin = Instant::now();
        while !is_mounted(&point) {
            if begin.elapsed() > patience(PATIENCE) || daemon.ends_within(Duration::from_millis(5))
            {
                let said = fs::read_to_string(scratch.path("stderr")).unwrap_or_default();
                return Err(format!("{kind} does not mount: {}", said.trim()));
            }
        }
        Ok(Self {
            mount: scratch,
            _daemon: Some(daemon),
            _below: below,
        })
    }

    /// The mount point.
    pub fn dir(&self) -> PathBuf {
        self.mount.path("mount")
    }
}

fn is_mounted(point: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4).map(Path::new) == Some(point))
}

/// A program for sshfs to run in place of ssh.
fn connection(scratch: &Scratch) -> Result<PathBuf, String> {
    if !Path::new(SFTP_SERVER).exists() {
        return Err(format!("{SFTP_SERVER} is not installed"));
    }
    let program = scratch.path("connection");
    fs::write(&program, format!("#!/bin/sh\nexec {SFTP_SERVER}\n"))
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(program)
}

/// A GlusterFS volume of one brick in the client itself: no management daemon, no network.
fn volume(scratch: &Scratch, brick: &Path) -> Result<PathBuf, String> {
    let file = scratch.path("volume");
    let text = format!(
        "volume brick\n  type storage/posix\n  option directory {}\nend-volume\n\
         volume locks\n  type features/locks\n  subvolumes brick\nend-volume\n\
         volume write-behind\n  type performance/write-behind\n  subvolumes locks\nend-volume\n",
        brick.display()
    );
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}
