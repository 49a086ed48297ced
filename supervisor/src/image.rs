//! Images: the memories of the programs that are supervised. A process has another one after each execve(2); a thread,
//! and a vfork child, has its maker's.

use crate::maps::{Key, Maps};
use crate::stats::Numbers;
use keepmydata_ranges::Ranges;
use keepmydata_sys::{raw, seccomp};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, CWD, Mode, OFlags, access, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Takes a lock. What a thread that panicked has left is as good as it was: it was about one call.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of them.
pub struct Image {
    /// Its own, never 0.
    pub number: u32,
    /// The process that was first seen with it.
    pub pid: i32,
    /// Nothing where a sandbox denies it: then it has no marks, its pages are not dropped, and its end is seen later.
    pub pidfd: Option<OwnedFd>,
    /// /proc/PID/pagemap, which stays this memory's, whatever becomes of the process.
    pagemap: OwnedFd,
    pub maps: Maps,
    /// /proc/PID/io; nothing where that cannot be read.
    io: Option<OwnedFd>,
    /// What the kernel has told the program at its start, which is another place in memory for each.
    auxv: Vec<u8>,
    /// The same for all that were forked from one exec.
    pub family: u64,
    /// The library is preloaded and does it all.
    pub preloaded: AtomicBool,
    pub userfaultfd: Mutex<Userfaultfd>,
    pub locked: Mutex<Locked>,
    /// Descriptor 2 as it was when the image was first seen, without being open on it.
    pub stderr: Option<OwnedFd>,
    /// The number of the last msync.
    calls: AtomicU64,
    pub doubts: Mutex<Doubts>,
    pub numbers: Numbers,
    /// The summary was written.
    pub summarised: AtomicBool,
    /// The log has said that it is supervised, and its end is waited for.
    pub seen: AtomicBool,
    /// When a thread last unmapped something that is tracked, ns; 0 is never.
    pub unmapped_at: AtomicU64,
    pub log_file: Mutex<Option<OwnedFd>>,
    /// What it had mapped once, and was owed nothing of when its claim was let go: there is nothing that it has inherited.
    let_go: Mutex<HashSet<Key>>,
    /// Descriptor 2, once something was written to it.
    pub open_stderr: Mutex<Option<OwnedFd>>,
}

/// See [`Image::is_unmapping`], ns.
const MOMENT: u64 = 1_000_000_000;

/// Files that an image remembers to have let go of.
const LET_GO: usize = 4096;

/// What tracks an image's stores.
#[derive(Default)]
pub enum Userfaultfd {
    #[default]
    None,
    /// Nobody can make one there; not tried again.
    Refused(&'static str),
    Made(OwnedFd),
}

/// What is locked in memory, or was, or is about to be (mlock(2)).
#[derive(Default)]
pub struct Locked {
    /// Addresses.
    pub ranges: Ranges,
    /// Whatever is mapped.
    pub all: bool,
}

/// What was not proved, and told to be safe.
#[derive(Clone, Copy, Default)]
pub struct Doubts {
    pub msyncs: u64,
    pub pages: u64,
}

impl Image {
    pub fn pagemap(&self) -> BorrowedFd<'_> {
        self.pagemap.as_fd()
    }

    /// Whether its memory is still there.
    pub fn lives(&self) -> bool {
        rustix::io::pread(&self.pagemap, &mut [0; 8], 0) == Ok(8)
    }

    /// Whether the library is preloaded there.
    pub fn is_preloaded(&self) -> bool {
        self.preloaded.load(Ordering::Relaxed)
    }

    /// Whether threads of it may be about to unmap something while another syncs, as they did a moment ago.
    pub fn is_unmapping(&self) -> bool {
        let at = self.unmapped_at.load(Ordering::Relaxed);
        // Of a directory of procfs, two more.
        let has_threads = || {
            let threads = fs::metadata(format!("/proc/{}/task", self.pid));
            threads.is_ok_and(|threads| threads.nlink() > 3)
        };
        at != 0 && keepmydata_sys::monotonic_ns().saturating_sub(at) < MOMENT && has_threads()
    }

    /// The number of a new msync.
    pub fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Its page faults without and with I/O (proc_pid_stat(5)); nothing of a process that is gone.
    pub fn faults(&self) -> (Option<u64>, Option<u64>) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        (number_in(&stat, 10), number_in(&stat, 12))
    }

    /// When its process was started, not later, ns since the machine was (proc_pid_stat(5)); 0 where that cannot be told.
    pub fn began(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // In hundredths of a second, whatever the kernel counts in (`USER_HZ`).
        number_in(&stat, 22).unwrap_or(0) * 10_000_000
    }

    /// Its claim on the file with this key is let go of.
    pub fn note_let_go(&self, key: Key) {
        let mut let_go = lock(&self.let_go);
        if let_go.len() < LET_GO {
            let_go.insert(key);
        }
    }

    /// Whether that was so once, as far as is remembered.
    pub fn has_let_go(&self, key: Key) -> bool {
        lock(&self.let_go).contains(&key)
    }

    /// Bytes of the page cache that the process has made dirty so far (proc_pid_io(5), `write_bytes`); nothing where the
    /// kernel does not count, or not for us.
    pub fn dirtied(&self) -> Option<u64> {
        // More than the kernel writes there.
        let mut text = [0; 512];
        let len = rustix::io::pread(self.io.as_ref()?, &mut text, 0).ok()?;
        let mut lines = std::str::from_utf8(&text[..len]).ok()?.lines();
        let number = lines.find_map(|line| line.strip_prefix("write_bytes: "))?;
        number.parse().ok()
    }
}

