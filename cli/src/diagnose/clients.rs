//! A program that stores through one mount of a filesystem, and reads through another: a second client, which has caches of
//! its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Both mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoClients {
    /// Through which it stores.
    pub first: PathBuf,
    pub second: PathBuf,
    /// `fuse.glusterfs`.
    pub kind: String,
}

impl TwoClients {
    /// As KEEPMYDATA_SEEN_BY has them.
    pub fn setting(&self) -> String {
        format!("{}={}", self.first.display(), self.second.display())
    }
}

struct Mount {
    point: PathBuf,
    device: String,
    root: String,
    kind: String,
    source: String,
}

/// Looks for them among the files that the program has synced and those that it has opened.
pub fn find(synced: &BTreeSet<String>, opened: &BTreeSet<String>) -> Option<TwoClients> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    find_in(&parse(&mounts), synced, opened)
}

fn find_in(
    mounts: &[Mount],
    synced: &BTreeSet<String>,
    opened: &BTreeSet<String>,
) -> Option<TwoClients> {
    let place = |path: &str| {
        let path = Path::new(path);
        let on = mounts.iter().filter(|mount| path.starts_with(&mount.point));
        // Of two at one place the later is on top.
        let mount = on.max_by_key(|mount| mount.point.as_os_str().len())?;
        Some((mount, path.strip_prefix(&mount.point).ok()?.to_owned()))
    };
    let synced: Vec<_> = synced.iter().filter_map(|path| place(path)).collect();
    let opened: Vec<_> = opened.iter().filter_map(|path| place(path)).collect();
    // Each run may name its files otherwise: what one run has opened on both mounts counts, and where others have synced.
    let is_synced = |mount: &Mount| synced.iter().any(|(other, _)| other.device == mount.device);
    let stored = synced.iter().chain(&opened);
    stored
        .filter(|(mount, _)| is_synced(mount))
        .find_map(|(mount, name)| {
            let other = opened.iter().find(|(other, their_name)| {
                let same = |part: fn(&Mount) -> &str| part(mount) == part(other);
                their_name == name
                    && mount.device != other.device
                    && same(|mount| &mount.kind)
                    && same(|mount| &mount.source)
                    && same(|mount| &mount.root)
            });
            other.map(|(other, _)| TwoClients {
                first: mount.point.clone(),
                second: other.point.clone(),
                kind: mount.kind.clone(),
            })
        })
}

/// proc_pid_mountinfo(5): `36 35 98:0 /root /point options optional... - type source super`.
fn parse(text: &str) -> Vec<Mount> {
    let mounts = text.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let mut back = back.split(' ');
        Some(Mount {
            device: (*front.get(2)?).to_owned(),
            root: (*front.get(3)?).to_owned(),
            point: PathBuf::from(front.get(4)?.replace("\\040", " ")),
            kind: back.next()?.to_owned(),
            source: back.next()?.to_owned(),
        })
    });
    mounts.collect()
}

/// The paths of the descriptors that were synced by fsync(2) and its kin: `fsync(3</mnt/f>) = 0`.
pub fn synced(trace: &str) -> impl Iterator<Item = String> + '_ {
    trace.lines().filter_map(|line| {
        let (_, call) = ["fsync(", "fdatasync("]
            .iter()
            .find_map(|name| line.split_once(name))?;
        let (number, path) = call.split_once('<')?;
        let path = path.split('>').next()?;
        (number.parse::<u32>().is_ok() && path.starts_with('/')).then(|| path.to_owned())
    })
}

/// The paths of the descriptors that opens have returned, as `strace -y` shows them: `... = 3</mnt/f>`.
pub fn opened(trace: &str) -> impl Iterator<Item = String> + '_ {
    trace.lines().filter_map(|line| {
        let is_open = ["open(", "openat(", "openat2(", "creat("]
            .iter()
            .any(|name| line.contains(name));
        let (_, result) = line.rsplit_once(") = ").filter(|_| is_open)?;
        let (number, path) = result.split_once('<')?;
        let path = path.split('>').next()?;
        (number.parse::<u32>().is_ok() && path.starts_with('/')).then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
36 1 0:50 / /mnt/a rw - fuse.glusterfs host:/vol rw
37 1 0:51 / /mnt/b rw shared:3 - fuse.glusterfs host:/vol rw
38 1 0:52 / /mnt/c rw - fuse.glusterfs host:/other rw
39 1 0:50 / /mnt/bind rw - fuse.glusterfs host:/vol rw
1 0 8:1 / / rw - ext4 /dev/sda rw
";

    fn look(synced: &str, opened: &str) -> Option<String> {
        let set = |text: &str| BTreeSet::from([text.to_owned()]);
        let found = find_in(&parse(MOUNTS), &set(synced), &set(opened));
        found.map(|clients| clients.setting())
    }

    #[test]
    fn the_same_name_below_another_mount_of_the_same_source_is_another_client() {
        let both = Some("/mnt/a=/mnt/b".to_owned());
        assert_eq!(look("/mnt/a/d/f", "/mnt/b/d/f"), both);
        for opened in [
            "/mnt/a/d/f",
            "/mnt/b/d/g",
            "/mnt/c/d/f",
            "/mnt/bind/d/f",
            "/d/f",
        ] {
            assert_eq!(look("/mnt/a/d/f", opened), None, "{opened}");
        }
    }

    #[test]
    fn names_may_be_others_in_each_run() {
        let set = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
        let look = |opened: &[&str]| {
            let found = find_in(&parse(MOUNTS), &set(&["/mnt/a/f-17"]), &set(opened));
            found.map(|clients| clients.setting())
        };
        let both = Some("/mnt/a=/mnt/b".to_owned());
        assert_eq!(look(&["/mnt/a/f-21", "/mnt/b/f-21"]), both);
        assert_eq!(look(&["/mnt/a/f-21", "/mnt/b/f-22"]), None);
    }

    #[test]
    fn what_was_opened_is_read_from_a_trace() {
        let trace = "\
17 openat(AT_FDCWD</tmp>, \"f\", O_RDONLY) = 3</mnt/b/f>
17 open(\"/none\", O_RDONLY) = -1 ENOENT (No such file or directory)
18 <... openat resumed>) = 4</mnt/a/x (y)>
17 msync(0x7f0000, 4096, MS_SYNC) = 0 (DELAYED)
17 openat(AT_FDCWD</>, \"s\", O_RDWR) = 5<socket:[1]>
";
        let found: Vec<String> = opened(trace).collect();
        assert_eq!(found, ["/mnt/b/f"]);
        let trace = "\
17 fsync(3</mnt/a/f>) = 0
18 fdatasync(4</mnt/a/g> <unfinished ...>
18 <... fdatasync resumed>) = 0
17 fsync(5<socket:[1]>) = -1 EINVAL (Invalid argument)
";
        let found: Vec<String> = synced(trace).collect();
        assert_eq!(found, ["/mnt/a/f", "/mnt/a/g"]);
    }
}
