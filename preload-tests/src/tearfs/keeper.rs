//! A process that takes the mount away where the daemon cannot, killed as it may be.
//!
//! fusermount3 waits for the daemon's end, too (`AutoUnmount`), but leaves the mount where the kernel does not refuse to
//! open it with ENOTCONN in the moment in which it tries (`should_auto_unmount` in util/fusermount.c): when a thread
//! of the daemon still has the device open.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

/// Reads the device, the root and the point of the mount, as mountinfo has them, then `done`; where its input ends before
/// that, it unmounts.
const KEEPER: &str = r#"
read -r mount || exit
read -r done && exit
grep -qF " $mount " /proc/self/mountinfo || exit
point=$(printf %b "${mount##* }")
umount -l "$point" || fusermount3 -u -z "$point"
"#;

/// To be made before the mount: what is made later has the connection with the kernel open as well.
pub struct Keeper(ChildStdin);

impl Keeper {
    /// # Errors
    /// Why there is none.
    pub fn start() -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", KEEPER])
            // Not killed with the daemon's.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take();
        Ok(Self(stdin.ok_or(io::ErrorKind::BrokenPipe)?))
    }

    /// The filesystem is mounted.
    pub fn watch(&mut self, mountpoint: &Path) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let text = mountpoint.to_string_lossy();
        let escaped = text
            .replace('\\', "\\134")
            .replace(' ', "\\040")
            .replace('\t', "\\011")
            .replace('\n', "\\012");
        // The last of several at one place is on top.
        let found = mounts.lines().rev().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').skip(2).take(3).collect();
            (fields.last() == Some(&&*escaped)).then(|| fields.join(" "))
        });
        if let Some(mount) = found {
            let _ = writeln!(self.0, "{mount}");
        }
    }

    /// The mount is gone.
    pub fn done(&mut self) {
        let _ = writeln!(self.0, "done");
    }
}