/// The field of /proc/PID/stat with this number, which proc_pid_stat(5) has given it.
fn number_in(stat: &str, field: usize) -> Option<u64> {
    // After the name, which may hold anything.
    let (_, words) = stat.rsplit_once(')')?;
    words.split_whitespace().nth(field - 3)?.parse().ok()
}

/// All that are there.
#[derive(Default)]
pub struct Images {
    by_tid: Mutex<HashMap<i32, Arc<Image>>>,
    all: Mutex<Vec<Arc<Image>>>,
    /// Families that have the library preloaded.
    preloaded: Mutex<HashSet<u64>>,
    last: AtomicU32,
}

impl Images {
    /// The image of thread `tid`, which waits.
    pub fn of(&self, tid: i32) -> Result<Arc<Image>, Errno> {
        let auxv = auxv(tid)?;
        let known = lock(&self.by_tid).get(&tid).cloned();
        if let Some(image) = known
            && image.auxv == auxv
            && image.lives()
            && is_thread_of(tid, image.pid)
        {
            return Ok(image);
        }
        let pid = process_of(tid)?;
        // Under the lock: threads of a new process may come all at once.
        let mut all = lock(&self.all);
        let same = |image: &&Arc<Image>| {
            image.auxv == auxv && image.lives() && (image.pid == pid || shares_memory(tid, image))
        };
        let found = all.iter().find(same).cloned();
        let image = match found {
            Some(image) => image,
            None => {
                let image = Arc::new(self.new_image(tid, pid, auxv)?);
                all.push(image.clone());
                image
            }
        };
        drop(all);
        // A vfork child's memory becomes another one without a sign.
        if image.pid == pid {
            lock(&self.by_tid).insert(tid, image.clone());
        }
        Ok(image)
    }

    /// The image that the process of thread `tid` was first seen with, if it was seen and is still there.
    pub fn of_process(&self, tid: i32) -> Option<Arc<Image>> {
        let of = |pid: i32| {
            let all = lock(&self.all);
            let mut images = all.iter().filter(|image| image.pid == pid && image.lives());
            images.next().cloned()
        };
        if lock(&self.all).is_empty() {
            return None;
        }
        of(tid).or_else(|| process_of(tid).ok().filter(|pid| *pid != tid).and_then(of))
    }

