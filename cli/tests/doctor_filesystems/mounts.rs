//! How each filesystem is made and mounted.

use preload_tests::harness::{LoopFs, Scratch, Tmpfs, installed, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

pub struct Mount {
    pub name: &'static str,
    /// What it lies on, and with which options.
    pub how: &'static str,
    pub mount: fn() -> Result<Mounted, String>,
    /// Whether msync fails there, or a file cannot be mapped.
    pub may_be_unknown: bool,
}

const fn mount(
    name: &'static str,
    how: &'static str,
    mount: fn() -> Result<Mounted, String>,
) -> Mount {
    Mount {
        name,
        how,
        mount,
        may_be_unknown: false,
    }
}

pub const ALL: [Mount; 20] = [
    mount("ext4", "loop device", || block("ext4", &[])),
    mount("ext4, data=journal", "loop device", || {
        block("ext4", &["data=journal"])
    }),
    mount("ext2", "loop device", || block("ext2", &[])),
    mount("xfs", "loop device", || block("xfs", &[])),
    mount("btrfs", "loop device", || block("btrfs", &[])),
    mount("tmpfs", "", || {
        let fs = Tmpfs::mount()?;
        let directory = fs.path("");
        Ok(Mounted::over(directory, Box::new(fs)))
    }),
    mount("overlayfs", "over ext4", || {
        layered(|dir| {
            vec!["mount", "-t", "overlay", "overlay", "-o"]
                .into_iter()
                .map(str::to_owned)
                .chain([format!(
                    "lowerdir={dir}/lower,upperdir={dir}/upper,workdir={dir}/work"
                )])
                .chain([format!("{dir}/mount")])
                .collect()
        })
    }),
    mount("bindfs", "over ext4", || {
        layered(|dir| words(&format!("bindfs {dir}/upper {dir}/mount")))
    }),
    // Where the kernel does not let files be mapped that are opened so, nothing can be told.
    Mount {
        may_be_unknown: true,
        ..mount("bindfs, direct_io", "over ext4", || {
            layered(|dir| words(&format!("bindfs -o direct_io {dir}/upper {dir}/mount")))
        })
    },
    mount("sshfs", "sftp-server over ext4", || sshfs("")),
    mount("sshfs, kernel_cache", "sftp-server over ext4", || {
        sshfs("-o kernel_cache")
    }),
    mount("mergerfs", "over ext4", || {
        layered(|dir| {
            words(&format!(
                "mergerfs -o minfreespace=0 {dir}/upper {dir}/mount"
            ))
        })
    }),
    mount("mergerfs, cache.files=auto-full", "over ext4", || {
        layered(|dir| {
            words(&format!(
                "mergerfs -o minfreespace=0,cache.files=auto-full {dir}/upper {dir}/mount"
            ))
        })
    }),
    mount("fuse-overlayfs", "over ext4", || {
        layered(|dir| {
            words(&format!(
                "fuse-overlayfs -o lowerdir={dir}/lower,upperdir={dir}/upper,workdir={dir}/work {dir}/mount"
            ))
        })
    }),
    mount("unionfs-fuse", "over ext4", || {
        layered(|dir| words(&format!("unionfs {dir}/upper=RW {dir}/mount")))
    }),
    mount("disorderfs", "over ext4", || {
        layered(|dir| words(&format!("disorderfs -q {dir}/upper {dir}/mount")))
    }),
    mount("gocryptfs", "over ext4", || {
        layered(|dir| {
            let password = format!("{dir}/password");
            fs::write(&password, "secret").expect("password");
            let init = format!("gocryptfs -q -init -scryptn 10 -passfile {password} {dir}/upper");
            run(&words(&init)).expect("gocryptfs -init");
            words(&format!(
                "gocryptfs -q -passfile {password} {dir}/upper {dir}/mount"
            ))
        })
    }),
    mount("fuse2fs", "image on ext4", || {
        image("mkfs.ext4 -q", |image, point| {
            words(&format!("fuse2fs -o fakeroot {image} {point}"))
        })
    }),
    mount("ntfs-3g", "image on ext4", || {
        image("mkfs.ntfs -q -F -f", |image, point| {
            words(&format!("ntfs-3g {image} {point}"))
        })
    }),
    mount("rclone mount, --vfs-cache-mode writes", "over ext4", || {
        layered(|dir| {
            words(&format!(
                "rclone mount --daemon --config {dir}/rclone.conf --cache-dir {dir}/work \
                 --vfs-cache-mode writes {dir}/upper {dir}/mount"
            ))
        })
    }),
];

/// A mounted filesystem and what it lies on; unmounted when dropped.
pub struct Mounted {
    directory: PathBuf,
    unmount: bool,
    _below: Box<dyn std::any::Any>,
}

impl Mounted {
    fn over(directory: PathBuf, below: Box<dyn std::any::Any>) -> Self {
        Mounted {
            directory,
            unmount: false,
            _below: below,
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.unmount {
            // What lies below is unmounted lazily, and would be kept by a daemon that still runs.
            let _ = Command::new("umount").arg(&self.directory).status();
        }
    }
}

fn block(kind: &str, options: &[&str]) -> Result<Mounted, String> {
    let fs = LoopFs::mount_sized(kind, 320, options)?;
    Ok(Mounted::over(fs.dir(), Box::new(fs)))
}

/// Mounts on `mount`, over `lower`, `upper` and `work`, which are on an ext4.
fn layered(command: impl FnOnce(&str) -> Vec<String>) -> Result<Mounted, String> {
    let fs = LoopFs::mount_sized("ext4", 512, &[])?;
    for name in ["lower", "upper", "work", "mount"] {
        fs::create_dir(fs.path(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    let directory = fs.path("mount");
    let command = command(fs.dir().to_str().expect("UTF-8"));
    mounted(&command, directory, Box::new(fs))
}

/// Mounts an image of its own.
fn image(make: &str, command: impl FnOnce(&str, &str) -> Vec<String>) -> Result<Mounted, String> {
    let scratch = Scratch::new();
    let (image, point) = (scratch.path("image"), scratch.path("mount"));
    fs::create_dir(&point).map_err(|error| format!("mount: {error}"))?;
    fs::File::create(&image)
        .and_then(|file| file.set_len(128 << 20))
        .map_err(|error| format!("image: {error}"))?;
    let [image, directory] = [&image, &point].map(|path| path.to_str().expect("UTF-8"));
    run(&words(&format!("{make} {image}")))?;
    let command = command(image, directory);
    mounted(&command, point.clone(), Box::new(scratch))
}

/// sshfs without a network: the server at the other end of a pipe.
fn sshfs(options: &str) -> Result<Mounted, String> {
    if !Path::new(SFTP_SERVER).exists() {
        return Err(format!(
            "no {SFTP_SERVER}: openssh-sftp-server is not installed"
        ));
    }
    layered(|dir| {
        let ssh = format!("{dir}/ssh");
        fs::write(&ssh, format!("#!/bin/sh\nexec {SFTP_SERVER}\n")).expect("script");
        run(&words(&format!("chmod 755 {ssh}"))).expect("chmod");
        words(&format!(
            "sshfs -o ssh_command={ssh} {options} none:{dir}/upper {dir}/mount"
        ))
    })
}

fn mounted(
    command: &[String],
    directory: PathBuf,
    below: Box<dyn std::any::Any>,
) -> Result<Mounted, String> {
    installed(&command[0])?;
    run(command)?;
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = format!(" {} ", directory.display());
    wait_until(&command.join(" "), Duration::from_secs(10), || {
        mounts().contains(&point)
    });
    Ok(Mounted {
        directory,
        unmount: true,
        _below: below,
    })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Its standard output is not kept: a daemon would hold the pipe open.
fn run(command: &[String]) -> Result<(), String> {
    installed(&command[0])?;
    let status = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status()
        .map_err(|error| format!("{}: {error}", command[0]))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{}: {status}", command.join(" "))),
    }
}
