//! The process that answers for a FUSE filesystem.

use std::fs;
use std::path::Path;

/// `sshfs (pid 123)`, for the connection of this number: the minor number of the filesystem's
/// device, which the kernel also shows for each descriptor of /dev/fuse (Linux 6.18, fdinfo).
/// Nothing where that cannot be found out: other users' processes need root.
pub fn of_connection(connection: u32) -> Option<String> {
    let wanted = format!("fuse_connection:\t{connection}");
    let processes = fs::read_dir("/proc").ok()?;
    let found: Vec<_> = processes
        .flatten()
        .map(|entry| entry.path())
        .filter(|process| answers(process, &wanted))
        .map(|process| describe(&process))
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

fn answers(process: &Path, wanted: &str) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
    descriptors.flatten().any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|file| file == Path::new("/dev/fuse"))
            && fs::read_to_string(process.join("fdinfo").join(entry.file_name()))
                .is_ok_and(|info| info.lines().any(|line| line == wanted))
    })
}

fn describe(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let pid = process.file_name().unwrap_or_default().display();
    format!("{} (pid {pid})", name.trim())
}