    fn new_image(&self, tid: i32, pid: i32, auxv: Vec<u8>) -> Result<Image, Errno> {
        let open = |name: &str, flags: OFlags| {
            let path = format!("/proc/{tid}/{name}");
            openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
        };
        let family = family(tid, &auxv);
        Ok(Image {
            number: self.last.fetch_add(1, Ordering::Relaxed) + 1,
            pid,
            pidfd: pidfd(pid).ok(),
            pagemap: open("pagemap", OFlags::RDONLY)?,
            maps: Maps::of(tid).map_err(errno)?,
            io: openat(
                CWD,
                format!("/proc/{pid}/io"),
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .ok(),
            auxv,
            family,
            preloaded: AtomicBool::new(lock(&self.preloaded).contains(&family)),
            userfaultfd: Mutex::default(),
            stderr: open("fd/2", OFlags::PATH).ok(),
            calls: AtomicU64::new(0),
            doubts: Mutex::default(),
            seen: AtomicBool::new(false),
            locked: Mutex::default(),
            numbers: Numbers::default(),
            summarised: AtomicBool::new(false),
            unmapped_at: AtomicU64::new(0),
            log_file: Mutex::default(),
            let_go: Mutex::default(),
            open_stderr: Mutex::default(),
        })
    }

    /// The image, and what is forked from it, has the library preloaded.
    pub fn note_preloaded(&self, image: &Image) {
        lock(&self.preloaded).insert(image.family);
        image.preloaded.store(true, Ordering::Relaxed);
    }

    /// All of them now.
    pub fn all(&self) -> Vec<Arc<Image>> {
        lock(&self.all).clone()
    }

    /// Takes those out whose memory is gone.
    pub fn take_dead(&self) -> Vec<Arc<Image>> {
        let mut dead = Vec::new();
        lock(&self.all).retain(|image| {
            let lives = image.lives();
            if !lives {
                dead.push(image.clone());
            }
            lives
        });
        if !dead.is_empty() {
            lock(&self.by_tid)
                .retain(|_, image| !dead.iter().any(|dead| dead.number == image.number));
        }
        dead
    }
}

fn auxv(tid: i32) -> Result<Vec<u8>, Errno> {
    let path = format!("/proc/{tid}/auxv");
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // More than the kernel keeps.
    let mut auxv = [0; 1024];
    match rustix::io::read(&file, &mut auxv)? {
        0 => Err(Errno::SRCH),
        len => Ok(auxv[..len].to_vec()),
    }
}

/// What exec has made of the image, with the random bytes that it was given (getauxval(3), `AT_RANDOM`) where they can be
/// read.
fn family(tid: i32, auxv: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    auxv.hash(&mut hasher);
    let words = auxv.chunks_exact(16).map(|pair| {
        let word = |at: usize| {
            let bytes = pair[at..at + 8].try_into();
            bytes.map_or(0, u64::from_ne_bytes)
        };
        (word(0), word(8))
    });
    let mut random = [0; 16];
    for (kind, address) in words {
        if kind == libc::AT_RANDOM && read_memory(tid, address as usize, &mut random) {
            random.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Reads memory of thread `tid`'s process: all, or false.
pub fn read_memory(tid: i32, address: usize, into: &mut [u8]) -> bool {
    // Where a sandbox denies the first call.
    let by_proc = |into: &mut [u8]| {
        let path = format!("/proc/{tid}/mem");
        let memory = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::pread(memory, into, address as u64)
    };
    let read = raw::sys_process_vm_readv(tid, address, into);
    read.or_else(|_| by_proc(into)) == Ok(into.len())
}

/// Reads a string of thread `tid`'s process, without its end; nothing where there is none that could be a path.
pub fn read_string(tid: i32, address: usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let page = keepmydata_sys::page_size();
    while text.len() < libc::PATH_MAX as usize {
        let at = address.checked_add(text.len())?;
        // Not beyond the page: the next need not be there.
        let mut part = vec![0; page - at % page];
        if !read_memory(tid, at, &mut part) {
            return None;
        }
        if let Some(end) = part.iter().position(|&byte| byte == 0) {
            text.extend_from_slice(&part[..end]);
            return Some(text);
        }
        text.extend_from_slice(&part);
    }
    None
}

/// Whether thread `tid` has the rights of this process, user and capabilities.
pub fn has_our_rights(tid: i32) -> bool {
    let rights = |whose: &str| {
        let status = fs::read_to_string(format!("/proc/{whose}/status")).ok()?;
        let is_right = |line: &&str| {
            ["Uid:", "Gid:", "CapEff:"]
                .iter()
                .any(|name| line.starts_with(name))
        };
        Some(
            status
                .lines()
                .filter(is_right)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    };
    let ours = rights("self");
    ours.is_some() && rights(&tid.to_string()) == ours
}

fn is_thread_of(tid: i32, pid: i32) -> bool {
    tid == pid || access(format!("/proc/{pid}/task/{tid}"), Access::EXISTS).is_ok()
}

fn process_of(tid: i32) -> Result<i32, Errno> {
    let status = fs::read(format!("/proc/{tid}/status")).map_err(errno)?;
    let mut lines = status.split(|&b| b == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"Tgid:"));
    let number = line.and_then(|line| std::str::from_utf8(line).ok());
    number
        .and_then(|number| number.trim().parse().ok())
        .ok_or(Errno::SRCH)
}

/// Whether thread `tid` has the memory of `image` (kcmp(2)); false where that cannot be told.
fn shares_memory(tid: i32, image: &Image) -> bool {
    raw::sys_compare_memory(tid, image.pid) == Ok(0)
}

/// A descriptor of process `pid`.
pub fn pidfd(pid: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    allowed(libc::SYS_pidfd_open)?;
    pidfd_open(pid, PidfdFlags::empty())
}

/// A copy of descriptor `fd` of the image's process: the same open file (pidfd_getfd(2)).
pub fn copy_descriptor(image: &Image, fd: RawFd) -> Result<OwnedFd, Errno> {
    let pidfd = image.pidfd.as_ref().ok_or(Errno::PERM)?;
    allowed(libc::SYS_pidfd_getfd)?;
    pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())
}

/// MADV_PAGEOUT of another process's memory (process_madvise(2)); how many bytes of it were advised.
///
/// Errors: `EPERM` without CAP_SYS_NICE, `ENOMEM` where not all of it is mapped.
pub fn page_out(image: &Image, start: usize, len: usize) -> Result<usize, Errno> {
    let pidfd = image.pidfd.as_ref().ok_or(Errno::PERM)?;
    allowed(libc::SYS_process_madvise)?;
    let range = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(start),
        iov_len: len,
    };
    let arguments = [
        pidfd.as_raw_fd() as usize,
        &raw const range as usize,
        1,
        libc::MADV_PAGEOUT as usize,
        0,
        0,
    ];
    // SAFETY: the vector is live; what pages are paged out changes no byte of the other process.
    unsafe { raw::syscall(libc::SYS_process_madvise, arguments) }
}

/// Errors: `ENOSYS` where a sandbox would end the supervisor at call `number`.
fn allowed(number: i64) -> Result<(), Errno> {
    match seccomp::is_fatal(number) {
        true => Err(Errno::NOSYS),
        false => Ok(()),
    }
}

/// As an errno.
pub fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
