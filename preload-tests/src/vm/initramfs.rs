//! The initramfs: BusyBox, modules, `init` and the job.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Kernel, Processor};

const INIT: &str = include_str!("init");

/// What every machine needs, and the filesystems that guests run on.
const MODULES: [&str; 12] = [
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "overlay",
    "fuse",
    "loop",
    "ext4",
    "xfs",
    "btrfs",
];
/// Persistent memory.
const PMEM: [&str; 3] = ["nfit", "nd_btt", "nd_pmem"];

/// Writes the archive for a machine that runs `job` to `directory/initramfs`; `root` is the machine's.
pub(super) fn write(kernel: &Kernel, root: &Path, job: &str, directory: &Path) -> io::Result<()> {
    let tree = directory.join("tree");
    for folder in ["bin", "modules", "proc", "sys", "dev"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::copy(root.join("bin/busybox"), tree.join("bin/busybox"))?;
    fs::write(tree.join("job"), job)?;
    let shares = kernel.processor().shares();
    let shares = shares.iter().map(|share| format!("{}\n", share.display()));
    fs::write(tree.join("shares"), shares.collect::<String>())?;
    fs::write(tree.join("init"), INIT)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    for (place, module) in modules(kernel)?.iter().enumerate() {
        copy_module(Path::new(module), &tree.join("modules"), place)?;
    }
    let archive = File::create(directory.join("initramfs"))?;
    // `cpio -H newc` is the one format that the kernel reads (initramfs-buffer-format.rst).
    let status = Command::new("/bin/busybox")
        .args(["sh", "-c", "find . | cpio -o -H newc"])
        .current_dir(&tree)
        .stdout(archive)
        .stderr(Stdio::null())
        .status()?;
    fs::remove_dir_all(&tree)?;
    succeeded("cpio", status.success())
}

/// The files of all modules, in the order in which they can be loaded.
fn modules(kernel: &Kernel) -> io::Result<Vec<String>> {
    let output = Command::new("modprobe")
        // Debian's ndctl configures libnvdimm to be loaded by a command, which would hide its file.
        .args(["--config", "/dev/null"])
        .args(["--all", "--show-depends", "--dirname"])
        .arg(kernel.modules())
        .args(["--set-version", kernel.release()])
        .args(MODULES)
        .args(match kernel.processor() {
            Processor::X86_64 => &PMEM[..],
            Processor::Aarch64 => &[],
        })
        .output()?;
    succeeded("modprobe --show-depends", output.status.success())?;
    let mut files = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // Else `builtin NAME`.
        if let Some(file) = line.strip_prefix("insmod ") {
            let file = file.trim().to_owned();
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// `init` loads modules in the order of their names.
fn copy_module(file: &Path, into: &Path, place: usize) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (name, compressed) = match name.strip_suffix(".xz") {
        Some(name) => (name, true),
        None => (&*name, false),
    };
    let copy = into.join(format!("{place:03}-{name}"));
    if !compressed {
        return fs::copy(file, copy).map(drop);
    }
    let status = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(file)
        .stdout(File::create(copy)?)
        .status()?;
    succeeded("xz", status.success())
}

fn succeeded(what: &str, success: bool) -> io::Result<()> {
    match success {
        true => Ok(()),
        false => Err(io::Error::other(format!("{what} failed"))),
    }
}
