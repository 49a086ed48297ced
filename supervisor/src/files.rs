//! All files that are mapped below the supervisor, and how each is found.

use crate::file::{Claims, File, Found, identity, link, open};
use crate::image::{Image, errno, lock};
use crate::maps::{Area, Inode, Key};
use keepmydata_promise::Traits;
use keepmydata_sys as sys;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::path::Arg;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// All files.
#[derive(Default)]
pub struct Files {
    by_key: Mutex<HashMap<Key, Arc<File>>>,
    /// What is owed of files that are not open any more, because nobody has them mapped.
    owed: Mutex<HashMap<Key, Claims>>,
    /// What somebody may have open for writing past the page cache.
    direct: Mutex<Direct>,
    /// Files that are being opened, each held by who opens it: another open may drop the page cache.
    opening: Mutex<HashMap<Key, Arc<Mutex<()>>>>,
    /// What a filesystem may have told once, and has told the supervisor: the program's next fsync(2) or msync(2) of that
    /// file fails with it.
    untold: Mutex<HashMap<Key, Errno>>,
}

/// Files by device and number.
#[derive(Default)]
struct Direct {
    files: HashSet<(u64, u64)>,
    /// Any may be.
    all: bool,
}

/// Files that are remembered so.
const OWED: usize = 1024;

/// Of those that may be written to past the page cache.
const DIRECT: usize = 4096;

/// Why a mapping is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// Nothing stands behind it, or it is no regular file.
    NotOurs,
    /// Nobody can store through it.
    ReadOnly,
    /// What it is cannot be found out.
    Unknown(Errno),
}

