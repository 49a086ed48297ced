//! What is known of a filesystem without touching a file on it.

use super::daemon;
use super::report::Row;
use keepmydata_records::Backing;
use rustix::fs::{AtFlags, CWD, StatxFlags, major, minor, stat, statfs, statx};
use std::fs;
use std::io;
use std::path::Path;

pub struct Filesystem {
    pub backing: Backing,
    mount: Mount,
    /// Where it is FUSE.
    daemon: Option<String>,
}

/// A line of `/proc/self/mountinfo`.
#[derive(Default)]
struct Mount {
    kind: String,
    point: String,
    source: String,
    options: String,
}

impl Filesystem {
    pub fn look(directory: &Path) -> io::Result<Self> {
        // The type of this field differs between architectures.
        #[allow(clippy::unnecessary_cast)]
        let magic = statfs(directory)?.f_type as u32;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mount_of(directory, &mounts)?;
        let daemon = match mount.kind.starts_with("fuse") {
            true => daemon::of_connection(minor(stat(directory)?.st_dev)),
            false => None,
        };
        Ok(Filesystem {
            backing: Backing::of(magic),
            mount,
            daemon,
        })
    }

    /// As the kernel names it: `ext4`, `fuse.sshfs`; empty where that is not known.
    pub fn kind(&self) -> &str {
        &self.mount.kind
    }

    /// Those of the mount.
    pub fn options(&self) -> &str {
        &self.mount.options
    }

    /// One line: `fuse.sshfs from host:, mounted on /mnt, daemon sshfs (pid 12)`.
    pub fn summary(&self) -> String {
        let Mount {
            kind,
            point,
            source,
            ..
        } = &self.mount;
        if kind.is_empty() {
            return "on a mount that /proc/self/mountinfo does not show (after chroot?)".to_owned();
        }
        let daemon = match &self.daemon {
            Some(daemon) => format!(", daemon {daemon}"),
            None => String::new(),
        };
        format!("{kind} from {source}, mounted on {point}{daemon}")
    }

    /// What programs must know of it whatever msync does.
    pub fn limit(&self) -> Option<&'static str> {
        (self.kind() == "overlay").then_some(
            "a file of the lower layer is copied up when it is first opened for writing: who has it mapped read-only \
             since before keeps the old one, and sees no store to the new one, whatever is synced",
        )
    }

    pub fn is_fuse(&self) -> bool {
        self.mount.kind.starts_with("fuse")
    }

    pub fn rows(&self) -> Vec<Row> {
        let (backing, note) = match self.backing {
            Backing::Nothing => ("none", "the data is in memory only, or made up"),
            Backing::LocalBlock => ("block device", "of this machine"),
            Backing::Other => ("other", "a daemon, a server or another filesystem"),
        };
        let mut rows = vec![
            Row::new("type", &*self.mount.kind, ""),
            Row::new(
                "mounted",
                &*self.mount.point,
                format!("from {}", self.mount.source),
            ),
            Row::new("options", &*self.mount.options, ""),
            Row::new("backing store", backing, note),
        ];
        if self.is_fuse() {
            let (daemon, note) = match &self.daemon {
                Some(daemon) => (daemon.as_str(), ""),
                None => (
                    "unknown",
                    "its process is another user's, or the kernel does not tell (Linux 6.18 does)",
                ),
            };
            rows.insert(3, Row::new("daemon", daemon, note));
        }
        rows
    }
}

/// The mount that `directory` is on: by its number where the kernel tells it (Linux 5.8), since
/// btrfs shows other devices in stat(2) than in mountinfo.
fn mount_of(directory: &Path, mounts: &str) -> io::Result<Mount> {
    let wanted = StatxFlags::from_bits_retain(libc::STATX_MNT_ID);
    let seen = statx(CWD, directory, AtFlags::empty(), wanted)?;
    let number = (seen.stx_mask & libc::STATX_MNT_ID != 0).then_some(seen.stx_mnt_id);
    let device = stat(directory)?.st_dev;
    let device = format!("{}:{}", major(device), minor(device));
    let is_it = |line: &&str| {
        let mut fields = line.split(' ');
        match number {
            Some(number) => fields.next().and_then(|id| id.parse().ok()) == Some(number),
            None => fields.nth(2) == Some(&device),
        }
    };
    Ok(mounts
        .lines()
        .find(is_it)
        .map(parse_mount)
        .unwrap_or_default())
}

/// proc_pid_mountinfo(5): `36 35 98:0 /root /point options optional... - type source super`.
fn parse_mount(line: &str) -> Mount {
    let (front, back) = line.split_once(" - ").unwrap_or((line, ""));
    let front: Vec<&str> = front.split(' ').collect();
    let back: Vec<&str> = back.split(' ').collect();
    let field = |fields: &[&str], at: usize| unescape(fields.get(at).unwrap_or(&""));
    Mount {
        kind: field(&back, 0),
        point: field(&front, 4),
        source: field(&back, 1),
        options: format!("{},{}", field(&front, 5), field(&back, 2)),
    }
}

/// Spaces and the like are written as `\040`.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => result += &format!("{}{}", code as char, &part[3..]),
            None => result += &format!("\\{part}"),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_is_not_shown_is_said_to_be() {
        let filesystem = Filesystem {
            backing: Backing::LocalBlock,
            mount: Mount::default(),
            daemon: None,
        };
        assert_eq!(
            filesystem.summary(),
            "on a mount that /proc/self/mountinfo does not show (after chroot?)"
        );
    }

    #[test]
    fn mountinfo_is_understood() {
        let line = r"36 35 0:51 / /mnt/a\040b rw,nosuid shared:1 master:2 - fuse.tearfs tear\134fs rw,user_id=0";
        let mount = parse_mount(line);
        assert_eq!(mount.kind, "fuse.tearfs");
        assert_eq!(mount.point, "/mnt/a b");
        assert_eq!(mount.source, r"tear\fs");
        assert_eq!(mount.options, "rw,nosuid,rw,user_id=0");
    }

    #[test]
    fn the_root_is_mounted_somewhere() {
        let found = Filesystem::look(Path::new("/proc")).unwrap();
        assert_eq!(
            (found.mount.kind.as_str(), found.backing),
            ("proc", Backing::Nothing)
        );
        assert!(!found.is_fuse());
    }
}