impl Files {
    /// The file behind descriptor `fd` of thread `tid`, which may be stored to through a mapping that it is about to
    /// make. Opened if nobody has mapped it before.
    pub fn of_descriptor(
        &self,
        tid: i32,
        fd: i32,
        includes: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Arc<File>, Bypass> {
        let info = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}"));
        let info = info.map_err(|error| Bypass::Unknown(errno(error)))?;
        let mut lines = info.lines();
        let flags = lines.find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
        if flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDWR) {
            return Err(Bypass::ReadOnly);
        }
        let is_lease = |line: &str| {
            line.starts_with("lock:") && line.contains("LEASE") && line.contains("WRITE")
        };
        let path = link(format!("/proc/{tid}/fd/{fd}")).map_err(Bypass::Unknown)?;
        let leased = info.lines().any(is_lease);
        self.of_found(tid, &Found { path, leased }, includes)
    }

    /// Those that are open and that the kernel names so: a FUSE daemon may show one file as two.
    pub fn known(&self, inode: Inode) -> Vec<Arc<File>> {
        let files = lock(&self.by_key);
        let same = files.values().filter(|file| file.inode == inode);
        same.cloned().collect()
    }

    /// Those that the link of /proc at `path` leads to, if they are open here.
    pub fn known_by_link(&self, path: impl Arg) -> Vec<Arc<File>> {
        if lock(&self.by_key).is_empty() {
            return Vec::new();
        }
        identity(path).map_or(Vec::new(), |(dev, ino)| self.known_as(dev, ino))
    }

    fn known_as(&self, dev: u64, ino: u64) -> Vec<Arc<File>> {
        let files = lock(&self.by_key);
        let same = files
            .values()
            .filter(|file| (file.dev, file.ino) == (dev, ino));
        same.cloned().collect()
    }

    /// What the link of /proc at `path` leads to may be written to past the page cache from here on; where there is nothing,
    /// which file it will be is not known.
    pub fn note_direct(&self, path: impl Arg) {
        let found = identity(path);
        let mut direct = lock(&self.direct);
        match found {
            Some(file) if direct.files.len() < DIRECT => drop(direct.files.insert(file)),
            _ => direct.all = true,
        }
        drop(direct);
        match found {
            Some((dev, ino)) => self.known_as(dev, ino),
            None => self.all(),
        }
        .iter()
        .for_each(|file| file.note_direct());
    }

    /// Whether that is so of the file that is about to be mapped by thread `tid`, which may have it open for longer than
    /// anybody has seen.
    fn may_be_direct(&self, tid: i32, file: &File) -> bool {
        let direct = lock(&self.direct);
        if direct.all || direct.files.contains(&(file.dev, file.ino)) {
            return true;
        }
        drop(direct);
        let is_direct = |number: &OsString| {
            let path = format!("/proc/{tid}/fdinfo/{}", number.to_string_lossy());
            let info = std::fs::read_to_string(path).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
            flags.is_some_and(|flags| flags & libc::O_DIRECT != 0)
        };
        file.descriptors(tid).any(|number| is_direct(&number))
    }

    /// The file that is mapped as `area` by thread `tid`'s process, and not known yet: opened by the kernel's link to the
    /// mapping, or by a descriptor of the process that leads to it.
    pub fn of_area(
        &self,
        tid: i32,
        area: &Area,
        includes: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Arc<File>, Bypass> {
        let link_to = |path: String| {
            let path = link(path)?;
            Ok(Found {
                path,
                leased: false,
            })
        };
        let (start, end) = (area.start, area.end);
        let found = link_to(format!("/proc/{tid}/map_files/{start:x}-{end:x}"));
        let found = match found {
            Ok(found) => Ok(found),
            Err(errno) => descriptor_of(tid, area).ok_or(errno),
        };
        let found = found.map_err(Bypass::Unknown)?;
        self.of_found(tid, &found, includes)
    }

    fn of_found(
        &self,
        tid: i32,
        found: &Found,
        includes: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Arc<File>, Bypass> {
        let path = &found.path;
        let kind = sys::fd::kind(path.as_raw_fd()).ok_or(Bypass::NotOurs)?;
        if kind.file_type != FileType::RegularFile {
            return Err(Bypass::NotOurs);
        }
        let traits = Traits::of(path.as_fd()).map_err(Bypass::Unknown)?;
        let traits = traits.ok_or(Bypass::NotOurs)?;
        let key = key_of(path, &kind);
        let known = || lock(&self.by_key).get(&key).cloned();
        if let Some(file) = known() {
            return Ok(file);
        }
        // Not under the lock of all: a FUSE daemon that is asked may wait for the supervisor itself.
        let opening = lock(&self.opening).entry(key).or_default().clone();
        let turn = lock(&opening);
        if let Some(file) = known() {
            lock(&self.opening).remove(&key);
            return Ok(file);
        }
        let file = Arc::new(open(found, key, traits, includes));
        if !traits.local_block && self.may_be_direct(tid, &file) {
            file.note_direct();
        }
        let mut files = lock(&self.by_key);
        let file = files.entry(key).or_insert(file).clone();
        drop(turn);
        lock(&self.opening).remove(&key);
        if let Some(claims) = lock(&self.owed).remove(&key) {
            lock(&file.claims).extend(claims);
        }
        Ok(file)
    }

    /// A flush of the supervisor's own accord has failed.
    pub fn note_untold(&self, file: &File) {
        let errno = file.unanswered.swap(0, Ordering::Relaxed);
        let mut untold = lock(&self.untold);
        if errno != 0 && untold.len() < OWED {
            untold.insert(file.key, Errno::from_raw_os_error(errno));
        }
    }

    /// The program is told what it was not told of the file.
    pub fn tell(&self, file: &File) {
        lock(&self.untold).remove(&file.key);
    }

    /// The same of what the link of /proc at `path` leads to, and what that is.
    pub fn take_untold(&self, path: impl Arg) -> Option<Errno> {
        if lock(&self.untold).is_empty() {
            return None;
        }
        let found = link(path).ok()?;
        let key = key_of(&found, &sys::fd::kind(found.as_raw_fd())?);
        lock(&self.untold).remove(&key)
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.by_key).is_empty()
    }

    pub fn all(&self) -> Vec<Arc<File>> {
        lock(&self.by_key).values().cloned().collect()
    }

    /// Closes `file`, which the caller has a reference to, unless others have. What is owed of it is kept; false where that
    /// is too much.
    pub fn close(&self, file: &Arc<File>) -> bool {
        let mut files = lock(&self.by_key);
        // The table's, and the caller's.
        if Arc::strong_count(file) > 2 {
            return true;
        }
        files.remove(&file.key);
        let claims = std::mem::take(&mut *lock(&file.claims));
        for claim in claims.values() {
            // Nobody sees any more whether the page cache is dropped.
            let mut state = lock(&claim.state);
            (state.seen_drops, state.clean_at) = (u64::MAX, None);
        }
        let mut owed = lock(&self.owed);
        let is_kept = claims.is_empty() || owed.len() < OWED;
        if is_kept && !claims.is_empty() {
            owed.insert(file.key, claims);
        }
        is_kept
    }

    /// The image is gone.
    pub fn forget(&self, image: &Image) {
        self.all().iter().for_each(|file| file.forget(image));
        lock(&self.owed).retain(|_, claims| {
            claims.remove(&image.number);
            !claims.is_empty()
        });
    }

    /// Closes those that nobody claims; false where some are in use yet.
    pub fn close_unclaimed(&self) -> bool {
        let mut closed = Vec::new();
        let mut all = true;
        lock(&self.by_key).retain(|_, file| {
            // Whoever is about to claim it has a reference.
            let is_unclaimed = file.is_unclaimed();
            let stays = !is_unclaimed || Arc::strong_count(file) > 1;
            all &= !(stays && is_unclaimed);
            if !stays {
                closed.push(file.clone());
            }
            stays
        });
        all
    }
}

fn key_of(path: &OwnedFd, kind: &sys::fd::Kind) -> Key {
    let on_device = rustix::fs::major(kind.dev) != 0;
    let digest = match on_device {
        true => kind.born,
        false => sys::fd::inode_handle(path.as_raw_fd()),
    };
    (kind.dev, kind.ino, digest)
}

/// A descriptor of the process that leads to the file that it has mapped as `area`.
fn descriptor_of(tid: i32, area: &Area) -> Option<Found> {
    let descriptors = std::fs::read_dir(format!("/proc/{tid}/fd")).ok()?;
    for descriptor in descriptors.flatten() {
        let Ok(path) = link(descriptor.path()) else {
            continue;
        };
        let kind = sys::fd::kind(path.as_raw_fd())?;
        let same = kind.ino == area.inode.number
            && rustix::fs::major(kind.dev) == area.inode.major
            && rustix::fs::minor(kind.dev) == area.inode.minor;
        if same {
            return Some(Found {
                path,
                leased: false,
            });
        }
    }
    None
}
